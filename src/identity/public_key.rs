//! What kind of public key a certificate holds.

use std::fmt;

use serde::{Serialize, Serializer};
use x509_parser::asn1_rs::Tag;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_SIG_ED25519,
};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::keys::KeyType;

/// The curve of Bitcoin, which Java's TLS does not know: the object identifier.
const SECP256K1: &str = "1.3.132.0.10";

/// The kind of a public key. Its text is a [`KeyType`]'s name where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKeyKind {
    /// One that tbprov makes too.
    Known(KeyType),
    /// RSA of another size, in bits.
    Rsa(usize),
    /// ECDSA on NIST P-521.
    EcP521,
    /// ECDSA on secp256k1.
    EcSecp256k1,
    /// ECDSA on a curve that is described by its parameters, not named.
    EcExplicit,
    /// ECDSA on another curve: its object identifier.
    EcOther(String),
    /// Another algorithm: its object identifier.
    Other(String),
}

impl PublicKeyKind {
    pub(super) fn of(key: &SubjectPublicKeyInfo<'_>) -> Self {
        let algorithm = &key.algorithm.algorithm;
        if *algorithm == OID_SIG_ED25519 {
            return Self::Known(KeyType::Ed25519);
        }
        if let Ok(PublicKey::RSA(key)) = key.parsed() {
            return match key.key_size() {
                2048 => Self::Known(KeyType::Rsa2048),
                3072 => Self::Known(KeyType::Rsa3072),
                4096 => Self::Known(KeyType::Rsa4096),
                bits => Self::Rsa(bits),
            };
        }
        if *algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY {
            return Self::Other(algorithm.to_id_string());
        }
        // An object identifier names a curve; anything else describes it (RFC 5480, section 2.1.1).
        let named = key.algorithm.parameters.as_ref().filter(|parameters| parameters.tag() == Tag::Oid);
        match named.and_then(|parameters| parameters.as_oid().ok()) {
            None => Self::EcExplicit,
            Some(curve) if curve == OID_EC_P256 => Self::Known(KeyType::EcP256),
            Some(curve) if curve == OID_NIST_EC_P384 => Self::Known(KeyType::EcP384),
            Some(curve) if curve == OID_NIST_EC_P521 => Self::EcP521,
            Some(curve) if curve.to_id_string() == SECP256K1 => Self::EcSecp256k1,
            Some(curve) => Self::EcOther(curve.to_id_string()),
        }
    }
}

impl fmt::Display for PublicKeyKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(key_type) => formatter.write_str(key_type.as_str()),
            Self::Rsa(bits) => write!(formatter, "rsa-{bits}"),
            Self::EcP521 => formatter.write_str("ec-p521"),
            Self::EcSecp256k1 => formatter.write_str("ec-secp256k1"),
            Self::EcExplicit => formatter.write_str("ec with explicit parameters"),
            Self::EcOther(curve) => write!(formatter, "ec with the curve {curve}"),
            Self::Other(algorithm) => formatter.write_str(algorithm),
        }
    }
}

impl Serialize for PublicKeyKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
