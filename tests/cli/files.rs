//! Each file that can be wrong, in each place that reads one.

use crate::support::{KEY, NAME, Sandbox, Server, fixture, fixture_text, for_each_row, same};

/// A dry run reads every file that it is given, and changes nothing.
fn dry_run(sandbox: &Sandbox, flags: &[&str]) -> crate::support::Ran {
    let common = "provision --json --dry-run --host h --provision-key k --provision-secret s --device-name d";
    sandbox.run_all(common.split(' ').chain(flags.iter().copied()))
}

/// Certificates: `(file, how it ends)`; an empty end is none. For the device, with the key `device_key.pem`.
const CERTIFICATES: &[(&str, &str)] = &[
    ("device.pem", ""),
    ("bag-attributes.pem", ""),
    ("bom.pem", ""),
    ("certificate-and-key.pem", ""),
    ("crlf.pem", ""),
    ("key-and-certificate.pem", ""),
    ("text-after.pem", ""),
    ("text-latin1.pem", ""),
    ("trailing-spaces.pem", ""),
    ("two-certificates.pem", ""),
    ("blank.pem", "5 file/not-pem plan"),
    ("der.pem", "5 file/not-pem plan"),
    ("device_key.pem", "5 file/not-pem plan"),
    ("empty-block.pem", "5 file/bad-certificate plan"),
    ("empty.pem", "5 file/not-pem plan"),
    ("line-missing.pem", "5 file/bad-certificate plan"),
    ("not-base64.pem", "5 file/not-pem plan"),
    ("not-pem.txt", "5 file/not-pem plan"),
    ("public-key.pem", "5 file/not-pem plan"),
    ("truncated.pem", "5 file/not-pem plan"),
    ("trusted.pem", "5 file/not-pem plan"),
    ("utf-16.pem", "5 file/not-pem plan"),
    ("no-such-file.pem", "5 file/not-found plan"),
    (".", "5 file/io plan"),
];

/// Keys, with the certificate `device.pem`.
const KEYS: &[(&str, &str)] = &[
    ("device_key.pem", ""),
    ("bom_key.pem", ""),
    ("certificate-and-key.pem", ""),
    ("crlf_key.pem", ""),
    ("key-and-certificate.pem", ""),
    ("sec1_key.pem", ""),
    ("der_key.pem", "5 file/not-pem plan"),
    ("device.pem", "5 file/not-pem plan"),
    ("empty.pem", "5 file/not-pem plan"),
    ("encrypted-pkcs8_key.pem", "5 file/encrypted-key plan"),
    ("encrypted-traditional_key.pem", "5 file/encrypted-key plan"),
    ("not-pem.txt", "5 file/not-pem plan"),
    ("other_key.pem", "5 file/key-mismatch plan"),
    ("p521_key.pem", "5 file/unsupported-key plan"),
    ("public-key.pem", "5 file/not-pem plan"),
    ("rsa-1024_key.pem", "5 file/unsupported-key plan"),
    ("secp256k1_key.pem", "5 file/unsupported-key plan"),
    ("no-such-file.pem", "5 file/not-found plan"),
    (".", "5 file/io plan"),
];

/// Pairs `NAME.pem` and `NAME_key.pem`.
const PAIRS: &[(&str, &str)] = &[
    ("bom", ""),
    ("crlf", ""),
    ("other", ""),
    ("pkcs1", ""),
    ("der", "5 file/not-pem plan"),
    ("expired", "5 file/expired-certificate plan"),
    ("not-yet-valid", "5 file/expired-certificate plan"),
    ("p521", "5 file/unsupported-key plan"),
    ("rsa-1024", "5 file/unsupported-key plan"),
    ("secp256k1", "5 file/unsupported-key plan"),
];

/// That the message names the file is part of the promise.
fn check(sandbox: &Sandbox, flags: &[&str], file: &str, promised: &str) -> Result<(), String> {
    let ran = dry_run(sandbox, flags);
    let what = format!("{flags:?}");
    same(&what, &ran.brief(), promised)?;
    same(&what, &sandbox.path("devices").exists().to_string(), "false")?;
    if promised.is_empty() || ran.message().contains(file) {
        return Ok(());
    }
    Err(format!("{what}: no {file} in {:?}", ran.message()))
}

fn shown(file: &str) -> String {
    fixture(&format!("files/{file}")).display().to_string()
}

#[test]
fn every_certificate_file_is_read_or_refused_as_promised() {
    let sandbox = Sandbox::new();
    let key = shown("device_key.pem");
    for_each_row(CERTIFICATES, |(file, promised)| {
        check(&sandbox, &["--cert", &shown(file), "--key", &key], file, promised)
    });
}

#[test]
fn every_server_certificate_file_is_read_or_refused_as_promised() {
    let sandbox = Sandbox::new();
    for_each_row(CERTIFICATES, |(file, promised)| {
        check(&sandbox, &["--server-cert", &shown(file)], file, promised)
    });
}

