//! Replaces a device's identity by a new one. [`next::candidate`](super::next::candidate) decides the order; the table is
//! there.
//!
//! The candidate is on the disk, and the record says `sent`, before the server is told of it. Until the server was told,
//! the current identity works; from then until the promotion, only the candidate does.

mod back;
mod tell;
mod turn;

use std::time::Duration;

use super::fresh::Fresh;
use super::identity::{NewIdentity as Wanted, new_identity};
use super::is_same_identity;
use super::next::Switch;
use super::plan::DEFAULT_DAYS;
use super::prove::Proof;
use super::run::Run;
use crate::device::State;
use crate::error::{Error, ErrorCode, Hint, Result, Step};
use crate::event::Event;
use crate::identity::{CredentialsType, Profile, Validity, X509Identity};
use crate::keys::KeyType;
use crate::ledger::{Entry, Lease, NewIdentity, Record, Subject, Which, changed};
use crate::rest::Account;
use turn::Turn;

pub use back::{discard, roll_back};

/// How long the server may take until it accepts a certificate that it was told of.
pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(15);

/// How identities are replaced. Server and ledger are those of the [`Run`].
#[derive(Debug, Default)]
pub struct RotatePlan {
    /// The new key's type; else that of the current one.
    pub key_type: Option<KeyType>,
    /// Days that the new certificate is valid; else [`DEFAULT_DAYS`].
    pub days: Option<u32>,
    /// Who issues the new certificate; none for a self-signed one. A device that registers at connect needs it.
    pub issuer: Option<X509Identity>,
    /// Who tells the server; without, and where the connect does not, somebody does it by hand.
    pub account: Option<Account>,
    /// How long to try until the server accepts the new certificate: else [`DEFAULT_PATIENCE`], and not at all where
    /// somebody tells it by hand.
    pub patience: Option<Duration>,
    /// Whether an identity is replaced that a board carries.
    pub flashed: bool,
}

impl RotatePlan {
    /// How the server learns of the candidate of the device with this record.
    pub const fn switch(&self, record: &Record) -> Switch {
        Self::switch_of(record, self.account.is_some())
    }

    /// The same, for a plan that has an account or not.
    pub const fn switch_of(record: &Record, has_account: bool) -> Switch {
        match (record.wishes.registers_at_connect, has_account) {
            (true, _) => Switch::AtConnect,
            (false, true) => Switch::Account,
            (false, false) => Switch::ByHand,
        }
    }

    /// Whether the device's identity can be replaced, and may be.
    ///
    /// # Errors
    /// `usage/conflict` for credentials without a certificate, `store/not-proved`, `rotate/on-a-board`.
    pub fn check(&self, entry: &Entry) -> Result<()> {
        check(self, entry).map_err(|error| error.stamped(Step::Rotate))
    }
}

/// How a rotation ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotateOutcome {
    /// The device has a new identity.
    Rotated,
    /// It has the one that an earlier run had begun with.
    Recovered,
    /// The new certificate waits until the server is told of it by hand.
    Waiting,
    /// The previous identity is the device's again, or the candidate was given up.
    RolledBack,
    /// The previous identity was deleted.
    Discarded,
    /// Nothing was to be done.
    NotNeeded,
}

impl RotateOutcome {
    /// The word in results.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rotated => "rotated",
            Self::Recovered => "recovered",
            Self::Waiting => "waiting",
            Self::RolledBack => "rolled-back",
            Self::Discarded => "discarded",
            Self::NotNeeded => "not-needed",
        }
    }
}

/// A device after a rotation.
#[derive(Debug)]
pub struct Rotated {
    /// How it ended.
    pub outcome: RotateOutcome,
    /// The device.
    pub entry: Entry,
    /// The connect that proved the new identity, where there was one.
    pub proof: Option<Proof>,
    /// What the device waits for, where it does.
    pub awaited: Option<Awaited>,
}

/// What somebody has to give the server.
#[derive(Debug)]
pub struct Awaited {
    /// Whose certificate it is.
    pub which: Which,
    /// The certificate, PEM.
    pub certificate: String,
    /// Whether a way back goes on with it, and not a rotation.
    pub is_way_back: bool,
}

impl Rotated {
    const fn without_proof(outcome: RotateOutcome, entry: Entry) -> Self {
        Self { outcome, entry, proof: None, awaited: None }
    }
}

/// Gives the device a new identity, or finishes what an earlier run began. Safe to repeat, and to drop at any point.
///
/// # Errors
/// Any [`ErrorCode`], at the step that was reached. What is on disk stays, and a rerun continues from there.
pub async fn rotate(plan: &RotatePlan, entry: &Entry, run: Run<'_>) -> Result<Rotated> {
    let progress = run.progress.about(entry.id.clone());
    let run = Run { progress: &progress, ..run };
    run.stamped(begin(plan, entry, run)).await
}

async fn begin(plan: &RotatePlan, entry: &Entry, run: Run<'_>) -> Result<Rotated> {
    let (lease, found) = take(entry, run).await?;
    if !is_same_identity(&found, entry) {
        run.progress.warn(format!("another tbprov rotated '{}' meanwhile", found.shown_name()));
        return Ok(Rotated::without_proof(RotateOutcome::NotNeeded, found));
    }
    check(plan, &found)?;
    let entry = stage(plan, run, &lease, found).await?;
    Turn::new(plan, run, lease, entry).await?.finish().await
}

