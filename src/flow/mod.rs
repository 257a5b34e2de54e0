//! What a run does, and in which order. [`next`] decides, the others do what it says:
//!
//! ```text
//! plan -> identity -> stage -> exchange -> answer -> prove -> proved -> telemetry
//! ```

mod adopt;
mod answer;
mod connect;
mod fresh;
mod identity;
pub mod next;
mod plan;
mod prove;
mod provision;
mod refusals;
mod register;
mod remove;
mod rotate;
mod run;
mod trust;
mod walk;

pub use adopt::adopt;
pub use connect::{Reached, connect};
pub use identity::{NewIdentity, new_identity, new_request};
pub use next::Outcome;
pub use plan::*;
pub use prove::{Proof, Prover, Unproved};
pub use provision::{Provisioned, Timings, provision};
pub use register::{Before, RegisterPlan, Registered, register};
pub use remove::remove;
pub use rotate::{Awaited, DEFAULT_PATIENCE, RotateOutcome, RotatePlan, Rotated, discard, roll_back, rotate};
pub use run::Run;
pub use trust::{Believed, TrustPlan, believe, check_name_again};

use crate::device::State;
use crate::error::{Error, ErrorCode, Result};
use crate::event::Progress;
use crate::identity::Certificate;
use crate::ledger::{self, Advance, Entry, Lease, Ledger, Record, Subject, Which, changed};

/// Fails when the ledger holds this certificate at the same server already: two devices with one identity would be one
/// device there.
async fn find_same(run: Run<'_>, leaf: &Certificate) -> Result<()> {
    let id = leaf.credentials_id();
    let entries = run.ledger.list().await?.into_iter().filter_map(|(_, entry)| entry.ok());
    for entry in entries {
        let is_there = run.prover.dialer.server.is_at(&entry.record.host, entry.record.port);
        if is_there && entry.record.identity.credentials_id.as_ref() == Some(&id) {
            let message =
                format!("this certificate is that of '{}' in {}", entry.shown_name(), entry.place());
            return Err(Error::new(ErrorCode::StoreExists, message));
        }
    }
    Ok(())
}

/// Fails when the certificate is, or was before, that of a device of the ledger which must not present it now: see
/// [`Entry::check_presentable`].
async fn check_presentable(run: Run<'_>, leaf: &Certificate) -> Result<()> {
    let id = leaf.credentials_id();
    for (folder, entry) in run.ledger.list().await? {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let message = format!(
                    "whether the certificate is that of {folder}, and may be used now, is not known: {}",
                    error.message
                );
                run.progress.warn(message);
                continue;
            }
        };
        let Record { identity, previous, .. } = &entry.record;
        let mut identities = [Some(identity), previous.as_ref().map(|named| &named.identity)].into_iter();
        if identities.any(|one| one.is_some_and(|one| one.credentials_id.as_ref() == Some(&id))) {
            entry.check_presentable()?;
        }
    }
    Ok(())
}

/// Whether the ledger is one that this user can read only.
fn cannot_be_written(error: &Error) -> bool {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    if error.code == ErrorCode::LedgerReadOnly {
        return true;
    }
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    source.is_some_and(|source| matches!(source.kind(), PermissionDenied | ReadOnlyFilesystem))
}

/// Keeps a device that registers at connect for this run alone, as long as it may connect: while another one replaces its
/// identity, no connection may present the old one. Nothing for other devices, and in a ledger that cannot be written.
///
/// # Errors
/// `rotate/unfinished` while its rotation is; `store/changed` when another run was faster; `store/locked`.
pub async fn hold(ledger: &dyn Ledger, entry: &Entry, progress: &Progress) -> Result<Option<Lease>> {
    entry.check_presentable()?;
    if !entry.record.wishes.registers_at_connect || entry.record.state() != State::Proved {
        return Ok(None);
    }
    let subject = Subject::Named(entry.shown_name());
    let lease = match ledger::wait_for(ledger, subject, progress).await {
        Err(error) if cannot_be_written(&error) => return Ok(None),
        leased => leased?,
    };
    let found = ledger.find(subject).await?;
    match found {
        Some(found) if found.record.identity.credentials_id == entry.record.identity.credentials_id => {
            found.check_presentable()?;
            Ok(Some(lease))
        }
        _ => Err(changed(entry)),
    }
}

/// Records that the device is proved, if that is news. What the run did is done either way, also after the user ended
/// it: a record that cannot be written is told as a warning.
async fn record_proof(run: Run<'_>, entry: Entry) -> Entry {
    if entry.record.state() == State::Proved {
        return entry;
    }
    match try_to_record_proof(run, &entry).await {
        Ok(Some(entry)) => entry,
        Ok(None) => entry,
        Err(error) => {
            let message = format!("the device is proved, but its record does not say so: {}", error.message);
            run.progress.warn(message);
            entry
        }
    }
}

async fn try_to_record_proof(run: Run<'_>, entry: &Entry) -> Result<Option<Entry>> {
    let subject = Subject::Named(entry.shown_name());
    let lease = run.lease(subject).await?;
    // The record was read before the lock was taken: another process may have written it since.
    let current = run.ledger.find(subject).await?.filter(|current| is_same_identity(current, entry));
    match current {
        Some(current) if current.record.state() != State::Proved => {
            let server = &run.prover.dialer.server;
            // What was left unchecked once is not left unchecked for good.
            let may_be_kept = current.record.skip_name_check || !server.trust.skip_name_check;
            let server = may_be_kept.then_some(server);
            let reached = &[State::Proved];
            let advance = Advance { which: Which::Current, reached, server, wishes: None, leaves: None };
            let proved = run.ledger.advance(&lease, &current, advance).await?;
            run.tell_state(&proved, State::Proved);
            Ok(Some(proved))
        }
        other => Ok(other),
    }
}

/// Whether both are the same identity at the same server. Tokens have no id: when it was made tells them apart.
fn is_same_identity(one: &Entry, other: &Entry) -> bool {
    let key = |entry: &Entry| {
        let Record { host, port, identity, .. } = &entry.record;
        (
            host.clone(),
            *port,
            identity.credentials_type,
            identity.credentials_id.clone(),
            identity.reached.staged,
        )
    };
    key(one) == key(other)
}
