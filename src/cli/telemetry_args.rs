//! The flags of telemetry, the same for `provision` and `connect`.

use std::fmt;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use super::account_args::AccountArgs;
use super::context::Context;
use super::server_args::{parse_duration, parse_timeout};
use tbprov::dial::Dialer;
use tbprov::error::{EXIT_PARTLY, Hint};
use tbprov::telemetry::{self, Confirm, LONGEST_TOPIC, Readings, Report, TELEMETRY_TOPIC, TelemetryPlan};
use tbprov::text::shown;
use tbprov::{Error, ErrorCode, Result};

/// The pause between two sample readings, as the example firmware makes it.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);

/// Stands for no value at all. Nobody can give it, while an empty value may come from an unset variable.
const SAMPLES: &str = "\0";

#[derive(Debug, Args)]
#[command(next_help_heading = "Telemetry")]
pub(super) struct TelemetryArgs {
    /// Send telemetry. Without a value: sample readings of temperature and humidity. =JSON: this reading. =@FILE or
    /// =-: each line of the file or of stdin.
    #[arg(long, value_name = "JSON|@FILE|-", num_args = 0..=1, require_equals = true, default_missing_value = SAMPLES)]
    pub(super) send_telemetry: Option<String>,
    /// How many readings, 0 for no end [default: 1; every line of a file or of stdin].
    #[arg(long, value_name = "N", requires = "send_telemetry")]
    pub(super) count: Option<u64>,
    /// The pause between readings [default: 5s; none for a file or stdin].
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "send_telemetry")]
    pub(super) interval: Option<Duration>,
    /// Send up to N readings in one message; a message leaves at most 1 s after its first reading.
    #[arg(long, value_name = "N", requires = "send_telemetry", conflicts_with = "as_is")]
    batch: Option<NonZeroU64>,
    /// Send readings as they are, without a time of their own: ThingsBoard keeps one of the readings that arrive in
    /// the same millisecond.
    #[arg(long, requires = "send_telemetry")]
    as_is: bool,
    /// Leave out readings that ThingsBoard does not take or would not store, and go on; exit code 6 if there were any.
    #[arg(long, requires = "send_telemetry")]
    skip_refused: bool,
    /// End with exit code 3 when nothing is acknowledged for this time [default: never for a stream and --count 0].
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "send_telemetry")]
    give_up_after: Option<Duration>,
    /// Read each reading back from the server, by the account of --api-url, and fail with exit code 4 when one is not
    /// there. =DURATION: how long each may take [default: 10s].
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout, num_args = 0..=1, require_equals = true, default_missing_value = "10s", requires = "send_telemetry")]
    confirm: Option<Duration>,
    /// The device's name at the server, where the store does not know it, or has another one.
    #[arg(long, value_name = "NAME", requires = "confirm")]
    confirm_device: Option<String>,
    /// Client attributes to send first, a JSON object.
    #[arg(long, value_name = "JSON", requires = "send_telemetry")]
    pub(super) attributes: Option<String>,
    /// The topic, if the device profile has its own.
    #[arg(long, value_name = "TOPIC", requires = "send_telemetry", default_value = TELEMETRY_TOPIC)]
    pub(super) telemetry_topic: String,
}

impl TelemetryArgs {
    /// Whether `--send-telemetry` stands alone.
    pub(super) fn has_no_value(&self) -> bool {
        self.send_telemetry.as_deref() == Some(SAMPLES)
    }

