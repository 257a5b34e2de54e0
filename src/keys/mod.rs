//! Private keys. Everything that signs does so through [`Signer`], so that a key in hardware is one more
//! implementation and no change elsewhere.

pub mod pem;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rcgen::{KeyPair, PublicKeyData as _, RsaKeySize};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorCode, Result};
use crate::secret::Secret;

/// The key types that ThingsBoard accepts and OpenSSL 3.0 reads.
///
/// `ec-p256` and the RSA ones work with every release; ThingsBoard up to 3.6 runs on Java 11, which does
/// not know Ed25519.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyType {
    /// ECDSA on NIST P-256 (secp256r1).
    #[serde(rename = "ec-p256")]
    EcP256,
    /// ECDSA on NIST P-384 (secp384r1).
    #[serde(rename = "ec-p384")]
    EcP384,
    /// Ed25519.
    #[serde(rename = "ed25519")]
    Ed25519,
    /// RSA, 2048 bits.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    /// RSA, 3072 bits.
    #[serde(rename = "rsa-3072")]
    Rsa3072,
    /// RSA, 4096 bits.
    #[serde(rename = "rsa-4096")]
    Rsa4096,
}

impl KeyType {
    /// Every key type.
    pub const ALL: &[Self] =
        &[Self::EcP256, Self::EcP384, Self::Ed25519, Self::Rsa2048, Self::Rsa3072, Self::Rsa4096];

    /// The name on the command line and in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EcP256 => "ec-p256",
            Self::EcP384 => "ec-p384",
            Self::Ed25519 => "ed25519",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for KeyType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .iter()
            .copied()
            .find(|key_type| key_type.as_str() == text)
            .ok_or_else(|| format!("unknown key type '{text}'"))
    }
}

/// A private key that signs certificates and TLS handshakes, wherever it lives.
pub trait Signer: rcgen::SigningKey + Send + Sync {
    /// The type of the key.
    fn key_type(&self) -> KeyType;

    /// The key as rustls signs with it.
    ///
    /// # Errors
    /// When the key cannot be used for TLS.
    fn tls_key(&self) -> Result<Arc<dyn rustls::sign::SigningKey>>;

    /// Whether signing takes long, as in a token: the handshake then runs on a thread of its own.
    fn is_slow(&self) -> bool {
        false
    }
}

/// A private key in memory, kept as PKCS#8 and zeroized on drop.
pub struct SoftwareKey {
    key_type: KeyType,
    pair: KeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for SoftwareKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SoftwareKey({})", self.key_type)
    }
}

impl SoftwareKey {
    /// Makes a new key. An RSA key takes up to some seconds.
    ///
    /// # Errors
    /// When the operating system has no random numbers.
    pub fn generate(key_type: KeyType) -> Result<Self> {
        let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
        let pair = match key_type {
            KeyType::EcP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            KeyType::EcP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            KeyType::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
            KeyType::Rsa2048 => rsa(RsaKeySize::_2048),
            KeyType::Rsa3072 => rsa(RsaKeySize::_3072),
            KeyType::Rsa4096 => rsa(RsaKeySize::_4096),
        }
        .map_err(|error| Error::no_randomness().source(error))?;
        Self::new(key_type, pair)
    }

    /// Reads an unencrypted key in PEM: PKCS#8, PKCS#1 or SEC1. `origin` names the file in errors.
    ///
    /// # Errors
    /// `file/encrypted-key`, `file/not-pem` or `file/unsupported-key`.
    pub fn from_pem(text: &str, origin: &str) -> Result<Self> {
        if text.contains("ENCRYPTED") {
            let message = format!("the private key in {origin} is encrypted");
            return Err(Error::new(ErrorCode::FileEncrypted, message));
        }
        let der = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| {
            let message = format!("{origin} holds no private key in PEM: {}", pem::explain(&error));
            Error::new(ErrorCode::FileNotPem, message)
        })?;
        let unsupported = || {
            let message = format!("the private key in {origin} is of a kind that tbprov cannot use");
            Error::new(ErrorCode::FileKeyType, message)
        };
        let pair = KeyPair::try_from(&der).map_err(|error| unsupported().source(error))?;
        let key_type = key_type_of(&pair).ok_or_else(unsupported)?;
        Self::new(key_type, pair)
    }

    fn new(key_type: KeyType, pair: KeyPair) -> Result<Self> {
        let pkcs8 = as_pkcs8_v1(key_type, pair.serialized_der())
            .ok_or_else(|| Error::new(ErrorCode::Bug, "the key could not be written as PKCS#8"))?;
        Ok(Self { key_type, pair, pkcs8 })
    }

    /// The key as unencrypted PKCS#8 PEM, readable by OpenSSL 3.0 and by ThingsBoard's PEM loader.
    pub fn to_pem(&self) -> Secret {
        Secret::new(pem_text("PRIVATE KEY", &self.pkcs8))
    }

    /// The key as PKCS#8 PEM encrypted with `password` (scrypt and AES-256-CBC), as
    /// `openssl pkcs8 -topk8 -scrypt` writes it. ThingsBoard's own PEM loader cannot read this form.
    ///
    /// # Errors
    /// When the operating system has no random numbers.
    pub fn to_encrypted_pem(&self, password: &Secret) -> Result<Secret> {
        let failed =
            |error: pkcs8::Error| Error::new(ErrorCode::Bug, "the key could not be encrypted").source(error);
        let info = pkcs8::PrivateKeyInfoRef::try_from(self.pkcs8.as_slice())
            .map_err(|_| Error::new(ErrorCode::Bug, "the key could not be read back"))?;
        let encrypted = info.encrypt(password.expose()).map_err(failed)?;
        Ok(Secret::new(pem_text("ENCRYPTED PRIVATE KEY", encrypted.as_bytes())))
    }

    /// The DER of the public key (SubjectPublicKeyInfo).
    pub fn public_key_der(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }
}

