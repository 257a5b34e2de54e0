//! One row of CSV (RFC 4180), stricter than the usual readers: these take a quote that has no end for a cell with the rest
//! of the file, and say nothing.

/// Where in a row the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before a cell.
    Start,
    /// In a cell without quotes.
    Bare,
    /// In a cell in quotes.
    Quoted,
    /// After a quote in such a cell: its end, or the first of two that stand for one.
    AfterQuote,
}

/// The cells of one row.
#[derive(Debug)]
pub(super) struct Record {
    /// All cells, one behind the other.
    text: Vec<u8>,
    /// Where each ends in it.
    ends: Vec<usize>,
    place: Place,
    /// The line on which the last cell in quotes begins.
    quoted_at: u64,
}

impl Record {
    pub(super) const fn new() -> Self {
        Self { text: Vec::new(), ends: Vec::new(), place: Place::Start, quoted_at: 0 }
    }

    /// Begins another row.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.place = Place::Start;
    }

    /// The line on which the last cell in quotes begins.
    pub(super) const fn quoted_at(&self) -> u64 {
        self.quoted_at
    }

    /// Whether the row goes on with the next line, because a cell in quotes does.
    pub(super) fn goes_on(&self) -> bool {
        self.place == Place::Quoted
    }

    /// Adds line `number`, whose end is apart. The error is what is wrong with the line.
    pub(super) fn push(
        &mut self,
        line: &[u8],
        end: &[u8],
        number: u64,
        delimiter: u8,
    ) -> Result<(), &'static str> {
        let mut rest = line;
        while let [byte, after @ ..] = rest {
            (self.place, rest) = match (self.place, *byte) {
                (Place::Quoted, b'"') => (Place::AfterQuote, after),
                (Place::AfterQuote, b'"') => {
                    self.text.push(b'"');
                    (Place::Quoted, after)
                }
                (Place::Quoted, _) => (Place::Quoted, self.take_until(b'"', rest)),
                (place, byte) if byte == delimiter => {
                    self.end_cell(place)?;
                    (Place::Start, after)
                }
                (Place::AfterQuote, _) => {
                    return Err(
                        "has text after the quote that ends a cell: within quotes, a quote is written twice",
                    );
                }
                (Place::Start, b'"') => {
                    self.quoted_at = number;
                    (Place::Quoted, after)
                }
                (Place::Start | Place::Bare, _) => (Place::Bare, self.take_until(delimiter, rest)),
            };
        }
        if self.goes_on() {
            self.text.extend_from_slice(end);
            return Ok(());
        }
        self.end_cell(self.place)
    }

    /// Takes the bytes before the first `end`, and gives those from there on.
    fn take_until<'a>(&mut self, end: u8, bytes: &'a [u8]) -> &'a [u8] {
        let length = bytes.iter().position(|byte| *byte == end).unwrap_or(bytes.len());
        let (taken, rest) = bytes.split_at_checked(length).unwrap_or((bytes, b""));
        self.text.extend_from_slice(taken);
        rest
    }

    fn end_cell(&mut self, place: Place) -> Result<(), &'static str> {
        let start = self.ends.last().copied().unwrap_or(0);
        let cell = self.text.get(start..).unwrap_or_default();
        if place == Place::Bare && cell.trim_ascii_start().starts_with(b"\"") {
            return Err(
                "has a blank before a quote: nothing stands between a quote and the beginning of its cell",
            );
        }
        self.ends.push(self.text.len());
        Ok(())
    }

    /// The cells; nothing where they are not UTF-8.
    pub(super) fn cells(&self) -> Option<Cells<'_>> {
        let text = std::str::from_utf8(&self.text).ok()?;
        Some(Cells { text, ends: &self.ends })
    }
}

/// The cells of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cells<'a> {
    text: &'a str,
    ends: &'a [usize],
}

impl<'a> Cells<'a> {
    /// How many there are.
    pub(super) const fn len(self) -> usize {
        self.ends.len()
    }

    /// Whether there is nothing in any of them.
    pub(super) fn are_blank(self) -> bool {
        self.text.trim().is_empty()
    }

    /// Each.
    pub(super) fn iter(self) -> impl Iterator<Item = &'a str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(self.ends.iter().copied())
            .map(move |(start, end)| self.text.get(start..end).unwrap_or_default())
    }
}
