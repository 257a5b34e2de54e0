//! Does what [`next`](super::next) says, step by step, for one device.

use std::time::Instant;

use time::OffsetDateTime;

use super::answer;
use super::fresh::Fresh;
use super::next::{
    self, Action, Answered, Case, Connected, Failed, Learnt, Next, Outcome, Position, Registration, Switch,
};
use super::plan::{ProvisionPlan, RegistrationPlan};
use super::prove::{Proof, Unproved};
use super::provision::{Provisioned, Timings};
use super::run::Run;
use crate::clock;
use crate::device::State;
use crate::error::{Error, ErrorCode, ErrorKind, Hint, Result, Step};
use crate::event::{Event, Ignored};
use crate::exchange::{self, ProvisionRequest, Reply};
use crate::identity::{Credentials, CredentialsType};
use crate::ledger::{Advance, Entry, Lease, NewIdentity, Note, Refusal, Slot, Which, Wishes};

/// One way through the states.
pub(super) struct Walk<'a> {
    plan: &'a ProvisionPlan,
    run: Run<'a>,
    lease: Lease,
    slot: Option<Slot>,
    case: Case,
    entry: Entry,
    /// Whose way it is: the device's identity, or the candidate that shall succeed it.
    which: Which,
    credentials: Credentials,
    /// What the server gave in place of the credentials that were sent.
    given_back: Option<Credentials>,
    /// The state that is reached. The ledger is behind it while a connect follows at once.
    state: State,
    answer: Option<Answered>,
    refusal: Option<Error>,
    unproved: Option<Error>,
    proof: Option<Proof>,
    timings: Timings,
}

/// What is expected of a connect.
#[derive(Debug, Clone, Copy)]
enum Login {
    /// An answer of this run vouches for the identity.
    Vouched,
    Doubtful,
    /// The server learns of the identity by it.
    Registers,
}

impl<'a> Walk<'a> {
    /// The way of a device, or of its candidate, from where it is.
    pub(super) fn begin(
        plan: &'a ProvisionPlan,
        run: Run<'a>,
        lease: Lease,
        slot: Option<Slot>,
        device: (Entry, Which, Credentials),
        timings: Timings,
    ) -> Self {
        let (entry, which, credentials) = device;
        let registration = plan.registration.kind();
        let case = Case {
            registration,
            given: entry.record.wishes.given,
            prove: plan.verify_connect || registration == Registration::AtConnect,
        };
        Self {
            plan,
            run,
            lease,
            slot,
            case,
            state: recorded(&entry, which),
            entry,
            which,
            credentials,
            given_back: None,
            answer: None,
            refusal: None,
            unproved: None,
            proof: None,
            timings,
        }
    }

    pub(super) async fn finish(mut self) -> Result<(Provisioned, Credentials)> {
        let mut learnt = Learnt::Begun;
        loop {
            let position = Position { state: self.state, answer: self.answer };
            let Next { state, action } = match self.which {
                Which::Current => next::first(self.case, position, learnt),
                _ => next::candidate(Switch::Given, position, learnt),
            };
            if let Some(state) = state {
                match (self.reach(state, action).await, action) {
                    // What the server said must not be lost behind what the disk says.
                    (Err(failed), Action::Fail(_)) => {
                        let message = format!("the record still says 'sent': {}", failed.message);
                        self.run.progress.warn(message);
                    }
                    (reached, _) => reached?,
                }
            }
            learnt = match action {
                Action::Ask => self.ask().await?,
                Action::Connect { vouched } => {
                    let is_unasked = !self.case.prove;
                    if is_unasked || (!vouched && matches!(self.state, State::Sent | State::Accepted)) {
                        self.run.progress.event(&Event::Settling { reason: self.reason() });
                    }
                    let login = if vouched { Login::Vouched } else { Login::Doubtful };
                    Learnt::Connected(self.connect(login).await)
                }
                Action::Register => Learnt::Registered(self.connect(Login::Registers).await),
                Action::Done(outcome) => {
                    self.leave_slot(learnt).await?;
                    return Ok(self.done(outcome));
                }
                Action::Fail(why) => return Err(self.fail(why).await),
                Action::Keep => self.keep().await?,
                Action::Show | Action::Wait | Action::PutBack => {
                    return Err(Error::new(ErrorCode::Bug, "a rotation was to be done while provisioning"));
                }
                Action::Promote => {
                    self.entry = self.run.ledger.promote(&self.lease, &self.entry).await?;
                    return Ok(self.done(Outcome::PreProvisioned));
                }
            };
        }
    }

