//! `tbprov devices`

mod add;
mod list;
mod remove;
pub(super) mod show;
mod trust;

use std::process::ExitCode;

use clap::Subcommand;

use super::context::Context;
use super::ledger_args::LedgerArgs;
use tbprov::Result;

/// Manage the store: list, show, add and remove devices, and change which certificates they trust.
#[derive(Debug, Subcommand)]
pub(super) enum DevicesCommand {
    List(list::ListArgs),
    Show(show::ShowArgs),
    Add(add::AddArgs),
    Trust(trust::TrustArgs),
    Remove(remove::RemoveArgs),
}

impl DevicesCommand {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::List(_) => "devices list",
            Self::Show(_) => "devices show",
            Self::Add(_) => "devices add",
            Self::Trust(_) => "devices trust",
            Self::Remove(_) => "devices remove",
        }
    }

    /// Where a ledger may be named in place of the store.
    pub(super) const fn ledger(&self) -> Option<&LedgerArgs> {
        match self {
            Self::List(args) => Some(&args.ledger),
            Self::Show(args) => Some(&args.ledger),
            Self::Add(_) | Self::Trust(_) | Self::Remove(_) => None,
        }
    }

    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::List(_) => context.interruptible(list::run(context)).await,
            Self::Show(args) => context.interruptible(args.run(context)).await,
            Self::Add(args) => context.interruptible(args.run(context)).await,
            // It tells what was changed before the user ended it.
            Self::Trust(args) => args.run(context).await,
            Self::Remove(args) => context.interruptible(args.run(context)).await,
        }
    }
}
