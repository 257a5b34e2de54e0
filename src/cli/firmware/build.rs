//! `tbprov firmware build`

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::super::context::Context;
use super::build_args::{BuildArgs, ChipArgs};
use tbprov::Result;
use tbprov::firmware::toolchain::Library;
use tbprov::firmware::{Board, Built, Image, Recipe, Size};
use tbprov::text::shown_path;

/// Build the firmware for a chip, and show how large it is.
///
/// It is the same for every device: it contains no identity and no secret. The compiler is found where rustup or Debian
/// put it; where one is missing, the error names the command that installs it.
#[derive(Debug, Args)]
pub(in crate::cli) struct FirmwareBuildArgs {
    #[command(flatten)]
    chip: ChipArgs,
    /// A board instead of a chip.
    #[arg(long, value_name = "BOARD", conflicts_with = "chip")]
    board: Option<EmulatedBoard>,
    #[command(flatten)]
    build: BuildArgs,
}

/// A board that is not a chip.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum EmulatedBoard {
    /// The machine of QEMU that 'tbprov firmware emulate' runs.
    Virt,
}

impl FirmwareBuildArgs {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<ExitCode> {
        let board = match self.board {
            Some(EmulatedBoard::Virt) => Board::Virt,
            None => Board::Chip(self.chip.chip(context).await?),
        };
        let recipe = self.build.recipe(context)?;
        let built = recipe.build(board, &context.progress).await?;
        context.output.result("firmware build", &BuildResult::new(&recipe, built)?);
        Ok(ExitCode::SUCCESS)
    }
}

/// The result of `firmware build`. Documented in `docs/protocol.md`.
#[derive(Serialize)]
struct BuildResult {
    board: Board,
    features: Vec<String>,
    elf: PathBuf,
    compiler: Compiler,
    #[serde(flatten)]
    size: Size,
}

#[derive(Serialize)]
struct Compiler {
    version: String,
    library: Library,
}

impl BuildResult {
    fn new(recipe: &Recipe, built: Built) -> Result<Self> {
        let image = match built.board {
            Board::Virt => None,
            Board::Chip(chip) => Some(Image::from_elf(&built.bytes, chip, recipe.sources.partitions())?),
        };
        Ok(Self {
            board: built.board,
            size: Size::of(&built.bytes, built.board, image.as_ref())?,
            features: built.features,
            elf: built.elf,
            compiler: Compiler { version: built.toolchain.version, library: built.toolchain.library },
        })
    }
}

impl fmt::Display for BuildResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}: {}", self.board, shown_path(&self.elf))?;
        for section in &self.size.sections {
            writeln!(formatter, "  {:<24} {:>9}", section.name, section.bytes)?;
        }
        if let Some(image) = &self.size.image {
            let percent = image.bytes * 100 / image.partition.max(1);
            writeln!(
                formatter,
                "  {:<24} {:>9} of {} bytes ({percent} %)",
                "image", image.bytes, image.partition
            )?;
        }
        writeln!(formatter, "  {:<24} {:>9} bytes", "static RAM", self.size.static_ram)
    }
}
