//! MQTT packets over a stream: buffered both ways, so that a burst of messages costs one write.

use std::io;
use std::pin::pin;
use std::task::Poll;

use bytes::BytesMut;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_rustls::server::TlsStream;

use super::ending::Ending;
use super::packets::{self, Read};
use super::pubacks::Pubacks;
use super::release::Release;

/// How much is read at once: little while a connection is quiet, more once it is busy. In bytes.
const SMALL_READ: usize = 1024;
const LARGE_READ: usize = 32 * 1024;

/// Answers are sent at the latest when this many bytes of them wait.
const LARGEST_BATCH: usize = 16 * 1024;

/// The first byte of a PUBACK, and how many bytes it has.
const PUBACK: u8 = 0x40;
const PUBACK_LENGTH: usize = 4;

/// MQTT 5's level, and the codes for a protocol that the server does not speak: that of MQTT 5, and the older one.
const FIRST_WITH_PROPERTIES: u8 = 5;
const UNSUPPORTED_VERSION: u8 = 0x84;
const WRONG_VERSION: u8 = 1;

/// What packets travel on.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send {
    /// The TCP connection underneath.
    fn tcp(&self) -> &TcpStream;
}

impl Transport for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl<S: Transport> Transport for TlsStream<S> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0.tcp()
    }
}

/// Why no packet came.
#[derive(Debug)]
pub(super) enum Broken {
    /// The client closed, or the network broke.
    Closed(String),
    /// What came is not MQTT 3.1.1, or is too large.
    Malformed(String),
    /// A CONNECT of a protocol that the simulator does not speak.
    Foreign { protocol: String, level: u8 },
}

impl Broken {
    pub(super) fn into_ending(self) -> Ending {
        match self {
            Self::Closed(reason) => Ending::Quiet(reason.into()),
            Self::Malformed(reason) => Ending::close(reason),
            Self::Foreign { protocol, .. } => Ending::close(format!("a CONNECT of {protocol}")),
        }
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Closed(format!("the connection broke: {error}"))
    }
}

/// One client's packets.
pub(super) struct Wire<S> {
    stream: S,
    incoming: BytesMut,
    outgoing: BytesMut,
    pubacks: Pubacks,
    read_size: usize,
    /// Whether the flags of packets that have none may be anything.
    any_flags: bool,
}

impl<S: Transport> Wire<S> {
    pub(super) fn new(stream: S, release: Release) -> Self {
        Self {
            stream,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            pubacks: Pubacks::default(),
            read_size: SMALL_READ,
            any_flags: !release.checks_unused_flags(),
        }
    }

    /// The next packet. Everything queued is sent before this waits for the client.
    pub(super) async fn next(&mut self) -> Result<Packet, Broken> {
        loop {
            match packets::read(&mut self.incoming, self.any_flags)? {
                Read::Packet(packet) => return Ok(packet),
                Read::Ignored => {}
                Read::Incomplete => self.fill().await?,
            }
        }
    }

    /// How many packets the client has sent already, at most `most` and what comes with the one after that.
    pub(super) async fn waiting(&mut self, most: usize) -> usize {
        loop {
            let count = packets::count(&self.incoming);
            if count > most {
                return count;
            }
            self.incoming.reserve(LARGE_READ);
            match at_once(self.stream.read_buf(&mut self.incoming)).await {
                Some(Ok(1..)) => {}
                // What ends the connection is met again by whoever reads next.
                _ => return count,
            }
        }
    }

    /// Reads what the client has sent already, else sends what is queued and waits for more.
    async fn fill(&mut self) -> Result<(), Broken> {
        self.incoming.reserve(self.read_size);
        let read = match at_once(self.stream.read_buf(&mut self.incoming)).await {
            Some(read) => read?,
            None => self.flush_and_read().await?,
        };
        if read == 0 {
            return Err(Broken::Closed("closed by the client".to_owned()));
        }
        if read >= self.read_size {
            self.read_size = LARGE_READ;
        }
        Ok(())
    }

    async fn flush_and_read(&mut self) -> io::Result<usize> {
        loop {
            self.flush().await?;
            let read = self.stream.read_buf(&mut self.incoming);
            let Some(due) = self.pubacks.next_due() else { return read.await };
            if let Ok(read) = timeout_at(due, read).await {
                return read;
            }
        }
    }

