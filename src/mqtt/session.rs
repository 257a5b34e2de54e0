//! One MQTT connection, from CONNECT to DISCONNECT. It never reconnects by itself.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, Packet, PubAck, Publish, Subscribe};
use tokio::time::Instant;

use super::failure;
use super::wire::Wire;
use crate::dial::{Dialer, Link};
use crate::error::{Error, ErrorCode, Result, Step};
use crate::event::{Event, Progress};
use crate::identity::Credentials;
use crate::secret::Secret;
use crate::tls::ClientCertificate;

/// The user name that opens a provisioning session: compared exactly by ThingsBoard (`MqttTransportHandler`).
const PROVISION_USER: &str = "provision";

/// Messages that may wait for their PUBACK: ThingsBoard's `MQTT_MSG_QUEUE_SIZE_PER_DEVICE_LIMIT`.
pub const IN_FLIGHT: u16 = 100;

/// Between pings when nothing else is sent; far below ThingsBoard's inactivity limit of 300 s.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// How long a DISCONNECT may take before the connection is simply dropped.
const GOODBYE: Duration = Duration::from_millis(500);

/// Who connects.
#[derive(Debug, Clone, Copy)]
pub enum Login<'a> {
    /// A provisioning session, without an identity. It never has a client certificate: ThingsBoard up to 3.4
    /// refuses one that is not registered yet.
    Provision,
    /// A device.
    Device(&'a Credentials),
}

/// What arrives on a connection.
#[derive(Debug)]
pub enum Incoming {
    /// A PUBLISH from the server.
    Message {
        /// Its topic.
        topic: String,
        /// Its payload.
        payload: Bytes,
    },
    /// The PUBACK of the message with this packet id, its first one.
    Acknowledged(u16),
}

/// An open MQTT connection.
#[derive(Debug)]
pub struct Session {
    wire: Wire,
    packet_ids: PacketIds,
    /// Whether CONNACK 0 came: from then on no error is one of TLS's beginning.
    is_open: bool,
    /// When the PINGREQ was sent that is not answered yet.
    pinged: Option<Instant>,
    peer: String,
    tls_version: &'static str,
    client_certificate: ClientCertificate,
}

impl Session {
    /// Connects: TCP, TLS, CONNECT, CONNACK.
    ///
    /// # Errors
    /// At the step that failed: `network/...`, `tls/...`, or `server/...` for a refusing CONNACK; `verify/not-asked` when
    /// the server accepted or refused a device with a certificate without being given that.
    pub async fn open(dialer: &Dialer, login: &Login<'_>, progress: &Progress) -> Result<Self> {
        let identity = match login {
            Login::Provision => None,
            Login::Device(credentials) => credentials.x509(),
        };
        let link = dialer.dial(identity, progress).await?;
        progress.begin(Step::Connect);
        // If the server did not ask for the certificate, its answer says nothing about this device.
        let nobody = identity.and_then(|_| nobody(link.client_certificate));
        let session = match (Self::over(link, dialer, login).await, nobody) {
            (Err(error), Some(why)) if error.code == ErrorCode::ServerNotAuthorized => {
                return Err(not_asked(dialer, "refused", why).source(error));
            }
            (Ok(session), Some(why)) => {
                session.close().await;
                return Err(not_asked(dialer, "accepted", why));
            }
            (opened, _) => opened?,
        };
        progress.event(&Event::Connected { mutual_tls: session.certificate_presented() });
        Ok(session)
    }

    /// Opens the MQTT session over an authenticated connection.
    ///
    /// # Errors
    /// As [`Session::open`], from CONNECT on.
    pub async fn over(link: Link, dialer: &Dialer, login: &Login<'_>) -> Result<Self> {
        let Link { stream, tls_version, client_certificate } = link;
        let mut session = Self {
            wire: Wire::new(stream),
            packet_ids: PacketIds::default(),
            is_open: false,
            pinged: None,
            peer: dialer.server.to_string(),
            tls_version,
            client_certificate,
        };
        session.queue(&Packet::Connect(connect(login)?))?;
        let connack = async {
            loop {
                if let Some(code) = session.wire.connack().map_err(|error| session.malformed(error))? {
                    return Ok::<_, Error>(code);
                }
                session.wire.transfer().await.map_err(|error| session.closed(error))?;
            }
        };
        let code = tokio::time::timeout(dialer.timeout, connack)
            .await
            .map_err(|_| dialer.timed_out("MQTT (no CONNACK)"))??;
        if code != 0 {
            return Err(failure::refused(code, &session.peer));
        }
        session.is_open = true;
        Ok(session)
    }

