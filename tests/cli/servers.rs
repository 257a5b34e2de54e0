//! Servers that behave as no ThingsBoard does: they alert, answer too early, or never ask for the certificate.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme,
    SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tbprov::sim::Release;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::support::{KEY, NAME, Ran, SECRET, Sandbox, Server, fixture, runtime};

const CONNACK: &[u8] = &[0x20, 2, 0, 0];
const ANSWER: &str = "/provision/response";

/// Serves every connection by `serve`, and says at which port.
fn listen<F: Future<Output = ()> + Send>(serve: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> u16 {
    let listener = runtime().block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    runtime().spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            serve(stream).await;
        }
    });
    port
}

/// Writes `bytes` as soon as something was read.
fn answering_with(bytes: Vec<u8>) -> u16 {
    listen(move |mut stream| {
        let bytes = bytes.clone();
        async move {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let _ = tokio::time::timeout(Duration::from_secs(1), stream.read_to_end(&mut Vec::new())).await;
        }
    })
}

/// Serves TLS with the certificate `san`, and then `serve`.
fn listen_tls<F: Future<Output = ()> + Send>(
    config: ServerConfig,
    serve: impl Fn(TlsStream<TcpStream>) -> F + Send + Sync + Clone + 'static,
) -> u16 {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    listen(move |stream| {
        let (acceptor, serve) = (acceptor.clone(), serve.clone());
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream).await;
            }
        }
    })
}

fn server_config(
    versions: &[&'static SupportedProtocolVersion],
    clients: Arc<dyn ClientCertVerifier>,
) -> ServerConfig {
    let chain = vec![CertificateDer::from_pem_file(fixture("server/san.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(fixture("server/san_key.pem")).unwrap();
    let provider = Arc::new(default_provider());
    let key = provider.key_provider.load_private_key(key).unwrap();
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key))))
}

/// Never asks for a certificate.
fn unasking() -> ServerConfig {
    server_config(rustls::ALL_VERSIONS, WebPkiClientVerifier::no_client_auth())
}

/// Asks for a certificate; refuses whatever comes, as ThingsBoard up to 3.4 does, and nothing if it is `mandatory`.
#[derive(Debug)]
struct Refuses {
    mandatory: bool,
}

