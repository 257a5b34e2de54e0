//! `tbprov devices`

mod add;
mod list;
mod remove;
mod show;
mod trust;

use std::process::ExitCode;

use clap::Subcommand;

use super::context::Context;
use tbprov::Result;

/// Manage the store: list, show, add and remove devices, and change which certificates they trust.
#[derive(Debug, Subcommand)]
pub(super) enum DevicesCommand {
    /// List every device: state, server, end of its certificate, credentialsId.
    List,
    Show(show::ShowArgs),
    Add(add::AddArgs),
    Trust(trust::TrustArgs),
    Remove(remove::RemoveArgs),
}

impl DevicesCommand {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::List => "devices list",
            Self::Show(_) => "devices show",
            Self::Add(_) => "devices add",
            Self::Trust(_) => "devices trust",
            Self::Remove(_) => "devices remove",
        }
    }

    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::List => context.interruptible(list::run(context)).await,
            Self::Show(args) => context.interruptible(args.run(context)).await,
            Self::Add(args) => context.interruptible(args.run(context)).await,
            // It tells what was changed before the user ended it.
            Self::Trust(args) => args.run(context).await,
            Self::Remove(args) => context.interruptible(args.run(context)).await,
        }
    }
}
