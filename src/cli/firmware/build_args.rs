//! What is built, the same for every command that builds.

use std::path::{Path, PathBuf};

use clap::Args;

use super::super::context::Context;
use super::super::prompt::Question;
use crate::cli::advice;
use tbprov::firmware::{Chip, Recipe, Sources, sources};
use tbprov::{Result, Step};

/// The chip that the firmware is for.
#[derive(Debug, Args)]
pub(super) struct ChipArgs {
    /// The chip: esp32, esp32c2, esp32c3, esp32c6, esp32h2 or esp32s3 [default: chip in tbprov.toml, else asked
    /// for].
    #[arg(long, env = "TBPROV_CHIP", value_name = "CHIP", value_parser = clap_chip)]
    chip: Option<Chip>,
}

const CHIP: Question =
    Question { text: "Chip", otherwise: "--chip CHIP, TBPROV_CHIP or chip = \"…\" in tbprov.toml" };

impl ChipArgs {
    /// The chip by flag, variable, configuration or prompt.
    pub(super) async fn chip(&self, context: &Context) -> Result<Chip> {
        match named_chip(self.chip, context)? {
            Some(chip) => Ok(chip),
            None => CHIP.ask(context, Some(Chip::Esp32C3.name()), str::parse).await,
        }
    }
}

/// The chip by flag, variable or configuration.
pub(super) fn named_chip(chip: Option<Chip>, context: &Context) -> Result<Option<Chip>> {
    match (chip, &context.config.chip) {
        (None, Some(chip)) => chip.parse().map(Some),
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
    pub(super) ethernet: bool,
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
        context.progress.begin(Step::Plan);
        match (self.sources.find(context), self.sources.named(context)) {
            (Err(_), None) => Ok(sources::embedded_partitions()?),
            (found, _) => Ok(found?.partitions().to_owned()),
        }
    }

    /// What is built.
    pub(super) fn recipe(&self, context: &Context) -> Result<Recipe> {
        self.sources.recipe(context, self.ethernet)
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

    /// What is built; `ethernet` instead of WiFi where there is a choice.
    pub(super) fn recipe(&self, context: &Context, ethernet: bool) -> Result<Recipe> {
        context.progress.begin(Step::Plan);
        let sources = self.find(context)?;
        let show_progress = context.output.lets_others_talk();
        Ok(Recipe { sources, ethernet, features: self.features.clone(), show_progress })
    }
}

/// For clap.
pub(super) fn clap_chip(text: &str) -> std::result::Result<Chip, String> {
    text.parse().map_err(|error: tbprov::Error| format!("{}; {}", error.message, advice::help(&error)))
}
