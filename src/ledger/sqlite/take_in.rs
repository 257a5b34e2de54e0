//! Devices of another ledger come in.

use rusqlite::params;
use serde_json::json;

use super::device::{Held, Staged, Wanted};
use super::failure::{Done, corrupt};
use super::history::tell_of_ledger;
use super::identity::{Columns, server_pem};
use super::millis;
use super::worker::Desk;
use crate::device::State;
use crate::error::{Error, ErrorCode};
use crate::ledger::roster::{Imported, Whole};
use crate::ledger::{Kept, identity_name};

impl Desk<'_> {
    /// Takes devices of another ledger in, all or none.
    pub(super) fn take_in(
        &mut self,
        devices: &[(Whole, Vec<(String, Columns)>)],
        source: &str,
    ) -> Done<Imported> {
        let at = millis(self.now);
        self.db.execute("INSERT INTO batch (source, at) VALUES (?1, ?2)", params![source, at])?;
        let batch = self.db.last_insert_rowid();
        let mut done = Imported::default();
        for (line, (whole, identities)) in (1_i64..).zip(devices) {
            self.check_wanted()?;
            if self.take_one(whole, identities, batch, line)? {
                done.added += 1;
            } else {
                done.unchanged += 1;
            }
        }
        if done.added == 0 {
            // The same again changes nothing, and is no batch.
            self.is_undone = true;
            return Ok(done);
        }
        let detail = json!({ "source": source, "added": done.added, "unchanged": done.unchanged });
        tell_of_ledger(self.db, self.now, "taken-in", &detail)?;
        Ok(done)
    }

    /// Whether the device is new.
    fn take_one(&self, whole: &Whole, identities: &[(String, Columns)], batch: i64, line: i64) -> Done<bool> {
        let record = &whole.entry.record;
        let wanted = match &record.device {
            Some(name) => Wanted::Named(name.clone()),
            None => Wanted::Named(whole.entry.id.to_string()),
        };
        let row = Held::find(self.db, &wanted)?;
        if let Some(row) = &row
            && let Some(known) = row.entry()?
        {
            let is_same = known.record.identity.credentials_type == record.identity.credentials_type
                && known.record.identity.credentials_id == record.identity.credentials_id;
            if is_same {
                return Ok(false);
            }
            let message = format!("the ledger has '{}' already, with another identity", wanted.shown());
            return Err(Error::new(ErrorCode::StoreExists, message).into());
        }
        let is_due = record.device.is_some() && record.state() != State::Proved;
        let id = match row {
            Some(row) if row.run.is_some() => {
                let message = format!("another tbprov is working on the device '{}'", wanted.shown());
                return Err(Error::new(ErrorCode::StoreLocked, message).into());
            }
            Some(row) => row.id,
            None => {
                self.db
                    .prepare_cached(
                        "INSERT INTO device (name, batch, line, gateway, state, due) VALUES (?1, ?2, ?3, ?4, 'queued', ?5)",
                    )?
                    .execute(params![record.device, batch, line, record.wishes.gateway, is_due])?;
                self.db.last_insert_rowid()
            }
        };
        let row = Held::by_id(self.db, id)?;
        let Some((name, first)) = identities.first() else {
            return Err(corrupt(format!("'{}' has no identity", wanted.shown())));
        };
        let staged = Staged {
            record: record.clone(),
            name: name.clone(),
            mark: record.device.is_none().then(|| whole.entry.id.to_string()),
            identity: first.clone(),
            server_pem: server_pem(&whole.trust),
        };
        self.fill(&row, &staged)?;
        self.db.prepare_cached("UPDATE device SET due = ?2 WHERE id = ?1")?.execute(params![id, is_due])?;
        for (name, identity) in identities.iter().skip(1) {
            identity.add(self.db, id, name)?;
        }
        Ok(true)
    }
}

/// The identities of a device, as rows have them, with their names.
pub(super) fn columns(whole: Whole) -> crate::Result<(Whole, Vec<(String, Columns)>)> {
    let record = &whole.entry.record;
    let beside = [&record.candidate, &record.previous].into_iter().flatten().map(|named| named.name.clone());
    let names = [record.identity_name.clone()].into_iter().chain(beside.map(Some));
    let named = |(kept, name): (&Kept, Option<String>)| {
        let name = match name {
            Some(name) => name,
            None => identity_name(&kept.clone().open(&whole.entry.place())?),
        };
        Ok((name, Columns::of(kept)?))
    };
    let identities = whole.identities.iter().zip(names).map(named).collect::<crate::Result<_>>()?;
    Ok((whole, identities))
}
