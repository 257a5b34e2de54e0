//! Provisions one device, or finishes what an earlier run began. [`next`](super::next) decides the order.
//!
//! The key is on the disk, and the record says `sent`, before the request is sent.

use std::time::{Duration, Instant};

use super::fresh::{self, Fresh};
use super::next::{Connected, Outcome};
use super::plan::{IdentityPlan, ProvisionPlan, RegistrationPlan, subject};
use super::prove::Proof;
use super::run::Run;
use super::walk::{self, Walk};
use super::{cannot_be_written, check_presentable, find_same, hold, record_proof};
use crate::device::{DeviceName, State};
use crate::error::{Error, ErrorCode, Hint, Result, Step};
use crate::event::{Event, Ignored};
use crate::identity::{Credentials, CredentialsType, Validity};
use crate::ledger::{Entry, Lease, NewDevice, NewIdentity, Subject, Which, identity_name};
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
/// Any [`ErrorCode`], at the step that was reached. What is on disk stays, and a rerun continues from there.
pub async fn provision(plan: &ProvisionPlan, run: Run<'_>) -> Result<Provisioned> {
    if let Some(confirm) = plan.telemetry.as_ref().and_then(|telemetry| telemetry.confirm.as_ref()) {
        run.stamped(confirm.check(run.progress)).await?;
    }
    let (mut provisioned, credentials) = run.stamped(to_proof(plan, run)).await?;
    let Some(telemetry) = &plan.telemetry else { return Ok(provisioned) };
    let _held = run.stamped(hold(run.ledger, &provisioned.entry, run.progress)).await?;
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
    let lease = match run.lease(subject).await {
        Ok(lease) => lease,
        Err(error) if cannot_be_written(&error) => return unrecorded(plan, run, subject, error).await,
        Err(error) => return Err(error),
    };
    // Finding what the store already has belongs to the step `plan`.
    run.progress.begin(Step::Plan);
    let mut timings = Timings::default();
    let (entry, which, credentials) = match run.ledger.find(subject).await? {
        Some(entry) => take_up(plan, run, entry).await?,
        None => {
            let (entry, credentials) = stage(plan, run, &lease, subject, &mut timings).await?;
            (entry, Which::Current, credentials)
        }
    };
    let progress = run.progress.about(entry.id.clone());
    let run = Run { progress: &progress, ..run };
    let (entry, which, credentials) = pick_up(run, &lease, (entry, which, credentials)).await?;
    Walk::begin(plan, run, lease, slot, (entry, which, credentials), timings).finish().await
}

/// Verifies a device that was proved before, in a ledger that cannot be written: nothing of it would change.
async fn unrecorded(
    plan: &ProvisionPlan,
    run: Run<'_>,
    subject: Subject<'_>,
    error: Error,
) -> Result<(Provisioned, Credentials)> {
    let found = run.ledger.find(subject).await?;
    let Some(entry) = found.filter(|entry| entry.record.state() == State::Proved) else { return Err(error) };
    run.progress.begin(Step::Plan);
    let (entry, _, credentials) = take_up(plan, run, entry).await?;
    let progress = run.progress.about(entry.id.clone());
    let (started, mut proof) = (Instant::now(), None);
    if plan.verify_connect {
        let connected = run.prover.connect(&credentials, false, &progress).await;
        proof = Some(connected.map_err(|unproved| match unproved.connected {
            Connected::Refused => walk::forgotten(&entry, unproved.error),
            _ => unproved.error,
        })?);
    }
    let done = if proof.is_some() { "the device is verified, and" } else { "the device was proved before;" };
    progress.warn(format!("{done} nothing is recorded: {}", error.message));
    let timings = Timings { verify: started.elapsed(), ..Timings::default() };
    let outcome = Outcome::Verified;
    Ok((Provisioned { outcome, entry, answer_verified: false, proof, telemetry: None, timings }, credentials))
}

/// Makes the candidate of what the server gave in a run that ended before its record said so.
async fn pick_up(
    run: Run<'_>,
    lease: &Lease,
    device: (Entry, Which, Credentials),
) -> Result<(Entry, Which, Credentials)> {
    let (entry, which, credentials) = device;
    let may_be_theirs =
        which == Which::Current && matches!(entry.record.state(), State::Sent | State::Staged);
    let left = if may_be_theirs { run.ledger.left_behind(&entry).await? } else { None };
    let Some(kept) = left else { return Ok((entry, which, credentials)) };
    let theirs = kept.clone().open(&entry.place())?;
    if identity_name(&theirs) == identity_name(&credentials) {
        return Ok((entry, which, credentials));
    }
    let new = NewIdentity { kept: &kept, credentials: &theirs };
    let entry = run.ledger.stage_next(lease, &entry, new, State::Accepted).await?;
    Ok((entry, Which::Candidate, theirs))
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
        check_presentable(run, &given.leaf).await?;
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

/// Continues with a device of the ledger, if it is what the plan asks for.
async fn take_up(plan: &ProvisionPlan, run: Run<'_>, entry: Entry) -> Result<(Entry, Which, Credentials)> {
    entry.check_presentable()?;
    // What the server gave was not proved yet.
    let has_theirs = entry
        .record
        .candidate
        .as_ref()
        .is_some_and(|candidate| candidate.identity.credentials_type != CredentialsType::X509);
    let which = if has_theirs { Which::Candidate } else { Which::Current };
    let kept = run.ledger.key(&entry, which).await?;
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
    let (_, identity) = entry.identity(which)?;
    progress.event(&Event::IdentityFound { state: identity.state });
    Ok((entry, which, credentials))
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
    let is_given = matches!(plan.identity, IdentityPlan::Given(_));
    if record.wishes.pre_provisioned && !is_given {
        // What the server has is another kind than was asked for, and was kept all the same.
        return None;
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
