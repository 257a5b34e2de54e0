//! Looks at a server step by step, and at the store. It sends no secret: at most a CONNECT as `provision`,
//! which needs none, and one with a saved identity.

use std::fmt::Write as _;

use time::OffsetDateTime;

use crate::clock;
use crate::device::State;
use crate::dial::Dialer;
use crate::error::{Error, ErrorCode, Result, Step};
use crate::event::Progress;
use crate::identity::{Certificate, Credentials};
use crate::ledger::{Entry, Ledger, Which};
use crate::mqtt::{Login, Session};
use crate::tls::{SOON, Trust, TrustSource};

/// The name of the check of a saved identity.
const IDENTITY: &str = "identity";

/// What one step found.
#[derive(Debug)]
pub enum Finding {
    /// It works; the text says what was seen.
    Passed(String),
    /// It works, and something deserves attention.
    Warning(String),
    /// A device that is not proved yet, and its state.
    Unfinished(String),
    /// A device whose rotation is not finished; its name.
    Rotating(String),
    /// It does not work, and why.
    Failed(Error),
    /// It is not there, and not everybody needs it.
    Absent(String),
    /// It was not tried, because an earlier step failed.
    Skipped,
    /// It is never looked at on this system; the text says what to look at.
    Unchecked(String),
}

/// One step and what it found.
#[derive(Debug)]
pub struct Check {
    /// The step's name, such as `tls`.
    pub name: &'static str,
    /// What it found.
    pub finding: Finding,
}

/// The steps towards a server, in order. Each check has its step's name.
pub const SERVER_STEPS: &[Step] = &[Step::Resolve, Step::Tcp, Step::Tls, Step::Connect];

/// Walks from name resolution to CONNACK and tells each step's finding; then when the file's certificates end.
pub async fn check_server(dialer: &Dialer, identity: Option<&Credentials>, mut tell: impl FnMut(Check)) {
    check_steps(dialer, identity, &mut tell).await;
    if let Some(finding) = believed(&dialer.server.trust) {
        tell(Check { name: "server-cert", finding });
    }
}

async fn check_steps(dialer: &Dialer, identity: Option<&Credentials>, tell: &mut impl FnMut(Check)) {
    let progress = Progress::silent();
    let walked =
        walk(dialer, &progress, |finding| tell(Check { name: progress.step().as_str(), finding })).await;
    if let Err(error) = walked {
        let failed = progress.step();
        tell(Check { name: failed.as_str(), finding: Finding::Failed(error.stamped(failed)) });
        let rest = SERVER_STEPS.iter().skip_while(|step| **step != failed).skip(1);
        rest.for_each(|step| tell(Check { name: step.as_str(), finding: Finding::Skipped }));
        if identity.is_some() {
            tell(Check { name: IDENTITY, finding: Finding::Skipped });
        }
        return;
    }
    if let Some(identity) = identity {
        tell(Check { name: IDENTITY, finding: try_identity(dialer, identity).await });
    }
}

/// When the certificates of the file end. One that has ended is no harm beside one that has not.
fn believed(trust: &Trust) -> Option<Finding> {
    let TrustSource::File(file) = &trust.source else { return None };
    let now = clock::now();
    let count = match trust.certificates.as_slice() {
        [one] => format!("one certificate, valid to {}", one.validity.not_after.date()),
        several => format!("{} certificates", several.len()),
    };
    let ending = trust.certificates.iter().filter_map(|certificate| end_of(certificate, now));
    let said: Vec<String> = std::iter::once(count).chain(ending).collect();
    let said = format!("{}: {}", crate::text::shown_path(file), said.join("; "));
    Some(if trust.ends_soon(now).is_some() { Finding::Warning(said) } else { Finding::Passed(said) })
}

fn end_of(certificate: &Certificate, now: OffsetDateTime) -> Option<String> {
    let (subject, end) = (&certificate.subject, certificate.validity.not_after);
    match (end - now).whole_days() {
        _ if end < now => Some(format!("'{subject}' has ended on {}", end.date())),
        days if end - now < SOON => Some(format!("'{subject}' ends in {days} days, on {}", end.date())),
        _ => None,
    }
}

/// Begins each step, and tells its finding before the next one begins.
async fn walk(dialer: &Dialer, progress: &Progress, mut passed: impl FnMut(Finding)) -> Result<()> {
    progress.begin(Step::Resolve);
    let addresses = dialer.resolve().await?;
    let listed: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    passed(Finding::Passed(resolved(dialer, &listed.join(", "))));

    progress.begin(Step::Tcp);
    let stream = dialer.open_tcp(&addresses).await?;
    let address =
        stream.peer_addr().map_or_else(|_| dialer.server.to_string(), |address| address.to_string());
    passed(Finding::Passed(match &dialer.proxy {
        Some(proxy) => format!("connected to {} through the proxy {proxy} ({address})", dialer.server),
        None => format!("connected to {address}"),
    }));

    progress.begin(Step::Tls);
    let link = match dialer.start_tls(stream, None).await {
        Ok(link) => link,
        Err(error) if is_distrust(&error) => return Err(with_what_is_presented(error, dialer).await),
        Err(error) => return Err(error),
    };
    let leaf = link.stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).cloned();
    let leaf = leaf.and_then(|der| Certificate::from_der(der.into_owned(), "the server").ok());
    passed(authenticated(link.tls_version, leaf.as_ref()));

    progress.begin(Step::Connect);
    Session::over(link, dialer, &Login::Provision).await?.close().await;
    passed(Finding::Passed("CONNACK 0: the server takes provisioning requests".to_owned()));
    Ok(())
}

