//! `tbprov firmware`

mod identity;
mod identity_args;
mod monitor;
mod port_args;

use std::process::ExitCode;

use clap::Subcommand;

use super::context::Context;
use tbprov::Result;

/// The ESP32 side: build the firmware, put a device's identity on a board, watch or emulate it.
#[derive(Debug, Subcommand)]
pub(super) enum FirmwareCommand {
    Identity(identity::FirmwareIdentityArgs),
    Monitor(monitor::MonitorArgs),
}

impl FirmwareCommand {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Identity(_) => "firmware identity",
            Self::Monitor(_) => "firmware monitor",
        }
    }

    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Identity(args) => context.interruptible(args.run(context)).await,
            Self::Monitor(args) => args.run(context).await,
        }
    }
}
