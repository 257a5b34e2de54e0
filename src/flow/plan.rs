//! What shall be done, fully decided: arguments, environment, file and prompts have become one value that
//! does not change any more.

use std::sync::Arc;
use std::time::Duration;

use crate::device::DeviceName;
use crate::dial::Dialer;
use crate::identity::{CredentialsType, SoftwareIdentity};
use crate::keys::KeyType;
use crate::ledger::folder::Store;
use crate::secret::Secret;
use crate::telemetry::TelemetryPlan;

/// The host that the prompt offers.
pub const DEFAULT_HOST: &str = "mqtt.thingsboard.cloud";
/// ThingsBoard's port of MQTT over TLS (`MQTT_SSL_BIND_PORT`).
pub const DEFAULT_PORT: u16 = 8883;
/// Days that a new certificate is valid.
pub const DEFAULT_DAYS: u32 = 3650;
/// How long each step may take: more than the 10 s after which ThingsBoard's own core gives up.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
/// The key type of a new identity.
pub const DEFAULT_KEY_TYPE: KeyType = KeyType::EcP256;

/// Where the device's credentials come from.
#[derive(Debug, Clone)]
pub enum IdentityPlan {
    /// A new key and certificate.
    Generate {
        /// The key's type, where the user named one; else [`DEFAULT_KEY_TYPE`].
        key_type: Option<KeyType>,
        /// Days that the certificate is valid.
        days: u32,
    },
    /// A key and certificate that exist already.
    Existing(Box<SoftwareIdentity>),
    /// A new random access token.
    AccessToken,
    /// New random MQTT basic credentials.
    MqttBasic,
}

impl IdentityPlan {
    /// The kind of credentials.
    pub const fn credentials_type(&self) -> CredentialsType {
        match self {
            Self::Generate { .. } | Self::Existing(_) => CredentialsType::X509,
            Self::AccessToken => CredentialsType::AccessToken,
            Self::MqttBasic => CredentialsType::MqttBasic,
        }
    }
}

/// One provisioning.
#[derive(Debug, Clone)]
pub struct ProvisionPlan {
    /// The server.
    pub dialer: Arc<Dialer>,
    /// The device profile's provision key.
    pub provision_key: String,
    /// The device profile's provision secret.
    pub provision_secret: Secret,
    /// The device's name, unless the server shall make one up.
    pub device_name: Option<DeviceName>,
    /// Where the credentials come from.
    pub identity: IdentityPlan,
    /// Whether the device is a gateway.
    pub gateway: bool,
    /// Whether a fresh identity is proved by a connect. Without, its state stays `accepted`.
    pub verify_connect: bool,
    /// What to send afterwards.
    pub telemetry: Option<TelemetryPlan>,
    /// Where the identity is kept.
    pub store: Store,
}
