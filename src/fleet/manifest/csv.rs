//! Manifests in CSV, with a header.

use std::collections::VecDeque;
use std::io;

use super::column::{self, Column, NoColumn};
use super::draft::Draft;
use super::lines::{LONGEST, Lines, NOT_UTF8, Taken, split_end};
use super::record::{Cells, Record};
use crate::ledger::roster::{Fault, Line};

/// What may separate cells: what spreadsheets write, by language.
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

/// The column of a cell.
#[derive(Debug)]
enum Slot {
    Column(Column),
    /// One without a name, in which nothing may stand: spreadsheets write such columns at the end.
    Unnamed,
    /// One that cannot be taken, and was told.
    Refused,
}

/// Gives the rows below a header.
pub(super) struct Table {
    lines: Lines,
    /// Nothing before the header.
    delimiter: Option<u8>,
    slots: Vec<Slot>,
    line: Vec<u8>,
    record: Record,
}

/// What was read.
enum Read {
    /// A row that begins on this line.
    Record(u64),
    /// A line that is none.
    Wrong(Fault),
    /// One after which nothing can be told from it.
    Hopeless(Fault),
    End,
}

impl Table {
    /// Reads the header. Nothing where there is none that can be used; why is among `found`.
    pub(super) fn open(lines: Lines, found: &mut VecDeque<Line>) -> io::Result<Option<Self>> {
        let mut table =
            Self { lines, delimiter: None, slots: Vec::new(), line: Vec::new(), record: Record::new() };
        match table.read_header()? {
            Ok(faults) => {
                found.extend(faults.into_iter().map(Err));
                Ok(Some(table))
            }
            Err(fault) => {
                found.push_back(Err(fault));
                Ok(None)
            }
        }
    }

    fn read_header(&mut self) -> io::Result<Result<Vec<Fault>, Fault>> {
        let line = match self.read()? {
            Read::Record(line) => line,
            Read::Wrong(fault) | Read::Hopeless(fault) => return Ok(Err(fault)),
            Read::End => return Ok(Err(of_line(1, "the file is empty"))),
        };
        let Some(cells) = self.record.cells() else { return Ok(Err(of_line(line, NOT_UTF8))) };
        if cells.iter().any(|cell| cell.contains('\r')) {
            let why = "has line ends of an old kind (CR alone): save the file as 'CSV UTF-8'";
            return Ok(Err(of_line(line, why)));
        }
        Ok(header(cells, line).map(|(slots, faults)| {
            self.slots = slots;
            faults
        }))
    }

    /// Adds the next row to `found`, or what is wrong with it. False at the end.
    pub(super) fn next(&mut self, found: &mut VecDeque<Line>) -> io::Result<bool> {
        match self.read()? {
            Read::End => return Ok(false),
            Read::Wrong(fault) => found.push_back(Err(fault)),
            Read::Hopeless(fault) => {
                found.push_back(Err(fault));
                return Ok(false);
            }
            Read::Record(line) => match self.record.cells() {
                Some(cells) => row(&self.slots, cells, line, found),
                None => found.push_back(Err(of_line(line, NOT_UTF8))),
            },
        }
        Ok(true)
    }

    /// Reads the next row that is not empty.
    fn read(&mut self) -> io::Result<Read> {
        loop {
            let read = self.read_any()?;
            let is_blank = || self.record.cells().is_some_and(Cells::are_blank);
            if !matches!(read, Read::Record(_)) || !is_blank() {
                return Ok(read);
            }
        }
    }

    fn read_any(&mut self) -> io::Result<Read> {
        self.record.clear();
        let (mut first, mut size) = (None, 0);
        loop {
            let taken = self.lines.next(&mut self.line)?;
            size = if first.is_none() { self.line.len() } else { size + self.line.len() };
            match taken {
                Taken::End if first.is_none() => return Ok(Read::End),
                Taken::End => return Ok(Read::Hopeless(self.unclosed())),
                Taken::TooLong if first.is_none() => {
                    return Ok(Read::Wrong(of_line(self.lines.number(), "is longer than 64 KiB")));
                }
                Taken::Line if size <= LONGEST => {}
                _ => return Ok(Read::Hopeless(self.unclosed())),
            }
            let number = self.lines.number();
            let (content, end) = split_end(&self.line);
            let Some(delimiter) = self.delimiter.or_else(|| delimiter_of(content)) else { continue };
            if self.delimiter.replace(delimiter).is_none() && is_about_delimiter(content) {
                continue;
            }
            if let Err(why) = self.record.push(content, end, number, delimiter) {
                return Ok(Read::Wrong(of_line(number, why)));
            }
            let first = *first.get_or_insert(number);
            if !self.record.goes_on() {
                return Ok(Read::Record(first));
            }
        }
    }

