//! Does what [`next::candidate`] says, step by step, for one device.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::next::{self, Action, Answered, Connected, Failed, Learnt, Next, Position, Switch};
use super::super::prove::{Proof, Unproved};
use super::super::run::Run;
use super::tell::Held;
use super::{Awaited, DEFAULT_PATIENCE, RotateOutcome, RotatePlan, Rotated, x509};
use crate::device::State;
use crate::error::{Error, ErrorCode, Hint, Result, Step};
use crate::event::Event;
use crate::identity::{Credentials, X509Identity};
use crate::ledger::{Advance, Entry, Lease, Which, Wishes};

/// How often the server is asked for a certificate that somebody gives it by hand. ThingsBoard may count each refused
/// connect: `docs/protocol.md` says what follows, at the throw-away identity.
const INTERVAL: Duration = Duration::from_secs(60);

/// The first pause after a connect that proved nothing; each next one is twice as long.
const PAUSE: Duration = Duration::from_millis(500);

/// Refusals after which a certificate that the server has just been told of is not tried again.
const REFUSALS: u32 = 2;

/// How long a connect is tried at least, also where the one before it took its time.
const LEAST_PATIENCE: Duration = Duration::from_secs(5);

/// One way through the states.
pub(super) struct Turn<'a> {
    pub(super) plan: &'a RotatePlan,
    pub(super) run: Run<'a>,
    pub(super) lease: Lease,
    pub(super) entry: Entry,
    pub(super) switch: Switch,
    pub(super) current: X509Identity,
    pub(super) candidate: X509Identity,
    /// The state that is reached. The ledger is behind it while a connect follows at once.
    pub(super) state: State,
    /// Whether an earlier run may have told the server.
    resumed: bool,
    answer: Option<Answered>,
    /// Why the server was not told, or may not have been.
    pub(super) refusal: Option<Error>,
    /// Why the candidate is not proved.
    unproved: Option<Error>,
    /// Why the current identity is not the server's again.
    not_put_back: Option<Error>,
    /// What the server had, where an account looked.
    pub(super) held: Option<Held>,
    proof: Option<Proof>,
    /// Whether this run has shown the certificate.
    is_shown: bool,
    patience: Duration,
    deadline: Instant,
}

impl<'a> Turn<'a> {
    /// The way of the device's candidate, from where it is.
    pub(super) async fn new(plan: &'a RotatePlan, run: Run<'a>, lease: Lease, entry: Entry) -> Result<Self> {
        let switch = plan.switch(&entry.record);
        let patience = plan.patience.unwrap_or(match switch {
            Switch::ByHand => Duration::ZERO,
            _ => DEFAULT_PATIENCE,
        });
        let state = entry.identity(Which::Candidate)?.1.state;
        Ok(Self {
            current: x509(run, &entry, Which::Current).await?,
            candidate: x509(run, &entry, Which::Candidate).await?,
            resumed: state != State::Staged,
            deadline: Instant::now() + patience,
            patience,
            plan,
            run,
            lease,
            entry,
            switch,
            state,
            answer: None,
            refusal: None,
            unproved: None,
            not_put_back: None,
            held: None,
            proof: None,
            is_shown: false,
        })
    }

    pub(super) async fn finish(mut self) -> Result<Rotated> {
        let mut learnt = Learnt::Begun;
        loop {
            let position = Position { state: self.state, answer: self.answer };
            let Next { state, action } = next::candidate(self.switch, position, learnt);
            if let Some(state) = state {
                self.reach(state, action).await?;
            }
            learnt = match action {
                Action::Ask => {
                    let answered = self.ask().await?;
                    self.answer = Some(answered);
                    Learnt::Answered(answered)
                }
                Action::Register => Learnt::Registered(self.connect(false).await),
                Action::Connect { vouched } => Learnt::Connected(self.connect(vouched).await),
                Action::Show => {
                    self.show();
                    Learnt::Shown
                }
                Action::Wait if self.wait().await => Learnt::Waited,
                Action::Wait => return self.waiting(),
                Action::PutBack => Learnt::PutBack(self.put_back().await),
                Action::Promote => return self.promote().await,
                Action::Fail(why) => return Err(self.failure(why)),
                Action::Keep | Action::Done(_) => {
                    return Err(Error::new(ErrorCode::Bug, "a rotation ended as a provisioning would"));
                }
            };
        }
    }

