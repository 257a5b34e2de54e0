//! Devices: their rows, and the changes of their records.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::{Value, json};

use super::failure::{Done, Failed};
use super::history::Line;
use super::identity::{self, Columns};
use super::millis;
use super::worker::Desk;
use crate::device::{DeviceId, State};
use crate::error::{Error, ErrorCode};
use crate::identity::CredentialsType;
use crate::ledger::{Entry, Flashed, Note, Record, changed, lease_lost};

/// How the mark of a device that the server names begins; the name of its first identity follows.
pub(super) const MARK: &str = "unnamed-";

/// The state of a row that is held for a device that does not exist.
pub(super) const HELD: &str = "held";
pub(super) const FAILED: &str = "failed";
const REMOVED: &str = "removed";

/// With the state `?2` ends the trouble of a row that is proved, or had failed. One that had failed and is not proved is
/// due again.
const TROUBLE_ENDS: &str = "\
    due = iif(state = 'failed' AND ?2 NOT IN ('failed', 'proved'), 1, due), \
    code = iif(?2 = 'proved' OR (state = 'failed' AND ?2 <> 'failed'), NULL, code), \
    step = iif(?2 = 'proved' OR (state = 'failed' AND ?2 <> 'failed'), NULL, step), \
    message = iif(?2 = 'proved' OR (state = 'failed' AND ?2 <> 'failed'), NULL, message)";

/// Which device is meant.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    Named(String),
    Slot(String),
}

impl Wanted {
    pub(super) fn of(subject: crate::ledger::Subject<'_>) -> Self {
        match subject {
            crate::ledger::Subject::Named(name) => Self::Named(name.trim().to_owned()),
            crate::ledger::Subject::Unnamed(slot) => Self::Slot(slot.fingerprint()),
        }
    }

    /// The device of an entry.
    pub(super) fn from(entry: &Entry) -> Self {
        Self::Named(entry.shown_name().to_owned())
    }

    pub(super) fn shown(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::Slot(_) => "(unnamed)",
        }
    }
}

/// A row of a device, as far as changes need it.
pub(super) struct Held {
    pub(super) id: i64,
    name: Option<String>,
    mark: Option<String>,
    slot: Option<String>,
    state: String,
    ended: Option<i64>,
    pub(super) run: Option<String>,
    fence: i64,
    head: Option<Vec<u8>>,
    trust: Option<i64>,
    pub(super) record: Option<String>,
}

const COLUMNS: &str = "id, name, mark, slot, state, ended, run, fence, head, trust, record";

