//! What an authority signs, and what it may not sign: OpenSSL's authorities and OpenSSL's opinion.

use super::*;

/// An authority of OpenSSL's, `NAME.pem` and `NAME_key.pem`: the section of its extensions, and who signed it.
fn authority(sandbox: &Sandbox, name: &str, subject: &str, extensions: &str, issuer: Option<&str>) {
    let configuration = format!("[req]\ndistinguished_name=dn\n[dn]\n[authority]\n{extensions}\n");
    let configuration = sandbox.write(&format!("{name}.cnf"), &configuration).display().to_string();
    let (certificate, key) = (format!("{name}.pem"), format!("{name}_key.pem"));
    let mut arguments = vec![
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-noenc",
        "-utf8",
        "-days",
        "5",
    ];
    arguments.extend(["-config", &configuration, "-extensions", "authority", "-subj", subject]);
    arguments.extend(["-keyout", &key, "-out", &certificate]);
    let by = issuer.map(|issuer| [format!("{issuer}.pem"), format!("{issuer}_key.pem")]);
    if let Some([certificate, key]) = &by {
        arguments.extend(["-CA", certificate, "-CAkey", key]);
    }
    say(sandbox, "openssl", &arguments);
}

fn gen_with(sandbox: &Sandbox, authority: &str) -> Ran {
    sandbox.run(&format!(
        "certs gen --json --name sensor --out by-{authority} --ca-cert {authority}.pem --ca-key {authority}_key.pem"
    ))
}

#[test]
fn every_type_of_key_signs_and_is_signed() {
    if installed("openssl").is_none() {
        return;
    }
    let pairs = KEY_TYPES.iter().zip(KEY_TYPES.iter().cycle().skip(1));
    std::thread::scope(|scope| {
        for (authority, leaf) in pairs {
            scope.spawn(move || {
                let sandbox = Sandbox::new();
                tbprov(&sandbox, &["certs", "ca", "--name", "An authority", "--key-type", authority]);
                let signed = ["--key-type", leaf, "--ca-cert", "ca.pem", "--ca-key", "ca_key.pem"];
                tbprov(&sandbox, &[&["certs", "gen", "--name", "sensor"], &signed[..]].concat());
                let strictly =
                    ["verify", "-x509_strict", "-CAfile", "ca.pem", "-purpose", "sslclient", "cert.pem"];
                say(&sandbox, "openssl", &strictly);
            });
        }
    });
}

/// Extensions of an authority that may sign a device.
const GOOD: &[(&str, &str, &str)] = &[
    ("plain", "/CN=An authority", "basicConstraints=critical,CA:TRUE\nsubjectKeyIdentifier=hash"),
    ("no-key-id", "/CN=An authority", "basicConstraints=CA:TRUE\nsubjectKeyIdentifier=none"),
    (
        "last",
        "/CN=An authority",
        "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign",
    ),
    (
        "clients",
        "/CN=An authority",
        "basicConstraints=critical,CA:TRUE\nextendedKeyUsage=clientAuth,serverAuth",
    ),
    ("long-name", "/C=DE/O=Küche 传感器/OU=Devices/CN=An authority", "basicConstraints=critical,CA:TRUE"),
];

#[test]
fn an_authority_of_openssl_signs_what_openssl_accepts() {
    if installed("openssl").is_none() {
        return;
    }
    let sandbox = Sandbox::new();
    for (name, subject, extensions) in GOOD {
        authority(&sandbox, name, subject, extensions, None);
        gen_with(&sandbox, name).done();
        let verify = ["verify", "-CAfile", &format!("{name}.pem"), "-purpose", "sslclient"];
        say(&sandbox, "openssl", &[&verify[..], &[&format!("by-{name}/cert.pem")]].concat());
    }
}

