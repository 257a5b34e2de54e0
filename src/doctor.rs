//! Looks at a server step by step, and at the store. It sends no secret: at most a CONNECT as `provision`,
//! which needs none, and one with a saved identity.

use crate::clock;
use crate::device::State;
use crate::dial::Dialer;
use crate::error::{Error, ErrorCode, Result, Step};
use crate::event::Progress;
use crate::identity::{Certificate, Credentials};
use crate::ledger::folder::Store;
use crate::mqtt::{Login, Session};
use crate::tls;

/// Days before a certificate's end from which it is worth a word.
const SOON: i64 = 30;

/// What one step found.
#[derive(Debug)]
pub enum Finding {
    /// It works; the text says what was seen.
    Passed(String),
    /// It works, and something deserves attention.
    Warning(String),
    /// It does not work, and why.
    Failed(Error),
    /// It is not there, and not everybody needs it.
    Absent(String),
    /// It was not tried, because an earlier step failed.
    Skipped,
}

/// One step and what it found.
#[derive(Debug)]
pub struct Check {
    /// The step's name, such as `tls`.
    pub name: &'static str,
    /// What it found.
    pub finding: Finding,
}

/// The steps towards a server, in order.
pub const SERVER_CHECKS: &[&str] = &["resolve", "tcp", "tls", "connect"];

/// Walks from name resolution to CONNACK and tells each step's finding.
pub async fn check_server(dialer: &Dialer, identity: Option<&Credentials>, mut tell: impl FnMut(Check)) {
    let mut passed = 0;
    let outcome = walk(dialer, |name, detail| {
        passed += 1;
        tell(Check { name, finding: detail });
    })
    .await;
    if let Err(error) = outcome {
        let mut rest = SERVER_CHECKS.iter().skip(passed);
        if let Some(name) = rest.next() {
            tell(Check { name, finding: Finding::Failed(error) });
        }
        rest.for_each(|name| tell(Check { name, finding: Finding::Skipped }));
        if identity.is_some() {
            tell(Check { name: "identity", finding: Finding::Skipped });
        }
        return;
    }
    let Some(identity) = identity else { return };
    let finding = match Session::open(dialer, &Login::Device(identity), &Progress::silent()).await {
        Ok(session) => {
            session.close().await;
            Finding::Passed("the server accepts the saved identity (CONNACK 0)".to_owned())
        }
        Err(error) => Finding::Failed(error.stamped(Step::Verify)),
    };
    tell(Check { name: "identity", finding });
}

async fn walk(dialer: &Dialer, mut passed: impl FnMut(&'static str, Finding)) -> Result<()> {
    let addresses = dialer.resolve().await?;
    let listed: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    passed("resolve", Finding::Passed(format!("{} is {}", dialer.server.host, listed.join(", "))));

    let stream = dialer.open_tcp(&addresses).await?;
    let address =
        stream.peer_addr().map_or_else(|_| dialer.server.to_string(), |address| address.to_string());
    passed("tcp", Finding::Passed(format!("connected to {address}")));

    let config = tls::client_config(&dialer.server.trust, None)?;
    let link = match dialer.start_tls(stream, config).await {
        Ok(link) => link,
        Err(error) if is_distrust(&error) => return Err(with_what_is_presented(error, dialer).await),
        Err(error) => return Err(error),
    };
    let leaf = link.stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).cloned();
    let leaf = leaf.and_then(|der| Certificate::from_der(der.into_owned(), "the server").ok());
    passed("tls", authenticated(link.tls_version, leaf.as_ref()));

    Session::over(link, dialer, &Login::Provision).await?.close().await;
    passed("connect", Finding::Passed("CONNACK 0: the server takes provisioning requests".to_owned()));
    Ok(())
}

fn authenticated(version: &str, leaf: Option<&Certificate>) -> Finding {
    let Some(leaf) = leaf else { return Finding::Passed(format!("{version}, the server is authenticated")) };
    let seen = format!("{version}, '{}' is authenticated (SHA-256 {})", leaf.subject, leaf.sha256());
    match days_left(leaf) {
        days if days < SOON => Finding::Warning(format!("{seen}; it expires in {days} days")),
        _ => Finding::Passed(seen),
    }
}

const fn is_distrust(error: &Error) -> bool {
    matches!(error.code, ErrorCode::TlsUntrusted | ErrorCode::TlsExpired | ErrorCode::TlsName)
}

/// An untrusted server's certificate is worth seeing: it tells which file would be the right one.
async fn with_what_is_presented(mut error: Error, dialer: &Dialer) -> Error {
    if let Ok((chain, _)) = dialer.peer_certificates().await
        && let Some(leaf) = chain.first()
    {
        let names = if leaf.names.is_empty() { "none".to_owned() } else { leaf.names.join(", ") };
        error.message = format!(
            "{}\n  presented: {} (names: {names}; valid to {}; SHA-256 {})",
            error.message,
            leaf.subject,
            leaf.validity.not_after.date(),
            leaf.sha256()
        );
    }
    error
}

/// Looks at every device of the store.
pub fn check_store(store: &Store, mut tell: impl FnMut(Check)) {
    let devices = match store.devices() {
        Ok(devices) => devices,
        Err(error) => return tell(Check { name: "store", finding: Finding::Failed(error) }),
    };
    let summary = match devices.len() {
        0 => format!("{} has no device yet", store.root().display()),
        1 => format!("{} has one device", store.root().display()),
        count => format!("{} has {count} devices", store.root().display()),
    };
    tell(Check { name: "store", finding: Finding::Passed(summary) });
    for (folder, device) in devices {
        let finding = match device.and_then(|device| Ok((device.credentials()?, device))) {
            Ok((credentials, device)) => look_at(&folder, &credentials, device.record.state),
            Err(error) => Finding::Failed(error),
        };
        tell(Check { name: "device", finding });
    }
}

fn look_at(folder: &str, credentials: &Credentials, state: State) -> Finding {
    let days = credentials.x509().map(|identity| days_left(&identity.leaf));
    match (state, days) {
        (_, Some(days)) if days < 0 => Finding::Warning(format!("{folder}: its certificate has expired")),
        (_, Some(days)) if days < SOON => {
            Finding::Warning(format!("{folder}: its certificate expires in {days} days"))
        }
        (State::Proved, _) => Finding::Passed(format!("{folder}: proved")),
        (state, _) => Finding::Warning(format!(
            "{folder}: {}; run 'tbprov provision' again to finish it",
            state.as_str()
        )),
    }
}

fn days_left(certificate: &Certificate) -> i64 {
    (certificate.validity.not_after - clock::now()).whole_days()
}
