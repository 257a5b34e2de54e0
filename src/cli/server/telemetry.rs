//! `tbprov server telemetry`

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use super::super::context::Context;
use super::device::in_store;
use super::{ApiArgs, moment, name_of, no_device};
use crate::output::Format;
use tbprov::event::Event;
use tbprov::rest::{Account, Device, Range, TelemetryValue};
use tbprov::text::{escaped, shown};
use tbprov::{Error, ErrorCode, Result};

/// After every time that can be written: the end of the year 9999, in milliseconds since 1970.
const EVER: i64 = 253_402_300_800_000;

/// How often new values are looked for.
const POLL: Duration = Duration::from_secs(1);

/// New values of a key between two looks, at the most: the latest ones.
const MOST_NEW: u32 = 1000;

/// Show what the server has stored of a device, the newest values first.
#[derive(Debug, Args)]
pub(in crate::cli) struct TelemetryArgs {
    /// The device's name at the server.
    name: String,
    /// These keys alone, separated by commas [default: all].
    #[arg(long, value_name = "KEYS", value_delimiter = ',')]
    keys: Vec<String>,
    /// Values of each key.
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    last: u32,
    /// Go on, and show each new value, until Ctrl-C.
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    api: ApiArgs,
}

type Values = BTreeMap<String, Vec<TelemetryValue>>;

impl TelemetryArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        let name = name_of(&self.name)?;
        if self.keys.iter().any(|key| key.trim().is_empty()) {
            return Err(Error::new(ErrorCode::UsageInvalid, "--keys has an empty key"));
        }
        let (account, device) = context.interruptible(self.find(context, name)).await?;
        let source = Source { account: &account, device: &device, wanted: &self.keys, context };
        let (keys, unknown) = context.interruptible(source.keys()).await?;
        if keys.is_empty() && !unknown.is_empty() && !self.follow {
            return Err(no_values(name, &account, &unknown));
        }
        for key in &unknown {
            context.progress.warn(format!("the server has no value of '{}'", shown(key)));
        }
        let range = Range { from: 0, to: EVER, limit: self.last };
        let values = context.interruptible(source.between(&keys, range)).await?;
        let mut result = TelemetryResult::new(&account, name, values, unknown);
        if self.follow {
            source.follow(&mut result).await?;
        } else {
            context.output.result("server telemetry", &result);
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn find(&self, context: &Context, name: &str) -> Result<(Account, Device)> {
        let account = self.api.account(context).await?;
        match account.device(name, &context.progress).await? {
            Some(device) => Ok((account, device)),
            None => Err(no_device(&account, name, context, in_store(context, name).await?.as_ref())),
        }
    }
}

fn no_values(name: &str, account: &Account, unknown: &[String]) -> Error {
    let keys: Vec<_> = unknown.iter().map(|key| format!("'{}'", shown(key))).collect();
    let message = format!("{} has no value of {} for '{}'", account.url(), keys.join(", "), shown(name));
    Error::new(ErrorCode::RestNotFound, message)
}

/// Where the values come from.
struct Source<'a> {
    account: &'a Account,
    device: &'a Device,
    wanted: &'a [String],
    context: &'a Context,
}