impl Held {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            name: row.get(1)?,
            mark: row.get(2)?,
            slot: row.get(3)?,
            state: row.get(4)?,
            ended: row.get(5)?,
            run: row.get(6)?,
            fence: row.get(7)?,
            head: row.get(8)?,
            trust: row.get(9)?,
            record: row.get(10)?,
        })
    }

    /// The row of a device, if there is one.
    pub(super) fn find(db: &Connection, wanted: &Wanted) -> Done<Option<Self>> {
        let (value, columns): (_, &[&str]) = match wanted {
            Wanted::Named(name) => (name, &["name", "mark"]),
            Wanted::Slot(slot) => (slot, &["slot"]),
        };
        for column in columns {
            let sql = format!("SELECT {COLUMNS} FROM device WHERE {column} = ?1");
            let found = db.prepare_cached(&sql)?.query_row([value], Self::read).optional()?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The row with this number.
    pub(super) fn by_id(db: &Connection, id: i64) -> Done<Self> {
        let sql = format!("SELECT {COLUMNS} FROM device WHERE id = ?1");
        Ok(db.prepare_cached(&sql)?.query_row([id], Self::read)?)
    }

    /// The device, if the row has one.
    pub(super) fn entry(&self) -> Done<Option<Entry>> {
        let name = self.name.as_deref().or(self.mark.as_deref()).unwrap_or_default();
        Ok(self.record.as_deref().map(|record| entry(name, record)).transpose()?)
    }

    /// Fails where the lease with this number does not hold the row.
    fn check_lease(&self, fence: u64) -> Done<()> {
        match self.run.is_some() && u64::try_from(self.fence) == Ok(fence) {
            true => Ok(()),
            false => Err(lease_lost().into()),
        }
    }

    fn check_unchanged(&self, entry: &Entry) -> Done<()> {
        let Some(kept) = &self.record else { return Err(changed(entry).into()) };
        let is_same = to_json(&entry.record)? == *kept
            || serde_json::from_str::<Record>(kept).is_ok_and(|kept| kept == entry.record);
        if is_same { Ok(()) } else { Err(changed(entry).into()) }
    }
}

/// The device of this name, or with this mark, with this record.
pub(super) fn entry(name: &str, record: &str) -> crate::Result<Entry> {
    let corrupt = |why: String| {
        let message = format!("the record of '{}' cannot be read: {why}", crate::text::shown(name));
        Error::new(ErrorCode::StoreCorrupt, message)
    };
    let record: Record = serde_json::from_str(record).map_err(|error| corrupt(error.to_string()))?;
    match record.flaw() {
        Some((why, None)) => Err(corrupt(why)),
        Some((why, Some(hint))) => Err(corrupt(why).hint(hint)),
        None if record.device.as_deref().is_some_and(|device| device != name) => {
            Err(corrupt("it is that of another device".to_owned()))
        }
        None => Ok(Entry { id: DeviceId::new(name), directory: None, record }),
    }
}

fn to_json(record: &Record) -> Done<String> {
    let bug = |error: serde_json::Error| {
        Error::new(ErrorCode::Bug, "the device's record could not be written as JSON").source(error)
    };
    Ok(serde_json::to_string(record).map_err(bug)?)
}

/// What a change does beside the record.
#[derive(Default)]
pub(super) struct Change<'a> {
    /// What happened, for the history.
    pub(super) kind: &'a str,
    pub(super) detail: Option<Value>,
    /// Whether the row is as far as the record from now on.
    pub(super) is_step: bool,
    /// Whether nothing is left to do with the row, which is given free.
    pub(super) is_last: bool,
    /// The new certificates of the server, where they may change.
    pub(super) trust: Option<Option<String>>,
    /// The slot by which the device need not be found any more.
    pub(super) leaves: Option<String>,
}