    /// From now on, PUBACKs leave so.
    pub(super) fn set_pubacks(&mut self, pubacks: Pubacks) {
        self.pubacks = pubacks;
    }

    /// Queues CONNACK. Written by hand: ThingsBoard sets session present on refusals too, which the
    /// codec takes for malformed.
    pub(super) fn connack(&mut self, session_present: bool, code: u8) {
        self.outgoing.extend_from_slice(&[0x20, 2, u8::from(session_present), code]);
    }

    /// Queues the CONNACK for a protocol of this level, which the simulator does not speak; its code. From MQTT 5 on
    /// CONNACK has properties, here none, and other codes (MQTT 5, 3.2.2.2).
    pub(super) fn connack_foreign(&mut self, level: u8) -> u8 {
        if level < FIRST_WITH_PROPERTIES {
            self.connack(false, WRONG_VERSION);
            return WRONG_VERSION;
        }
        self.outgoing.extend_from_slice(&[0x20, 3, 0, UNSUPPORTED_VERSION, 0]);
        UNSUPPORTED_VERSION
    }

    /// Queues PUBACK; a message of QoS 0 (no packet identifier) gets none. QoS 2 gets PUBACK too, as
    /// from ThingsBoard (`MqttTransportHandler.ack`).
    pub(super) fn puback(&mut self, packet_id: u16) {
        if packet_id != 0 {
            self.pubacks.add(packet_id, &mut self.outgoing);
        }
    }

    /// Takes back every PUBACK that has not left yet.
    pub(super) fn forget_pubacks(&mut self) {
        self.pubacks.forget();
        let mut kept = BytesMut::new();
        while let Some(length) = packets::length(&self.outgoing) {
            let packet = self.outgoing.split_to(length);
            if packet.first() != Some(&PUBACK) {
                kept.extend_from_slice(&packet);
            }
        }
        self.outgoing = kept;
    }

    /// Queues SUBACK; the codes of at most 125 filters fit, and no client sends more.
    pub(super) fn suback(&mut self, packet_id: u16, codes: &[u8]) {
        let codes = &codes[..codes.len().min(125)];
        let [high, low] = packet_id.to_be_bytes();
        let length = u8::try_from(codes.len() + 2).unwrap_or(u8::MAX);
        self.outgoing.extend_from_slice(&[0x90, length, high, low]);
        self.outgoing.extend_from_slice(codes);
    }

    pub(super) fn unsuback(&mut self, packet_id: u16) {
        let [high, low] = packet_id.to_be_bytes();
        self.outgoing.extend_from_slice(&[0xB0, 2, high, low]);
    }

    pub(super) fn pingresp(&mut self) {
        self.outgoing.extend_from_slice(&[0xD0, 0]);
    }

    /// Queues a message of the server; `packet_id` is not used for QoS 0.
    pub(super) fn publish(
        &mut self,
        topic: &str,
        qos: QoS,
        packet_id: u16,
        payload: Vec<u8>,
    ) -> Result<(), Broken> {
        let mut publish = Publish::new(topic, qos, payload);
        publish.pkid = if qos == QoS::AtMostOnce { 0 } else { packet_id };
        let written = publish.write(&mut self.outgoing);
        written.map(drop).map_err(|error| Broken::Malformed(format!("cannot encode the answer: {error}")))
    }

    /// Queues bytes that need not be MQTT.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.outgoing.extend_from_slice(bytes);
    }

    /// Sends what is queued once it is much.
    pub(super) async fn flush_if_full(&mut self) -> io::Result<()> {
        let queued = self.outgoing.len() + self.pubacks.waiting() * PUBACK_LENGTH;
        if queued < LARGEST_BATCH { Ok(()) } else { self.flush().await }
    }

    /// Sends what is queued, and the PUBACKs that are due.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.pubacks.release(&mut self.outgoing);
        if self.outgoing.is_empty() {
            return Ok(());
        }
        self.stream.write_all(&self.outgoing).await?;
        self.outgoing.clear();
        self.stream.flush().await
    }

    /// The stream, to be closed.
    pub(super) fn into_stream(self) -> S {
        self.stream
    }
}

/// What a future has to say at its first poll.
async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let first = std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
    match first {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
