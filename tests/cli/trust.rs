//! Whom `provision` believes, certificate by certificate, and what an impostor learns: nothing.

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::ServerConfig;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tbprov::sim::Event;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{
    KEY, NAME, SECRET, Sandbox, Server, fixture, fixture_text, for_each_row, runtime, same,
};

/// `(what the server presents, what is trusted, the host asked for, flags, how it ends)`
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str);

const ROWS: &[Row] = &[
    // The commands of the ESP32 example: CA:TRUE, no SAN, the name in the subject alone.
    ("esp32", "esp32", "localhost", "", "provisioned"),
    ("esp32", "esp32", "127.0.0.1", "", "3 tls/name-mismatch tls"),
    ("esp32", "esp32", "127.0.0.1", "--skip-name-check", "provisioned"),
    ("v1", "v1", "localhost", "", "provisioned"),
    ("san", "san", "localhost", "", "provisioned"),
    ("san", "san", "127.0.0.1", "", "provisioned"),
    ("leaf", "leaf", "localhost", "", "provisioned"),
    ("leaf", "leaf", "127.0.0.1", "", "3 tls/name-mismatch tls"),
    ("leaf-san", "leaf-san", "127.0.0.1", "", "provisioned"),
    ("rsa-2048", "rsa-2048", "localhost", "", "provisioned"),
    // The leaf, the one above it, and the authority: each is enough.
    ("chain", "chain", "localhost", "", "provisioned"),
    ("chain", "intermediate", "localhost", "", "provisioned"),
    ("chain", "ca", "localhost", "", "provisioned"),
    ("chain", "san", "localhost", "", "3 tls/untrusted tls"),
    // Of the same name, and of no name that matters.
    ("impostor", "esp32", "localhost", "", "3 tls/untrusted tls"),
    ("impostor", "esp32", "localhost", "--skip-name-check", "3 tls/untrusted tls"),
    ("esp32", "san", "localhost", "", "3 tls/untrusted tls"),
    ("leaf", "ca", "localhost", "", "3 tls/untrusted tls"),
    ("expired", "expired", "localhost", "", "3 tls/expired tls"),
    ("expired", "expired", "localhost", "--skip-name-check", "3 tls/expired tls"),
    ("not-yet-valid", "not-yet-valid", "localhost", "", "3 tls/expired tls"),
];

#[test]
fn every_server_certificate_is_judged_as_promised() {
    for_each_row(ROWS, |(presented, trusted, host, flags, promised)| {
        let what = format!("{presented} with {trusted} as {host} {flags}");
        let sandbox = Sandbox::trusting(trusted);
        let server = Server::presenting(presented, |_| {});
        same(&what, &server.provision(&sandbox, &format!("--host {host} {flags}")).brief(), promised)?;
        let requests =
            server.events().iter().filter(|event| matches!(event, Event::ProvisionRequest { .. })).count();
        same(&what, &requests.to_string(), if *promised == "provisioned" { "1" } else { "0" })
    });
}

#[test]
fn without_a_file_the_systems_roots_decide_and_the_help_says_how_to_get_the_file() {
    let sandbox = Sandbox::new();
    let server = Server::presenting("san", |_| {});
    let line = format!(
        "provision --json --host localhost --port {} --provision-key {KEY} --provision-secret s --device-name {NAME}",
        server.port()
    );
    let refused = sandbox.run(&line);
    // A machine without any root says so before it connects.
    assert!(
        ["3 tls/untrusted tls", "3 tls/untrusted plan"].contains(&refused.brief().as_str()),
        "{refused:?}"
    );
    assert!(refused.help().contains("--server-cert"), "{refused:?}");
}

/// In the words of Linux: `(SSL_CERT_FILE, SSL_CERT_DIR, what the message says)`; `other.pem` holds an authority that did not sign.
#[cfg(target_os = "linux")]
const VARIABLES: &[(&str, &str, &str)] = &[
    ("/nonexistent", "", "SSL_CERT_FILE ('/nonexistent'), and failed to read PEM from file: No such file"),
    ("", "/nonexistent", "SSL_CERT_DIR ('/nonexistent'), and opening directory: No such file"),
    ("/nonexistent", "/nonexistent", "SSL_CERT_FILE ('/nonexistent') and SSL_CERT_DIR ('/nonexistent'), and"),
    ("empty.pem", "", "SSL_CERT_FILE ('empty.pem'), and no certificate is there"),
    ("key.pem", "", "SSL_CERT_FILE ('key.pem'), and no certificate is there"),
    ("damaged.pem", "", "SSL_CERT_FILE ('damaged.pem'), and failed to read PEM from file"),
    (".", "", "SSL_CERT_FILE ('.'), and"),
    ("", "empty", "SSL_CERT_DIR ('empty'), and no certificate is there"),
    ("other.pem", "", "that this system trusts (they are taken from SSL_CERT_FILE ('other.pem'))"),
    ("", "folder", "that this system trusts (they are taken from SSL_CERT_DIR ('folder'))"),
    ("other.pem", "/nonexistent", "SSL_CERT_FILE ('other.pem') and SSL_CERT_DIR ('/nonexistent'))"),
];