/// Extensions of an authority that may not sign a device, and what is said of it.
const BAD: &[(&str, &str, &str, &str)] = &[
    ("leaf", "/CN=x", "basicConstraints=critical,CA:FALSE", "no CA:TRUE"),
    ("silent", "/CN=x", "subjectKeyIdentifier=hash", "no CA:TRUE"),
    (
        "no-signing",
        "/CN=x",
        "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,digitalSignature",
        "its key usage lacks certificate signing",
    ),
    (
        "servers",
        "/CN=x",
        "basicConstraints=critical,CA:TRUE\nextendedKeyUsage=serverAuth",
        "its extended key usage is for another purpose",
    ),
    ("nameless", "/", "basicConstraints=critical,CA:TRUE", "it has no name"),
];

/// Names as companies have them, and the types of text that their tools write (OpenSSL's `string_mask`).
const NAMES: &[(&str, &[&str], &str)] = &[
    ("directory", &["/DC=com/DC=example/DC=corp/CN=X"], "utf8only"),
    ("units", &["/OU=a/OU=b/OU=a/CN=x"], "utf8only"),
    ("together", &["/C=DE+O=A/OU=x+CN=y+OU=z/emailAddress=a@example.com", "-multivalue-rdn"], "utf8only"),
    ("teletex", &["/O=Müller & Söhne/CN=Küche"], "MASK:0x4"),
    ("universal", &["/O=Müller/CN=传感器"], "MASK:0x100"),
    ("bmp", &["/O=Müller/CN=传感器"], "MASK:0x800"),
    ("printable", &["/C=DE/O=A (B)/serialNumber=1"], "MASK:0x2"),
];

#[test]
fn the_name_of_an_authority_is_repeated_whatever_it_is() {
    if installed("openssl").is_none() {
        return;
    }
    let sandbox = Sandbox::new();
    for (name, subject, mask) in NAMES {
        let configuration = format!(
            "[req]\ndistinguished_name=dn\nstring_mask={mask}\nutf8=yes\n[dn]\n[authority]\nbasicConstraints=critical,CA:TRUE\n\
             keyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
        );
        let configuration = sandbox.write("names.cnf", configuration).display().to_string();
        let (certificate, key) = (format!("{name}.pem"), format!("{name}_key.pem"));
        let make =
            ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "5"];
        let files =
            ["-config", &configuration, "-extensions", "authority", "-keyout", &key, "-out", &certificate];
        say(&sandbox, "openssl", &[&make[..], &files, &["-utf8", "-subj"], subject].concat());
        gen_with(&sandbox, name).done();
        let signed = format!("by-{name}/cert.pem");
        let verify = ["verify", "-x509_strict", "-CAfile", &certificate, "-purpose", "sslclient", &signed];
        say(&sandbox, "openssl", &verify);
        let server = ["certs", "server", "--host", "localhost", "--out", "server", "--ca-cert", &certificate];
        tbprov(&sandbox, &[&server[..], &["--ca-key", &key]].concat());
        say(&sandbox, "openssl", &["verify", "-x509_strict", "-CAfile", &certificate, "server/server.pem"]);
        for file in ["server/server.pem", "server/server_key.pem"] {
            std::fs::remove_file(sandbox.path(file)).unwrap();
        }
    }
}

#[test]
fn an_authority_whose_certificates_nobody_accepts_signs_none() {
    if installed("openssl").is_none() {
        return;
    }
    let sandbox = Sandbox::new();
    for (name, subject, extensions, says) in BAD {
        authority(&sandbox, name, subject, extensions, None);
        let ran = gen_with(&sandbox, name);
        ran.failed(5, "file/bad-certificate");
        assert!(ran.message().contains(says), "{name}: {}", ran.message());
        assert!(!sandbox.path(&format!("by-{name}")).exists(), "{name}");
    }
}