impl Desk<'_> {
    /// The row of a device that is as `entry` says, under the lease with this number.
    pub(super) fn unchanged(&self, fence: u64, entry: &Entry) -> Done<Held> {
        let Some(row) = Held::find(self.db, &Wanted::from(entry))? else {
            self.lease_of(fence)?;
            return Err(changed(entry).into());
        };
        row.check_lease(fence)?;
        row.check_unchanged(entry)?;
        Ok(row)
    }

    /// The run that has the lease with this number.
    fn lease_of(&self, fence: u64) -> Done<String> {
        let mut select =
            self.db.prepare_cached("SELECT run FROM device WHERE run IS NOT NULL AND fence = ?1")?;
        let fence = i64::try_from(fence).unwrap_or_default();
        let run = select.query_row([fence], |row| row.get(0)).optional()?;
        run.ok_or_else(|| lease_lost().into())
    }

    /// Replaces the record of a row.
    pub(super) fn put(&self, row: &Held, entry: &Entry, record: Record, change: Change<'_>) -> Done<Entry> {
        let state = if change.is_step { record.state().as_str() } else { row.state.as_str() };
        let ended = match (state == State::Proved.as_str(), state == row.state) {
            (true, false) => Some(millis(self.now)),
            (true, true) => row.ended,
            (false, _) => row.ended.filter(|_| state == FAILED),
        };
        let trust = match &change.trust {
            None => row.trust,
            Some(pem) => pem.as_deref().map(|pem| identity::bundle(self.db, pem)).transpose()?,
        };
        let is_finished =
            record.state() == State::Proved || (change.leaves.is_some() && change.leaves == row.slot);
        let slot = row.slot.as_deref().filter(|_| !is_finished);
        let head = self.tell(row, change.kind, change.detail.as_ref())?;
        let mut update = self.db.prepare_cached(&format!(
            "UPDATE device SET state = ?2, ended = ?3, slot = ?4, head = ?5, server = ?6, credentials_id = ?7, \
             trust = ?8, record = ?9, {TROUBLE_ENDS} WHERE id = ?1 AND fence = ?10"
        ))?;
        let (server, id) = (server_of(&record), &record.identity.credentials_id);
        let json = to_json(&record)?;
        let done = update
            .execute(params![row.id, state, ended, slot, head, server, id, trust, json, row.fence])
            .map_err(|error| taken(error.into(), entry.shown_name()))?;
        one(done)?;
        if change.is_last {
            self.db
                .prepare_cached("UPDATE device SET due = 0, retry_at = 0, run = NULL WHERE id = ?1")?
                .execute([row.id])?;
        }
        Ok(Entry { record, ..entry.clone() })
    }

    /// Adds a line to the history of a row. The new head is to be kept.
    pub(super) fn tell(&self, row: &Held, kind: &str, detail: Option<&Value>) -> Done<[u8; 32]> {
        let detail = detail.map(Value::to_string);
        let line = Line {
            device: Some(row.id),
            at: millis(self.now),
            kind,
            detail: detail.as_deref(),
            run: row.run.as_deref(),
            fence: row.fence,
        };
        line.add(self.db, row.head.as_deref())
    }

    /// Gives a row its device.
    pub(super) fn stage(&self, fence: u64, wanted: &Wanted, new: &Staged) -> Done<Entry> {
        let row = match Held::find(self.db, wanted)? {
            Some(row) => {
                row.check_lease(fence)?;
                row
            }
            None => self.another(fence, wanted)?,
        };
        if row.record.is_some() {
            let message = format!("the ledger has a device '{}' already", wanted.shown());
            return Err(Error::new(ErrorCode::StoreExists, message).into());
        }
        self.fill(&row, new)
    }

    /// A row for another device under the same lease, after the one that it was for has left its place.
    fn another(&self, fence: u64, wanted: &Wanted) -> Done<Held> {
        let run = self.lease_of(fence)?;
        self.hold(wanted, &run, i64::try_from(fence).unwrap_or(i64::MAX))?;
        Held::find(self.db, wanted)?.ok_or_else(|| lease_lost().into())
    }

    /// Writes the record and the identity of a row that has none.
    pub(super) fn fill(&self, row: &Held, new: &Staged) -> Done<Entry> {
        let record = &new.record;
        let mark = new.mark.clone();
        let shown = row.name.as_deref().or(mark.as_deref()).unwrap_or_default().to_owned();
        let trust = new.server_pem.as_deref().map(|pem| identity::bundle(self.db, pem)).transpose()?;
        let detail = json!({
            "device": shown,
            "credentials_type": record.identity.credentials_type,
            "credentials_id": record.identity.credentials_id,
            "server": server_of(record),
        });
        let state = record.state();
        let head = self.tell(row, state.as_str(), Some(&detail))?;
        let ended = (state == State::Proved).then(|| millis(self.now));
        let slot = row.slot.as_deref().filter(|_| state != State::Proved);
        let mut update = self.db.prepare_cached(&format!(
            "UPDATE device SET state = ?2, mark = ?3, slot = ?4, ended = ?5, head = ?6, server = ?7, \
             credentials_id = ?8, trust = ?9, record = ?10, {TROUBLE_ENDS} \
             WHERE id = ?1 AND record IS NULL AND fence = ?11"
        ))?;
        let (server, id) = (server_of(record), &record.identity.credentials_id);
        let json = to_json(record)?;
        let state = state.as_str();
        let done = update
            .execute(params![row.id, state, mark, slot, ended, head, server, id, trust, json, row.fence])
            .map_err(|error| taken(error.into(), &shown))?;
        one(done)?;
        new.identity.add(self.db, row.id, &new.name)?;
        Ok(Entry { id: DeviceId::new(shown), directory: None, record: record.clone() })
    }

    /// Makes a row for a device that does not exist yet.
    pub(super) fn hold(&self, wanted: &Wanted, run: &str, fence: i64) -> Done<i64> {
        let (name, slot) = match wanted {
            Wanted::Named(name) => (Some(name), None),
            Wanted::Slot(slot) => (None, Some(slot)),
        };
        let mut insert = self.db.prepare_cached(
            "INSERT INTO device (name, slot, state, due, run, fence) VALUES (?1, ?2, ?3, 0, ?4, ?5)",
        )?;
        insert.execute(params![name, slot, HELD, run, fence])?;
        Ok(self.db.last_insert_rowid())
    }

    /// Keeps a note about a board: one has the identity of one device, and a device is on one board.
    pub(super) fn bind(&self, row: &Held, chip: &Flashed, credentials_id: Option<&str>) -> Done<()> {
        let now = millis(self.now);
        self.db
            .prepare_cached(
                "UPDATE board SET scrapped = ?3 WHERE scrapped IS NULL AND (mac = ?1 OR device = ?2)",
            )?
            .execute(params![chip.mac, row.id, now])?;
        let mut insert = self.db.prepare_cached(
            "INSERT INTO board (mac, device, chip, credentials_id, image_sha256, flashed) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let at = millis(chip.at);
        insert.execute(params![chip.mac, row.id, chip.chip, credentials_id, chip.image_sha256, at])?;
        Ok(())
    }

    /// Takes the device out. Its row stays, without a name.
    pub(super) fn remove(&self, fence: u64, entry: &Entry) -> Done<i64> {
        let row = self.unchanged(fence, entry)?;
        let head = self.tell(&row, REMOVED, None)?;
        let mut update = self.db.prepare_cached(
            "UPDATE device SET removed = coalesce(name, mark), name = NULL, mark = NULL, slot = NULL, mac = NULL, \
             credentials_id = NULL, state = ?2, due = 0, retry_at = 0, ended = NULL, code = NULL, head = ?3 \
             WHERE id = ?1 AND fence = ?4",
        )?;
        one(update.execute(params![row.id, REMOVED, head, row.fence])?)?;
        Ok(row.id)
    }

    /// Deletes what the record does not name any more. What a server gave once is left.
    pub(super) fn delete_unnamed(&self, row: &Held, record: &Record) -> Done<()> {
        let named = record.identity_names();
        let (Some(first), Some(last)) = (named.first(), named.last()) else { return Ok(()) };
        let middle = named.get(1).unwrap_or(first);
        let may_be_theirs = record.state() != State::Proved;
        let mut delete = self.db.prepare_cached(
            "DELETE FROM identity WHERE device = ?1 AND name NOT IN (?2, ?3, ?4) AND (kind = 'x509' OR NOT ?5)",
        )?;
        delete.execute(params![row.id, first, middle, last, may_be_theirs])?;
        Ok(())
    }

    /// Deletes a candidate that no server was told of, where the new record does not name it.
    pub(super) fn delete_dropped(&self, row: &Held, before: &Record, record: &Record) -> Done<()> {
        let Some(candidate) = &before.candidate else { return Ok(()) };
        let is_own = candidate.identity.credentials_type == CredentialsType::X509;
        if is_own && !record.identity_names().contains(&candidate.name.as_str()) {
            let mut delete =
                self.db.prepare_cached("DELETE FROM identity WHERE device = ?1 AND name = ?2")?;
            delete.execute(params![row.id, candidate.name])?;
        }
        Ok(())
    }

    /// The name of the one identity of a device that was never rotated.
    pub(super) fn only_identity(&self, row: &Held, entry: &Entry) -> Done<String> {
        if let Some(name) = &entry.record.identity_name {
            return Ok(name.clone());
        }
        let mut select = self.db.prepare_cached("SELECT name FROM identity WHERE device = ?1")?;
        let name = select.query_row([row.id], |row| row.get(0)).optional()?;
        name.ok_or_else(|| {
            let message = format!("'{}' is damaged: its credentials are missing", entry.shown_name());
            Error::new(ErrorCode::StoreCorrupt, message).into()
        })
    }
}

