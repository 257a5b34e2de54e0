//! What a private key does, wherever it lives.

use std::fmt;

use super::KeyType;
use crate::error::Result;
use crate::secret::Secret;

/// How a message is hashed, padded and signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// ECDSA on P-256 with SHA-256; the signature is DER.
    EcdsaP256Sha256,
    /// ECDSA on P-384 with SHA-384; the signature is DER.
    EcdsaP384Sha384,
    /// Ed25519.
    Ed25519,
    /// RSA PKCS#1 v1.5 with SHA-256.
    RsaPkcs1Sha256,
    /// RSA PKCS#1 v1.5 with SHA-384.
    RsaPkcs1Sha384,
    /// RSA PKCS#1 v1.5 with SHA-512.
    RsaPkcs1Sha512,
    /// RSA-PSS with SHA-256, for TLS.
    RsaPssSha256,
    /// RSA-PSS with SHA-384, for TLS.
    RsaPssSha384,
    /// RSA-PSS with SHA-512, for TLS.
    RsaPssSha512,
}

impl Scheme {
    /// The schemes that a key of this type signs with, the preferred one in TLS first.
    pub const fn of(key_type: KeyType) -> &'static [Self] {
        match key_type {
            KeyType::EcP256 => &[Self::EcdsaP256Sha256],
            KeyType::EcP384 => &[Self::EcdsaP384Sha384],
            KeyType::Ed25519 => &[Self::Ed25519],
            KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => &[
                Self::RsaPssSha512,
                Self::RsaPssSha384,
                Self::RsaPssSha256,
                Self::RsaPkcs1Sha512,
                Self::RsaPkcs1Sha384,
                Self::RsaPkcs1Sha256,
            ],
        }
    }

    /// The scheme that certificates are signed with by a key of this type.
    pub const fn of_certificates(key_type: KeyType) -> Self {
        match key_type {
            KeyType::EcP256 => Self::EcdsaP256Sha256,
            KeyType::EcP384 => Self::EcdsaP384Sha384,
            KeyType::Ed25519 => Self::Ed25519,
            KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => Self::RsaPkcs1Sha256,
        }
    }
}

/// A private key that signs certificates and TLS handshakes. Its `Debug` shows nothing secret.
pub trait Signer: Send + Sync + fmt::Debug {
    /// The public key (SubjectPublicKeyInfo), DER.
    fn public_key(&self) -> &[u8];

    /// The type of the key.
    fn key_type(&self) -> KeyType;

    /// Signs `message`, which the key hashes as `scheme` says.
    ///
    /// # Errors
    /// When the key has no such scheme, or cannot sign now.
    fn sign(&self, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>>;

    /// The schemes that the key signs by, the preferred one first.
    fn schemes(&self) -> &[Scheme] {
        Scheme::of(self.key_type())
    }

    /// Whether a signature takes so long (tens of milliseconds) that it belongs on a thread of its own.
    fn is_slow(&self) -> bool {
        false
    }
}

/// A key whose secret part can leave it: to be written to a file, or to a chip.
pub trait Exportable: Signer {
    /// The key as unencrypted PKCS#8 PEM, readable by OpenSSL 3.0 and by ThingsBoard's PEM loader.
    fn to_pem(&self) -> Secret;

    /// The key as PKCS#8 PEM encrypted with `password` (scrypt and AES-256-CBC), as
    /// `openssl pkcs8 -topk8 -scrypt` writes it. ThingsBoard's own PEM loader cannot read this form.
    ///
    /// # Errors
    /// When the operating system has no random numbers.
    fn to_encrypted_pem(&self, password: &Secret) -> Result<Secret>;
}
