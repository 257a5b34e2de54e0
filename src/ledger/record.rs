//! `device.json`: what is known about a device. Documented in `docs/protocol.md`.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::serde::rfc3339;

use crate::device::State;
use crate::identity::CredentialsType;
use crate::keys::KeyType;
use crate::server::Host;

/// The `schema` of records that this version writes.
pub(crate) const SCHEMA: &str = "tbprov-device/1";

/// When each state was last reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
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

/// The content of `device.json`. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// `tbprov-device/1`.
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
    /// Whether `server.pem` holds the certificates to believe; else the system's roots are.
    pub server_pem: bool,
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
    /// How far the device has come.
    pub state: State,
    /// When each state was reached.
    #[serde(default)]
    pub reached: Reached,
    /// The chip that has this identity in its flash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flashed: Option<Flashed>,
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
    /// The same record, in `state` from `now` on.
    #[must_use]
    pub fn in_state(mut self, state: State, now: OffsetDateTime) -> Self {
        let reached = match state {
            State::Staged => &mut self.reached.staged,
            State::Sent => &mut self.reached.sent,
            State::Accepted => &mut self.reached.accepted,
            State::Proved => &mut self.reached.proved,
        };
        *reached = now.replace_nanosecond(0).ok();
        self.state = state;
        self
    }
}
