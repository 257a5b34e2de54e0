//! Explicit parameters of a curve whose generator is compressed, as `openssl ec -param_enc explicit -conv_form compressed`
//! writes them: AWS-LC, which checks every other parameter, reads them with the whole generator alone.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    KeyPair as _,
};
use zeroize::Zeroizing;

use super::der::{SEQUENCE, content, element, split};

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
/// The bit of a tag that says that the content is made of elements.
const CONSTRUCTED: u8 = 0x20;
/// How deep the elements of a key are looked at: a generator is three deep, and a file may nest without end.
const DEEPEST: usize = 16;

/// `der`, which may be a private key, with whole generators; none where it has no compressed one.
pub(super) fn with_whole_generators(der: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let curves = [(&ECDSA_P256_SHA256_ASN1_SIGNING, 32), (&ECDSA_P384_SHA384_ASN1_SIGNING, 48)].into_iter();
    curves
        .filter_map(|(algorithm, size)| generator(algorithm, size))
        .filter(|(compressed, _)| der.windows(compressed.len()).any(|window| window == compressed))
        .map(|(compressed, whole)| replaced(der, &compressed, &whole, DEEPEST))
        .find(|replaced| replaced.len() > der.len())
}

/// The generator of a curve, compressed and whole, each an octet string: it is the public key of the private key 1.
fn generator(algorithm: &'static EcdsaSigningAlgorithm, size: usize) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut one = vec![0; size];
    *one.last_mut()? = 1;
    let key = element(SEQUENCE, &[&element(INTEGER, &[&[1]]), &element(OCTET_STRING, &[&one])]);
    let pair = EcdsaKeyPair::from_private_key_der(algorithm, &key).ok()?;
    let whole = pair.public_key().as_ref();
    // SEC 1, section 2.3.3: the sign of y, and x.
    let sign = 2 + (whole.last()? & 1);
    let compressed = element(OCTET_STRING, &[&[sign], whole.get(1..=size)?]);
    Some((compressed, element(OCTET_STRING, &[whole])))
}

/// The elements of `der`, and those within, `depth` deep, with `new` for each that is `old`.
fn replaced(der: &[u8], old: &[u8], new: &[u8], depth: usize) -> Zeroizing<Vec<u8>> {
    // In one allocation, so that no copy of a key is left behind by growing.
    let mut all = Zeroizing::new(Vec::with_capacity(der.len() + 2 * new.len()));
    let mut rest = der;
    while let Some((first, after)) = split(rest) {
        let tag = first.first().copied().unwrap_or_default();
        match content(first) {
            _ if first == old => all.extend_from_slice(new),
            Some(inner) if tag & CONSTRUCTED != 0 && depth > 0 => {
                let within = Zeroizing::new(element(tag, &[&replaced(inner, old, new, depth - 1)]));
                all.extend_from_slice(&within);
            }
            _ => all.extend_from_slice(first),
        }
        rest = after;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::der::BIT_STRING;
    use super::super::{SoftwareKey, is_same_key, pem};
    use super::*;

    /// The object identifier id-ecPublicKey (RFC 5480), DER.
    const EC_PUBLIC_KEY: &[u8] = &[0x06, 7, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];

    /// `inner` within so many SEQUENCEs. Written from its end, so that a deep one is made in a moment.
    fn nested(inner: &[u8], depth: usize) -> Vec<u8> {
        let mut reversed: Vec<u8> = inner.iter().rev().copied().collect();
        for _ in 0..depth {
            let header = element(SEQUENCE, &[&vec![0; reversed.len()]]);
            reversed.extend(header[..header.len() - reversed.len()].iter().rev());
        }
        reversed.reverse();
        reversed
    }

    #[test]
    fn a_generator_is_made_whole_where_a_key_has_it_and_no_deeper() {
        for (algorithm, size) in
            [(&ECDSA_P256_SHA256_ASN1_SIGNING, 32), (&ECDSA_P384_SHA384_ASN1_SIGNING, 48)]
        {
            let (compressed, whole) = generator(algorithm, size).unwrap();
            for depth in [0, 1, 5, DEEPEST] {
                let made = with_whole_generators(&nested(&compressed, depth)).unwrap();
                assert_eq!(*made, nested(&whole, depth), "{depth}");
            }
            for depth in [DEEPEST + 1, 10_000] {
                assert!(with_whole_generators(&nested(&compressed, depth)).is_none(), "{depth}");
            }
        }
    }

    #[test]
    fn elements_within_elements_without_end_are_no_key() {
        let (compressed, _) = generator(&ECDSA_P256_SHA256_ASN1_SIGNING, 32).unwrap();
        for inner in [&b""[..], &compressed] {
            let deep = nested(inner, 20_000);
            assert!(SoftwareKey::from_pem(&pem::encode("PRIVATE KEY", &deep), "key.pem").is_err());
            let algorithm = element(SEQUENCE, &[EC_PUBLIC_KEY, &deep]);
            let public = element(SEQUENCE, &[&algorithm, &element(BIT_STRING, &[&[0, 4]])]);
            assert!(!is_same_key(&public, b""));
        }
    }
}
