//! Telemetry over mutual TLS: QoS 1, many messages in flight, each counted once, when its PUBACK came.

mod backoff;
#[allow(dead_code, reason = "the source and the sender come to use it next")]
mod reading;
#[allow(dead_code, reason = "as reading")]
mod remark;
mod run;
mod source;

use std::path::PathBuf;
use std::time::Duration;

pub use run::run;
pub use source::validate;

/// ThingsBoard's topic for telemetry. A device profile with transport type MQTT may name another one; the
/// default one is then acknowledged and dropped.
pub use tbprov_contract::telemetry::TOPIC as TELEMETRY_TOPIC;
/// ThingsBoard's topic for client attributes.
pub const ATTRIBUTES_TOPIC: &str = "v1/devices/me/attributes";

pub use tbprov_contract::identity::LONGEST_TOPIC;

/// Where readings come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readings {
    /// The sample values of the example firmware: temperature 25, 25.5, 26 ... and humidity 26, 27, 28 ...
    Samples,
    /// This JSON, each time.
    Json(String),
    /// Each line of this file.
    File(PathBuf),
    /// Each line of standard input.
    Stdin,
}

impl Readings {
    /// Whether the source ends by itself.
    pub const fn is_stream(&self) -> bool {
        matches!(self, Self::File(_) | Self::Stdin)
    }
}

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetryPlan {
    /// The topic.
    pub topic: String,
    /// Where readings come from.
    pub readings: Readings,
    /// How many messages at the most; `None` for no end.
    pub count: Option<u64>,
    /// The pause between two messages.
    pub interval: Duration,
    /// Client attributes, a JSON object, sent first.
    pub attributes: Option<String>,
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Messages taken from the source.
    pub sent: u64,
    /// Messages whose PUBACK came: ThingsBoard's rule engine has them.
    pub acknowledged: u64,
    /// How often the connection was made again.
    pub reconnects: u32,
    /// Whether the user ended the run.
    pub interrupted: bool,
    /// `TLSv1.2` or `TLSv1.3`: the last connection's.
    pub tls_version: &'static str,
}
