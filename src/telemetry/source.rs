//! Where readings come from, one message at a time.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::fs::File;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader};
use tokio::time::Instant;

use super::{LONGEST_TOPIC, Readings, TelemetryPlan};
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::mqtt::LARGEST_PACKET;

/// Bytes of a PUBLISH that are not payload, at the most: topic length, topic, packet id.
const OVERHEAD: usize = 2 + LONGEST_TOPIC + 2;

/// The longest pause between two messages: a year. The clock cannot add every duration to now.
const LONGEST_INTERVAL: Duration = Duration::from_secs(365 * 86_400);

/// Yields messages at their time. `next` may be dropped and called again without losing a reading.
pub(super) struct Source {
    kind: Kind,
    remaining: Option<u64>,
    taken: u64,
    interval: Duration,
    due: Instant,
}

enum Kind {
    Samples,
    Json(Bytes),
    Lines { reader: Box<dyn AsyncBufRead + Send + Unpin>, origin: String, number: u64, partial: Vec<u8> },
}

impl Source {
    pub(super) async fn open(plan: &TelemetryPlan) -> Result<Self> {
        let lines = |reader, origin: String| Kind::Lines { reader, origin, number: 0, partial: Vec::new() };
        let kind = match &plan.readings {
            Readings::Samples => Kind::Samples,
            Readings::Json(json) => Kind::Json(message(json.as_bytes(), "the reading")?),
            Readings::File(path) => {
                lines(Box::new(BufReader::new(open(path).await?)), path.display().to_string())
            }
            Readings::Stdin => {
                lines(Box::new(BufReader::new(tokio::io::stdin())), "standard input".to_owned())
            }
        };
        let interval = plan.interval.min(LONGEST_INTERVAL);
        Ok(Self { kind, remaining: plan.count, taken: 0, interval, due: Instant::now() })
    }

    /// Whether each message is worth showing: a stream's own author knows it already.
    pub(super) const fn is_shown(&self) -> bool {
        !matches!(self.kind, Kind::Lines { .. })
    }

    /// The next message, or `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.remaining == Some(0) {
            return Ok(None);
        }
        if !self.interval.is_zero() {
            tokio::time::sleep_until(self.due).await;
        }
        let reading = match &mut self.kind {
            Kind::Samples => Some(Bytes::from(tbprov_contract::telemetry::sample(self.taken))),
            Kind::Json(json) => Some(json.clone()),
            Kind::Lines { reader, origin, number, partial } => {
                next_line(reader, origin, number, partial).await?
            }
        };
        if reading.is_some() {
            self.taken += 1;
            self.remaining = self.remaining.map(|remaining| remaining - 1);
            if !self.interval.is_zero() {
                self.due = Instant::now() + self.interval;
            }
        }
        Ok(reading)
    }
}

async fn open(path: &Path) -> Result<File> {
    let failed = |error: std::io::Error| {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorCode::FileNotFound,
            _ => ErrorCode::FileIo,
        };
        Error::new(code, format!("cannot read {}: {error}", path.display())).source(error)
    };
    let file = File::open(path).await.map_err(failed)?;
    if file.metadata().await.map_err(failed)?.is_dir() {
        return Err(failed(std::io::ErrorKind::IsADirectory.into()));
    }
    Ok(file)
}

/// The next line that is not blank. A line longer than a packet is refused before it fills the memory.
async fn next_line(
    reader: &mut (dyn AsyncBufRead + Send + Unpin),
    origin: &str,
    number: &mut u64,
    partial: &mut Vec<u8>,
) -> Result<Option<Bytes>> {
    loop {
        let failed = |error: std::io::Error| {
            Error::new(ErrorCode::FileIo, format!("cannot read {origin}: {error}")).source(error)
        };
        let buffer = reader.fill_buf().await.map_err(failed)?;
        let at_end = buffer.is_empty();
        let newline = buffer.iter().position(|byte| *byte == b'\n');
        let used = newline.map_or(buffer.len(), |position| position + 1);
        partial.extend_from_slice(&buffer[..newline.unwrap_or(buffer.len())]);
        reader.consume(used);
        if partial.len() > LARGEST_PACKET {
            return Err(too_large(&format!("line {} of {origin}", *number + 1)));
        }
        if newline.is_none() && !at_end {
            continue;
        }
        *number += 1;
        let line = std::mem::take(partial);
        let byte_order_mark = if *number == 1 { &b"\xEF\xBB\xBF"[..] } else { b"" };
        let text = line.strip_prefix(byte_order_mark).unwrap_or(&line).trim_ascii();
        if !text.is_empty() {
            return message(text, &format!("line {number} of {origin}")).map(Some);
        }
        if at_end {
            return Ok(None);
        }
    }
}

/// Checks that ThingsBoard can decode `json` as telemetry: it closes the connection on anything else, and
/// never acknowledges an empty array. `what` names it in errors.
///
/// # Errors
/// `usage/invalid-value`.
pub fn validate(json: &[u8], what: &str) -> Result<()> {
    let bad = |why: &str| {
        Error::new(ErrorCode::UsageInvalid, format!("{what} is not telemetry: {why}"))
            .hint(Hint::TelemetryForm)
    };
    match json.trim_ascii().first() {
        Some(b'{') => {}
        Some(b'[') => {
            let items: Vec<serde_json::Map<String, serde_json::Value>> =
                serde_json::from_slice(json).map_err(|error| bad(&format!("{error}")))?;
            return if items.is_empty() { Err(bad("it is an empty array")) } else { Ok(()) };
        }
        _ => return Err(bad("it is no JSON object")),
    }
    serde_json::from_slice::<serde::de::IgnoredAny>(json)
        .map(|_| ())
        .map_err(|error| bad(&format!("{error}")))
}

fn message(json: &[u8], what: &str) -> Result<Bytes> {
    validate(json, what)?;
    if json.len() + OVERHEAD > LARGEST_PACKET {
        return Err(too_large(what));
    }
    Ok(Bytes::copy_from_slice(json))
}

fn too_large(what: &str) -> Error {
    let message = format!("{what} is larger than the 64 KiB that ThingsBoard accepts in a packet");
    Error::new(ErrorCode::UsageInvalid, message).hint(Hint::SplitMessage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_thingsboard_cannot_decode_is_refused() {
        for bad in ["", "25", "[]", "[1]", "{", "{}x", "null", "\"a\""] {
            assert!(validate(bad.as_bytes(), "it").is_err(), "{bad}");
        }
        for good in [r#"{"t":1}"#, r#"[{"t":1},{"t":2}]"#, r#"{"ts":1,"values":{"t":1}}"#] {
            validate(good.as_bytes(), "it").unwrap();
        }
    }
}
