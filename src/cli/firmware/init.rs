//! `tbprov firmware init`

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::super::context::Context;
use super::super::shell::quoted_path;
use tbprov::Result;
use tbprov::firmware::sources;
use tbprov::text::shown_path;

/// Write the firmware's sources to a new folder, to be read, changed and built.
///
/// They are in tbprov itself: nothing is downloaded. Building them needs a compiler for the chip and, the first
/// time, the crates that Cargo.lock names.
#[derive(Debug, Args)]
pub(in crate::cli) struct FirmwareInitArgs {
    /// The folder to make; where it exists it must be empty.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl FirmwareInitArgs {
    pub(in crate::cli) fn run(self, context: &Context) -> Result<ExitCode> {
        let files = sources::write_out(&self.directory, &context.progress)?;
        context.output.result("firmware init", &InitResult { directory: self.directory, files });
        Ok(ExitCode::SUCCESS)
    }
}

/// The result of `firmware init`. Documented in `docs/protocol.md`.
#[derive(Serialize)]
struct InitResult {
    directory: PathBuf,
    files: usize,
}

impl fmt::Display for InitResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = shown_path(&self.directory);
        writeln!(formatter, "{directory}: the firmware's sources, {} files", self.files)?;
        writeln!(
            formatter,
            "build them: tbprov firmware build --chip esp32c3 --firmware-dir {}",
            quoted_path(&self.directory)
        )
    }
}
