//! Rows of a manifest come in.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{Context, SHA256};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, params};
use serde_json::json;

use super::failure::{Done, corrupt};
use super::history::{Line as Told, hex, tell_of_ledger};
use super::millis;
use super::report::{COLUMNS_OF_ROW, ROW, row};
use super::worker::Desk;
use crate::ledger::roster::{Fault, Fields, Imported, Line, Refused, Row, RowId, Source};

/// Faults that are told, at the most: a manifest of another kind has one in every line.
const MOST_FAULTS: usize = 100_000;

impl Desk<'_> {
    /// Takes rows in, all or none.
    pub(super) fn import(
        &mut self,
        lines: Box<dyn Iterator<Item = Line> + Send>,
        source: &Source,
    ) -> Done<Result<Imported, Refused>> {
        // A large import meets its indexes at random places.
        self.db.pragma_update(None, "cache_size", -64_000)?;
        let done = self.import_all(lines, source);
        self.db.pragma_update(None, "cache_size", -24_000)?;
        let done = done?;
        // The same again changes nothing, and is no batch.
        let is_change = done.as_ref().is_ok_and(|done| done.added + done.updated > 0);
        self.is_undone = source.dry_run || !is_change;
        Ok(done)
    }

    fn import_all(
        &self,
        lines: Box<dyn Iterator<Item = Line> + Send>,
        source: &Source,
    ) -> Done<Result<Imported, Refused>> {
        let at = millis(self.now);
        self.db.execute("INSERT INTO batch (source, at) VALUES (?1, ?2)", params![source.name, at])?;
        let batch = self.db.last_insert_rowid();
        let mut import = Import::new(self.db, batch, source, at)?;
        for line in lines {
            self.check_wanted()?;
            match line {
                Ok((line, row)) => import.add(line, &row)?,
                Err(fault) => import.faults.push(fault),
            }
            if import.faults.len() > MOST_FAULTS {
                break;
            }
        }
        import.refuse_taken();
        let Import { done, faults, is_for_update, rows, .. } = import;
        if !faults.is_empty() {
            return Ok(Err(Refused { faults, is_for_update }));
        }
        let detail = json!({
            "source": source.name, "added": done.added, "updated": done.updated, "unchanged": done.unchanged,
            "sha256": hex(rows.finish().as_ref()),
        });
        tell_of_ledger(self.db, self.now, "imported", &detail)?;
        Ok(Ok(done))
    }
}

/// An import while it goes on.
struct Import<'a> {
    db: &'a Connection,
    batch: i64,
    source: &'a Source,
    at: i64,
    insert: CachedStatement<'a>,
    done: Imported,
    faults: Vec<Fault>,
    is_for_update: bool,
    /// By the numbers of rows that have to be replaced, because their MAC addresses were given to others.
    moved: BTreeMap<i64, Moved>,
    rows: Context,
}

/// A MAC address that was another row's.
struct Moved {
    mac: Option<String>,
    /// Whose it was.
    name: String,
    /// The line of the row that has it now.
    line: u64,
}

impl<'a> Import<'a> {
    fn new(db: &'a Connection, batch: i64, source: &'a Source, at: i64) -> Done<Self> {
        let insert = db.prepare_cached(
            "INSERT INTO device (name, batch, line, label, serial, mac, key_type, days, gateway, fields, state, due) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 'queued', 1) ON CONFLICT DO NOTHING",
        )?;
        let rows = Context::new(&SHA256);
        let (done, faults, moved) = (Imported::default(), Vec::new(), BTreeMap::new());
        Ok(Self { db, batch, source, at, insert, done, faults, is_for_update: false, moved, rows })
    }

    fn add(&mut self, line: u64, new: &Row) -> Done<()> {
        let fields = fields(new)?;
        self.hash(new, fields.as_deref());
        if self.insert(line, new, fields.as_deref())? {
            self.done.added += 1;
            return Ok(());
        }
        match Known::find(self.db, new)? {
            Some(known) => self.meet(line, known, new),
            None if self.has_moved_mac(line, new, None)? && self.insert(line, new, fields.as_deref())? => {
                self.done.added += 1;
                Ok(())
            }
            None => self.same_mac(line, new, None),
        }
    }

