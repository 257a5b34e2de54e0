//! Manifests: the devices of a fleet, one a row, in CSV or in NDJSON. Documented in `docs/fleet.md`.
//!
//! A manifest is read as it comes, one row in memory at a time. It is read twice: first every line is checked, then the
//! ledger takes the rows in.

mod column;
mod csv;
mod draft;
mod lines;
mod ndjson;
mod numbered;
mod record;
mod twice;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
pub use numbered::Numbered;

use self::csv::Table;
use self::lines::{Kind, Lines};
use self::ndjson::Objects;
use self::twice::Twice;
use crate::error::{Error, ErrorCode, Faults, Result};
use crate::event::{Event, Progress};
use crate::ledger::roster::{Fault, Line};
use crate::text::{shown, shown_path};

/// The most bytes of a manifest that can be read but once: it is kept in memory.
const LARGEST_STREAM: u64 = 256 * 1024 * 1024;

/// Rows for a ledger, which can be read more than once.
#[derive(Debug, Clone)]
pub struct Manifest {
    name: String,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    File(PathBuf),
    Bytes(Bytes),
    Numbered(Numbered),
}

impl Manifest {
    /// The manifest in a file. What is no regular file, such as a pipe, is read at once.
    ///
    /// # Errors
    /// `file/not-found`, `file/io`.
    pub fn file(path: &Path) -> Result<Self> {
        let name = shown_path(path);
        let metadata = std::fs::metadata(path).map_err(|error| unreadable(&name, error))?;
        if metadata.is_dir() {
            return Err(unreadable(&name, io::ErrorKind::IsADirectory.into()));
        }
        if metadata.is_file() {
            return Ok(Self { name, content: Content::File(path.to_owned()) });
        }
        let file = File::open(path).map_err(|error| unreadable(&name, error))?;
        Self::stream(name, file)
    }

    /// The manifest on standard input, which is read at once.
    ///
    /// # Errors
    /// `file/io`, also when it is larger than 256 MiB.
    pub fn stdin() -> Result<Self> {
        Self::stream("-".to_owned(), io::stdin().lock())
    }

    fn stream(name: String, stream: impl Read) -> Result<Self> {
        let mut bytes = Vec::new();
        stream
            .take(LARGEST_STREAM + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(named(&name), error))?;
        if bytes.len() as u64 > LARGEST_STREAM {
            let message =
                format!("{} has more than 256 MiB: save it in a file, and name the file", named(&name));
            return Err(Error::new(ErrorCode::FileIo, message));
        }
        Ok(Self { name, content: Content::Bytes(bytes.into()) })
    }

    /// Names that count, in place of a manifest. `pattern` is what they were made of.
    pub fn numbered(pattern: &str, numbered: Numbered) -> Self {
        Self { name: shown(pattern), content: Content::Numbered(numbered) }
    }

    /// The path, `-` for standard input, or the pattern of the names.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name in messages.
    pub fn shown(&self) -> &str {
        named(&self.name)
    }

    /// The rows, from the first on. A line that is none is told as what is wrong with it.
    ///
    /// # Errors
    /// `file/not-found`, `file/io`.
    pub fn rows(&self) -> Result<Rows> {
        let failed = |error| unreadable(self.shown(), error);
        let input: Box<dyn Read + Send> = match &self.content {
            Content::File(path) => Box::new(File::open(path).map_err(failed)?),
            Content::Bytes(bytes) => Box::new(Cursor::new(bytes.clone())),
            Content::Numbered(numbered) => return Ok(Rows::of(Format::Numbered(numbered.clone()))),
        };
        Rows::read(input).map_err(failed)
    }

