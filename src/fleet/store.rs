//! The devices of another ledger, such as a store of folders, with everything that it keeps of them.

use crate::error::{Error, ErrorCode, Hint, Result};
use crate::event::Progress;
use crate::ledger::roster::Whole;
use crate::ledger::{Entry, Ledger, Subject, Which};

/// Reads every device, each while no other tbprov works on it. One that cannot be read is named, and then there are none.
///
/// # Errors
/// That of the first device that cannot be read: the others are told as warnings. `store/not-proved` for one whose last
/// run has not come to its end, or that has no name yet; `store/not-found` where there is no device.
pub async fn read(ledger: &dyn Ledger, progress: &Progress) -> Result<Vec<Whole>> {
    let (mut devices, mut failed) = (Vec::new(), None);
    for (_, entry) in ledger.list().await? {
        let read = match entry {
            Ok(entry) => device(ledger, &entry).await,
            Err(error) => Err(error),
        };
        match read {
            Ok(device) => devices.push(device),
            Err(error) if failed.is_some() => progress.warn(error.message),
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) => Err(error),
        None if devices.is_empty() => {
            let message = format!("{} has no device", ledger.shown());
            Err(Error::new(ErrorCode::StoreNotFound, message).hint(Hint::EmptyStore))
        }
        None => Ok(devices),
    }
}

async fn device(ledger: &dyn Ledger, listed: &Entry) -> Result<Whole> {
    let Some(name) = listed.record.device.as_deref() else {
        let message = format!("{} has no name yet: the server gives it one", listed.place());
        return Err(Error::new(ErrorCode::StoreNotProved, message));
    };
    let _lease = ledger.lease(Subject::Named(name)).await?;
    let entry = ledger.open(name).await?;
    if ledger.left_behind(&entry).await?.is_some() {
        let message = format!("'{name}' was given credentials by a run that did not end");
        return Err(Error::new(ErrorCode::StoreNotProved, message));
    }
    let mut identities = vec![ledger.key(&entry, Which::Current).await?];
    if entry.record.candidate.is_some() {
        identities.push(ledger.key(&entry, Which::Candidate).await?);
    }
    if entry.record.previous.is_some() {
        identities.push(ledger.key(&entry, Which::Previous).await?);
    }
    let trust = ledger.trust(&entry).await?;
    Ok(Whole { entry, trust, identities })
}
