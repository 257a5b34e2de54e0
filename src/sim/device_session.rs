//! A device's connection: telemetry, attributes, and their acknowledgement
//! (`MqttTransportHandler.processRegularSessionMsg`).

use std::sync::Arc;
use std::time::Duration;

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish, Subscribe};
use tokio::time::Instant;

use super::device::RegisteredDevice;
use super::ending::Ending;
use super::event::Event;
use super::fault::Fault;
use super::payload::{Topic, Verdict, is_known_filter, judge_attributes, judge_telemetry};
use super::server::{Peer, Place};
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
    rate: Option<Rate>,
}

impl<'a, S: Transport> DeviceSession<'a, S> {
    pub(super) fn new(peer: &'a Peer, wire: &'a mut Wire<S>, device: Arc<RegisteredDevice>) -> Self {
        let credentials_id = device.credentials.public_id();
        let rate = peer.server.injector.rate_limit().map(Rate::new);
        Self { peer, wire, device, credentials_id, telemetry: 0, rate }
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
        self.check_rate().await?;
        let verdict = match (Topic::of(&publish.topic), std::str::from_utf8(&publish.payload)) {
            (Topic::Unknown, _) => Verdict::Accepted,
            (_, Err(_)) => Verdict::Undecodable,
            (Topic::Telemetry, Ok(payload)) => self.telemetry(payload).await?,
            (Topic::Attributes, Ok(payload)) => self.attributes(payload),
        };
        match verdict {
            Verdict::Accepted => self.wire.puback(publish.pkid),
            Verdict::Nothing => {}
            Verdict::Undecodable => return Err(self.close("the payload cannot be decoded").await),
        }
        Ok(())
    }

    async fn telemetry(&mut self, payload: &str) -> Result<Verdict, Ending> {
        let verdict = judge_telemetry(payload);
        if verdict == Verdict::Accepted {
            self.device.record_telemetry(payload);
            self.peer.emit(&Event::Telemetry {
                connection: self.peer.connection,
                device: self.device.name.clone(),
                credentials_id: self.credentials_id.clone(),
                payload: payload.to_owned(),
            });
            self.telemetry += 1;
            self.reset_if_due().await?;
        }
        Ok(verdict)
    }

    fn attributes(&mut self, payload: &str) -> Verdict {
        let verdict = judge_attributes(payload);
        if verdict == Verdict::Accepted {
            self.device.record_attributes();
            self.peer.emit(&Event::Attributes {
                connection: self.peer.connection,
                device: self.device.name.clone(),
                credentials_id: self.credentials_id.clone(),
                payload: payload.to_owned(),
            });
        }
        verdict
    }

    /// The message just accepted is the one that is never acknowledged.
    async fn reset_if_due(&mut self) -> Result<(), Ending> {
        let Some(fault) = self.peer.server.injector.reset(self.telemetry) else {
            return Ok(());
        };
        self.peer.tell(fault);
        let _ = self.wire.flush().await;
        Err(Ending::Reset)
    }

    /// A message over the limit closes the connection, without PUBACK.
    async fn check_rate(&mut self) -> Result<(), Ending> {
        let Some(rate) = &mut self.rate else { return Ok(()) };
        if rate.allows(Instant::now()) {
            return Ok(());
        }
        self.peer.tell(Fault::RateLimit(rate.limit));
        Err(self.close("over the rate limit").await)
    }

    fn subscribe(&mut self, subscribe: &Subscribe) {
        let granted = |qos| if qos == QoS::AtMostOnce { 0 } else { 1 };
        let code = |filter: &rumqttc::mqttbytes::v4::SubscribeFilter| {
            if is_known_filter(&filter.path) { granted(filter.qos) } else { NOT_GRANTED }
        };
        let codes: Vec<u8> = subscribe.filters.iter().map(code).collect();
        self.wire.suback(subscribe.pkid, &codes);
    }

    /// What was acknowledged before still leaves.
    async fn close(&mut self, reason: &str) -> Ending {
        let _ = self.wire.flush().await;
        Ending::close(reason)
    }
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
