//! Registers a device by an account, as an administrator does by hand: the way in without a provision request, and the way
//! back for a device that the server refuses, or whose key was lost.
//!
//! ```text
//! staged on disk -> the record says `sent` -> the server is told, and read back -> a connect -> proved
//! ```
//!
//! A device is made with a call of its own before its credentials are set: 3.4.4 answers the call that does both with the
//! device that has the name already, and gives that one the new credentials.

use std::time::Instant;

use super::fresh::{self, Fresh};
use super::next::Connected;
use super::plan::IdentityPlan;
use super::prove::Proof;
use super::provision::Timings;
use super::run::Run;
use crate::device::{DeviceName, State};
use crate::error::{Error, ErrorCode, Hint, Result, Step};
use crate::event::{Event, Progress};
use crate::identity::{Certificate, Credentials, CredentialsType};
use crate::ledger::{Advance, Entry, Lease, NewDevice, NewIdentity, Subject, Which, Wishes};
use crate::rest::{Account, Device, DeviceCredentials, DeviceProfile};
use crate::text::shown;

/// A device that an account shall register.
#[derive(Debug)]
pub struct RegisterPlan {
    /// Its name, in the ledger and at the server.
    pub device_name: DeviceName,
    /// Where the credentials come from if the ledger does not have the device.
    pub identity: IdentityPlan,
    /// The profile of a device that is made; without one, the tenant's default.
    pub profile: Option<DeviceProfile>,
    /// Credentials of the server's device that the user has agreed to replace.
    pub replaces: Option<DeviceCredentials>,
}

/// What the server had of the device before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// No such device: it was made.
    Nothing,
    /// The device with other credentials: they were replaced.
    OtherCredentials,
    /// The device with this certificate: nothing was changed.
    Registered,
}

/// A device that the server has now with the ledger's certificate.
#[derive(Debug)]
pub struct Registered {
    /// What the server had before.
    pub before: Before,
    /// The device in the ledger.
    pub entry: Entry,
    /// The device at the server.
    pub device: Device,
    /// The connect with the certificate.
    pub proof: Proof,
    /// How long it took.
    pub timings: Timings,
}

/// Registers a device, or finishes what an earlier run began. Safe to repeat, and to drop at any point.
///
/// # Errors
/// The `rest/…` codes, those of a connect that proves nothing, and those of the ledger. What is on disk stays, and a rerun
/// continues from there.
pub async fn register(plan: &RegisterPlan, account: &Account, run: Run<'_>) -> Result<Registered> {
    run.stamped(to_proof(plan, account, run)).await
}

async fn to_proof(plan: &RegisterPlan, account: &Account, run: Run<'_>) -> Result<Registered> {
    let mut timings = Timings::default();
    run.progress.begin(Step::Stage);
    let subject = Subject::Named(plan.device_name.as_str());
    let lease = run.lease(subject).await?;
    let (entry, credentials) = match run.ledger.find(subject).await? {
        Some(entry) => {
            let entry = without_candidate(plan, account, run, &lease, entry).await?;
            take_up(run, entry).await?
        }
        None => stage(plan, run, &lease, &mut timings).await?,
    };
    let progress = run.progress.about(entry.id.clone());
    let run = Run { progress: &progress, ..run };
    let leaf = credentials.x509().map(|identity| &identity.leaf).ok_or_else(|| no_certificate(&entry))?;
    let started = Instant::now();
    let held = look(plan, account, leaf, run.progress).await?;
    if !matches!(held, Held::Ours(_)) {
        // Whoever uses the old credentials is cut off for nothing where this server proves nothing.
        let refuses = run.prover.refuses_strangers(CredentialsType::X509, run.progress).await;
        refuses.map_err(|unproved| unproved.error)?;
    }
    let entry = if matches!(held, Held::Ours(_)) { entry } else { sent(run, &lease, entry).await? };
    let (before, device) = tell(plan, account, held, leaf, run).await?;
    timings.exchange = started.elapsed();
    let started = Instant::now();
    let connected = run.prover.connect(&credentials, false, run.progress).await;
    let proof = connected.map_err(|unproved| match unproved.connected {
        Connected::Refused => refused_in_spite(account, unproved.error),
        _ => unproved.error,
    })?;
    timings.verify = started.elapsed();
    let entry = proved(run, &lease, entry).await?;
    Ok(Registered { before, entry, device, proof, timings })
}

