//! The only place that knows the order:
//!
//! ```text
//! plan -> identity -> stage -> exchange -> verify (answer, mutual TLS) -> promote -> telemetry
//! ```
//!
//! The key is on the disk before the request leaves, and the record says `sent` before it does. Whatever
//! happens then, a rerun finds `staged` (ask), `sent` (try the identity first, ask if it is unknown),
//! `accepted` or `proved` (try the identity, never ask again).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::device::DeviceName;
use crate::device::State;
use crate::dial::Dialer;
use crate::error::{Error, ErrorCode, ErrorKind, Hint, Result, Step};
use crate::event::{Event, Progress};
use crate::exchange::{self, ProvisionRequest};
use crate::flow::verify::{self, Proof};
use crate::flow::{DEFAULT_KEY_TYPE, IdentityPlan, NewIdentity, ProvisionPlan, new_identity};
use crate::identity::{BasicCredentials, Credentials, Profile};
use crate::keys::{Exportable, SoftwareKey};
use crate::ledger::folder::{Device, DeviceLock, NewDevice, Store};
use crate::secret::Secret;
use crate::telemetry::{self, Report};

/// Characters of a generated token or password; ThingsBoard's own have 20.
const SECRET_LENGTH: usize = 20;

/// How long to wait for another tbprov that works on the same device.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);
const LOCK_POLL: Duration = Duration::from_millis(100);

/// How it ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The server accepted the request of this run.
    Provisioned,
    /// An earlier request, or one whose answer was lost, turned out to have been accepted.
    Recovered,
    /// The device was proved before, and still is.
    Verified,
}

impl Outcome {
    /// The word in results.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provisioned => "provisioned",
            Self::Recovered => "recovered",
            Self::Verified => "verified",
        }
    }
}

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

/// A device that is in the store and known to the server.
#[derive(Debug)]
pub struct Provisioned {
    /// How it ended.
    pub outcome: Outcome,
    /// The device.
    pub device: Device,
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
pub async fn provision(
    plan: &ProvisionPlan,
    interrupt: &CancellationToken,
    progress: &Progress,
) -> Result<Provisioned> {
    progress.begin(Step::Stage);
    run(plan, interrupt, progress).await.map_err(|error| error.stamped(progress.step()))
}

async fn run(
    plan: &ProvisionPlan,
    interrupt: &CancellationToken,
    progress: &Progress,
) -> Result<Provisioned> {
    let (mut provisioned, credentials) = tokio::select! {
        biased;
        () = interrupt.cancelled() => return Err(Error::interrupted()),
        done = to_proof(plan, progress) => done?,
    };
    if let Some(telemetry) = &plan.telemetry {
        let report = telemetry::run(&plan.dialer, &credentials, telemetry, interrupt, progress).await?;
        provisioned.telemetry = Some(report);
        if report.acknowledged > 0 {
            record_proof(&plan.store, &mut provisioned.device, &plan.dialer, progress);
        }
    }
    Ok(provisioned)
}

async fn to_proof(plan: &ProvisionPlan, progress: &Progress) -> Result<(Provisioned, Credentials)> {
    let name = plan.device_name.as_ref().map(DeviceName::as_str);
    let lock = wait_for_lock(plan, name, progress).await?;
    let mut run = Run { plan, progress, timings: Timings::default() };
    let found = match name {
        Some(name) => plan.store.find(name)?,
        None => plan.store.find_unfinished_unnamed(&plan.dialer.server.host, plan.dialer.server.port)?,
    };
    let (mut device, credentials) = match found {
        Some(device) => run.take_up(device)?,
        None => run.stage(&lock, name).await?,
    };
    let Conclusion { outcome, answer_verified, proof } = run.finish(&mut device, &credentials).await?;
    let provisioned =
        Provisioned { outcome, device, answer_verified, proof, telemetry: None, timings: run.timings };
    Ok((provisioned, credentials))
}

/// Records that the server has accepted a connection with the device's identity, if that is news. What this
/// run did is done either way: a record that cannot be written is told as a warning, and whoever works on the
/// device meanwhile records a proof of its own.
pub fn record_proof(store: &Store, device: &mut Device, dialer: &Dialer, progress: &Progress) {
    if device.record.state == State::Proved {
        return;
    }
    match try_to_record_proof(store, device, dialer, progress) {
        Err(error) if error.code != ErrorCode::StoreLocked => {
            let message = format!("the device is proved, but its record does not say so: {}", error.message);
            progress.event(&Event::Warning { message });
        }
        _ => {}
    }
}

fn try_to_record_proof(
    store: &Store,
    device: &mut Device,
    dialer: &Dialer,
    progress: &Progress,
) -> Result<()> {
    let _lock = store.lock(device.record.device.as_deref())?;
    // The record was read before the lock was taken: another process may have written it since.
    let current = Device::open(&device.directory)?;
    let is_the_same = current.record.credentials_id == device.record.credentials_id;
    *device = current;
    if !is_the_same || device.record.state == State::Proved {
        return Ok(());
    }
    reach(device, State::Proved, dialer, progress)
}

fn reach(device: &mut Device, state: State, dialer: &Dialer, progress: &Progress) -> Result<()> {
    device.reach(state, &dialer.server)?;
    progress.event(&Event::StateReached { state, directory: device.directory.clone() });
    Ok(())
}

/// Waits until no other tbprov works on the device.
async fn wait_for_lock(plan: &ProvisionPlan, name: Option<&str>, progress: &Progress) -> Result<DeviceLock> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    let mut told = false;
    loop {
        match plan.store.lock(name) {
            Err(error) if error.code == ErrorCode::StoreLocked && Instant::now() < deadline => {
                if !told {
                    progress.event(&Event::Started {
                        step: Step::Stage,
                        what: format!("waiting: {}", error.message),
                    });
                    told = true;
                }
                tokio::time::sleep(LOCK_POLL).await;
            }
            taken_or_failed => return taken_or_failed,
        }
    }
}

