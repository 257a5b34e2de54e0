//! Packets over a stream, each within its deadline.

use alloc::vec::Vec;

use embassy_time::{Duration, Instant, with_deadline, with_timeout};
use embedded_io_async::{Read, Write};
use tbprov_contract::report::Trouble;

use crate::fault::Fault;
use crate::life;
use crate::mqtt::packet::{self, Packet};

/// How long a packet may take to go out and to be acknowledged by TCP.
const SENDING: Duration = Duration::from_secs(15);

/// Both directions of a connection.
///
/// Reading is given up whenever something else is due and taken up again later, so a read of `stream` that is
/// dropped must lose nothing. Writing is never taken up again: a write that was given up ends the session.
pub(crate) struct Link<S> {
    stream: S,
    received: [u8; packet::LARGEST],
    filled: usize,
    sent_at: Instant,
}

impl<S: Read<Error = Fault> + Write> Link<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, received: [0; packet::LARGEST], filled: 0, sent_at: Instant::now() }
    }

    /// When the last packet was sent.
    pub(crate) fn sent_at(&self) -> Instant {
        self.sent_at
    }

    /// Sends a packet.
    pub(crate) async fn send(&mut self, packet: &mqttrs::Packet<'_>, size: usize) -> Result<(), Fault> {
        let bytes = encode(packet, size)?;
        with_timeout(SENDING, self.write(&bytes))
            .await
            .map_err(|_| Fault::new(Trouble::Timeout, "the server takes no data any more"))??;
        self.sent_at = Instant::now();
        Ok(())
    }

    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() {
            let written = self.stream.write(bytes).await?;
            if written == 0 {
                return Err(closed());
            }
            bytes = bytes.get(written..).unwrap_or_default();
        }
        self.stream.flush().await
    }

    /// The next packet, or `None` at the deadline, even if more and more packets are there.
    pub(crate) async fn receive_until(&mut self, deadline: Instant) -> Result<Option<Packet>, Fault> {
        if deadline <= Instant::now() {
            return Ok(None);
        }
        with_deadline(deadline, self.receive()).await.map_or(Ok(None), |packet| packet.map(Some))
    }

    async fn receive(&mut self) -> Result<Packet, Fault> {
        loop {
            if let Some(packet) = self.take()? {
                return Ok(packet);
            }
            // There is room: a packet that would fill the buffer has been refused as too large.
            let free = self.received.get_mut(self.filled..).unwrap_or_default();
            match self.stream.read(free).await? {
                0 => return Err(closed()),
                count => {
                    life::heard();
                    self.filled += count;
                }
            }
        }
    }

    /// The first of the packets that were received.
    fn take(&mut self) -> Result<Option<Packet>, Fault> {
        let received = self.received.get(..self.filled).unwrap_or_default();
        let parsed = packet::parse(received).map_err(|why| Fault::new(Trouble::Protocol, why))?;
        let Some((packet, size)) = parsed else { return Ok(None) };
        self.received.copy_within(size..self.filled, 0);
        self.filled -= size;
        Ok(Some(packet))
    }
}

fn closed() -> Fault {
    Fault::new(Trouble::Closed, "the server closed the connection")
}

/// The bytes of a packet that needs at most `size` of them.
fn encode(packet: &mqttrs::Packet<'_>, size: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).map_err(|_| too_large())?;
    bytes.resize(size, 0);
    let written = mqttrs::encode_slice(packet, &mut bytes).map_err(|_| too_large())?;
    bytes.truncate(written);
    Ok(bytes)
}

fn too_large() -> Fault {
    Fault::new(Trouble::Protocol, "a packet is larger than memory allows")
}
