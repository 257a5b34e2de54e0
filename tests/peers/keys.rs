//! Keys and requests of OpenSSL's and for OpenSSL: encrypted ones, other encodings, requests that an authority signs.

use tbprov::sim::{HeldCredentials, PreProvisioned, Strategy};

use super::*;

/// With what a shell and a line of a file could stumble over.
const PASSWORD: &str = "pä ss'wörd\\n";

/// How OpenSSL encrypts `key.pem`, apart from the password and the files.
const ENCRYPTIONS: &[&[&str]] = &[
    &["ec", "-aes128"],
    &["ec", "-aes192"],
    &["ec", "-aes256"],
    &["ec", "-des3"],
    &["pkcs8", "-topk8", "-scrypt"],
    &["pkcs8", "-topk8", "-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA1"],
    &["pkcs8", "-topk8", "-v2", "aes-192-cbc", "-v2prf", "hmacWithSHA512"],
    &["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA256"],
    &["pkcs8", "-topk8", "-v2", "des3", "-v2prf", "hmacWithSHA1"],
];

fn encrypt(sandbox: &Sandbox, how: &[&str], to: &str) {
    let password = sandbox.path("password.txt").display().to_string();
    let files = ["-in", "key.pem", "-passout", &format!("file:{password}"), "-out", to];
    say(sandbox, "openssl", &[how, &files].concat());
}

#[test]
fn every_encryption_of_openssl_is_read_with_its_password_alone() {
    if installed("openssl").is_none() {
        return;
    }
    let sandbox = Sandbox::new();
    tbprov(&sandbox, &["certs", "gen", "--name", "sensor"]);
    sandbox.write("password.txt", format!("{PASSWORD}\n"));
    sandbox.write("wrong.txt", "other\n");
    let read = |password: &str| {
        let plan =
            "provision --json --dry-run --host h --provision-key k --provision-secret s --device-name d";
        let files = ["--cert", "cert.pem", "--key", "encrypted.pem", "--key-password-file", password];
        sandbox.run_all(plan.split(' ').chain(files))
    };
    for how in ENCRYPTIONS {
        encrypt(&sandbox, how, "encrypted.pem");
        let ran = read("password.txt");
        ran.done();
        assert!(ran.stderr.contains("the store keeps it unencrypted"), "{how:?}: {ran:?}");
        // What takes its time takes it again.
        if !how.contains(&"-scrypt") {
            let ran = read("wrong.txt");
            ran.failed(5, "file/wrong-password");
            assert!(ran.message().contains("encrypted.pem"), "{how:?}: {ran:?}");
        }
    }
}

#[test]
fn an_encryption_that_is_not_read_is_told_with_the_way_out() {
    if installed("openssl").is_none() {
        return;
    }
    let sandbox = Sandbox::new();
    tbprov(&sandbox, &["certs", "gen", "--name", "sensor"]);
    sandbox.write("password.txt", format!("{PASSWORD}\n"));
    for how in [
        &["pkcs8", "-topk8", "-v1", "PBE-SHA1-3DES"][..],
        &["pkcs8", "-topk8", "-v2", "camellia256"],
        &["ec", "-camellia256"],
    ] {
        encrypt(&sandbox, how, "encrypted.pem");
        let ran = sandbox.run(
            "devices add --json d --host h --cert cert.pem --key encrypted.pem --key-password-file password.txt",
        );
        ran.failed(5, "file/encrypted-key");
        assert!(ran.message().contains("in a way that tbprov does not read"), "{ran:?}");
        assert!(ran.help().contains("openssl pkey -in"), "{ran:?}");
    }
}