/// What is known at the end about the device and the server.
struct Conclusion {
    outcome: Outcome,
    answer_verified: bool,
    proof: Option<Proof>,
}

struct Run<'a> {
    plan: &'a ProvisionPlan,
    progress: &'a Progress,
    timings: Timings,
}

impl Run<'_> {
    /// Makes the credentials and writes them to the store.
    async fn stage(&mut self, lock: &DeviceLock, name: Option<&str>) -> Result<(Device, Credentials)> {
        self.progress.begin(Step::Identity);
        let started = Instant::now();
        let (credentials, key) = make_credentials(&self.plan.identity, name, self.progress).await?;
        self.timings.key = started.elapsed();
        let new = NewDevice {
            name,
            server: &self.plan.dialer.server,
            credentials: &credentials,
            key: key.as_deref().map(|key| key as &dyn Exportable),
            state: State::Staged,
        };
        let device = self.plan.store.stage(lock, &new)?;
        self.progress.event(&Event::Saved { directory: device.directory.clone() });
        self.progress
            .event(&Event::StateReached { state: State::Staged, directory: device.directory.clone() });
        Ok((device, credentials))
    }

    /// Goes on with a device of the store, if it is what the plan asks for.
    fn take_up(&self, device: Device) -> Result<(Device, Credentials)> {
        let record = &device.record;
        let credentials = device.credentials()?;
        let conflict = |what: String| {
            let message = format!(
                "the store already has '{}' in {}, {what}",
                device.shown_name(),
                device.directory.display()
            );
            Err(Error::new(ErrorCode::StoreExists, message).hint(Hint::DifferingOption))
        };
        let dialer = &self.plan.dialer;
        if record.state != State::Staged && (!dialer.server.is_at(&record.host, record.port)) {
            return conflict(format!("for the server {}:{}", record.host, record.port));
        }
        if record.credentials_type != self.plan.identity.credentials_type() {
            return conflict(format!("with credentials of type {}", record.credentials_type));
        }
        match (&self.plan.identity, &credentials, record.key_type) {
            (IdentityPlan::Generate { key_type: Some(wanted), .. }, _, Some(held)) if *wanted != held => {
                return conflict(format!("with a key of type {held}"));
            }
            (IdentityPlan::Existing(wanted), Credentials::X509(held), _) if wanted.leaf != held.leaf => {
                return conflict("with another certificate".to_owned());
            }
            _ => {}
        }
        if let Some(identity) = credentials.x509() {
            identity.leaf.check_dates(&device.directory.display().to_string())?;
        }
        self.progress.event(&Event::IdentityFound { state: record.state });
        Ok((device, credentials))
    }

    async fn finish(&mut self, device: &mut Device, credentials: &Credentials) -> Result<Conclusion> {
        match device.record.state {
            State::Proved => {
                let proof = self.prove(device, credentials).await.map_err(gone)?;
                Ok(Conclusion { outcome: Outcome::Verified, answer_verified: false, proof: Some(proof) })
            }
            State::Accepted => {
                let proof = self.prove(device, credentials).await.map_err(accepted_and_refused)?;
                Ok(Conclusion { outcome: Outcome::Recovered, answer_verified: false, proof: Some(proof) })
            }
            State::Sent => {
                self.settling("an earlier request has no known outcome");
                match self.prove(device, credentials).await {
                    Ok(proof) => Ok(Conclusion {
                        outcome: Outcome::Recovered,
                        answer_verified: false,
                        proof: Some(proof),
                    }),
                    Err(error) if verify::is_unknown_to_server(&error) => self.ask(device, credentials).await,
                    Err(error) => Err(error),
                }
            }
            State::Staged => self.ask(device, credentials).await,
        }
    }

    /// Sends the request and judges its answer.
    async fn ask(&mut self, device: &mut Device, credentials: &Credentials) -> Result<Conclusion> {
        let plan = self.plan;
        let name = device.record.device.clone();
        let request = ProvisionRequest {
            device_name: name.as_deref(),
            provision_key: &plan.provision_key,
            provision_secret: &plan.provision_secret,
            credentials,
            gateway: plan.gateway,
        };
        self.progress.begin(Step::Exchange);
        let started = Instant::now();
        let outcome =
            exchange::run(&plan.dialer, &request, self.progress, || self.reach(device, State::Sent)).await?;
        self.timings.exchange = started.elapsed();
        let refusal = match outcome {
            exchange::Reply::Lost(error) => error.stamped(Step::Exchange),
            exchange::Reply::Answered(answer) => match verify::answer(&answer, credentials) {
                Ok(()) => return self.accepted(device, credentials).await,
                Err(error) if error.code.kind() == ErrorKind::Refused => error.stamped(Step::Exchange),
                Err(error) => error.stamped(Step::Verify),
            },
        };
        self.settle(device, credentials, refusal).await
    }

    async fn accepted(&mut self, device: &mut Device, credentials: &Credentials) -> Result<Conclusion> {
        self.reach(device, State::Accepted)?;
        if !self.plan.verify_connect {
            return Ok(Conclusion { outcome: Outcome::Provisioned, answer_verified: true, proof: None });
        }
        let proof = self.prove(device, credentials).await.map_err(accepted_and_refused)?;
        Ok(Conclusion { outcome: Outcome::Provisioned, answer_verified: true, proof: Some(proof) })
    }

    /// After a refusal or a lost answer: the server may have the device all the same. `FAILURE` is also what
    /// it says when the device was made by an earlier request with this very certificate.
    async fn settle(
        &mut self,
        device: &mut Device,
        credentials: &Credentials,
        refusal: Error,
    ) -> Result<Conclusion> {
        match refusal.code {
            ErrorCode::ServerNotFound => {
                self.reach(device, State::Staged)?;
                return Err(refusal);
            }
            // Other credentials than ours: what the server has is known, and it is not this identity.
            ErrorCode::AnswerOtherType
            | ErrorCode::AnswerOtherCertificate
            | ErrorCode::AnswerOtherCredentials => {
                return Err(refusal);
            }
            _ => {}
        }
        self.settling(&refusal.message);
        match self.prove(device, credentials).await {
            Ok(proof) => {
                Ok(Conclusion { outcome: Outcome::Recovered, answer_verified: false, proof: Some(proof) })
            }
            Err(error)
                if verify::is_unknown_to_server(&error) && refusal.code == ErrorCode::ServerFailure =>
            {
                self.reach(device, State::Staged)?;
                Err(refusal)
            }
            Err(_) => Err(refusal),
        }
    }

    /// Connects with the identity and, if the server accepts it, records that.
    async fn prove(&mut self, device: &mut Device, credentials: &Credentials) -> Result<Proof> {
        self.progress.begin(Step::Verify);
        let started = Instant::now();
        let proof = verify::connect(&self.plan.dialer, credentials, self.progress).await?;
        self.timings.verify = started.elapsed();
        self.progress.begin(Step::Promote);
        self.reach(device, State::Proved)?;
        Ok(proof)
    }

    fn reach(&self, device: &mut Device, state: State) -> Result<()> {
        reach(device, state, &self.plan.dialer, self.progress)
    }

    fn settling(&self, reason: &str) {
        self.progress.event(&Event::Settling { reason: reason.to_owned() });
    }
}

