//! Devices into a store of folders.

use std::sync::Arc;

use super::{Done, Exported, each};
use crate::error::{Error, ErrorCode, Result};
use crate::identity::Credentials;
use crate::ledger::folder::Folders;
use crate::ledger::roster::Roster;
use crate::ledger::{
    Entry, Kept, Lease, Ledger, NewDevice, NewIdentity, Note, Record, Subject, Which, identity_name,
};
use crate::server::Server;

/// Puts every device that has an identity into the store: with its key, its server and its state. One that is there
/// already with the same identity stays as it is.
///
/// `told` hears of each device that failed: `store/exists` where it is there with another identity,
/// `rotate/unfinished` for one whose rotation has not come to its end.
///
/// # Errors
/// `ledger/…`; `store/io`.
pub async fn to_store(
    roster: &Arc<dyn Roster>,
    store: &Folders,
    told: &mut (dyn FnMut(&str, &Error) + Send),
) -> Result<Exported> {
    let work = |roster: Arc<dyn Roster>, entry: Entry| {
        let store = store.clone();
        async move { one(&*roster, &store, &entry).await }
    };
    each(roster, work, told).await
}

async fn one(roster: &dyn Roster, store: &Folders, entry: &Entry) -> Result<Done> {
    if entry.record.candidate.is_some() {
        let message = format!("the rotation of '{}' is not finished", entry.shown_name());
        return Err(Error::new(ErrorCode::RotateUnfinished, message));
    }
    // One that the server shall name has no folder of its own yet.
    let Some(name) = entry.record.device.as_deref() else { return Ok(Done::Skipped) };
    let kept = roster.key(entry, Which::Current).await?;
    let credentials = kept.clone().open(&entry.place())?;
    let subject = Subject::Named(name);
    let lease = store.lease(subject).await?;
    let (there, done) = match store.find(subject).await? {
        Some(there) => {
            same(store, &there, &entry.record, &credentials).await?;
            (there, Done::Unchanged)
        }
        None => {
            let staged = stage(roster, store, (&lease, entry), subject, (&kept, &credentials)).await?;
            (staged, Done::Written)
        }
    };
    if let (Some(chip), None) = (entry.record.identity.flashed.clone(), &there.record.identity.flashed) {
        let credentials_id = entry.record.identity.credentials_id.clone();
        store.note(&lease, &there, Note::Flashed { chip, credentials_id }).await?;
    }
    Ok(done)
}

async fn stage(
    roster: &dyn Roster,
    store: &Folders,
    (lease, entry): (&Lease, &Entry),
    subject: Subject<'_>,
    (kept, credentials): (&Kept, &Credentials),
) -> Result<Entry> {
    let record = &entry.record;
    let trust = roster.trust(entry).await?;
    let server = Server { host: record.host.clone(), port: record.port, trust: Arc::new(trust) };
    let new = NewDevice {
        subject,
        server: &server,
        identity: NewIdentity { kept, credentials },
        state: record.state(),
        wishes: record.wishes.clone(),
    };
    store.stage(lease, new).await
}

/// Fails where the device of the store is another one.
async fn same(store: &Folders, there: &Entry, record: &Record, credentials: &Credentials) -> Result<()> {
    let held = store.key(there, Which::Current).await?.open(&there.place())?;
    let what = if identity_name(&held) != identity_name(credentials) {
        "with another identity"
    } else if there.record.host != record.host || there.record.port != record.port {
        "for another server"
    } else {
        return Ok(());
    };
    let message = format!("the store already has '{}' in {}, {what}", there.shown_name(), there.place());
    Err(Error::new(ErrorCode::StoreExists, message))
}
