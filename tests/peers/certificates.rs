//! OpenSSL and Java read every key and certificate.

use super::*;

/// What a certificate is for, and what OpenSSL must say of it.
struct Expected<'a> {
    name: &'a str,
    days: u32,
    says: &'static [&'static str],
    says_not: &'static [&'static str],
}

const DEVICE: Expected<'_> = Expected {
    name: "sensor 01",
    days: 3650,
    says: &["Digital Signature", "TLS Web Client Authentication", "CA:FALSE"],
    says_not: &["Certificate Sign", "Key Encipherment", "TLS Web Server Authentication"],
};
const SERVER: Expected<'_> = Expected {
    name: "localhost",
    days: 825,
    says: &[
        "Digital Signature",
        "TLS Web Server Authentication",
        "CA:FALSE",
        "DNS:localhost, IP Address:127.0.0.1",
    ],
    says_not: &["Certificate Sign", "TLS Web Client Authentication"],
};
const AUTHORITY: Expected<'_> = Expected {
    name: "An authority",
    days: 7300,
    says: &["Certificate Sign", "CA:TRUE"],
    says_not: &["Digital Signature", "Key Encipherment", "TLS Web"],
};

fn check(sandbox: &Sandbox, key: &str, certificate: &str, key_type: &str, expected: &Expected<'_>) {
    let openssl = |arguments: &[&str]| say(sandbox, "openssl", arguments);
    let about = |question: &[&str]| openssl(&[&["x509", "-in", certificate, "-noout"], question].concat());
    assert!(openssl(&["pkey", "-in", key, "-check", "-noout"]).contains("Key is valid"));
    assert!(sandbox.read(key).starts_with("-----BEGIN PRIVATE KEY-----"), "PKCS#8");
    let structure = openssl(&["asn1parse", "-in", key]);
    assert!(structure.lines().nth(1).unwrap().trim_end().ends_with(":00"), "PKCS#8 version 1: {structure}");
    assert_eq!(openssl(&["pkey", "-in", key, "-pubout"]), about(&["-pubkey"]), "the key fits");

    assert_eq!(
        about(&["-subject", "-nameopt", "RFC2253"]).trim_end(),
        format!("subject=CN={}", expected.name)
    );
    let text = about(&["-text"]);
    for said in expected.says.iter().chain(&["Version: 3 (0x2)", "X509v3 Subject Key Identifier"]) {
        assert!(text.contains(said), "{key_type}: no {said} in {text}");
    }
    let encipherment = if key_type.starts_with("rsa") { "" } else { "Key Encipherment" };
    for said in expected.says_not.iter().chain(&[encipherment]).filter(|said| !said.is_empty()) {
        assert!(!text.contains(said), "{key_type}: {said} in {text}");
    }
    let serial = about(&["-serial"]);
    let serial = serial.trim_end().strip_prefix("serial=").unwrap();
    assert!((16..=40).contains(&serial.len()) && !serial.starts_with('-'), "{serial}");
    let valid_in = |seconds: u32| {
        let seconds = seconds.to_string();
        run(sandbox.command("openssl").args(["x509", "-in", certificate, "-noout", "-checkend", &seconds]))
            .code
    };
    let (hour, end) = (3600, expected.days * 86_400);
    assert_eq!(
        [0, end - hour, end + hour].map(valid_in),
        [Some(0), Some(0), Some(1)],
        "{}",
        about(&["-dates"])
    );
}

fn check_all_of(key_type: &str, server: &Server) {
    let sandbox = Sandbox::new();
    let made = |arguments: &[&str]| {
        tbprov(&sandbox, &[arguments, &["--key-type", key_type, "--out", "made"]].concat())
    };
    made(&["certs", "gen", "--name", DEVICE.name]);
    check(&sandbox, "made/key.pem", "made/cert.pem", key_type, &DEVICE);
    made(&["certs", "server", "--host", "localhost", "127.0.0.1"]);
    check(&sandbox, "made/server_key.pem", "made/server.pem", key_type, &SERVER);
    made(&["certs", "ca", "--name", AUTHORITY.name]);
    check(&sandbox, "made/ca_key.pem", "made/ca.pem", key_type, &AUTHORITY);
    // Each is its own trust anchor, as in ThingsBoard.
    for (certificate, purpose) in [("made/cert.pem", "sslclient"), ("made/server.pem", "sslserver")] {
        say(&sandbox, "openssl", &["verify", "-CAfile", certificate, "-purpose", purpose, certificate]);
    }

    let device = format!("{key_type} device");
    run(sandbox.provision(server, &device).args(["--key-type", key_type])).done();
    let file = |name| format!("devices/{device}/{name}");
    check(&sandbox, &file("key.pem"), &file("cert.pem"), key_type, &Expected { name: &device, ..DEVICE });
    assert_whole(&sandbox, server, &device);
}

