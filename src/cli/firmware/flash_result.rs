//! The result of `tbprov firmware flash`.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use tbprov::event::as_milliseconds;
use tbprov::firmware::flash::Region;
use tbprov::firmware::image::Part;
use tbprov::firmware::serial::SerialPort;
use tbprov::firmware::{Board, Bootloader};
use tbprov::ledger::folder::Device;

/// Documented in `docs/protocol.md`.
#[derive(Serialize)]
pub(super) struct FlashResult {
    outcome: &'static str,
    port: String,
    chip: Board,
    mac: String,
    parts: Vec<PartResult>,
    image_sha256: Option<String>,
    device: Option<String>,
    timings_ms: Timings,
}

#[derive(Serialize)]
struct PartResult {
    name: &'static str,
    offset: u32,
    bytes: usize,
}

/// What took how long.
#[derive(Clone, Copy, Default, Serialize)]
pub(super) struct Timings {
    /// Until the bootloader answered.
    #[serde(serialize_with = "as_milliseconds")]
    pub(super) connect: Duration,
    /// Until there was an image.
    #[serde(serialize_with = "as_milliseconds")]
    pub(super) build: Duration,
    /// Until all was written and read back.
    #[serde(serialize_with = "as_milliseconds")]
    pub(super) write: Duration,
}

impl FlashResult {
    pub(super) fn new(
        outcome: &'static str,
        board: &Bootloader,
        port: &SerialPort,
        parts: &[Part],
        timings_ms: Timings,
    ) -> Self {
        let parts = parts.iter().map(|part| PartResult {
            name: part.name,
            offset: part.offset,
            bytes: part.bytes.len(),
        });
        Self {
            outcome,
            port: port.path.clone(),
            chip: board.board(),
            mac: board.mac().to_owned(),
            parts: parts.collect(),
            image_sha256: None,
            device: None,
            timings_ms,
        }
    }

    pub(super) fn of(mut self, device: &Device) -> Self {
        self.device = Some(device.shown_name());
        self
    }

    pub(super) fn image(mut self, sha256: &str) -> Self {
        self.image_sha256 = Some(sha256.to_owned());
        self
    }

    pub(super) fn erased(mut self, region: Region) -> Self {
        self.parts = vec![PartResult { name: "identity", offset: region.offset, bytes: region.bytes }];
        self
    }

    pub(super) const fn done(self, board: Bootloader) -> (Bootloader, Self) {
        (board, self)
    }
}

impl fmt::Display for FlashResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.parts.iter().map(|part| part.name).collect();
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
