//! The only place that prints. Results go to stdout, messages to stderr. Quiet, verbose, JSON and events are
//! modes of one object.

#[cfg(feature = "fleet")]
mod fleet;
mod human;
mod json;
#[cfg(feature = "fleet")]
mod listing;

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use tbprov::error::{Fault, Hint};
use tbprov::event::Observer;
use tbprov::text::{escaped, escaped_lines, shown_path};
use tbprov::{Error, ErrorCode};

#[cfg(feature = "fleet")]
pub(crate) use listing::{JsonArray, Listing};

/// What appears on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Text for people.
    Human,
    /// One JSON object at the end.
    Json,
    /// NDJSON events, the result last.
    Events,
}

/// When to use colour on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` or `TERM=dumb` says no.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How to say things.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) format: Format,
    pub(crate) quiet: bool,
    pub(crate) verbose: u8,
    pub(crate) color: Color,
}

/// Everything that tbprov prints goes through this type.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    format: Format,
    quiet: bool,
    verbose: u8,
    /// Whether stderr has colours. stdout never has any, so that a pipe gets the same text as a terminal.
    color: bool,
    progress: bool,
    /// Whether data could not be written for another reason than a reader that closed stdout.
    lost: Arc<AtomicBool>,
    /// Cancelled when the reader of stdout has closed it.
    reader_gone: CancellationToken,
}

