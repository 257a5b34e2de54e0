//! The three kinds of credentials that ThingsBoard's provisioning knows.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::PublicKeyKind;
use super::certificate::{Certificate, read_certificate_file};
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::keys::{KeyType, Signer, SoftwareKey};
use crate::secret::Secret;

/// The kind of credentials to provision. Source: ThingsBoard's `DeviceCredentialsType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum CredentialsType {
    /// An X.509 certificate: what tbprov is for.
    #[default]
    #[serde(rename = "x509")]
    X509,
    /// A token, sent as the MQTT user name.
    #[serde(rename = "access-token")]
    AccessToken,
    /// MQTT client id, user name and password.
    #[serde(rename = "mqtt-basic")]
    MqttBasic,
}

impl CredentialsType {
    /// Every kind.
    pub const ALL: &[Self] = &[Self::X509, Self::AccessToken, Self::MqttBasic];

    /// The name on the command line and in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X509 => "x509",
            Self::AccessToken => "access-token",
            Self::MqttBasic => "mqtt-basic",
        }
    }

    /// The name in requests and answers (`credentialsType`).
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::X509 => "X509_CERTIFICATE",
            Self::AccessToken => "ACCESS_TOKEN",
            Self::MqttBasic => "MQTT_BASIC",
        }
    }
}

impl fmt::Display for CredentialsType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for CredentialsType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .iter()
            .copied()
            .find(|credentials_type| credentials_type.as_str() == text)
            .ok_or_else(|| format!("unknown credentials type '{text}'"))
    }
}

/// A certificate chain, leaf first, and the leaf's key, wherever that is.
#[derive(Debug, Clone)]
pub struct X509Identity {
    /// The device's own certificate.
    pub leaf: Certificate,
    /// The certificates above the leaf, presented at connect for the X509_CERTIFICATE_CHAIN strategy.
    pub intermediates: Vec<Certificate>,
    /// The leaf's key.
    pub key: Arc<dyn Signer>,
}

impl X509Identity {
    /// Reads a certificate (with any above it) and its key from two PEM files.
    ///
    /// # Errors
    /// Those of reading either, and `file/key-mismatch`.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self> {
        SoftwareIdentity::read(certificate, key).map(Self::from)
    }
}

impl From<SoftwareIdentity> for X509Identity {
    fn from(identity: SoftwareIdentity) -> Self {
        Self { leaf: identity.leaf, intermediates: identity.intermediates, key: identity.key }
    }
}

/// An identity whose key is in memory, so that it can be written to files or to a chip: one that was just made, or
/// read from files.
#[derive(Debug, Clone)]
pub struct SoftwareIdentity {
    /// As in [`X509Identity`].
    pub leaf: Certificate,
    /// As in [`X509Identity`].
    pub intermediates: Vec<Certificate>,
    /// The leaf's key.
    pub key: Arc<SoftwareKey>,
}

impl SoftwareIdentity {
    /// Reads a certificate (with any above it) and its key from two PEM files.
    ///
    /// # Errors
    /// Those of reading either, and `file/key-mismatch`.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self> {
        let key_shown = crate::text::shown_path(key);
        let certificate_shown = crate::text::shown_path(certificate);
        let chain = read_certificate_file(certificate)?;
        let key = SoftwareKey::from_file(key)?;
        Self::of(chain, &certificate_shown, key, &key_shown)
    }

    /// The certificates `chain` and the key of their first one. The two texts name their files in errors.
    ///
    /// # Errors
    /// `file/key-mismatch`; `file/bad-certificate` when ThingsBoard could not read the public key in the certificate.
    pub fn of(chain: Vec<Certificate>, chain_in: &str, key: SoftwareKey, key_in: &str) -> Result<Self> {
        let mut chain = chain.into_iter();
        match chain.next() {
            Some(leaf) if leaf.is_for(&key) => {
                check_encoding(&leaf, chain_in, &key)?;
                Ok(Self { leaf, intermediates: chain.collect(), key: Arc::new(key) })
            }
            _ => Err(mismatch(chain, chain_in, &key, key_in)),
        }
    }

    /// The certificate and those above it, PEM.
    pub fn chain_pem(&self) -> String {
        std::iter::once(&self.leaf).chain(&self.intermediates).map(Certificate::to_pem).collect()
    }
}

/// The first certificate of `chain_in` is not for the key. Perhaps one of the `others` is.
fn mismatch(
    mut others: impl Iterator<Item = Certificate>,
    chain_in: &str,
    key: &SoftwareKey,
    key_in: &str,
) -> Error {
    // The first of the others is the second of the file.
    match others.by_ref().zip(2..).find(|(other, _)| other.is_for(key)) {
        Some((fitting, number)) => {
            let message = format!(
                "the first certificate in {chain_in} is not for the key in {key_in}: certificate {number} of the file is, '{}'",
                fitting.subject
            );
            Error::new(ErrorCode::FileMismatch, message).hint(Hint::LeafFirst)
        }
        None => {
            let message = format!("the certificate in {chain_in} is not for the key in {key_in}");
            Error::new(ErrorCode::FileMismatch, message)
        }
    }
}

/// Fails when the certificate has the public key in an encoding that ThingsBoard's Java refuses: it reads named curves
/// and uncompressed points alone (`sun.security.util.ECUtil`, `ECParameters`).
fn check_encoding(leaf: &Certificate, chain_in: &str, key: &SoftwareKey) -> Result<()> {
    let is_ec = matches!(key.key_type(), KeyType::EcP256 | KeyType::EcP384);
    if !is_ec || leaf.public_key == key.public_key() {
        return Ok(());
    }
    let how = match leaf.key {
        PublicKeyKind::EcExplicit => "with explicit parameters of the curve",
        _ => "with a compressed point",
    };
    let message = format!(
        "the certificate in {chain_in} is for this key, but has it {how}, which ThingsBoard's Java does not read"
    );
    Err(Error::new(ErrorCode::FileCertificate, message).hint(Hint::PlainPublicKey))
}

/// MQTT client id, user name and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasicCredentials {
    /// The MQTT client id.
    pub client_id: String,
    /// The MQTT user name.
    pub user_name: String,
    /// The MQTT password.
    pub password: Secret,
}

/// What a device proves itself with.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "a run has one or two, and nearly all are the large one")]
pub enum Credentials {
    /// A certificate and its key, presented during TLS.
    X509(X509Identity),
    /// A token, sent as the MQTT user name.
    AccessToken(Secret),
    /// Client id, user name and password.
    MqttBasic(BasicCredentials),
}

impl Credentials {
    /// The kind.
    pub const fn credentials_type(&self) -> CredentialsType {
        match self {
            Self::X509(_) => CredentialsType::X509,
            Self::AccessToken(_) => CredentialsType::AccessToken,
            Self::MqttBasic(_) => CredentialsType::MqttBasic,
        }
    }

    /// The same without the certificates above its own: a server that registers devices at connect, by the authority
    /// above, learns of nothing by them.
    #[must_use]
    pub fn leaf_alone(&self) -> Self {
        let mut alone = self.clone();
        if let Self::X509(identity) = &mut alone {
            identity.intermediates.clear();
        }
        alone
    }

    /// The certificate and key, where that is what this is.
    pub const fn x509(&self) -> Option<&X509Identity> {
        match self {
            Self::X509(identity) => Some(identity),
            _ => None,
        }
    }
}
