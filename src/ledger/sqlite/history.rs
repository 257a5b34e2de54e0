//! What happened, one line after the other. Each line of a device is hashed with the one before it, so that none can be
//! changed or left out unseen; the ledger has a chain of its own.

use aws_lc_rs::digest::{Context, SHA256};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::Value;

use super::failure::{Done, corrupt};
use super::{millis, moment};
use crate::ledger::roster::{Happened, Walked};

/// A line before it has a hash.
pub(super) struct Line<'a> {
    /// The device's number; none for the ledger itself.
    pub(super) device: Option<i64>,
    /// Milliseconds since 1970.
    pub(super) at: i64,
    pub(super) kind: &'a str,
    /// JSON.
    pub(super) detail: Option<&'a str>,
    pub(super) run: Option<&'a str>,
    pub(super) fence: i64,
}

impl Line<'_> {
    /// SHA-256 of the hash before and of this line as a JSON array: device, time, kind, detail (as the text that is kept),
    /// run, fence.
    fn hash(&self, before: &[u8]) -> Done<[u8; 32]> {
        let line = (self.device, self.at, self.kind, self.detail, self.run, self.fence);
        let line = serde_json::to_vec(&line).map_err(|error| corrupt(error.to_string()))?;
        let mut context = Context::new(&SHA256);
        context.update(before);
        context.update(&line);
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        Ok(hash)
    }

    /// Adds the line behind the one with the hash `before`. The hash that is given back is to be kept as the head.
    pub(super) fn add(&self, db: &Connection, before: Option<&[u8]>) -> Done<[u8; 32]> {
        let hash = self.hash(before.unwrap_or_default())?;
        let mut insert = db.prepare_cached(
            "INSERT INTO event (device, at, kind, detail, run, fence, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        insert.execute(params![self.device, self.at, self.kind, self.detail, self.run, self.fence, hash])?;
        Ok(hash)
    }
}

/// Adds a line about the ledger itself.
pub(super) fn tell_of_ledger(
    db: &Connection,
    at: time::OffsetDateTime,
    kind: &str,
    detail: &Value,
) -> Done<()> {
    let before: Option<Vec<u8>> = db.query_row("SELECT head FROM ledger", [], |row| row.get(0))?;
    let detail = detail.to_string();
    let line = Line { device: None, at: millis(at), kind, detail: Some(&detail), run: None, fence: 0 };
    let head = line.add(db, before.as_deref())?;
    db.execute("UPDATE ledger SET head = ?1", params![head])?;
    Ok(())
}

const COLUMNS: &str = "number, device, at, kind, detail, run, fence, hash";

/// A line as it is kept.
struct Kept {
    number: i64,
    device: Option<i64>,
    at: i64,
    kind: String,
    detail: Option<String>,
    run: Option<String>,
    fence: i64,
    hash: Vec<u8>,
}

