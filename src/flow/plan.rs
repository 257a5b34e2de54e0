//! What shall be done, fully decided: arguments, environment, file and prompts have become one value that
//! does not change any more.

use std::sync::Arc;
use std::time::Duration;

use super::next::Registration;
use crate::device::DeviceName;
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::identity::{
    Credentials, CredentialsType, LONGEST_COMMON_NAME, SoftwareIdentity, X509Identity, sha256_hex,
};
use crate::keys::KeyType;
use crate::ledger::{Entry, Slot, Subject, Wishes};
use crate::secret::Secret;
use crate::server::Host;
use crate::telemetry::TelemetryPlan;

/// The host that the prompt offers.
pub const DEFAULT_HOST: &str = "mqtt.thingsboard.cloud";
/// ThingsBoard's port of MQTT over TLS (`MQTT_SSL_BIND_PORT`).
pub const DEFAULT_PORT: u16 = 8883;
/// Days that a new certificate is valid.
pub const DEFAULT_DAYS: u32 = 3650;
/// How long each step may take, but for the answer to a request.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the answer to a request may take. Where ThingsBoard's core does not answer, its transport closes the
/// connection after 11 to 17 s: it gives up after 10 s (`transport.sessions`, `queue.transport_api.max_requests_timeout`)
/// and looks every 10 s. Waiting longer than that makes the outcome the same each time.
pub const DEFAULT_ANSWER_TIMEOUT: Duration = Duration::from_secs(21);
/// The key type of a new identity.
pub const DEFAULT_KEY_TYPE: KeyType = KeyType::EcP256;

/// Where the device's credentials come from.
#[derive(Debug, Clone)]
pub enum IdentityPlan {
    /// A new key and certificate.
    Generate {
        /// The key's type, where the user named one; else [`DEFAULT_KEY_TYPE`].
        key_type: Option<KeyType>,
        /// Days that the certificate is valid, where the user named them; else [`DEFAULT_DAYS`].
        days: Option<u32>,
    },
    /// A key and certificate that exist already.
    Given(Box<SoftwareIdentity>),
    /// A new random access token.
    AccessToken,
    /// New random MQTT basic credentials.
    MqttBasic,
}

impl IdentityPlan {
    /// The kind of credentials.
    pub const fn credentials_type(&self) -> CredentialsType {
        match self {
            Self::Generate { .. } | Self::Given(_) => CredentialsType::X509,
            Self::AccessToken => CredentialsType::AccessToken,
            Self::MqttBasic => CredentialsType::MqttBasic,
        }
    }
}

/// How the server learns of the device.
#[derive(Debug, Clone)]
pub enum RegistrationPlan {
    /// By a provision request.
    ByRequest {
        /// The device profile's provision key.
        provision_key: String,
        /// The device profile's provision secret.
        provision_secret: Secret,
        /// Whether the device is a gateway.
        gateway: bool,
    },
    /// By the connect with a certificate that an authority of the device profile issued (the strategy
    /// `X509_CERTIFICATE_CHAIN`).
    AtConnect {
        /// The authority.
        issuer: Arc<X509Identity>,
        /// The common name, out of which the profile's pattern takes the device's name.
        common_name: String,
    },
}

impl RegistrationPlan {
    /// At connect, with a certificate of this common name.
    ///
    /// # Errors
    /// `usage/invalid-value` for a name that no certificate can have.
    pub fn at_connect(issuer: Arc<X509Identity>, common_name: &str) -> Result<Self> {
        let common_name = common_name.trim();
        let why = if common_name.is_empty() {
            "is empty"
        } else if common_name.chars().any(char::is_control) {
            "holds a control character"
        } else if common_name.chars().nth(LONGEST_COMMON_NAME).is_some() {
            "is longer than the 64 characters that X.509 allows"
        } else {
            return Ok(Self::AtConnect { issuer, common_name: common_name.to_owned() });
        };
        let message = format!("the common name {why}");
        Err(Error::new(ErrorCode::UsageInvalid, message).hint(Hint::GiveCommonName))
    }