/// What `certs gen --encrypt-key` makes is taken by every flag that takes a key, and the store's is not encrypted.
#[test]
fn an_encrypted_key_signs_registers_and_connects() {
    let mut sandbox = Sandbox::new();
    let server = Server::start(|_| {});
    sandbox.write("mqttserver.pub.pem", server.certificate().to_pem());
    sandbox.set("TBPROV_KEY_PASSWORD", PASSWORD);
    tbprov(&sandbox, &["certs", "gen", "--name", "sensor", "--encrypt-key"]);
    assert!(sandbox.read("key.pem").starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    let pair = ["--cert", "cert.pem", "--key", "key.pem"];
    let ran = run(sandbox.provision(&server, "sensor").args(pair));
    ran.done();
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert_eq!(said.matches("keeps it unencrypted").count(), 1, "{ran:?}");
    assert!(!said.contains(PASSWORD));
    let kept = sandbox.path("devices/sensor/key.pem");
    assert!(sandbox.read("devices/sensor/key.pem").starts_with("-----BEGIN PRIVATE KEY-----"));
    #[cfg(unix)]
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&kept.metadata().unwrap().permissions()) & 0o777,
        0o600
    );
    assert!(kept.is_file());
    let port = server.address().port().to_string();
    let host = ["connect", "--json", "--host", "127.0.0.1", "--port", &port];
    let connect = [&host[..], &["--cert", "cert.pem", "--key", "key.pem"]].concat();
    run(&mut sandbox.tbprov_for(&server, &connect)).done();
    sandbox.unset("TBPROV_KEY_PASSWORD");
    let ran = run(&mut sandbox.tbprov_for(&server, &connect));
    ran.failed(5, "file/encrypted-key");
    for way in ["--key-password-file", "TBPROV_KEY_PASSWORD", "terminal"] {
        assert!(ran.help().contains(way), "{}", ran.help());
    }
}

#[test]
fn an_authority_with_an_encrypted_key_signs() {
    if installed("openssl").is_none() {
        return;
    }
    let sandbox = Sandbox::new();
    tbprov(&sandbox, &["certs", "ca", "--name", "An authority"]);
    sandbox.write("password.txt", PASSWORD);
    say(
        &sandbox,
        "openssl",
        &["ec", "-in", "ca_key.pem", "-aes256", "-passout", "file:password.txt", "-out", "locked.pem"],
    );
    let signer = ["--ca-cert", "ca.pem", "--ca-key", "locked.pem", "--key-password-file", "-"];
    let made = run(sandbox.tbprov(&["certs", "gen", "--name", "sensor", "--json"]).args(signer));
    made.failed(5, "file/wrong-password");
    let mut command = sandbox.tbprov(&["certs", "gen", "--name", "sensor", "--json"]);
    command.args(signer).stdin(std::fs::File::open(sandbox.path("password.txt")).unwrap());
    run(&mut command).done();
    say(&sandbox, "openssl", &["verify", "-x509_strict", "-CAfile", "ca.pem", "cert.pem"]);
}

/// A request goes to an authority that is elsewhere, and its certificate comes back.
#[test]
fn a_request_becomes_a_device() {
    if installed("openssl").is_none() {
        return;
    }
    let sandbox = Sandbox::new();
    for key_type in ["ec-p256", "ec-p384", "ed25519", "rsa-2048"] {
        let out = format!("my {key_type}");
        let made =
            tbprov(&sandbox, &["certs", "csr", "--name", "Küche 1", "--key-type", key_type, "--out", &out]);
        assert_eq!(made["key_type"], key_type);
        let request = format!("{out}/request.pem");
        let said = say(&sandbox, "openssl", &["req", "-in", &request, "-verify", "-noout", "-text"]);
        for part in ["verify OK", "TLS Web Client Authentication", "Digital Signature"] {
            assert!(said.contains(part), "{said}");
        }
    }
    tbprov(&sandbox, &["certs", "ca", "--name", "A company"]);
    let ran = run(&mut sandbox.tbprov(&["certs", "csr", "--name", "sensor", "--out", "new dir"]));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // What it says is pasted.
    let next = ran.stderr.lines().find(|line| line.trim().starts_with("openssl x509")).unwrap();
    say(&sandbox, "sh", &["-c", next]);
    say(
        &sandbox,
        "openssl",
        &["verify", "-x509_strict", "-CAfile", "ca.pem", "-purpose", "sslclient", "signed.pem"],
    );
    let server = Server::start(|_| {});
    run(sandbox.provision(&server, "sensor").args(["--cert", "signed.pem", "--key", "new dir/key.pem"]))
        .done();
    assert_whole(&sandbox, &server, "sensor");
    // Or by the web form of another server.
    std::fs::remove_file(sandbox.path("pinned.pem")).unwrap();
    let signed =
        tbprov::identity::read_certificates(&sandbox.read("signed.pem"), "signed").unwrap().remove(0);
    let server = Server::start(|config| {
        config.strategy = Strategy::PreProvisioned;
        config.pre_provisioned =
            vec![PreProvisioned::new("other").with(HeldCredentials::certificate(&signed))];
    });
    let add = ["devices", "add", "other", "--json", "--cert", "signed.pem", "--key", "new dir/key.pem"];
    run(&mut sandbox.tbprov_for(&server, &add)).done();
}