    /// Checks every line, and that no two rows have the same name or the same MAC address. Tells each fault as an event,
    /// and how many rows there are.
    ///
    /// # Errors
    /// `manifest/invalid` with the faults; `file/not-found`, `file/io`.
    pub fn check(&self, progress: &Progress) -> Result<u64> {
        let (mut rows, mut count) = (self.rows()?, 0);
        let (mut twice, mut faults) = (Twice::default(), Faults::default());
        let mut refuse = |fault: Fault| {
            progress.event(&Event::ManifestFault(fault.clone()));
            faults.add(fault);
        };
        for line in &mut rows {
            match line {
                Ok((line, row)) => {
                    count += 1;
                    twice.faults(line, &row).into_iter().for_each(&mut refuse);
                }
                Err(fault) => refuse(fault),
            }
        }
        if let Some(error) = rows.failure {
            return Err(unreadable(self.shown(), error));
        }
        if faults.is_empty() { Ok(count) } else { Err(self.invalid(faults)) }
    }

    /// The failure of a manifest with these faults.
    pub fn invalid(&self, faults: Faults) -> Error {
        let lines = match faults.lines() {
            1 => "one line".to_owned(),
            count => format!("{count} lines"),
        };
        let message = format!("{lines} of {} cannot be taken", self.shown());
        Error::new(ErrorCode::ManifestInvalid, message).of_lines(faults)
    }
}

fn named(name: &str) -> &str {
    if name == "-" { "standard input" } else { name }
}

fn unreadable(name: &str, error: io::Error) -> Error {
    let code = match error.kind() {
        io::ErrorKind::NotFound => ErrorCode::FileNotFound,
        _ => ErrorCode::FileIo,
    };
    Error::new(code, format!("cannot read {name}: {error}")).source(error)
}

/// The rows of a manifest, and what is wrong with the lines that are none.
pub struct Rows {
    format: Format,
    waiting: VecDeque<Line>,
    /// Whether there was a row or a fault.
    had_any: bool,
    failure: Option<io::Error>,
}

enum Format {
    Csv(Table),
    Ndjson(Objects),
    Numbered(Numbered),
    /// There is no more.
    Ended,
}

impl Rows {
    /// Begins to read a manifest.
    ///
    /// # Errors
    /// Those of `input`.
    pub fn read(input: Box<dyn Read + Send>) -> io::Result<Self> {
        let mut rows = Self::of(Format::Ended);
        let (lines, kind) = Lines::new(input)?;
        rows.format = match kind {
            Ok(Kind::Csv) => Table::open(lines, &mut rows.waiting)?.map_or(Format::Ended, Format::Csv),
            Ok(Kind::Ndjson) => Format::Ndjson(Objects::new(lines)),
            Err(fault) => {
                rows.waiting.push_back(Err(fault));
                Format::Ended
            }
        };
        Ok(rows)
    }

    const fn of(format: Format) -> Self {
        Self { format, waiting: VecDeque::new(), had_any: false, failure: None }
    }

    /// Adds what is next to what waits. False at the end.
    fn advance(&mut self) -> io::Result<bool> {
        match &mut self.format {
            Format::Csv(table) => table.next(&mut self.waiting),
            Format::Ndjson(objects) => objects.next(&mut self.waiting),
            Format::Numbered(numbered) => {
                let next = numbered.next();
                let is_there = next.is_some();
                self.waiting.extend(next);
                Ok(is_there)
            }
            Format::Ended => Ok(false),
        }
    }

    /// There is no more; a manifest has at least one row.
    fn end(&mut self, failure: Option<io::Error>) {
        self.format = Format::Ended;
        let why = match &failure {
            Some(error) => Some(format!("cannot be read: {error}")),
            None if self.had_any || !self.waiting.is_empty() => None,
            None => Some("is the header, and no row follows it".to_owned()),
        };
        self.waiting.extend(why.map(|why| Err(Fault { line: 1, column: None, why })));
        self.failure = failure;
    }
}

impl Iterator for Rows {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        while self.waiting.is_empty() && !matches!(self.format, Format::Ended) {
            match self.advance() {
                Ok(true) => {}
                Ok(false) => self.end(None),
                Err(error) => self.end(Some(error)),
            }
        }
        let next = self.waiting.pop_front();
        self.had_any |= next.is_some();
        next
    }
}

#[cfg(test)]
mod tests;
