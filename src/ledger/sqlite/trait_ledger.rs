//! [`Sqlite`] as a [`Ledger`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;

use super::Sqlite;
use super::device::{Change, Held, MARK, Staged, Wanted, noted};
use super::failure::Done;
use super::identity::{self, Columns, server_pem};
use super::worker::Desk;
use crate::device::{DeviceId, State};
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::ledger::{
    Advance, Entry, Kept, Lease, Ledger, NewDevice, NewIdentity, Note, Record, Subject, Which, identity_name,
};
use crate::tls::Trust;

impl Sqlite {
    /// Does `work` in a transaction, and holds the lease until that has ended.
    async fn under<T: Send + 'static>(
        &self,
        lease: &Lease,
        work: impl FnOnce(&mut Desk<'_>, u64) -> Done<T> + Send + 'static,
    ) -> Result<T> {
        let (hold, fence) = (lease.hold(), lease.fence());
        self.0
            .writer
            .change(move |desk| {
                let done = work(desk, fence);
                drop(hold);
                done
            })
            .await
    }

    /// Replaces the record, as `change` says.
    async fn replace(
        &self,
        lease: &Lease,
        entry: &Entry,
        record: Record,
        change: Change<'static>,
    ) -> Result<Entry> {
        let entry = entry.clone();
        self.under(lease, move |desk, fence| {
            let row = desk.unchanged(fence, &entry)?;
            desk.put(&row, &entry, record, change)
        })
        .await
    }

    /// Reads something of a device that is there.
    async fn of_device<T: Send + 'static>(
        &self,
        entry: &Entry,
        read: impl FnOnce(&rusqlite::Connection, i64, &Entry) -> Done<T> + Send + 'static,
    ) -> Result<T> {
        let entry = entry.clone();
        self.read(move |db| {
            let row = Held::find(db, &Wanted::from(&entry))?.ok_or_else(|| {
                let message = format!("'{}' is not in the ledger any more", entry.shown_name());
                Error::new(ErrorCode::StoreCorrupt, message)
            })?;
            read(db, row.id, &entry)
        })
        .await
    }
}

#[async_trait]
impl Ledger for Sqlite {
    async fn lease(&self, subject: Subject<'_>) -> Result<Lease> {
        if let Subject::Named(name) = subject
            && let Some(lent) = self.0.lend(name.trim())
        {
            return lent;
        }
        let (core, wanted) = (Arc::clone(&self.0), Wanted::of(subject));
        self.0.writer.change(move |desk| desk.lease(&core, &wanted)).await
    }

    async fn find(&self, subject: Subject<'_>) -> Result<Option<Entry>> {
        let wanted = Wanted::of(subject);
        if self.0.claim_of(&wanted).is_some_and(|claim| claim.is_bare.load(Ordering::SeqCst)) {
            return Ok(None);
        }
        self.read(move |db| match Held::find(db, &wanted)? {
            Some(row) => row.entry(),
            None => Ok(None),
        })
        .await
    }

    async fn open(&self, name: &str) -> Result<Entry> {
        let (wanted, shown) = (Wanted::Named(name.trim().to_owned()), self.shown());
        let name = crate::text::shown(name);
        self.read(move |db| {
            let row = Held::find(db, &wanted)?;
            if let Some(entry) = row.as_ref().map(Held::entry).transpose()?.flatten() {
                return Ok(entry);
            }
            let (message, hint) = match row {
                Some(_) => (format!("'{name}' has no identity yet in {shown}"), Hint::RunFleet),
                None => (format!("{shown} has no device called '{name}'"), Hint::ListFleet),
            };
            Err(Error::new(ErrorCode::StoreNotFound, message).hint(hint).into())
        })
        .await
    }

    async fn only(&self) -> Result<Entry> {
        let shown = self.shown();
        self.read(move |db| {
            let mut entries = super::report::two_devices(db)?;
            match (entries.pop(), entries.len()) {
                (Some((_, entry)), 0) => Ok(entry?),
                (None, _) => {
                    let error = Error::new(ErrorCode::StoreNotFound, format!("{shown} has no device"));
                    Err(error.hint(Hint::EmptyStore).into())
                }
                (Some(_), _) => {
                    let message = format!("{shown} has several devices: name one");
                    Err(Error::new(ErrorCode::UsageMissing, message).hint(Hint::NameDevice).into())
                }
            }
        })
        .await
    }

    fn shown(&self) -> String {
        self.0.shown()
    }

    async fn stage(&self, lease: &Lease, new: NewDevice<'_>) -> Result<Entry> {
        let wanted = Wanted::of(new.subject);
        if let Some(claim) = self.0.claim_of(&wanted) {
            claim.is_bare.store(false, Ordering::SeqCst);
        }
        let (record, name) = (new.record(), identity_name(new.identity.credentials));
        let staged = Staged {
            mark: record.device.is_none().then(|| format!("{MARK}{name}")),
            record,
            name,
            identity: Columns::of(new.identity.kept)?,
            server_pem: server_pem(&new.server.trust),
        };
        self.under(lease, move |desk, fence| desk.stage(fence, &wanted, &staged)).await
    }

