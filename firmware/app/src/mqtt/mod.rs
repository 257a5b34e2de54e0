//! An MQTT 3.1.1 session that sends readings at QoS 1 (section numbers are those of the OASIS standard).

mod link;
mod packet;
#[cfg(test)]
mod tests;

use alloc::format;
use alloc::string::String;
use core::convert::Infallible;
use core::pin::pin;

use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Instant};
use embedded_io_async::{Read, Write};
use log::{info, warn};
use mqttrs::{Connect, Pid, Protocol, Publish, QosPid};
use tbprov_contract::Identity;
use tbprov_contract::report::{ACKNOWLEDGED, SENT, Trouble};

use crate::Readings;
use crate::fault::Fault;
use crate::reconnect::duration;
use link::Link;
use packet::Packet;

/// How long each answer may take.
const ANSWER: Duration = Duration::from_secs(15);
/// The keep-alive that CONNECT announces, in seconds: the server may hang up after one and a half of it.
const KEEP_ALIVE: u16 = 60;
/// Silence of ours after which a PINGREQ is sent.
const PING_AFTER: Duration = Duration::from_secs(45);
/// How long a server that answers everything in time can be silent.
pub(crate) const LONGEST_SILENCE: Duration = Duration::from_secs(PING_AFTER.as_secs() + ANSWER.as_secs());
/// Begins the client identifier; the device's name follows. The name alone may be `provision`, by which ThingsBoard knows
/// those who want to be provisioned (`MqttTransportHandler.processConnect`).
const CLIENT_ID: &str = "tbprov-";
/// The most that a packet has beside its texts and its payload.
const OVERHEAD: usize = 32;
/// ThingsBoard's largest packet, less what surrounds the reading.
const LARGEST_READING: usize = 65_536 - 512;

/// A session: CONNECT, then readings until something goes wrong.
pub(crate) struct Session<'a, S> {
    link: Link<S>,
    identity: &'a Identity,
    identifier: Pid,
}

impl<'a, S: Read<Error = Fault> + Write> Session<'a, S> {
    /// Connects over a stream whose reads lose nothing when they are dropped.
    pub(crate) async fn connect(stream: S, identity: &'a Identity) -> Result<Self, Fault> {
        let mut session = Self { link: Link::new(stream), identity, identifier: Pid::new() };
        let asked_at = Instant::now();
        let client_id = format!("{CLIENT_ID}{}", identity.name);
        let connect = mqttrs::Packet::Connect(Connect {
            protocol: Protocol::MQTT311,
            keep_alive: KEEP_ALIVE,
            client_id: &client_id,
            clean_session: true,
            last_will: None,
            username: None,
            password: None,
        });
        session.link.send(&connect, client_id.len() + OVERHEAD).await?;
        session.accepted(asked_at).await?;
        info!("[MQTT] connected as {}, CONNACK in {} ms", identity.name, asked_at.elapsed().as_millis());
        Ok(session)
    }

    async fn accepted(&mut self, asked_at: Instant) -> Result<(), Fault> {
        match self.link.receive_until(asked_at + ANSWER).await? {
            Some(Packet::Connack(0)) => Ok(()),
            Some(Packet::Connack(code)) => Err(refusal(code)),
            Some(_) => Err(Fault::new(Trouble::Protocol, "the server's first packet is no CONNACK")),
            None => Err(silence("CONNACK")),
        }
    }

    /// Sends readings for as long as that works; `acknowledged` becomes true with the first PUBACK.
    pub(crate) async fn send_readings(
        &mut self,
        readings: &mut impl Readings,
        acknowledged: &mut bool,
    ) -> Result<Infallible, Fault> {
        let interval = duration(self.identity.interval);
        let mut due = Instant::now();
        loop {
            match self.take(readings).await? {
                Some(reading) if reading.len() > LARGEST_READING => {
                    warn!("[Telemetry] a reading of {} bytes is too large and was skipped", reading.len());
                }
                Some(reading) => {
                    self.publish(reading).await?;
                    *acknowledged = true;
                }
                None => {
                    warn!("[Telemetry] no reading could be taken; the next attempt is at the next interval")
                }
            }
            // Readings that were missed are not made up for.
            due = (due + interval).max(Instant::now());
            self.idle_until(due).await?;
        }
    }

