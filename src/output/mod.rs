//! The only place that prints. Results go to stdout, messages to stderr. Quiet, verbose, JSON and events are
//! modes of one object.

mod human;
mod json;

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use tbprov::error::Hint;
use tbprov::event::Observer;
use tbprov::text::{escaped, escaped_lines, shown_path};
use tbprov::{Error, ErrorCode};

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
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.reader_gone.cancel(),
            Err(_) => self.lost.store(true, Ordering::Relaxed),
        }
    }

    /// Cancelled when the reader of stdout has closed it. Work without an end then ends.
    pub(crate) const fn reader_gone(&self) -> &CancellationToken {
        &self.reader_gone
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

/// The beginning of a line about one step.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mark {
    Passed,
    Failed,
    Warning,
    Skipped,
}
