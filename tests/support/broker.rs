//! Servers that behave as no ThingsBoard does: they alert, answer too early or never, or let everybody in.

#![allow(dead_code, reason = "each test crate uses a part")]

use std::sync::Arc;
use std::time::Duration;

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, ConnectAuth, Packet, Publish};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme,
    SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::support::{fixture, runtime};

const ANSWER: &str = "/provision/response";

/// Serves every connection by `serve`, and says at which port.
fn listen<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(TcpStream) -> F + Send + Sync + 'static,
) -> u16 {
    let listener = runtime().block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    runtime().spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    port
}

/// Writes `bytes` as soon as something was read.
pub(crate) fn answering_with(bytes: Vec<u8>) -> u16 {
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
pub(crate) fn listen_tls<F: Future<Output = ()> + Send + 'static>(
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

pub(crate) fn server_config(
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

/// Asks for a certificate.
#[derive(Debug)]
pub(crate) struct Asks {
    /// Whether one has to come.
    mandatory: bool,
    /// Whether any is accepted; else none is, as ThingsBoard up to 3.4 refuses one that it does not know.
    accepts: bool,
}

impl Asks {
    pub(crate) fn and_accepts() -> Arc<Self> {
        Arc::new(Self { mandatory: false, accepts: true })
    }

    pub(crate) fn and_refuses() -> Arc<Self> {
        Arc::new(Self { mandatory: false, accepts: false })
    }

    pub(crate) fn and_refuses_even_none() -> Arc<Self> {
        Arc::new(Self { mandatory: true, accepts: false })
    }
}

impl ClientCertVerifier for Asks {
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
        if self.accepts {
            return Ok(ClientCertVerified::assertion());
        }
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

/// A broker that lets every provisioning session in, and does not know one device from another.
#[derive(Clone, Copy)]
pub(crate) struct Broker {
    /// An answer that comes with CONNACK, before any request.
    pub(crate) early: Option<&'static str>,
    /// The answer to a request; none is an answer that never comes.
    pub(crate) answer: Option<fn(&str) -> String>,
    /// The CONNACK code that every device gets, whoever it is; without one its connection is closed without a word.
    pub(crate) connack: Option<u8>,
}

impl Broker {
    pub(crate) const fn answering(answer: fn(&str) -> String) -> Self {
        Self { early: None, answer: Some(answer), connack: Some(0) }
    }

    pub(crate) const fn that_never_answers() -> Self {
        Self { early: None, answer: None, connack: Some(0) }
    }

    /// At this port, and it asks for no certificate.
    pub(crate) fn that_never_asks(self) -> u16 {
        self.listen(WebPkiClientVerifier::no_client_auth())
    }

    /// At this port, and any certificate will do.
    pub(crate) fn that_asks(self) -> u16 {
        self.listen(Asks::and_accepts())
    }

    fn listen(self, clients: Arc<dyn ClientCertVerifier>) -> u16 {
        listen_tls(server_config(rustls::ALL_VERSIONS, clients), move |stream| self.serve(stream))
    }

    async fn serve(self, mut stream: TlsStream<TcpStream>) {
        let mut read = bytes::BytesMut::new();
        loop {
            let reply = match Packet::read(&mut read, 65_536) {
                Ok(packet) => self.reply(&packet),
                Err(_) if matches!(stream.read_buf(&mut read).await, Ok(1..)) => continue,
                Err(_) => None,
            };
            let Some(reply) = reply else { return };
            if stream.write_all(&reply).await.is_err() {
                return;
            }
        }
    }

    /// What it says to a packet; none where it closes.
    fn reply(self, packet: &Packet) -> Option<Vec<u8>> {
        Some(match packet {
            Packet::Connect(connect) => {
                let code = if is_provisioning(connect) { 0 } else { self.connack? };
                let early = self.early.map(publish).unwrap_or_default();
                [[0x20, 2, 0, code].as_slice(), &early].concat()
            }
            Packet::Publish(request) => {
                let id = request.pkid.to_be_bytes();
                let request = std::str::from_utf8(&request.payload).unwrap();
                let answer = self.answer.map(|answer| publish(&answer(request)));
                [[0x40, 2, id[0], id[1]].as_slice(), &answer.unwrap_or_default()].concat()
            }
            _ => Vec::new(),
        })
    }
}

fn is_provisioning(connect: &Connect) -> bool {
    matches!(&connect.auth, ConnectAuth::Username { username } if username == "provision")
}

fn publish(answer: &str) -> Vec<u8> {
    let mut written = bytes::BytesMut::new();
    Publish::new(ANSWER, QoS::AtMostOnce, answer.as_bytes().to_vec()).write(&mut written).unwrap();
    written.to_vec()
}

/// SUCCESS, with the credentials of the request.
pub(crate) fn success(request: &str) -> String {
    let request: serde_json::Value = serde_json::from_str(request).unwrap();
    let answer = |kind: &str, value: serde_json::Value| {
        serde_json::json!({"status": "SUCCESS", "credentialsType": kind, "credentialsValue": value})
            .to_string()
    };
    match request["hash"].as_str() {
        Some(pem) => {
            let line: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
            answer("X509_CERTIFICATE", line.into())
        }
        None => answer("ACCESS_TOKEN", request["token"].clone()),
    }
}

/// FAILURE.
pub(crate) fn failure(_: &str) -> String {
    r#"{"status":"FAILURE","errorMsg":"no reason"}"#.to_owned()
}
