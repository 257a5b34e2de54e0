//! What is known about a device: the content of its record. Documented in `docs/protocol.md`.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::serde::rfc3339;

use crate::clock;
use crate::device::State;
use crate::error::Hint;
use crate::identity::{Credentials, CredentialsType, sha256_hex};
use crate::keys::KeyType;
use crate::server::{Host, Server};
use crate::tls::TrustSource;

/// The `schema` of a device that was never rotated: what the previous release reads too.
pub const SCHEMA: &str = "tbprov-device/1";
/// The `schema` of a device whose identity has, or had, a successor.
pub const SCHEMA_ROTATED: &str = "tbprov-device/2";

/// Hex digits of an identity's fingerprint that name it.
const IDENTITY_DIGITS: usize = 12;

/// When each state was last reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// See [`State::Staged`].
    #[serde(with = "rfc3339::option", default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<OffsetDateTime>,
    /// See [`State::Sent`].
    #[serde(with = "rfc3339::option", default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<OffsetDateTime>,
    /// See [`State::Accepted`].
    #[serde(with = "rfc3339::option", default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<OffsetDateTime>,
    /// See [`State::Proved`].
    #[serde(with = "rfc3339::option", default, skip_serializing_if = "Option::is_none")]
    pub proved: Option<OffsetDateTime>,
}

/// One identity of a device, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityRecord {
    /// The kind of credentials.
    pub credentials_type: CredentialsType,
    /// ThingsBoard's id of the certificate, 64 hex digits; absent for other credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_id: Option<String>,
    /// The key's type; absent for credentials without a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_type: Option<KeyType>,
    /// The certificate's first valid instant.
    #[serde(with = "rfc3339::option", default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<OffsetDateTime>,
    /// The certificate's last valid instant.
    #[serde(with = "rfc3339::option", default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<OffsetDateTime>,
    /// How far this identity has come.
    pub state: State,
    /// When each state was reached.
    #[serde(default)]
    pub reached: Times,
    /// The chip that has this identity in its flash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flashed: Option<Flashed>,
}

impl IdentityRecord {
    /// An identity with these credentials that is in `state` from now on.
    pub fn new(credentials: &Credentials, state: State) -> Self {
        let x509 = credentials.x509();
        let mut identity = Self {
            credentials_type: credentials.credentials_type(),
            credentials_id: x509.map(|identity| identity.leaf.credentials_id()),
            key_type: x509.map(|identity| identity.key.key_type()),
            not_before: x509.map(|identity| identity.leaf.validity.not_before),
            not_after: x509.map(|identity| identity.leaf.validity.not_after),
            state,
            reached: Times::default(),
            flashed: None,
        };
        identity.reach(state, clock::now());
        identity
    }

    /// The identity is in `state` from `now` on.
    pub fn reach(&mut self, state: State, now: OffsetDateTime) {
        let reached = match state {
            State::Staged => &mut self.reached.staged,
            State::Sent => &mut self.reached.sent,
            State::Accepted => &mut self.reached.accepted,
            State::Proved => &mut self.reached.proved,
        };
        *reached = now.replace_nanosecond(0).ok();
        self.state = state;
    }
}

/// The name of one identity of a device: the beginning of its credentialsId, or of the SHA-256 of its token, or of its
/// client id and user name.
pub fn identity_name(credentials: &Credentials) -> String {
    let mut text = match credentials {
        Credentials::X509(identity) => identity.leaf.credentials_id(),
        Credentials::AccessToken(token) => sha256_hex(token.expose().as_bytes()),
        Credentials::MqttBasic(basic) => {
            sha256_hex(format!("{}\n{}", basic.client_id, basic.user_name).as_bytes())
        }
    };
    text.truncate(IDENTITY_DIGITS);
    text
}

