//! Connects with an identity, and sends what there is to send.

use super::plan::ConnectPlan;
use super::run::Run;
use super::{check_presentable, hold, record_proof};
use crate::device::State;
use crate::error::{Error, ErrorCode, Hint, Result, Step};
use crate::identity::Credentials;
use crate::ledger::{Entry, Lease};
use crate::telemetry::{self, Report};

/// What a connect came to.
#[derive(Debug)]
pub struct Reached {
    /// The device, as it is now.
    pub device: Option<Entry>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub tls_version: &'static str,
    /// What was sent, where telemetry was asked for.
    pub telemetry: Option<Report>,
}

/// Connects, sends the telemetry of the plan, and finishes by it a device whose provisioning was cut short: to prove
/// it, a throw-away identity is tried first.
///
/// # Errors
/// Those of a connect that proves nothing, and of [`telemetry::run`].
pub async fn connect(plan: &ConnectPlan, run: Run<'_>) -> Result<Reached> {
    let progress = match &plan.device {
        Some(entry) => run.progress.about(entry.id.clone()),
        None => run.progress.clone(),
    };
    let (run, dialer) = (Run { progress: &progress, ..run }, &run.prover.dialer);
    let _held = run.stamped(may_present(plan, run)).await?;
    if let Some(entry) = plan.device.as_ref().filter(|entry| may_register(entry, &plan.credentials)) {
        let message = format!("'{}' is not registered yet, and a connect could do it", entry.shown_name());
        return Err(Error::new(ErrorCode::StoreNotProved, message)
            .hint(Hint::Unregistered)
            .stamped(Step::Plan));
    }
    let proves = plan.device.as_ref().is_some_and(|entry| {
        may_be_proved(entry) && dialer.server.is_at(&entry.record.host, entry.record.port)
    });
    let mut reached = Reached { device: plan.device.clone(), tls_version: "", telemetry: None };
    // Before any telemetry, which may fail, or go on until the power is cut.
    if proves || plan.telemetry.is_none() {
        let proof = async {
            let connected = run.prover.connect(&plan.credentials, !proves, run.progress).await;
            connected.map_err(|unproved| explained(unproved.error, plan))
        };
        reached.tls_version = run.stamped(proof).await?.tls_version;
    }
    if let Some(entry) = reached.device.take_if(|_| proves) {
        reached.device = Some(record_proof(run, entry).await);
    }
    if let Some(telemetry) = &plan.telemetry {
        let report = telemetry::run(dialer, &plan.credentials, telemetry, run.stop_telemetry, run.progress)
            .await
            .map_err(|error| explained(error, plan).stamped(run.progress.step()))?;
        reached.tls_version = report.tls_version;
        reached.telemetry = Some(report);
    }
    Ok(reached)
}

/// A server that was told of a device's new certificate refuses the old one.
fn explained(error: Error, plan: &ConnectPlan) -> Error {
    match plan.device.as_ref().and_then(Entry::rotation) {
        Some(name) if error.code.refuses_identity() => error.hint(Hint::FinishRotation(name)),
        _ => error,
    }
}

/// Whether a rotation that is not finished lets the identity connect; none begins until the connection ends.
async fn may_present(plan: &ConnectPlan, run: Run<'_>) -> Result<Option<Lease>> {
    match (&plan.device, plan.credentials.x509()) {
        (Some(entry), _) => hold(run.ledger, entry, run.progress).await,
        (None, Some(identity)) => check_presentable(run, &identity.leaf).await.map(|()| None),
        (None, None) => Ok(None),
    }
}

/// Whether the server could learn of the device by this connect, from the authority above its certificate: that is for
/// `provision`, which says so on the disk before.
fn may_register(entry: &Entry, credentials: &Credentials) -> bool {
    let has_authority = credentials.x509().is_some_and(|identity| !identity.intermediates.is_empty());
    entry.record.state() == State::Staged && has_authority
}

/// Whether a connect finishes the device. A pair that came from elsewhere may be another device's until it was asked
/// for under this name.
fn may_be_proved(entry: &Entry) -> bool {
    match entry.record.state() {
        State::Proved => false,
        State::Staged => !entry.record.wishes.given,
        State::Sent | State::Accepted => true,
    }
}