#[test]
fn every_key_file_is_read_or_refused_as_promised() {
    let sandbox = Sandbox::new();
    let certificate = shown("device.pem");
    for_each_row(KEYS, |(file, promised)| {
        check(&sandbox, &["--cert", &certificate, "--key", &shown(file)], file, promised)
    });
}

/// The word alone says nothing: only a block's own label and header do.
#[test]
fn a_key_is_encrypted_where_its_own_block_says_so() {
    let sandbox = Sandbox::new();
    let (key, certificate) = (fixture_text("files/device_key.pem"), shown("device.pem"));
    let encrypted = fixture_text("files/encrypted-pkcs8_key.pem");
    let brief = |content: &str| {
        let file = sandbox.write("key.pem", content).display().to_string();
        dry_run(&sandbox, &["--cert", &certificate, "--key", &file]).brief()
    };
    assert_eq!(brief(&format!("friendlyName: NOT ENCRYPTED\n# Proc-Type: 4,ENCRYPTED\n{key}")), "");
    assert_eq!(brief(&format!("{key}{encrypted}")), "");
    assert_eq!(brief(&format!("{encrypted}{key}")), "5 file/encrypted-key plan");
}

#[test]
fn every_pair_is_taken_or_refused_as_promised() {
    let sandbox = Sandbox::new();
    for_each_row(PAIRS, |(name, promised)| {
        let (certificate, key) = (shown(&format!("{name}.pem")), shown(&format!("{name}_key.pem")));
        check(&sandbox, &["--cert", &certificate, "--key", &key], name, promised)
    });
}

#[test]
fn files_with_marks_and_other_line_ends_have_the_same_credentials_id() {
    let sandbox = Sandbox::new();
    let id = |certificate: &str| {
        let ran = dry_run(&sandbox, &["--cert", &shown(certificate), "--key", &shown("device_key.pem")]);
        ran.done()["dry_run"]["identity"]["existing"]["credentials_id"].clone()
    };
    for (file, _) in CERTIFICATES.iter().filter(|row| row.1.is_empty()) {
        assert_eq!(id(file), id("device.pem"), "{file}");
    }
}

#[test]
fn the_same_files_are_refused_by_every_command_that_takes_them() {
    let sandbox = Sandbox::new();
    let (device, other) = (shown("device.pem"), shown("other_key.pem"));
    for command in [
        "connect --host h",
        "devices add d --host h",
        "provision --dry-run --host h --provision-key k --provision-secret s --device-name d",
    ] {
        let ran = sandbox.run(&format!("{command} --json --cert {device} --key {other}"));
        assert_eq!(ran.brief(), "5 file/key-mismatch plan", "{command}");
    }
    let ran = sandbox.run(&format!("certs gen --json --name d --ca-cert {device} --ca-key {other}"));
    assert_eq!(ran.brief(), "5 file/key-mismatch plan");
    let ran = sandbox.run(&format!("certs inspect --json {}", shown("not-pem.txt")));
    assert_eq!(ran.brief(), "5 file/not-pem plan");
}

#[test]
fn a_certificate_that_is_no_authority_signs_nothing() {
    let sandbox = Sandbox::new();
    let (certificate, key) = (shown("device.pem"), shown("device_key.pem"));
    let ran =
        sandbox.run(&format!("certs gen --json --name d --out new --ca-cert {certificate} --ca-key {key}"));
    assert_eq!(ran.brief(), "5 file/bad-certificate plan");
    assert!(!sandbox.path("new").exists());
}

#[test]
fn nothing_is_overwritten() {
    let sandbox = Sandbox::new();
    for (line, file) in [
        ("certs gen --json --name d", "key.pem"),
        ("certs gen --json --name d", "cert.pem"),
        ("certs server --json --host localhost", "server_key.pem"),
        ("certs server --json --host localhost", "server.pem"),
        ("certs ca --json --name authority", "ca_key.pem"),
        ("certs ca --json --name authority", "ca.pem"),
    ] {
        let name = format!("{}/{file}", file.replace('.', "-"));
        sandbox.write(&name, "precious");
        let folder = sandbox.path(&name).parent().unwrap().display().to_string();
        let ran = sandbox.run(&format!("{line} --out {folder}"));
        assert_eq!(ran.brief(), "5 file/exists plan", "{file}");
        assert_eq!(sandbox.read(&name), "precious");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "{file}");
    }
}

#[test]
fn a_secret_is_read_from_its_file_with_any_line_end() {
    let server = Server::presenting("san", |_| {});
    for (index, content) in ["SECRET", "SECRET\n", "SECRET\r\n", "\u{feff}SECRET\r\n"].iter().enumerate() {
        let sandbox = Sandbox::trusting("san");
        sandbox.write("secret.txt", content.replace("SECRET", crate::support::SECRET));
        let ran = sandbox.run(&format!(
            "provision --json --provision-key {KEY} --provision-secret-file secret.txt --device-name {NAME}-{index} {}",
            server.flags()
        ));
        assert_eq!(ran.outcome(), "provisioned", "{content:?}");
    }
}
