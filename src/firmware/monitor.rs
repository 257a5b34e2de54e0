//! Watching the serial log of a board.

use std::io::{self, Read as _, Write as _};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use espflash::connection::Port;
use regex::Regex;
use serialport::SerialPort as _;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorCode, Hint, Result};
use crate::text::one_line;

/// How soon typed keys leave and an end is noticed.
const TICK: Duration = Duration::from_millis(50);
/// Bytes of a line, at the most: what comes without line ends is not kept for ever.
const LONGEST_LINE: usize = 4096;
/// Time the chip is held in reset.
const RESET: Duration = Duration::from_millis(100);

/// What ends the watching, beside its cancellation.
#[derive(Debug, Default)]
pub struct Until {
    /// A line that this matches.
    pub line: Option<Regex>,
    /// The time that it may take.
    pub timeout: Option<Duration>,
}

/// What ended it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// This line matched.
    Matched(String),
    /// The time was over.
    TimedOut,
    /// The caller asked for it.
    Stopped,
}

/// Restarts a chip by the reset line of its port, where the port has one.
///
/// # Errors
/// `firmware/monitor` when the port has gone away.
pub fn reset(port: &mut Port) -> Result<()> {
    if port.read_data_set_ready().is_err() {
        return Ok(());
    }
    // DTR low first: the chip starts its program, not its bootloader.
    let done = port.write_data_terminal_ready(false).and_then(|()| port.write_request_to_send(true));
    std::thread::sleep(RESET);
    done.and_then(|()| port.write_request_to_send(false)).map_err(|error| gone(error.into(), 0))
}

/// Reads lines and gives each to `on_line`, without what could steer a terminal; sends what `keys` has. Blocks
/// until it ends.
///
/// # Errors
/// `firmware/monitor` when the port goes away; what `on_line` fails with.
pub fn watch(
    port: &mut Port,
    until: &Until,
    keys: &Receiver<u8>,
    cancelled: &CancellationToken,
    mut on_line: impl FnMut(&str) -> Result<()>,
) -> Result<Ending> {
    let deadline = until.timeout.map(|timeout| Instant::now() + timeout);
    port.set_timeout(TICK).map_err(|error| gone(error.into(), 0))?;
    let mut lines = Lines::default();
    let mut count = 0;
    let mut buffer = [0; 1024];
    loop {
        let ending = if cancelled.is_cancelled() {
            Some(Ending::Stopped)
        } else {
            deadline.filter(|deadline| Instant::now() >= *deadline).map(|_| Ending::TimedOut)
        };
        let came = if ending.is_some() {
            // At the end, a line without an end counts as well.
            lines.rest()
        } else {
            let read = read(port, keys, &mut buffer).map_err(|error| gone(error, count))?;
            lines.push(&buffer[..read])
        };
        for line in came {
            count += 1;
            on_line(&line)?;
            if until.line.as_ref().is_some_and(|wanted| wanted.is_match(&line)) {
                return Ok(Ending::Matched(line));
            }
        }
        if let Some(ending) = ending {
            return Ok(ending);
        }
    }
}

/// Sends what was typed, and reads what has come.
fn read(port: &mut Port, keys: &Receiver<u8>, buffer: &mut [u8]) -> io::Result<usize> {
    // One by one: a port with room for one byte would wait for ever for room for two.
    for key in keys.try_iter() {
        match port.write_all(&[key]) {
            // A board that takes no keys can say something all the same; what was typed is lost.
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                keys.try_iter().for_each(drop);
                break;
            }
            sent => sent?,
        }
    }
    match port.read(buffer) {
        Ok(0) => Err(io::ErrorKind::BrokenPipe.into()),
        Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::Interrupted) => Ok(0),
        read => read,
    }
}

fn gone(error: io::Error, lines: usize) -> Error {
    let message = format!("the port has gone away after {lines} lines");
    Error::new(ErrorCode::FirmwareMonitor, message).hint(Hint::BoardGone).source(error)
}

/// Puts lines together from what comes.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for &byte in bytes {
            if byte == b'\n' || self.0.len() == LONGEST_LINE {
                lines.push(self.take());
            }
            if byte != b'\n' {
                self.0.push(byte);
            }
        }
        lines
    }

    fn rest(&mut self) -> Vec<String> {
        if self.0.is_empty() { Vec::new() } else { vec![self.take()] }
    }

    fn take(&mut self) -> String {
        let line = std::mem::take(&mut self.0);
        shown(String::from_utf8_lossy(&line).trim_end_matches('\r'))
    }
}

/// A line without colours, with spaces for tabs, and with nothing else that could steer a terminal.
fn shown(line: &str) -> String {
    one_line(&without_sequences(line).replace('\t', "    "), usize::MAX)
}

/// Without the escape sequences that colour text (ECMA-48, CSI): ESP-IDF's log has them.
fn without_sequences(line: &str) -> String {
    let mut kept = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, sequence)) = rest.split_once("\x1b[") {
        kept.push_str(before);
        let end = sequence.find(|character: char| matches!(character, '@'..='~'));
        rest = end.map_or("", |end| &sequence[end + 1..]);
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_from_pieces() {
        let mut lines = Lines::default();
        assert!(lines.push(b"I (31) bo").is_empty());
        assert_eq!(lines.push(b"ot\r\nnext"), ["I (31) boot"]);
        assert_eq!(lines.rest(), ["next"]);
        assert!(lines.rest().is_empty());
    }

    #[test]
    fn what_has_no_line_ends_is_cut() {
        let lines = Lines::default().push(&[b'x'; 2 * LONGEST_LINE + 1]);
        assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [LONGEST_LINE; 2]);
    }

    #[test]
    fn colours_go_and_the_rest_is_made_harmless() {
        assert_eq!(shown("\x1b[0;32mI (8) wifi:\x1b[0m up"), "I (8) wifi: up");
        assert_eq!(shown("a\tb \x1b]0;title\x07 \x1b[2J\x1b[31"), r"a    b \u{1b}]0;title\u{7} ");
    }

    #[test]
    fn noise_on_the_line_is_shown_as_such_and_takes_no_line_along() {
        let lines = Lines::default().push(b"\xff\xfe\x00ets Jul\r\n\xe4\xbd\n\xe6\xb8\xa9\n");
        assert_eq!(lines, ["\u{FFFD}\u{FFFD}\\0ets Jul", "\u{FFFD}", "\u{6e29}"]);
    }
}
