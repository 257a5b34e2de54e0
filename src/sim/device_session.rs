//! A device's connection: telemetry, attributes, and their acknowledgement
//! (`MqttTransportHandler.processRegularSessionMsg`).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish, Subscribe};
use tokio::time::Instant;

use super::device::RegisteredDevice;
use super::ending::Ending;
use super::event::Event;
use super::fault::Fault;
use super::server::{Peer, Place};
use super::session_limits::{self, DeviceRequest};
use super::telemetry::{Telemetry, are_attributes};
use super::topic::{Topic, is_known_filter};
use super::wire::{Transport, Wire};

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

    pub(super) async fn serve(mut self, mut place: Place) -> Ending {
        loop {
            let packet = tokio::select! {
                biased;
                why = place.lost() => return Ending::close(why),
                packet = self.wire.next() => packet,
            };
            let handled = match packet {
                Ok(packet) => self.packet(packet).await,
                Err(broken) => Err(Ending::close(broken.into_reason())),
            };
            if let Err(ending) = handled {
                return ending;
            }
        }
    }

    async fn packet(&mut self, packet: Packet) -> Result<(), Ending> {
        match packet {
            Packet::Publish(publish) => self.publish(&publish).await?,
            Packet::Subscribe(subscribe) => self.subscribe(&subscribe),
            Packet::Unsubscribe(unsubscribe) => self.wire.unsuback(unsubscribe.pkid),
            Packet::PingReq => self.wire.pingresp(),
            Packet::Disconnect => return Err(Ending::close("disconnected by the client")),
            Packet::Connect(_) => return Err(Ending::close("a second CONNECT")),
            _ => {}
        }
        let flushed = self.wire.flush_if_full().await;
        flushed.map_err(|error| Ending::close(format!("the connection broke: {error}")))
    }

    async fn publish(&mut self, publish: &Publish) -> Result<(), Ending> {
        let payload = String::from_utf8_lossy(&publish.payload);
        let topic = Topic::of(&publish.topic, self.peer.server.release);
        if !matches!(topic, Topic::Request(_)) {
            self.check_rate().await?;
        }
        let verdict = match topic {
            Topic::Telemetry => self.telemetry(&payload).await?,
            Topic::Attributes => self.attributes(&payload),
            Topic::Request(number) => self.request(number, &payload),
            Topic::Undecodable => Verdict::Undecodable,
            Topic::Unknown => Verdict::Accepted,
        };
        match verdict {
            Verdict::Accepted => self.wire.puback(publish.pkid),
            Verdict::Nothing => {}
            Verdict::AsksForLimits(number) => {
                self.wire.puback(publish.pkid);
                self.tell_limits(number)?;
            }
            Verdict::Undecodable => return Err(self.close("the payload cannot be decoded").await),
        }
        Ok(())
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
        let stored = self.device.store(&readings, server.keep_values);
        self.device.record_telemetry(payload);
        self.peer.emit(&Event::Telemetry {
            connection: self.peer.connection,
            device: self.device.name.clone(),
            credentials_id: self.credentials_id.clone(),
            payload: payload.to_owned(),
            stored,
        });
        self.telemetry += 1;
        self.end_if_due().await?;
        Ok(Verdict::Accepted)
    }

    fn attributes(&mut self, payload: &str) -> Verdict {
        if !are_attributes(payload, self.peer.server.release) {
            return Verdict::Undecodable;
        }
        self.device.record_attributes();
        self.peer.emit(&Event::Attributes {
            connection: self.peer.connection,
            device: self.device.name.clone(),
            credentials_id: self.credentials_id.clone(),
            payload: payload.to_owned(),
        });
        Verdict::Accepted
    }

    fn request(&self, number: i32, payload: &str) -> Verdict {
        match DeviceRequest::read(payload) {
            Some(DeviceRequest::SessionLimits) if self.peer.server.release.tells_session_limits() => {
                Verdict::AsksForLimits(number)
            }
            Some(_) => Verdict::Accepted,
            None => Verdict::Undecodable,
        }
    }

    /// Whether or not the device has subscribed.
    fn tell_limits(&mut self, number: i32) -> Result<(), Ending> {
        let server = &self.peer.server;
        let answer = session_limits::answer(&server.admission.device, server.release);
        self.answers = self.answers.checked_add(1).unwrap_or(1);
        let topic = format!("v1/devices/me/rpc/response/{number}");
        let written = self.wire.publish(&topic, QoS::AtLeastOnce, self.answers, answer);
        written.map_err(|broken| Ending::close(broken.into_reason()))
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
                Err(self.close_unacknowledged("by a fault").await)
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
        Err(self.close_unacknowledged("over the rate limit").await)
    }

    fn subscribe(&mut self, subscribe: &Subscribe) {
        let granted = |qos| if qos == QoS::AtMostOnce { 0 } else { 1 };
        let code = |filter: &rumqttc::mqttbytes::v4::SubscribeFilter| {
            if is_known_filter(&filter.path) { granted(filter.qos) } else { NOT_GRANTED }
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

    /// What was acknowledged before still leaves.
    async fn close(&mut self, reason: impl Into<String>) -> Ending {
        let _ = self.wire.flush().await;
        Ending::close(reason)
    }
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Accepted,
    /// An empty array: no PUBACK ever comes.
    Nothing,
    /// Accepted; this request asks what the device may send.
    AsksForLimits(i32),
    /// The connection is closed, without PUBACK.
    Undecodable,
}

/// The millisecond in which this is asked, since 1970.
fn arrival() -> i64 {
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
