//! Rows and devices come into a ledger: all of them, or none.

use super::manifest::Manifest;
use crate::error::{Error, ErrorCode, Faults, Hint, Result};
use crate::event::{Event, Progress};
use crate::ledger::roster::{Imported, Roster, Source, Whole};
use crate::ledger::{Entry, Subject};

/// Takes the rows of a manifest that was [checked](Manifest::check) in. With `update`, rows that differ replace those that
/// are there, where nothing was done for them yet. With `dry_run` nothing is changed.
///
/// # Errors
/// `manifest/invalid` with the rows that differ; `file/…` when the manifest cannot be read again; `ledger/…`.
pub async fn manifest(
    manifest: &Manifest,
    roster: &dyn Roster,
    update: bool,
    dry_run: bool,
    progress: &Progress,
) -> Result<Imported> {
    let source = Source { name: manifest.name().to_owned(), update, dry_run };
    let refused = match roster.import(Box::new(manifest.rows()?), source).await? {
        Ok(imported) => return Ok(imported),
        Err(refused) => refused,
    };
    let mut faults = Faults::default();
    for fault in refused.faults {
        progress.event(&Event::ManifestFault(fault.clone()));
        faults.add(fault);
    }
    let error = manifest.invalid(faults);
    Err(if refused.is_for_update { error.hint(Hint::RowsDiffer) } else { error })
}

/// What [`Roster::take_in`] would do with these devices.
///
/// # Errors
/// `store/exists` naming a device that is there with another identity; `ledger/…`.
pub async fn foreseen(devices: &[Whole], roster: &dyn Roster) -> Result<Imported> {
    let mut imported = Imported::default();
    for Whole { entry, .. } in devices {
        match roster.find(Subject::Named(entry.shown_name())).await? {
            None => imported.added += 1,
            Some(there) if is_same(&there, entry) => imported.unchanged += 1,
            Some(_) => {
                let message = format!("{} has another identity of '{}'", roster.shown(), entry.shown_name());
                return Err(Error::new(ErrorCode::StoreExists, message));
            }
        }
    }
    Ok(imported)
}

fn is_same(one: &Entry, other: &Entry) -> bool {
    let identity = |entry: &Entry| {
        let record = &entry.record.identity;
        (record.credentials_type, record.credentials_id.clone())
    };
    identity(one) == identity(other)
}