    /// Records a state. `accepted` is not written while the connect that proves it follows at once.
    async fn reach(&mut self, state: State, action: Action) -> Result<()> {
        let before = std::mem::replace(&mut self.state, state);
        let is_written = !matches!((state, action), (State::Accepted, Action::Connect { .. }));
        let recorded = self.entry.identity(Which::Candidate)?.1.state;
        if is_written && recorded != state {
            let reached = if before == State::Accepted && state == State::Proved {
                &[State::Accepted, state][..]
            } else {
                &[state]
            };
            if state == State::Proved {
                self.run.progress.begin(Step::Promote);
            }
            match (self.write(reached).await, action) {
                // What the server did must not be lost behind what the disk says.
                (Err(failed), Action::Fail(_)) => {
                    let message =
                        format!("the record still says '{}': {}", recorded.as_str(), failed.message);
                    self.run.progress.warn(message);
                }
                (written, _) => written?,
            }
        }
        if before != state {
            self.run.tell_state(&self.entry, state);
        }
        Ok(())
    }

    async fn write(&mut self, reached: &[State]) -> Result<()> {
        // The new key is of tbprov's own making, whoever made the old one.
        let is_proved = reached.last() == Some(&State::Proved);
        let own = Wishes { given: false, ..self.entry.record.wishes.clone() };
        let wishes = (is_proved && self.entry.record.wishes.given).then_some(&own);
        let advance = Advance { which: Which::Candidate, reached, server: None, wishes, leaves: None };
        self.entry = self.run.ledger.advance(&self.lease, &self.entry, advance).await?;
        Ok(())
    }

    /// Says on the disk that the server may be told from now on.
    pub(super) async fn record_sent(&mut self) -> Result<()> {
        let (recorded, before) = (self.entry.identity(Which::Candidate)?.1.state, self.state);
        self.state = State::Sent;
        if recorded != State::Sent {
            self.write(&[State::Sent]).await?;
        }
        if before != State::Sent {
            self.run.tell_state(&self.entry, State::Sent);
        }
        Ok(())
    }