    fn unclosed(&self) -> Fault {
        let why =
            "has a quote that begins a cell and has no other one that ends it; the lines below were not read";
        of_line(self.record.quoted_at(), why)
    }
}

fn of_line(line: u64, why: impl Into<String>) -> Fault {
    Fault { line, column: None, why: why.into() }
}

/// Whether it is a line such as `sep=;`, with which spreadsheets are told of the delimiter.
fn is_about_delimiter(line: &[u8]) -> bool {
    line.strip_prefix(b"sep=").is_some_and(|rest| matches!(rest, [byte] if DELIMITERS.contains(byte)))
}

/// What separates the names of a header: what makes most columns of it, else what is in it most often. Nothing in an empty
/// line.
fn delimiter_of(line: &[u8]) -> Option<u8> {
    if line.trim_ascii().is_empty() {
        return None;
    }
    if is_about_delimiter(line) {
        return line.last().copied();
    }
    let header = String::from_utf8_lossy(line);
    let columns = |delimiter: u8| {
        let names = header.split(char::from(delimiter)).map(|name| name.trim().trim_matches('"'));
        names.fold((0, 0), |(known, all), name| (known + usize::from(Column::parse(name).is_ok()), all + 1))
    };
    let [first, rest @ ..] = DELIMITERS;
    Some(
        rest.into_iter().fold(first, |best, other| if columns(other) > columns(best) { other } else { best }),
    )
}

/// The columns of a header, with what is wrong with some of them; else why it is none.
fn header(cells: Cells<'_>, line: u64) -> Result<(Vec<Slot>, Vec<Fault>), Fault> {
    let (mut slots, mut faults, mut columns): (Vec<_>, Vec<_>, Vec<Column>) = Default::default();
    for written in cells.iter() {
        let mut refuse = |column: Option<String>, why: String| {
            faults.push(Fault { line, column, why });
            Slot::Refused
        };
        let slot = match Column::parse(written) {
            Ok(column) if columns.contains(&column) => {
                refuse(Some(column.shown().into_owned()), "is there twice".to_owned())
            }
            Ok(column) => {
                columns.push(column.clone());
                Slot::Column(column)
            }
            Err(NoColumn::Blank) => Slot::Unnamed,
            Err(why) => refuse(column::shown(written), why.why()),
        };
        slots.push(slot);
    }
    if columns.is_empty() {
        let why = "is no header: the first line names the columns, such as name,label,mac (with commas, semicolons \
                   or tabs)";
        return Err(of_line(line, why));
    }
    if !columns.contains(&Column::Name) {
        faults.push(Fault { line, column: Some("name".to_owned()), why: "is missing".to_owned() });
    }
    Ok((slots, faults))
}

/// Adds the row, or all that is wrong with it.
fn row(slots: &[Slot], cells: Cells<'_>, line: u64, found: &mut VecDeque<Line>) {
    if cells.len() != slots.len() {
        let (has, needs) = (cells.len(), slots.len());
        let cells = if has == 1 { "cell" } else { "cells" };
        return found.push_back(Err(of_line(line, format!("has {has} {cells}, and the header has {needs}"))));
    }
    let mut draft = Draft::default();
    let before = found.len();
    for (index, (slot, cell)) in slots.iter().zip(cells.iter()).enumerate() {
        match slot {
            Slot::Column(column) => {
                if let Err(why) = draft.set(column, cell) {
                    found.push_back(Err(Fault { line, column: Some(column.shown().into_owned()), why }));
                }
            }
            Slot::Unnamed if !cell.trim().is_empty() => {
                let why = format!("has something in cell {}, and the header has no name there", index + 1);
                found.push_back(Err(of_line(line, why)));
            }
            Slot::Unnamed | Slot::Refused => {}
        }
    }
    let has_name = slots.iter().any(|slot| matches!(slot, Slot::Column(Column::Name)));
    if found.len() == before && has_name {
        found.push_back(draft.finish(line).map(|row| (line, row)));
    }
}
