//! `tbprov firmware monitor`

use std::fmt;
use std::fs::File;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use clap::Args;
use regex::Regex;
use serde::Serialize;
use time::macros::format_description;
use tokio_util::sync::CancellationToken;

use super::super::context::Context;
use super::super::server_args::parse_duration;
use super::super::{limits, terminal};
use super::port_args::PortArgs;
use crate::output::{Format, Output};
use tbprov::error::Hint;
use tbprov::event::Event;
use tbprov::files::{self, Access};
use tbprov::firmware::monitor::{self, Ending, Until};
use tbprov::firmware::serial::{BAUD, Port, SerialPort};
use tbprov::text::shown_path;
use tbprov::{Error, ErrorCode, Result, Step, blocking};

/// Ctrl-], as in telnet and in ESP-IDF's own monitor.
const LEAVE: u8 = 0x1d;

/// Show what a board says on its serial port; Ctrl-] ends it, other keys go to the board.
#[derive(Debug, Args)]
pub(in crate::cli) struct MonitorArgs {
    #[command(flatten)]
    port: PortArgs,
    /// The speed of the log.
    #[arg(long, value_name = "BAUD", default_value_t = BAUD)]
    baud: u32,
    /// Do not restart the board first.
    #[arg(long)]
    no_reset: bool,
    #[command(flatten)]
    watch: WatchArgs,
}

/// What ends the watching, and where else the log goes.
#[derive(Debug, Default, Args)]
pub(super) struct WatchArgs {
    /// End when a line matches this regular expression.
    #[arg(long, value_name = "REGEX")]
    until: Option<Regex>,
    /// End after this time; with --until, not to have seen such a line by then is a failure.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// Write every line with its time to this file as well; it must not exist.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

impl MonitorArgs {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<ExitCode> {
        let log = self.watch.begin_log()?;
        let port = context.interruptible(self.port.find(context)).await?;
        let (baud, found) = (self.baud, port.clone());
        let mut opened = context.interruptible(blocking(move || found.open(baud))).await?;
        context.progress.begin(Step::Monitor);
        if !self.no_reset {
            let resetting = blocking(move || monitor::reset(&mut opened).map(|()| opened));
            opened = context.interruptible(resetting).await?;
        }
        let (result, exit_code) = self.watch.run(context, &port, opened, log).await?;
        result.show(&context.output);
        Ok(exit_code)
    }
}

impl WatchArgs {
    /// Begins the log's file, before anything is done that would be for nothing without it.
    pub(super) fn begin_log(&self) -> Result<Option<File>> {
        Ok(self.log.as_deref().map(|path| files::begin_new(path, Access::Everybody)).transpose()?)
    }

    /// Shows the log of an open port until something ends it.
    pub(super) async fn run(
        self,
        context: &Context,
        port: &SerialPort,
        mut opened: Port,
        log: Option<File>,
    ) -> Result<(MonitorResult, ExitCode)> {
        let stop = context.interrupt_or_unread();
        let keys = self.keyboard(context, &stop);
        let has_end = self.until.is_some() || self.timeout.is_some();
        let wanted = self.until.clone();
        let until = Until { line: self.until, timeout: self.timeout };
        let mut lines = Lines { shown: Shown::new(context), file: self.log.clone().zip(log), count: 0 };
        let watching = blocking(move || {
            let ending = monitor::watch(&mut opened, &until, &keys, &stop, |line| lines.add(line));
            Ok((ending, lines.count))
        });
        let (ending, lines) = watching.await?;
        terminal::restore();
        let mut result = MonitorResult {
            outcome: "stopped",
            port: port.path.clone(),
            lines,
            matched: None,
            log: self.log,
        };
        match ending? {
            Ending::Matched(line) => (result.outcome, result.matched) = ("matched", Some(line)),
            Ending::TimedOut => match wanted {
                Some(wanted) => return Err(not_seen(&wanted, lines)),
                None => result.outcome = "timed-out",
            },
            Ending::Stopped if context.interrupt.is_cancelled() && has_end => {
                return Err(Error::interrupted());
            }
            Ending::Stopped => {}
        }
        Ok((result, ExitCode::SUCCESS))
    }

    /// What is typed, where there is a terminal.
    fn keyboard(&self, context: &Context, stop: &CancellationToken) -> Receiver<u8> {
        let (sender, keys) = channel();
        if context.may_ask && std::io::stdin().is_terminal() {
            context.output.note("Ctrl-] ends");
            terminal::unbuffer_keys();
            let stop = stop.clone();
            // Without a thread nothing that is typed is heard; the log comes all the same.
            let _ = limits::spawn("keyboard", move || forward(&sender, &stop));
        }
        keys
    }
}

fn not_seen(wanted: &Regex, lines: usize) -> Error {
    let message = format!("no line matched '{wanted}' in time; {lines} came");
    let error = Error::new(ErrorCode::FirmwareMonitor, message);
    if lines == 0 {
        return error.hint(Hint::SilentBoard);
    }
    error
}

/// Ends when stdin does, at Ctrl-], or with the process.
fn forward(keys: &Sender<u8>, stop: &CancellationToken) {
    for key in std::io::stdin().lock().bytes().map_while(std::result::Result::ok) {
        if key == LEAVE {
            stop.cancel();
        }
        if key == LEAVE || keys.send(key).is_err() {
            return;
        }
    }
}

/// Where lines go.
struct Lines {
    shown: Shown,
    file: Option<(PathBuf, File)>,
    count: usize,
}

impl Lines {
    fn add(&mut self, line: &str) -> Result<()> {
        self.count += 1;
        self.shown.line(line);
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        writeln!(file, "{} {line}", instant()).map_err(|error| not_logged(path, error))
    }
}

fn not_logged(path: &Path, error: std::io::Error) -> Error {
    let message = format!("cannot write the log {}: {error}", shown_path(path));
    Error::new(ErrorCode::FileIo, message).source(error)
}

/// RFC 3339 in UTC, with milliseconds.
fn instant() -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    tbprov::clock::now().format(format).unwrap_or_default()
}

/// The log is data; with `--json`, only the result is.
enum Shown {
    Text(Output),
    Event(tbprov::event::Progress),
    Nowhere,
}

impl Shown {
    fn new(context: &Context) -> Self {
        match context.output.format() {
            Format::Human => Self::Text(context.output.clone()),
            Format::Events => Self::Event(context.progress.clone()),
            Format::Json => Self::Nowhere,
        }
    }

    fn line(&self, line: &str) {
        match self {
            Self::Text(output) => output.data(line),
            Self::Event(progress) => progress.event(&Event::Log { line: line.to_owned() }),
            Self::Nowhere => {}
        }
    }
}

/// The result of `firmware monitor`. Documented in `docs/protocol.md`.
#[derive(Serialize)]
pub(super) struct MonitorResult {
    outcome: &'static str,
    port: String,
    lines: usize,
    matched: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<PathBuf>,
}

impl MonitorResult {
    /// For people the log was the result; how it ended is talk.
    fn show(&self, output: &Output) {
        match output.format() {
            Format::Human => output.note(&self.to_string()),
            Format::Json | Format::Events => output.result("firmware monitor", self),
        }
    }
}

impl fmt::Display for MonitorResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}, {} lines", self.port, self.outcome, self.lines)?;
        self.log.as_ref().map_or(Ok(()), |log| write!(formatter, ", kept in {}", shown_path(log)))
    }
}