/// Everything that is known about a device. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`], or [`SCHEMA_ROTATED`].
    pub schema: String,
    /// The device's name; absent when the server made one up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The server.
    pub host: Host,
    /// Its port of MQTT over TLS.
    pub port: u16,
    /// Whether the server's name is left unchecked.
    #[serde(default)]
    pub skip_name_check: bool,
    /// Whether the trusted certificates are kept with the device. Otherwise the system's roots are trusted.
    pub server_pem: bool,
    /// The identity that the device has now.
    #[serde(flatten)]
    pub identity: IdentityRecord,
    /// Where that identity lies, once the device was rotated: see [`identity_name`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_name: Option<String>,
    /// The identity that shall succeed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<NamedIdentity>,
    /// The identity that it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<NamedIdentity>,
    /// What the device was registered with, as far as the server was asked for it.
    #[serde(flatten)]
    pub wishes: Wishes,
    /// Why the server refused it last. It is shown, and decides nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
}

/// An identity beside the current one, and where it lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedIdentity {
    /// See [`identity_name`].
    pub name: String,
    /// What is known about it.
    #[serde(flatten)]
    pub identity: IdentityRecord,
}

/// What was asked for when the device was registered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wishes {
    /// Whether the key and the certificate came from elsewhere.
    #[serde(default, skip_serializing_if = "is_false")]
    pub given: bool,
    /// Whether the device is a gateway.
    #[serde(default, skip_serializing_if = "is_false")]
    pub gateway: bool,
    /// Whether the server had the device before, and gave its own credentials in place of those that were asked for.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pre_provisioned: bool,
    /// Whether the server learns of the device by its connect, and not by a request.
    #[serde(default, skip_serializing_if = "is_false")]
    pub registers_at_connect: bool,
    /// The fingerprint of the provision key; absent where none was needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provision_key_sha256: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's own signature")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// A refusal by the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The error's code, such as `server/failure`.
    pub code: String,
    /// What the server said, on one line.
    pub message: String,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: OffsetDateTime,
}

/// A chip that the identity was last written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flashed {
    /// When.
    #[serde(with = "rfc3339")]
    pub at: OffsetDateTime,
    /// The kind of chip, such as `esp32c3`.
    pub chip: String,
    /// The chip's MAC address, `24:0a:c4:00:00:00`.
    pub mac: String,
    /// The SHA-256 of the image that was written with it, 64 hex digits; absent when the identity alone was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_sha256: Option<String>,
}

impl Record {
    /// Records `server` and its trust.
    pub fn believe(&mut self, server: &Server) {
        self.host.clone_from(&server.host);
        self.port = server.port;
        self.skip_name_check = server.trust.skip_name_check;
        self.server_pem = server.trust.source != TrustSource::System;
    }

    /// Why no tbprov can have written this record, where that is so.
    pub(super) fn flaw(&self) -> Option<(String, Option<Hint>)> {
        let flashed = self.identity.flashed.as_ref();
        let texts = [
            self.device.as_deref(),
            flashed.map(|flashed| flashed.chip.as_str()),
            flashed.map(|flashed| flashed.mac.as_str()),
        ];
        if texts.into_iter().flatten().any(|text| text.chars().any(char::is_control)) {
            return Some(("a name in it holds a control character".to_owned(), None));
        }
        if ![SCHEMA, SCHEMA_ROTATED].contains(&self.schema.as_str()) {
            let why = format!("its schema is {:?}, not {SCHEMA_ROTATED:?}", self.schema);
            return Some((why, Some(Hint::OtherVersion)));
        }
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(|digit| digit.is_ascii_hexdigit());
        let are_names = self.identity_names().into_iter().all(is_name);
        (!are_names).then(|| ("an identity in it has no possible name".to_owned(), None))
    }

    /// The names of the identities that it names: the current one, the candidate, the previous one.
    pub(super) fn identity_names(&self) -> Vec<&str> {
        let beside = [&self.candidate, &self.previous].into_iter().flatten().map(|named| &named.name);
        self.identity_name.iter().chain(beside).map(String::as_str).collect()
    }

    /// Whether the server may know the candidate of a rotation that has not come to its end.
    pub fn rotates(&self) -> bool {
        self.candidate.as_ref().is_some_and(|NamedIdentity { identity, .. }| {
            identity.credentials_type == CredentialsType::X509 && identity.state != State::Staged
        })
    }

    /// How far the current identity has come.
    pub const fn state(&self) -> State {
        self.identity.state
    }
}
