//! Where readings come from, one at a time.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::fs::File;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader};
use tokio::time::Instant;

use super::{Readings, TelemetryPlan};
use crate::error::{Error, ErrorCode, Result};
use crate::mqtt::LARGEST_PACKET;

/// The longest line, in bytes: an array on it may go in several messages.
const LONGEST_LINE: usize = 8 * LARGEST_PACKET;

/// The longest pause between two readings: a year. The clock cannot add every duration to now.
const LONGEST_INTERVAL: Duration = Duration::from_secs(365 * 86_400);

/// What a source gives.
#[derive(Debug)]
pub(super) enum Taken {
    /// A reading, and where it stands.
    Reading { line: u64, text: Bytes },
    /// A line that is none, and why.
    Refused { line: u64, why: String },
    /// There is no more.
    End,
}

/// Yields readings at their time. `next` may be dropped and called again without losing a reading.
pub(super) struct Source {
    kind: Kind,
    taken: u64,
    interval: Duration,
    due: Instant,
}

enum Kind {
    Samples,
    Json(Bytes),
    Lines(Lines),
}

impl Source {
    /// `trims` takes the blanks off around each line.
    pub(super) async fn open(plan: &TelemetryPlan, trims: bool) -> Result<Self> {
        let kind = match &plan.readings {
            Readings::Samples => Kind::Samples,
            Readings::Json(json) if trims => Kind::Json(Bytes::copy_from_slice(json.trim_ascii().as_bytes())),
            Readings::Json(json) => Kind::Json(Bytes::from(json.clone())),
            Readings::File(path) => {
                let file = BufReader::new(open(path).await?);
                Kind::Lines(Lines::new(Box::new(file), crate::text::shown_path(path), trims))
            }
            Readings::Stdin => {
                let stdin = BufReader::new(tokio::io::stdin());
                Kind::Lines(Lines::new(Box::new(stdin), "standard input".to_owned(), trims))
            }
        };
        let interval = plan.interval.min(LONGEST_INTERVAL);
        Ok(Self { kind, taken: 0, interval, due: Instant::now() })
    }

    /// Whether it gives one reading after the other. Readings of a stream are not shown, because their author knows
    /// them. Any other source gives the same reading again and again.
    pub(super) const fn is_stream(&self) -> bool {
        matches!(self.kind, Kind::Lines(_))
    }

    /// Where a reading stands, for people.
    pub(super) fn place(&self, line: u64) -> String {
        match &self.kind {
            Kind::Samples => format!("sample {line}"),
            Kind::Json(_) => "the reading".to_owned(),
            Kind::Lines(lines) => format!("line {line} of {}", lines.origin),
        }
    }

    /// The next reading.
    pub(super) async fn next(&mut self) -> Result<Taken> {
        if !self.interval.is_zero() {
            tokio::time::sleep_until(self.due).await;
        }
        let line = self.taken + 1;
        let taken = match &mut self.kind {
            Kind::Samples => {
                Taken::Reading { line, text: tbprov_contract::telemetry::sample(self.taken).into() }
            }
            Kind::Json(json) => Taken::Reading { line, text: json.clone() },
            Kind::Lines(lines) => lines.next().await?,
        };
        if matches!(taken, Taken::Reading { .. }) {
            self.taken += 1;
            if !self.interval.is_zero() {
                self.due = Instant::now() + self.interval;
            }
        }
        Ok(taken)
    }
}

async fn open(path: &Path) -> Result<File> {
    let failed = |error: std::io::Error| {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorCode::FileNotFound,
            _ => ErrorCode::FileIo,
        };
        Error::new(code, format!("cannot read {}: {error}", crate::text::shown_path(path))).source(error)
    };
    let file = File::open(path).await.map_err(failed)?;
    if file.metadata().await.map_err(failed)?.is_dir() {
        return Err(failed(std::io::ErrorKind::IsADirectory.into()));
    }
    Ok(file)
}

/// The lines of a file or of standard input.
struct Lines {
    reader: Box<dyn AsyncBufRead + Send + Unpin>,
    origin: String,
    trims: bool,
    /// Lines that are over.
    number: u64,
    partial: Vec<u8>,
    /// The rest of this line was refused already.
    discards: bool,
}

impl Lines {
    fn new(reader: Box<dyn AsyncBufRead + Send + Unpin>, origin: String, trims: bool) -> Self {
        Self { reader, origin, trims, number: 0, partial: Vec::new(), discards: false }
    }

    /// The next line that is not blank. A line that is too long is refused before all of it is in memory.
    async fn next(&mut self) -> Result<Taken> {
        loop {
            let buffer = self.reader.fill_buf().await.map_err(|error| {
                let message = format!("cannot read {}: {error}", self.origin);
                Error::new(ErrorCode::FileIo, message).source(error)
            })?;
            let at_end = buffer.is_empty();
            let newline = buffer.iter().position(|byte| *byte == b'\n');
            let used = newline.map_or(buffer.len(), |position| position + 1);
            if !self.discards {
                self.partial.extend_from_slice(&buffer[..newline.unwrap_or(buffer.len())]);
            }
            self.reader.consume(used);
            if let Some(why) = self.too_long() {
                self.discards = newline.is_none();
                self.number += u64::from(newline.is_some());
                self.partial = Vec::new();
                return Ok(Taken::Refused { line: self.number + u64::from(newline.is_none()), why });
            }
            if newline.is_none() && !at_end {
                continue;
            }
            self.number += 1;
            let line = std::mem::take(&mut self.partial);
            if !std::mem::take(&mut self.discards)
                && let Some(text) = self.text(&line)
            {
                return Ok(Taken::Reading { line: self.number, text });
            }
            if at_end {
                return Ok(Taken::End);
            }
        }
    }

    /// Why the line that is being read is refused, if it is already too long.
    fn too_long(&self) -> Option<String> {
        let is_array = after_mark(&self.partial, self.number + 1).trim_ascii_start().first() == Some(&b'[');
        if self.partial.len() > LONGEST_LINE {
            return Some(format!("is larger than {} KiB", LONGEST_LINE / 1024));
        }
        (self.partial.len() > LARGEST_PACKET && !is_array).then(|| super::TOO_LARGE.to_owned())
    }

    /// The reading in a line; `None` for a blank line.
    fn text(&self, line: &[u8]) -> Option<Bytes> {
        let text = after_mark(line, self.number);
        let trimmed = text.trim_ascii();
        let text = if self.trims { trimmed } else { text.strip_suffix(b"\r").unwrap_or(text) };
        (!trimmed.is_empty()).then(|| Bytes::copy_from_slice(text))
    }
}

/// Line `number` without the byte order mark that the first one may have.
fn after_mark(line: &[u8], number: u64) -> &[u8] {
    let byte_order_mark = if number == 1 { &b"\xEF\xBB\xBF"[..] } else { b"" };
    line.strip_prefix(byte_order_mark).unwrap_or(line)
}