/// The credentials that were planned, and their key where they have one.
async fn make_credentials(
    plan: &IdentityPlan,
    name: Option<&str>,
    progress: &Progress,
) -> Result<(Credentials, Option<Arc<SoftwareKey>>)> {
    let identity = match plan {
        IdentityPlan::Existing(identity) => (**identity).clone(),
        IdentityPlan::Generate { key_type, days } => {
            let wanted = NewIdentity {
                name: name.unwrap_or_default(),
                profile: &Profile::Device,
                days: *days,
                key_type: key_type.unwrap_or(DEFAULT_KEY_TYPE),
                issuer: None,
            };
            new_identity(&wanted, progress).await?
        }
        IdentityPlan::AccessToken => {
            return Ok((Credentials::AccessToken(Secret::random(SECRET_LENGTH)?), None));
        }
        IdentityPlan::MqttBasic => {
            let basic = BasicCredentials {
                client_id: Secret::random(SECRET_LENGTH)?.expose().to_owned(),
                user_name: Secret::random(SECRET_LENGTH)?.expose().to_owned(),
                password: Secret::random(SECRET_LENGTH)?,
            };
            return Ok((Credentials::MqttBasic(basic), None));
        }
    };
    let key = Arc::clone(&identity.key);
    Ok((Credentials::X509(identity.into()), Some(key)))
}

/// The server answered SUCCESS, and does not let the identity in.
fn accepted_and_refused(error: Error) -> Error {
    if !verify::is_unknown_to_server(&error) && error.code != ErrorCode::ServerIdentifierRejected {
        return error;
    }
    let message =
        format!("the server accepted the identity and then refused it at connect: {}", error.message);
    Error::new(ErrorCode::VerifyRefused, message).source(error)
}

/// The identity was proved, and the server does not know it any more.
fn gone(error: Error) -> Error {
    if !verify::is_unknown_to_server(&error) {
        return error;
    }
    let message = format!("the device was proved before, and is now refused: {}", error.message);
    Error::new(ErrorCode::VerifyRefused, message).source(error).hint(Hint::DeletedAtServer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles only while a run can be spawned on any runtime.
    #[test]
    fn a_run_may_move_between_threads() {
        fn movable<T: Send>(
            _: impl FnOnce(&'static ProvisionPlan, &'static CancellationToken, &'static Progress) -> T,
        ) {
        }
        movable(|plan, interrupt, progress| provision(plan, interrupt, progress));
    }
}
