//! `tbprov firmware flash`

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::super::context::Context;
use super::super::ledger_args::LedgerArgs;
use super::build_args::{BuildArgs, clap_chip, named_chip};
use super::flash_result::FlashResult;
use super::identity_args::IdentityArgs;
use super::monitor::WatchArgs;
use super::port_args::PortArgs;
use tbprov::error::Hint;
use tbprov::firmware::job::{self, FlashPlan, HeldDevice, Program, Subject, Work};
use tbprov::firmware::{Chip, Image, read_elf};
use tbprov::text::shown_path;
use tbprov::{Error, ErrorCode, Result, Step};

/// What bridges and boards manage nearly always; the chip's own USB does not care.
const BAUD: u32 = 460_800;

/// Put the firmware on a board, and with --device a device's identity. All that is written is read back and compared.
///
/// Without --device the board keeps the identity that it has. The firmware is the same for every device: a production
/// line builds it once, and then uses --identity-only for each device.
#[derive(Debug, Args)]
pub(in crate::cli) struct FirmwareFlashArgs {
    #[command(flatten)]
    port: PortArgs,
    /// Refuse any other chip than this [default: chip in tbprov.toml, else whatever is there].
    #[arg(long, env = "TBPROV_CHIP", value_name = "CHIP", value_parser = clap_chip)]
    chip: Option<Chip>,
    /// The device whose identity goes on the board [default with --identity-only: the store's only one].
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) ledger: LedgerArgs,
    /// Write the identity alone, where the board's own partition table has it; nothing is built.
    #[arg(long, conflicts_with_all = ["elf", "image", "erase_identity"])]
    identity_only: bool,
    /// Erase the identity on the board, and nothing else.
    #[arg(long, conflicts_with_all = ["elf", "image", "device"])]
    erase_identity: bool,
    /// An application that is built already [default: build it].
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    elf: Option<PathBuf>,
    /// A file that 'tbprov firmware image' wrote [default: build it].
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// The speed of the transfer.
    #[arg(long, value_name = "BAUD", default_value_t = BAUD)]
    baud: u32,
    /// Show the board's log afterwards, until Ctrl-] or Ctrl-C; scripts run 'tbprov firmware monitor --until'
    /// instead.
    #[arg(long)]
    monitor: bool,
    #[command(flatten)]
    build: BuildArgs,
    #[command(flatten)]
    identity: IdentityArgs,
}

impl FirmwareFlashArgs {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<ExitCode> {
        let plan = context.interruptible(self.plan(context)).await?;
        let flashed = job::flash(plan, &context.interrupt, &context.progress).await?;
        context.output.result("firmware flash", &FlashResult::new(&flashed));
        if self.monitor {
            context.progress.begin(Step::Monitor);
            let watch = WatchArgs::default();
            return watch.run(context, &flashed.port, flashed.log, None).await.map(|(_, code)| code);
        }
        Ok(ExitCode::SUCCESS)
    }

    /// What can be refused is, before the board is touched.
    async fn plan(&self, context: &Context) -> Result<FlashPlan> {
        let chip = named_chip(self.chip, context)?;
        let work = if self.erase_identity {
            Work::EraseIdentity
        } else if self.identity_only {
            Work::Identity(self.subject(context).await?)
        } else {
            let subject = match self.device {
                Some(_) => Some(self.subject(context).await?),
                None => None,
            };
            Work::Everything(self.program(context, chip)?, subject)
        };
        context.progress.begin(Step::Plan);
        let port = self.port.find(context).await?;
        Ok(FlashPlan { port, baud: self.baud, chip, ethernet: self.build.ethernet, work })
    }

    /// The named device, else the store's only one, and its identity; nobody else works on it meanwhile.
    async fn subject(&self, context: &Context) -> Result<Subject> {
        let name = self.device.as_deref();
        let held = HeldDevice::take(Arc::clone(&context.ledger), name, &context.progress).await?;
        let dialer = self.identity.dialer(context, &held.entry).await?;
        let partition = self.identity.partition(context, &held.entry, &dialer).await?;
        context.progress.begin(Step::Plan);
        let names_wifi = self.identity.names_wifi(context, &held.entry).await?;
        Ok(Subject { held, partition, names_wifi })
    }

    fn program(&self, context: &Context, wanted: Option<Chip>) -> Result<Program> {
        if let Some(elf) = &self.elf {
            let partitions = self.build.partitions(context)?;
            context.progress.begin(Step::Image);
            return Ok(Program::Application { elf: read_elf(elf)?, partitions });
        }
        let Some(path) = &self.image else { return self.build.recipe(context).map(Program::Sources) };
        context.progress.begin(Step::Image);
        let image = Image::read(path)?;
        match wanted {
            Some(wanted) if wanted != image.chip => {
                let message = format!("{} is for {}, not for {wanted}", shown_path(path), image.chip);
                Err(Error::new(ErrorCode::FirmwareImage, message).hint(Hint::NameChip))
            }
            _ => Ok(Program::Image(Box::new(image))),
        }
    }
}