    /// `TLSv1.2` or `TLSv1.3`.
    pub const fn tls_version(&self) -> &'static str {
        self.tls_version
    }

    /// Whether the server, which was authenticated, asked for the client certificate on this very connection.
    pub fn certificate_asked(&self) -> bool {
        self.client_certificate.was_asked()
    }

    /// Whether the server was given the client certificate.
    pub fn certificate_presented(&self) -> bool {
        self.client_certificate.was_presented()
    }

    /// Subscribes, and does not wait for the SUBACK: in a provisioning session ThingsBoard sends none before 3.9. It is
    /// sent by [`Session::next`] or [`Session::flush`].
    ///
    /// # Errors
    /// `usage/invalid-value` when it does not fit into a packet.
    pub fn subscribe(&mut self, topic: &str) -> Result<()> {
        let mut subscribe = Subscribe::new(topic, QoS::AtLeastOnce);
        subscribe.pkid = self.packet_ids.take();
        self.queue(&Packet::Subscribe(subscribe))
    }

    /// Sends a message at QoS 1, and gives its packet id. It leaves by [`Session::next`] or [`Session::flush`], and its
    /// PUBACK comes from [`Session::next`]. QoS 2 stalls on ThingsBoard.
    ///
    /// # Errors
    /// `usage/invalid-value` when it does not fit into a packet.
    pub fn publish(&mut self, topic: &str, payload: Bytes) -> Result<u16> {
        let packet_id = self.packet_ids.take();
        let mut publish = Publish::from_bytes(topic, QoS::AtLeastOnce, payload);
        publish.pkid = packet_id;
        self.queue(&Packet::Publish(publish))?;
        Ok(packet_id)
    }

    /// Waits for what arrives next, and meanwhile sends what is queued. May be dropped and called again without
    /// losing anything.
    ///
    /// # Errors
    /// What ended the connection.
    pub async fn next(&mut self) -> Result<Incoming> {
        loop {
            while let Some(packet) = self.wire.packet().map_err(|error| self.malformed(error))? {
                if let Some(incoming) = self.take_in(packet)? {
                    return Ok(incoming);
                }
            }
            let quiet = self.pinged.unwrap_or(self.wire.last_written()) + KEEP_ALIVE;
            tokio::select! {
                arrived = self.wire.transfer() => arrived.map_err(|error| self.closed(error))?,
                () = tokio::time::sleep_until(quiet) => self.keep_alive()?,
            }
        }
    }

    /// Sends all that is to be sent. What had arrived before it was written is not looked at: it answers nothing.
    ///
    /// # Errors
    /// What ended the connection.
    pub async fn flush(&mut self) -> Result<()> {
        self.wire.flush().await.map_err(|error| self.closed(error))?;
        while self.wire.packet().map_err(|error| self.malformed(error))?.is_some() {}
        Ok(())
    }

    /// Whether nothing has come but acknowledgements, as far as it is here already, and the server has not closed.
    pub fn is_quiet(&mut self) -> bool {
        loop {
            let taken = self.wire.packet().map(|packet| packet.map(|packet| self.take_in(packet)));
            match taken {
                Ok(Some(Ok(None | Some(Incoming::Acknowledged(_))))) => {}
                Ok(None) => match self.wire.read_at_once() {
                    Ok(true) => {}
                    Ok(false) => return self.wire.is_read(),
                    Err(_) => return false,
                },
                _ => return false,
            }
        }
    }

    /// How many bytes wait to be sent.
    pub fn queued(&self) -> usize {
        self.wire.queued()
    }

    /// Sends DISCONNECT and closes. It does not wait for packets that the server still has to send, such as the SUBACK
    /// that old releases never send.
    pub async fn close(mut self) {
        if self.queue(&Packet::Disconnect).is_ok() {
            let _ = tokio::time::timeout(GOODBYE, self.wire.close()).await;
        }
    }

    fn queue(&mut self, packet: &Packet) -> Result<()> {
        self.wire.queue(packet).map_err(|error| self.malformed(error))
    }

    /// The part of a packet that matters to the caller.
    fn take_in(&mut self, packet: Packet) -> Result<Option<Incoming>> {
        match packet {
            Packet::Publish(message) => {
                if message.qos == QoS::AtLeastOnce {
                    self.queue(&Packet::PubAck(PubAck::new(message.pkid)))?;
                }
                let topic = String::from_utf8_lossy(&message.topic).into_owned();
                Ok(Some(Incoming::Message { topic, payload: message.payload }))
            }
            // A repeated PUBACK is ignored.
            Packet::PubAck(ack) => {
                Ok(self.packet_ids.give_back(ack.pkid).then_some(Incoming::Acknowledged(ack.pkid)))
            }
            Packet::SubAck(ack) => {
                self.packet_ids.give_back(ack.pkid);
                Ok(None)
            }
            Packet::PingResp => {
                self.pinged = None;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Nothing was sent for a while, or nothing came back.
    fn keep_alive(&mut self) -> Result<()> {
        if self.pinged.is_some() {
            let message = format!("{} stopped answering", self.peer);
            return Err(Error::new(ErrorCode::NetworkTimeout, message));
        }
        self.pinged = Some(Instant::now());
        self.queue(&Packet::PingReq)
    }

    fn closed(&self, error: std::io::Error) -> Error {
        if self.is_open {
            return failure::broken(error, &self.peer);
        }
        failure::closed(error, &self.peer, self.client_certificate)
    }

    fn malformed(&self, error: rumqttc::mqttbytes::Error) -> Error {
        failure::malformed(error, &self.peer)
    }
}

/// Packet ids of what waits for its acknowledgement. Each is used again as late as can be, so that a PUBACK that the
/// server repeats much later is not taken for that of another message.
#[derive(Debug, Default)]
struct PacketIds {
    last: u16,
    waiting: HashSet<u16>,
}

impl PacketIds {
    /// A free one.
    fn take(&mut self) -> u16 {
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            if self.waiting.insert(self.last) {
                return self.last;
            }
        }
    }

    /// Whether it was waited for.
    fn give_back(&mut self, packet_id: u16) -> bool {
        self.waiting.remove(&packet_id)
    }
}

/// Why a server that was to be given a certificate cannot know whose connection it is.
fn nobody(client_certificate: ClientCertificate) -> Option<&'static str> {
    match client_certificate {
        ClientCertificate::NotAsked => Some("asking for its certificate"),
        ClientCertificate::NotPresented => Some("asking for a certificate of its kind"),
        ClientCertificate::Presented => None,
    }
}

