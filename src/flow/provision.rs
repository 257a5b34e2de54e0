//! Provisions one device, or finishes what an earlier run began. What is done when is the matter of
//! [`next`](super::next).
//!
//! The key is on the disk before the request leaves, and the record says `sent` before it does.

use std::time::{Duration, Instant};

use super::fresh::{self, Fresh};
use super::next::Outcome;
use super::plan::{IdentityPlan, ProvisionPlan, RegistrationPlan, subject};
use super::prove::Proof;
use super::run::Run;
use super::walk::Walk;
use super::{find_same, record_proof};
use crate::device::{DeviceName, State};
use crate::error::{Error, ErrorCode, Hint, Result, Step};
use crate::event::{Event, Ignored};
use crate::identity::{Credentials, Validity};
use crate::ledger::{Entry, Lease, NewDevice, NewIdentity, Subject, Which};
use crate::telemetry::{self, Report};

/// How long the parts took. Zero for a part that was not needed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timings {
    /// Making the key and the certificate.
    pub key: Duration,
    /// The request and its answer, connection included.
    pub exchange: Duration,
    /// The connect with the identity.
    pub verify: Duration,
}

/// A device that is in the ledger and known to the server.
#[derive(Debug)]
pub struct Provisioned {
    /// How it ended.
    pub outcome: Outcome,
    /// The device.
    pub entry: Entry,
    /// Whether an answer of this run was compared with what was sent.
    pub answer_verified: bool,
    /// The connect with the identity, where there was one.
    pub proof: Option<Proof>,
    /// What was sent, where telemetry was asked for.
    pub telemetry: Option<Report>,
    /// How long it took.
    pub timings: Timings,
}

/// Provisions one device, or finishes what an earlier run began. Safe to repeat, and to drop at any point.
///
/// # Errors
/// Any [`ErrorCode`], at the step that was reached. What is on disk stays, and a rerun goes on from there.
pub async fn provision(plan: &ProvisionPlan, run: Run<'_>) -> Result<Provisioned> {
    let (mut provisioned, credentials) = run.stamped(to_proof(plan, run)).await?;
    let Some(telemetry) = &plan.telemetry else { return Ok(provisioned) };
    let progress = run.progress.about(provisioned.entry.id.clone());
    let report = telemetry::run(&run.prover.dialer, &credentials, telemetry, run.stop_telemetry, &progress)
        .await
        .map_err(|error| naming(&provisioned.entry, error).stamped(progress.step()))?;
    provisioned.telemetry = Some(report);
    // The server asked for the certificate and let it in, and the answer vouches for the device.
    if provisioned.answer_verified {
        provisioned.entry = record_proof(run, provisioned.entry).await;
    }
    Ok(provisioned)
}

/// The telemetry's failure. Of a device that the server named it says where it is: the same command would make another
/// one, since nothing is left to finish of this one.
fn naming(entry: &Entry, mut error: Error) -> Error {
    if entry.record.device.is_none() {
        let (state, place) = (entry.record.state().as_str(), entry.place());
        error.message = format!("{} (the device itself is {state}, in {place})", error.message);
    }
    error
}

async fn to_proof(plan: &ProvisionPlan, run: Run<'_>) -> Result<(Provisioned, Credentials)> {
    let server = &run.prover.dialer.server;
    let slot = plan.registration.slot(&server.host, server.port).filter(|_| plan.device_name.is_none());
    let subject = subject(plan.device_name.as_ref(), slot.as_ref()).ok_or_else(|| {
        Error::new(ErrorCode::UsageMissing, "a device that registers at connect needs a name")
    })?;
    run.progress.begin(Step::Stage);
    let lease = run.lease(subject).await?;
    // What is there already belongs to the plan.
    run.progress.begin(Step::Plan);
    let mut timings = Timings::default();
    let (entry, credentials) = match run.ledger.find(subject).await? {
        Some(entry) => take_up(plan, run, entry).await?,
        None => stage(plan, run, &lease, subject, &mut timings).await?,
    };
    let progress = run.progress.about(entry.id.clone());
    let run = Run { progress: &progress, ..run };
    Walk::begin(plan, run, lease, slot, entry, credentials, timings).finish().await
}