/// A proxy resolves the server's name itself.
fn resolved(dialer: &Dialer, addresses: &str) -> String {
    let host = &dialer.server.host;
    match &dialer.proxy {
        Some(proxy) => format!("the proxy {} is {addresses}; it resolves {host} itself", proxy.host()),
        None => format!("{host} is {addresses}"),
    }
}

/// Connects with a saved identity: a server that does not ask for its certificate cannot know it.
async fn try_identity(dialer: &Dialer, identity: &Credentials) -> Finding {
    match Session::open(dialer, &Login::Device(identity), &Progress::silent()).await {
        Ok(session) => {
            session.close().await;
            Finding::Passed("the server accepts the saved identity (CONNACK 0)".to_owned())
        }
        Err(error) => Finding::Failed(error.stamped(Step::Verify)),
    }
}

fn authenticated(version: &str, leaf: Option<&Certificate>) -> Finding {
    let Some(leaf) = leaf else { return Finding::Passed(format!("{version}, the server is authenticated")) };
    let seen = format!("{version}, '{}' is authenticated (SHA-256 {})", leaf.subject, leaf.sha256());
    match days_left(leaf) {
        days if days < SOON.whole_days() => Finding::Warning(format!("{seen}; it expires in {days} days")),
        _ => Finding::Passed(seen),
    }
}

const fn is_distrust(error: &Error) -> bool {
    matches!(error.code, ErrorCode::TlsUntrusted | ErrorCode::TlsExpired | ErrorCode::TlsName)
}

/// An untrusted server's certificate is worth seeing: it tells which file would be the right one.
async fn with_what_is_presented(mut error: Error, dialer: &Dialer) -> Error {
    if let Ok(presented) = dialer.peer_certificates(&Progress::silent()).await
        && let Some(leaf) = presented.leaf()
    {
        let names = if leaf.names.is_empty() { "none".to_owned() } else { leaf.names.join(", ") };
        let _ = write!(
            error.message,
            "; presented: '{}' (names: {names}; valid to {}; SHA-256 {})",
            leaf.subject,
            leaf.validity.not_after.date(),
            leaf.sha256()
        );
    }
    error
}

/// Looks at every device of the store.
pub async fn check_store(ledger: &dyn Ledger, mut tell: impl FnMut(Check)) {
    let entries = match ledger.list().await {
        Ok(entries) => entries,
        Err(error) => return tell(Check { name: "store", finding: Finding::Failed(error) }),
    };
    let (store, count) = (ledger.shown(), entries.len());
    let summary = match count {
        0 => format!("{store} has no device yet"),
        1 => format!("{store} has one device"),
        count => format!("{store} has {count} devices"),
    };
    tell(Check { name: "store", finding: Finding::Passed(summary) });
    for (_, entry) in entries {
        let finding = match entry {
            Ok(entry) => look_at(&entry, ledger).await.unwrap_or_else(Finding::Failed),
            Err(error) => Finding::Failed(error),
        };
        tell(Check { name: "device", finding });
    }
}

async fn look_at(entry: &Entry, ledger: &dyn Ledger) -> Result<Finding> {
    let credentials = ledger.key(entry, Which::Current).await?.open(&entry.place())?;
    if let Some(name) = entry.rotation() {
        return Ok(Finding::Rotating(name));
    }
    let name = entry.shown_name();
    let server_ends = ledger.trust(entry).await?.ends_soon(clock::now());
    let days = credentials.x509().map(|identity| days_left(&identity.leaf));
    let has_ended =
        credentials.x509().is_some_and(|identity| identity.leaf.validity.not_after < clock::now());
    Ok(match (entry.record.state(), days) {
        _ if has_ended => Finding::Warning(format!("{name}: its certificate has expired")),
        (_, Some(days)) if days < SOON.whole_days() => {
            Finding::Warning(format!("{name}: its certificate expires in {days} days"))
        }
        (State::Proved, _) if server_ends.is_some() => {
            Finding::Warning(format!("{name}: {}", server_ends.unwrap_or_default()))
        }
        (State::Proved, _) => Finding::Passed(format!("{name}: proved")),
        (state, _) => Finding::Unfinished(format!("{name}: {}", state.as_str())),
    })
}

fn days_left(certificate: &Certificate) -> i64 {
    (certificate.validity.not_after - clock::now()).whole_days()
}
