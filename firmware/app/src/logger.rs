//! The form of the log's lines.

use core::fmt;

use embassy_time::Instant;
use log::{Level, Record};
use tbprov_contract::report::TAG;

/// Writes `record` as ESP-IDF does, `LEVEL (MILLISECONDS) TAG: TEXT`, which is what the tool understands. A board's
/// logger is this and a place to write to.
///
/// # Errors
/// Those of `out`.
pub fn write_record(out: &mut dyn fmt::Write, record: &Record<'_>) -> fmt::Result {
    let level = match record.level() {
        Level::Error => 'E',
        Level::Warn => 'W',
        Level::Info => 'I',
        Level::Debug => 'D',
        Level::Trace => 'V',
    };
    let tag = if record.target().starts_with(TAG) { TAG } else { record.target() };
    writeln!(out, "{level} ({}) {tag}: {}", Instant::now().as_millis(), record.args())
}
