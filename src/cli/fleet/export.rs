//! `tbprov fleet export`

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::super::context::Context;
use super::super::new_file::refuse_existing;
use super::FleetArgs;
use tbprov::error::EXIT_PARTLY;
use tbprov::files::{Access, NewFile};
use tbprov::fleet::export::{self, Columns, Exported};
use tbprov::ledger::folder::Folders;
use tbprov::ledger::roster::Roster;
use tbprov::text::shown_path;
use tbprov::{Error, Result, Step};

/// Take the devices out, for others: into a store, as certificates, or as a table that ThingsBoard imports. The ledger
/// keeps them. You can repeat it: what is there already stays.
#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArgs {
    /// What to write.
    #[arg(long, value_name = "WHAT")]
    to: To,
    /// The folder, or the file of the table, which must not exist.
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// The device profile in the table. ThingsBoard makes one where it has none of this name.
    #[arg(long, value_name = "NAME", default_value = "default")]
    profile: String,
    #[command(flatten)]
    ledger: FleetArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum To {
    /// A store: a folder a device, with its key.
    Store,
    /// A folder with NAME.pem for each device, without its key.
    Certificates,
    /// ThingsBoard's table for importing devices (CSV).
    Thingsboard,
}

impl ExportArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        self.ledger.alone(context)?;
        if self.to == To::Thingsboard {
            refuse_existing(&self.path)?;
        }
        let roster = context.roster(self.ledger.path()).await?;
        let devices = self.write(context, &roster).await?;
        let result = ExportResult { to: self.to, path: self.path, devices };
        context.output.result("fleet export", &result);
        Ok(if devices.failed > 0 { ExitCode::from(EXIT_PARTLY) } else { ExitCode::SUCCESS })
    }

    async fn write(&self, context: &Context, roster: &Arc<dyn Roster>) -> Result<Exported> {
        let mut told = |name: &str, error: &Error| {
            let (code, name) = (error.code.as_str(), tbprov::text::shown(name));
            context.progress.warn(format!("'{name}' was not exported ({code}): {}", error.message));
        };
        context.progress.begin(Step::Stage);
        match self.to {
            To::Store => {
                let store = Folders::told_to(&self.path, context.progress.clone());
                export::to_store(roster, &store, &mut told).await
            }
            To::Certificates => export::certificates(roster, &self.path, &mut told).await,
            To::Thingsboard => table(&**roster, &self.path, &self.profile).await,
        }
    }
}

async fn table(roster: &dyn Roster, path: &Path, profile: &str) -> Result<Exported> {
    let mut file = NewFile::begin(path, Access::Everybody)?;
    let exported = export::table(roster, Columns { profile }, &mut file).await?;
    file.finish()?;
    Ok(exported)
}

#[derive(Serialize)]
struct ExportResult {
    to: To,
    path: PathBuf,
    #[serde(flatten)]
    devices: Exported,
}

impl fmt::Display for ExportResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Exported { written, unchanged, skipped, failed } = self.devices;
        write!(formatter, "{}: {written} written", shown_path(&self.path))?;
        for (count, what) in
            [(unchanged, "there already"), (skipped, "without an identity of this kind"), (failed, "failed")]
        {
            if count > 0 {
                write!(formatter, ", {count} {what}")?;
            }
        }
        writeln!(formatter)
    }
}
