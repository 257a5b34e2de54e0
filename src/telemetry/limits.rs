//! The limits that ThingsBoard announces for a device's session, from 3.8 on, and keeping to them.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::LARGEST_PAYLOAD;
use super::message::Message;
use crate::mqtt::LARGEST_PACKET;

/// Where the question goes (`MqttTransportHandler`, `getSessionLimits`); it counts as no message and no telemetry.
pub(super) const QUESTION_TOPIC: &str = "v1/devices/me/rpc/request/1";
/// The question.
pub(super) const QUESTION: &str = r#"{"method":"getSessionLimits","params":{}}"#;
/// Where the answer comes, subscribed or not.
pub(super) const ANSWER_TOPIC: &str = "v1/devices/me/rpc/response/1";

/// Part of a bucket's rate that is used: clocks and roundings differ.
const USED: f64 = 0.98;

/// How much sooner than others a message may arrive: what a bucket refills in that time is never used.
const JITTER: Duration = Duration::from_millis(200);

/// What the server announced, and how much of it is left.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// Messages that may wait for their PUBACK.
    pub(super) in_flight: Option<usize>,
    /// The largest payload of a message of readings, in bytes, where that is less than usual.
    pub(super) largest: Option<usize>,
    connects: Limit,
    messages: Limit,
    points: Limit,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow)]
    max_payload_size: Option<&'a RawValue>,
    #[serde(borrow)]
    max_inflight_messages: Option<&'a RawValue>,
    #[serde(borrow)]
    rate_limits: Option<&'a RawValue>,
}

/// Text in ThingsBoard's notation, or null, or empty.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rates<'a> {
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    telemetry_messages: Option<&'a RawValue>,
    #[serde(borrow)]
    telemetry_data_points: Option<&'a RawValue>,
}

impl Limits {
    /// Reads an answer; `None` if it is not an answer.
    pub(super) fn read(answer: &[u8], now: Instant) -> Option<Self> {
        let answer: Answer<'_> = serde_json::from_slice(answer).ok()?;
        let limit = |text: Option<&RawValue>, name| {
            let text = text.and_then(|text| serde_json::from_str::<String>(text.get()).ok());
            text.and_then(|text| Limit::parse(name, &text, now)).unwrap_or_default()
        };
        // An unusable member does not affect the others.
        let rates = answer.rate_limits.and_then(|rates| serde_json::from_str::<Rates<'_>>(rates.get()).ok());
        let rates = rates.as_ref();
        let size = |size: Option<&RawValue>| size.and_then(|size| size.get().parse::<usize>().ok());
        Some(Self {
            in_flight: size(answer.max_inflight_messages).filter(|count| *count > 0),
            largest: size(answer.max_payload_size).filter(|size| *size < LARGEST_PACKET).map(without_topic),
            connects: limit(rates.and_then(|rates| rates.messages), "messages"),
            messages: limit(rates.and_then(|rates| rates.telemetry_messages), "telemetryMessages"),
            points: limit(rates.and_then(|rates| rates.telemetry_data_points), "telemetryDataPoints"),
        })
    }

    /// When a message of so many data points may leave.
    pub(super) fn ready_at(&self, points: u32, now: Instant) -> Instant {
        self.messages.ready_at(1.0, now).max(self.points.ready_at(f64::from(points), now))
    }

    /// So much left before the limits were known.
    pub(super) fn begin_after(&mut self, messages: u32, points: u32, connects: u32) {
        for (limit, tokens) in
            [(&mut self.messages, messages), (&mut self.points, points), (&mut self.connects, connects)]
        {
            for bucket in &mut limit.buckets {
                bucket.level = (bucket.level - f64::from(tokens)).max(0.0);
            }
        }
    }

    /// A message of so many data points leaves.
    pub(super) fn spend(&mut self, points: u32, now: Instant) {
        self.messages.spend(1.0, now);
        self.points.spend(f64::from(points), now);
    }

    /// When a connect may be tried. The connect is counted.
    pub(super) fn connect_at(&mut self, now: Instant) -> Instant {
        let at = self.connects.ready_at(1.0, now);
        self.connects.spend(1.0, at);
        at
    }

    /// The connection was closed. It is unknown what is left of the limits, so they count as used up.
    pub(super) fn closed(&mut self, now: Instant) {
        for bucket in self.messages.buckets.iter_mut().chain(&mut self.points.buckets) {
            bucket.refill(now);
            bucket.level = bucket.level.min(0.0);
        }
    }

    /// The data points that one message may ever have.
    pub(super) fn most_points(&self) -> Option<u32> {
        self.points.buckets.iter().map(|bucket| bucket.whole).min()
    }

    /// Why a message can never leave, if it cannot.
    pub(super) fn refuses(&self, message: &Message) -> Option<String> {
        let (points, size) = (message.points, message.payload.len());
        if self.most_points().is_some_and(|most| points > most) {
            let limit = self.points.shown();
            return Some(format!(
                "has {points} data points, more than the server's limit {limit} ever allows"
            ));
        }
        self.largest.filter(|largest| size > *largest).map(too_large)
    }

    /// The announced limits of telemetry, for people.
    pub(super) fn shown(&self) -> String {
        let shown = [&self.messages, &self.points].map(Limit::shown);
        shown.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", ")
    }
}

