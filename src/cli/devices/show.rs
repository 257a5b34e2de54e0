//! `tbprov devices show`

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::super::context::Context;
use super::super::ledger_args::LedgerArgs;
use tbprov::clock;
use tbprov::ledger::{Entry, Flashed, NamedIdentity, Record};
use tbprov::text::shown_path;
use tbprov::{Error, ErrorCode, Result};

/// Show one device.
#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// The device.
    name: String,
    #[command(flatten)]
    pub(in crate::cli) ledger: LedgerArgs,
}

impl ShowArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        let device = context.device(Some(&self.name)).await?;
        context.credentials(&device).await?;
        context.output.result("devices show", &ShowResult::new(device)?);
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Serialize)]
pub(super) struct ShowResult {
    directory: Option<PathBuf>,
    #[serde(flatten)]
    members: Members,
    #[serde(skip)]
    record: Record,
}

/// The members of a record.
pub(in crate::cli) type Members = serde_json::Map<String, Value>;

/// The record's members, with those of the current identity beside the device's own. Its `schema` would stand beside the
/// result's, unless the record is a part of one.
pub(in crate::cli) fn members(record: &Record, with_schema: bool) -> Result<Members> {
    let failed =
        |error: serde_json::Error| Error::new(ErrorCode::Bug, "the record could not be shown").source(error);
    let mut members: Members =
        serde_json::to_value(record).and_then(serde_json::from_value).map_err(failed)?;
    if !with_schema {
        members.remove("schema");
    }
    for beside in ["candidate", "previous"] {
        members.entry(beside).or_insert(Value::Null);
    }
    members.insert("days_left".to_owned(), days_left(record, clock::now()).into());
    members.insert("board".to_owned(), board(record).map(|(whose, _)| whose).into());
    Ok(members)
}

/// Whole days until the certificate ends; less than none once it has ended.
pub(super) fn days_left(record: &Record, now: OffsetDateTime) -> Option<i64> {
    let left = record.identity.not_after? - now;
    // What ended an hour ago has not 0 days left.
    Some(if left.is_negative() { left.whole_days() - 1 } else { left.whole_days() })
}

/// Which of the device's identities a board carries, and the board.
pub(in crate::cli) fn board(record: &Record) -> Option<(&'static str, &Flashed)> {
    let previous = record.previous.as_ref().and_then(|previous| previous.identity.flashed.as_ref());
    match (&record.identity.flashed, previous) {
        (Some(board), _) => Some(("current", board)),
        (None, Some(board)) => Some(("previous", board)),
        (None, None) => None,
    }
}

impl ShowResult {
    pub(super) fn new(device: Entry) -> Result<Self> {
        let members = members(&device.record, false)?;
        Ok(Self { directory: device.directory, members, record: device.record })
    }
}

impl fmt::Display for ShowResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = &self.record;
        let identity = &record.identity;
        let name = record.device.as_deref().unwrap_or("(named by the server)");
        writeln!(formatter, "device          {name}")?;
        writeln!(formatter, "state           {}", identity.state.as_str())?;
        writeln!(formatter, "server          {}", record.host.with_port(record.port))?;
        if record.skip_name_check {
            writeln!(
                formatter,
                "name check      skipped: a run without --skip-name-check takes that back if it can"
            )?;
        }
        writeln!(formatter, "credentials     {}", identity.credentials_type)?;
        if let Some(id) = &identity.credentials_id {
            writeln!(formatter, "credentialsId   {id}")?;
        }
        if let Some(key_type) = identity.key_type {
            writeln!(formatter, "key             {key_type}")?;
        }
        if let (Some(end), Some(days)) = (identity.not_after, days_left(record, clock::now())) {
            let left = match days {
                i64::MIN..=-1 => "it has ended".to_owned(),
                0 => "less than a day left".to_owned(),
                1 => "1 day left".to_owned(),
                days => format!("{days} days left"),
            };
            writeln!(formatter, "valid until     {} ({left})", end.date())?;
        }
        for (what, beside) in [("candidate", &record.candidate), ("previous", &record.previous)] {
            if let Some(NamedIdentity { name, identity }) = beside {
                writeln!(formatter, "{what:<15} {name} ({})", identity.state.as_str())?;
            }
        }
        if let Some((whose, Flashed { at, chip, mac, .. })) = board(record) {
            let old = if whose == "previous" { ", with the previous identity" } else { "" };
            writeln!(formatter, "flashed         {} to {chip} {mac}{old}", at.date())?;
        }
        if let Some(refused) = &record.refused {
            writeln!(
                formatter,
                "last refused    {} {}: {}",
                refused.at.date(),
                refused.code,
                refused.message
            )?;
        }
        match &self.directory {
            Some(directory) => writeln!(formatter, "saved in        {}", shown_path(directory)),
            None => Ok(()),
        }
    }
}
