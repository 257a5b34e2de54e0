//! Files that are not the PEM that was needed: what they are is said, and what turns them into it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

#[cfg(unix)]
use crate::support::run;
use crate::support::{Ran, Sandbox, fixture, fixture_text};

/// A dry run with `file` as the certificate or as the key, and the other of the two as it should be.
fn given(sandbox: &Sandbox, flag: &str, file: &str) -> Ran {
    let plan = "provision --json --dry-run --host h --provision-key k --provision-secret s --device-name d";
    let [certificate, key] = ["device.pem", "device_key.pem"].map(|name| fixture(&format!("files/{name}")));
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let (certificate, key) = match flag {
        "--cert" => (file, key.as_str()),
        _ => (certificate.as_str(), file),
    };
    sandbox.run_all(plan.split(' ').chain(["--cert", certificate, "--key", key]))
}

const BOTH: [(&str, &str); 2] = [("--cert", "device.pem"), ("--key", "device_key.pem")];

type Break = fn(&str) -> String;

/// How PEM gets broken, and what is said of it.
const BROKEN: &[(&str, Break, &str)] = &[
    ("escaped", |pem| pem.replace('\n', "\\n"), "written as \\n"),
    ("escaped-and-quoted", |pem| format!("\"{}\"", pem.replace('\n', "\\n")), "written as \\n"),
    ("as-a-variable", |pem| format!("CERT=\"{}\"\n", pem.replace('\n', "\\n")), "written as \\n"),
    ("as-json", |pem| format!("{{\"pem\": \"{}\"}}\n", pem.replace('\n', "\\n")), "written as \\n"),
    ("escaped-crlf", |pem| pem.replace('\n', "\\r\\n"), "written as \\n"),
    ("one-line", |pem| pem.replace('\n', ""), "on one line"),
    ("blanks-for-line-ends", |pem| pem.replace('\n', " "), "on one line"),
    (
        "indented",
        |pem| pem.replace("-----BEGIN", "key: |\n-----BEGIN").replace('\n', "\n    "),
        "begin with blanks",
    ),
    ("indented-by-tabs", |pem| format!("\t{}", pem.trim_end().replace('\n', "\n\t")), "begin with blanks"),
    ("quoted", |pem| format!("\"{}\"\n", pem.trim_end()), "in quotes"),
    ("quoted-lines", |pem| format!("'{}'\n", pem.trim_end().replace('\n', "'\n'")), "in quotes"),
];

#[test]
fn pem_that_was_broken_on_its_way_is_told_and_mended() {
    let sandbox = Sandbox::new();
    for (name, break_it, says) in BROKEN {
        for (flag, file) in BOTH {
            let broken = format!("it's {name}.pem");
            sandbox.write(&broken, break_it(&fixture_text(&format!("files/{file}"))));
            let ran = given(&sandbox, flag, &broken);
            ran.failed(5, "file/not-pem");
            assert!(ran.message().contains(says), "{name}: {}", ran.message());
            assert!(!ran.help().contains("der"), "{name}: {}", ran.help());
            #[cfg(unix)]
            if !name.starts_with("as-") {
                let help = ran.help();
                let command = help.split(" writes it").next().unwrap();
                let ended = run(sandbox.command("sh").args(["-c", command]));
                assert_eq!(ended.code, Some(0), "{command}: {ended:?}");
                assert_eq!(given(&sandbox, flag, "fixed.pem").brief(), "", "{name}: {command}");
            }
        }
    }
}

/// Text that is something else, and what is said of it and advised.
const TEXTS: &[(&str, &str, &str)] = &[
    ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHh1 me@here\n", "a public key of SSH", "private key"),
    ("ecdsa-sha2-nistp256 AAAAE2VjZHNh me\n", "a public key of SSH", "private key"),
    ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n", "a public key of SSH", "private key"),
    (
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn\n-----END OPENSSH PRIVATE KEY-----\n",
        "OpenSSH's own form",
        "ssh-keygen -p",
    ),
    ("PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n", "PuTTY's own form", "puttygen"),
    (
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQ\n-----END PGP PRIVATE KEY BLOCK-----\n",
        "PGP",
        "certs gen",
    ),
    ("-----BEGIN PGP MESSAGE-----\n\nhQ\n-----END PGP MESSAGE-----\n", "PGP", "certs gen"),
    ("<!DOCTYPE html><html><title>Log in</title></html>\n", "HTML", "download the file again"),
    ("<?xml version=\"1.0\"?><Error/>\n", "HTML or XML", "download the file again"),
    ("{\"error\": \"not found\"}\n", "JSON", "-----BEGIN"),
    ("–––BEGIN CERTIFICATE–––\nMIIB\n–––END CERTIFICATE–––\n", "five dashes", "copy the text again"),
    ("----BEGIN PRIVATE KEY----\nMIIB\n----END PRIVATE KEY----\n", "five dashes", "copy the text again"),
    ("-----BEGIN DH PARAMETERS-----\nMAYC\n-----END DH PARAMETERS-----\n", "without the key", "-paramfile"),
    (
        "-----BEGIN SOMETHING ELSE-----\nMAYC\n-----END SOMETHING ELSE-----\n",
        "PEM of another kind",
        "-----BEGIN CERTIFICATE-----",
    ),
];