    /// Gives up the device's slot if an earlier run wanted a proof and did not get it, and this run wants none. No run
    /// has to find the device by its slot any more.
    async fn leave_slot(&mut self, learnt: Learnt) -> Result<()> {
        if learnt == Learnt::Begun && self.slot.is_some() {
            self.write(&[], None).await?;
        }
        Ok(())
    }

    /// Records a state. `accepted` is not written while the connect that proves it follows at once: after a power cut
    /// the record says `sent`, and a rerun finds out.
    async fn reach(&mut self, state: State, action: Action) -> Result<()> {
        let before = std::mem::replace(&mut self.state, state);
        if state == State::Accepted && matches!(action, Action::Connect { .. }) {
            self.run.tell_state(&self.entry, state);
            return Ok(());
        }
        let is_unwritten = before == State::Accepted && self.recorded() != State::Accepted;
        let reached = if is_unwritten { &[State::Accepted, state][..] } else { &[state] };
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
        let server = Some(&self.run.prover.dialer.server);
        let theirs = Wishes { pre_provisioned: true, ..self.entry.record.wishes.clone() };
        let wishes = wishes.or_else(|| (self.which == Which::Candidate).then_some(&theirs));
        let advance = Advance { which: self.which, reached, server, wishes, leaves };
        self.entry = self.run.ledger.advance(&self.lease, &self.entry, advance).await?;
        Ok(())
    }

    fn recorded(&self) -> State {
        recorded(&self.entry, self.which)
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
        let (run, wishes) = (self.run, Wishes { given: self.case.given, ..self.plan.wishes() });
        let patience = self.plan.answer_timeout;
        run.progress.begin(Step::Exchange);
        let started = Instant::now();
        let before_send = async {
            self.state = State::Sent;
            self.write(&[State::Sent], Some(&wishes)).await?;
            self.run.tell_state(&self.entry, State::Sent);
            Ok(())
        };
        let reply = exchange::run(&run.prover.sessions, &request, patience, run.progress, before_send).await;
        self.timings.exchange = started.elapsed();
        let judged = match reply {
            Err(error) => Err((Answered::NotSent, error.stamped(run.progress.step()))),
            Ok(Reply::Lost(error)) => Err((Answered::Lost, error.stamped(Step::Exchange))),
            Ok(Reply::Answered(answer)) => {
                self.given_back = answer::of_its_own(&answer, &self.credentials);
                answer::judge(&answer, &self.credentials)
            }
        };
        let answered = match judged {
            Ok(()) => Answered::Success,
            Err((answered, error)) => {
                self.refusal = Some(error);
                if self.given_back.is_some() { Answered::PreProvisioned } else { answered }
            }
        };
        self.answer = Some(answered);
        Ok(Learnt::Answered(answered))
    }

    /// Keeps what the server gave, before anything else: some releases give it once. The server has it, as if it had
    /// been sent and accepted.
    async fn keep(&mut self) -> Result<Learnt> {
        let bug = || Error::new(ErrorCode::Bug, "nothing of the server's own was to be kept");
        let Fresh { kept, credentials } =
            self.given_back.take().and_then(Fresh::of_the_server).ok_or_else(bug)?;
        self.run.progress.begin(Step::Stage);
        let new = NewIdentity { kept: &kept, credentials: &credentials };
        let staged = self.run.ledger.stage_next(&self.lease, &self.entry, new, State::Accepted).await;
        self.entry = staged.map_err(|mut error| {
            error.message = format!("the credentials that the server gave are not saved: {}", error.message);
            error.hint(Hint::GivenOnce)
        })?;
        let what = match credentials.credentials_type() {
            CredentialsType::AccessToken => "an access token",
            _ => "MQTT credentials",
        };
        self.run.progress.warn(format!(
            "the server has the device already, with {what} of its own: that is kept, and what was sent is not used"
        ));
        (self.which, self.state, self.credentials) = (Which::Candidate, State::Accepted, credentials);
        self.answer = Some(Answered::Success);
        Ok(Learnt::Answered(Answered::Success))
    }

