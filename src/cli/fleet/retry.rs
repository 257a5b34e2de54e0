//! `tbprov fleet retry`

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args};
use serde::Serialize;

use super::super::context::Context;
use super::super::shell::quoted_path;
use super::FleetArgs;
use tbprov::Result;
use tbprov::ledger::roster::Selection;

/// Make failed devices due again, and those that wait due at once: the next 'tbprov fleet run' takes them.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).multiple(true)))]
pub(in crate::cli) struct RetryArgs {
    /// The devices.
    #[arg(value_name = "NAME", group = "which")]
    names: Vec<String>,
    /// Those that failed, or wait, with this error code, such as server/failure.
    #[arg(long, value_name = "CODE", group = "which")]
    code: Option<String>,
    /// All.
    #[arg(long, group = "which", conflicts_with_all = ["names", "code"])]
    all: bool,
    #[command(flatten)]
    ledger: FleetArgs,
}

impl RetryArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        self.ledger.alone(context)?;
        let roster = context.roster(self.ledger.path()).await?;
        let selection = Selection { state: None, code: self.code, names: self.names };
        let retried = roster.retry(selection).await?;
        let ledger = self.ledger.path().to_owned();
        context.output.result("fleet retry", &RetryResult { ledger, retried });
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Serialize)]
struct RetryResult {
    ledger: PathBuf,
    /// Devices that are due again.
    retried: u64,
}

impl fmt::Display for RetryResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ledger = quoted_path(&self.ledger);
        match self.retried {
            0 => write!(formatter, "no such device has failed or waits: nothing to do"),
            1 => write!(formatter, "1 device is due again: tbprov fleet run --ledger {ledger}"),
            count => write!(formatter, "{count} devices are due again: tbprov fleet run --ledger {ledger}"),
        }
    }
}
