//! What proves an identity: a connect in which the server asked for the certificate and accepted it. The server must
//! also refuse an identity that it does not know.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use super::next::Connected;
use super::refusals::{Admitted, Attempt, Refusals};
use crate::dial::Dialer;
use crate::error::{Error, ErrorCode, Hint, Result, Step};
use crate::event::{Event, Progress};
use crate::exchange::Sessions;
use crate::identity::{
    BasicCredentials, Credentials, CredentialsType, Issue, Profile, Validity, X509Identity, issue,
};
use crate::keys::{KeyType, SoftwareKey};
use crate::mqtt::{Login, Session};
use crate::secret::Secret;

/// Characters of a generated token or password; ThingsBoard's own have 20.
pub(super) const SECRET_LENGTH: usize = 20;

/// What a connect proved.
#[derive(Debug, Clone, Copy)]
pub struct Proof {
    /// `TLSv1.2` or `TLSv1.3`.
    pub tls_version: &'static str,
    /// Whether the device's certificate was asked for and presented; false for credentials without one.
    pub mutual_tls: bool,
}

/// Why a connect proves nothing.
#[derive(Debug)]
pub struct Unproved {
    /// What is known in spite of the failure.
    pub connected: Connected,
    /// The failure.
    pub error: Error,
}

/// Asks one server, and proves identities there. It finds out once per kind of credentials whether the server refuses
/// an identity that it does not know.
#[derive(Debug)]
pub struct Prover {
    /// Dials the server.
    pub dialer: Arc<Dialer>,
    /// Where provision requests go.
    pub(super) sessions: Sessions,
    strangers: Mutex<Strangers>,
    /// How often a throw-away identity was tried.
    tries: AtomicU64,
    refusals: Refusals,
}

/// What became of throw-away identities.
#[derive(Debug, Default)]
struct Strangers {
    /// The kinds of credentials of which one was refused.
    refused: Vec<CredentialsType>,
    /// The last failure that says nothing.
    failed: Option<(ErrorCode, String, Option<Hint>)>,
}

impl Prover {
    /// Proves at the server of `dialer`. Each provision request has a connection of its own.
    pub fn new(dialer: Arc<Dialer>) -> Self {
        Self {
            sessions: Sessions::single(Arc::clone(&dialer)),
            dialer,
            strangers: Mutex::default(),
            tries: AtomicU64::new(0),
            refusals: Refusals::new(false),
        }
    }

    /// The same for many devices on one runtime: their requests share connections, one after the other.
    /// [`Prover::close`] ends them. And it never makes so many wrong logins, without a good one between them, that the
    /// server would block this machine's address.
    pub fn of_many(dialer: Arc<Dialer>) -> Self {
        let sessions = Sessions::kept(Arc::clone(&dialer));
        Self { sessions, refusals: Refusals::new(true), ..Self::new(dialer) }
    }

    /// Closes the connections that wait for the next request, in order.
    pub async fn close(&self) {
        self.sessions.close().await;
    }

    /// Connects with `credentials` and leaves again.
    ///
    /// Unless an answer of this run vouches for (confirms) the identity, the server must first refuse a throw-away
    /// identity of the same kind. That one comes first because a good login resets ThingsBoard's count of wrong logins.
    /// A prover [of many](Self::of_many) may connect first with credentials that were accepted before.
    ///
    /// # Errors
    /// What is known about the identity, with the failure: those of [`Session::open`], `verify/not-asked`,
    /// `verify/anonymous`.
    pub async fn connect(
        &self,
        credentials: &Credentials,
        vouched: bool,
        progress: &Progress,
    ) -> Result<Proof, Unproved> {
        let progress = progress.within(Step::Verify);
        if vouched {
            let attempt = self.refusals.expected();
            return self.prove(credentials, attempt, &progress).await;
        }
        self.refuses_strangers(credentials.credentials_type(), &progress).await?;
        self.prove_doubtful(credentials, false, &progress).await
    }

    /// As [`Prover::connect`] where nothing vouches for the identity, and the connect itself shall register it.
    ///
    /// # Errors
    /// Those of [`Prover::connect`].
    pub async fn register(&self, credentials: &Credentials, progress: &Progress) -> Result<Proof, Unproved> {
        let progress = progress.within(Step::Verify);
        self.refuses_strangers(credentials.credentials_type(), &progress).await?;
        self.prove_doubtful(credentials, true, &progress).await
    }

    /// Connects once the server may see another wrong login; makes a good one first where that is needed.
    async fn prove_doubtful(
        &self,
        credentials: &Credentials,
        registers: bool,
        progress: &Progress,
    ) -> Result<Proof, Unproved> {
        loop {
            match self.refusals.doubtful(registers).await {
                Admitted::Login(attempt) => return self.prove(credentials, attempt, progress).await,
                Admitted::Known(attempt, known) => {
                    let proved = self.prove(&known, attempt, &progress.unheard()).await;
                    match proved {
                        Err(unproved) if unproved.connected != Connected::Refused => {
                            return Err(before(unproved, "credentials that were accepted before"));
                        }
                        // Where they are refused, they are not known any more.
                        _ => {}
                    }
                }
            }
        }
    }

