//! The topics of a device.

use super::release::Release;

/// What the topic of a request to the server begins with, before the request's number.
const REQUEST: &str = "v1/devices/me/rpc/request/";

/// What a topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    Telemetry,
    Attributes,
    /// A request to the server, with its number.
    Request(i32),
    /// Closes the connection: Protobuf, or a request without a number.
    Undecodable,
    /// Acknowledged and dropped.
    Unknown,
}

impl Topic {
    /// The topics of `MqttTopics`, in their long and their short forms.
    pub(super) fn of(topic: &[u8], release: Release) -> Self {
        match topic {
            b"v1/devices/me/telemetry" | b"v2/t" | b"v2/t/j" => Self::Telemetry,
            b"v1/devices/me/attributes" | b"v2/a" | b"v2/a/j" => Self::Attributes,
            b"v2/t/p" if release.has_protobuf_topics() => Self::Undecodable,
            _ => match topic.strip_prefix(REQUEST.as_bytes()) {
                Some(number) => number_of(number).map_or(Self::Undecodable, Self::Request),
                None => Self::Unknown,
            },
        }
    }
}

fn number_of(number: &[u8]) -> Option<i32> {
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// The filters that a device may subscribe to, exactly so (`MqttTransportHandler.processSubscribe`).
const FILTERS: &[&str] = &[
    "/provision/response",
    "v1/devices/me/attributes",
    "v1/devices/me/attributes/response/+",
    "v1/devices/me/rpc/request/+",
    "v1/devices/me/rpc/response/+",
    "v1/gateway/attributes",
    "v1/gateway/attributes/response",
    "v1/gateway/rpc",
    "v2/a",
    "v2/a/j",
    "v2/a/res/+",
    "v2/a/res/j/+",
    "v2/fw/error",
    "v2/fw/response/+/chunk/+",
    "v2/r/req/+",
    "v2/r/req/j/+",
    "v2/r/res/+",
    "v2/r/res/j/+",
    "v2/sw/error",
    "v2/sw/response/+/chunk/+",
];

pub(super) fn is_known_filter(filter: &str) -> bool {
    FILTERS.contains(&filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_topics_are_those_of_the_long_ones() {
        let of = |topic: &str| Topic::of(topic.as_bytes(), Release::V4_3);
        assert_eq!(of("v2/t"), of("v1/devices/me/telemetry"));
        assert_eq!(of("v2/a"), of("v1/devices/me/attributes"));
        assert_eq!(of("/v1/devices/me/telemetry"), Topic::Unknown);
    }

    #[test]
    fn requests_have_numbers() {
        let of = |topic: &str| Topic::of(topic.as_bytes(), Release::V4_3);
        assert_eq!(of("v1/devices/me/rpc/request/17"), Topic::Request(17));
        for number in ["", "x", "1/2", "99999999999"] {
            assert_eq!(of(&format!("{REQUEST}{number}")), Topic::Undecodable, "{number}");
        }
    }

    #[test]
    fn protobuf_is_known_from_3_3_on() {
        assert_eq!(Topic::of(b"v2/t/p", Release::V3_2), Topic::Unknown);
        assert_eq!(Topic::of(b"v2/t/p", Release::V3_4), Topic::Undecodable);
    }
}
