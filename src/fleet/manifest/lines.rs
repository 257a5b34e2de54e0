//! The lines of a manifest, none of which takes more memory than it may, and what the file is.

use std::io::{self, BufRead as _, BufReader, Read};

use crate::ledger::roster::Fault;

/// The longest line, and the longest row of CSV, in bytes.
pub(super) const LONGEST: usize = 64 * 1024;

/// Why a text that is not UTF-8 cannot be read.
pub(super) const NOT_UTF8: &str =
    "is not UTF-8: save the file as UTF-8 (in a spreadsheet 'CSV UTF-8'), and not as plain CSV";

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Csv,
    Ndjson,
}

/// What is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// A line.
    Line,
    /// A line that is too long; it is left out.
    TooLong,
    /// There is no more.
    End,
}

/// Gives lines.
pub(super) struct Lines {
    input: BufReader<Box<dyn Read + Send>>,
    number: u64,
}

impl Lines {
    /// Looks at the beginning, and leaves out the byte order mark of UTF-8.
    pub(super) fn new(input: Box<dyn Read + Send>) -> io::Result<(Self, Result<Kind, Fault>)> {
        let mut input = BufReader::with_capacity(LONGEST, input);
        let start = input.fill_buf()?;
        let mark = if start.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        let kind = kind(start.get(mark..).unwrap_or_default());
        input.consume(mark);
        let kind = kind.map_err(|why| Fault { line: 1, column: None, why: why.to_owned() });
        Ok((Self { input, number: 0 }, kind))
    }

    /// The number of the line that was taken last, from 1 on.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Reads the next line, with its end, in place of what `line` has.
    pub(super) fn next(&mut self, line: &mut Vec<u8>) -> io::Result<Taken> {
        line.clear();
        if self.read(line)? == 0 {
            return Ok(Taken::End);
        }
        self.number += 1;
        if line.len() <= LONGEST {
            return Ok(Taken::Line);
        }
        while line.last() != Some(&b'\n') {
            line.clear();
            if self.read(line)? == 0 {
                break;
            }
        }
        Ok(Taken::TooLong)
    }

    /// Reads to the end of the line, or a little more than a line may have.
    fn read(&mut self, line: &mut Vec<u8>) -> io::Result<usize> {
        (&mut self.input).take(LONGEST as u64 + 1).read_until(b'\n', line)
    }
}

/// A line and its end.
pub(super) fn split_end(line: &[u8]) -> (&[u8], &[u8]) {
    let content = line.strip_suffix(b"\n").map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line));
    line.split_at_checked(content.len()).unwrap_or((line, b""))
}

/// What begins so; else why it is no manifest.
fn kind(start: &[u8]) -> Result<Kind, &'static str> {
    const MAGIC: [(&[u8], &str); 4] = [
        (
            b"PK\x03\x04",
            "the file is a spreadsheet or an archive, and no text: save the sheet as 'CSV UTF-8 (Comma delimited)'",
        ),
        (
            b"\xD0\xCF\x11\xE0",
            "the file is a spreadsheet of an old kind, and no text: save the sheet as 'CSV UTF-8 (Comma delimited)'",
        ),
        (b"\x1F\x8B", "the file is compressed: unpack it first"),
        (b"SQLite format 3\0", "the file is a database, such as a ledger, and no manifest"),
    ];
    if let Some((_, why)) = MAGIC.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(why);
    }
    if start.starts_with(b"\xFF\xFE") || start.starts_with(b"\xFE\xFF") || start.contains(&0) {
        return Err(
            "the file is UTF-16, or no text: save it as UTF-8 (in a spreadsheet 'CSV UTF-8', and not \
                    'Unicode text')",
        );
    }
    match start.trim_ascii_start().first() {
        Some(b'{') => Ok(Kind::Ndjson),
        Some(b'[') => {
            Err("the file is a JSON array, and a manifest has one object on each line: jq -c '.[]' makes \
                           such lines")
        }
        Some(_) => Ok(Kind::Csv),
        None => Err("the file is empty"),
    }
}
