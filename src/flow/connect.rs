//! Connects with an identity, and sends what there is to send.

use super::plan::ConnectPlan;
use super::record_proof;
use super::run::Run;
use crate::device::State;
use crate::error::{Error, ErrorCode, Result, Step};
use crate::ledger::Entry;
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
    let dialer = &run.prover.dialer;
    if let Some(entry) = plan.device.as_ref().filter(|entry| registers_at_connect(entry)) {
        let message = format!("'{}' is not registered yet, and a connect would do it", entry.shown_name());
        return Err(Error::new(ErrorCode::StoreNotProved, message).stamped(Step::Plan));
    }
    let proves = plan.device.as_ref().is_some_and(|entry| {
        may_be_proved(entry) && dialer.server.is_at(&entry.record.host, entry.record.port)
    });
    if proves {
        let within = run.progress.within(Step::Verify);
        let kind = plan.credentials.credentials_type();
        let refuses =
            async { run.prover.refuses_strangers(kind, &within).await.map_err(|unproved| unproved.error) };
        run.stamped(refuses).await?;
    }
    let (tls_version, telemetry) = match &plan.telemetry {
        None => {
            let proof = async {
                run.prover
                    .connect(&plan.credentials, true, run.progress)
                    .await
                    .map_err(|unproved| unproved.error)
            };
            (run.stamped(proof).await?.tls_version, None)
        }
        Some(telemetry) => {
            let report = telemetry::run(dialer, &plan.credentials, telemetry, run.interrupt, run.progress)
                .await
                .map_err(|error| error.stamped(run.progress.step()))?;
            (report.tls_version, Some(report))
        }
    };
    let device = match plan.device.clone() {
        Some(entry) if proves => Some(record_proof(run, entry).await),
        other => other,
    };
    Ok(Reached { device, tls_version, telemetry })
}

/// Whether the server would learn of the device by this connect: that is for `provision`, which says so on the disk
/// before.
fn registers_at_connect(entry: &Entry) -> bool {
    entry.record.state() == State::Staged && entry.record.wishes.registers_at_connect
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