#[cfg(target_os = "linux")]
#[test]
fn a_variable_that_says_whom_to_believe_is_named_where_it_decides() {
    let server = Server::presenting("leaf", |_| {});
    for_each_row(VARIABLES, |(file, folder, says)| {
        let mut sandbox = Sandbox::new();
        sandbox.write("empty.pem", "");
        sandbox.write("key.pem", fixture_text("server/san_key.pem"));
        sandbox.write("damaged.pem", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n");
        sandbox.write("other.pem", fixture_text("server/esp32.pem"));
        sandbox.write("folder/other.pem", fixture_text("server/esp32.pem"));
        std::fs::create_dir(sandbox.path("empty")).unwrap();
        for (name, value) in [("SSL_CERT_FILE", file), ("SSL_CERT_DIR", folder)] {
            if !value.is_empty() {
                sandbox.set(name, value);
            }
        }
        let doctor = sandbox.run(&format!("doctor --json --host localhost --port {}", server.port())).json();
        let checks = doctor["checks"].as_array().unwrap().clone();
        let failed = checks.iter().find(|check| check["code"] == "tls/untrusted").unwrap();
        let detail = failed["detail"].as_str().unwrap();
        if detail.contains(says) { Ok(()) } else { Err(format!("{file} {folder}: {failed}")) }
    });
}

#[test]
fn the_customary_file_is_trusted_without_a_flag() {
    let sandbox = Sandbox::new();
    sandbox.write("mqttserver.pub.pem", fixture_text("server/esp32.pem"));
    let server = Server::presenting("esp32", |_| {});
    let line = format!(
        "provision --json --host localhost --port {} --provision-key {KEY} --provision-secret {SECRET} --device-name {NAME}",
        server.port()
    );
    assert_eq!(sandbox.run(&line).outcome(), "provisioned");
    assert_eq!(sandbox.read("devices/sensor-01/server.pem"), fixture_text("server/esp32.pem"));
}

#[test]
fn the_saved_identity_goes_on_trusting_the_same_server_only() {
    let sandbox = Sandbox::trusting("esp32");
    let server = Server::presenting("esp32", |_| {});
    assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
    let impostor = Server::presenting("impostor", |_| {});
    let connect = sandbox.run(&format!("connect --json --port {}", impostor.port()));
    assert_eq!(connect.brief(), "3 tls/untrusted verify");
    let telemetry = sandbox.run(&format!("connect --json --send-telemetry --port {}", impostor.port()));
    assert_eq!(telemetry.brief(), "3 tls/untrusted tls");
    let connected = |event: &Event| matches!(event, Event::TlsEstablished { .. } | Event::Connected { .. });
    assert!(!impostor.events().iter().any(connected));
}

/// A TLS server with the impostor's key that counts every application byte it is sent.
async fn bytes_told_to_an_impostor(
    listener: TcpListener,
    certificate: &'static str,
    version: &'static SupportedProtocolVersion,
) -> usize {
    let chain = vec![CertificateDer::from_pem_file(fixture(certificate)).unwrap()];
    let key = PrivateKeyDer::from_pem_file(fixture("server/impostor_key.pem")).unwrap();
    let provider = Arc::new(default_provider());
    let key = provider.key_provider.load_private_key(key).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key))));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (stream, _) = listener.accept().await.unwrap();
    let mut told = Vec::new();
    if let Ok(mut stream) = acceptor.accept(stream).await {
        let _ = stream.read_to_end(&mut told).await;
    }
    told.len()
}

#[test]
fn an_impostor_learns_nothing_not_even_with_a_copy_of_the_certificate() {
    let certificates = ["server/impostor.pem", "server/esp32.pem"];
    for (certificate, version) in certificates.into_iter().flat_map(|file| [(file, &TLS12), (file, &TLS13)]) {
        let sandbox = Sandbox::trusting("esp32");
        let listener = runtime().block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let impostor = runtime().spawn(bytes_told_to_an_impostor(listener, certificate, version));
        let line = format!(
            "provision --json --host localhost --port {port} --server-cert server.pem --skip-name-check \
             --provision-key {KEY} --provision-secret {SECRET} --device-name {NAME}"
        );
        assert_eq!(sandbox.run(&line).brief(), "3 tls/untrusted tls", "{certificate} {version:?}");
        assert_eq!(runtime().block_on(impostor).unwrap(), 0, "{certificate} {version:?}");
    }
}

#[test]
fn a_key_too_weak_to_prove_anything_is_named_by_inspect() {
    let read = Sandbox::trusting("rsa-1024").run("certs inspect --json server.pem").done();
    assert_eq!(read["certificates"][0]["key"], "rsa-1024");
}

#[test]
fn what_a_server_presents_can_be_seen_and_kept_and_then_trusted() {
    let sandbox = Sandbox::new();
    let server = Server::presenting("esp32", |_| {});
    let inspected =
        sandbox.run(&format!("certs inspect --json localhost:{} --save server.pem", server.port())).done();
    assert_eq!(inspected["certificates"][0]["subject"], "CN=localhost");
    assert_eq!(sandbox.read("server.pem"), fixture_text("server/esp32.pem"));
    assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
    let again = sandbox.run(&format!("certs inspect --json localhost:{} --save server.pem", server.port()));
    assert_eq!(again.brief(), "5 file/exists plan");
    // Before anything is sent: nobody listens there.
    assert_eq!(
        sandbox.run("certs inspect --json localhost:1 --save server.pem").brief(),
        "5 file/exists plan"
    );
}
