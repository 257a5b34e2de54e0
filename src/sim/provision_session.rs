//! A connection of the user `provision` (`MqttTransportHandler.processProvisionSessionMsg`).

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish, Subscribe};
use tokio::time::Instant;

use super::answer::{self, Shape};
use super::core::Worked;
use super::ending::Ending;
use super::event::Event;
use super::fault::Fault;
use super::provisioning::Decision;
use super::request::{BadRequest, ProvisionRequest};
use super::server::Peer;
use super::wire::{Broken, Transport, Wire};

/// The topics, with their leading slash (`MqttTopics`).
const REQUEST: &[u8] = b"/provision/request";
const RESPONSE: &str = "/provision/response";

/// SUBACK's failure code.
const NOT_GRANTED: u8 = 0x80;

pub(super) struct ProvisionSession<'a, S> {
    peer: &'a Peer,
    wire: &'a mut Wire<S>,
    /// The QoS of a subscription to the answer.
    subscribed: Option<QoS>,
    /// Packet identifiers of the server begin at 1.
    next_id: u16,
    /// When the connection is closed: some time after the first answer.
    end: Option<Instant>,
    /// The last answer, where a fault repeats it.
    last: Option<Vec<u8>>,
    /// The first request that is never answered: when that shows, and its packet identifier.
    unanswered: Option<(Instant, u16)>,
}

impl<'a, S: Transport> ProvisionSession<'a, S> {
    pub(super) fn new(peer: &'a Peer, wire: &'a mut Wire<S>) -> Self {
        Self { peer, wire, subscribed: None, next_id: 1, end: None, last: None, unanswered: None }
    }

