//! `tbprov firmware`

mod build;
mod build_args;
mod emulate;
mod flash;
mod flash_result;
mod health;
mod identity;
mod identity_args;
mod image;
mod init;
mod monitor;
mod port_args;

pub(super) use health::checks;

use std::process::ExitCode;

use clap::Subcommand;

use super::context::Context;
use super::ledger_args::LedgerArgs;
use tbprov::Result;

/// The ESP32 side: build the firmware, put a device's identity on a board, watch or emulate it.
#[derive(Debug, Subcommand)]
pub(super) enum FirmwareCommand {
    Init(init::FirmwareInitArgs),
    Build(build::FirmwareBuildArgs),
    Image(image::FirmwareImageArgs),
    Identity(identity::FirmwareIdentityArgs),
    Flash(Box<flash::FirmwareFlashArgs>),
    Monitor(monitor::MonitorArgs),
    Emulate(emulate::EmulateArgs),
}

impl FirmwareCommand {
    /// Where a ledger may be named in place of the store.
    pub(super) const fn ledger(&self) -> Option<&LedgerArgs> {
        match self {
            Self::Image(args) => Some(&args.ledger),
            Self::Identity(args) => Some(&args.ledger),
            Self::Flash(args) => Some(&args.ledger),
            Self::Emulate(args) => Some(&args.ledger),
            Self::Init(_) | Self::Build(_) | Self::Monitor(_) => None,
        }
    }

    /// Whether it serves connections.
    pub(super) const fn is_server(&self) -> bool {
        matches!(self, Self::Emulate(_))
    }

    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Init(_) => "firmware init",
            Self::Build(_) => "firmware build",
            Self::Image(_) => "firmware image",
            Self::Identity(_) => "firmware identity",
            Self::Flash(_) => "firmware flash",
            Self::Monitor(_) => "firmware monitor",
            Self::Emulate(_) => "firmware emulate",
        }
    }

    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Init(args) => args.run(context),
            Self::Build(args) => context.interruptible(args.run(context)).await,
            Self::Image(args) => context.interruptible(args.run(context)).await,
            Self::Identity(args) => context.interruptible(args.run(context)).await,
            Self::Flash(args) => args.run(context).await,
            Self::Monitor(args) => args.run(context).await,
            Self::Emulate(args) => args.run(context).await,
        }
    }
}
