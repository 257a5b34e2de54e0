//! What every run works with.

use tokio_util::sync::CancellationToken;

use super::prove::Prover;
use crate::device::State;
use crate::error::{Error, Result};
use crate::event::{Event, Progress};
use crate::ledger::{self, Entry, Lease, Ledger, Subject};

/// Where devices are kept, which server they are for, who may end the run, and who hears of it.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// Where devices are kept.
    pub ledger: &'a dyn Ledger,
    /// The server, and what proves an identity there.
    pub prover: &'a Prover,
    /// Cancelled when the user ends the run.
    pub interrupt: &'a CancellationToken,
    /// Cancelled when telemetry must end: with `interrupt`, or when the reader of stdout has closed it.
    pub stop_telemetry: &'a CancellationToken,
    /// The current step, and the observer.
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

    pub(super) fn tell_state(&self, entry: &Entry, state: State) {
        let directory = entry.directory.clone().unwrap_or_default();
        self.progress.event(&Event::StateReached { state, directory });
    }
}
