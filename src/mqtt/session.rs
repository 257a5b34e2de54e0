//! One MQTT connection, from CONNECT to DISCONNECT. It never reconnects by itself.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rumqttc::{
    AsyncClient, Broker, ConnectionError, Event as ClientEvent, EventLoop, MqttOptions, NetworkOptions,
    Outgoing, Packet, PublishOptions, QoS,
};
use tokio::sync::mpsc;

use super::connack::NoSessionPresent;
use super::{LARGEST_PACKET, failure};
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

/// Seconds between pings when nothing else is sent; far below ThingsBoard's inactivity limit of 300 s.
const KEEP_ALIVE: u16 = 60;

/// How long a DISCONNECT may take before the connection is simply dropped.
const GOODBYE: Duration = Duration::from_millis(500);

/// Who connects.
#[derive(Debug, Clone, Copy)]
pub enum Login<'a> {
    /// Nobody yet: a provisioning session. Never with a client certificate, which ThingsBoard up to 3.4
    /// refuses before it is registered.
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
    /// The SUBSCRIBE was written.
    Subscribed,
    /// The next message in the order of [`Session::publish`] was written, under this packet id.
    Sent(u16),
    /// The PUBACK of the message with this packet id.
    Acknowledged(u16),
}

/// An open MQTT connection.
#[derive(Debug)]
pub struct Session {
    client: AsyncClient,
    incoming: mpsc::Receiver<Result<Incoming, ConnectionError>>,
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
        // Whether it lets a device in or not: without its certificate the server speaks of nobody.
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
        let peer = dialer.server.to_string();
        let Link { tls_version, client_certificate, .. } = link;
        let (client, mut events) =
            AsyncClient::builder(options(link, dialer, login)?).capacity(usize::from(IN_FLIGHT)).build();
        // Each step has its deadline here; the crate's own, in whole seconds, must not come first.
        let mut network = NetworkOptions::new();
        network.set_connection_timeout(dialer.timeout.as_secs().saturating_add(5));
        events.set_network_options(network);
        match tokio::time::timeout(dialer.timeout, events.poll()).await {
            Err(_) => return Err(dialer.timed_out("MQTT (no CONNACK)")),
            Ok(Err(error)) => return Err(failure::translate(error, &peer, client_certificate)),
            Ok(Ok(_connack)) => {}
        }
        let (sender, incoming) = mpsc::channel(usize::from(IN_FLIGHT) * 4);
        tokio::spawn(drive(events, sender));
        Ok(Self { client, incoming, peer, tls_version, client_certificate })
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

    /// Subscribes, and does not wait for the SUBACK: in a provisioning session ThingsBoard sends none before 3.9.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn subscribe(&self, topic: &str) -> Result<()> {
        self.client.subscribe(topic, QoS::AtLeastOnce).await.map_err(|_| self.ended())
    }

    /// Sends a message at QoS 1; its PUBACK comes from [`Session::next`]. QoS 2 stalls on ThingsBoard.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn publish(&self, topic: &str, payload: Bytes) -> Result<()> {
        self.client.publish(topic, payload, PublishOptions::at_least_once()).await.map_err(|_| self.ended())
    }

    /// Waits for what arrives next. May be dropped and called again without losing anything.
    ///
    /// # Errors
    /// What ended the connection.
    pub async fn next(&mut self) -> Result<Incoming> {
        match self.incoming.recv().await {
            Some(Ok(incoming)) => Ok(incoming),
            Some(Err(error)) => Err(failure::translate(error, &self.peer, self.client_certificate)),
            None => Err(self.ended()),
        }
    }

    /// Waits for what ends the connection, and says it.
    pub async fn end(&mut self) -> Error {
        loop {
            if let Err(error) = self.next().await {
                return error;
            }
        }
    }

    /// Says DISCONNECT and closes, without waiting for what the server still owes, such as the SUBACK that old
    /// releases never send.
    pub async fn close(mut self) {
        if self.client.try_disconnect_now().is_err() {
            return;
        }
        let _ = tokio::time::timeout(GOODBYE, async {
            while self.incoming.recv().await.is_some_and(|end| end.is_ok()) {}
        })
        .await;
    }

    fn ended(&self) -> Error {
        Error::new(ErrorCode::NetworkClosed, format!("the connection to {} has ended", self.peer))
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

/// Runs the client crate's event loop until the connection ends. It has a task of its own because its `poll`
/// may not be dropped half-way.
async fn drive(mut events: EventLoop, sender: mpsc::Sender<Result<Incoming, ConnectionError>>) {
    let error = loop {
        match events.poll().await {
            Ok(event) => {
                if tell(event, &sender).await.is_err() {
                    return;
                }
            }
            Err(error) => break error,
        }
    };
    // What was read in one go with the connection's end is kept there, and `poll` told the end alone.
    for event in std::mem::take(&mut events.state.events) {
        if tell(event, &sender).await.is_err() {
            return;
        }
    }
    let _ = sender.send(Err(error)).await;
}

/// Passes on what matters; fails when nobody listens any more.
async fn tell(
    event: ClientEvent,
    sender: &mpsc::Sender<Result<Incoming, ConnectionError>>,
) -> Result<(), mpsc::error::SendError<Result<Incoming, ConnectionError>>> {
    let incoming = match event {
        ClientEvent::Incoming(Packet::Publish(message)) => {
            let topic = String::from_utf8_lossy(&message.topic).into_owned();
            Incoming::Message { topic, payload: message.payload }
        }
        ClientEvent::Incoming(Packet::PubAck(ack)) => Incoming::Acknowledged(ack.pkid),
        ClientEvent::Outgoing(Outgoing::Subscribe(_)) => Incoming::Subscribed,
        ClientEvent::Outgoing(Outgoing::Publish(id)) => Incoming::Sent(id),
        _ => return Ok(()),
    };
    sender.send(Ok(incoming)).await
}

fn options(link: Link, dialer: &Dialer, login: &Login<'_>) -> Result<MqttOptions> {
    let broker = Broker::tcp(dialer.server.host.clone(), dialer.server.port);
    let mut options = match login {
        Login::Provision => {
            let mut options = MqttOptions::new(random_client_id()?, broker);
            options.set_username(PROVISION_USER);
            options
        }
        Login::Device(Credentials::X509(_)) => MqttOptions::new(random_client_id()?, broker),
        Login::Device(Credentials::AccessToken(token)) => {
            let mut options = MqttOptions::new(random_client_id()?, broker);
            options.set_username(token.expose());
            options
        }
        Login::Device(Credentials::MqttBasic(basic)) => {
            let mut options = MqttOptions::new(basic.client_id.clone(), broker);
            options.set_credentials(basic.user_name.clone(), basic.password.expose().to_owned());
            options
        }
    };
    options
        .set_keep_alive(KEEP_ALIVE)
        .set_clean_session(true)
        .set_inflight(IN_FLIGHT)
        .set_max_packet_size(LARGEST_PACKET, LARGEST_PACKET);
    let once = Arc::new(Mutex::new(Some(NoSessionPresent::new(link.stream))));
    options.set_socket_connector(move |_, _| {
        let stream = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move { stream.ok_or_else(|| io::Error::other("this session does not reconnect")) }
    });
    Ok(options)
}

/// Never the device's name: `provision` as a client id would open a provisioning session.
fn random_client_id() -> Result<String> {
    Ok(format!("tbprov-{}", Secret::random(12)?.expose()))
}
