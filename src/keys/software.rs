//! A private key in memory.

use std::fmt;
use std::path::Path;

use aws_lc_rs::encoding::{AsBigEndian, AsDer, EcPrivateKeyBin, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use zeroize::Zeroizing;

use super::generator::with_whole_generators;
use super::{Exportable, KeyType, Scheme, Signer, pem};
use crate::error::{Error, ErrorCode, Result};
use crate::secret::Secret;

/// A private key in memory. What holds its secret part is wiped when it is dropped: the PKCS#8 here, and the key
/// that signs by AWS-LC, which wipes all that it frees.
pub struct SoftwareKey {
    key_type: KeyType,
    pair: Pair,
    /// SubjectPublicKeyInfo, DER.
    public_key: Vec<u8>,
    /// PKCS#8 version 1, which everything reads; OpenSSL 3.0 cannot read version 2.
    pkcs8: Zeroizing<Vec<u8>>,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair),
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
        let rsa = |size| RsaKeyPair::generate(size).map(Pair::Rsa);
        let pair = match key_type {
            KeyType::EcP256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map(Pair::Ec),
            KeyType::EcP384 => EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).map(Pair::Ec),
            KeyType::Ed25519 => Ed25519KeyPair::generate().map(Pair::Ed),
            KeyType::Rsa2048 => rsa(KeySize::Rsa2048),
            KeyType::Rsa3072 => rsa(KeySize::Rsa3072),
            KeyType::Rsa4096 => rsa(KeySize::Rsa4096),
        };
        Self::new(key_type, pair.map_err(|_| Error::no_randomness())?)
    }

    /// Reads an unencrypted key in PEM: PKCS#8, PKCS#1 or SEC1. `origin` names the file in errors.
    ///
    /// # Errors
    /// `file/encrypted-key`, `file/not-pem` or `file/unsupported-key`.
    pub fn from_pem(text: &str, origin: &str) -> Result<Self> {
        Self::read(text, origin, None)
    }

    /// The same for the key in a PEM file.
    ///
    /// # Errors
    /// Those of [`pem::read_file`] and [`SoftwareKey::from_pem`].
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = pem::read_file(path)?;
        Self::from_pem(&text, &crate::text::shown_path(path)).map_err(|error| error.about_file(path))
    }

    /// The same as [`SoftwareKey::from_pem`] for a key that may be encrypted, as PKCS#8 (PBES2) or in OpenSSL's traditional form.
    ///
    /// # Errors
    /// Those of [`SoftwareKey::from_pem`], and `file/wrong-password`.
    pub fn from_encrypted_pem(text: &str, origin: &str, password: &Secret) -> Result<Self> {
        Self::read(text, origin, Some(password))
    }

    fn read(text: &str, origin: &str, password: Option<&Secret>) -> Result<Self> {
        let der = pem::private_key(text, origin, password)?;
        let (key_type, pair) = pair_of(&der).ok_or_else(|| {
            let message = format!("the private key in {origin} is of a kind that tbprov cannot use");
            Error::new(ErrorCode::FileKeyType, message)
        })?;
        Self::new(key_type, pair)
    }

    fn new(key_type: KeyType, pair: Pair) -> Result<Self> {
        let unwritable = |_| Error::new(ErrorCode::Bug, "the key could not be written as PKCS#8");
        let pkcs8 = pair.to_pkcs8().map_err(unwritable)?;
        let public_key = pair.public_key().map_err(unwritable)?.as_ref().to_vec();
        Ok(Self { key_type, pair, public_key, pkcs8 })
    }
}

impl Signer for SoftwareKey {
    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn key_type(&self) -> KeyType {
        self.key_type
    }

    fn sign(&self, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>> {
        if !Scheme::of(self.key_type).contains(&scheme) {
            let message = format!("a key of type {} does not sign by {scheme:?}", self.key_type);
            return Err(Error::new(ErrorCode::Bug, message));
        }
        self.pair
            .sign(scheme, message)
            .map_err(|_| Error::new(ErrorCode::Bug, format!("the key could not sign by {scheme:?}")))
    }
}

impl Exportable for SoftwareKey {
    fn to_pem(&self) -> Secret {
        Secret::new(pem::encode("PRIVATE KEY", &self.pkcs8))
    }