    /// What to send, if anything.
    pub(super) fn plan(&self) -> Result<Option<TelemetryPlan>> {
        let Some(what) = &self.send_telemetry else { return Ok(None) };
        check_topic(&self.telemetry_topic)?;
        let readings = match what.as_str() {
            SAMPLES => Readings::Samples,
            "-" => Readings::Stdin,
            path if path.starts_with('@') => Readings::File(readable(&path[1..])?),
            json => Readings::Json(self.reading(json)?),
        };
        if let Some(attributes) = &self.attributes {
            check_attributes(attributes)?;
        }
        if self.batch.is_some() && !telemetry::is_telemetry(&self.telemetry_topic) {
            let message =
                format!("--batch makes arrays of readings, and '{}' takes none", self.telemetry_topic);
            return Err(Error::new(ErrorCode::UsageConflict, message));
        }
        if self.confirm.is_some() && !telemetry::is_telemetry(&self.telemetry_topic) {
            let message = format!("--confirm reads readings back, and '{}' takes none", self.telemetry_topic);
            return Err(Error::new(ErrorCode::UsageConflict, message));
        }
        let stream = readings.is_stream();
        let count = match self.count {
            Some(0) => None,
            Some(count) => Some(count),
            None => (!stream).then_some(1),
        };
        let interval = self.interval.unwrap_or(if stream { Duration::ZERO } else { DEFAULT_INTERVAL });
        Ok(Some(TelemetryPlan {
            topic: self.telemetry_topic.clone(),
            attributes: self.attributes.clone(),
            as_is: self.as_is,
            batch: self.batch,
            skip_refused: self.skip_refused,
            give_up_after: self.give_up_after,
            ..TelemetryPlan::new(readings, count, interval)
        }))
    }

    /// The plan, with who reads the readings back where that is asked for. `device` is the device's name, as far as it is
    /// known; `dialer` is that of the device.
    pub(super) async fn confirmed(
        &self,
        context: &Context,
        plan: Option<TelemetryPlan>,
        device: Option<&str>,
        account: &AccountArgs,
        dialer: &Dialer,
    ) -> Result<Option<TelemetryPlan>> {
        let Some(patience) = self.confirm else { return Ok(plan) };
        let Some(mut plan) = plan else { return Ok(None) };
        let Some(device) = self.confirm_device.as_deref().or(device) else {
            let message = "--confirm needs the device's name at the server, and tbprov does not know it";
            return Err(Error::new(ErrorCode::UsageMissing, message).hint(Hint::ConfirmedDevice));
        };
        if account.reads_stdin() && plan.readings == Readings::Stdin {
            let message = "stdin cannot give both the secret of the account and the telemetry";
            return Err(Error::new(ErrorCode::UsageConflict, message).hint(Hint::TwoReadersOfStdin));
        }
        let account = account.needed(context, dialer.timeout, dialer.proxy.clone()).await?;
        plan.confirm = Some(Confirm { account: Arc::new(account), device: device.to_owned(), patience });
        Ok(Some(plan))
    }

    /// The value of --send-telemetry, where that is JSON.
    fn reading(&self, json: &str) -> Result<String> {
        if !telemetry::is_telemetry(&self.telemetry_topic) {
            return Ok(json.to_owned());
        }
        let has_time =
            telemetry::check(json, self.as_is, "the value of --send-telemetry").map_err(|error| {
                if Path::new(json).is_file() { error.hint(Hint::FileMeant(json.to_owned())) } else { error }
            })?;
        if has_time && self.count.is_some_and(|count| count != 1) {
            let message = "the reading of --send-telemetry has a 'ts' of its own, so that ThingsBoard stores it once, and \
                           --count asks for more";
            return Err(Error::new(ErrorCode::UsageConflict, message));
        }
        Ok(json.to_owned())
    }
}

fn check_topic(topic: &str) -> Result<()> {
    let shown = shown(topic);
    let why = if topic.trim() != topic {
        "it has a blank at its beginning or end".to_owned()
    } else if topic.is_empty() || topic.len() > LONGEST_TOPIC || topic.contains(['+', '#', '\0']) {
        format!("a topic has 1 to {LONGEST_TOPIC} bytes, without '+' and '#'")
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorCode::UsageInvalid, format!("'{shown}' is no topic to publish to: {why}")))
}