    /// Whether the row could be added: nothing of it is another's.
    fn insert(&mut self, line: u64, new: &Row, fields: Option<&str>) -> Done<bool> {
        let added = self.insert.execute(params![
            new.name.as_str(),
            self.batch,
            i64::try_from(line).unwrap_or(i64::MAX),
            new.label,
            new.serial,
            new.mac,
            new.key_type.map(crate::keys::KeyType::as_str),
            new.days,
            new.gateway,
            fields
        ])?;
        Ok(added == 1)
    }

    /// What names the rows of an import, together.
    fn hash(&mut self, row: &Row, fields: Option<&str>) {
        let texts = [
            Some(row.name.as_str()),
            row.label.as_deref(),
            row.serial.as_deref(),
            row.mac.as_deref(),
            fields,
        ];
        for text in texts {
            self.rows.update(text.unwrap_or_default().as_bytes());
            self.rows.update(b"\0");
        }
        self.rows.update(row.key_type.map_or("", crate::keys::KeyType::as_str).as_bytes());
        // No certificate is valid for 0 days.
        self.rows.update(&row.days.unwrap_or_default().to_be_bytes());
        self.rows.update(&[row.gateway.into()]);
    }

    /// A row whose name is there already.
    fn meet(&mut self, line: u64, mut known: Known, new: &Row) -> Done<()> {
        if let Some(moved) = self.moved.get(&known.id.0) {
            known.row.mac.clone_from(&moved.mac);
        }
        // One that is held for a device that does not exist is no row yet.
        let is_row = known.batch.is_some() || known.has_device;
        if known.batch == Some(self.batch) {
            let first = known.line.unwrap_or_default();
            self.fault(line, "name", format!("the name is that of line {first} too"));
        } else if is_row && known.row == *new {
            self.done.unchanged += 1;
        } else if known.has_device || known.is_held {
            let why = "the row is not as in the ledger, and something was done for the device already";
            self.fault(line, &differing(&known.row, new), why.to_owned());
        } else if is_row && !self.source.update {
            let what = differing(&known.row, new);
            self.is_for_update = true;
            self.fault(line, &what, format!("the {what} is not that of the row in the ledger"));
        } else {
            return self.replace(line, known.id, new);
        }
        Ok(())
    }

