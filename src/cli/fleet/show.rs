//! `tbprov fleet show`

use std::fmt;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::super::advice;
use super::super::context::Context;
use super::super::devices::show::{Members, board, members};
use super::FleetArgs;
use super::list::minute;
use tbprov::Result;
use tbprov::fleet::report::Device;
use tbprov::ledger::roster::{Happened, Shown};
use tbprov::ledger::{Flashed, Record};

/// Show one device: its row, its identity, why it is not done, and its history.
#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// The device.
    name: String,
    #[command(flatten)]
    ledger: FleetArgs,
}

impl ShowArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        self.ledger.alone(context)?;
        let roster = context.roster(self.ledger.path()).await?;
        let shown = roster.show(&self.name).await?;
        context.output.result("fleet show", &ShowResult::new(shown)?);
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Serialize)]
struct ShowResult {
    #[serde(flatten)]
    device: Device,
    /// The device's record, as in a store; null without an identity.
    record: Option<Members>,
    history: Vec<Happened>,
    /// Whether the history is as it was written.
    history_holds: bool,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    history_broken: Option<String>,
    #[serde(skip)]
    known: Option<Record>,
}

impl ShowResult {
    fn new(shown: Shown) -> Result<Self> {
        let Shown { listed, history, broken } = shown;
        let known = listed.entry.as_ref().map(|entry| entry.record.clone());
        Ok(Self {
            record: known.as_ref().map(|record| members(record, true)).transpose()?,
            device: Device::new(listed, advice::of_code),
            history,
            history_holds: broken.is_none(),
            history_broken: broken,
            known,
        })
    }
}

impl fmt::Display for ShowResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        row(formatter, &self.device)?;
        if let Some(record) = &self.known {
            identity(formatter, &self.device, record)?;
        }
        progress(formatter, &self.device)?;
        writeln!(formatter)?;
        for happened in &self.history {
            history_line(formatter, happened)?;
        }
        match &self.history_broken {
            None => writeln!(formatter, "the hashes hold"),
            Some(why) => writeln!(formatter, "THE HASHES DO NOT HOLD: {why}"),
        }
    }
}

fn line(formatter: &mut fmt::Formatter<'_>, what: &str, text: &str) -> fmt::Result {
    writeln!(formatter, "{what:<15} {text}")
}

fn row(formatter: &mut fmt::Formatter<'_>, device: &Device) -> fmt::Result {
    line(formatter, "device", &device.device)?;
    let wifi = ("wi-fi", &device.wifi_ssid);
    for (what, text) in [("label", &device.label), ("serial", &device.serial), ("mac", &device.mac), wifi] {
        if let Some(text) = text {
            line(formatter, what, text)?;
        }
    }
    if device.gateway {
        line(formatter, "gateway", "yes")?;
    }
    for (key, value) in &device.client {
        line(formatter, &format!("client.{key}"), &value.to_string())?;
    }
    for (key, text) in &device.x {
        line(formatter, &format!("x.{key}"), text)?;
    }
    match &device.manifest {
        Some(from) => line(formatter, "from", &format!("{}, line {}", from.name, from.line)),
        None => Ok(()),
    }
}

fn identity(formatter: &mut fmt::Formatter<'_>, device: &Device, record: &Record) -> fmt::Result {
    line(formatter, "server", &record.host.with_port(record.port).to_string())?;
    line(formatter, "credentials", &record.identity.credentials_type.to_string())?;
    if let Some(id) = &device.credentials_id {
        line(formatter, "credentialsId", id)?;
    }
    if let Some(key_type) = record.identity.key_type {
        line(formatter, "key", &key_type.to_string())?;
    }
    if let Some(end) = device.not_after {
        line(formatter, "valid until", &end.date().to_string())?;
    }
    if record.rotates() {
        line(formatter, "rotation", "not finished")?;
    }
    match board(record) {
        Some((whose, Flashed { at, chip, mac, .. })) => {
            let old = if whose == "previous" { ", with the previous identity" } else { "" };
            line(formatter, "board", &format!("{chip} {mac}, written on {}{old}", at.date()))
        }
        None => Ok(()),
    }
}

fn progress(formatter: &mut fmt::Formatter<'_>, device: &Device) -> fmt::Result {
    let ended = device.ended.map(|ended| format!(" since {} UTC", minute(ended))).unwrap_or_default();
    line(formatter, "state", &format!("{}{ended}", device.state.as_str()))?;
    line(formatter, "tries", &device.attempts.to_string())?;
    if let Some(again) = device.retry_at {
        line(formatter, "again at", &format!("{} UTC", minute(again)))?;
    }
    if let Some(why) = &device.error {
        line(formatter, "why", &format!("{} at {}: {}", why.code, why.step, why.message))?;
        line(formatter, "help", &why.help)?;
    }
    Ok(())
}

fn history_line(formatter: &mut fmt::Formatter<'_>, happened: &Happened) -> fmt::Result {
    let Happened { number, at, kind, detail, run, fence, hash } = happened;
    let second = at.second();
    write!(
        formatter,
        "{number:>6}  {}:{second:02}  {kind:<9}  {}",
        minute(*at),
        hash.get(..16).unwrap_or(hash)
    )?;
    if let Some(run) = run {
        write!(formatter, "  run {run}, lease {fence}")?;
    }
    match detail {
        None | Some(Value::Null) => writeln!(formatter),
        Some(detail) => writeln!(formatter, "  {detail}"),
    }
}