/// Better told before a device is made than after.
fn readable(path: &str) -> Result<PathBuf> {
    let failed = |code, why: &str| {
        Err(Error::new(code, format!("cannot read telemetry from '{}': {why}", shown(path))))
    };
    match std::fs::metadata(path) {
        Ok(file) if file.is_dir() => failed(ErrorCode::FileIo, "it is a folder"),
        Ok(_) => Ok(PathBuf::from(path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            failed(ErrorCode::FileNotFound, "no such file")
        }
        Err(error) => failed(ErrorCode::FileIo, &error.to_string()),
    }
}

/// A run without an end is ended by Ctrl-C; one with an end was cut short by it.
pub(super) fn exit_code(plan: Option<&TelemetryPlan>, report: Option<Report>) -> ExitCode {
    let endless = plan.is_some_and(|plan| plan.count.is_none() && !plan.readings.is_stream());
    match report {
        Some(report) if report.interrupted && !endless => ErrorCode::Interrupted.kind().exit_code().into(),
        Some(report) if report.refused > 0 => EXIT_PARTLY.into(),
        _ => ExitCode::SUCCESS,
    }
}

/// Whether they are an object: what is in it is the server's business.
fn check_attributes(json: &str) -> Result<()> {
    match serde_json::from_str::<&RawValue>(json) {
        Ok(attributes) if attributes.get().starts_with('{') => Ok(()),
        _ => Err(Error::new(ErrorCode::UsageInvalid, "--attributes is no JSON object")
            .hint(Hint::AttributesExample)),
    }
}

/// Telemetry in results.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct TelemetryResult {
    sent: u64,
    acknowledged: u64,
    messages: u64,
    refused: u64,
    reconnects: u32,
    held_back: u64,
    held_back_ms: u64,
    interrupted: bool,
    confirmed: Option<u64>,
    seen_ms: Option<SeenResult>,
}

/// How long readings took from here until the server showed them, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
struct SeenResult {
    min: u64,
    median: u64,
    max: u64,
}

/// Whole milliseconds.
fn whole(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl TelemetryResult {
    /// Whether there was any.
    pub(super) const fn is_any(&self) -> bool {
        self.sent > 0 || self.refused > 0
    }
}

impl TelemetryResult {
    fn write_confirmed(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(confirmed) = self.confirmed else { return Ok(()) };
        write!(formatter, "; confirmed: {confirmed} of {} seen on the server", self.acknowledged)?;
        match self.seen_ms {
            Some(SeenResult { min, max, .. }) if min == max => {
                write!(formatter, ", {min} ms after they were sent")
            }
            Some(SeenResult { min, median, max }) => {
                write!(formatter, ", {median} ms after they were sent ({min} to {max} ms)")
            }
            None => Ok(()),
        }
    }
}

impl From<Option<Report>> for TelemetryResult {
    fn from(report: Option<Report>) -> Self {
        let report = report.unwrap_or_default();
        Self {
            sent: report.sent,
            acknowledged: report.acknowledged,
            messages: report.messages,
            refused: report.refused,
            reconnects: report.reconnects,
            held_back: report.held_back,
            held_back_ms: whole(report.held_back_for),
            interrupted: report.interrupted,
            confirmed: report.confirmed,
            seen_ms: report.seen.map(|seen| SeenResult {
                min: whole(seen.min),
                median: whole(seen.median),
                max: whole(seen.max),
            }),
        }
    }
}

impl fmt::Display for TelemetryResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} sent, {} acknowledged", self.sent, self.acknowledged)?;
        if self.messages != self.acknowledged {
            write!(formatter, " in {} messages", self.messages)?;
        }
        if self.refused > 0 {
            write!(formatter, ", {} refused", self.refused)?;
        }
        if self.reconnects > 0 {
            write!(formatter, ", {} reconnects", self.reconnects)?;
        }
        if self.held_back > 0 {
            let seconds = Duration::from_millis(self.held_back_ms).as_secs_f64();
            write!(formatter, ", {} held back ({seconds:.1} s in all)", self.held_back)?;
        }
        self.write_confirmed(formatter)
    }
}
