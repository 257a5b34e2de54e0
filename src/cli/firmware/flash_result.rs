//! The result of `tbprov firmware flash`.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::super::results::milliseconds;
use tbprov::firmware::job::{Change, Flashed};
use tbprov::firmware::{Chip, Place};

/// Documented in `docs/protocol.md`.
#[derive(Serialize)]
pub(super) struct FlashResult<'a> {
    outcome: &'static str,
    port: &'a str,
    chip: Chip,
    mac: &'a str,
    parts: &'a [Place],
    image_sha256: Option<&'a str>,
    device: Option<&'a str>,
    timings_ms: Timings,
}

#[derive(Serialize)]
struct Timings {
    #[serde(serialize_with = "milliseconds")]
    connect: Duration,
    #[serde(serialize_with = "milliseconds")]
    build: Duration,
    #[serde(serialize_with = "milliseconds")]
    write: Duration,
}

impl<'a> FlashResult<'a> {
    pub(super) fn new(flashed: &'a Flashed) -> Self {
        let outcome = match flashed.change {
            Change::Flashed => "flashed",
            Change::Erased => "erased",
        };
        let timings = flashed.timings;
        Self {
            outcome,
            port: &flashed.port.path,
            chip: flashed.chip,
            mac: &flashed.mac,
            parts: &flashed.parts,
            image_sha256: flashed.image_sha256.as_deref(),
            device: flashed.device.as_deref(),
            timings_ms: Timings { connect: timings.connect, build: timings.build, write: timings.write },
        }
    }
}

impl fmt::Display for FlashResult<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.parts.iter().map(|part| part.name.as_str()).collect();
        let of = self.device.as_ref().map_or_else(String::new, |device| format!(" of {device}"));
        let seconds = (self.timings_ms.connect + self.timings_ms.write).as_secs_f64();
        let verb = if self.outcome == "erased" { "erased" } else { "written and read back" };
        writeln!(
            formatter,
            "{} {} at {}: {}{of} {verb} in {seconds:.1} s",
            self.chip,
            self.mac,
            self.port,
            names.join(", ")
        )
    }
}