impl Source<'_> {
    /// The keys that are shown, and those that were asked for and are not there.
    async fn keys(&self) -> Result<(Vec<String>, Vec<String>)> {
        let mut known = self.account.telemetry_keys(self.device, &self.context.progress).await?;
        known.sort();
        if self.wanted.is_empty() {
            // A call names keys with commas between them.
            let (odd, known): (Vec<_>, Vec<_>) = known.into_iter().partition(|key| key.contains(','));
            for key in odd {
                self.context.progress.warn(format!("'{}' is left out: a comma is in the key", shown(&key)));
            }
            return Ok((known, Vec::new()));
        }
        Ok(self.wanted.iter().cloned().partition(|key| known.binary_search(key).is_ok()))
    }

    async fn between(&self, keys: &[String], range: Range) -> Result<Values> {
        if keys.is_empty() {
            return Ok(Values::new());
        }
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        self.account.telemetry(self.device, &keys, Some(range), &self.context.progress).await
    }

    /// Shows what is there, and then what is new, until the user ends it or nobody reads.
    async fn follow(&self, result: &mut TelemetryResult) -> Result<()> {
        let stop = self.context.interrupt_or_unread();
        let mut seen: BTreeMap<String, i64> = BTreeMap::new();
        let mut begun: Vec<_> = result.all().map(|(key, value)| (key.to_owned(), value.clone())).collect();
        begun.sort_by_key(|(_, value)| value.ts);
        for (key, value) in &begun {
            seen.insert(key.clone(), value.ts);
            self.tell(key, value);
        }
        loop {
            let new = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                new = self.newer(&seen) => new?,
            };
            for (key, value) in new {
                self.tell(&key, &value);
                seen.insert(key.clone(), value.ts);
                result.add(key, value);
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(POLL) => {}
            }
        }
        if self.context.output.format() != Format::Human {
            self.context.output.result("server telemetry", result);
        }
        Ok(())
    }

    /// What is newer than what was seen, the oldest first.
    async fn newer(&self, seen: &BTreeMap<String, i64>) -> Result<Vec<(String, ValueResult)>> {
        let keys: Vec<_> = self.wanted.iter().map(String::as_str).collect();
        let latest = self.account.telemetry(self.device, &keys, None, &self.context.progress).await?;
        let last = |key: &str| seen.get(key).copied().unwrap_or(-1);
        let is_new = |key: &String, values: &Vec<TelemetryValue>| {
            let is_value = |value: &TelemetryValue| value.value.get() != "null" && value.ts > last(key);
            !key.contains(',') && values.iter().any(is_value)
        };
        let grown: Vec<_> = latest.iter().filter(|(key, values)| is_new(key, values)).collect();
        let grown: Vec<_> = grown.into_iter().map(|(key, _)| key.clone()).collect();
        let from = grown.iter().map(|key| last(key).saturating_add(1)).min().unwrap_or_default();
        let values = self.between(&grown, Range { from, to: EVER, limit: MOST_NEW }).await?;
        let mut new: Vec<_> = flat(values).filter(|(key, value)| value.ts > last(key)).collect();
        new.sort_by_key(|(_, value)| value.ts);
        Ok(new)
    }

    /// One value, as it is followed.
    fn tell(&self, key: &str, value: &ValueResult) {
        match self.context.output.format() {
            Format::Human => self.context.output.data(&line(key, value)),
            Format::Events => self.context.progress.event(&Event::ValueSeen {
                key: key.to_owned(),
                ts: value.ts,
                value: value.value.clone(),
            }),
            Format::Json => {}
        }
    }
}

fn flat(values: Values) -> impl Iterator<Item = (String, ValueResult)> {
    values.into_iter().flat_map(|(key, values)| {
        values.into_iter().map(move |value| (key.clone(), ValueResult::from(value)))
    })
}

fn line(key: &str, ValueResult { ts, time, value }: &ValueResult) -> String {
    let time = time.clone().unwrap_or_else(|| ts.to_string());
    format!("{time}  {}  {}", escaped(key), escaped(value.get()))
}

/// The result of `server telemetry`. Documented in `docs/protocol.md`.
#[derive(Serialize)]
struct TelemetryResult {
    api_url: String,
    device: String,
    values: BTreeMap<String, Vec<ValueResult>>,
    unknown_keys: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
struct ValueResult {
    ts: i64,
    time: Option<String>,
    value: Box<RawValue>,
}

impl From<TelemetryValue> for ValueResult {
    fn from(TelemetryValue { ts, value }: TelemetryValue) -> Self {
        Self { ts, time: moment(ts), value }
    }
}

impl TelemetryResult {
    fn new(account: &Account, device: &str, values: Values, unknown_keys: Vec<String>) -> Self {
        let mut result = Self {
            api_url: account.url().to_string(),
            device: device.to_owned(),
            values: BTreeMap::new(),
            unknown_keys,
        };
        for (key, value) in flat(values) {
            result.values.entry(key).or_default().push(value);
        }
        for values in result.values.values_mut() {
            values.sort_by_key(|value| std::cmp::Reverse(value.ts));
        }
        result
    }

    /// Takes a value in that is newer than all others of its key.
    fn add(&mut self, key: String, value: ValueResult) {
        self.unknown_keys.retain(|unknown| *unknown != key);
        let values = self.values.entry(key).or_default();
        values.insert(0, value);
        // What goes on for ever does not grow for ever.
        values.truncate(MOST_NEW as usize);
    }

    fn all(&self) -> impl Iterator<Item = (&str, &ValueResult)> {
        self.values.iter().flat_map(|(key, values)| values.iter().map(|value| (key.as_str(), value)))
    }
}

impl fmt::Display for TelemetryResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.values.is_empty() {
            return writeln!(formatter, "{} has no telemetry at {}", escaped(&self.device), self.api_url);
        }
        for (key, value) in self.all() {
            writeln!(formatter, "{}", line(key, value))?;
        }
        Ok(())
    }
}
