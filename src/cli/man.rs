//! `tbprov man`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _};

use super::Cli;
use super::context::Context;
use tbprov::files::{self, Access};
use tbprov::{Error, ErrorCode, Result};

/// Print the manual page, or write one for each command.
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Write tbprov.1, tbprov-provision.1 and so on to this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl ManArgs {
    pub(super) fn run(self, context: &Context) -> Result<ExitCode> {
        let mut command = Cli::command().disable_help_subcommand(true);
        command.build();
        let Some(folder) = self.out else {
            context.output.data(&page(&command)?);
            return Ok(ExitCode::SUCCESS);
        };
        files::create_directory(&folder)?;
        write_pages(&command, &folder)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn write_pages(command: &clap::Command, folder: &std::path::Path) -> Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    files::write_new(&folder.join(format!("{name}.1")), page(command)?.as_bytes(), Access::Everybody)?;
    command.get_subcommands().try_for_each(|subcommand| write_pages(subcommand, folder))
}

fn page(command: &clap::Command) -> Result<String> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone())
        .render(&mut text)
        .map_err(|error| Error::new(ErrorCode::Bug, "the manual page could not be made").source(error))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