/// How OpenSSL writes a key of P-256 that is not in the common form, and what is said of it.
const ENCODINGS: &[(&str, &[&str], &str)] = &[
    ("explicit", &["-param_enc", "explicit"], "explicit parameters"),
    ("compressed", &["-conv_form", "compressed"], "compressed point"),
    ("both", &["-conv_form", "compressed", "-param_enc", "explicit"], "explicit parameters"),
];

#[test]
fn keys_are_compared_as_keys() {
    if installed("openssl").is_none() {
        return;
    }
    let sandbox = Sandbox::new();
    tbprov(&sandbox, &["certs", "gen", "--name", "sensor"]);
    let plain = sandbox.read("cert.pem");
    let taken = |certificate: &str, key: &str| {
        let plan =
            "provision --json --dry-run --host h --provision-key k --provision-secret s --device-name d";
        sandbox.run_all(plan.split(' ').chain(["--cert", certificate, "--key", key]))
    };
    for (name, how, says) in ENCODINGS {
        let (key, certificate) = (format!("{name}_key.pem"), format!("{name}.pem"));
        say(&sandbox, "openssl", &[&["ec", "-in", "key.pem", "-out", &key], *how].concat());
        say(
            &sandbox,
            "openssl",
            &[
                "req",
                "-x509",
                "-new",
                "-key",
                &key,
                "-days",
                "9",
                "-subj",
                "/CN=sensor",
                "-out",
                &certificate,
            ],
        );
        // The key is the same key, with its own certificate and with that of the common form.
        taken("cert.pem", &key).done();
        for key in ["key.pem", &key] {
            let ran = taken(&certificate, key);
            ran.failed(5, "file/bad-certificate");
            assert!(ran.message().contains(says), "{}", ran.message());
            assert!(ran.help().contains("named curves and uncompressed points"), "{}", ran.help());
        }
        // It is a second certificate of the same key, and the first of the file is another's.
        sandbox.write("other/cert.pem", fixture_text("files/other.pem"));
        let chain = sandbox.read("other/cert.pem") + &plain;
        sandbox.write("chain.pem", chain);
        let ran = taken("chain.pem", &key);
        ran.failed(5, "file/key-mismatch");
        assert!(ran.message().contains("certificate 2 of the file is, 'CN=sensor'"), "{}", ran.message());
        assert!(ran.help().contains("first in the file"), "{}", ran.help());
    }
}

/// A kept key is in the form that everything reads, whatever form it came in.
#[test]
fn a_key_of_another_encoding_is_kept_in_the_common_one() {
    if installed("openssl").is_none() {
        return;
    }
    let sandbox = Sandbox::new();
    let server = Server::start(|_| {});
    for (name, how, _) in ENCODINGS {
        tbprov(&sandbox, &["certs", "gen", "--name", name, "--out", name]);
        let key = format!("{name}/key.pem");
        say(&sandbox, "openssl", &[&["ec", "-in", &key, "-out", "other_key.pem"], *how].concat());
        let certificate = format!("{name}/cert.pem");
        run(sandbox.provision(&server, name).args(["--cert", &certificate, "--key", "other_key.pem"])).done();
        assert_eq!(sandbox.read(&format!("devices/{name}/key.pem")), sandbox.read(&key));
    }
}
