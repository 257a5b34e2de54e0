//! A device's connection: telemetry, attributes, and their acknowledgement
//! (`MqttTransportHandler.processRegularSessionMsg`).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish, Subscribe};
use tokio::time::Instant;

use super::attributes;
use super::device::{Doing, RegisteredDevice};
use super::ending::Ending;
use super::event::Event;
use super::fault::Fault;
use super::server::{Peer, Place};
use super::session_limits::{self, DeviceRequest};
use super::telemetry::{Reading, Telemetry, are_attributes};
use super::topic::{Asked, Topic, is_known_filter};
use super::wire::{Broken, Transport, Wire};

/// SUBACK's failure code.
const NOT_GRANTED: u8 = 0x80;

pub(super) struct DeviceSession<'a, S> {
    peer: &'a Peer,
    wire: &'a mut Wire<S>,
    device: Arc<RegisteredDevice>,
    credentials_id: Option<String>,
    /// Telemetry messages accepted on this connection.
    telemetry: u64,
    /// The packet identifier of the last message to the device.
    answers: u16,
    rate: Option<Rate>,
}

impl<'a, S: Transport> DeviceSession<'a, S> {
    pub(super) fn new(peer: &'a Peer, wire: &'a mut Wire<S>, device: Arc<RegisteredDevice>) -> Self {
        let credentials_id = device.credentials.public_id();
        let injector = &peer.server.injector;
        let rate = injector.rate_limit().map(Rate::new);
        let (pubacks, faults) = injector.pubacks();
        faults.into_iter().for_each(|fault| peer.tell(fault));
        wire.set_pubacks(pubacks);
        Self { peer, wire, device, credentials_id, telemetry: 0, answers: 0, rate }
    }

    /// Serves what came before CONNECT, then what comes.
    pub(super) async fn serve(mut self, mut place: Place, early: Vec<Packet>) -> Ending {
        for packet in early {
            if let Err(ending) = self.packet(packet).await {
                return ending;
            }
        }
        loop {
            let packet = tokio::select! {
                biased;
                why = place.lost() => return Ending::close(why),
                packet = self.wire.next() => packet,
            };
            let handled = match packet {
                Ok(packet) => self.packet(packet).await,
                Err(broken) => Err(broken.into_ending()),
            };
            if let Err(ending) = handled {
                return ending;
            }
        }
    }

    async fn packet(&mut self, packet: Packet) -> Result<(), Ending> {
        if !matches!(packet, Packet::Disconnect) {
            self.peer.note(&self.device, Doing::Sending);
        }
        match packet {
            Packet::Publish(publish) => self.publish(&publish).await?,
            Packet::Subscribe(subscribe) => self.subscribe(&subscribe),
            Packet::Unsubscribe(unsubscribe) => self.wire.unsuback(unsubscribe.pkid),
            Packet::PingReq => self.wire.pingresp(),
            Packet::Disconnect => return Err(Ending::quiet("disconnected by the client")),
            Packet::Connect(connect) => return Err(Ending::Again(Box::new(connect))),
            _ => {}
        }
        let flushed = self.wire.flush_if_full().await;
        flushed.map_err(|error| Ending::quiet(format!("the connection broke: {error}")))
    }

    async fn publish(&mut self, publish: &Publish) -> Result<(), Ending> {
        let payload = String::from_utf8_lossy(&publish.payload);
        let topic = Topic::of(&publish.topic, self.peer.server.release);
        self.tell_if_not_simulated(topic);
        if !matches!(topic, Topic::Request(_) | Topic::AttributesRequest(_)) {
            self.check_rate().await?;
        }
        let verdict = match topic {
            Topic::Telemetry => self.telemetry(&payload).await?,
            Topic::Attributes => self.attributes(&payload),
            Topic::AttributesRequest(asked) => self.attributes_request(asked, &payload),
            Topic::Request(asked) => self.request(asked, &payload),
            Topic::Protobuf | Topic::Image => Verdict::Undecodable,
            Topic::NoNumber => return Err(self.close("the request has no number").await),
            Topic::Gateway if !self.device.gateway => Verdict::Nothing,
            Topic::Gateway | Topic::Claim | Topic::Unknown => Verdict::Accepted,
        };
        match verdict {
            Verdict::Accepted => self.wire.puback(publish.pkid),
            Verdict::Nothing => {}
            Verdict::Answered(topic, payload) => {
                self.wire.puback(publish.pkid);
                self.answer(&topic, payload)?;
            }
            Verdict::Undecodable => return Err(self.close("the payload cannot be decoded").await),
        }
        Ok(())
    }

