//! What OpenSSL's server does that no ThingsBoard does, and chains that OpenSSL made: each is explained.

use std::process::Stdio;

use super::*;

/// Runs `openssl` with arguments split at blanks.
fn openssl(sandbox: &Sandbox, arguments: &str) {
    say(sandbox, "openssl", &arguments.split_whitespace().collect::<Vec<_>>());
}

/// OpenSSL's server with `server.pem` and `server_key.pem`, and its port.
fn s_server(sandbox: &Sandbox, arguments: &str) -> (Running, String) {
    let mut command = sandbox.command("openssl");
    command.args("s_server -accept 127.0.0.1:0 -cert server.pem -key server_key.pem".split(' '));
    // It closes the connection when its stdin ends.
    let mut server = Running::start(command.args(arguments.split_whitespace()).stdin(Stdio::piped()));
    let accept = server.until("ACCEPT");
    let port = accept.trim_end().rsplit(':').next().unwrap().to_owned();
    (server, port)
}

/// Why `provision` ends at that port.
fn error(sandbox: &Sandbox, trusted: &str, port: &str) -> serde_json::Value {
    let arguments = ["provision", "--json", "--host", "localhost", "--port", port, "--server-cert", trusted];
    let mut command = sandbox.tbprov(&arguments);
    command.args(["--device-name", NAME, "--provision-key", KEY]).env("TBPROV_PROVISION_SECRET", SECRET);
    let error = run(&mut command).json()["error"].clone();
    assert_eq!(error["step"], "tls", "{error}");
    error
}

/// `(what the server does, what helps)`; an RSA key, so that RSA key exchange is there.
const SERVERS: &[(&str, &str)] = &[
    ("-tls1_2 -cipher AES128-GCM-SHA256", "RSA key exchange alone is not safe any more"),
    ("-tls1_2 -cipher DHE-RSA-AES128-GCM-SHA256", "an ECDHE cipher suite"),
    ("-tls1 -cipher DEFAULT@SECLEVEL=0", "TLS 1.2 or 1.3"),
    ("-tls1_1 -cipher DEFAULT@SECLEVEL=0", "TLS 1.2 or 1.3"),
    ("-servername other.example -cert2 server.pem -key2 server_key.pem -servername_fatal", "SNI"),
    ("-tls1_2 -groups brainpoolP256r1 -cipher ECDHE", "TLS 1.3, or TLS 1.2"),
    ("-tls1_3 -ciphersuites TLS_AES_128_CCM_SHA256", "TLS 1.3, or TLS 1.2"),
];

#[test]
fn a_server_whose_tls_does_not_fit_is_never_taken_for_one_without() {
    if installed("openssl").is_none() {
        return;
    }
    let sandbox = Sandbox::new();
    openssl(
        &sandbox,
        "req -x509 -newkey rsa:2048 -nodes -keyout server_key.pem -out server.pem -days 9 -subj /CN=localhost",
    );
    for_each_row(SERVERS, |(arguments, says)| {
        let (_server, port) = s_server(&sandbox, arguments);
        let failed = error(&sandbox, "server.pem", &port);
        let help = failed["help"].as_str().unwrap_or_default();
        let right = failed["code"] == "tls/handshake" && help.contains(says);
        if right && !help.contains("1883") && !help.contains("doctor") {
            return Ok(());
        }
        Err(format!("{arguments}: {failed}"))
    });
}

/// `(extensions of the authority between, how the leaf is signed, the leaf's extensions, what is said)`
type Chain = (&'static str, &'static str, &'static str, &'static str);

const CHAINS: &[Chain] = &[
    (
        "basicConstraints=critical,CA:TRUE",
        "-sha256",
        "subjectAltName=DNS:localhost\nextendedKeyUsage=clientAuth",
        "(extendedKeyUsage)",
    ),
    (
        "basicConstraints=critical,CA:TRUE\nextendedKeyUsage=clientAuth,emailProtection",
        "-sha256",
        "subjectAltName=DNS:localhost",
        "(extendedKeyUsage)",
    ),
    (
        "basicConstraints=critical,CA:TRUE\nnameConstraints=permitted;DNS:example.com",
        "-sha256",
        "subjectAltName=DNS:localhost",
        "(nameConstraints)",
    ),
    (
        "basicConstraints=critical,CA:TRUE\nnameConstraints=excluded;DNS:localhost",
        "-sha256",
        "subjectAltName=DNS:localhost",
        "(nameConstraints)",
    ),
    ("basicConstraints=critical,CA:FALSE", "-sha256", "subjectAltName=DNS:localhost", "(CA:FALSE)"),
    (
        "basicConstraints=critical,CA:TRUE",
        "-sha256",
        "subjectAltName=DNS:localhost\nbasicConstraints=critical,CA:TRUE",
        "(CA:TRUE)",
    ),
    ("basicConstraints=critical,CA:TRUE", "-sha1", "subjectAltName=DNS:localhost", "such as with SHA-1"),
    (
        "basicConstraints=critical,CA:TRUE",
        "-sha256",
        "subjectAltName=DNS:127.0.0.1",
        "is for 127.0.0.1, not for localhost",
    ),
    (
        "basicConstraints=critical,CA:TRUE",
        "-sha256",
        "keyUsage=digitalSignature",
        "'localhost' does not count",
    ),
    (
        "basicConstraints=critical,CA:TRUE",
        "-sha256",
        "subjectAltName=email:localhost@example.com",
        "'localhost' does not count",
    ),
];