fn not_asked(dialer: &Dialer, what: &str, why: &str) -> Error {
    let message =
        format!("{} {what} the device without {why}, so it does not know who connected", dialer.server);
    Error::new(ErrorCode::VerifyNotAsked, message)
}

fn connect(login: &Login<'_>) -> Result<Connect> {
    let mut connect = Connect::new(random_client_id()?);
    connect.keep_alive = u16::try_from(KEEP_ALIVE.as_secs()).unwrap_or(u16::MAX);
    match login {
        Login::Provision => drop(connect.set_username(PROVISION_USER)),
        Login::Device(Credentials::X509(_)) => {}
        Login::Device(Credentials::AccessToken(token)) => drop(connect.set_username(token.expose())),
        Login::Device(Credentials::MqttBasic(basic)) => {
            connect.client_id.clone_from(&basic.client_id);
            let password = Bytes::copy_from_slice(basic.password.expose().as_bytes());
            connect.set_credentials(basic.user_name.clone(), password);
        }
    }
    Ok(connect)
}

/// Never the device's name: `provision` as a client id would open a provisioning session.
fn random_client_id() -> Result<String> {
    Ok(format!("tbprov-{}", Secret::random(12)?.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_id_is_used_again_as_late_as_can_be() {
        let mut ids = PacketIds::default();
        assert_eq!([ids.take(), ids.take(), ids.take()], [1, 2, 3]);
        assert!(ids.give_back(1) && ids.give_back(3));
        assert!(!ids.give_back(1), "a repeated one");
        let rest: Vec<_> = (4..=u16::MAX).map(|_| ids.take()).collect();
        assert_eq!((rest[0], rest.last()), (4, Some(&u16::MAX)));
        rest.iter().for_each(|id| assert!(ids.give_back(*id)));
        assert_eq!([ids.take(), ids.take()], [1, 3], "0 is none, and 2 still waits");
    }
}
