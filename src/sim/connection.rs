//! One connection from its first byte to its last.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::mqttbytes::v4::{Connect, Packet};
use rustls::HandshakeKind;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::chain::Registration;
use super::device::{Doing, RegisteredDevice};
use super::device_session::DeviceSession;
use super::ending::Ending;
use super::event::{Event, Mode};
use super::far::Far;
use super::fault::Fault;
use super::login::{ClientCertificate, Login, login};
use super::provision_session::ProvisionSession;
use super::server::Peer;
use super::wire::{Broken, Transport, Wire};

/// How long a TLS handshake may take (netty's default).
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a closed connection waits for the client to close too, so that what was sent last arrives:
/// closing with unread bytes resets TCP.
const LINGER: Duration = Duration::from_secs(1);

/// How many packets may wait for CONNACK (`MQTT_MSG_QUEUE_SIZE_PER_DEVICE_LIMIT`).
const MOST_EARLY: usize = 100;

/// The TLS record of the fatal alert handshake_failure (40).
const HANDSHAKE_FAILURE: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

/// Begins with a packet type that MQTT does not have.
const NOT_MQTT: &[u8] = b"\x00\x00this is not MQTT\r\n";

/// Serves plain MQTT.
pub(super) async fn serve_plain(peer: Peer, stream: TcpStream) {
    if peer.applies(Fault::DropBeforeTls) || peer.is_blocked() {
        return closed(&peer, "dropped by a fault");
    }
    serve(&peer, Wire::new(stream, peer.server.release), None).await;
}

/// Serves MQTT over TLS over a far network.
pub(super) async fn serve_far(peer: Peer, stream: TcpStream, acceptor: TlsAcceptor, latency: Duration) {
    peer.tell(Fault::Latency(latency));
    // The client has its connection already: the kernel does TCP's handshake.
    sleep(latency).await;
    serve_tls(peer, Far::new(stream, latency), acceptor).await;
}

/// Serves MQTT over TLS.
pub(super) async fn serve_tls<S: Transport>(peer: Peer, mut stream: S, acceptor: TlsAcceptor) {
    if peer.applies(Fault::DropBeforeTls) || peer.is_blocked() {
        return closed(&peer, "dropped by a fault");
    }
    if peer.applies(Fault::StallTls) {
        discard(&mut stream).await;
        return closed(&peer, "closed by the client");
    }
    if peer.applies(Fault::TlsAlert) {
        let _ = refuse_tls(&mut stream).await;
        return closed(&peer, "TLS refused by a fault");
    }
    match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let certificate = established(&peer, &stream).await;
            serve(&peer, Wire::new(stream, peer.server.release), certificate).await;
        }
        Ok(Err(error)) => tls_failed(&peer, error.to_string()),
        Err(_) => tls_failed(&peer, "the handshake took too long".to_owned()),
    }
}

/// Tells of it, and registers the device where its certificates do that.
async fn established<S>(peer: &Peer, stream: &TlsStream<S>) -> Option<ClientCertificate> {
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
    let (connection, device) = (peer.connection, device.name.to_string());
    peer.emit(&Event::Registered { connection, device, credentials_id, replaced });
    None
}

/// Answers the ClientHello with an alert.
async fn refuse_tls<S: Transport>(stream: &mut S) -> io::Result<()> {
    let mut hello = [0; 1024];
    let _ = stream.read(&mut hello).await?;
    stream.write_all(&HANDSHAKE_FAILURE).await?;
    stream.shutdown().await?;
    let _ = timeout(LINGER, discard(stream)).await;
    Ok(())
}

async fn serve<S: Transport>(peer: &Peer, mut wire: Wire<S>, certificate: Option<ClientCertificate>) {
    let mut device = None;
    let mut early = Vec::new();
    let ending = match first_connect(peer, &mut wire, &mut early).await {
        Ok(mut connect) => loop {
            let early = std::mem::take(&mut early);
            let visit = Visit { peer, wire: &mut wire, certificate: certificate.as_ref(), early };
            match visit.connected(&connect, &mut device).await {
                Ending::Again(another) => connect = *another,
                ending => break ending,
            }
        },
        Err(ending) => ending,
    };
    let (is_reset, is_news) = (matches!(ending, Ending::Reset), ending.is_news());
    let (connection, reason) = (peer.connection, ending.reason());
    // Before the client sees it, so that what it does next is told after.
    peer.emit(&Event::Closed { connection, device, reason, is_news });
    let stream = wire.into_stream();
    if is_reset {
        let _ = stream.tcp().set_zero_linger();
    } else {
        close(stream).await;
    }
}

