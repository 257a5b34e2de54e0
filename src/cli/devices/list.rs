//! `tbprov devices list`

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::super::context::Context;
use super::super::ledger_args::LedgerArgs;
use super::show::{Members, board, days_left, members};
use tbprov::clock;
use tbprov::ledger::{Entry, Record};
use tbprov::text::shown_path;
use tbprov::{DeviceId, Result};

/// List every device: state, server, end of its certificate, credentialsId.
#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    pub(in crate::cli) ledger: LedgerArgs,
}

pub(super) async fn run(context: &Context) -> Result<ExitCode> {
    let devices = context.ledger.list().await?;
    let devices = devices.into_iter().map(|(id, device)| Row::new(id, device)).collect::<Result<Vec<_>>>()?;
    if let Some(end) = ends_soon(&devices) {
        context.progress.warn(end);
    }
    context.output.result("devices list", &ListResult::new(context, devices));
    Ok(ExitCode::SUCCESS)
}

/// Days before the end of a certificate from which on it is warned of.
const SOON: i64 = 30;

#[derive(Serialize)]
struct ListResult {
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<PathBuf>,
    devices: Vec<Row>,
}

impl ListResult {
    fn new(context: &Context, devices: Vec<Row>) -> Self {
        let ledger = context.ledger_file.clone();
        let store = ledger.is_none().then(|| context.store.clone());
        Self { store, ledger, devices }
    }
}

/// A device of the list, or why it cannot be read.
#[derive(Serialize)]
struct Row {
    folder: DeviceId,
    #[serde(flatten)]
    members: Option<Members>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    record: Option<Record>,
}

impl Row {
    /// The device's name; that of its folder where it has none, or none that can be read.
    fn name(&self) -> &str {
        let name = self.record.as_ref().and_then(|record| record.device.as_deref());
        name.unwrap_or_else(|| self.folder.as_str())
    }

    fn new(folder: DeviceId, device: Result<Entry>) -> Result<Self> {
        Ok(match device {
            Ok(device) => {
                let members = members(&device.record, true)?;
                Self { folder, members: Some(members), error: None, record: Some(device.record) }
            }
            Err(error) => Self { folder, members: None, error: Some(error.message), record: None },
        })
    }
}

/// What is said of certificates that end within [`SOON`] days, or have ended.
fn ends_soon(devices: &[Row]) -> Option<String> {
    let now = clock::now();
    let left = devices.iter().filter_map(|row| days_left(row.record.as_ref()?, now));
    let (mut ended, mut soon) = (0_usize, 0_usize);
    for days in left {
        match days {
            i64::MIN..0 => ended += 1,
            0..SOON => soon += 1,
            _ => {}
        }
    }
    let counted = |count, one: &str, several: &str| match count {
        1 => format!("1 certificate {one}"),
        count => format!("{count} certificates {several}"),
    };
    let ended_words = counted(ended, "has ended", "have ended");
    let soon_words = counted(soon, "ends", "end") + &format!(" within {SOON} days");
    let what = match (ended, soon) {
        (0, 0) => return None,
        (0, _) => soon_words,
        (_, 0) => ended_words,
        _ => format!("{ended_words}, {soon_words}"),
    };
    Some(format!("{what}: 'tbprov rotate --expiring {SOON}d' makes new ones"))
}

impl fmt::Display for ListResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.devices.is_empty() {
            let (place, command) = match (&self.ledger, &self.store) {
                (Some(ledger), _) => (shown_path(ledger), "fleet run"),
                (None, store) => (shown_path(store.as_deref().unwrap_or(Path::new(""))), "provision"),
            };
            return write!(formatter, "{place} has no device yet: make one with 'tbprov {command}'");
        }
        let lengths = self.devices.iter().map(|entry| entry.name().chars().count());
        let width = lengths.max().unwrap_or(0).clamp(6, 40);
        writeln!(
            formatter,
            "{:<width$}  {:<8}  {:<10}  {:>5}  {:<28}  CREDENTIALSID",
            "DEVICE", "STATE", "EXPIRES", "DAYS", "SERVER"
        )?;
        for row @ Row { record, error, .. } in &self.devices {
            let name = row.name();
            let Some(record) = record else {
                writeln!(formatter, "{name:<width$}  damaged   {}", error.as_deref().unwrap_or_default())?;
                continue;
            };
            let identity = &record.identity;
            let end = identity.not_after.map_or_else(|| "-".to_owned(), |end| end.date().to_string());
            let days =
                days_left(record, clock::now()).map_or_else(|| "-".to_owned(), |days| days.to_string());
            let server = record.host.with_port(record.port).to_string();
            let id = identity.credentials_id.as_deref().unwrap_or("-");
            let state = identity.state.as_str();
            writeln!(formatter, "{name:<width$}  {state:<8}  {end:<10}  {days:>5}  {server:<28}  {id}")?;
            if let Some(("previous", board)) = board(record) {
                writeln!(formatter, "{:<width$}  its board ({}) has the previous identity", "", board.mac)?;
            }
            if record.rotates() {
                writeln!(formatter, "{:<width$}  its rotation is not finished", "")?;
            }
        }
        Ok(())
    }
}
