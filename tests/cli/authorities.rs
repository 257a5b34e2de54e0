//! Who may sign a server's certificate: the authorities of the file, while they are valid.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, NameConstraints, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use time::Duration;

use crate::support::{Sandbox, Server, fixture, fixture_text, for_each_row};

/// A certificate with its key, both PEM.
pub(crate) struct Made {
    pub(crate) certificate: String,
    pub(crate) key: String,
    issuer: Issuer<'static, KeyPair>,
}

/// From and until when, in days from now.
pub(crate) type Days = (i64, i64);

const VALID: Days = (-10, 10);
const EXPIRED: Days = (-10, -1);
const NOT_YET: Days = (1, 10);

/// A certificate for `name`; `change` makes it what it is, `above` signs it, or nobody.
pub(crate) fn make(
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

pub(crate) fn server(parameters: &mut CertificateParams) {
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

/// A root, `above` below it, and a leaf below that; both are sent.
fn below(
    root: fn(&mut CertificateParams),
    above: fn(&mut CertificateParams),
    leaf: fn(&mut CertificateParams),
) -> (String, Vec<Made>) {
    let root = make("root", VALID, None, root);
    let between = make("between", VALID, Some(&root), above);
    let leaf = make("localhost", VALID, Some(&between), leaf);
    (root.certificate, vec![leaf, between])
}

/// Two authorities between the root and the leaf, of which so many are sent.
fn sent_in_part(sent: usize) -> (String, Vec<Made>) {
    below_two(authority, sent)
}

fn below_two(upper: fn(&mut CertificateParams), sent: usize) -> (String, Vec<Made>) {
    let root = make("root", VALID, None, authority);
    let upper = make("upper", VALID, Some(&root), upper);
    let lower = make("lower", VALID, Some(&upper), authority);
    let leaf = make("localhost", VALID, Some(&lower), server);
    (root.certificate, [leaf, lower, upper].into_iter().take(1 + sent).collect())
}

/// Signed by another root than the one of the file, of this name, which is sent.
fn below_other_root(name: &str) -> (String, Vec<Made>) {
    let (root, other) = (make("root", VALID, None, authority), make(name, VALID, None, authority));
    let leaf = make("localhost", VALID, Some(&other), server);
    (root.certificate, vec![leaf, other])
}

fn for_clients(parameters: &mut CertificateParams) {
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
}

fn only_for(domain: &str, parameters: &mut CertificateParams) {
    authority(parameters);
    parameters.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(domain.to_owned())],
        excluded_subtrees: Vec::new(),
    });
}

fn signs_leaves_only(parameters: &mut CertificateParams) {
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
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
    (
        "by common name",
        || of_kind(|_| {}),
        "3 tls/name-mismatch tls",
        "name hosts in subjectAltName, and it has none there; its common name 'localhost' does not count",
    ),
    (
        "another name",
        || {
            of_kind(|parameters| {
                parameters.subject_alt_names = vec![SanType::DnsName("other.example".try_into().unwrap())];
            })
        },
        "3 tls/name-mismatch tls",
        "is for other.example, not for localhost",
    ),
    ("two between", || sent_in_part(2), "provisioned", ""),
    (
        "the upper one not sent",
        || sent_in_part(1),
        "3 tls/untrusted tls",
        "its chain ends below 'CN=upper', which was not sent, and is not in it; it presented 'CN=localhost'",
    ),
    (
        "none of them sent",
        || sent_in_part(0),
        "3 tls/untrusted tls",
        "its issuer 'CN=lower' was not sent, and is not in it; it presented 'CN=localhost'",
    ),
    (
        "another root",
        || below_other_root("other"),
        "3 tls/untrusted tls",
        "nor signed by an authority in it: its chain ends in 'CN=other', which is not in it",
    ),
    (
        "another root of the same name",
        || below_other_root("root"),
        "3 tls/untrusted tls",
        "an authority of the name of its issuer is believed ('CN=root'), and has another key",
    ),
    (
        "an authority for clients",
        || {
            below(
                authority,
                |parameters| {
                    authority(parameters);
                    for_clients(parameters);
                },
                server,
            )
        },
        "3 tls/untrusted tls",
        "an authority above it, is not meant for servers (extendedKeyUsage)",
    ),
    (
        "an authority's own",
        || {
            of_kind(|parameters| {
                server(parameters);
                authority(parameters);
            })
        },
        "3 tls/untrusted tls",
        "it is an authority's (CA:TRUE)",
    ),
    (
        "below no authority",
        || below(authority, |parameters| parameters.is_ca = IsCa::ExplicitNoCa, server),
        "3 tls/untrusted tls",
        "what has signed it is no authority (CA:FALSE)",
    ),
    (
        "too long a chain",
        || below_two(signs_leaves_only, 2),
        "3 tls/untrusted tls",
        "its chain is longer than its authority allows (pathLenConstraint)",
    ),
    ("as long as it may be", || below(authority, signs_leaves_only, server), "provisioned", ""),
    (
        "for names that it may not sign",
        || below(|parameters| only_for("example.com", parameters), authority, server),
        "3 tls/untrusted tls",
        "its authority may not sign for its name (nameConstraints)",
    ),
    (
        "for names that it may sign",
        || below(|parameters| only_for("localhost", parameters), authority, server),
        "provisioned",
        "",
    ),
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

/// OpenSSL takes `DNS:127.0.0.1` without a word.
#[test]
fn an_address_has_to_be_named_as_one() {
    let sandbox = Sandbox::new();
    let (trusted, presented) = of_kind(|parameters| {
        parameters.subject_alt_names = vec![SanType::DnsName("127.0.0.1".try_into().unwrap())];
    });
    sandbox.write("server.pem", trusted);
    sandbox.write("presented.pem", &presented[0].certificate);
    sandbox.write("presented_key.pem", &presented[0].key);
    let server = Server::start(|config| config.server = Some(sandbox.server_identity("presented")));
    let ran = server.provision(&sandbox, "--host 127.0.0.1");
    assert_eq!(ran.brief(), "3 tls/name-mismatch tls");
    let says = "has 127.0.0.1 in its subjectAltName as a DNS name, and it has to be there as an IP address";
    assert!(ran.message().contains(says) && ran.help().contains("certs server"), "{ran:?}");
    // The file may hold it itself.
    sandbox.write("server.pem", &presented[0].certificate);
    assert_eq!(server.provision(&sandbox, "--host 127.0.0.1").outcome(), "provisioned");
}
