//! What every run works with.

use tokio_util::sync::CancellationToken;

use super::prove::Prover;
use crate::device::State;
use crate::error::{Error, Result};
use crate::event::{Event, Progress};
use crate::ledger::{self, Advance, Entry, Lease, Ledger, Slot, Subject, Which, Wishes};

/// Where devices are kept, which server they are for, who may end the run, and who hears of it.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// Where devices are kept.
    pub ledger: &'a dyn Ledger,
    /// The server, and what proves an identity there.
    pub prover: &'a Prover,
    /// Cancelled when the user ends the run.
    pub interrupt: &'a CancellationToken,
    /// Cancelled when telemetry shall end: then too, or when nobody hears of it any more.
    pub stop_telemetry: &'a CancellationToken,
    /// How far it is, and who hears of it.
    pub progress: &'a Progress,
}

impl Run<'_> {
    /// Does `work` until it ends or the user interrupts it, and stamps its failure with the step that was reached.
    pub(super) async fn stamped<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let done = tokio::select! {
            biased;
            () = self.interrupt.cancelled() => Err(Error::interrupted()),
            done = work => done,
        };
        done.map_err(|error| error.stamped(self.progress.step()))
    }

    /// Takes the device for this run, and waits until no other tbprov works on it.
    pub(super) async fn lease(&self, subject: Subject<'_>) -> Result<Lease> {
        ledger::wait_for(self.ledger, subject, self.progress).await
    }

    /// Records what the current identity has reached.
    pub(super) async fn advance(
        &self,
        lease: &Lease,
        entry: &Entry,
        reached: &[State],
        wishes: Option<&Wishes>,
        leaves: Option<&Slot>,
    ) -> Result<Entry> {
        let server = Some(&self.prover.dialer.server);
        let advance = Advance { which: Which::Current, reached, server, wishes, leaves };
        self.ledger.advance(lease, entry, advance).await
    }

    pub(super) fn tell_state(&self, entry: &Entry, state: State) {
        let directory = entry.directory.clone().unwrap_or_default();
        self.progress.event(&Event::StateReached { state, directory });
    }
}
