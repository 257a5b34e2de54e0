//! A table for a spreadsheet: one row a device.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Write;

use ::csv::{Terminator, Writer, WriterBuilder};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::device::{Advise, Device};
use super::unwritten;
use crate::error::Result;
use crate::fleet::pages::Pages;
use crate::ledger::roster::{Roster, Selection};
use crate::text::escaped;

/// A spreadsheet takes a file that begins so for UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

/// The columns that every table has; those of `x.KEY` follow.
const COLUMNS: [&str; 19] = [
    "name",
    "label",
    "serial",
    "mac",
    "gateway",
    "state",
    "attempts",
    "code",
    "step",
    "message",
    "help",
    "retry_at",
    "ended",
    "credentials_id",
    "key_type",
    "not_after",
    "server",
    "manifest",
    "line",
];

/// Writes the table. The rows are read twice: once for the names of the columns `x.KEY`.
///
/// # Errors
/// `ledger/…`; `file/io` when it cannot be written.
pub async fn write(out: &mut (dyn Write + Send), roster: &dyn Roster, advise: Advise) -> Result<()> {
    let extra = extra_columns(roster).await?;
    out.write_all(BYTE_ORDER_MARK).map_err(unwritten)?;
    let mut table = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(out);
    let names = extra.iter().map(|key| format!("x.{key}"));
    record(&mut table, COLUMNS.iter().map(|name| (*name).to_owned()).chain(names))?;
    let mut pages = Pages::of(roster, Selection::default());
    while let Some(rows) = pages.page().await? {
        for row in rows {
            let mut device = Device::new(row, advise);
            let more: Vec<_> = extra.iter().map(|key| device.x.remove(key).unwrap_or_default()).collect();
            record(&mut table, cells(device).into_iter().chain(more))?;
        }
    }
    table.flush().map_err(unwritten)
}

async fn extra_columns(roster: &dyn Roster) -> Result<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    let mut pages = Pages::of(roster, Selection::default());
    while let Some(rows) = pages.page().await? {
        for key in rows.into_iter().flat_map(|row| row.row.fields.extra.into_keys()) {
            keys.insert(key);
        }
    }
    Ok(keys)
}

fn record(table: &mut Writer<&mut (dyn Write + Send)>, cells: impl Iterator<Item = String>) -> Result<()> {
    let cells = cells.map(|cell| harmless(&escaped(&cell)).into_owned());
    table.write_record(cells.collect::<Vec<_>>()).map_err(unwritten)
}

fn cells(device: Device) -> [String; COLUMNS.len()] {
    let [code, step, message, help] = match device.error {
        Some(why) => [why.code, why.step, why.message, why.help],
        None => Default::default(),
    };
    let (manifest, line) = device.manifest.map(|from| (from.name, from.line.to_string())).unwrap_or_default();
    let server = device.host.zip(device.port).map(|(host, port)| format!("{host}:{port}"));
    [
        device.device,
        device.label.unwrap_or_default(),
        device.serial.unwrap_or_default(),
        device.mac.unwrap_or_default(),
        if device.gateway { "yes" } else { "no" }.to_owned(),
        device.state.as_str().to_owned(),
        device.attempts.to_string(),
        code,
        step,
        message,
        help,
        instant(device.retry_at),
        instant(device.ended),
        device.credentials_id.unwrap_or_default(),
        device.key_type.map(|key_type| key_type.to_string()).unwrap_or_default(),
        instant(device.not_after),
        server.unwrap_or_default(),
        manifest,
        line,
    ]
}

fn instant(time: Option<OffsetDateTime>) -> String {
    let whole = time.and_then(|time| time.replace_nanosecond(0).ok());
    whole.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

/// The cell with a `'` before whatever a spreadsheet would run: a formula begins with one of `=+-@`, or a tab or a line
/// end before it. A spreadsheet that takes another character for the separator sees cells within the cell: what begins
/// one of those is made harmless too.
pub fn harmless(cell: &str) -> Cow<'_, str> {
    let mut before = None;
    let mut written = String::new();
    for character in cell.chars() {
        if begins_formula(character) && before.is_none_or(is_separator) {
            written.push('\'');
        }
        written.push(character);
        before = Some(character);
    }
    if written.len() == cell.len() { Cow::Borrowed(cell) } else { Cow::Owned(written) }
}

/// The signs with which formulas begin, those of full width too, and what is skipped before them.
const fn begins_formula(character: char) -> bool {
    matches!(character, '=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '＝' | '＋' | '－' | '＠')
}

const fn is_separator(character: char) -> bool {
    matches!(character, ',' | ';' | '|' | '\t' | '\r' | '\n' | '"')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_cells_stay_as_they_are() {
        for cell in ["", "sensor-01", "a=b", "x@example.com", "24:0a:c4:00:00:00", "O'Neill", "1;2, -3"] {
            assert!(matches!(harmless(cell), Cow::Borrowed(same) if same == cell), "{cell}");
        }
    }

    #[test]
    fn formulas_are_text() {
        for (cell, written) in [
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t'=1"),
            ("\r=1", "'\r'=1"),
            ("x;=1+1", "x;'=1+1"),
            ("x\";\"=1+1", "x\";\"'=1+1"),
            ("＝1", "'＝1"),
        ] {
            assert_eq!(harmless(cell), written);
        }
    }

    proptest! {
        /// Whatever a spreadsheet takes for the separator: no cell of the written line begins a formula.
        #[test]
        fn no_cell_begins_a_formula(cells in proptest::collection::vec("[=+@;,|\t\r\n\"' a-]{0,8}|\\PC{0,6}", 1..4)) {
            let mut table = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
            table.write_record(cells.iter().map(|cell| harmless(cell).into_owned())).unwrap();
            let line = String::from_utf8(table.into_inner().unwrap()).unwrap();
            for separator in [b',', b';', b'\t', b'|'] {
                let mut reader = ::csv::ReaderBuilder::new()
                    .has_headers(false)
                    .flexible(true)
                    .delimiter(separator)
                    .from_reader(line.as_bytes());
                for read in reader.records() {
                    for cell in &read.unwrap() {
                        let first = cell.trim_start_matches(['\t', '\r', '\n']).chars().next();
                        prop_assert!(!first.is_some_and(begins_formula), "{cell:?} of {line:?}");
                    }
                }
            }
        }

        /// Nothing is lost: without the marks it is the cell.
        #[test]
        fn the_rest_stays(cell in "[=+@;,'a-]{0,12}") {
            let written = harmless(&cell).into_owned();
            prop_assert_eq!(written.replace('\'', ""), cell.replace('\'', ""));
            prop_assert_eq!(harmless(&written).replace('\'', ""), cell.replace('\'', ""));
        }
    }
}
