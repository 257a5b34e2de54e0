//! What is built, the same for every command that builds.

use std::path::{Path, PathBuf};

use clap::Args;

use super::super::context::Context;
use super::super::prompt::Question;
use crate::cli::advice;
use tbprov::error::Hint;
use tbprov::firmware::toolchain::Machine;
use tbprov::firmware::{Board, BuildPlan, Sources, Toolchain, build, sources};
use tbprov::{Error, ErrorCode, Result};

/// The chip that the firmware is for.
#[derive(Debug, Args)]
pub(super) struct ChipArgs {
    /// The chip: esp32, esp32c2, esp32c3, esp32c6, esp32h2 or esp32s3 [default: chip in tbprov.toml, else asked
    /// for].
    #[arg(long, env = "TBPROV_CHIP", value_name = "CHIP", value_parser = clap_chip)]
    chip: Option<Board>,
}

const CHIP: Question =
    Question { text: "Chip", otherwise: "--chip CHIP, TBPROV_CHIP or chip = \"…\" in tbprov.toml" };

impl ChipArgs {
    /// The chip by flag, variable, configuration or prompt.
    pub(super) async fn chip(&self, context: &Context) -> Result<Board> {
        match named_chip(self.chip, context)? {
            Some(chip) => Ok(chip),
            None => CHIP.ask(context, Some(Board::Esp32C3.name()), parse_chip).await,
        }
    }
}

/// The chip by flag, variable or configuration.
pub(super) fn named_chip(chip: Option<Board>, context: &Context) -> Result<Option<Board>> {
    match (chip, &context.config.chip) {
        (None, Some(chip)) => parse_chip(chip).map(Some),
        (chip, _) => Ok(chip),
    }
}

/// What a chip's firmware is built from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Build")]
pub(super) struct BuildArgs {
    #[command(flatten)]
    sources: SourceArgs,
    /// Ethernet by a W5500 on SPI instead of WiFi; the ESP32-H2 has nothing else.
    #[arg(long)]
    ethernet: bool,
}

/// The sources and their features.
#[derive(Debug, Args)]
#[command(next_help_heading = "Build")]
pub(super) struct SourceArgs {
    /// The folder of the firmware's sources [default: firmware-dir in tbprov.toml, else ./firmware].
    #[arg(long, env = "TBPROV_FIRMWARE_DIR", value_name = "DIR")]
    firmware_dir: Option<PathBuf>,
    /// More features of the firmware, such as chip-temperature.
    #[arg(long, value_name = "FEATURES", value_delimiter = ',')]
    features: Vec<String>,
}

impl BuildArgs {
    /// The text of the partition table: the sources', or where nobody named any and there are none, our own.
    pub(super) fn partitions(&self, context: &Context) -> Result<String> {
        match (self.sources.find(context), self.sources.named(context)) {
            (Err(_), None) => Ok(sources::embedded_partitions()?.to_owned()),
            (found, _) => found?.partitions(),
        }
    }

    /// Whether the board will look for a wireless network.
    pub(super) const fn wants_wifi(&self, board: Board) -> bool {
        board.has_wifi() && !self.ethernet
    }

    /// Finds sources and compiler, and builds.
    pub(super) async fn build(&self, context: &Context, board: Board) -> Result<Built> {
        self.sources.build(context, board, self.ethernet).await
    }
}

impl SourceArgs {
    /// The sources, by flag, variable or configuration, else in `./firmware`.
    fn find(&self, context: &Context) -> Result<Sources> {
        Sources::find(self.named(context))
    }

    fn named<'a>(&'a self, context: &'a Context) -> Option<&'a Path> {
        self.firmware_dir.as_deref().or(context.config.firmware_dir.as_deref())
    }

    /// Finds sources and compiler, and builds; `ethernet` instead of WiFi where there is a choice.
    pub(super) async fn build(&self, context: &Context, board: Board, ethernet: bool) -> Result<Built> {
        let sources = self.find(context)?;
        let directory = sources.directory().to_owned();
        let toolchain =
            in_background(move || Toolchain::find(board, &Machine::from_environment(), &directory)).await?;
        let ethernet = (ethernet && board != Board::Esp32H2).then(|| "ethernet".to_owned());
        let plan = BuildPlan {
            sources,
            board,
            features: ethernet.into_iter().chain(self.features.iter().cloned()).collect(),
            toolchain,
            show_progress: context.output.lets_others_talk(),
        };
        let elf = build(&plan, &context.progress).await?;
        let bytes = read_elf(&elf)?;
        Ok(Built { plan, elf, bytes })
    }
}

/// What was built.
pub(super) struct Built {
    pub(super) plan: BuildPlan,
    pub(super) elf: PathBuf,
    pub(super) bytes: Vec<u8>,
}

/// The bytes of an ELF file, of which the debug information is most.
pub(super) fn read_elf(path: &Path) -> Result<Vec<u8>> {
    read_file(path, 256 << 20)
}

/// The bytes of a file that becomes an image.
pub(super) fn read_file(path: &Path, largest: u64) -> Result<Vec<u8>> {
    tbprov::files::read(path, largest).map_err(|error| {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorCode::FileNotFound,
            _ => ErrorCode::FileIo,
        };
        Error::new(code, format!("cannot read {}: {error}", path.display())).source(error)
    })
}

/// Other programs are asked on a thread of its own, so that Ctrl-C is heard.
async fn in_background<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::new(ErrorCode::Bug, "the search failed").source(error))?
}

fn parse_chip(text: &str) -> Result<Board> {
    match text.parse()? {
        Board::Virt => {
            let message = "'virt' is no chip";
            Err(Error::new(ErrorCode::UsageInvalid, message).hint(Hint::BuildVirt))
        }
        chip => Ok(chip),
    }
}

/// For clap.
pub(super) fn clap_chip(text: &str) -> std::result::Result<Board, String> {
    parse_chip(text).map_err(|error| format!("{}; {}", error.message, advice::help(&error)))
}