impl Kept {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            number: row.get(0)?,
            device: row.get(1)?,
            at: row.get(2)?,
            kind: row.get(3)?,
            detail: row.get(4)?,
            run: row.get(5)?,
            fence: row.get(6)?,
            hash: row.get(7)?,
        })
    }

    fn line(&self) -> Line<'_> {
        Line {
            device: self.device,
            at: self.at,
            kind: &self.kind,
            detail: self.detail.as_deref(),
            run: self.run.as_deref(),
            fence: self.fence,
        }
    }

    fn happened(self) -> Done<Happened> {
        let detail = self.detail.as_deref().map(serde_json::from_str).transpose();
        Ok(Happened {
            number: self.number,
            at: moment(self.at),
            kind: self.kind,
            detail: detail.map_err(|error| corrupt(format!("a line of the history is no JSON: {error}")))?,
            run: self.run,
            fence: u64::try_from(self.fence).unwrap_or_default(),
            hash: hex(&self.hash),
        })
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What happened to a device, in order.
pub(super) fn of_device(db: &Connection, device: i64) -> Done<Vec<Happened>> {
    let sql = format!("SELECT {COLUMNS} FROM event WHERE device = ?1 ORDER BY number");
    let mut select = db.prepare_cached(&sql)?;
    let lines = select.query_map([device], Kept::read)?;
    lines.map(|line| line?.happened()).collect()
}

/// Walks all chains, one after the other.
pub(super) fn walk(db: &Connection) -> Done<Walked> {
    let mut walked = Walked::default();
    let sql = format!("SELECT {COLUMNS} FROM event ORDER BY device, number");
    let mut select = db.prepare(&sql)?;
    let mut lines = select.query([])?;
    let mut chain: Option<Chain> = None;
    while let Some(row) = lines.next()? {
        let line = Kept::read(row)?;
        walked.lines += 1;
        if chain.as_ref().is_none_or(|chain| chain.device != line.device) {
            if let Some(chain) = chain.take() {
                chain.end(db, &mut walked)?;
            }
            chain = Some(Chain { device: line.device, head: Vec::new(), broken: None });
        }
        if let Some(chain) = &mut chain {
            chain.add(line)?;
        }
    }
    if let Some(chain) = chain {
        chain.end(db, &mut walked)?;
    }
    without_lines(db, &mut walked)?;
    without_numbers(db, &mut walked)?;
    Ok(walked)
}

/// Lines have the numbers from 1 on, without a gap.
fn without_numbers(db: &Connection, walked: &mut Walked) -> Done<()> {
    let last: i64 = db.query_row("SELECT coalesce(max(number), 0) FROM event", [], |row| row.get(0))?;
    let missing = u64::try_from(last).unwrap_or_default().saturating_sub(walked.lines);
    if missing > 0 {
        walked.broken.push((None, format!("{missing} of {last} lines are missing")));
    }
    Ok(())
}

/// Walks the chain of one device: what is wrong with it.
pub(super) fn check(db: &Connection, device: i64) -> Done<Option<String>> {
    let sql = format!("SELECT {COLUMNS} FROM event WHERE device = ?1 ORDER BY number");
    let mut select = db.prepare_cached(&sql)?;
    let mut lines = select.query([device])?;
    let mut chain: Option<Chain> = None;
    while let Some(row) = lines.next()? {
        let new = || Chain { device: Some(device), head: Vec::new(), broken: None };
        chain.get_or_insert_with(new).add(Kept::read(row)?)?;
    }
    let mut walked = Walked::default();
    match chain {
        Some(chain) => chain.end(db, &mut walked)?,
        None => {
            let mut select = db.prepare_cached("SELECT head IS NOT NULL FROM device WHERE id = ?1")?;
            if select.query_row([device], |row| row.get(0))? {
                return Ok(Some(NO_LINES.to_owned()));
            }
        }
    }
    Ok(walked.broken.pop().map(|(_, why)| why))
}

/// Of a device that had lines once.
const NO_LINES: &str = "all of its lines are missing";

/// The lines of one device, or of the ledger.
struct Chain {
    device: Option<i64>,
    head: Vec<u8>,
    broken: Option<String>,
}

impl Chain {
    fn add(&mut self, line: Kept) -> Done<()> {
        if self.broken.is_none() && line.line().hash(&self.head)?.as_slice() != line.hash {
            self.broken = Some(format!(
                "line {} ('{}') is not as it was written, or one before it is missing",
                line.number, line.kind
            ));
        }
        self.head = line.hash;
        Ok(())
    }

    fn end(self, db: &Connection, walked: &mut Walked) -> Done<()> {
        let (name, head): (Option<String>, Option<Vec<u8>>) = match self.device {
            None => (None, db.query_row("SELECT head FROM ledger", [], |row| row.get(0))?),
            Some(device) => {
                let mut select =
                    db.prepare_cached(&format!("SELECT {NAME}, head FROM device WHERE id = ?1"))?;
                let known = select.query_row([device], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
                known.unwrap_or_else(|| (Some(format!("number {device}")), None))
            }
        };
        let is_whole = head.as_deref() == Some(self.head.as_slice());
        let broken = self.broken.or_else(|| (!is_whole).then(|| "its last line is missing".to_owned()));
        walked.broken.extend(broken.map(|why| (name, why)));
        Ok(())
    }
}

const NAME: &str = "coalesce(name, mark, removed)";

/// Those that had a line once and have none.
fn without_lines(db: &Connection, walked: &mut Walked) -> Done<()> {
    let none = || NO_LINES.to_owned();
    let is_bare: bool = db.query_row(
        "SELECT head IS NOT NULL AND NOT EXISTS (SELECT 1 FROM event WHERE device IS NULL) FROM ledger",
        [],
        |row| row.get(0),
    )?;
    if is_bare {
        walked.broken.push((None, none()));
    }
    let mut select = db.prepare(&format!(
        "SELECT {NAME} FROM device WHERE head IS NOT NULL \
         AND NOT EXISTS (SELECT 1 FROM event WHERE event.device = device.id)"
    ))?;
    for name in select.query_map([], |row| row.get(0))? {
        walked.broken.push((name?, none()));
    }
    Ok(())
}