    /// Connects with the identity.
    async fn connect(&mut self, login: Login) -> Connected {
        let started = Instant::now();
        // Whether the server knows it is asked here, and not that it shall.
        let alone = (self.state == State::Staged).then(|| self.credentials.leaf_alone());
        let credentials = alone.as_ref().unwrap_or(&self.credentials);
        let (prover, progress) = (self.run.prover, self.run.progress);
        let connected = match login {
            Login::Vouched => prover.connect(credentials, true, progress).await,
            Login::Doubtful => prover.connect(credentials, false, progress).await,
            Login::Registers => prover.register(credentials, progress).await,
        };
        self.timings.verify += started.elapsed();
        match connected {
            Ok(proof) => {
                self.proof = Some(proof);
                Connected::Accepted
            }
            Err(Unproved { connected, error }) => {
                self.unproved = Some(error);
                connected
            }
        }
    }

    /// Why the identity is tried although no answer of this run vouches for it.
    fn reason(&self) -> String {
        match (&self.refusal, self.state) {
            _ if self.which == Which::Candidate => {
                "the server gave the device credentials of its own".to_owned()
            }
            (Some(refusal), _) => refusal.message.clone(),
            (None, State::Accepted) => "an earlier run did not prove the device".to_owned(),
            _ if self.case.registration == Registration::AtConnect => {
                "an earlier connect has no known outcome".to_owned()
            }
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
            answer_verified: self.answer == Some(Answered::Success) && outcome != Outcome::PreProvisioned,
            proof: self.proof,
            telemetry: None,
            timings: self.timings,
        };
        (provisioned, self.credentials)
    }

    async fn fail(&mut self, why: Failed) -> Error {
        if self.which == Which::Candidate && why == Failed::RefusedAfterSuccess {
            self.give_up().await;
        }
        let mut error = self.failure(why);
        if self.state == State::Accepted && self.recorded() != State::Accepted {
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

    /// What the server gave is no device's there. The device is again what it was before it was asked for, and a rerun
    /// asks anew.
    async fn give_up(&mut self) {
        let given_up = async {
            self.entry = self.run.ledger.roll_back(&self.lease, &self.entry).await?;
            (self.which, self.state) = (Which::Current, State::Staged);
            let wishes = Wishes { pre_provisioned: false, ..self.entry.record.wishes.clone() };
            self.write(&[State::Staged], Some(&wishes)).await
        };
        if let Err(failed) = given_up.await {
            self.run
                .progress
                .warn(format!("the record still names what the server gave: {}", failed.message));
        }
    }

    /// Keeps the refusal with the device, and says so where it was refused so before.
    async fn remember(&mut self, error: &mut Error) {
        let before = self.entry.record.refused.as_ref();
        let before = before.filter(|before| before.code == error.code.as_str()).map(|before| before.at);
        let refusal = Refusal {
            code: error.code.as_str().to_owned(),
            message: error.message.clone(),
            at: clock::now().replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH),
        };
        if let Some(at) = before {
            error.message = format!("{}; it was so on {} too", error.message, clock::shown(at));
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
                    if error.code == ErrorCode::ServerIdentifierRejected
                        && self.answer == Some(Answered::Success) =>
                {
                    refused_after_success(error)
                }
                other => other.unwrap_or_else(bug),
            },
            Failed::RefusedAfterSuccess if self.refusal.is_some() => self.refusal.take().unwrap_or_else(bug),
            Failed::RefusedAfterSuccess => refused_after_success(unproved.unwrap_or_else(bug)),
            Failed::Forgotten => forgotten(&self.entry, unproved.unwrap_or_else(bug)),
            Failed::NotRegistered => unproved.unwrap_or_else(bug).hint(Hint::NotRegistered),
            Failed::Undone | Failed::NotUndone => bug(),
        }
    }
}

/// How far one of the device's identities has come, by its record.
fn recorded(entry: &Entry, which: Which) -> State {
    entry.identity(which).map_or(State::Staged, |(_, identity)| identity.state)
}

fn refused_after_success(error: Error) -> Error {
    let message =
        format!("the server accepted the identity and then refused it at connect: {}", error.message);
    Error::new(ErrorCode::VerifyRefused, message).source(error)
}

/// The server does not know an identity that is said to be its device's.
pub(super) fn forgotten(entry: &Entry, error: Error) -> Error {
    let identity = &entry.record.identity;
    let once = match identity.reached.sent {
        _ if identity.state == State::Proved => "the device was proved before",
        Some(_) => "the server accepted the device in an earlier run",
        None => "the device was taken in without a proof",
    };
    let message = format!("{once}, and is now refused: {}", error.message);
    let hint = match entry.rotation() {
        Some(name) => Hint::FinishRotation(name),
        None => Hint::DeletedAtServer,
    };
    Error::new(ErrorCode::VerifyRefused, message).source(error).hint(hint)
}
