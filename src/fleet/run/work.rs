//! One device, as a task of its own.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::plan::FleetPlan;
use crate::clock;
use crate::device::DeviceId;
use crate::error::{Error, ErrorCode, Result};
use crate::event::{Event, Observer, Progress};
use crate::flow::{self, Outcome, Prover, Provisioned, Run};
use crate::ledger::Subject;
use crate::ledger::roster::{Claim, Roster};

/// What a run works with.
#[derive(Clone)]
pub struct Fleet {
    /// Where the devices are kept.
    pub roster: Arc<dyn Roster>,
    /// The server: a prover [of many](Prover::of_many).
    pub prover: Arc<Prover>,
    /// Cancelled when the user ends the run. What is begun is finished.
    pub interrupt: CancellationToken,
    /// Who hears of it.
    pub progress: Progress,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Fleet({})", self.roster.shown())
    }
}

/// What the tasks share.
pub(super) struct Shared {
    pub(super) plan: FleetPlan,
    pub(super) fleet: Fleet,
    /// Never cancelled: what is begun is finished.
    to_the_end: CancellationToken,
    /// For the devices.
    progress: Progress,
}

/// How the work on a device ended.
pub(super) struct Ended {
    pub(super) claim: Claim,
    pub(super) started: Instant,
    pub(super) now: Instant,
    pub(super) result: Result<Proved>,
}

/// What is worth knowing of a device that is done.
pub(super) struct Proved {
    pub(super) outcome: Outcome,
    pub(super) tls_version: Option<&'static str>,
}

impl Shared {
    pub(super) fn new(plan: FleetPlan, fleet: Fleet) -> Self {
        let progress =
            if plan.tells_steps { fleet.progress.clone() } else { fleet.progress.heard_by(Attention::of) };
        Self { plan, fleet, to_the_end: CancellationToken::new(), progress }
    }

    /// The events of a device that end it.
    pub(super) fn about(&self, claim: &Claim) -> Progress {
        self.fleet.progress.about(id(claim))
    }

    /// Does what the core does with one device.
    pub(super) async fn work(&self, claim: Claim, started: Instant) -> Ended {
        let progress = self.progress.another().about(id(&claim));
        let run = Run {
            ledger: &*self.fleet.roster,
            prover: &self.fleet.prover,
            interrupt: &self.to_the_end,
            stop_telemetry: &self.to_the_end,
            progress: &progress,
        };
        let provisioned = async {
            claim.lease.check()?;
            let plan = self.plan.device(&claim)?;
            if let Some(remark) = plan.registration.remark() {
                progress.warn(remark);
            }
            flow::provision(&plan, run).await
        };
        let result = match provisioned.await {
            Ok(Provisioned { outcome, proof, .. }) => {
                Ok(Proved { outcome, tls_version: proof.map(|proof| proof.tls_version) })
            }
            Err(error) if error.code == ErrorCode::FileExpired => Err(self.of_the_clock(error, &claim).await),
            Err(error) => Err(error),
        };
        Ended { claim, started, now: Instant::now(), result }
    }

    /// A certificate that is not valid yet was made by a machine whose clock is ahead of this one's. That is the fault of a
    /// clock, and not of the row.
    async fn of_the_clock(&self, error: Error, claim: &Claim) -> Error {
        let found = self.fleet.roster.find(Subject::Named(claim.row.name.as_str())).await;
        let end = found.ok().flatten().and_then(|entry| entry.record.identity.not_after);
        if end.is_none_or(|end| end < clock::now()) {
            return error;
        }
        Error::new(ErrorCode::IdentityClock, error.message.clone()).stamped(error.step())
    }
}

/// By which events name the device of a row.
fn id(claim: &Claim) -> DeviceId {
    DeviceId::new(claim.row.name.as_str())
}

/// Hears what deserves attention, and no step.
struct Attention(Arc<dyn Observer>);

impl Attention {
    fn of(observer: Arc<dyn Observer>) -> Arc<dyn Observer> {
        Arc::new(Self(observer))
    }
}

impl Observer for Attention {
    fn event(&self, device: Option<&DeviceId>, event: &Event) {
        if matches!(event, Event::Warning { .. } | Event::Ignored { .. }) {
            self.0.event(device, event);
        }
    }
}