    async fn prove(
        &self,
        credentials: &Credentials,
        attempt: Attempt<'_>,
        progress: &Progress,
    ) -> Result<Proof, Unproved> {
        let session = match open(&self.dialer, credentials, progress).await {
            Ok(session) => session,
            Err(unproved) => {
                attempt.ended(unproved.connected, credentials);
                return Err(unproved);
            }
        };
        attempt.ended(Connected::Accepted, credentials);
        let proof = Proof { tls_version: session.tls_version(), mutual_tls: session.certificate_presented() };
        session.close().await;
        progress.event(&Event::Proved);
        Ok(proof)
    }

    /// Finds out, once, whether the server refuses an unknown identity of this kind.
    ///
    /// # Errors
    /// `verify/anonymous` when it does not; what kept it from being found out.
    pub async fn refuses_strangers(
        &self,
        kind: CredentialsType,
        progress: &Progress,
    ) -> Result<(), Unproved> {
        let tries = self.tries.load(Ordering::Relaxed);
        let mut strangers = self.strangers.lock().await;
        if strangers.refused.contains(&kind) {
            return Ok(());
        }
        // Another one tried while this one waited: the same would happen again.
        if let Some((code, message, hint)) = &strangers.failed
            && self.tries.load(Ordering::Relaxed) > tries
        {
            let mut error = Error::new(*code, message.clone());
            error.hint.clone_from(hint);
            return Err(Unproved { connected: Connected::Unclear, error });
        }
        self.tries.fetch_add(1, Ordering::Relaxed);
        let stranger = stranger(kind).map_err(|error| Unproved { connected: Connected::Unclear, error })?;
        let attempt = self.refusals.expected();
        let unproved = match open(&self.dialer, &stranger, &progress.unheard()).await {
            Ok(session) => {
                session.close().await;
                Unproved { connected: Connected::Anonymous, error: self.anonymous(kind) }
            }
            Err(unproved) => unproved,
        };
        match unproved.connected {
            Connected::Refused => {
                attempt.ended(Connected::Refused, &stranger);
                strangers.refused.push(kind);
                progress.event(&Event::StrangerRefused);
                Ok(())
            }
            Connected::Unclear => {
                let unproved = before(unproved, "throw-away credentials");
                let Error { code, message, hint, .. } = &unproved.error;
                strangers.failed = Some((*code, message.clone(), hint.clone()));
                Err(unproved)
            }
            _ => Err(unproved),
        }
    }

    fn anonymous(&self, kind: CredentialsType) -> Error {
        let what = match kind {
            CredentialsType::X509 => "a certificate",
            CredentialsType::AccessToken => "an access token",
            CredentialsType::MqttBasic => "a user name and password",
        };
        let message = format!(
            "{} accepts {what} that was made up for this test, so that a connect proves nothing",
            self.dialer.server
        );
        Error::new(ErrorCode::VerifyAnonymous, message)
    }
}

/// The failure came before the device's own identity was tried.
fn before(mut unproved: Unproved, with: &str) -> Unproved {
    unproved.error.message =
        format!("{} (at a connect with {with}, which comes first)", unproved.error.message);
    unproved
}

async fn open(dialer: &Dialer, credentials: &Credentials, progress: &Progress) -> Result<Session, Unproved> {
    Session::open(dialer, &Login::Device(credentials), progress).await.map_err(|error| {
        let connected = match error.code {
            ErrorCode::VerifyNotAsked => Connected::NotAsked,
            code if code.refuses_identity() => Connected::Refused,
            _ => Connected::Unclear,
        };
        Unproved { connected, error }
    })
}

/// Credentials that no server knows.
fn stranger(kind: CredentialsType) -> Result<Credentials> {
    let text = || Secret::random(SECRET_LENGTH);
    Ok(match kind {
        CredentialsType::X509 => {
            let key = SoftwareKey::generate(KeyType::EcP256)?;
            let name = text()?;
            let made = issue(&Issue {
                name: name.expose(),
                profile: &Profile::Device,
                validity: Validity::days(1),
                key: &key,
                issuer: None,
            })?;
            Credentials::X509(X509Identity { leaf: made.leaf, intermediates: Vec::new(), key: Arc::new(key) })
        }
        CredentialsType::AccessToken => Credentials::AccessToken(text()?),
        CredentialsType::MqttBasic => Credentials::MqttBasic(BasicCredentials {
            client_id: text()?.expose().to_owned(),
            user_name: text()?.expose().to_owned(),
            password: text()?,
        }),
    })
}
