//! What proves an identity: a connect in which the server asked for the certificate and accepted it. The server must
//! also refuse an identity that it does not know.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::next::Connected;
use crate::dial::Dialer;
use crate::error::{Error, ErrorCode, Result, Step};
use crate::event::{Event, Progress};
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

/// Proves identities at one server. It finds out once per kind of credentials whether the server refuses an identity
/// that it does not know.
#[derive(Debug)]
pub struct Prover {
    /// Dials the server.
    pub dialer: Arc<Dialer>,
    /// The kinds of credentials of which a throw-away one was refused.
    refused: Mutex<Vec<CredentialsType>>,
}

impl Prover {
    /// Proves at the server of `dialer`.
    pub fn new(dialer: Arc<Dialer>) -> Self {
        Self { dialer, refused: Mutex::default() }
    }

    /// Connects with `credentials` and leaves again.
    ///
    /// Unless an answer of this run vouches for (confirms) the identity, the server must first refuse a throw-away
    /// identity of the same kind. That one comes first because a good login resets ThingsBoard's count of wrong logins.
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
        if !vouched {
            self.refuses_strangers(credentials.credentials_type(), &progress).await?;
        }
        let session = open(&self.dialer, credentials, &progress).await?;
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
        let mut refused = self.refused.lock().await;
        if refused.contains(&kind) {
            return Ok(());
        }
        let stranger = stranger(kind).map_err(|error| Unproved { connected: Connected::Unclear, error })?;
        let unproved = match open(&self.dialer, &stranger, &progress.unheard()).await {
            Ok(session) => {
                session.close().await;
                Unproved { connected: Connected::Anonymous, error: self.anonymous(kind) }
            }
            Err(unproved) => unproved,
        };
        match unproved.connected {
            Connected::Refused => {
                refused.push(kind);
                progress.event(&Event::StrangerRefused);
                Ok(())
            }
            Connected::Unclear => Err(before(unproved)),
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
fn before(mut unproved: Unproved) -> Unproved {
    unproved.error.message =
        format!("{} (at a connect with throw-away credentials, which comes first)", unproved.error.message);
    unproved
}

async fn open(dialer: &Dialer, credentials: &Credentials, progress: &Progress) -> Result<Session, Unproved> {
    Session::open(dialer, &Login::Device(credentials), progress).await.map_err(|error| {
        let connected = match error.code {
            ErrorCode::VerifyNotAsked => Connected::NotAsked,
            // CONNACK 5 (or 4), or up to ThingsBoard 3.4 a TLS alert after the certificate was presented.
            ErrorCode::ServerNotAuthorized | ErrorCode::TlsClientCertificate => Connected::Refused,
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