impl rcgen::PublicKeyData for SoftwareKey {
    fn der_bytes(&self) -> &[u8] {
        self.pair.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        rcgen::PublicKeyData::algorithm(&self.pair)
    }
}

impl rcgen::SigningKey for SoftwareKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.pair.sign(message)
    }
}

impl Signer for SoftwareKey {
    fn key_type(&self) -> KeyType {
        self.key_type
    }

    fn tls_key(&self) -> Result<Arc<dyn rustls::sign::SigningKey>> {
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8.as_slice()));
        rustls::crypto::aws_lc_rs::sign::any_supported_type(&der).map_err(|error| {
            Error::new(ErrorCode::FileKeyType, "the key cannot be used for TLS").source(error)
        })
    }
}

/// The key as PKCS#8 version 1, which everything reads. rcgen keeps a key in the form it came in (SEC1, PKCS#1),
/// and writes new Ed25519 keys as version 2, which OpenSSL 3.0 cannot read.
fn as_pkcs8_v1(key_type: KeyType, der: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    };
    let ec = |algorithm| EcdsaKeyPair::from_private_key_der(algorithm, der).ok()?.to_pkcs8v1().ok();
    let document = match key_type {
        KeyType::EcP256 => ec(&ECDSA_P256_SHA256_ASN1_SIGNING)?,
        KeyType::EcP384 => ec(&ECDSA_P384_SHA384_ASN1_SIGNING)?,
        KeyType::Ed25519 => Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?.to_pkcs8v1().ok()?,
        KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => {
            let der: Pkcs8V1Der<'_> = rsa_key(der)?.as_der().ok()?;
            return Some(Zeroizing::new(der.as_ref().to_vec()));
        }
    };
    Some(Zeroizing::new(document.as_ref().to_vec()))
}

fn rsa_key(der: &[u8]) -> Option<aws_lc_rs::rsa::KeyPair> {
    use aws_lc_rs::rsa::KeyPair;
    KeyPair::from_pkcs8(der).or_else(|_| KeyPair::from_der(der)).ok()
}

fn key_type_of(pair: &KeyPair) -> Option<KeyType> {
    let algorithm = pair.algorithm();
    if algorithm == &rcgen::PKCS_ECDSA_P256_SHA256 {
        return Some(KeyType::EcP256);
    }
    if algorithm == &rcgen::PKCS_ECDSA_P384_SHA384 {
        return Some(KeyType::EcP384);
    }
    if algorithm == &rcgen::PKCS_ED25519 {
        return Some(KeyType::Ed25519);
    }
    match rsa_key(pair.serialized_der())?.public_modulus_len() * 8 {
        2048 => Some(KeyType::Rsa2048),
        3072 => Some(KeyType::Rsa3072),
        4096 => Some(KeyType::Rsa4096),
        _ => None,
    }
}

fn pem_text(label: &str, der: &[u8]) -> String {
    pem::encode(label, der)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quick_key_type_survives_pem() {
        for key_type in [KeyType::EcP256, KeyType::EcP384, KeyType::Ed25519, KeyType::Rsa2048] {
            let key = SoftwareKey::generate(key_type).unwrap();
            let read = SoftwareKey::from_pem(key.to_pem().expose(), "key.pem").unwrap();
            assert_eq!(read.key_type(), key_type);
            assert_eq!(read.public_key_der(), key.public_key_der());
        }
    }
}