/// What the server has of the device.
enum Held {
    Nothing,
    Other(Device, DeviceCredentials),
    Ours(Device),
}

/// Makes the key and the certificate, and writes them to the ledger.
async fn stage(
    plan: &RegisterPlan,
    run: Run<'_>,
    lease: &Lease,
    timings: &mut Timings,
) -> Result<(Entry, Credentials)> {
    run.progress.begin(Step::Identity);
    let started = Instant::now();
    let name = plan.device_name.as_str();
    let Fresh { kept, credentials } = fresh::of_its_own(&plan.identity, name, run.progress).await?;
    timings.key = started.elapsed();
    run.progress.begin(Step::Stage);
    let new = NewDevice {
        subject: Subject::Named(name),
        server: &run.prover.dialer.server,
        identity: NewIdentity { kept: &kept, credentials: &credentials },
        state: State::Staged,
        wishes: Wishes::default(),
    };
    let entry = run.ledger.stage(lease, new).await?;
    let progress = run.progress.about(entry.id.clone());
    progress.event(&Event::Saved { directory: entry.directory.clone().unwrap_or_default() });
    Run { progress: &progress, ..run }.tell_state(&entry, State::Staged);
    Ok((entry, credentials))
}

/// The device without the candidate of a rotation that did not end: where the server does not have it, it goes, and the
/// device can be rotated afterwards.
async fn without_candidate(
    plan: &RegisterPlan,
    account: &Account,
    run: Run<'_>,
    lease: &Lease,
    entry: Entry,
) -> Result<Entry> {
    let Some(candidate) = &entry.record.candidate else { return Ok(entry) };
    let is_there = match account.device(plan.device_name.as_str(), run.progress).await? {
        Some(device) => {
            let held = account.credentials(&device, run.progress).await?;
            held.is_x509() && held.credentials_id() == candidate.identity.credentials_id.as_deref()
        }
        None => false,
    };
    if is_there {
        let message =
            format!("the server has the candidate of '{}': its change is not finished", entry.shown_name());
        return Err(Error::new(ErrorCode::StoreExists, message).hint(Hint::FinishCandidate));
    }
    run.ledger.roll_back(lease, &entry).await
}

/// Continues with a device of the ledger, if it can be registered so.
async fn take_up(run: Run<'_>, entry: Entry) -> Result<(Entry, Credentials)> {
    let record = &entry.record;
    let differs =
        record.state() != State::Staged && !run.prover.dialer.server.is_at(&record.host, record.port);
    if differs {
        let server = record.host.with_port(record.port);
        let message = format!(
            "the store already has '{}' in {}, for the server {server}",
            entry.shown_name(),
            entry.place()
        );
        return Err(Error::new(ErrorCode::StoreExists, message).hint(Hint::DifferingOption));
    }
    let unusable = |error: Error| match error.code {
        ErrorCode::StoreCorrupt => error.hint(Hint::RegisterAnew(entry.shown_name().to_owned())),
        _ => error,
    };
    let kept = run.ledger.key(&entry, Which::Current).await.map_err(unusable)?;
    let credentials = kept.open(&entry.place()).map_err(unusable)?;
    let identity = credentials.x509().ok_or_else(|| no_certificate(&entry))?;
    identity
        .leaf
        .check_dates(&entry.place())
        .map_err(|error| error.hint(Hint::RegisterAnew(entry.shown_name().to_owned())))?;
    let progress = run.progress.about(entry.id.clone());
    progress.event(&Event::IdentityFound { state: record.state() });
    Ok((entry, credentials))
}

fn no_certificate(entry: &Entry) -> Error {
    let kind = entry.record.identity.credentials_type;
    let message = format!("'{}' has credentials of type {kind}, and no certificate", entry.shown_name());
    Error::new(ErrorCode::StoreExists, message).hint(Hint::RegisterAnew(entry.shown_name().to_owned()))
}

/// Reads what the server has, and fails where that may not be replaced.
async fn look(
    plan: &RegisterPlan,
    account: &Account,
    leaf: &Certificate,
    progress: &Progress,
) -> Result<Held> {
    let Some(device) = account.device(plan.device_name.as_str(), progress).await? else {
        return Ok(Held::Nothing);
    };
    let held = account.credentials(&device, progress).await?;
    if held.are(leaf) {
        return Ok(Held::Ours(device));
    }
    match &plan.replaces {
        Some(agreed) if agreed.are_those_of(&held) => Ok(Held::Other(device, held)),
        _ => {
            let name = shown(&device.name);
            let message = format!(
                "the device '{name}' at {} has other credentials than it had when they were shown",
                account.url()
            );
            Err(Error::new(ErrorCode::RestConflict, message))
        }
    }
}

