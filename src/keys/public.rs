//! Public keys, compared as keys: the same key can be written in several ways.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    VerificationAlgorithm,
};
use x509_parser::oid_registry::{OID_KEY_TYPE_EC_PUBLIC_KEY, OID_PKCS1_RSAENCRYPTION};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::generator::with_whole_generators;

/// Whether two public keys (SubjectPublicKeyInfo, DER) are one key, however each of them is written.
pub(crate) fn is_same_key(one: &[u8], other: &[u8]) -> bool {
    if one == other {
        return true;
    }
    plain(one).is_some_and(|one| plain(other).is_some_and(|other| one == other))
}

/// The key in the form that everything reads: an elliptic curve by its name (RFC 5480) and its point uncompressed, RSA
/// with parameters of NULL (RFC 3279). None for a key of another kind.
fn plain(key: &[u8]) -> Option<Vec<u8>> {
    let (_, info) = SubjectPublicKeyInfo::from_der(key).ok()?;
    let read = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
        let der: PublicKeyX509Der<'_> = ParsedPublicKey::new(algorithm, key).ok()?.as_der().ok()?;
        Some(der.as_ref().to_vec())
    };
    let algorithm = &info.algorithm.algorithm;
    if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let of_a_curve =
            |key: &[u8]| read(&ECDSA_P256_SHA256_ASN1, key).or_else(|| read(&ECDSA_P384_SHA384_ASN1, key));
        return of_a_curve(key).or_else(|| of_a_curve(&with_whole_generators(key)?));
    }
    if *algorithm == OID_PKCS1_RSAENCRYPTION {
        return read(&RSA_PKCS1_2048_8192_SHA256, &info.subject_public_key.data);
    }
    None
}