    /// Connects with the candidate, again while it is not known whether the server takes it.
    async fn connect(&mut self, vouched: bool) -> Connected {
        let credentials = Credentials::X509(self.candidate.clone());
        match self.prove(&credentials, vouched).await {
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

    /// Connects until the server says yes or no, or the plan's patience ends. By hand it is asked once.
    pub(super) async fn prove(&self, credentials: &Credentials, vouched: bool) -> Result<Proof, Unproved> {
        let (mut pause, mut refusals) = (PAUSE, 0);
        let deadline = self.deadline.max(Instant::now() + LEAST_PATIENCE.min(self.patience));
        loop {
            let unproved = match self.run.prover.connect(credentials, vouched, self.run.progress).await {
                Ok(proof) => return Ok(proof),
                Err(unproved) => unproved,
            };
            let is_again = match unproved.connected {
                Connected::Unclear => Instant::now() + pause <= deadline,
                Connected::Refused => {
                    refusals += 1;
                    self.switch == Switch::Account && refusals < REFUSALS
                }
                _ => false,
            };
            if !is_again || self.switch == Switch::ByHand {
                return Err(unproved);
            }
            sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
    }

    fn show(&mut self) {
        self.is_shown = true;
        self.run.progress.begin(Step::Rotate);
        self.run.progress.event(&Event::NewCertificate {
            credentials_id: self.candidate.leaf.credentials_id(),
            certificate: self.candidate.leaf.to_pem(),
        });
    }

    /// Waits until it is time to try again; not when there is no time left.
    async fn wait(&mut self) -> bool {
        if self.unproved.as_ref().is_some_and(|error| error.code.refuses_identity()) {
            make_forget(self.run, &self.current).await;
        }
        if self.patience.is_zero() || Instant::now() >= self.deadline {
            return false;
        }
        self.run.progress.begin(Step::Rotate);
        let what = "until somebody gives the server the new certificate".to_owned();
        self.run.progress.event(&Event::Started { step: Step::Rotate, what });
        let left = self.deadline.saturating_duration_since(Instant::now());
        sleep(left.min(INTERVAL)).await;
        true
    }

    /// The end of a run in which the server was not told yet.
    fn waiting(mut self) -> Result<Rotated> {
        let name = self.entry.shown_name().to_owned();
        match self.unproved.take() {
            Some(error) if !error.code.refuses_identity() => {
                return Err(error.hint(Hint::PasteCertificate(name)));
            }
            Some(error) if self.plan.patience.is_some() => {
                let message = format!(
                    "the server does not accept the new certificate of '{name}' yet: {}",
                    error.message
                );
                return Err(Error::new(ErrorCode::VerifyRefused, message)
                    .source(error)
                    .hint(Hint::PasteCertificate(name)));
            }
            _ => {}
        }
        if !self.is_shown {
            self.show();
        }
        Ok(Rotated {
            outcome: RotateOutcome::Waiting,
            proof: None,
            awaited: Some(Awaited {
                which: Which::Candidate,
                certificate: self.candidate.leaf.to_pem(),
                is_way_back: false,
            }),
            entry: self.entry,
        })
    }

    async fn put_back(&mut self) -> bool {
        match self.try_to_put_back().await {
            Ok(()) => true,
            Err(error) => {
                self.not_put_back = Some(error);
                false
            }
        }
    }

    async fn promote(mut self) -> Result<Rotated> {
        self.run.progress.begin(Step::Promote);
        self.entry = self.run.ledger.promote(&self.lease, &self.entry).await?;
        let credentials_id = self.candidate.leaf.credentials_id();
        self.run.progress.event(&Event::Promoted { credentials_id });
        let outcome = match self.switch {
            Switch::Account | Switch::AtConnect if self.resumed => RotateOutcome::Recovered,
            _ => RotateOutcome::Rotated,
        };
        Ok(Rotated { outcome, entry: self.entry, proof: self.proof, awaited: None })
    }

    fn failure(&mut self, why: Failed) -> Error {
        if self.state != State::Staged && !matches!(why, Failed::Undone | Failed::NotUndone) {
            self.run.progress.warn(format!(
                "the rotation of '{}' is not finished: its old and its new certificate are kept, and the same command goes on with it",
                self.entry.shown_name()
            ));
        }
        let bug = || Error::new(ErrorCode::Bug, "a rotation failed for no reason");
        let unproved = self.unproved.take();
        match why {
            Failed::Answer => self.refusal.take().unwrap_or_else(bug),
            Failed::NotRegistered => unproved.unwrap_or_else(bug).hint(Hint::NotRegistered),
            Failed::Undone => self.undone(unproved.unwrap_or_else(bug)),
            Failed::NotUndone => self.not_undone(unproved.unwrap_or_else(bug)),
            _ => unproved.unwrap_or_else(bug),
        }
    }

    fn undone(&self, error: Error) -> Error {
        let code = if error.code.refuses_identity() { ErrorCode::VerifyRefused } else { error.code };
        let message = format!(
            "the server was told of the new certificate and does not accept it at connect ({}); the old one was put back, and is proved",
            error.message
        );
        Error::new(code, message).source(error).stamped(Step::Verify)
    }

    fn not_undone(&mut self, error: Error) -> Error {
        let code = if error.code.refuses_identity() { ErrorCode::VerifyRefused } else { error.code };
        let put_back = self.not_put_back.take().map(|error| error.message).unwrap_or_default();
        let message = format!(
            "the server was told of the new certificate ({}), which did not connect: {}; the old one ({}) is not proved again: {put_back}; the store has both",
            self.candidate.leaf.credentials_id(),
            error.message,
            self.current.leaf.credentials_id(),
        );
        let name = self.entry.shown_name().to_owned();
        Error::new(code, message).source(error).hint(Hint::FinishRotation(name)).stamped(Step::Verify)
    }
}

/// Logs in with the identity that the server is thought to have: a login that it accepts makes it forget those that it
/// refused.
pub(super) async fn make_forget(run: Run<'_>, known: &X509Identity) {
    let known = Credentials::X509(known.clone());
    let _ = run.prover.connect(&known, true, &run.progress.unheard()).await;
}
