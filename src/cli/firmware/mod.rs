//! `tbprov firmware`

mod emulate;
mod identity;
mod identity_args;

use std::process::ExitCode;

use clap::Subcommand;

use super::context::Context;
use tbprov::Result;

/// The ESP32 side: build the firmware, put a device's identity on a board, watch or emulate it.
#[derive(Debug, Subcommand)]
pub(super) enum FirmwareCommand {
    Emulate(emulate::EmulateArgs),
    Identity(identity::FirmwareIdentityArgs),
}

impl FirmwareCommand {
    /// Whether it serves connections.
    pub(super) const fn is_server(&self) -> bool {
        matches!(self, Self::Emulate(_))
    }

    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Emulate(_) => "firmware emulate",
            Self::Identity(_) => "firmware identity",
        }
    }

    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Emulate(args) => args.run(context).await,
            Self::Identity(args) => context.interruptible(args.run(context)).await,
        }
    }
}