/// The first CONNECT. What a client sends before it waits in `early`, where the release lets it wait.
async fn first_connect<S: Transport>(
    peer: &Peer,
    wire: &mut Wire<S>,
    early: &mut Vec<Packet>,
) -> Result<Connect, Ending> {
    let end = Instant::now() + peer.server.unconnected_lifetime;
    loop {
        let Ok(packet) = timeout_at(end, wire.next()).await else {
            return Err(Ending::close("no CONNECT came"));
        };
        match packet {
            Ok(Packet::Connect(connect)) => return Ok(connect),
            Ok(_) if !peer.server.release.queues_early_packets() => {
                return Err(Ending::close("the first packet is not CONNECT"));
            }
            Ok(_) if early.len() >= MOST_EARLY => return Err(too_many_early()),
            Ok(packet) => early.push(packet),
            Err(Broken::Foreign { protocol, level }) => {
                return Err(refuse_protocol(peer, wire, &protocol, level).await);
            }
            Err(broken) => return Err(broken.into_ending()),
        }
    }
}

/// ThingsBoard itself speaks MQTT 3.1 and 5.
async fn refuse_protocol<S: Transport>(peer: &Peer, wire: &mut Wire<S>, protocol: &str, level: u8) -> Ending {
    let code = wire.connack_foreign(level);
    let _ = wire.flush().await;
    let reason = format!("{protocol} is not simulated, only MQTT 3.1.1");
    peer.emit(&Event::Refused { connection: peer.connection, code, reason: reason.clone() });
    Ending::quiet(format!("CONNACK {code}: {reason}"))
}

fn too_many_early() -> Ending {
    Ending::close(format!("more than {MOST_EARLY} packets before CONNACK"))
}

/// One CONNECT and what comes of it.
struct Visit<'a, S> {
    peer: &'a Peer,
    wire: &'a mut Wire<S>,
    certificate: Option<&'a ClientCertificate>,
    /// What came before CONNECT.
    early: Vec<Packet>,
}

impl<S: Transport> Visit<'_, S> {
    async fn connected(self, connect: &Connect, name: &mut Option<String>) -> Ending {
        let Self { peer, wire, certificate, early } = self;
        if peer.applies(Fault::NoConnack) {
            return wait_for_the_end(wire).await;
        }
        if peer.applies(Fault::GarbageMqtt) {
            wire.raw(NOT_MQTT);
            let _ = wire.flush().await;
            return Ending::quiet("garbage by a fault");
        }
        let session_present = !connect.clean_session;
        let device = match login(peer, connect, certificate).await {
            Login::Refused { code, reason } => {
                peer.emit(&Event::Refused { connection: peer.connection, code, reason: reason.clone() });
                wire.connack(session_present, code);
                let _ = wire.flush().await;
                return Ending::quiet(format!("CONNACK {code}: {reason}"));
            }
            Login::Provision => None,
            Login::Device(device) => Some(device),
        };
        if device.is_some()
            && let Err(ending) = check_waiting(peer, wire, early.len()).await
        {
            return ending;
        }
        *name = device.as_ref().map(|device| device.name.to_string());
        let mode = if device.is_some() { Mode::Device } else { Mode::Provision };
        peer.emit(&Event::Connected { connection: peer.connection, mode, device: name.clone() });
        wire.connack(session_present, 0);
        if peer.applies(Fault::CloseAfterConnect) {
            let _ = wire.flush().await;
            return Ending::quiet("by a fault");
        }
        match device {
            None => ProvisionSession::new(peer, wire).serve().await,
            Some(device) => serve_device(peer, wire, &device, early).await,
        }
    }
}

async fn serve_device<S: Transport>(
    peer: &Peer,
    wire: &mut Wire<S>,
    device: &Arc<RegisteredDevice>,
    early: Vec<Packet>,
) -> Ending {
    let place = peer.server.sessions.enter(peer, &device.name);
    // They may have changed since they were looked up.
    if !peer.server.registry().still_has(device) {
        return Ending::close("the device has other credentials");
    }
    peer.note(device, Doing::Connecting);
    peer.note(device, Doing::Sending);
    let ending = DeviceSession::new(peer, wire, Arc::clone(device)).serve(place, early).await;
    peer.note(device, Doing::Disconnecting);
    ending
}

/// What a client sends while the core looks it up waits in a queue, which has an end; at 3.2 it ends the connection.
/// The user `provision` is not looked up.
async fn check_waiting<S: Transport>(peer: &Peer, wire: &mut Wire<S>, early: usize) -> Result<(), Ending> {
    let queues = peer.server.release.queues_early_packets();
    let most = if queues { MOST_EARLY } else { 0 };
    match early + wire.waiting(most).await {
        waiting if waiting <= most => Ok(()),
        _ if queues => Err(too_many_early()),
        _ => Err(Ending::close("a packet before CONNACK")),
    }
}

/// Reads and ignores packets until the client gives up.
async fn wait_for_the_end<S: Transport>(wire: &mut Wire<S>) -> Ending {
    loop {
        if let Err(broken) = wire.next().await {
            return broken.into_ending();
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
    closed(peer, "TLS failed");
}

/// Before MQTT began, for a reason that was told or that is the client's.
fn closed(peer: &Peer, reason: &str) {
    let (connection, reason) = (peer.connection, reason.to_owned());
    peer.emit(&Event::Closed { connection, device: None, reason, is_news: false });
}