    pub(super) async fn serve(mut self) -> Ending {
        loop {
            let unanswered = self.unanswered;
            let packet = tokio::select! {
                packet = self.wire.next() => packet,
                () = reached(unanswered.map(|(end, _)| end)) => return self.give_up().await,
                () = reached(self.end) => return Ending::quiet("the time after the first answer is over"),
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
        match packet {
            Packet::Publish(publish) if publish.topic == REQUEST => self.request(publish).await?,
            Packet::Publish(publish) => {
                let topic = String::from_utf8_lossy(&publish.topic);
                let reason = format!("a provisioning connection may not publish to '{topic}'");
                return Err(self.bad_request(publish.pkid, reason).await);
            }
            Packet::Subscribe(subscribe) => self.subscribe(&subscribe),
            Packet::Unsubscribe(unsubscribe) if self.peer.server.release.acknowledges_subscribe() => {
                if unsubscribe.topics.iter().any(|topic| topic == RESPONSE) {
                    self.subscribed = None;
                }
                self.wire.unsuback(unsubscribe.pkid);
            }
            Packet::PingReq => self.wire.pingresp(),
            Packet::Disconnect => return Err(Ending::quiet("disconnected by the client")),
            Packet::Connect(connect) => return Err(Ending::Again(Box::new(connect))),
            _ => {}
        }
        Ok(())
    }

    /// Up to 3.8.1 a SUBSCRIBE is swallowed, and a client that waits for its SUBACK waits for ever.
    fn subscribe(&mut self, subscribe: &Subscribe) {
        if !self.peer.server.release.acknowledges_subscribe() {
            return;
        }
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        for filter in &subscribe.filters {
            if filter.path == RESPONSE {
                let granted = if filter.qos == QoS::AtMostOnce { QoS::AtMostOnce } else { QoS::AtLeastOnce };
                self.subscribed = Some(granted);
                codes.push(granted as u8);
            } else {
                codes.push(NOT_GRANTED);
            }
        }
        self.wire.suback(subscribe.pkid, &codes);
    }

    async fn request(&mut self, publish: Publish) -> Result<(), Ending> {
        let request = match ProvisionRequest::parse(&publish.payload, self.peer.server.release) {
            Ok(request) => request,
            Err(BadRequest::NotJson) => {
                return Err(Ending::close("the provision request is not a JSON object"));
            }
            Err(BadRequest::Empty) => return self.answer_in_protobuf(publish.pkid),
            Err(BadRequest::Field(why)) => return Err(self.bad_request(publish.pkid, why).await),
        };
        let device = Some(request.device_name.clone()).filter(|name| !name.is_empty());
        let credentials_type = request.credentials_type.wire_name();
        let connection = self.peer.connection;
        self.peer.emit(&Event::ProvisionRequest { connection, device, credentials_type });
        if self.peer.applies(Fault::NoAnswer) {
            return Ok(());
        }
        let end = Instant::now() + self.peer.server.unanswered_lifetime;
        self.peer.server.core.applied().for_each(|fault| self.peer.tell(fault));
        let patience = self.peer.server.unanswered_lifetime;
        match self.peer.server.core.work(patience, self.decide(request)).await {
            Worked::Answered(Some(decision)) => self.answer(publish.pkid, &decision).await,
            Worked::Answered(None) | Worked::Late => {
                self.unanswered.get_or_insert((end, publish.pkid));
                Ok(())
            }
        }
    }

    async fn decide(&self, request: ProvisionRequest) -> Option<Decision> {
        let asked_for = Some(request.device_name.trim().to_owned()).filter(|name| !name.is_empty());
        let decision = self.decide_with_faults(request).await?;
        let device = match &decision {
            Decision::Success(device) => Some(device.name.to_string()),
            _ => asked_for,
        };
        let (status, reason) = (decision.status(), decision.reason());
        self.peer.emit(&Event::ProvisionAnswer { connection: self.peer.connection, device, status, reason });
        Some(decision)
    }

    async fn decide_with_faults(&self, request: ProvisionRequest) -> Option<Decision> {
        let by_fault = || Decision::Failure("by a fault".to_owned());
        if self.peer.applies(Fault::Failure) {
            return Some(by_fault());
        }
        let substitute = self.peer.server.injector.substitute().map(|(fault, substitute)| {
            self.peer.tell(fault);
            substitute
        });
        let decision = self.peer.server.decide(request, substitute).await?;
        match decision {
            Decision::Success(_) if self.peer.applies(Fault::FailureAfterCreate) => Some(by_fault()),
            decision => Some(decision),
        }
    }

    /// PUBACK, and right after it the answer, whether or not the client subscribed
    /// (`DeviceProvisionCallback.onSuccess`).
    async fn answer(&mut self, request_id: u16, decision: &Decision) -> Result<(), Ending> {
        if self.peer.applies(Fault::AcceptThenClose) {
            return Err(Ending::quiet("by a fault: no answer"));
        }
        if let Some(delay) = self.peer.server.injector.delay() {
            self.peer.tell(Fault::Delay(delay));
            tokio::time::sleep(delay).await;
        }
        let shape = self.peer.server.injector.shape().map(|(fault, shape)| {
            self.peer.tell(fault);
            shape
        });
        let payload = answer::write(decision, shape.unwrap_or(Shape::Real), self.peer.server.release)
            .map_err(|error| Ending::close(error.message))?;
        self.send(request_id, payload)
    }

    /// A request without a payload: an empty message of Protobuf, and so without key and secret.
    fn answer_in_protobuf(&mut self, request_id: u16) -> Result<(), Ending> {
        let (connection, decision) = (self.peer.connection, Decision::NotFound);
        let (status, reason) = (decision.status(), Some("the request is empty".to_owned()));
        self.peer.emit(&Event::ProvisionAnswer { connection, device: None, status, reason });
        self.send(request_id, answer::PROTOBUF_NOT_FOUND.to_vec())
    }

    fn send(&mut self, request_id: u16, payload: Vec<u8>) -> Result<(), Ending> {
        self.wire.puback(request_id);
        if self.peer.server.injector.has(Fault::RepeatAnswer)
            && let Some(last) = self.last.replace(payload.clone())
        {
            self.peer.tell(Fault::RepeatAnswer);
            self.publish(last)?;
        }
        self.publish(payload)?;
        self.end.get_or_insert_with(|| Instant::now() + self.peer.server.provisioning_lifetime);
        Ok(())
    }

    fn publish(&mut self, payload: Vec<u8>) -> Result<(), Ending> {
        let qos = self.subscribed.unwrap_or(QoS::AtLeastOnce);
        let sent = self.wire.publish(RESPONSE, qos, self.next_id, payload);
        sent.map_err(Broken::into_ending)?;
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        Ok(())
    }

    /// What the core did not answer is acknowledged, from 3.5 on, and closed upon.
    async fn give_up(&mut self) -> Ending {
        if let Some((_, request_id)) = self.unanswered
            && self.peer.server.release.acknowledges_unanswered()
        {
            self.wire.puback(request_id);
            let _ = self.wire.flush().await;
        }
        Ending::close("the core never answered a provision request")
    }

    /// From 3.7 on a bad request is acknowledged, which looks like success, and then closed upon.
    async fn bad_request(&mut self, request_id: u16, reason: String) -> Ending {
        if self.peer.server.release.acknowledges_before_close() {
            self.wire.puback(request_id);
            let _ = self.wire.flush().await;
        }
        Ending::close(reason)
    }
}

/// Returns at `end`, or never.
async fn reached(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}
