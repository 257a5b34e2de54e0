//! What every run works with.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::prove::Prover;
use crate::device::State;
use crate::error::{Error, ErrorCode, Result, Step};
use crate::event::{Event, Progress};
use crate::ledger::{Advance, Entry, Lease, Ledger, Slot, Subject, Which, Wishes};

/// How long to wait for another tbprov that works on the same device.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);
const LOCK_POLL: Duration = Duration::from_millis(100);

/// Where devices are kept, which server they are for, who may end the run, and who hears of it.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// Where devices are kept.
    pub ledger: &'a dyn Ledger,
    /// The server, and what proves an identity there.
    pub prover: &'a Prover,
    /// Cancelled when the user ends the run.
    pub interrupt: &'a CancellationToken,
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

    /// Waits until no other tbprov works on the device.
    pub async fn lease(&self, subject: Subject<'_>) -> Result<Lease> {
        let deadline = Instant::now() + LOCK_PATIENCE;
        let mut told = false;
        loop {
            match self.ledger.lease(subject).await {
                Err(error) if error.code == ErrorCode::StoreLocked && Instant::now() < deadline => {
                    if !told {
                        let what = format!("waiting: {}", error.message);
                        self.progress.event(&Event::Started { step: Step::Stage, what });
                        told = true;
                    }
                    tokio::time::sleep(LOCK_POLL).await;
                }
                taken => return taken,
            }
        }
    }

    /// Records what the current identity has reached, and tells of it.
    pub(super) async fn advance(
        &self,
        lease: &Lease,
        entry: &Entry,
        reached: &[State],
        wishes: Option<&Wishes>,
        leaves: Option<&Slot>,
    ) -> Result<Entry> {
        let server = &self.prover.dialer.server;
        let advance = Advance { which: Which::Current, reached, server, wishes, leaves };
        let entry = self.ledger.advance(lease, entry, advance).await?;
        for state in reached {
            self.tell_state(&entry, *state);
        }
        Ok(entry)
    }

    pub(super) fn tell_state(&self, entry: &Entry, state: State) {
        let directory = entry.directory.clone().unwrap_or_default();
        self.progress.event(&Event::StateReached { state, directory });
    }
}