    fn to_encrypted_pem(&self, password: &Secret) -> Result<Secret> {
        let failed =
            |error: pkcs8::Error| Error::new(ErrorCode::Bug, "the key could not be encrypted").source(error);
        let info = pkcs8::PrivateKeyInfoRef::try_from(self.pkcs8.as_slice())
            .map_err(|_| Error::new(ErrorCode::Bug, "the key could not be read back"))?;
        let encrypted = info.encrypt(password.expose()).map_err(failed)?;
        Ok(Secret::new(pem::encode("ENCRYPTED PRIVATE KEY", encrypted.as_bytes())))
    }
}

impl Pair {
    fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, aws_lc_rs::error::Unspecified> {
        // These wipe themselves; each is copied once, into memory that is wiped too.
        Ok(match self {
            Self::Ec(pair) => Zeroizing::new(pair.to_pkcs8v1()?.as_ref().to_vec()),
            Self::Ed(pair) => Zeroizing::new(pair.to_pkcs8v1()?.as_ref().to_vec()),
            Self::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der()?;
                Zeroizing::new(der.as_ref().to_vec())
            }
        })
    }

    fn public_key(&self) -> Result<PublicKeyX509Der<'static>, aws_lc_rs::error::Unspecified> {
        match self {
            Self::Ec(pair) => pair.public_key().as_der(),
            Self::Ed(pair) => pair.public_key().as_der(),
            Self::Rsa(pair) => pair.public_key().as_der(),
        }
    }

    /// Signs by `scheme`, which has to be one of this pair.
    fn sign(&self, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
        let random = SystemRandom::new();
        match self {
            Self::Ec(pair) => Ok(pair.sign(&random, message)?.as_ref().to_vec()),
            Self::Ed(pair) => Ok(pair.try_sign(message)?.as_ref().to_vec()),
            Self::Rsa(pair) => {
                let padding = rsa_padding(scheme).ok_or(aws_lc_rs::error::Unspecified)?;
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature)?;
                Ok(signature)
            }
        }
    }
}

fn rsa_padding(scheme: Scheme) -> Option<&'static dyn RsaEncoding> {
    Some(match scheme {
        Scheme::RsaPkcs1Sha256 => &RSA_PKCS1_SHA256,
        Scheme::RsaPkcs1Sha384 => &RSA_PKCS1_SHA384,
        Scheme::RsaPkcs1Sha512 => &RSA_PKCS1_SHA512,
        Scheme::RsaPssSha256 => &RSA_PSS_SHA256,
        Scheme::RsaPssSha384 => &RSA_PSS_SHA384,
        Scheme::RsaPssSha512 => &RSA_PSS_SHA512,
        Scheme::EcdsaP256Sha256 | Scheme::EcdsaP384Sha384 | Scheme::Ed25519 => return None,
    })
}

/// The key in `der`, be it PKCS#8, PKCS#1 or SEC1, if it is of a kind that can be used.
fn pair_of(der: &[u8]) -> Option<(KeyType, Pair)> {
    if let Some(pair) = ec_pair_of(der).or_else(|| ec_pair_of(&with_whole_generators(der)?)) {
        return Some(pair);
    }
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8(der) {
        return Some((KeyType::Ed25519, Pair::Ed(pair)));
    }
    let pair = RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der)).ok()?;
    let key_type = match pair.public_modulus_len() * 8 {
        2048 => KeyType::Rsa2048,
        3072 => KeyType::Rsa3072,
        4096 => KeyType::Rsa4096,
        _ => return None,
    };
    Some((key_type, Pair::Rsa(pair)))
}

fn ec_pair_of(der: &[u8]) -> Option<(KeyType, Pair)> {
    let ec = |algorithm: &'static EcdsaSigningAlgorithm| {
        let read = EcdsaKeyPair::from_private_key_der(algorithm, der).ok()?;
        // A pair remembers that its point was read compressed, and would write it so: it is put together anew.
        let private: EcPrivateKeyBin<'_> = read.private_key().as_be_bytes().ok()?;
        let public = read.public_key().as_ref();
        EcdsaKeyPair::from_private_key_and_public_key(algorithm, private.as_ref(), public).map(Pair::Ec).ok()
    };
    let p256 = ec(&ECDSA_P256_SHA256_ASN1_SIGNING).map(|pair| (KeyType::EcP256, pair));
    p256.or_else(|| ec(&ECDSA_P384_SHA384_ASN1_SIGNING).map(|pair| (KeyType::EcP384, pair)))
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
            assert_eq!(read.public_key(), key.public_key());
        }
    }

    #[test]
    fn a_key_signs_by_its_own_schemes_alone() {
        let key = SoftwareKey::generate(KeyType::EcP256).unwrap();
        assert!(key.sign(Scheme::EcdsaP256Sha256, b"message").is_ok());
        for scheme in [Scheme::EcdsaP384Sha384, Scheme::Ed25519, Scheme::RsaPkcs1Sha256] {
            assert_eq!(key.sign(scheme, b"message").unwrap_err().code, ErrorCode::Bug);
        }
    }
}
