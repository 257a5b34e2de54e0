//! What authenticates a device's server from now on: for a server whose certificate is renewed.

use super::is_same_identity;
use crate::dial::Dialer;
use crate::error::{Error, ErrorCode, Hint, Result, Step};
use crate::event::Progress;
use crate::identity::Certificate;
use crate::ledger::{Advance, Entry, Lease, Ledger, Subject, Which, changed, wait_for};
use crate::server::Server;
use crate::tls::{Trust, TrustSource};

/// A change of the certificates that a device believes.
#[derive(Debug, Clone)]
pub struct TrustPlan {
    /// What is believed from now on, and where it comes from; none to take some away.
    pub add: Option<Trust>,
    /// Whether those of before go: all of them where there are new ones, else those by which the server cannot be
    /// authenticated any more.
    pub remove_old: bool,
    /// Whether a connection has to prove the new ones first.
    pub prove: bool,
}

/// What a device believes after a change.
#[derive(Debug)]
pub struct Believed {
    /// The device.
    pub entry: Entry,
    /// The certificates.
    pub certificates: Vec<Certificate>,
    /// Those that it does not believe any more.
    pub removed: Vec<Certificate>,
}

/// Changes what `entry` believes. `dialer` goes to its server.
///
/// # Errors
/// Those of a connection that does not authenticate the server, where it shall; `usage/conflict` for a change that
/// leaves nothing to believe; those of the ledger.
pub async fn believe(
    plan: &TrustPlan,
    entry: &Entry,
    dialer: &Dialer,
    ledger: &dyn Ledger,
    progress: &Progress,
) -> Result<Believed> {
    progress.begin(Step::Stage);
    let subject = Subject::Named(entry.shown_name());
    let lease = wait_for(ledger, subject, progress).await?;
    let found = ledger.find(subject).await?.filter(|found| is_same_identity(found, entry));
    let entry = found.ok_or_else(|| changed(entry))?;
    let held = ledger.trust(&entry).await?;
    let before = held.certificates.clone();
    progress.begin(Step::Verify);
    let trust = match &plan.add {
        Some(new) => with_new(plan, held, new, dialer, progress).await?,
        None => without_old(held, dialer, progress).await?,
    };
    progress.begin(Step::Stage);
    let certificates = trust.certificates.clone();
    let server = Server { host: entry.record.host.clone(), port: entry.record.port, trust: trust.into() };
    let entry = record(ledger, &lease, &entry, &server).await?;
    let removed = before.into_iter().filter(|held| !certificates.contains(held)).collect();
    Ok(Believed { entry, certificates, removed })
}

/// The old and the new ones, once the new ones are proved.
async fn with_new(
    plan: &TrustPlan,
    held: Trust,
    new: &Trust,
    dialer: &Dialer,
    progress: &Progress,
) -> Result<Trust> {
    let new = Trust::from_certificates(new.certificates.clone(), new.source.clone(), held.skip_name_check);
    if plan.prove {
        dialer.believing(new.clone()).dial(None, progress).await.map_err(|error| match error.code {
            ErrorCode::TlsUntrusted => error.hint(Hint::NotPresentedYet),
            _ => error,
        })?;
    } else if held.source == TrustSource::System {
        let message =
            "the device believes the system's authorities, which a file replaces: it has to be proved";
        return Err(Error::new(ErrorCode::UsageConflict, message).hint(Hint::ProveFirst));
    }
    if held.source == TrustSource::System {
        progress.warn(
            "the device believed the system's authorities, and now believes the given certificates alone",
        );
    }
    let mut certificates = if plan.remove_old { Vec::new() } else { held.certificates };
    for certificate in new.certificates {
        if !certificates.contains(&certificate) {
            certificates.push(certificate);
        }
    }
    Ok(Trust::from_certificates(certificates, new.source, held.skip_name_check))
}

/// Those by each of which alone the server is authenticated now.
async fn without_old(held: Trust, dialer: &Dialer, progress: &Progress) -> Result<Trust> {
    let TrustSource::File(_) = held.source else {
        let message = "the device believes the system's authorities: there is no certificate to take away";
        return Err(Error::new(ErrorCode::UsageConflict, message).hint(Hint::NothingToRemove));
    };
    let mut kept = Vec::new();
    let mut refused = None;
    for certificate in held.certificates {
        let alone =
            Trust::from_certificates(vec![certificate.clone()], held.source.clone(), held.skip_name_check);
        match dialer.believing(alone).dial(None, progress).await {
            Ok(_) => kept.push(certificate),
            Err(error) if is_about_the_certificate(&error) => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    match refused {
        // None authenticates the server, which then is the wrong one, or has one that was never added.
        Some(error) if kept.is_empty() => Err(error),
        _ => Ok(Trust::from_certificates(kept, held.source, held.skip_name_check)),
    }
}

fn is_about_the_certificate(error: &Error) -> bool {
    matches!(error.code, ErrorCode::TlsUntrusted | ErrorCode::TlsExpired | ErrorCode::TlsName)
}

/// Compares the server's name again where an earlier run had to leave it unchecked: a run that does not need that takes
/// it back. What keeps it from being taken back is no failure of the run.
pub async fn check_name_again(
    entry: Entry,
    dialer: &Dialer,
    ledger: &dyn Ledger,
    progress: &Progress,
) -> Entry {
    if !(entry.record.skip_name_check && dialer.server.is_at(&entry.record.host, entry.record.port)) {
        return entry;
    }
    match try_to_check_name(&entry, dialer, ledger, progress).await {
        Ok(checked) => checked.unwrap_or(entry),
        Err(error) => {
            progress.warn(format!("the record still skips the name check: {}", error.message));
            entry
        }
    }
}

async fn try_to_check_name(
    entry: &Entry,
    dialer: &Dialer,
    ledger: &dyn Ledger,
    progress: &Progress,
) -> Result<Option<Entry>> {
    let mut strict = ledger.trust(entry).await?;
    strict.skip_name_check = false;
    let strict = dialer.believing(strict);
    if strict.dial(None, &progress.unheard()).await.is_err() {
        return Ok(None);
    }
    let subject = Subject::Named(entry.shown_name());
    let lease = wait_for(ledger, subject, progress).await?;
    match ledger.find(subject).await?.filter(|found| is_same_identity(found, entry)) {
        // What is believed may have been changed meanwhile.
        Some(found) if ledger.trust(&found).await?.certificates == strict.server.trust.certificates => {
            record(ledger, &lease, &found, &strict.server).await.map(Some)
        }
        found => Ok(found),
    }
}

async fn record(ledger: &dyn Ledger, lease: &Lease, entry: &Entry, server: &Server) -> Result<Entry> {
    let advance =
        Advance { which: Which::Current, reached: &[], server: Some(server), wishes: None, leaves: None };
    ledger.advance(lease, entry, advance).await
}
