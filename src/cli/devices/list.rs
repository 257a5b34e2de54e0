//! `tbprov devices list`

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::super::context::Context;
use super::show::{Members, members};
use tbprov::ledger::{Entry, Record};
use tbprov::text::shown_path;
use tbprov::{DeviceId, Result};

pub(super) async fn run(context: &Context) -> Result<ExitCode> {
    let devices = context.ledger.list().await?;
    let devices = devices.into_iter().map(|(id, device)| Row::new(id, device)).collect::<Result<_>>()?;
    context.output.result("devices list", &ListResult { store: context.store.clone(), devices });
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct ListResult {
    store: PathBuf,
    devices: Vec<Row>,
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

impl fmt::Display for ListResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.devices.is_empty() {
            let store = shown_path(&self.store);
            return write!(formatter, "{store} has no device yet: make one with 'tbprov provision'");
        }
        let lengths = self.devices.iter().map(|entry| entry.name().chars().count());
        let width = lengths.max().unwrap_or(0).clamp(6, 40);
        writeln!(
            formatter,
            "{:<width$}  {:<8}  {:<10}  {:<28}  CREDENTIALSID",
            "DEVICE", "STATE", "EXPIRES", "SERVER"
        )?;
        for row @ Row { record, error, .. } in &self.devices {
            let name = row.name();
            let Some(record) = record else {
                writeln!(formatter, "{name:<width$}  damaged   {}", error.as_deref().unwrap_or_default())?;
                continue;
            };
            let identity = &record.identity;
            let end = identity.not_after.map_or_else(|| "-".to_owned(), |end| end.date().to_string());
            let server = record.host.with_port(record.port).to_string();
            let id = identity.credentials_id.as_deref().unwrap_or("-");
            let state = identity.state.as_str();
            writeln!(formatter, "{name:<width$}  {state:<8}  {end:<10}  {server:<28}  {id}")?;
        }
        Ok(())
    }
}