    /// Takes a reading, however long that takes, and keeps the connection alive meanwhile.
    async fn take(&mut self, readings: &mut impl Readings) -> Result<Option<String>, Fault> {
        let mut reading = pin!(readings.read());
        loop {
            let ping_at = self.link.sent_at() + PING_AFTER;
            match select(&mut reading, self.link.receive_until(ping_at)).await {
                Either::First(reading) => return Ok(reading),
                Either::Second(received) => match received? {
                    Some(packet) => self.tolerate(packet).await?,
                    None => self.ping().await?,
                },
            }
        }
    }

    async fn publish(&mut self, reading: String) -> Result<(), Fault> {
        let identifier = self.identifier;
        self.identifier = identifier + 1;
        let message = mqttrs::Packet::Publish(Publish {
            dup: false,
            qospid: QosPid::AtLeastOnce(identifier),
            retain: false,
            topic_name: &self.identity.topic,
            payload: reading.as_bytes(),
        });
        info!("{SENT}{reading}");
        let sent_at = Instant::now();
        self.link.send(&message, self.identity.topic.len() + reading.len() + OVERHEAD).await?;
        self.answer("PUBACK", |packet| match packet {
            Packet::Puback(acknowledged) if acknowledged == identifier.get() => Ok(true),
            Packet::Puback(_) => Err(Fault::new(Trouble::Protocol, "a PUBACK is for another packet")),
            _ => Ok(false),
        })
        .await?;
        info!("{ACKNOWLEDGED}packet {} in {} ms", identifier.get(), sent_at.elapsed().as_millis());
        Ok(())
    }

    /// Waits for the next reading, listens meanwhile and keeps the connection alive.
    async fn idle_until(&mut self, due: Instant) -> Result<(), Fault> {
        loop {
            let ping_at = self.link.sent_at() + PING_AFTER;
            if let Some(packet) = self.link.receive_until(due.min(ping_at)).await? {
                self.tolerate(packet).await?;
            } else if ping_at <= Instant::now() {
                self.ping().await?;
            }
            if due <= Instant::now() {
                return Ok(());
            }
        }
    }

    async fn ping(&mut self) -> Result<(), Fault> {
        self.link.send(&mqttrs::Packet::Pingreq, OVERHEAD).await?;
        self.answer("PINGRESP", |packet| Ok(packet == Packet::Pingresp)).await
    }

    /// Receives until `is_answer` has found its packet.
    async fn answer(
        &mut self,
        name: &'static str,
        is_answer: impl Fn(Packet) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        let deadline = Instant::now() + ANSWER;
        loop {
            let packet = self.link.receive_until(deadline).await?.ok_or_else(|| silence(name))?;
            if is_answer(packet)? {
                return Ok(());
            }
            self.tolerate(packet).await?;
        }
    }

    /// What was not asked for: a message is acknowledged if it has to be, and dropped.
    async fn tolerate(&mut self, packet: Packet) -> Result<(), Fault> {
        match packet {
            Packet::Connack(_) => Err(Fault::new(Trouble::Protocol, "the server sent a second CONNACK")),
            Packet::Publish(Some(identifier)) => self.acknowledge(identifier).await,
            _ => Ok(()),
        }
    }

    async fn acknowledge(&mut self, identifier: u16) -> Result<(), Fault> {
        let identifier = Pid::try_from(identifier)
            .map_err(|_| Fault::new(Trouble::Protocol, "a message from the server has the identifier 0"))?;
        self.link.send(&mqttrs::Packet::Puback(identifier), OVERHEAD).await
    }
}

fn silence(packet: &str) -> Fault {
    Fault::new(Trouble::Timeout, format!("no {packet} within {} s", ANSWER.as_secs()))
}

/// CONNACK's return codes (section 3.2.2.3), and what they mean in ThingsBoard.
fn refusal(code: u8) -> Fault {
    let (trouble, words) = match code {
        1 => (Trouble::Refused, "the server does not speak MQTT 3.1.1"),
        2 => (Trouble::IdentifierRejected, "the server rejects the client identifier, or got no certificate"),
        3 => (Trouble::Unavailable, "the server is unavailable"),
        4 => (Trouble::NotAuthorized, "the server wants a user name and a password"),
        5 => (Trouble::NotAuthorized, "the server does not know this certificate"),
        _ => (Trouble::Refused, "the server refuses for a reason that MQTT 3.1.1 does not have"),
    };
    Fault::new(trouble, format!("CONNACK {code}: {words}"))
}