    /// What deserves attention, though it stops nothing.
    pub fn remark(&self) -> Option<String> {
        match self {
            Self::AtConnect { common_name, .. } if is_escaped(common_name) => Some(format!(
                "the server puts backslashes before some characters of the common name '{common_name}' when it makes the device's name"
            )),
            _ => None,
        }
    }

    /// Which of the two.
    pub const fn kind(&self) -> Registration {
        match self {
            Self::ByRequest { .. } => Registration::ByRequest,
            Self::AtConnect { .. } => Registration::AtConnect,
        }
    }

    /// Where the unfinished device of this profile is found that the server shall name. What registers at connect has a
    /// name.
    pub fn slot(&self, host: &Host, port: u16) -> Option<Slot> {
        let provision_key_sha256 = self.provision_key_sha256()?;
        Some(Slot { host: host.clone(), port, provision_key_sha256 })
    }

    /// The fingerprint of the profile's provision key, by which a record names it.
    fn provision_key_sha256(&self) -> Option<String> {
        match self {
            Self::ByRequest { provision_key, .. } => Some(sha256_hex(provision_key.as_bytes())),
            Self::AtConnect { .. } => None,
        }
    }
}

/// Whether ThingsBoard writes the name with backslashes (`IETFUtils.valueToString` of Bouncy Castle 1.72).
fn is_escaped(common_name: &str) -> bool {
    common_name.starts_with('#') || common_name.contains([',', '+', '"', '\\', '<', '>', ';', '='])
}

/// One provisioning. Server and ledger are those of the [`Run`](super::Run).
#[derive(Debug, Clone)]
pub struct ProvisionPlan {
    /// The device's name, unless the server shall make one up.
    pub device_name: Option<DeviceName>,
    /// How the server learns of it.
    pub registration: RegistrationPlan,
    /// Where the credentials come from.
    pub identity: IdentityPlan,
    /// Whether a fresh identity is proved by a connect. Without, its state stays `accepted`. What registers at connect
    /// is always proved by it.
    pub verify_connect: bool,
    /// How long the answer to the request may take; every other step has the dialer's time.
    pub answer_timeout: Duration,
    /// What to send afterwards.
    pub telemetry: Option<TelemetryPlan>,
}

impl ProvisionPlan {
    /// What the ledger keeps of what was asked for.
    pub fn wishes(&self) -> Wishes {
        Wishes {
            given: matches!(self.identity, IdentityPlan::Given(_)),
            gateway: matches!(self.registration, RegistrationPlan::ByRequest { gateway: true, .. }),
            pre_provisioned: false,
            registers_at_connect: self.registration.kind() == Registration::AtConnect,
            provision_key_sha256: self.registration.provision_key_sha256(),
        }
    }
}

/// What a ledger calls the device: its name, else the place of the one that the server shall name.
pub fn subject<'a>(name: Option<&'a DeviceName>, slot: Option<&'a Slot>) -> Option<Subject<'a>> {
    match name {
        Some(name) => Some(Subject::Named(name.as_str())),
        None => slot.map(Subject::Unnamed),
    }
}

/// A device that was registered by other means, to be taken into the ledger.
#[derive(Debug, Clone)]
pub struct AdoptPlan {
    /// Its name.
    pub device_name: DeviceName,
    /// Its key and certificate.
    pub identity: SoftwareIdentity,
    /// Whether a connect proves it first. Without, its state is `accepted`.
    pub verify_connect: bool,
}

/// A connect with an identity.
#[derive(Debug, Clone)]
pub struct ConnectPlan {
    /// The device of the ledger; none for an identity of files.
    pub device: Option<Entry>,
    /// The identity.
    pub credentials: Credentials,
    /// What to send.
    pub telemetry: Option<TelemetryPlan>,
}
