//! The flags of telemetry, the same for `provision` and `connect`.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::server_args::parse_duration;
use tbprov::error::Hint;
use tbprov::telemetry::{self, LONGEST_TOPIC, Readings, Report, TELEMETRY_TOPIC, TelemetryPlan};
use tbprov::{Error, ErrorCode, Result};

/// The pause between two sample readings, as the example firmware makes it.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[command(next_help_heading = "Telemetry")]
pub(super) struct TelemetryArgs {
    /// Send telemetry: alone, sample readings of temperature and humidity; =JSON, that; =@FILE or =-, each line of
    /// the file or of stdin.
    #[arg(long, value_name = "JSON|@FILE|-", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(super) send_telemetry: Option<String>,
    /// How many messages, 0 for no end [default: 1; every line of a file or of stdin].
    #[arg(long, value_name = "N", requires = "send_telemetry")]
    pub(super) count: Option<u64>,
    /// The pause between messages [default: 5s; none for a file or stdin].
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "send_telemetry")]
    pub(super) interval: Option<Duration>,
    /// Client attributes to send first, a JSON object.
    #[arg(long, value_name = "JSON", requires = "send_telemetry")]
    pub(super) attributes: Option<String>,
    /// The topic, where the device profile names its own.
    #[arg(long, value_name = "TOPIC", requires = "send_telemetry", default_value = TELEMETRY_TOPIC)]
    pub(super) telemetry_topic: String,
}

impl TelemetryArgs {
    /// What to send, if anything.
    pub(super) fn plan(&self) -> Result<Option<TelemetryPlan>> {
        let Some(what) = &self.send_telemetry else { return Ok(None) };
        let readings = match what.as_str() {
            "" => Readings::Samples,
            "-" => Readings::Stdin,
            path if path.starts_with('@') => Readings::File(readable(&path[1..])?),
            json => {
                telemetry::validate(json.as_bytes(), "the value of --send-telemetry")?;
                Readings::Json(json.to_owned())
            }
        };
        if let Some(attributes) = &self.attributes {
            check_attributes(attributes)?;
        }
        if self.telemetry_topic.is_empty()
            || self.telemetry_topic.len() > LONGEST_TOPIC
            || self.telemetry_topic.contains(['+', '#', '\0'])
        {
            let shown: String = self.telemetry_topic.chars().take(60).collect();
            let message = format!(
                "'{shown}' is no topic to publish to: 1 to {LONGEST_TOPIC} bytes without '+' and '#'"
            );
            return Err(Error::new(ErrorCode::UsageInvalid, message));
        }
        let stream = readings.is_stream();
        Ok(Some(TelemetryPlan {
            topic: self.telemetry_topic.clone(),
            readings,
            count: match self.count {
                Some(0) => None,
                Some(count) => Some(count),
                None => (!stream).then_some(1),
            },
            interval: self.interval.unwrap_or(if stream { Duration::ZERO } else { DEFAULT_INTERVAL }),
            attributes: self.attributes.clone(),
        }))
    }
}

/// Better told before a device is made than after.
fn readable(path: &str) -> Result<PathBuf> {
    let failed =
        |code, why: &str| Err(Error::new(code, format!("cannot read telemetry from '{path}': {why}")));
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
        _ => ExitCode::SUCCESS,
    }
}

fn check_attributes(json: &str) -> Result<()> {
    match serde_json::from_str(json) {
        Ok(serde_json::Value::Object(_)) => Ok(()),
        _ => Err(Error::new(ErrorCode::UsageInvalid, "--attributes is no JSON object")
            .hint(Hint::AttributesExample)),
    }
}

/// Telemetry in results.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct TelemetryResult {
    sent: u64,
    acknowledged: u64,
    reconnects: u32,
    interrupted: bool,
}

impl TelemetryResult {
    /// Whether there was any.
    pub(super) const fn is_any(&self) -> bool {
        self.sent > 0
    }
}

impl From<Option<Report>> for TelemetryResult {
    fn from(report: Option<Report>) -> Self {
        let Report { sent, acknowledged, reconnects, interrupted, .. } = report.unwrap_or_default();
        Self { sent, acknowledged, reconnects, interrupted }
    }
}

impl fmt::Display for TelemetryResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} sent, {} acknowledged", self.sent, self.acknowledged)?;
        match self.reconnects {
            0 => Ok(()),
            count => write!(formatter, ", {count} reconnects"),
        }
    }
}