#[test]
fn text_that_is_something_else_is_named() {
    let sandbox = Sandbox::new();
    for (content, says, advises) in TEXTS {
        sandbox.write("given.pem", content);
        for flag in ["--cert", "--key"] {
            let ran = given(&sandbox, flag, "given.pem");
            ran.failed(5, "file/not-pem");
            assert!(ran.message().contains(says), "{flag} {content}: {}", ran.message());
            assert!(ran.help().contains(advises), "{flag} {content}: {}", ran.help());
            assert!(!ran.help().contains("-inform der"), "{flag} {content}: {}", ran.help());
        }
    }
}

#[test]
fn the_other_of_the_two_is_named() {
    let sandbox = Sandbox::new();
    let certificate = fixture("files/device.pem").display().to_string();
    let ran = given(&sandbox, "--key", &certificate);
    ran.failed(5, "file/not-pem");
    assert!(
        ran.message().ends_with("device.pem holds a certificate, but no private key in PEM"),
        "{}",
        ran.message()
    );
    let key = fixture("files/device_key.pem").display().to_string();
    let ran = given(&sandbox, "--cert", &key);
    ran.failed(5, "file/not-pem");
    assert!(ran.message().ends_with("holds a private key, but no certificate in PEM"), "{}", ran.message());
}

/// The beginnings of binary files, and what is said of them.
const BINARIES: &[(&[u8], &str, &str)] = &[
    (b"\xFE\xED\xFE\xED\x00\x00\x00\x02", "Java key store", "keytool -importkeystore"),
    (b"\xCE\xCE\xCE\xCE\x00\x00\x00\x02", "Java key store", "keytool -importkeystore"),
    (b"\x1F\x8B\x08\x00", "compressed", "unpack"),
    (b"PK\x03\x04\x14\x00", "compressed", "unpack"),
    (b"BZh91AY", "compressed", "unpack"),
    (b"\xFD7zXZ\x00", "compressed", "unpack"),
    (b"\x30\x80\x02\x01\x03\x30\x80", "PKCS#12", "openssl pkcs12 -export"),
];

#[test]
fn binary_files_are_named() {
    let sandbox = Sandbox::new();
    for (content, says, advises) in BINARIES {
        sandbox.write("given.bin", content);
        for flag in ["--cert", "--key"] {
            let ran = given(&sandbox, flag, "given.bin");
            ran.failed(5, "file/not-pem");
            assert!(ran.message().contains(says), "{flag}: {}", ran.message());
            assert!(ran.help().contains(advises), "{flag}: {}", ran.help());
        }
    }
    // Nothing that is known: no advice about DER for what is not.
    sandbox.write("given.bin", b"\x00\x01\x02\x03");
    let ran = given(&sandbox, "--cert", "given.bin");
    ran.failed(5, "file/not-pem");
    assert!(!ran.help().contains("der"), "{}", ran.help());
}

#[test]
fn base64_without_its_lines_is_named() {
    let sandbox = Sandbox::new();
    for (flag, file) in BOTH {
        let text = fixture_text(&format!("files/{file}"));
        let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
        assert!(STANDARD.decode(&body).is_ok());
        sandbox.write("bare.pem", &body);
        let ran = given(&sandbox, flag, "bare.pem");
        ran.failed(5, "file/not-pem");
        assert!(ran.message().contains("base64 without the BEGIN and END lines"), "{}", ran.message());
        assert!(!format!("{ran:?}").contains(&body[20..40]), "nothing of it is shown");
    }
}

#[test]
fn a_secret_in_another_encoding_is_told() {
    let sandbox = Sandbox::new();
    let wide: Vec<u8> = "\u{feff}secret\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let without_mark: Vec<u8> = "secret\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let latin1 = b"se\xE9cret\n".to_vec();
    for content in [wide, without_mark, latin1] {
        sandbox.write("secret.txt", content);
        let ran = sandbox.run(
            "provision --json --dry-run --host h --provision-key k --provision-secret-file secret.txt --device-name d",
        );
        ran.failed(5, "file/io");
        assert!(ran.message().contains("encoding is not UTF-8"), "{}", ran.message());
        assert!(ran.help().contains("plain text (UTF-8"), "{}", ran.help());
    }
}

