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
mod remove;
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
pub use remove::remove;
pub use run::Run;
pub use trust::{Believed, TrustPlan, believe, check_name_again};

use crate::device::State;
use crate::error::{Error, ErrorCode, Result};
use crate::identity::Certificate;
use crate::ledger::{Advance, Entry, Record, Subject, Which};

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