impl ClientCertVerifier for Refuses {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Err(CertificateError::Other(OtherError(Arc::new(std::io::Error::other("unknown")))).into())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A folder with a device that was proved.
fn proved() -> Sandbox {
    let sandbox = Sandbox::trusting("san");
    assert_eq!(Server::presenting("san", |_| {}).provision(&sandbox, "").outcome(), "provisioned");
    sandbox
}

fn provision(sandbox: &Sandbox, port: u16, flags: &str) -> Ran {
    sandbox.run(&format!(
        "provision --json --host localhost --port {port} --server-cert server.pem --provision-key {KEY} \
         --provision-secret {SECRET} --device-name {NAME} {flags}"
    ))
}

#[track_caller]
fn is_only_a_handshake(ran: &Ran, step: &str) {
    assert_eq!(ran.brief(), format!("3 tls/handshake {step}"), "{ran:?}");
    assert!(!ran.message().contains("certificate ") && !ran.help().contains("credentialsId"), "{ran:?}");
}

#[test]
fn an_alert_of_anybody_says_nothing_about_the_certificate() {
    let sandbox = proved();
    for alert in [42, 46, 49, 116] {
        let port = answering_with(vec![0x15, 3, 3, 0, 2, 2, alert]);
        is_only_a_handshake(
            &sandbox.run(&format!("connect --json --server-cert server.pem --port {port}")),
            "verify",
        );
        is_only_a_handshake(&provision(&Sandbox::trusting("san"), port, ""), "tls");
    }
}

#[test]
fn an_alert_where_no_certificate_was_presented_says_nothing_about_one() {
    for version in [&TLS12, &TLS13] {
        let config = server_config(&[version], Arc::new(Refuses { mandatory: true }));
        let port = listen_tls(config, |_| async {});
        let ran = provision(&Sandbox::trusting("san"), port, "");
        let step = if version == &TLS12 { "tls" } else { "connect" };
        is_only_a_handshake(&ran, step);
    }
}

#[test]
fn a_refusal_of_the_certificate_that_was_presented_is_one() {
    let sandbox = proved();
    let refused = "3 tls/client-certificate-refused verify";
    for version in [&TLS12, &TLS13] {
        let config = server_config(&[version], Arc::new(Refuses { mandatory: false }));
        let port = listen_tls(config, |_| async {});
        let ran = sandbox.run(&format!("connect --json --server-cert server.pem --port {port}"));
        assert_eq!(ran.brief(), refused, "{version:?} {ran:?}");
    }
    let old = Server::presenting("san", |config| config.release = Release::V3_4);
    assert_eq!(
        sandbox.run(&format!("connect --json --server-cert server.pem --port {}", old.port())).brief(),
        refused
    );
}

/// Lets everybody in, as a provisioning session or a device; answers a request by `answers`: those that come before
/// it, and those that come after it.
async fn broker(
    mut stream: TlsStream<TcpStream>,
    early: Option<&'static str>,
    answer: impl Fn(&str) -> String,
) {
    let mut read = bytes::BytesMut::new();
    loop {
        let reply = match Packet::read(&mut read, 65_536) {
            Ok(Packet::Connect(_)) => {
                let early = early.map(publish).unwrap_or_default();
                [CONNACK, &early].concat()
            }
            Ok(Packet::Publish(request)) => {
                let id = request.pkid.to_be_bytes();
                let answer = publish(&answer(std::str::from_utf8(&request.payload).unwrap()));
                [&[0x40, 2, id[0], id[1]], answer.as_slice()].concat()
            }
            Ok(_) => Vec::new(),
            Err(_) if matches!(stream.read_buf(&mut read).await, Ok(1..)) => continue,
            Err(_) => return,
        };
        if stream.write_all(&reply).await.is_err() {
            return;
        }
    }
}

fn publish(answer: &str) -> Vec<u8> {
    let mut written = bytes::BytesMut::new();
    Publish::new(ANSWER, QoS::AtMostOnce, answer.as_bytes().to_vec()).write(&mut written).unwrap();
    written.to_vec()
}

/// SUCCESS, with the certificate of the request.
fn success(request: &str) -> String {
    let request: serde_json::Value = serde_json::from_str(request).unwrap();
    let pem = request["hash"].as_str().unwrap();
    let line: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    serde_json::json!({"status": "SUCCESS", "credentialsType": "X509_CERTIFICATE", "credentialsValue": line})
        .to_string()
}

#[test]
fn an_answer_before_the_request_answers_nothing() {
    let port = listen_tls(unasking(), |stream| {
        broker(stream, Some(r#"{"status":"NOT_FOUND","errorMsg":"early"}"#), success)
    });
    let sandbox = Sandbox::trusting("san");
    let ran = provision(&sandbox, port, "--no-verify-connect");
    assert_eq!(ran.outcome(), "provisioned", "{ran:?}");
    assert_eq!(sandbox.record()["state"], "accepted");
}

fn secret_of(request: &str) -> String {
    let request: serde_json::Value = serde_json::from_str(request).unwrap();
    request["provisionDeviceSecret"].as_str().unwrap().to_owned()
}

#[test]
fn a_server_that_echoes_the_request_shows_no_secret() {
    let echo = |request: &str| {
        let text = serde_json::json!(request);
        format!(r#"{{"status":"FAILURE","errorMsg":{text}}}"#)
    };
    let word = |request: &str| serde_json::json!({"status": secret_of(request)}).to_string();
    let kind = |request: &str| {
        serde_json::json!({"status": "SUCCESS", "credentialsType": secret_of(request)}).to_string()
    };
    for answer in [echo as fn(&str) -> String, word, kind] {
        for credentials in ["x509", "access-token", "mqtt-basic"] {
            let port = listen_tls(unasking(), move |stream| broker(stream, None, answer));
            let sandbox = Sandbox::trusting("san");
            let secret = r#"s3cret-"quoted"\and-more"#;
            let arguments = format!(
                "provision --events -v --host localhost --port {port} --server-cert server.pem \
                 --no-verify-connect --provision-key k --device-name d --credentials-type {credentials}"
            );
            let mut command = sandbox.bare();
            command.env("TBPROV_PROVISION_SECRET", secret).args(arguments.split_whitespace());
            let ran = Ran::from(command.output().unwrap());
            let said = format!("{}{}", ran.stdout, ran.stderr);
            assert!(said.contains("[hidden]"), "{ran:?}");
            for part in ["s3cret", "and-more"] {
                assert!(!said.contains(part), "{part} in {ran:?}");
            }
            let saved = sandbox.files().into_iter().find(|path| path.ends_with("credentials.json"));
            let Some(saved) = saved else { continue };
            let saved: serde_json::Value =
                serde_json::from_str(&std::fs::read_to_string(saved).unwrap()).unwrap();
            for own in ["token", "password"].into_iter().filter_map(|member| saved[member].as_str()) {
                assert!(!said.contains(own), "{own} in {ran:?}");
            }
        }
    }
}

#[test]
fn a_server_that_never_asks_for_the_certificate_proves_nothing() {
    let sandbox = proved();
    let port = listen_tls(unasking(), |stream| broker(stream, None, success));
    let connect = sandbox.run(&format!("connect --events --server-cert server.pem --port {port}"));
    assert_eq!(connect.failure().1, "verify/not-asked", "{connect:?}");
    assert!(!connect.stdout.contains(r#""event":"connected""#), "{connect:?}");
    let doctor = sandbox.run(&format!("doctor {NAME} --json --server-cert server.pem --port {port}")).json();
    let identity = doctor["checks"].as_array().unwrap().iter().find(|check| check["check"] == "identity");
    let identity = identity.unwrap();
    assert_eq!((&identity["outcome"], &identity["code"]), (&"failed".into(), &"verify/not-asked".into()));
    assert!(identity["detail"].as_str().unwrap().contains("without asking"), "{identity}");
}

#[test]
fn doctor_shows_what_an_untrusted_server_presents_in_one_line() {
    let sandbox = Sandbox::trusting("esp32");
    let server = Server::presenting("impostor", |_| {});
    let line = format!("doctor --json --host localhost --port {} --server-cert server.pem", server.port());
    let doctor = sandbox.run(&line).json();
    let checks = doctor["checks"].as_array().unwrap();
    let tls = checks.iter().find(|check| check["check"] == "tls").unwrap();
    let detail = tls["detail"].as_str().unwrap();
    assert!(detail.contains("presented: 'CN=localhost'") && !detail.contains('\n'), "{detail}");
    assert_eq!(tls["code"], "tls/untrusted");
    let connect = checks.iter().find(|check| check["check"] == "connect").unwrap();
    assert_eq!(connect["outcome"], "skipped");
}