    async fn advance(&self, lease: &Lease, entry: &Entry, advance: Advance<'_>) -> Result<Entry> {
        let record = entry.advanced(&advance)?;
        let is_current = advance.which == Which::Current;
        let last = advance.reached.last().map(|state| state.as_str());
        let detail = (!is_current || advance.reached.len() > 1).then(|| {
            let reached: Vec<_> = advance.reached.iter().map(|state| state.as_str()).collect();
            let candidate = record.candidate.as_ref().map(|candidate| candidate.name.as_str());
            serde_json::json!({ "candidate": candidate.filter(|_| !is_current), "reached": reached })
        });
        // The end of a claimed row costs no change of its own.
        let proves = is_current && record.state() == State::Proved;
        let claim = self.0.claim_of(&Wanted::from(entry)).filter(|claim| proves && claim.ends_proved(lease));
        let change = Change {
            kind: last.unwrap_or("changed"),
            detail,
            is_step: is_current && last.is_some(),
            is_last: claim.is_some(),
            trust: advance.server.filter(|_| is_current).map(|server| server_pem(&server.trust)),
            leaves: advance.leaves.map(crate::ledger::Slot::fingerprint),
        };
        let entry = self.replace(lease, entry, record, change).await?;
        if let Some(claim) = claim {
            claim.is_over.store(true, Ordering::SeqCst);
        }
        Ok(entry)
    }

    async fn stage_next(
        &self,
        lease: &Lease,
        entry: &Entry,
        next: NewIdentity<'_>,
        state: State,
    ) -> Result<Entry> {
        let columns = Columns::of(next.kept)?;
        let (kept, credentials) = (next.kept.clone(), next.credentials.clone());
        let entry = entry.clone();
        self.under(lease, move |desk, fence| {
            let row = desk.unchanged(fence, &entry)?;
            let next = NewIdentity { kept: &kept, credentials: &credentials };
            let record = entry.with_candidate(desk.only_identity(&row, &entry)?, next, state)?;
            let name = identity_name(&credentials);
            columns.add(desk.db, row.id, &name)?;
            let detail = serde_json::json!({ "candidate": name, "state": state });
            let change = Change { kind: "candidate", detail: Some(detail), ..Change::default() };
            desk.put(&row, &entry, record, change)
        })
        .await
    }

    async fn promote(&self, lease: &Lease, entry: &Entry) -> Result<Entry> {
        let record = entry.promoted()?;
        let detail = serde_json::json!({ "credentials_id": record.identity.credentials_id });
        let change = Change { kind: "promoted", detail: Some(detail), is_step: true, ..Change::default() };
        self.replace(lease, entry, record, change).await
    }

    async fn roll_back(&self, lease: &Lease, entry: &Entry) -> Result<Entry> {
        let record = entry.rolled_back()?;
        let entry = entry.clone();
        self.under(lease, move |desk, fence| {
            let row = desk.unchanged(fence, &entry)?;
            let detail = serde_json::json!({ "credentials_id": record.identity.credentials_id });
            let change = Change { kind: "rolled-back", detail: Some(detail), ..Change::default() };
            let back = desk.put(&row, &entry, record, change)?;
            desk.delete_dropped(&row, &entry.record, &back.record)?;
            Ok(back)
        })
        .await
    }

    async fn discard(&self, lease: &Lease, entry: &Entry) -> Result<Entry> {
        let record = entry.discarded();
        let entry = entry.clone();
        self.under(lease, move |desk, fence| {
            let row = desk.unchanged(fence, &entry)?;
            let discarded =
                desk.put(&row, &entry, record, Change { kind: "discarded", ..Change::default() })?;
            desk.delete_unnamed(&row, &discarded.record)?;
            Ok(discarded)
        })
        .await
    }

    async fn note(&self, lease: &Lease, entry: &Entry, note: Note) -> Result<Entry> {
        let record = entry.noted(note.clone())?;
        let entry = entry.clone();
        self.under(lease, move |desk, fence| {
            let row = desk.unchanged(fence, &entry)?;
            if let Note::Flashed { chip, credentials_id } = &note {
                desk.bind(&row, chip, credentials_id.as_deref())?;
            }
            let (kind, detail) = noted(&note);
            desk.put(&row, &entry, record, Change { kind, detail: Some(detail), ..Change::default() })
        })
        .await
    }

    async fn list(&self) -> Result<Vec<(DeviceId, Result<Entry>)>> {
        self.read(super::report::devices).await
    }

    async fn key(&self, entry: &Entry, which: Which) -> Result<Kept> {
        self.of_device(entry, move |db, id, entry| identity::read(db, id, entry, which)).await
    }

    async fn left_behind(&self, entry: &Entry) -> Result<Option<Kept>> {
        self.of_device(entry, identity::left_behind).await
    }

    async fn trust(&self, entry: &Entry) -> Result<Trust> {
        let path = self.0.path.clone();
        self.of_device(entry, move |db, id, entry| identity::trust(db, id, entry, &path)).await
    }

    async fn remove(&self, lease: &Lease, entry: &Entry) -> Result<String> {
        let (entry, shown) = (entry.clone(), self.shown());
        self.under(lease, move |desk, fence| {
            let id = desk.remove(fence, &entry)?;
            Ok(format!("{shown}, number {id} of its removed devices"))
        })
        .await
    }
}
