//! `tbprov firmware image`

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::super::context::Context;
use super::super::ledger_args::LedgerArgs;
use super::super::new_file::refuse_existing;
use super::build_args::{BuildArgs, ChipArgs};
use super::identity_args::IdentityArgs;
use tbprov::files::{self, Access};
use tbprov::firmware::{Board, Chip, Crystal, Image, Part, Place, read_elf};
use tbprov::text::shown_path;
use tbprov::{Result, Step};

/// Write one file with everything that a board needs in its flash: bootloader, partition table, application, and with
/// --device the device's identity.
///
/// It is written to the first byte of the flash, by any tool. With --device it holds the private key, and only its
/// owner may read it.
#[derive(Debug, Args)]
pub(in crate::cli) struct FirmwareImageArgs {
    #[command(flatten)]
    chip: ChipArgs,
    /// The file to write; it must not exist.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// The device whose identity goes into the image [default: none; the same image serves every device].
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) ledger: LedgerArgs,
    /// An application that is built already [default: build it].
    #[arg(long, value_name = "FILE")]
    elf: Option<PathBuf>,
    /// The board's crystal in MHz, for the bootloaders of ESP32 and ESP32-C2 [default: 40].
    #[arg(long, value_name = "MHZ")]
    crystal: Option<u32>,
    #[command(flatten)]
    build: BuildArgs,
    #[command(flatten)]
    identity: IdentityArgs,
}

impl FirmwareImageArgs {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<ExitCode> {
        // What can be refused is, before anything takes long.
        refuse_existing(&self.out)?;
        let chip = self.chip.chip(context).await?;
        let identity = match &self.device {
            Some(name) => {
                let device = context.device(Some(name)).await?;
                let dialer = self.identity.dialer(context, &device).await?;
                self.identity.warn_without_network(context, &device, chip, self.build.ethernet).await?;
                Some((
                    device.shown_name().to_owned(),
                    self.identity.partition(context, &device, &dialer).await?,
                ))
            }
            None => None,
        };
        let mut image = self.image(context, chip).await?;
        let mut device = None;
        let mut access = Access::Everybody;
        if let Some((name, partition)) = identity {
            image = image.with_identity(partition)?;
            device = Some(name);
            access = Access::Owner;
        }
        files::write_new(&self.out, &image.to_file_bytes(), access)?;
        context.output.result("firmware image", &ImageResult::new(&image, self.out, device));
        Ok(ExitCode::SUCCESS)
    }

    /// The image without an identity.
    async fn image(&self, context: &Context, chip: Chip) -> Result<Image> {
        let (bytes, partitions) = match &self.elf {
            Some(elf) => {
                let partitions = self.build.partitions(context)?;
                context.progress.begin(Step::Image);
                (read_elf(elf)?, partitions)
            }
            None => {
                let recipe = self.build.recipe(context)?;
                let built = recipe.build(Board::Chip(chip), &context.progress).await?;
                (built.bytes, recipe.sources.partitions().to_owned())
            }
        };
        let crystal = self.crystal.map(Crystal::of_megahertz).transpose()?;
        Image::for_crystal(&bytes, chip, &partitions, crystal)
    }
}

/// The result of `firmware image`. Documented in `docs/protocol.md`.
#[derive(Serialize)]
struct ImageResult {
    board: Chip,
    device: Option<String>,
    file: PathBuf,
    bytes: usize,
    sha256: String,
    parts: Vec<Place>,
}

impl ImageResult {
    fn new(image: &Image, file: PathBuf, device: Option<String>) -> Self {
        Self {
            board: image.chip,
            device,
            file,
            bytes: image.to_file_bytes().len(),
            sha256: image.sha256(),
            parts: image.parts.iter().map(Part::place).collect(),
        }
    }
}

impl fmt::Display for ImageResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.device.as_ref().map_or_else(
            || "for every device".to_owned(),
            |device| format!("with the identity of {device} and its private key: delete it after use"),
        );
        writeln!(formatter, "{}: {} bytes for {}, {what}", shown_path(&self.file), self.bytes, self.board)?;
        for part in &self.parts {
            writeln!(formatter, "  {:#08x} {:<16} {:>9} bytes", part.offset, part.name.as_str(), part.bytes)?;
        }
        writeln!(formatter, "write it to the flash from address 0 on, or use: tbprov firmware flash")
    }
}
