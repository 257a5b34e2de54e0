//! MQTT packets over TLS, buffered both ways: a burst of messages costs one write.

use std::fmt;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use rumqttc::mqttbytes::Error as PacketError;
use rumqttc::mqttbytes::v4::Packet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use super::LARGEST_PACKET;

/// How much is read at once, in bytes: the PUBACKs of a thousand messages.
const READ_SIZE: usize = 4096;

/// More than a hundred messages and their answers need, in bytes: a server that does not read would fill the memory.
const MOST_UNREAD: usize = 16 * 1024 * 1024;

/// How long the reason may take to arrive once nothing can be written any more.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// CONNACK: its type and its remaining length.
const CONNACK: [u8; 2] = [0x20, 2];

/// One connection's packets.
pub(super) struct Wire {
    reader: ReadHalf<TlsStream<TcpStream>>,
    writer: WriteHalf<TlsStream<TcpStream>>,
    incoming: BytesMut,
    outgoing: BytesMut,
    /// Whether TLS may still hold something that was written.
    unflushed: bool,
    last_written: Instant,
    /// Nothing can be written any more, since then. Why may be among what the server sent before, such as a TLS alert.
    broken: Option<(io::Error, Instant)>,
}

/// The queued bytes may hold a token, a password or the provision secret.
impl fmt::Debug for Wire {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queued = self.outgoing.len();
        formatter.debug_struct("Wire").field("bytes_queued", &queued).finish_non_exhaustive()
    }
}

impl Wire {
    pub(super) fn new(stream: TlsStream<TcpStream>) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader,
            writer,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            unflushed: false,
            last_written: Instant::now(),
            broken: None,
        }
    }

    pub(super) const fn last_written(&self) -> Instant {
        self.last_written
    }

    /// Queues a packet.
    pub(super) fn queue(&mut self, packet: &Packet) -> Result<(), PacketError> {
        packet.write(&mut self.outgoing, LARGEST_PACKET).map(drop)
    }

    /// The next packet that has arrived whole.
    pub(super) fn packet(&mut self) -> Result<Option<Packet>, PacketError> {
        match Packet::read(&mut self.incoming, LARGEST_PACKET) {
            Ok(packet) => Ok(Some(packet)),
            Err(PacketError::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The code of the CONNACK, once it has arrived. ThingsBoard 3.2 sets 'session present' on every one, refusals
    /// included (`MqttTransportHandler`), though it keeps no session, and the codec takes that for malformed. So the
    /// flags are not looked at.
    pub(super) fn connack(&mut self) -> Result<Option<u8>, PacketError> {
        let known = self.incoming.len().min(CONNACK.len());
        if self.incoming[..known] != CONNACK[..known] {
            // This is not an answer to CONNECT.
            return Err(PacketError::IncorrectPacketFormat);
        }
        let Some(&[_, _, _flags, code]) = self.incoming.first_chunk() else { return Ok(None) };
        self.incoming.advance(4);
        Ok(Some(code))
    }

    /// Writes what is queued, and reads, until something has arrived. May be dropped and called again without losing
    /// anything.
    pub(super) async fn transfer(&mut self) -> io::Result<()> {
        loop {
            self.incoming.reserve(READ_SIZE);
            let last_words = self.broken.as_ref().map_or(self.last_written, |(_, since)| *since) + LAST_WORDS;
            if self.outgoing.len() > MOST_UNREAD {
                return Err(io::Error::other("it sends messages, and reads none"));
            }
            // Reading and writing never wait for each other.
            tokio::select! {
                read = self.reader.read_buf(&mut self.incoming) => return self.arrived(read),
                written = write(&mut self.writer, &mut self.outgoing, &mut self.unflushed),
                    if self.broken.is_none() && self.has_to_write() => self.written(written),
                () = tokio::time::sleep_until(last_words), if self.broken.is_some() => return self.arrived(Ok(0)),
            }
        }
    }

    /// Writes all that is queued, and reads meanwhile.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        while self.broken.is_none() && self.has_to_write() {
            self.incoming.reserve(READ_SIZE);
            tokio::select! {
                biased;
                read = self.reader.read_buf(&mut self.incoming) => self.arrived(read)?,
                written = write(&mut self.writer, &mut self.outgoing, &mut self.unflushed) => self.written(written),
            }
        }
        while self.broken.is_some() {
            self.transfer().await?;
        }
        Ok(())
    }

    /// Reads what is here already; whether there was something.
    pub(super) fn read_at_once(&mut self) -> io::Result<bool> {
        self.incoming.reserve(READ_SIZE);
        let mut nobody = Context::from_waker(Waker::noop());
        match pin!(self.reader.read_buf(&mut self.incoming)).poll(&mut nobody) {
            Poll::Ready(read) => self.arrived(read).map(|()| true),
            Poll::Pending => Ok(false),
        }
    }

    /// Whether no bytes wait for the rest of their packet.
    pub(super) fn is_read(&self) -> bool {
        self.incoming.is_empty()
    }

    /// How many bytes wait to be written.
    pub(super) fn queued(&self) -> usize {
        self.outgoing.len()
    }

    fn has_to_write(&self) -> bool {
        self.unflushed || !self.outgoing.is_empty()
    }

    fn arrived(&mut self, read: io::Result<usize>) -> io::Result<()> {
        match read? {
            0 => Err(self.broken.take().map_or(io::ErrorKind::UnexpectedEof.into(), |(error, _)| error)),
            _ => Ok(()),
        }
    }

    fn written(&mut self, written: io::Result<()>) {
        match written {
            Ok(()) => self.last_written = Instant::now(),
            Err(error) => self.broken = Some((error, Instant::now())),
        }
    }

    /// Writes all that is queued, then closes TLS and TCP in order.
    pub(super) async fn close(&mut self) -> io::Result<()> {
        write(&mut self.writer, &mut self.outgoing, &mut self.unflushed).await?;
        self.writer.shutdown().await
    }
}

/// Writes `outgoing` and lets TLS hold nothing back. May be dropped and called again without losing anything.
async fn write(
    writer: &mut WriteHalf<TlsStream<TcpStream>>,
    outgoing: &mut BytesMut,
    unflushed: &mut bool,
) -> io::Result<()> {
    while !outgoing.is_empty() {
        *unflushed = true;
        if writer.write_buf(outgoing).await? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    writer.flush().await?;
    *unflushed = false;
    Ok(())
}
