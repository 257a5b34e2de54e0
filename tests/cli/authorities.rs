//! Who may sign a server's certificate: the authorities of the file, while they are valid.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P256_SHA256,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use time::Duration;

use crate::support::{Sandbox, Server, fixture, fixture_text, for_each_row};

/// A certificate with its key, both PEM.
struct Made {
    certificate: String,
    key: String,
    issuer: Issuer<'static, KeyPair>,
}

/// From and until when, in days from now.
type Days = (i64, i64);

const VALID: Days = (-10, 10);
const EXPIRED: Days = (-10, -1);
const NOT_YET: Days = (1, 10);

/// A certificate for `name`; `change` makes it what it is, `above` signs it, or nobody.
fn make(
    name: &str,
    (from, until): Days,
    above: Option<&Made>,
    change: impl FnOnce(&mut CertificateParams),
) -> Made {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    make_with(key, name, (from, until), above, change)
}

fn make_with(
    key: KeyPair,
    name: &str,
    (from, until): Days,
    above: Option<&Made>,
    change: impl FnOnce(&mut CertificateParams),
) -> Made {
    let now = tbprov::clock::now();
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.not_before = now + Duration::days(from);
    parameters.not_after = now + Duration::days(until);
    change(&mut parameters);
    let certificate = match above {
        Some(above) => parameters.signed_by(&key, &above.issuer).unwrap(),
        None => parameters.self_signed(&key).unwrap(),
    };
    Made { certificate: certificate.pem(), key: key.serialize_pem(), issuer: Issuer::new(parameters, key) }
}

fn authority(parameters: &mut CertificateParams) {
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

fn server(parameters: &mut CertificateParams) {
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.subject_alt_names = vec![rcgen::SanType::DnsName("localhost".try_into().unwrap())];
}

/// A root, and what is signed by it for `localhost`.
fn below_root(root: Days) -> (String, Vec<Made>) {
    let root = make("root", root, None, authority);
    let leaf = make("localhost", VALID, Some(&root), server);
    (root.certificate, vec![leaf])
}

fn below_intermediate(days: Days) -> (String, Vec<Made>) {
    let root = make("root", VALID, None, authority);
    let between = make("between", days, Some(&root), authority);
    let leaf = make("localhost", VALID, Some(&between), server);
    (root.certificate, vec![leaf, between])
}

/// Signed by the key of a certificate that is trusted as a server's own.
fn below_pin(change: fn(&mut CertificateParams)) -> (String, Vec<Made>) {
    let pin = make("localhost", VALID, None, change);
    let leaf = make("localhost", VALID, Some(&pin), server);
    (pin.certificate, vec![leaf])
}

fn of_kind(change: fn(&mut CertificateParams)) -> (String, Vec<Made>) {
    let root = make("root", VALID, None, authority);
    let leaf = make("localhost", VALID, Some(&root), change);
    (root.certificate, vec![leaf])
}

fn below_version_1() -> (String, Vec<Made>) {
    let key = PrivateKeyDer::from_pem_file(fixture("server/v1_key.pem")).unwrap();
    let key = KeyPair::try_from(&key).unwrap();
    let root = make_with(key, "localhost", VALID, None, |_| {});
    (fixture_text("server/v1.pem"), vec![make("localhost", VALID, Some(&root), server)])
}

/// The file holds the root as it was, and as it was renewed.
fn below_renewed_root() -> (String, Vec<Made>) {
    let old = make("root", EXPIRED, None, authority);
    let key = KeyPair::from_pem(&old.key).unwrap();
    let renewed = make_with(key, "root", VALID, None, authority);
    let leaf = make("localhost", VALID, Some(&renewed), server);
    (old.certificate + &renewed.certificate, vec![leaf])
}

/// `(what, the file and what the server presents, how it ends, what the message says)`
type Row = (&'static str, fn() -> (String, Vec<Made>), &'static str, &'static str);

const ROWS: &[Row] = &[
    ("a root", || below_root(VALID), "provisioned", ""),
    (
        "an expired root",
        || below_root(EXPIRED),
        "3 tls/expired tls",
        "the authority 'CN=root' in server.pem expired on",
    ),
    (
        "a root to come",
        || below_root(NOT_YET),
        "3 tls/expired tls",
        "the authority 'CN=root' in server.pem is valid only from",
    ),
    ("a renewed root", below_renewed_root, "provisioned", ""),
    ("a root of version 1", below_version_1, "provisioned", ""),
    ("an intermediate", || below_intermediate(VALID), "provisioned", ""),
    (
        "an expired one",
        || below_intermediate(EXPIRED),
        "3 tls/expired tls",
        "the authority 'CN=between' of its chain expired on",
    ),
    (
        "one to come",
        || below_intermediate(NOT_YET),
        "3 tls/expired tls",
        "the authority 'CN=between' of its chain is valid only from",
    ),
    ("a pin", || below_pin(server), "3 tls/untrusted tls", "nor signed by an authority in it"),
    (
        "a pin that says nothing",
        || below_pin(|_| {}),
        "3 tls/untrusted tls",
        "nor signed by an authority in it",
    ),
    (
        "for clients",
        || {
            of_kind(|parameters| {
                server(parameters);
                parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            })
        },
        "3 tls/untrusted tls",
        "extendedKeyUsage",
    ),
    ("by common name", || of_kind(|_| {}), "3 tls/name-mismatch tls", "name hosts in subjectAltName"),
];

#[test]
fn only_authorities_that_are_valid_sign_for_a_server() {
    for_each_row(ROWS, |(what, make, promised, says)| {
        let sandbox = Sandbox::new();
        let (trusted, presented) = make();
        let chain: String = presented.iter().map(|made| made.certificate.as_str()).collect();
        sandbox.write("server.pem", trusted);
        sandbox.write("presented.pem", chain);
        sandbox.write("presented_key.pem", &presented[0].key);
        let server = Server::start(|config| config.server = Some(sandbox.server_identity("presented")));
        let ran = server.provision(&sandbox, "");
        let brief = ran.brief();
        if brief != *promised {
            return Err(format!("{what}: {ran:?}"));
        }
        if promised.starts_with('3') && !ran.message().contains(says) {
            return Err(format!("{what}: {} lacks {says}", ran.message()));
        }
        Ok(())
    });
}
