//! The topics of a device.

use super::release::Release;

/// What a topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    Telemetry,
    Attributes,
    /// A device asks for its attributes.
    AttributesRequest(Asked),
    /// A request to the server (RPC).
    Request(Asked),
    /// A request for a part of an image (OTA).
    Image,
    /// Closes the connection: a payload of Protobuf.
    Protobuf,
    /// Closes the connection: a request without a number.
    NoNumber,
    /// For devices behind a gateway.
    Gateway,
    /// A device says whose it is.
    Claim,
    /// Acknowledged and dropped.
    Unknown,
}

/// A request's number, and what the topic of its answer begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    number: i32,
    answer: &'static str,
}

impl Asked {
    /// The topic of the answer.
    pub(super) fn answer_topic(self) -> String {
        format!("{}{}", self.answer, self.number)
    }
}

/// What the topics of requests begin with, before the number, and those of their answers. The short ones come from the
/// most special to the least.
const ATTRIBUTES_REQUESTS: &[(&str, &str)] = &[
    ("v1/devices/me/attributes/request/", "v1/devices/me/attributes/response/"),
    ("v2/a/req/j/", "v2/a/res/j/"),
    ("v2/a/req/", "v2/a/res/"),
];
const REQUESTS: &[(&str, &str)] = &[
    ("v1/devices/me/rpc/request/", "v1/devices/me/rpc/response/"),
    ("v2/r/req/j/", "v2/r/res/j/"),
    ("v2/r/req/", "v2/r/res/"),
];

const PROTOBUF: &[&str] = &["v2/t/p", "v2/a/p", "v2/a/req/p/", "v2/r/req/p/", "v2/r/res/p/"];
const IMAGES: &[&str] = &["v2/fw/request/", "v2/sw/request/"];

impl Topic {
    /// The topics of `MqttTopics`, in their long and their short forms.
    pub(super) fn of(topic: &[u8], release: Release) -> Self {
        let Ok(topic) = str::from_utf8(topic) else { return Self::Unknown };
        match topic {
            _ if topic.starts_with("v2/") && !release.has_short_topics() => Self::Unknown,
            "v1/devices/me/telemetry" | "v2/t" | "v2/t/j" => Self::Telemetry,
            "v1/devices/me/attributes" | "v2/a" | "v2/a/j" => Self::Attributes,
            "v1/devices/me/claim" => Self::Claim,
            _ if begins_with(topic, PROTOBUF) => Self::Protobuf,
            _ if begins_with(topic, IMAGES) => Self::Image,
            _ if topic.starts_with("v1/gateway/") => Self::Gateway,
            _ => Self::asked(topic, ATTRIBUTES_REQUESTS, Self::AttributesRequest)
                .or_else(|| Self::asked(topic, REQUESTS, Self::Request))
                .unwrap_or(Self::Unknown),
        }
    }

    /// Nothing when it is no such request.
    fn asked(topic: &str, known: &[(&str, &'static str)], request: fn(Asked) -> Self) -> Option<Self> {
        let (number, answer) =
            known.iter().find_map(|(asks, answer)| Some((topic.strip_prefix(asks)?, *answer)))?;
        Some(number.parse().map_or(Self::NoNumber, |number| request(Asked { number, answer })))
    }
}

fn begins_with(topic: &str, known: &[&str]) -> bool {
    known.iter().any(|known| topic.starts_with(known))
}

/// The filters that a device may subscribe to, exactly so (`MqttTransportHandler.processSubscribe`).
const FILTERS: &[&str] = &[
    "v1/devices/me/attributes",
    "v1/devices/me/attributes/response/+",
    "v1/devices/me/rpc/request/+",
    "v1/devices/me/rpc/response/+",
    "v1/gateway/attributes",
    "v1/gateway/attributes/response",
    "v1/gateway/rpc",
    "v2/a",
    "v2/a/j",
    "v2/a/p",
    "v2/a/res/+",
    "v2/a/res/j/+",
    "v2/a/res/p/+",
    "v2/fw/error",
    "v2/fw/response/+/chunk/+",
    "v2/r/req/+",
    "v2/r/req/j/+",
    "v2/r/req/p/+",
    "v2/r/res/+",
    "v2/r/res/j/+",
    "v2/r/res/p/+",
    "v2/sw/error",
    "v2/sw/response/+/chunk/+",
];

/// Whether a device may subscribe to it.
pub(super) fn is_known_filter(filter: &str, release: Release) -> bool {
    match filter {
        "/provision/response" => release.grants_provision_topic_to_devices(),
        _ if filter.starts_with("v2/") && !release.has_short_topics() => false,
        _ => FILTERS.contains(&filter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(topic: &str) -> Topic {
        Topic::of(topic.as_bytes(), Release::V4_3)
    }

    #[test]
    fn short_topics_are_those_of_the_long_ones() {
        assert_eq!(of("v2/t"), of("v1/devices/me/telemetry"));
        assert_eq!(of("v2/a"), of("v1/devices/me/attributes"));
        assert_eq!(of("/v1/devices/me/telemetry"), Topic::Unknown);
        for topic in ["v2/t", "v2/t/p", "v2/a", "v2/a/req/1", "v2/r/req/x", "v2/fw/request/1/chunk/0"] {
            assert_eq!(Topic::of(topic.as_bytes(), Release::V3_2), Topic::Unknown, "{topic}");
        }
    }

    #[test]
    fn requests_have_numbers_and_answers_have_their_topic() {
        for (asks, answers) in ATTRIBUTES_REQUESTS.iter().chain(REQUESTS) {
            let topic = of(&format!("{asks}17"));
            let (Topic::AttributesRequest(asked) | Topic::Request(asked)) = topic else {
                panic!("{asks}: {topic:?}")
            };
            assert_eq!(asked.answer_topic(), format!("{answers}17"));
            for number in ["", "x", "1/2", "99999999999"] {
                assert_eq!(of(&format!("{asks}{number}")), Topic::NoNumber, "{asks}{number}");
            }
        }
    }

    #[test]
    fn what_is_not_json_is_told_by_its_topic() {
        for topic in ["v2/t/p", "v2/a/p", "v2/a/req/p/1", "v2/r/req/p/1"] {
            assert_eq!(of(topic), Topic::Protobuf, "{topic}");
        }
        assert_eq!(of("v2/sw/request/1/chunk/0"), Topic::Image);
    }
}