#[test]
fn openssl_reads_every_key_and_certificate() {
    if installed("openssl").is_none() {
        return;
    }
    let server = Server::start(|_| {});
    std::thread::scope(|scope| {
        for key_types in [&KEY_TYPES[..5], &KEY_TYPES[5..]] {
            let server = &server;
            scope.spawn(move || key_types.iter().for_each(|key_type| check_all_of(key_type, server)));
        }
    });
}

#[test]
fn openssl_decrypts_an_encrypted_key_with_its_password_alone() {
    if installed("openssl").is_none() {
        return;
    }
    for key_type in ["ec-p256", "ed25519", "rsa-2048"] {
        let sandbox = Sandbox::new();
        let arguments =
            ["certs", "gen", "--name", "sensor", "--encrypt-key", "--key-type", key_type, "--json"];
        run(sandbox.tbprov(&arguments).env("TBPROV_KEY_PASSWORD", "pass word")).done();
        assert!(sandbox.read("key.pem").starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
        let with = |password| ["pkey", "-in", "key.pem", "-passin", password, "-pubout"];
        let public = say(&sandbox, "openssl", &with("pass:pass word"));
        assert_eq!(public, say(&sandbox, "openssl", &["x509", "-in", "cert.pem", "-noout", "-pubkey"]));
        fail(&sandbox, "openssl", &with("pass:password"));
    }
}

#[test]
fn openssl_verifies_what_an_authority_signed_for_its_purpose_alone() {
    if installed("openssl").is_none() {
        return;
    }
    for (authority, leaf) in [("ec-p256", "rsa-2048"), ("rsa-2048", "ed25519"), ("ed25519", "ec-p384")] {
        let sandbox = Sandbox::new();
        tbprov(&sandbox, &["certs", "ca", "--name", "An authority", "--key-type", authority]);
        let signed = ["--key-type", leaf, "--ca-cert", "ca.pem", "--ca-key", "ca_key.pem"];
        tbprov(&sandbox, &[&["certs", "gen", "--name", "sensor"], &signed[..]].concat());
        tbprov(&sandbox, &[&["certs", "server", "--host", "localhost"], &signed[..]].concat());
        let verify = |purpose, certificate| {
            ["verify", "-x509_strict", "-CAfile", "ca.pem", "-purpose", purpose, certificate]
        };
        say(&sandbox, "openssl", &verify("sslclient", "cert.pem"));
        say(&sandbox, "openssl", &verify("sslserver", "server.pem"));
        fail(&sandbox, "openssl", &verify("sslserver", "cert.pem"));
        fail(&sandbox, "openssl", &verify("sslclient", "server.pem"));
    }
}

/// ThingsBoard is written in Java.
#[test]
fn java_reads_every_certificate() {
    if installed("keytool").is_none() {
        return;
    }
    let sandbox = Sandbox::new();
    let mut all = String::new();
    // Those that are slow to make differ from rsa-2048 in their length alone.
    for key_type in &KEY_TYPES[..4] {
        tbprov(&sandbox, &["certs", "gen", "--name", "sensor", "--key-type", key_type, "--out", key_type]);
        all += &sandbox.read(&format!("{key_type}/cert.pem"));
    }
    sandbox.write("all.pem", &all);
    let said = say(&sandbox, "keytool", &["-J-Duser.language=en", "-printcert", "-file", "all.pem"]);
    assert_eq!(said.matches("Owner: CN=sensor").count(), 4, "{said}");
}