/// A device that a row is given.
pub(super) struct Staged {
    pub(super) record: Record,
    /// The name of its identity.
    pub(super) name: String,
    /// What it is known by, where it has no name.
    pub(super) mark: Option<String>,
    pub(super) identity: Columns,
    pub(super) server_pem: Option<String>,
}

/// What the history says of a note.
pub(super) fn noted(note: &Note) -> (&'static str, Value) {
    match note {
        Note::Flashed { chip, credentials_id } => (
            "flashed",
            json!({ "mac": chip.mac, "chip": chip.chip, "image_sha256": chip.image_sha256, "credentials_id": credentials_id }),
        ),
        Note::Refused(refusal) => ("refused", json!({ "code": refusal.code, "message": refusal.message })),
    }
}

/// Fails where a change met no row, because another has it by now.
pub(super) fn one(changed: usize) -> Done<()> {
    if changed == 1 { Ok(()) } else { Err(lease_lost().into()) }
}

fn server_of(record: &Record) -> String {
    record.host.with_port(record.port).to_string()
}

/// Two devices of one server cannot have one certificate.
fn taken(failed: Failed, name: &str) -> Failed {
    if !failed.is_taken() {
        return failed;
    }
    let message = format!("the certificate of '{name}' is that of another device of the ledger");
    Error::new(ErrorCode::StoreExists, message).into()
}
