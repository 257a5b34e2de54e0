//! One connection from its first byte to its last.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::mqttbytes::v4::{Connect, Packet};
use rustls::HandshakeKind;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::chain::Registration;
use super::device_session::DeviceSession;
use super::ending::Ending;
use super::event::{Event, Mode};
use super::fault::Fault;
use super::login::{ClientCertificate, Login, login};
use super::provision_session::ProvisionSession;
use super::server::Peer;
use super::wire::{Transport, Wire};

/// How long a TLS handshake may take (netty's default).
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a closed connection waits for the client to close too, so that what was sent last arrives:
/// closing with unread bytes resets TCP.
const LINGER: Duration = Duration::from_secs(1);

/// The TLS record of the fatal alert handshake_failure (40).
const HANDSHAKE_FAILURE: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

/// Begins with a packet type that MQTT does not have.
const NOT_MQTT: &[u8] = b"\x00\x00this is not MQTT\r\n";

/// Serves plain MQTT.
pub(super) async fn serve_plain(peer: Peer, stream: TcpStream) {
    if peer.applies(Fault::DropBeforeTls) {
        return closed(&peer, None, "dropped by a fault".to_owned());
    }
    serve(&peer, Wire::new(stream), None).await;
}

/// Serves MQTT over TLS.
pub(super) async fn serve_tls(peer: Peer, mut stream: TcpStream, acceptor: TlsAcceptor) {
    if peer.applies(Fault::DropBeforeTls) {
        return closed(&peer, None, "dropped by a fault".to_owned());
    }
    if peer.applies(Fault::StallTls) {
        discard(&mut stream).await;
        return closed(&peer, None, "closed by the client".to_owned());
    }
    if peer.applies(Fault::TlsAlert) {
        let _ = refuse_tls(&mut stream).await;
        return closed(&peer, None, "TLS refused by a fault".to_owned());
    }
    match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let certificate = established(&peer, &stream).await;
            serve(&peer, Wire::new(stream), certificate).await;
        }
        Ok(Err(error)) => tls_failed(&peer, error.to_string()),
        Err(_) => tls_failed(&peer, "the handshake took too long".to_owned()),
    }
}

/// Tells of it, and registers the device where its certificates do that.
async fn established(peer: &Peer, stream: &TlsStream<TcpStream>) -> Option<ClientCertificate> {
    let tls = stream.get_ref().1;
    let sent: Vec<_> = tls.peer_certificates().unwrap_or_default().to_vec();
    let mut certificate = sent.first().map(ClientCertificate::new);
    let version = match tls.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    };
    let credentials_id = certificate.as_ref().map(|certificate| certificate.credentials_id.clone());
    peer.emit(&Event::TlsEstablished { connection: peer.connection, version, credentials_id });
    // No certificates are sent, and none looked at, when a session is resumed.
    if let Some(certificate) = &mut certificate
        && tls.handshake_kind() != Some(HandshakeKind::Resumed)
    {
        certificate.unregistered = register(peer, sent).await;
    }
    certificate
}

/// Why the certificates register no device, if they do not.
async fn register(peer: &Peer, sent: Vec<CertificateDer<'static>>) -> Option<String> {
    let (device, replaced) = match peer.server.register(sent).await {
        Registration::Unchanged => return None,
        Registration::Refused(why) => return Some(why),
        Registration::Created(device) => (device, false),
        Registration::Replaced(device) => (device, true),
    };
    let credentials_id = device.credentials.public_id().unwrap_or_default();
    let (connection, device) = (peer.connection, device.name.clone());
    peer.emit(&Event::Registered { connection, device, credentials_id, replaced });
    None
}

/// Answers the ClientHello with an alert.
async fn refuse_tls(stream: &mut TcpStream) -> io::Result<()> {
    let mut hello = [0; 1024];
    let _ = stream.read(&mut hello).await?;
    stream.write_all(&HANDSHAKE_FAILURE).await?;
    stream.shutdown().await?;
    let _ = timeout(LINGER, discard(stream)).await;
    Ok(())
}

async fn serve<S: Transport>(peer: &Peer, mut wire: Wire<S>, certificate: Option<ClientCertificate>) {
    let mut device = None;
    let ending = match wire.next().await {
        Ok(Packet::Connect(connect)) => connected(peer, &mut wire, &connect, certificate, &mut device).await,
        Ok(_) => Ending::close("the first packet is not CONNECT"),
        Err(broken) => Ending::close(broken.into_reason()),
    };
    let stream = wire.into_stream();
    match &ending {
        Ending::Close(_) => close(stream).await,
        Ending::Reset => drop(stream.tcp().set_zero_linger()),
    }
    closed(peer, device, ending.reason());
}

async fn connected<S: Transport>(
    peer: &Peer,
    wire: &mut Wire<S>,
    connect: &Connect,
    certificate: Option<ClientCertificate>,
    name: &mut Option<String>,
) -> Ending {
    if peer.applies(Fault::NoConnack) {
        return wait_for_the_end(wire).await;
    }
    if peer.applies(Fault::GarbageMqtt) {
        wire.raw(NOT_MQTT);
        let _ = wire.flush().await;
        return Ending::close("garbage by a fault");
    }
    let release = peer.server.release;
    let session_present = release.always_session_present() || !connect.clean_session;
    let decided = login(peer, connect, certificate.as_ref());
    drop(certificate);
    let device = match decided {
        Login::Refused { code, reason } => {
            peer.emit(&Event::Refused { connection: peer.connection, code, reason: reason.clone() });
            wire.connack(session_present, code);
            let _ = wire.flush().await;
            return Ending::close(format!("CONNACK {code}: {reason}"));
        }
        Login::Provision => None,
        Login::Device(device) => Some(device),
    };
    *name = device.as_ref().map(|device| device.name.clone());
    let mode = if device.is_some() { Mode::Device } else { Mode::Provision };
    peer.emit(&Event::Connected { connection: peer.connection, mode, device: name.clone() });
    wire.connack(session_present, 0);
    if peer.applies(Fault::CloseAfterConnect) {
        let _ = wire.flush().await;
        return Ending::close("by a fault");
    }
    match device {
        None => ProvisionSession::new(peer, wire).serve().await,
        Some(device) => {
            let place = peer.server.sessions.enter(peer, &device.name);
            DeviceSession::new(peer, wire, Arc::clone(&device)).serve(place).await
        }
    }
}

/// Reads and ignores packets until the client gives up.
async fn wait_for_the_end<S: Transport>(wire: &mut Wire<S>) -> Ending {
    loop {
        if let Err(broken) = wire.next().await {
            return Ending::close(broken.into_reason());
        }
    }
}

/// Closes TLS and TCP in order, and waits a little for the client to do the same.
async fn close<S: Transport>(mut stream: S) {
    if stream.shutdown().await.is_ok() {
        let _ = timeout(LINGER, discard(&mut stream)).await;
    }
}

async fn discard<S: AsyncRead + Unpin>(stream: &mut S) {
    let mut buffer = [0; 1024];
    while let Ok(1..) = stream.read(&mut buffer).await {}
}

fn tls_failed(peer: &Peer, reason: String) {
    peer.emit(&Event::TlsFailed { connection: peer.connection, reason });
    closed(peer, None, "TLS failed".to_owned());
}

fn closed(peer: &Peer, device: Option<String>, reason: String) {
    peer.emit(&Event::Closed { connection: peer.connection, device, reason });
}