    fn tell_if_not_simulated(&self, topic: Topic) {
        let what = match topic {
            Topic::Protobuf => "payloads of Protobuf",
            Topic::Image => "images for devices (OTA)",
            Topic::Gateway => "the topics of gateways",
            Topic::Claim => "claiming",
            _ => return,
        };
        self.peer.tell_not_simulated(&self.device, what);
    }

    async fn telemetry(&mut self, payload: &str) -> Result<Verdict, Ending> {
        let server = &self.peer.server;
        let readings = match Telemetry::read(payload, arrival(), server.release) {
            Telemetry::Readings(readings) => readings,
            Telemetry::Nothing => return Ok(Verdict::Nothing),
            Telemetry::Undecodable => return Ok(Verdict::Undecodable),
        };
        let points = readings.iter().map(|reading| reading.values.len()).sum();
        if let Err(why) = server.admission.telemetry(&self.device, points) {
            return Err(self.close_unacknowledged(why).await);
        }
        let stored = self.store(&readings, payload);
        self.device.record_telemetry(payload);
        self.peer.emit(&Event::Telemetry {
            connection: self.peer.connection,
            device: self.device.name.to_string(),
            credentials_id: self.credentials_id.clone(),
            payload: payload.to_owned(),
            stored,
        });
        self.telemetry += 1;
        self.end_if_due().await?;
        Ok(Verdict::Accepted)
    }