/// Records that the server may know of the certificate from now on.
async fn sent(run: Run<'_>, lease: &Lease, entry: Entry) -> Result<Entry> {
    run.progress.begin(Step::Stage);
    let server = Some(&run.prover.dialer.server);
    let reached = &[State::Sent];
    let advance = Advance { which: Which::Current, reached, server, wishes: None, leaves: None };
    let entry = run.ledger.advance(lease, &entry, advance).await?;
    run.tell_state(&entry, State::Sent);
    Ok(entry)
}

async fn tell(
    plan: &RegisterPlan,
    account: &Account,
    held: Held,
    leaf: &Certificate,
    run: Run<'_>,
) -> Result<(Before, Device)> {
    let (before, device, held) = match held {
        Held::Ours(device) => return Ok((Before::Registered, device)),
        Held::Other(device, held) => (Before::OtherCredentials, device, held),
        Held::Nothing => {
            let name = plan.device_name.as_str();
            let is_gateway = false;
            let device = account.create_device(name, plan.profile.as_ref(), is_gateway, run.progress).await?;
            let asked = plan.profile.as_ref().and_then(DeviceProfile::id);
            if device.name != name || asked.is_some_and(|asked| asked != device.profile_id()) {
                let (given, name) = (shown(&device.name), shown(name));
                let message = format!(
                    "{} made the device '{given}' otherwise than '{name}' was asked for",
                    account.url()
                );
                return Err(Error::new(ErrorCode::VerifyNotStored, message));
            }
            let held = account.credentials(&device, run.progress).await?;
            (Before::Nothing, device, held)
        }
    };
    match account.set_certificate(&held, leaf, run.progress).await {
        Ok(_) => Ok((before, device)),
        Err(error) => Err(used_elsewhere(error, leaf, run).await),
    }
}

/// A server that refuses a certificate says that some device has it, and not which. The ledger may know.
async fn used_elsewhere(mut error: Error, leaf: &Certificate, run: Run<'_>) -> Error {
    if error.code != ErrorCode::RestRefused || !error.message.contains("already assigned") {
        return error;
    }
    let id = leaf.credentials_id();
    let names = same_certificate(run, &id).await;
    let known = match names.as_slice() {
        [] => "the server does not say which".to_owned(),
        names => format!("the store has it for {} too", names.join(", ")),
    };
    error.message = format!(
        "another device at the server has this certificate (credentialsId {id}), {known}: {}",
        error.message
    );
    error.hint(Hint::CertificateElsewhere)
}

/// The other devices of the ledger with this certificate.
async fn same_certificate(run: Run<'_>, id: &str) -> Vec<String> {
    let devices = run.ledger.list().await.unwrap_or_default();
    let entries = devices.into_iter().filter_map(|(_, entry)| entry.ok());
    let same = entries.filter(|entry| entry.record.identity.credentials_id.as_deref() == Some(id));
    let names: Vec<_> = same.map(|entry| format!("'{}'", entry.shown_name())).collect();
    // The device itself is one of them.
    if names.len() > 1 { names } else { Vec::new() }
}

fn refused_in_spite(account: &Account, error: Error) -> Error {
    let message = format!(
        "{} has this certificate for the device, and the device is refused at connect: {}",
        account.url(),
        error.message
    );
    Error::new(ErrorCode::VerifyRefused, message).source(error).hint(Hint::OtherServerThanApi)
}

async fn proved(run: Run<'_>, lease: &Lease, entry: Entry) -> Result<Entry> {
    let reached = match entry.record.state() {
        State::Proved => return Ok(entry),
        State::Accepted => &[State::Proved][..],
        State::Staged | State::Sent => &[State::Accepted, State::Proved],
    };
    run.progress.begin(Step::Promote);
    let server = Some(&run.prover.dialer.server);
    let advance = Advance { which: Which::Current, reached, server, wishes: None, leaves: None };
    let entry = run.ledger.advance(lease, &entry, advance).await?;
    run.tell_state(&entry, State::Proved);
    Ok(entry)
}
