use std::sync::Arc;

use super::*;
use crate::identity::SoftwareIdentity;
use crate::keys::SoftwareKey;
use crate::keys::der::{SEQUENCE, content, element, split};

fn key() -> SoftwareKey {
    SoftwareKey::generate(KeyType::EcP256).unwrap()
}

fn issued(profile: &Profile, key: &SoftwareKey, issuer: Option<&X509Identity>) -> Result<Certificate> {
    let wanted = Issue { name: "An authority", profile, validity: Validity::days(1), key, issuer };
    issue(&wanted).map(|issued| issued.leaf)
}

#[test]
fn a_name_cannot_forge_lines() {
    let key = key();
    let wanted = Issue {
        name: "localhost\nSHA-256  00\u{202E}",
        profile: &Profile::Device,
        validity: Validity::days(1),
        key: &key,
        issuer: None,
    };
    let certificate = issue(&wanted).unwrap().leaf;
    assert!(!certificate.subject.contains(['\n', '\u{202E}']), "{}", certificate.subject);
    assert_eq!(certificate.common_name.as_deref(), Some(r"localhost\nSHA-256  00\u{202e}"));
}

/// `certificate` with another subject; nobody looks at the signature of an anchor.
fn with_subject(certificate: &[u8], subject: &[u8]) -> Certificate {
    let (body, signature) = split(content(certificate).unwrap()).unwrap();
    let mut fields = Vec::new();
    let mut rest = content(body).unwrap();
    while let Some((field, after)) = split(rest) {
        fields.push(field);
        rest = after;
    }
    // Version, serial number, algorithm, issuer, validity, subject.
    fields[5] = subject;
    let der = element(SEQUENCE, &[&element(SEQUENCE, &fields), signature]);
    Certificate::from_der(der.into(), "the authority").unwrap()
}

/// A name of these values (object identifier's last bytes, tag, value), each in a set of its own.
fn name(values: &[(&[u8], u8, &[u8])]) -> Vec<u8> {
    let sets: Vec<Vec<u8>> = values
        .iter()
        .map(|(identifier, tag, value)| {
            let pair = [element(0x06, &[identifier]), element(*tag, &[value])];
            element(0x31, &[&element(SEQUENCE, &[&pair[0], &pair[1]])])
        })
        .collect();
    element(SEQUENCE, &sets.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

const CN: &[u8] = b"\x55\x04\x03";
const DC: &[u8] = b"\x09\x92\x26\x89\x93\xF2\x2C\x64\x01\x19";
const EMAIL: &[u8] = b"\x2A\x86\x48\x86\xF7\x0D\x01\x09\x01";

/// Also those that no standard allows, because there are authorities that have them.
#[test]
fn the_authoritys_name_is_repeated_byte_for_byte() {
    let (authority_key, key) = (key(), key());
    let made = issued(&Profile::Authority, &authority_key, None).unwrap();
    let authority_key = Arc::new(authority_key);
    let two_of_one_set = {
        let pair = |value: &[u8]| element(SEQUENCE, &[&element(0x06, &[CN]), &element(0x0C, &[value])]);
        element(SEQUENCE, &[&element(0x31, &[&pair(b"a"), &pair(b"b")])])
    };
    let names = [
        name(&[(DC, 0x16, b"com"), (DC, 0x16, b"example"), (DC, 0x16, b"corp"), (CN, 0x13, b"X")]),
        two_of_one_set,
        name(&[(CN, 0x14, b"K\xFCche")]),
        name(&[(CN, 0x1E, b"\x00K\x00\xFC")]),
        name(&[(CN, 0x1E, b"odd")]),
        name(&[(CN, 0x1C, b"\x00\x00\x00K")]),
        name(&[(CN, 0x13, b"a@b*_&")]),
        name(&[(CN, 0x0C, b"not UTF-8 \xFF")]),
        name(&[(EMAIL, 0x16, b"a@example.com"), (EMAIL, 0x0C, b"b@example.com")]),
        name(&[(CN, 0x0C, b"")]),
        name(&[(CN, 0x0C, b"a"), (CN, 0x0C, b"a")]),
        name(&[(b"\x55\x04\x2D", 0x03, b"\x00\x01"), (CN, 0x0C, b"a")]),
        name(&[(CN, 0x0C, &[b'x'; 300])]),
    ];
    for subject in names {
        let leaf = with_subject(made.der(), &subject);
        let authority = X509Identity { leaf, intermediates: Vec::new(), key: authority_key.clone() };
        let leaf = issued(&Profile::Device, &key, Some(&authority)).unwrap();
        assert_eq!(parse(leaf.der()).unwrap().issuer().as_raw(), subject);
    }
}

#[test]
fn whoever_is_above_ends_what_is_below() {
    let (root_key, sub_key, key) = (Arc::new(key()), key(), key());
    let root = |days| {
        let wanted = Issue {
            name: "root",
            profile: &Profile::Authority,
            validity: Validity::days(days),
            key: &*root_key,
            issuer: None,
        };
        issue(&wanted).unwrap().leaf
    };
    let long = X509Identity { leaf: root(40), intermediates: Vec::new(), key: root_key.clone() };
    let sub = Issue {
        name: "sub",
        profile: &Profile::Authority,
        validity: Validity::days(30),
        key: &sub_key,
        issuer: Some(&long),
    };
    let sub = issue(&sub).unwrap().leaf;
    // The same root, renewed for less time than the one below it has.
    let root = root(3);
    let chain = vec![sub, root.clone()];
    let authority = SoftwareIdentity::of(chain, "ca.pem", sub_key, "ca_key.pem").unwrap().into();
    let wanted = Issue {
        name: "sensor",
        profile: &Profile::Device,
        validity: Validity::days(30),
        key: &key,
        issuer: Some(&authority),
    };
    let issued = issue(&wanted).unwrap();
    assert!(issued.ends_with_issuer);
    assert_eq!(issued.leaf.validity.not_after, root.validity.not_after);
}