/// The server counts the whole packet.
const fn without_topic(packet: usize) -> usize {
    packet.saturating_sub(LARGEST_PACKET - LARGEST_PAYLOAD)
}

/// Why a reading is refused that does not fit into so many bytes, as the server announced them.
pub(super) fn too_large(largest: usize) -> String {
    format!("is larger than the {largest} bytes that the server's limit maxPayloadSize leaves for a message")
}

/// One limit: `10:1,300:60` are ten a second and three hundred a minute.
#[derive(Debug, Default)]
struct Limit {
    name: &'static str,
    text: String,
    buckets: Vec<Bucket>,
}

impl Limit {
    /// Nothing for an empty text, or one in another notation.
    fn parse(name: &'static str, text: &str, now: Instant) -> Option<Self> {
        let buckets: Option<Vec<_>> = text.split(',').map(|bucket| Bucket::parse(bucket, now)).collect();
        Some(Self { name, text: text.to_owned(), buckets: buckets? })
    }

    fn ready_at(&self, tokens: f64, now: Instant) -> Instant {
        self.buckets.iter().map(|bucket| bucket.ready_at(tokens, now)).max().unwrap_or(now)
    }

    fn spend(&mut self, tokens: f64, now: Instant) {
        for bucket in &mut self.buckets {
            bucket.refill(now);
            bucket.level -= tokens;
        }
    }

    fn shown(&self) -> String {
        if self.buckets.is_empty() { String::new() } else { format!("{} {}", self.name, self.text) }
    }
}

/// A bucket that is refilled all the time, as ThingsBoard's are (`TbRateLimits`).
#[derive(Debug)]
struct Bucket {
    /// As announced.
    whole: u32,
    /// The part of the rate that is used.
    capacity: f64,
    per_second: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    fn parse(text: &str, now: Instant) -> Option<Self> {
        let (count, seconds) = text.split_once(':')?;
        let (whole, seconds): (u32, u32) = (count.trim().parse().ok()?, seconds.trim().parse().ok()?);
        if whole == 0 || seconds == 0 {
            return None;
        }
        let per_second = f64::from(whole) / f64::from(seconds);
        let capacity = (f64::from(whole) - per_second * JITTER.as_secs_f64()).max(1.0);
        Some(Self { whole, capacity, per_second: per_second * USED, level: capacity, at: now })
    }

    /// The current content.
    fn level(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        (self.level + since * self.per_second).min(self.capacity)
    }

    fn refill(&mut self, now: Instant) {
        self.level = self.level(now);
        self.at = self.at.max(now);
    }