#[test]
fn days_that_no_certificate_can_name_are_refused() {
    let sandbox = Sandbox::new();
    for line in [
        "certs gen --name d --days 99999999",
        "certs ca --name d --days 4294967295",
        "certs server --host localhost --days 2913000",
        "provision --dry-run --host h --provision-key k --provision-secret s --device-name d --days 99999999",
    ] {
        let ran = sandbox.run(&format!("{line} --json"));
        ran.failed(2, "usage/invalid-value");
        assert!(ran.message().contains("after the year 9999"), "{}", ran.message());
    }
    assert_eq!(sandbox.files().len(), 0);
    sandbox.run("certs gen --json --name d --days 2000000").done();
}

/// What is given to `certs inspect`, and what is advised.
#[test]
fn a_host_without_its_port_is_no_riddle() {
    let sandbox = Sandbox::new();
    for (given, advised) in [
        ("localhost", "such as localhost:8883"),
        ("tb.example.com", "such as tb.example.com:8883"),
        ("10.0.0.1", "such as 10.0.0.1:8883"),
        ("::1", "such as [::1]:8883"),
        ("fe80::1", "such as [fe80::1]:8883"),
    ] {
        let ran = sandbox.run_all(["certs", "inspect", "--json", given]);
        ran.failed(5, "file/not-found");
        assert!(ran.help().contains(advised), "{given}: {}", ran.help());
    }
    for given in [r"C:\certs\server.pem", "C:/certs/server.pem", "./no:such/file.pem", "a:b.pem"] {
        let ran = sandbox.run_all(["certs", "inspect", "--json", given]);
        ran.failed(5, "file/not-found");
        let shown = if cfg!(windows) { given.replace('/', r"\") } else { given.to_owned() };
        assert!(ran.message().contains(&shown), "{}", ran.message());
        assert!(!ran.help().contains("8883"), "{}", ran.help());
    }
}

#[test]
fn a_certificate_that_cannot_be_read_is_shown_as_such() {
    let sandbox = Sandbox::new();
    let broken = fixture_text("files/line-missing.pem") + &fixture_text("files/device.pem");
    sandbox.write("chain.pem", broken);
    let shown = sandbox.run("certs inspect --json chain.pem").done();
    let certificates = shown["certificates"].as_array().unwrap();
    assert!(certificates[0]["unreadable"].is_string(), "{shown}");
    assert_eq!(certificates[0]["sha256"].as_str().unwrap().len(), 64);
    assert!(certificates[1]["subject"].is_string(), "{shown}");
    assert!(shown.get("proved").is_none(), "a file proves nothing: {shown}");
    let said = sandbox.run("certs inspect chain.pem").stdout;
    assert!(said.contains("not readable"), "{said}");
}

#[test]
fn an_encrypted_key_is_read_with_its_password() {
    let certificate = fixture("files/device.pem").display().to_string();
    let plan = "provision --json --dry-run --host h --provision-key k --provision-secret s --device-name d";
    for file in ["encrypted-pkcs8_key.pem", "encrypted-traditional_key.pem"] {
        let mut sandbox = Sandbox::new();
        let key = fixture(&format!("files/{file}")).display().to_string();
        let given = |sandbox: &Sandbox, more: &[&str]| {
            let pair = ["--cert", &certificate, "--key", &key, "--allow-readable-key"];
            sandbox.run_all(plan.split(' ').chain(pair).chain(more.iter().copied()))
        };
        sandbox.write("password.txt", "test\r\n");
        given(&sandbox, &["--key-password-file", "password.txt"]).done();
        given(&sandbox, &["--key-password-file", "no-such.txt"]).failed(5, "file/not-found");
        sandbox.set("TBPROV_KEY_PASSWORD", "test");
        given(&sandbox, &[]).done();
        // The flag comes before the variable.
        sandbox.set("TBPROV_KEY_PASSWORD", "other");
        given(&sandbox, &["--key-password-file", "password.txt"]).done();
        let ran = given(&sandbox, &[]);
        ran.failed(5, "file/wrong-password");
        assert!(ran.message().contains(file) && !format!("{ran:?}").contains("other"), "{ran:?}");
    }
}

#[test]
fn stdin_gives_one_thing() {
    let sandbox = Sandbox::new();
    let [certificate, key] = ["device.pem", "encrypted-pkcs8_key.pem"]
        .map(|name| fixture(&format!("files/{name}")).display().to_string());
    for line in [
        "provision --host h --provision-key k --provision-secret-file - --device-name d",
        "provision --host h --provision-key k --provision-secret s --device-name d --send-telemetry=-",
        "connect --host h --send-telemetry=-",
    ] {
        let pair = ["--json", "--cert", &certificate, "--key", &key, "--key-password-file", "-"];
        let ran = sandbox.run_all(line.split(' ').chain(pair));
        ran.failed(2, "usage/conflict");
        assert!(ran.message().contains("the password of the key"), "{}", ran.message());
    }
}
