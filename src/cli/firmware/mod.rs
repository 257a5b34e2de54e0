//! `tbprov firmware`

mod build;
mod build_args;
mod emulate;
mod health;
mod identity;
mod identity_args;
mod image;
mod init;

pub(super) use health::checks;

use std::process::ExitCode;

use clap::Subcommand;

use super::context::Context;
use tbprov::Result;

/// The ESP32 side: build the firmware, put a device's identity on a board, watch or emulate it.
#[derive(Debug, Subcommand)]
pub(super) enum FirmwareCommand {
    Emulate(emulate::EmulateArgs),
    Init(init::FirmwareInitArgs),
    Build(build::FirmwareBuildArgs),
    Image(image::FirmwareImageArgs),
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
            Self::Init(_) => "firmware init",
            Self::Build(_) => "firmware build",
            Self::Image(_) => "firmware image",
            Self::Identity(_) => "firmware identity",
        }
    }

    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Emulate(args) => args.run(context).await,
            Self::Init(args) => args.run(context),
            Self::Build(args) => context.interruptible(args.run(context)).await,
            Self::Image(args) => context.interruptible(args.run(context)).await,
            Self::Identity(args) => context.interruptible(args.run(context)).await,
        }
    }
}
