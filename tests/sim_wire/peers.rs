//! Foreign clients, where they are installed.

use std::process::{Command, Output};

use tbprov::keys::Exportable as _;

use crate::client::*;

/// What the program said, or nothing (and one line) where it is not installed.
fn run(program: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(program).args(arguments).stdin(std::process::Stdio::null()).output() {
        Ok(output) => Some(output),
        Err(_) => {
            println!("skipped: {program} is not installed");
            None
        }
    }
}

fn write(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
    use std::io::Write as _;
    let path = folder.path().join(name);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mosquitto_sends_telemetry_with_a_certificate() {
    let identity = new_identity();
    let fixture = start(|config| config.pre_provisioned = vec![holding("sensor", &identity)]).await;
    let folder = tempfile::tempdir().unwrap();
    let server = write(&folder, "server.pem", &fixture.simulator.certificate().to_pem());
    let certificate = write(&folder, "cert.pem", &identity.certificate.to_pem());
    let key = write(&folder, "key.pem", identity.key.to_pem().expose());
    let port = fixture.simulator.address().port().to_string();
    let message = r#"{"temperature":25}"#;
    let arguments = [
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "--cafile",
        &server,
        "--cert",
        &certificate,
        "--key",
        &key,
        "-q",
        "1",
        "-t",
        TELEMETRY,
        "-m",
        message,
    ];
    let Some(output) = tokio::task::block_in_place(|| run("mosquitto_pub", &arguments)) else {
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fixture.simulator.devices()[0].last_telemetry.as_deref(), Some(message));
}

/// ThingsBoard's trust store is its key store, so it hints at the subject of its own certificate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_sees_the_certificate_request_of_thingsboard() {
    let fixture = start(|_| {}).await;
    let address = fixture.simulator.address().to_string();
    let arguments = ["s_client", "-connect", &address];
    let Some(output) = tokio::task::block_in_place(|| run("openssl", &arguments)) else {
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let hint = text.split("Acceptable client certificate CA names").nth(1).unwrap_or_default();
    assert!(hint.trim_start().starts_with("CN") && hint.contains("localhost"), "{text}");
}

/// `openssl x509 -req -signkey` makes version 1 certificates, which Java takes and webpki does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_1_certificate_of_openssl_connects() {
    let folder = tempfile::tempdir().unwrap();
    let key = new_identity().key;
    let key_file = write(&folder, "key.pem", key.to_pem().expose());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (csr, pem) = (path("v1.csr"), path("v1.pem"));
    let request = ["req", "-new", "-key", &key_file, "-subj", "/CN=v1", "-out", &csr];
    let Some(made) = run("openssl", &request) else {
        return;
    };
    assert!(made.status.success());
    let sign = ["x509", "-req", "-in", &csr, "-signkey", &key_file, "-days", "2", "-out", &pem];
    assert!(run("openssl", &sign).unwrap().status.success());
    let text = std::fs::read_to_string(&pem).unwrap();
    let certificate = tbprov::identity::read_certificates(&text, "v1.pem").unwrap().remove(0);
    if certificate.version != 1 {
        return println!("skipped: this openssl makes version {} certificates", certificate.version);
    }
    let identity = Identity { certificate, key };
    let fixture = start(|config| config.pre_provisioned = vec![holding("v1", &identity)]).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = client_config(fixture.simulator.certificate(), Some(&identity), &[version]);
        let mut client = Client::new(handshake(fixture.simulator.address(), config).await.unwrap());
        assert_eq!(client.connect(rumqttc::mqttbytes::v4::Connect::new("x")).await, Some((0, 0)));
    }
}