    /// Stores what was accepted, unless a fault says otherwise; how many values are new by now.
    fn store(&self, readings: &[Reading<'_>], payload: &str) -> u64 {
        let (release, keep) = (self.peer.server.release, self.peer.server.keep);
        let Some(fault) = self.peer.server.injector.storing() else {
            return self.device.store(readings, keep);
        };
        self.peer.tell(fault);
        if let Fault::StoredLate(delay) = fault {
            let (device, payload, arrived) = (Arc::clone(&self.device), payload.to_owned(), arrival());
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                if let Telemetry::Readings(readings) = Telemetry::read(&payload, arrived, release) {
                    device.store(&readings, keep);
                }
            });
        }
        0
    }

    fn attributes(&mut self, payload: &str) -> Verdict {
        if !are_attributes(payload, self.peer.server.release) {
            return Verdict::Undecodable;
        }
        self.device.record_attributes(payload, arrival());
        self.peer.emit(&Event::Attributes {
            connection: self.peer.connection,
            device: self.device.name.to_string(),
            credentials_id: self.credentials_id.clone(),
            payload: payload.to_owned(),
        });
        Verdict::Accepted
    }

    /// Whether or not the device has subscribed to the answers.
    fn attributes_request(&self, asked: Asked, payload: &str) -> Verdict {
        match attributes::answer(&self.device, payload) {
            Some(answer) => Verdict::Answered(asked.answer_topic(), answer),
            None => Verdict::Undecodable,
        }
    }

    /// Whether or not the device has subscribed to the answers.
    fn request(&self, asked: Asked, payload: &str) -> Verdict {
        let server = &self.peer.server;
        match DeviceRequest::read(payload) {
            Some(DeviceRequest::SessionLimits) if server.release.tells_session_limits() => {
                let answer = session_limits::answer(&server.admission.device, server.release);
                Verdict::Answered(asked.answer_topic(), answer)
            }
            Some(_) => {
                self.peer.tell_not_simulated(&self.device, "requests to the server, but getSessionLimits");
                Verdict::Accepted
            }
            None => Verdict::Undecodable,
        }
    }

    fn answer(&mut self, topic: &str, payload: Vec<u8>) -> Result<(), Ending> {
        self.answers = self.answers.checked_add(1).unwrap_or(1);
        let written = self.wire.publish(topic, QoS::AtLeastOnce, self.answers, payload);
        written.map_err(Broken::into_ending)
    }

    /// The message just accepted may be one that is never acknowledged, by a fault.
    async fn end_if_due(&mut self) -> Result<(), Ending> {
        let injector = &self.peer.server.injector;
        if let Some(fault) = injector.reset(self.telemetry) {
            self.peer.tell(fault);
            let _ = self.wire.flush().await;
            return Err(Ending::Reset);
        }
        match injector.close(self.telemetry) {
            Some(fault) => {
                self.peer.tell(fault);
                Err(self.close_by_fault("by a fault").await)
            }
            None => Ok(()),
        }
    }

    /// A message over the limit of the fault closes the connection.
    async fn check_rate(&mut self) -> Result<(), Ending> {
        let Some(rate) = &mut self.rate else { return Ok(()) };
        if rate.allows(Instant::now()) {
            return Ok(());
        }
        self.peer.tell(Fault::RateLimit(rate.limit));
        Err(self.close_by_fault("over the rate limit").await)
    }

    fn subscribe(&mut self, subscribe: &Subscribe) {
        let release = self.peer.server.release;
        let granted = |qos| if qos == QoS::AtMostOnce { 0 } else { 1 };
        let code = |filter: &rumqttc::mqttbytes::v4::SubscribeFilter| {
            if is_known_filter(&filter.path, release) { granted(filter.qos) } else { NOT_GRANTED }
        };
        let codes: Vec<u8> = subscribe.filters.iter().map(code).collect();
        self.wire.suback(subscribe.pkid, &codes);
    }

    /// The PUBACKs of what was accepted before, and has not been told yet, never leave: ThingsBoard closes before its
    /// queue has answered for them.
    async fn close_unacknowledged(&mut self, reason: impl Into<String>) -> Ending {
        self.wire.forget_pubacks();
        self.close(reason).await
    }

    /// The same, where the fault was told.
    async fn close_by_fault(&mut self, reason: &'static str) -> Ending {
        let _ = self.close_unacknowledged(reason).await;
        Ending::quiet(reason)
    }

    /// What was acknowledged before still leaves.
    async fn close(&mut self, reason: impl Into<String>) -> Ending {
        let _ = self.wire.flush().await;
        Ending::close(reason)
    }
}

/// What becomes of a message.
#[derive(Debug)]
enum Verdict {
    Accepted,
    /// No PUBACK ever comes, such as for an empty array.
    Nothing,
    /// Accepted, and answered on this topic.
    Answered(String, Vec<u8>),
    /// The connection is closed, without PUBACK.
    Undecodable,
}

/// The millisecond in which this is asked, since 1970.
pub(super) fn arrival() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Messages within a second, counted from the first one of each second.
struct Rate {
    limit: u64,
    since: Option<Instant>,
    count: u64,
}

impl Rate {
    const fn new(limit: u64) -> Self {
        Self { limit, since: None, count: 0 }
    }

    fn allows(&mut self, now: Instant) -> bool {
        match self.since {
            Some(since) if now.duration_since(since) < Duration::from_secs(1) => self.count += 1,
            _ => (self.since, self.count) = (Some(now), 1),
        }
        self.count <= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_counted_anew_after_a_second() {
        let mut rate = Rate::new(2);
        let start = Instant::now();
        let allowed = [0, 10, 20, 1000, 1010, 1020].map(|at| rate.allows(start + Duration::from_millis(at)));
        assert_eq!(allowed, [true, true, false, true, true, false]);
    }
}