    fn replace(&mut self, line: u64, id: RowId, new: &Row) -> Done<()> {
        let mut select = self.db.prepare_cached("SELECT head, fence FROM device WHERE id = ?1")?;
        let (head, fence): (Option<Vec<u8>>, i64) =
            select.query_row([id.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let told =
            Told { device: Some(id.0), at: self.at, kind: "updated", detail: None, run: None, fence: 0 };
        let head = told.add(self.db, head.as_deref())?;
        let is_replaced = self.update(line, (id, fence), new, &head)?
            || (self.has_moved_mac(line, new, Some(id))? && self.update(line, (id, fence), new, &head)?);
        if !is_replaced {
            return self.same_mac(line, new, Some(id));
        }
        self.moved.remove(&id.0);
        self.done.updated += 1;
        Ok(())
    }

    /// Whether the row could be replaced: it is free, and nothing of the new one is another's.
    fn update(&self, line: u64, (id, fence): (RowId, i64), new: &Row, head: &[u8]) -> Done<bool> {
        let mut update = self.db.prepare_cached(
            "UPDATE OR IGNORE device SET label = ?2, serial = ?3, mac = ?4, key_type = ?5, days = ?6, gateway = ?7, \
             fields = ?8, batch = ?9, line = ?10, head = ?11, state = 'queued', due = 1, retry_at = 0, attempts = 0, \
             ended = NULL, code = NULL, step = NULL, message = NULL \
             WHERE id = ?1 AND fence = ?12 AND run IS NULL AND record IS NULL",
        )?;
        let updated = update.execute(params![
            id.0,
            new.label,
            new.serial,
            new.mac,
            new.key_type.map(crate::keys::KeyType::as_str),
            new.days,
            new.gateway,
            fields(new)?,
            self.batch,
            i64::try_from(line).unwrap_or(i64::MAX),
            head,
            fence
        ])?;
        Ok(updated == 1)
    }

    /// Takes the MAC address from a row that this import may still replace. Whether it was one's.
    fn has_moved_mac(&mut self, line: u64, new: &Row, own: Option<RowId>) -> Done<bool> {
        if !self.source.update {
            return Ok(false);
        }
        let mut update = self.db.prepare_cached(
            "UPDATE device SET mac = NULL WHERE mac = ?1 AND id IS NOT ?2 AND batch <> ?3 \
             AND record IS NULL AND run IS NULL RETURNING id, name",
        )?;
        let own = own.map(|own| own.0);
        let whose = update
            .query_row(params![new.mac, own, self.batch], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((id, name)) = whose else { return Ok(false) };
        self.moved.insert(id, Moved { mac: new.mac.clone(), name, line });
        Ok(true)
    }

    /// What lost its MAC address to another row, and was not replaced.
    fn refuse_taken(&mut self) {
        for Moved { name, line, .. } in std::mem::take(&mut self.moved).into_values() {
            self.fault(line, "mac", format!("the MAC address is that of '{name}' in the ledger"));
        }
        self.faults.sort_by_key(|fault| fault.line);
    }

    fn same_mac(&mut self, line: u64, new: &Row, own: Option<RowId>) -> Done<()> {
        let mut select =
            self.db.prepare_cached("SELECT name, batch, line FROM device WHERE mac = ?1 AND id IS NOT ?2")?;
        let own = own.map(|own| own.0);
        let known: Option<(String, i64, i64)> = select
            .query_row(params![new.mac, own], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let why = match known {
            Some((_, batch, known)) if batch == self.batch => {
                format!("the MAC address is that of line {known} too")
            }
            Some((name, ..)) => format!("the MAC address is that of '{name}' in the ledger"),
            None => return Err(corrupt("a row was refused for no reason that can be found")),
        };
        self.fault(line, "mac", why);
        Ok(())
    }

    fn fault(&mut self, line: u64, column: &str, why: String) {
        self.faults.push(Fault { line, column: Some(column.to_owned()), why });
    }
}

/// A row of the ledger that has the name of one that comes.
struct Known {
    id: RowId,
    row: Row,
    batch: Option<i64>,
    line: Option<i64>,
    has_device: bool,
    is_held: bool,
}

impl Known {
    fn find(db: &Connection, new: &Row) -> Done<Option<Self>> {
        let sql = format!(
            "SELECT {ROW}, batch, line, record IS NOT NULL, run IS NOT NULL FROM device WHERE name = ?1"
        );
        let mut select = db.prepare_cached(&sql)?;
        let mut found = select.query([new.name.as_str()])?;
        let Some(found) = found.next()? else { return Ok(None) };
        let (id, row) = row(found)?;
        let next = COLUMNS_OF_ROW;
        Ok(Some(Self {
            id,
            row,
            batch: found.get(next)?,
            line: found.get(next + 1)?,
            has_device: found.get(next + 2)?,
            is_held: found.get(next + 3)?,
        }))
    }
}

/// The name of the first column in which two rows differ.
fn differing(known: &Row, new: &Row) -> String {
    let column = match () {
        () if known.label != new.label => "label",
        () if known.serial != new.serial => "serial",
        () if known.mac != new.mac => "mac",
        () if known.key_type != new.key_type => "key-type",
        () if known.days != new.days => "days",
        () if known.gateway != new.gateway => "gateway",
        () if known.fields.wifi_ssid != new.fields.wifi_ssid => "wifi-ssid",
        () => return differing_key(&known.fields, &new.fields),
    };
    column.to_owned()
}

fn differing_key(known: &Fields, new: &Fields) -> String {
    let (one, other) = (&known.client, &new.client);
    let client = one.keys().chain(other.keys()).find(|key| one.get(*key) != other.get(*key));
    let (one, other) = (&known.extra, &new.extra);
    let extra = || one.keys().chain(other.keys()).find(|key| one.get(*key) != other.get(*key));
    match client {
        Some(key) => format!("client.{key}"),
        None => format!("x.{}", extra().map_or("", String::as_str)),
    }
}

/// The other columns of a row as JSON; `None` where there are none.
fn fields(row: &Row) -> Done<Option<String>> {
    let Fields { client, wifi_ssid, extra } = &row.fields;
    if client.is_empty() && wifi_ssid.is_none() && extra == &BTreeMap::new() {
        return Ok(None);
    }
    serde_json::to_string(&row.fields).map(Some).map_err(|error| corrupt(error.to_string()))
}