/// Makes `root.pem`, what is between, and the leaf; the server sends the last two.
fn chain(sandbox: &Sandbox, (between, digest, leaf, _): &Chain, root_key: &str) {
    sandbox.write("between.ext", between);
    sandbox.write("leaf.ext", leaf);
    let ec = "ec -pkeyopt ec_paramgen_curve:P-256";
    openssl(
        sandbox,
        &format!(
            "req -x509 -newkey {root_key} -nodes -keyout root_key.pem -out root.pem -days 9 -subj /CN=root"
        ),
    );
    openssl(
        sandbox,
        &format!("req -newkey {ec} -nodes -keyout between_key.pem -out between.csr -subj /CN=between"),
    );
    openssl(
        sandbox,
        &format!("req -newkey {ec} -nodes -keyout server_key.pem -out leaf.csr -subj /CN=localhost"),
    );
    openssl(
        sandbox,
        "x509 -req -in between.csr -CA root.pem -CAkey root_key.pem -days 9 -set_serial 2 -extfile between.ext -out between.pem",
    );
    openssl(
        sandbox,
        &format!(
            "x509 -req -in leaf.csr -CA between.pem -CAkey between_key.pem -days 9 -set_serial 3 {digest} -extfile leaf.ext -out server.pem"
        ),
    );
}

#[test]
fn why_a_chain_of_openssls_is_not_believed_is_said() {
    if installed("openssl").is_none() {
        return;
    }
    for_each_row(CHAINS, |row| {
        let sandbox = Sandbox::new();
        chain(&sandbox, row, "ec -pkeyopt ec_paramgen_curve:P-256");
        let (_server, port) = s_server(&sandbox, "-cipher DEFAULT@SECLEVEL=0 -cert_chain between.pem");
        let failed = error(&sandbox, "root.pem", &port);
        let message = failed["message"].as_str().unwrap();
        if message.contains(row.3) && !message.contains("nor signed by") {
            Ok(())
        } else {
            Err(format!("{row:?}: {failed}"))
        }
    });
}

/// The chain without what is between; and one below a key that is too weak to verify anything.
#[test]
fn an_issuer_that_was_not_sent_and_one_that_is_too_weak_are_named() {
    if installed("openssl").is_none() {
        return;
    }
    let good: Chain = ("basicConstraints=critical,CA:TRUE", "-sha256", "subjectAltName=DNS:localhost", "");
    let sandbox = Sandbox::new();
    chain(&sandbox, &good, "ec -pkeyopt ec_paramgen_curve:P-256");
    let (_server, port) = s_server(&sandbox, "");
    let message = error(&sandbox, "root.pem", &port)["message"].to_string();
    assert!(message.contains("its issuer 'CN=between' was not sent, and is not in it"), "{message}");
    let sandbox = Sandbox::new();
    chain(&sandbox, &good, "rsa:1024");
    let (_server, port) = s_server(&sandbox, "-cert_chain between.pem");
    let message = error(&sandbox, "root.pem", &port)["message"].to_string();
    assert!(
        message.contains("the key of its authority 'CN=root' is too weak (1024 bits of RSA"),
        "{message}"
    );
}

/// An authority that may sign servers and no other authority.
#[test]
fn a_chain_that_is_too_long_is_said_to_be() {
    if installed("openssl").is_none() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("upper.ext", "basicConstraints=critical,CA:TRUE,pathlen:0");
    sandbox.write("lower.ext", "basicConstraints=critical,CA:TRUE");
    sandbox.write("server.ext", "subjectAltName=DNS:localhost");
    let ec = "ec -pkeyopt ec_paramgen_curve:P-256";
    let root = "-keyout root_key.pem -out root.pem -days 9 -subj /CN=root";
    openssl(&sandbox, &format!("req -x509 -newkey {ec} -nodes {root}"));
    for (name, above) in [("upper", "root"), ("lower", "upper"), ("server", "lower")] {
        let request = format!("-keyout {name}_key.pem -out {name}.csr -subj /CN={name}");
        openssl(&sandbox, &format!("req -newkey {ec} -nodes {request}"));
        let signed =
            format!("-CA {above}.pem -CAkey {above}_key.pem -days 9 -set_serial 2 -extfile {name}.ext");
        openssl(&sandbox, &format!("x509 -req -in {name}.csr {signed} -out {name}.pem"));
    }
    sandbox.write("above.pem", sandbox.read("lower.pem") + &sandbox.read("upper.pem"));
    let (_server, port) = s_server(&sandbox, "-cert_chain above.pem");
    let message = error(&sandbox, "root.pem", &port)["message"].to_string();
    assert!(
        message.contains("its chain is longer than its authority allows (pathLenConstraint)"),
        "{message}"
    );
}
