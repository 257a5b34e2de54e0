//! A client made of a TLS stream and the packet codec alone, and a simulator to talk to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, Packet, Publish, Subscribe};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{IpAddr, ServerName};
use tbprov::Secret;
use tbprov::identity::{Certificate, Issue, Profile, Validity, issue};
use tbprov::keys::{KeyType, SoftwareKey, tls_key};
use tbprov::sim::{Config, Event, HeldCredentials, Observer, PreProvisioned, Simulator};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) const KEY: &str = "provision-key";
pub(crate) const SECRET: &str = "provision-secret-that-no-event-shows";
pub(crate) const TELEMETRY: &str = "v1/devices/me/telemetry";

/// Ends a test that would hang; no test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Keeps every event.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Vec<Event>>);

impl Observer for Recorder {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Recorder {
    pub(crate) fn ndjson(&self) -> String {
        let events = self.0.lock().unwrap();
        events.iter().map(|event| serde_json::to_string(event).unwrap() + "\n").collect()
    }

    /// Waits until an event of this kind was told.
    pub(crate) async fn until(&self, name: &str) {
        let wanted = format!(r#""event":"{name}""#);
        while !self.ndjson().contains(&wanted) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

pub(crate) struct Fixture {
    pub(crate) simulator: Simulator,
    pub(crate) events: Arc<Recorder>,
}

/// Starts a simulator whose configuration `change` has changed.
pub(crate) async fn start(change: impl FnOnce(&mut Config)) -> Fixture {
    let mut config = Config::new(KEY, Secret::new(SECRET));
    change(&mut config);
    let events = Arc::new(Recorder::default());
    let simulator = Simulator::start(config, events.clone()).await.unwrap();
    Fixture { simulator, events }
}

pub(crate) struct Identity {
    pub(crate) certificate: Certificate,
    pub(crate) key: Arc<SoftwareKey>,
}

pub(crate) fn identity(validity: Validity) -> Identity {
    let key = SoftwareKey::generate(KeyType::EcP256).unwrap();
    let wanted = Issue { name: "sensor", profile: &Profile::Device, validity, key: &key, issuer: None };
    let certificate = issue(&wanted).unwrap().leaf;
    Identity { certificate, key: Arc::new(key) }
}

pub(crate) fn new_identity() -> Identity {
    identity(Validity::days(30))
}

/// The device `name` with this certificate.
pub(crate) fn holding(name: &str, identity: &Identity) -> PreProvisioned {
    PreProvisioned::new(name).with(HeldCredentials::certificate(&identity.certificate))
}

/// The device `name` with this token.
pub(crate) fn with_token(name: &str, token: &str) -> PreProvisioned {
    PreProvisioned::new(name).with(HeldCredentials::Token(Secret::new(token)))
}

/// Presents a certificate, or none, and may be told otherwise between two connections.
///
/// One resolver for both, because rustls resumes a session only with the resolver it was made with.
#[derive(Debug)]
pub(crate) struct Presents(pub(crate) Mutex<Option<Arc<rustls::sign::CertifiedKey>>>);

impl rustls::client::ResolvesClientCert for Presents {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        self.0.lock().unwrap().clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

pub(crate) fn certified(identity: &Identity) -> Arc<rustls::sign::CertifiedKey> {
    let chain = vec![identity.certificate.der().clone()];
    Arc::new(rustls::sign::CertifiedKey::new(chain, tls_key(identity.key.clone())))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a client of the test's own, with resumption where it wants it"
)]
pub(crate) fn client_config(
    server: &Certificate,
    identity: Option<&Identity>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(server.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    builder
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(Presents(Mutex::new(identity.map(certified)))))
}

pub(crate) type TlsStream = tokio_rustls::client::TlsStream<TcpStream>;

pub(crate) async fn handshake(address: SocketAddr, config: ClientConfig) -> std::io::Result<TlsStream> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::IpAddress(IpAddr::from(address.ip()));
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

impl Fixture {
    pub(crate) fn tls(&self, identity: Option<&Identity>) -> ClientConfig {
        client_config(self.simulator.certificate(), identity, rustls::ALL_VERSIONS)
    }

    pub(crate) async fn dial(&self, identity: Option<&Identity>) -> Client<TlsStream> {
        let stream = handshake(self.simulator.address(), self.tls(identity)).await.unwrap();
        Client::new(stream)
    }

    /// A connection that has logged in as `provision`.
    pub(crate) async fn provisioning(&self) -> Client<TlsStream> {
        let mut client = self.dial(None).await;
        assert_eq!(client.connect(user("provision")).await, Some((0, 0)));
        client
    }

    /// A connection that has logged in with a certificate.
    pub(crate) async fn device(&self, identity: &Identity) -> Client<TlsStream> {
        let mut client = self.dial(Some(identity)).await;
        assert_eq!(client.connect(Connect::new("sensor")).await, Some((0, 0)));
        client
    }

    /// The answer to one request on a connection of its own.
    pub(crate) async fn ask(&self, request: &str) -> serde_json::Value {
        let mut client = self.provisioning().await;
        client.publish("/provision/request", QoS::AtLeastOnce, request).await;
        assert!(matches!(client.next().await, Some(Packet::PubAck(ack)) if ack.pkid == 7));
        serde_json::from_slice(&client.answer().await.payload).unwrap()
    }
}

pub(crate) fn user(name: &str) -> Connect {
    let mut connect = Connect::new("some-client");
    connect.set_username(name);
    connect
}

/// A request for a certificate with the right key and secret.
pub(crate) fn x509_request(name: &str, identity: &Identity) -> String {
    let hash = identity.certificate.to_pem();
    serde_json::json!({
        "deviceName": name, "provisionDeviceKey": KEY, "provisionDeviceSecret": SECRET,
        "credentialsType": "X509_CERTIFICATE", "hash": hash,
    })
    .to_string()
}

/// A request with the right key and secret and `extra` fields.
pub(crate) fn request(extra: &str) -> String {
    format!(r#"{{"provisionDeviceKey":"{KEY}","provisionDeviceSecret":"{SECRET}"{extra}}}"#)
}

pub(crate) struct Client<S> {
    pub(crate) stream: S,
    buffer: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    pub(crate) async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, usize::MAX).unwrap();
        self.raw(&bytes).await;
    }

    /// The server may have closed already, which the next read tells.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// Sends CONNECT; session present and code of the CONNACK, or nothing when the server closed. Read
    /// by hand, because the codec refuses what ThingsBoard sends.
    pub(crate) async fn connect(&mut self, connect: Connect) -> Option<(u8, u8)> {
        self.send(Packet::Connect(connect)).await;
        let mut connack = [0; 4];
        let read = tokio::time::timeout(PATIENCE, self.stream.read_exact(&mut connack)).await.unwrap();
        read.ok()?;
        assert_eq!(connack[..2], [0x20, 2]);
        Some((connack[2], connack[3]))
    }

    /// The next packet, or nothing when the server closed.
    pub(crate) async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Ok(packet) = Packet::read(&mut self.buffer, 1 << 20) {
                return Some(packet);
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await.unwrap();
            if !matches!(read, Ok(1..)) {
                return None;
            }
        }
    }

    /// Publishes with packet identifier 7.
    pub(crate) async fn publish(&mut self, topic: &str, qos: QoS, payload: &str) {
        let mut publish = Publish::new(topic, qos, payload);
        publish.pkid = if qos == QoS::AtMostOnce { 0 } else { 7 };
        self.send(Packet::Publish(publish)).await;
    }

    pub(crate) async fn subscribe(&mut self, filter: &str) {
        let mut subscribe = Subscribe::new(filter, QoS::AtMostOnce);
        subscribe.pkid = 9;
        self.send(Packet::Subscribe(subscribe)).await;
    }

    pub(crate) async fn answer(&mut self) -> Publish {
        match self.next().await {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("no answer but {other:?}"),
        }
    }

    /// Whether the server has nothing to say: the answer to a ping comes next.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        self.send(Packet::PingReq).await;
        matches!(self.next().await, Some(Packet::PingResp))
    }

    pub(crate) async fn is_acknowledged(&mut self) -> bool {
        matches!(self.next().await, Some(Packet::PubAck(ack)) if ack.pkid == 7)
    }

    pub(crate) async fn is_closed(&mut self) -> bool {
        self.next().await.is_none()
    }
}