impl Output {
    pub(crate) fn new(options: Options) -> Self {
        let Options { format, quiet, verbose, color } = options;
        let terminal = io::stderr().is_terminal();
        let color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                terminal
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                    && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        };
        Self {
            format,
            quiet,
            verbose,
            color,
            progress: terminal && !quiet,
            lost: Arc::default(),
            reader_gone: CancellationToken::new(),
        }
    }

    pub(crate) const fn format(&self) -> Format {
        self.format
    }

    /// Whether another program may write its progress to stderr itself.
    pub(crate) fn lets_others_talk(&self) -> bool {
        self.format == Format::Human && !self.quiet
    }

    /// The result of a command: JSON, or its text for people.
    pub(crate) fn result<R: Serialize + fmt::Display>(&self, command: &str, result: &R) {
        match self.format {
            Format::Human => self.data(&escaped_lines(&result.to_string())),
            Format::Json | Format::Events => self.data(&json::result(command, result)),
        }
    }

    /// A failure: on stderr for people; in the machine formats on stdout, so that a pipeline reads one stream.
    pub(crate) fn error(&self, command: &str, error: &Error, help: &str) {
        match self.format {
            Format::Human => self.talk(&human::error(error, help, self.color, self.verbose > 0)),
            Format::Json | Format::Events => self.data(&json::error(command, error, help)),
        }
    }

    /// Something worth knowing; not in quiet mode.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet && self.format == Format::Human {
            self.talk(&escaped_lines(text));
        }
    }

    /// Something that deserves attention.
    pub(crate) fn warn(&self, text: &str) {
        if !self.quiet {
            self.talk(&human::warning(text, self.color));
        }
    }

    /// Says that a file is used although no flag or variable names it, because it decides which server is used. The
    /// text is on stderr. With `--events` it is an event.
    fn found(&self, file: &Path) {
        if !self.quiet {
            self.talk(&escaped(&format!("using {}", shown_path(file))));
        }
    }

    /// What is wrong with a line of a file. It belongs to the failure that follows, so it is said in quiet mode too.
    fn fault(&self, fault: &Fault) {
        let column = fault.column.as_ref().map(|column| format!(", column {column}")).unwrap_or_default();
        self.marked(Mark::Failed, &format!("line {}{column}: {}", fault.line, fault.why));
    }

    /// Fails when data could not be written: a script must not take an empty file for a result.
    pub(crate) fn check_written(&self) -> Result<(), Error> {
        if self.lost.load(Ordering::Relaxed) {
            let message = "the result could not be written to standard output";
            return Err(Error::new(ErrorCode::FileIo, message).hint(Hint::StdoutFull));
        }
        Ok(())
    }

    /// Writes one line of data to stdout. It is no error if the reader has closed it.
    pub(crate) fn data(&self, text: &str) {
        let mut stdout = io::stdout().lock();
        let written = stdout
            .write_all(text.trim_end_matches('\n').as_bytes())
            .and_then(|()| stdout.write_all(b"\n"))
            .and_then(|()| stdout.flush());
        if let Err(error) = written {
            self.failed(&error);
        }
    }

    /// Cancelled when the reader of stdout has closed it. Work without an end then ends.
    pub(crate) const fn reader_gone(&self) -> &CancellationToken {
        &self.reader_gone
    }

    /// stdout, for text that is written piece by piece.
    #[cfg(feature = "fleet")]
    pub(crate) fn stream(&self) -> Stream {
        Stream(self.clone())
    }

    /// An event that the command itself tells, with the members of `members`.
    #[cfg(feature = "fleet")]
    pub(crate) fn event<T: Serialize>(&self, event: &'static str, members: &T) {
        if self.format == Format::Events {
            self.data(&json::event(event, members));
        }
    }

    /// Writes lines for people in place of the last `lines` that were written, where stdout is a terminal; else below
    /// them. Returns how many lines there are now.
    #[cfg(feature = "fleet")]
    pub(crate) fn redraw(&self, lines: usize, text: &str) -> usize {
        let text = escaped_lines(text.trim_end());
        let is_above = lines > 0 && io::stdout().is_terminal();
        // Up to the first of the old lines, and everything below it is cleared.
        let up = if is_above { format!("\x1b[{lines}A\x1b[J") } else { String::new() };
        self.data(&format!("{up}{text}"));
        text.lines().count()
    }

    /// Whether people look at stdout as it changes.
    #[cfg(feature = "fleet")]
    pub(crate) fn is_on_terminal(&self) -> bool {
        self.format == Format::Human && io::stdout().is_terminal()
    }

    fn failed(&self, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::BrokenPipe => self.reader_gone.cancel(),
            _ => self.lost.store(true, Ordering::Relaxed),
        }
    }

    fn talk(&self, text: &str) {
        let mut stderr = io::stderr().lock();
        let _ =
            stderr.write_all(text.trim_end_matches('\n').as_bytes()).and_then(|()| stderr.write_all(b"\n"));
    }

    /// What follows a run as it happens.
    pub(crate) fn observer(&self) -> Arc<dyn Observer> {
        match self.format {
            Format::Events => Arc::new(json::Events::new(self.clone())),
            Format::Human if !self.quiet => Arc::new(human::Steps::new(self.clone(), self.progress)),
            _ => Arc::new(human::Warnings::new(self.clone(), self.progress)),
        }
    }

    /// What follows a run over many devices.
    #[cfg(feature = "fleet")]
    pub(crate) fn fleet_observer(&self) -> Arc<dyn Observer> {
        match self.format {
            Format::Events => Arc::new(json::Events::new(self.clone())),
            _ => Arc::new(fleet::Fleet::new(self.clone(), self.progress)),
        }
    }

    /// Whether each step of each of many devices is told.
    #[cfg(feature = "fleet")]
    pub(crate) fn tells_steps(&self) -> bool {
        self.format == Format::Events
    }

    /// As [`Output::marked`], but not in quiet mode.
    pub(crate) fn told(&self, mark: Mark, text: &str) {
        if !self.quiet {
            self.marked(mark, text);
        }
    }

    /// One line of data about a check.
    pub(crate) fn finding(&self, mark: Mark, text: &str) {
        self.data(&format!("{} {}", human::mark(mark, false), escaped_lines(text)));
    }

    /// One line of talk about a step.
    pub(crate) fn marked(&self, mark: Mark, text: &str) {
        self.talk(&format!("{} {}", human::mark(mark, self.color), escaped(text)));
    }
}

/// stdout, as a writer. What cannot be written is known to its [`Output`].
#[cfg(feature = "fleet")]
pub(crate) struct Stream(Output);

#[cfg(feature = "fleet")]
impl io::Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().lock().write(bytes).inspect_err(|error| self.0.failed(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().lock().flush().inspect_err(|error| self.0.failed(error))
    }
}

/// The beginning of a line about one step.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mark {
    Passed,
    Failed,
    Warning,
    Skipped,
}