#[test]
fn an_intermediate_authority_signs_where_the_one_above_it_allows_it() {
    if installed("openssl").is_none() {
        return;
    }
    let sandbox = Sandbox::new();
    let ca = "basicConstraints=critical,CA:TRUE";
    for (root, constraints, allowed) in [("free", ca, true), ("narrow", &format!("{ca},pathlen:0"), false)] {
        let intermediate = format!("below-{root}");
        authority(&sandbox, root, "/CN=A root", constraints, None);
        authority(&sandbox, &intermediate, "/CN=An intermediate", ca, Some(root));
        let alone = sandbox.read(&format!("{intermediate}.pem"));
        let chain = alone.clone() + &sandbox.read(&format!("{root}.pem"));
        sandbox.write(&format!("{intermediate}.pem"), chain);
        sandbox.write("alone.pem", alone);
        let ran = gen_with(&sandbox, &intermediate);
        if allowed {
            ran.done();
            let certificate = format!("by-{intermediate}/cert.pem");
            let root = format!("{root}.pem");
            let verify = [
                "verify",
                "-CAfile",
                &root,
                "-untrusted",
                "alone.pem",
                "-purpose",
                "sslclient",
                &certificate,
            ];
            say(&sandbox, "openssl", &verify);
            assert_eq!(sandbox.read(&certificate).matches("BEGIN CERTIFICATE").count(), 3);
        } else {
            ran.failed(5, "file/bad-certificate");
            assert!(ran.message().contains("CN=A root"), "{}", ran.message());
            assert!(
                ran.message().contains("its path length allows no further authority"),
                "{}",
                ran.message()
            );
        }
    }
}

#[test]
fn a_certificate_ends_with_its_authority_at_the_latest() {
    let sandbox = Sandbox::new();
    let ca = tbprov(&sandbox, &["certs", "ca", "--name", "An authority", "--days", "5"]);
    let ran = sandbox.run("certs gen --json --name sensor --ca-cert ca.pem --ca-key ca_key.pem");
    assert_eq!(ran.done()["not_after"], ca["not_after"]);
    assert!(ran.stderr.contains("ends with its authority's"), "{ran:?}");
    let shorter =
        sandbox.run("certs gen --json --name sensor --days 3 --out b --ca-cert ca.pem --ca-key ca_key.pem");
    assert!(!shorter.stderr.contains("ends with"), "{shorter:?}");
    assert_ne!(shorter.done()["not_after"], ca["not_after"]);
}

/// As a small computer without a battery has it.
const WRONG_CLOCKS: [(&str, &str); 3] = [
    ("1970-01-02 00:00:00", "says 1970-01-02 00:0"),
    ("2000-01-01 00:00:00", "says 2000-01-01 00:0"),
    ("+8500y", "says a time after the year 9999"),
];

#[test]
fn with_a_clock_that_cannot_be_right_nothing_is_made() {
    if installed("faketime").is_none() {
        return;
    }
    let sandbox = Sandbox::new();
    let server = Server::start(|_| {});
    let at = |clock: &str, arguments: &[&str]| {
        let tbprov = sandbox.tbprov_for(&server, arguments);
        let mut command = sandbox.command("faketime");
        command.args(["-f", clock]).arg(tbprov.get_program()).args(tbprov.get_args());
        command.envs(tbprov.get_envs().filter_map(|(name, value)| Some((name, value?))));
        run(&mut command)
    };
    for (clock, says) in WRONG_CLOCKS {
        for arguments in [
            &["provision", "--device-name", "sensor"][..],
            &["certs", "gen", "--name", "sensor"],
            &["certs", "ca", "--name", "An authority"],
            &["certs", "server", "--host", "localhost"],
            &["sim", "--dir", "sim"],
        ] {
            let ran = at(clock, &[arguments, &["--json"]].concat());
            ran.failed(2, "identity/clock");
            assert!(ran.message().contains(says), "{}", ran.message());
        }
        let keys = sandbox.files().into_iter().filter(|path| path.to_string_lossy().ends_with("key.pem"));
        assert_eq!(keys.count(), 0);
        // Looking is possible with any clock.
        let saved = fixture("files/device.pem").display().to_string();
        at(clock, &["certs", "inspect", &saved, "--json"]).done();
    }
    assert_eq!(sandbox.provision(&server, "sensor").output().unwrap().status.code(), Some(0));
    let late = at("2070-01-01 00:00:00", &["provision", "--device-name", "sensor", "--json"]);
    late.failed(5, "file/expired-certificate");
    assert!(late.message().contains("and this machine's clock says 2070-01-01 00:0"), "{}", late.message());
    assert!(late.help().starts_with("check this machine's clock first"), "{}", late.help());
}