/// The device for this run alone, as it is from then on.
async fn take(entry: &Entry, run: Run<'_>) -> Result<(Lease, Entry)> {
    run.progress.begin(Step::Stage);
    let subject = Subject::Named(entry.shown_name());
    let lease = run.lease(subject).await?;
    run.progress.begin(Step::Rotate);
    let found = run.ledger.find(subject).await?.ok_or_else(|| changed(entry))?;
    Ok((lease, found))
}

fn check(plan: &RotatePlan, entry: &Entry) -> Result<()> {
    let (record, name) = (&entry.record, entry.shown_name().to_owned());
    let identity = &record.identity;
    if identity.credentials_type != CredentialsType::X509 {
        let message =
            format!("'{name}' has credentials of type {}, not a certificate", identity.credentials_type);
        return Err(Error::new(ErrorCode::UsageConflict, message).hint(Hint::OnlyCertificates(name)));
    }
    if identity.state != State::Proved {
        let message = format!("'{name}' is {}, not proved", identity.state.as_str());
        return Err(Error::new(ErrorCode::StoreNotProved, message).hint(Hint::ProveBefore(name)));
    }
    match &identity.flashed {
        Some(board) if !plan.flashed && entry.rotation().is_none() => {
            let message = format!("a board carries the identity of '{name}': {} {}", board.chip, board.mac);
            let error = Error::new(ErrorCode::RotateOnABoard, message);
            Err(if record.wishes.registers_at_connect { error.hint(Hint::BoardTakesBack) } else { error })
        }
        _ => Ok(()),
    }
}

/// Makes the candidate, unless an earlier run left one that is as it shall be, or that the server may know.
async fn stage(plan: &RotatePlan, run: Run<'_>, lease: &Lease, mut entry: Entry) -> Result<Entry> {
    if let Some(candidate) = &entry.record.candidate {
        let state = candidate.identity.state;
        if state != State::Staged || fits(plan, run, &entry).await? {
            run.progress.event(&Event::IdentityFound { state });
            return Ok(entry);
        }
        // The server does not know it.
        entry = run.ledger.roll_back(lease, &entry).await?;
    }
    let current = x509(run, &entry, Which::Current).await?;
    let key_type = plan.key_type.unwrap_or_else(|| current.key.key_type());
    if entry.record.wishes.registers_at_connect && plan.issuer.is_none() {
        let message = format!(
            "'{}' registers at connect: only its authority issues it a certificate",
            entry.shown_name()
        );
        return Err(Error::new(ErrorCode::UsageMissing, message).hint(Hint::GiveAuthority));
    }
    run.progress.begin(Step::Identity);
    let wanted = Wanted {
        name: current.leaf.common_name.as_deref().unwrap_or(entry.shown_name()),
        profile: &Profile::Device,
        days: plan.days.unwrap_or(DEFAULT_DAYS),
        key_type,
        issuer: plan.issuer.as_ref(),
    };
    let Fresh { kept, credentials } = Fresh::from(new_identity(&wanted, run.progress).await?);
    run.progress.begin(Step::Stage);
    let new = NewIdentity { kept: &kept, credentials: &credentials };
    let entry = run.ledger.stage_next(lease, &entry, new, State::Staged).await?;
    run.tell_state(&entry, State::Staged);
    Ok(entry)
}

/// Whether the candidate that an earlier run left is what the plan asks for.
async fn fits(plan: &RotatePlan, run: Run<'_>, entry: &Entry) -> Result<bool> {
    let names = [&entry.record.candidate, &entry.record.previous]
        .map(|named| named.as_ref().map(|named| &named.name));
    if names[0] == names[1] {
        return Ok(false);
    }
    let candidate = x509(run, entry, Which::Candidate).await?;
    let asked = Validity::days(plan.days.unwrap_or(DEFAULT_DAYS));
    let held = candidate.leaf.validity;
    let differs = (held.not_after - held.not_before) - (asked.not_after - asked.not_before);
    let key_type = plan.key_type.or(entry.record.identity.key_type);
    let above = candidate.intermediates.first();
    let is_issued = match &plan.issuer {
        Some(issuer) => above == Some(&issuer.leaf),
        None => above.is_some() == entry.record.wishes.registers_at_connect,
    };
    Ok(Some(candidate.key.key_type()) == key_type
        && is_issued
        && candidate.leaf.check_dates("").is_ok()
        // The end of an authority may have come first.
        && (above.is_some() || differs.whole_days() == 0))
}

/// One of the device's identities, opened.
async fn x509(run: Run<'_>, entry: &Entry, which: Which) -> Result<X509Identity> {
    let credentials = run.ledger.key(entry, which).await?.open(&entry.place())?;
    credentials.x509().cloned().ok_or_else(|| {
        let message = format!("the {which:?} identity of {} is no certificate", entry.place());
        Error::new(ErrorCode::StoreCorrupt, message)
    })
}
