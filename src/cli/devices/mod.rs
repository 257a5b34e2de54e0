//! `tbprov devices`

mod add;
mod list;
mod remove;
mod show;

use std::process::ExitCode;

use clap::Subcommand;

use super::context::Context;
use tbprov::Result;

/// The store: what is in it, taking in identities made elsewhere, taking devices out.
#[derive(Debug, Subcommand)]
pub(super) enum DevicesCommand {
    /// List every device: state, server, end of its certificate, credentialsId.
    List,
    Show(show::ShowArgs),
    Add(add::AddArgs),
    Remove(remove::RemoveArgs),
}

impl DevicesCommand {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::List => "devices list",
            Self::Show(_) => "devices show",
            Self::Add(_) => "devices add",
            Self::Remove(_) => "devices remove",
        }
    }

    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::List => list::run(context).await,
            Self::Show(args) => args.run(context).await,
            Self::Add(args) => args.run(context).await,
            Self::Remove(args) => args.run(context).await,
        }
    }
}