    /// More than is ever used has to wait for a full bucket.
    fn ready_at(&self, tokens: f64, now: Instant) -> Instant {
        let lacks = tokens.min(self.capacity) - self.level(now);
        if lacks <= 0.0 { now } else { now.max(self.at) + Duration::from_secs_f64(lacks / self.per_second) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(messages: &str, points: &str, now: Instant) -> Limits {
        let answer = format!(
            r#"{{"maxPayloadSize":65536,"maxInflightMessages":100,"rateLimits":{{"messages":"20:1,600:60","telemetryMessages":{messages},"telemetryDataPoints":{points}}}}}"#
        );
        Limits::read(answer.as_bytes(), now).unwrap()
    }

    /// How many messages leave within so many seconds, as fast as the limits allow.
    fn sent_within(limits: &mut Limits, seconds: u64, start: Instant) -> u32 {
        let (mut now, mut count) = (start, 0);
        loop {
            now = limits.ready_at(1, now);
            if now > start + Duration::from_secs(seconds) {
                return count;
            }
            limits.spend(1, now);
            count += 1;
        }
    }

    #[test]
    fn answers_of_every_release_are_read() {
        let now = Instant::now();
        for none in ["null", "\"\"", "5", "\"soon\"", "\"0:1\""] {
            let limits = limits(none, none, now);
            assert_eq!((limits.in_flight, limits.largest), (Some(100), None));
            assert_eq!((limits.shown().as_str(), limits.most_points()), ("", None), "{none}");
            assert_eq!(limits.ready_at(1000, now), now);
        }
        let some = limits("\"10:1,300:60\"", "\"100:1,50:1\"", now);
        assert_eq!(some.shown(), "telemetryMessages 10:1,300:60, telemetryDataPoints 100:1,50:1");
        assert_eq!(some.most_points(), Some(50));
        let message =
            |points, size| Message { payload: vec![b' '; size].into(), points, carried: Vec::new() };
        assert_eq!(some.refuses(&message(50, LARGEST_PAYLOAD)), None);
        assert!(some.refuses(&message(51, 1)).unwrap().contains("telemetryDataPoints 100:1,50:1"));
        let small = Limits::read(br#"{"maxPayloadSize":1000}"#, now).unwrap();
        assert_eq!(small.refuses(&message(1, 700)), None);
        assert!(small.refuses(&message(1, 1000)).unwrap().contains("maxPayloadSize"));
        let odd =
            r#"{"maxPayloadSize":-1,"maxInflightMessages":"x","rateLimits":{"telemetryMessages":"5:1"}}"#;
        assert_eq!(Limits::read(odd.as_bytes(), now).unwrap().shown(), "telemetryMessages 5:1");
        for nothing in ["", "[]", "{}x", "5"] {
            assert!(Limits::read(nothing.as_bytes(), now).is_none(), "{nothing}");
        }
        assert!(Limits::read(b"{}", now).is_some());
    }

    #[test]
    fn the_whole_limit_is_used_and_never_more() {
        let now = Instant::now();
        for (text, seconds, allowed) in [
            ("100:1", 60, 6100),
            ("10:1,300:60", 60, 600),
            ("1000:1,30000:60", 60, 60_000),
            ("1:10", 100, 11),
        ] {
            let sent = sent_within(&mut limits(&format!("\"{text}\""), "null", now), seconds, now);
            assert!(sent <= allowed && f64::from(sent) >= 0.9 * f64::from(allowed), "{text}: {sent}");
        }
    }

    #[test]
    fn nothing_is_left_after_a_close() {
        let now = Instant::now();
        let mut limits = limits("\"10:1\"", "\"100:1\"", now);
        limits.closed(now);
        let wait = limits.ready_at(1, now) - now;
        assert!(wait > Duration::from_millis(90) && wait < Duration::from_millis(120), "{wait:?}");
    }

    #[test]
    fn a_message_as_large_as_a_limit_waits_for_all_of_it() {
        let now = Instant::now();
        let mut limits = limits("null", "\"100:1\"", now);
        assert_eq!(limits.ready_at(100, now), now);
        limits.spend(100, now);
        assert!(limits.ready_at(100, now) - now > Duration::from_secs(1));
    }

    #[test]
    fn what_left_before_counts_and_is_no_debt() {
        let now = Instant::now();
        for (before, messages) in [(0, 8), (5, 3), (10, 0), (100_000, 0)] {
            let mut limits = limits("\"10:1\"", "null", now);
            limits.begin_after(before, 0, 0);
            let at_once = (0..10).take_while(|_| {
                let is_ready = limits.ready_at(1, now) == now;
                limits.spend(1, now);
                is_ready
            });
            assert_eq!(at_once.count(), messages, "{before}");
        }
    }

    #[test]
    fn connects_are_spent_too() {
        let now = Instant::now();
        let mut limits = limits("null", "null", now);
        let last = (0..30).map(|_| limits.connect_at(now)).last().unwrap();
        assert!(last > now + Duration::from_millis(400), "twenty a second, and ten more");
    }
}
