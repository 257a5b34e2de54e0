//! Telemetry over mutual TLS: QoS 1, each reading with its own time, as fast as the server takes it, each counted once,
//! when its PUBACK came.

mod backoff;
mod confirm;
mod governor;
mod intake;
mod kept;
mod limits;
mod message;
mod outage;
mod pace;
mod reading;
mod remark;
mod run;
mod source;
mod times;
mod topic;

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

pub use confirm::{Confirm, Seen};
pub use run::run;
pub use topic::is_telemetry;

use crate::error::{Error, ErrorCode, Hint, Result};
use crate::mqtt::LARGEST_PACKET;
use reading::Reading;
#[cfg(feature = "fleet")]
pub(crate) use reading::check_key;

/// ThingsBoard's topic for telemetry. A device profile with transport type MQTT may name another one; the
/// default one is then acknowledged and dropped.
pub use tbprov_contract::telemetry::TOPIC as TELEMETRY_TOPIC;
/// ThingsBoard's topic for client attributes.
pub const ATTRIBUTES_TOPIC: &str = "v1/devices/me/attributes";

pub use tbprov_contract::identity::LONGEST_TOPIC;

/// The largest payload, in bytes: a PUBLISH has its topic's length, the topic and the packet id besides.
pub(crate) const LARGEST_PAYLOAD: usize = LARGEST_PACKET - (2 + LONGEST_TOPIC + 2);

/// Why a reading that is too large is refused.
const TOO_LARGE: &str = "is larger than the 64 KiB that ThingsBoard accepts in a packet";

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
#[derive(Debug, Clone)]
pub struct TelemetryPlan {
    /// The topic.
    pub topic: String,
    /// Where readings come from.
    pub readings: Readings,
    /// How many readings at the most; `None` for no end.
    pub count: Option<u64>,
    /// The pause between two readings.
    pub interval: Duration,
    /// Client attributes, a JSON object, sent first.
    pub attributes: Option<String>,
    /// Readings go without a time of their own: of those that arrive within a millisecond, the server keeps one.
    pub as_is: bool,
    /// Readings that go together in one message.
    pub batch: Option<NonZeroU64>,
    /// Whether a reading that is refused, here or by the server, is counted and the rest goes on.
    pub skip_refused: bool,
    /// How long to go on without a PUBACK, where one is waited for.
    pub give_up_after: Option<Duration>,
    /// Whether and by whom each reading is read back.
    pub confirm: Option<Confirm>,
}

impl TelemetryPlan {
    /// Sends `count` of these readings to ThingsBoard's own topic, one after the other.
    pub fn new(readings: Readings, count: Option<u64>, interval: Duration) -> Self {
        Self {
            topic: TELEMETRY_TOPIC.to_owned(),
            readings,
            count,
            interval,
            attributes: None,
            as_is: false,
            batch: None,
            skip_refused: false,
            give_up_after: None,
            confirm: None,
        }
    }
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Readings taken from the source.
    pub sent: u64,
    /// Readings whose PUBACK came: ThingsBoard's queue has them.
    pub acknowledged: u64,
    /// Messages acknowledged; several readings may go in one.
    pub messages: u64,
    /// Readings refused, here or by the server, and left out.
    pub refused: u64,
    /// How often the connection was made again.
    pub reconnects: u32,
    /// Messages that had to wait for a limit of the server.
    pub held_back: u64,
    /// How long they waited, one after the other.
    pub held_back_for: Duration,
    /// Whether the user ended the run.
    pub interrupted: bool,
    /// Readings that were seen on the server, where that was asked for.
    pub confirmed: Option<u64>,
    /// How long that took from sending a message; nothing where none was seen.
    pub seen: Option<Seen>,
    /// `TLSv1.2` or `TLSv1.3`: the last connection's.
    pub tls_version: &'static str,
}

/// Checks that ThingsBoard would take and store all of a reading, which goes as it is or with times, and says whether it
/// has a time of its own. `what` names it in errors.
///
/// # Errors
/// `usage/invalid-value`.
pub fn check(reading: &str, as_is: bool, what: &str) -> Result<bool> {
    let invalid = |why: String| Error::new(ErrorCode::UsageInvalid, format!("{what} {why}"));
    let text = Bytes::copy_from_slice(reading.trim_ascii().as_bytes());
    let (reading, _) = Reading::parse(text)
        .map_err(|why| invalid(format!("is not telemetry: {why}")).hint(Hint::TelemetryForm))?;
    let size = |index| reading.element(index, Some(reading::value::LATEST)).len();
    let largest =
        if as_is { Some(reading.text().len()) } else { (0..reading.elements().len()).map(size).max() };
    if largest.is_some_and(|size| size > LARGEST_PAYLOAD) {
        return Err(invalid(TOO_LARGE.to_owned()).hint(Hint::SplitMessage));
    }
    Ok(reading.elements().iter().any(reading::Element::has_time))
}
