//! Provisions one device, or finishes what an earlier run began. The order is that of [`next`](super::next); this does
//! what it says.
//!
//! The key is on the disk before the request leaves, and the record says `sent` before it does.

use std::time::{Duration, Instant};

use time::OffsetDateTime;

use super::answer;
use super::fresh::{self, Fresh};
use super::next::{self, Action, Answered, Case, Failed, Learnt, Next, Outcome, Position};
use super::plan::{IdentityPlan, ProvisionPlan, RegistrationPlan};
use super::prove::{Proof, Unproved};
use super::run::Run;
use super::{find_same, record_proof};
use crate::device::{DeviceName, State};
use crate::error::{Error, ErrorCode, ErrorKind, Hint, Result, Step};
use crate::event::{Event, Ignored};
use crate::exchange::{self, ProvisionRequest, Reply};
use crate::identity::{Credentials, Validity};
use crate::ledger::{Entry, Lease, NewDevice, NewIdentity, Note, Refusal, Slot, Subject, Which, Wishes};
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
    let report = telemetry::run(&run.prover.dialer, &credentials, telemetry, run.interrupt, &progress)
        .await
        .map_err(|error| error.stamped(progress.step()))?;
    provisioned.telemetry = Some(report);
    // The server asked for the certificate and let it in, and the answer vouches for the device.
    if provisioned.answer_verified {
        provisioned.entry = record_proof(run, provisioned.entry).await;
    }
    Ok(provisioned)
}

async fn to_proof(plan: &ProvisionPlan, run: Run<'_>) -> Result<(Provisioned, Credentials)> {
    let slot = slot(plan, run);
    let subject = match (&plan.device_name, &slot) {
        (Some(name), _) => Subject::Named(name.as_str()),
        (None, Some(slot)) => Subject::Unnamed(slot),
        (None, None) => {
            return Err(Error::new(
                ErrorCode::UsageMissing,
                "a device that registers at connect needs a name",
            ));
        }
    };
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
    let case = Case {
        registration: plan.registration.kind(),
        given: entry.record.wishes.given,
        prove: plan.verify_connect || plan.registration.kind() == next::Registration::AtConnect,
    };
    let state = entry.record.state();
    let walk = Walk {
        plan,
        run: Run { progress: &progress, ..run },
        lease,
        slot,
        case,
        entry,
        credentials,
        state,
        answer: None,
        refusal: None,
        unproved: None,
        proof: None,
        timings,
    };
    walk.to_the_end().await
}

/// Where an unfinished device that the server names is found again.
fn slot(plan: &ProvisionPlan, run: Run<'_>) -> Option<Slot> {
    let server = &run.prover.dialer.server;
    let provision_key_sha256 = plan.wishes().provision_key_sha256?;
    plan.device_name.is_none().then(|| Slot {
        host: server.host.clone(),
        port: server.port,
        provision_key_sha256,
    })
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
        return Err(Error::new(ErrorCode::StoreExists, message).hint(Hint::DifferingOption));
    }
    if let Some(identity) = credentials.x509() {
        identity.leaf.check_dates(&entry.place()).map_err(|error| match entry.record.state() {
            // The server was never told of it, so nothing is lost.
            State::Staged => error.hint(Hint::ReplaceStaged(entry.shown_name().to_owned())),
            _ => error,
        })?;
    }
    if let IdentityPlan::Generate { days: Some(days), .. } = plan.identity
        && credentials
            .x509()
            .is_some_and(|identity| identity.leaf.validity != lasting(identity.leaf.validity, days))
    {
        run.progress.event(&Event::Ignored { wish: Ignored::Days });
    }
    run.progress.event(&Event::IdentityFound { state: entry.record.state() });
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
        _ => None,
    }
}

/// One way through the states.
struct Walk<'a> {
    plan: &'a ProvisionPlan,
    run: Run<'a>,
    lease: Lease,
    slot: Option<Slot>,
    case: Case,
    entry: Entry,
    credentials: Credentials,
    /// The state that is reached. The ledger is behind it while a connect follows at once.
    state: State,
    answer: Option<Answered>,
    refusal: Option<Error>,
    unproved: Option<Error>,
    proof: Option<Proof>,
    timings: Timings,
}