/// Makes the credentials and writes them to the ledger.
async fn stage(
    plan: &ProvisionPlan,
    run: Run<'_>,
    lease: &Lease,
    subject: Subject<'_>,
    timings: &mut Timings,
) -> Result<(Entry, Credentials)> {
    run.progress.begin(Step::Identity);
    let started = Instant::now();
    let name = plan.device_name.as_ref().map(DeviceName::as_str);
    let Fresh { kept, credentials } = fresh::make(plan, name.unwrap_or_default(), run.progress).await?;
    timings.key = started.elapsed();
    run.progress.begin(Step::Stage);
    if let IdentityPlan::Given(given) = &plan.identity {
        find_same(run, &given.leaf).await?;
    }
    let new = NewDevice {
        subject,
        server: &run.prover.dialer.server,
        identity: NewIdentity { kept: &kept, credentials: &credentials },
        state: State::Staged,
        wishes: plan.wishes(),
    };
    let entry = run.ledger.stage(lease, new).await?;
    let progress = run.progress.about(entry.id.clone());
    progress.event(&Event::Saved { directory: entry.directory.clone().unwrap_or_default() });
    Run { progress: &progress, ..run }.tell_state(&entry, State::Staged);
    Ok((entry, credentials))
}

/// Goes on with a device of the ledger, if it is what the plan asks for.
async fn take_up(plan: &ProvisionPlan, run: Run<'_>, entry: Entry) -> Result<(Entry, Credentials)> {
    let kept = run.ledger.key(&entry, Which::Current).await?;
    let credentials = kept.open(&entry.place())?;
    if let Some(what) = conflict(plan, run, &entry, &credentials) {
        run.progress.begin(Step::Stage);
        let message = format!("the store already has '{}' in {}, {what}", entry.shown_name(), entry.place());
        let hint = match entry.record.state() {
            State::Staged => Hint::DifferingStaged(entry.shown_name().to_owned()),
            _ => Hint::DifferingOption,
        };
        return Err(Error::new(ErrorCode::StoreExists, message).hint(hint));
    }
    if let Some(identity) = credentials.x509() {
        identity.leaf.check_dates(&entry.place()).map_err(|error| match entry.record.state() {
            // The server was never told of it, so nothing is lost.
            State::Staged => error.hint(Hint::ReplaceStaged(entry.shown_name().to_owned())),
            _ => error,
        })?;
    }
    let progress = run.progress.about(entry.id.clone());
    if let IdentityPlan::Generate { days: Some(days), .. } = plan.identity
        && credentials
            .x509()
            .is_some_and(|identity| identity.leaf.validity != lasting(identity.leaf.validity, days))
    {
        progress.event(&Event::Ignored { wish: Ignored::Days });
    }
    progress.event(&Event::IdentityFound { state: entry.record.state() });
    Ok((entry, credentials))
}

/// The same validity, were it as long as was asked for.
fn lasting(held: Validity, days: u32) -> Validity {
    let asked = Validity::days(days);
    let differ = (held.not_after - held.not_before) - (asked.not_after - asked.not_before);
    if differ.whole_days() == 0 { held } else { asked }
}

/// In what the device is not the one that was asked for.
fn conflict(plan: &ProvisionPlan, run: Run<'_>, entry: &Entry, credentials: &Credentials) -> Option<String> {
    let record = &entry.record;
    if record.state() != State::Staged && !run.prover.dialer.server.is_at(&record.host, record.port) {
        return Some(format!("for the server {}", record.host.with_port(record.port)));
    }
    if record.identity.credentials_type != plan.identity.credentials_type() {
        return Some(format!("with credentials of type {}", record.identity.credentials_type));
    }
    let held = credentials.x509()?;
    match &plan.identity {
        IdentityPlan::Generate { key_type: Some(wanted), .. } if *wanted != held.key.key_type() => {
            return Some(format!("with a key of type {}", held.key.key_type()));
        }
        IdentityPlan::Given(wanted) if wanted.leaf != held.leaf => {
            return Some("with another certificate".to_owned());
        }
        IdentityPlan::Given(wanted) if wanted.intermediates != held.intermediates => {
            return Some("with other certificates above its own".to_owned());
        }
        _ => {}
    }
    match &plan.registration {
        RegistrationPlan::AtConnect { issuer, .. } if held.intermediates.first() != Some(&issuer.leaf) => {
            Some("with a certificate that this authority did not issue".to_owned())
        }
        RegistrationPlan::AtConnect { issuer, .. } if held.intermediates[1..] != issuer.intermediates => {
            Some("with other certificates above its authority's".to_owned())
        }
        RegistrationPlan::AtConnect { common_name, .. }
            if held.leaf.common_name.as_ref() != Some(common_name) =>
        {
            let held = held.leaf.common_name.as_deref().unwrap_or_default();
            Some(format!("with the common name '{held}'"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles only while a run can be spawned on any runtime.
    #[test]
    fn a_run_may_move_between_threads() {
        fn movable<T: Send>(_: impl FnOnce(&'static ProvisionPlan, Run<'static>) -> T) {}
        movable(provision);
    }
}
