//! `tbprov fleet`

mod export;
mod import;
mod list;
mod pace;
mod report;
mod retry;
mod run;
mod run_result;
mod show;
mod status;
mod verify;

use std::process::ExitCode;

use clap::Subcommand;

use super::context::Context;
use super::ledger_args::FleetArgs;
use tbprov::Result;

/// Provision many devices from a manifest, and report on them.
#[derive(Debug, Subcommand)]
pub(super) enum FleetCommand {
    Import(import::ImportArgs),
    Run(Box<run::RunArgs>),
    Status(status::StatusArgs),
    List(list::ListArgs),
    Show(show::ShowArgs),
    Retry(retry::RetryArgs),
    Verify(verify::VerifyArgs),
    Report(report::ReportArgs),
    Export(export::ExportArgs),
}

impl FleetCommand {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Import(_) => "fleet import",
            Self::Run(_) => "fleet run",
            Self::Status(_) => "fleet status",
            Self::List(_) => "fleet list",
            Self::Show(_) => "fleet show",
            Self::Retry(_) => "fleet retry",
            Self::Verify(_) => "fleet verify",
            Self::Report(_) => "fleet report",
            Self::Export(_) => "fleet export",
        }
    }

    /// Whether it works on many devices at once, and so profits from a thread for each core.
    pub(super) const fn is_server(&self) -> bool {
        matches!(self, Self::Run(_) | Self::Verify(_))
    }

    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Import(args) => context.interruptible(args.run(context)).await,
            // They finish what is in flight.
            Self::Run(args) => args.run(context).await,
            Self::Verify(args) => args.run(context).await,
            // Its end, where it watches.
            Self::Status(args) => args.run(context).await,
            Self::List(args) => context.interruptible(args.run(context)).await,
            Self::Show(args) => context.interruptible(args.run(context)).await,
            Self::Retry(args) => context.interruptible(args.run(context)).await,
            Self::Report(args) => context.interruptible(args.run(context)).await,
            Self::Export(args) => context.interruptible(args.run(context)).await,
        }
    }
}