impl Walk<'_> {
    async fn to_the_end(mut self) -> Result<(Provisioned, Credentials)> {
        let mut learnt = Learnt::Begun;
        loop {
            let position = Position { state: self.state, answer: self.answer };
            let Next { state, action } = next::first(self.case, position, learnt);
            if let Some(state) = state {
                self.reach(state, action).await?;
            }
            learnt = match action {
                Action::Ask => self.ask().await?,
                Action::Connect { vouched } => Learnt::Connected(self.connect(vouched).await),
                Action::Register => Learnt::Registered(self.connect(false).await),
                Action::Done(outcome) => return Ok(self.done(outcome)),
                Action::Fail(why) => return Err(self.fail(why).await),
                Action::Promote => {
                    return Err(Error::new(ErrorCode::Bug, "a first identity was to be promoted"));
                }
            };
        }
    }

    /// Records a state. `accepted` is not written while the connect that proves it follows at once: after a power cut
    /// the record says `sent`, and a rerun finds out.
    async fn reach(&mut self, state: State, action: Action) -> Result<()> {
        let before = std::mem::replace(&mut self.state, state);
        if state == State::Accepted && matches!(action, Action::Connect { .. }) {
            self.run.tell_state(&self.entry, state);
            return Ok(());
        }
        let reached = if before == State::Accepted { &[State::Accepted, state][..] } else { &[state] };
        if state == State::Proved {
            self.run.progress.begin(Step::Promote);
        }
        self.write(reached, None).await?;
        self.run.tell_state(&self.entry, state);
        Ok(())
    }

    async fn write(&mut self, reached: &[State], wishes: Option<&Wishes>) -> Result<()> {
        // A device that was accepted and shall not be proved is finished.
        let is_finished = match self.state {
            State::Proved => true,
            State::Accepted => !self.case.prove,
            State::Staged | State::Sent => false,
        };
        let leaves = self.slot.as_ref().filter(|_| is_finished);
        self.entry = self.run.advance(&self.lease, &self.entry, reached, wishes, leaves).await?;
        Ok(())
    }

    /// Sends the request and judges its answer.
    async fn ask(&mut self) -> Result<Learnt> {
        let RegistrationPlan::ByRequest { provision_key, provision_secret, gateway } =
            &self.plan.registration
        else {
            return Err(Error::new(ErrorCode::Bug, "a device that registers at connect was to be asked for"));
        };
        let name = self.entry.record.device.clone();
        let credentials = self.credentials.clone();
        let request = ProvisionRequest {
            device_name: name.as_deref(),
            provision_key,
            provision_secret,
            credentials: &credentials,
            gateway: *gateway,
        };
        let (run, wishes) = (self.run, self.plan.wishes());
        run.progress.begin(Step::Exchange);
        let started = Instant::now();
        let before_send = async {
            self.state = State::Sent;
            self.write(&[State::Sent], Some(&wishes)).await?;
            self.run.tell_state(&self.entry, State::Sent);
            Ok(())
        };
        let reply = exchange::run(&run.prover.dialer, &request, run.progress, before_send).await?;
        self.timings.exchange = started.elapsed();
        let judged = match reply {
            Reply::Lost(error) => Err((Answered::Lost, error.stamped(Step::Exchange))),
            Reply::Answered(answer) => answer::judge(&answer, &self.credentials),
        };
        let answered = match judged {
            Ok(()) => Answered::Success,
            Err((answered, error)) => {
                self.refusal = Some(error);
                answered
            }
        };
        self.answer = Some(answered);
        Ok(Learnt::Answered(answered))
    }

    /// Connects with the identity.
    async fn connect(&mut self, vouched: bool) -> next::Connected {
        if !vouched && self.state != State::Proved {
            self.run.progress.event(&Event::Settling { reason: self.reason() });
        }
        let started = Instant::now();
        let connected = self.run.prover.connect(&self.credentials, vouched, self.run.progress).await;
        self.timings.verify = started.elapsed();
        match connected {
            Ok(proof) => {
                self.proof = Some(proof);
                next::Connected::Accepted
            }
            Err(Unproved { connected, error }) => {
                self.unproved = Some(error);
                connected
            }
        }
    }

    /// Why the identity is tried although no answer of this run vouches for it.
    fn reason(&self) -> String {
        match (&self.refusal, self.case.registration, self.state) {
            (Some(refusal), _, _) => refusal.message.clone(),
            (None, next::Registration::AtConnect, _) => {
                "the server learns of the device at its connect".to_owned()
            }
            (None, _, State::Staged) => "the key and the certificate came from elsewhere".to_owned(),
            (None, _, State::Accepted) => "an earlier run did not prove the device".to_owned(),
            _ => "an earlier request has no known outcome".to_owned(),
        }
    }

    fn done(self, outcome: Outcome) -> (Provisioned, Credentials) {
        if outcome != Outcome::Provisioned {
            let (held, wanted) = (&self.entry.record.wishes, self.plan.wishes());
            if held.gateway != wanted.gateway {
                self.run.progress.event(&Event::Ignored { wish: Ignored::Gateway });
            }
            if held.provision_key_sha256.is_some() && held.provision_key_sha256 != wanted.provision_key_sha256
            {
                self.run.progress.event(&Event::Ignored { wish: Ignored::ProvisionKey });
            }
        }
        let provisioned = Provisioned {
            outcome,
            entry: self.entry,
            answer_verified: self.answer == Some(Answered::Success),
            proof: self.proof,
            telemetry: None,
            timings: self.timings,
        };
        (provisioned, self.credentials)
    }

    async fn fail(&mut self, why: Failed) -> Error {
        let mut error = self.failure(why);
        if self.state == State::Accepted && self.entry.record.state() != State::Accepted {
            // What was not written before, because a proof was to follow.
            if let Err(failed) = self.write(&[State::Accepted], None).await {
                self.run
                    .progress
                    .warn(format!("the record does not say that the server accepted: {}", failed.message));
            }
        }
        let is_refusal = matches!(error.code.kind(), ErrorKind::Refused | ErrorKind::Verification);
        if is_refusal {
            self.remember(&mut error).await;
        }
        error
    }

    /// Keeps the refusal with the device, and says so where it was refused so before.
    async fn remember(&mut self, error: &mut Error) {
        let before = self.entry.record.refused.as_ref();
        let before = before.filter(|before| before.code == error.code.as_str()).map(|before| before.at);
        let refusal = Refusal {
            code: error.code.as_str().to_owned(),
            message: error.message.clone(),
            at: crate::clock::now().replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH),
        };
        if let Some(at) = before {
            let (date, hour, minute) = (at.date(), at.hour(), at.minute());
            error.message =
                format!("{}; it was so on {date} at {hour:02}:{minute:02} UTC too", error.message);
        }
        match self.run.ledger.note(&self.lease, &self.entry, Note::Refused(refusal)).await {
            Ok(entry) => self.entry = entry,
            Err(failed) => {
                self.run.progress.warn(format!("the refusal is not in the record: {}", failed.message))
            }
        }
    }

    fn failure(&mut self, why: Failed) -> Error {
        let bug = || Error::new(ErrorCode::Bug, "a run failed for no reason");
        let unproved = self.unproved.take();
        match why {
            Failed::Answer => self.refusal.take().unwrap_or_else(bug),
            Failed::Taken => {
                let id = self.entry.record.identity.credentials_id.as_deref().unwrap_or_default();
                let server = &self.run.prover.dialer.server;
                let message = format!(
                    "the certificate that was given is a device's at {server} already (credentialsId {id})"
                );
                Error::new(ErrorCode::VerifyTaken, message)
            }
            Failed::Connect => match unproved {
                // ThingsBoard's answer when a balancer in front of it kept the certificate.
                Some(error)
                    if error.code == ErrorCode::ServerIdentifierRejected && self.state == State::Accepted =>
                {
                    refused_after_success(error)
                }
                other => other.unwrap_or_else(bug),
            },
            Failed::RefusedAfterSuccess => refused_after_success(unproved.unwrap_or_else(bug)),
            Failed::Forgotten => forgotten(self.state, unproved.unwrap_or_else(bug)),
            Failed::NotRegistered => unproved.unwrap_or_else(bug).hint(Hint::NotRegistered),
        }
    }
}

fn refused_after_success(error: Error) -> Error {
    let message =
        format!("the server accepted the identity and then refused it at connect: {}", error.message);
    Error::new(ErrorCode::VerifyRefused, message).source(error)
}

/// The server does not know an identity that it once accepted.
fn forgotten(state: State, error: Error) -> Error {
    let once = match state {
        State::Proved => "the device was proved before",
        _ => "the server accepted the device in an earlier run",
    };
    let message = format!("{once}, and is now refused: {}", error.message);
    Error::new(ErrorCode::VerifyRefused, message).source(error).hint(Hint::DeletedAtServer)
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
