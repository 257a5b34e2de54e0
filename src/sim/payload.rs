//! What a device may publish, and whether ThingsBoard's JSON converter takes it.

use serde_json::{Map, Value};

/// What a topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    Telemetry,
    Attributes,
    /// Acknowledged and dropped.
    Unknown,
}

impl Topic {
    /// The topics of `MqttTopics`, in their long and their short forms.
    pub(super) fn of(topic: &[u8]) -> Self {
        match topic {
            b"v1/devices/me/telemetry" | b"v2/t" | b"v2/t/j" => Self::Telemetry,
            b"v1/devices/me/attributes" | b"v2/a" | b"v2/a/j" => Self::Attributes,
            _ => Self::Unknown,
        }
    }
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

/// What becomes of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted,
    /// An empty array: nothing is stored, and no PUBACK ever comes (`DefaultTransportService`).
    Nothing,
    /// The connection is closed, without PUBACK.
    Undecodable,
}

impl From<bool> for Verdict {
    fn from(accepted: bool) -> Self {
        if accepted { Self::Accepted } else { Self::Undecodable }
    }
}

/// `JsonConverter.convertToTelemetryProto`: an object, or an array of objects. (Gson is lenient about
/// quotes and commas, and this is not.)
pub(super) fn judge_telemetry(payload: &str) -> Verdict {
    match serde_json::from_str(payload) {
        Ok(Value::Object(fields)) => is_reading(&fields).into(),
        Ok(Value::Array(items)) if items.is_empty() => Verdict::Nothing,
        Ok(Value::Array(items)) => items.iter().all(|item| item.as_object().is_some_and(is_reading)).into(),
        _ => Verdict::Undecodable,
    }
}

/// `JsonConverter.convertToAttributesProto`: an object.
pub(super) fn judge_attributes(payload: &str) -> Verdict {
    matches!(serde_json::from_str(payload), Ok(Value::Object(_))).into()
}

/// Plain keys and values, or `ts` in milliseconds and an object of `values`.
fn is_reading(fields: &Map<String, Value>) -> bool {
    match (fields.get("ts"), fields.get("values")) {
        (Some(ts), Some(values)) => {
            let is_number = ts.is_number() || ts.as_str().is_some_and(|text| text.parse::<i64>().is_ok());
            is_number && values.is_object()
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telemetry_is_an_object_or_an_array_of_objects() {
        for accepted in [
            r#"{"temperature":25}"#,
            "{}",
            r#"{"ts":1,"values":{"a":1}}"#,
            r#"[{"a":1},{"ts":"2","values":{}}]"#,
            r#"{"nested":{"a":[1]},"none":null}"#,
        ] {
            assert_eq!(judge_telemetry(accepted), Verdict::Accepted, "{accepted}");
        }
        for undecodable in
            ["", "7", "null", "hello", "{", "[1]", r#"{"ts":"x","values":{}}"#, r#"{"ts":1,"values":2}"#]
        {
            assert_eq!(judge_telemetry(undecodable), Verdict::Undecodable, "{undecodable}");
        }
        assert_eq!(judge_telemetry("[]"), Verdict::Nothing);
    }

    #[test]
    fn attributes_are_an_object() {
        assert_eq!(judge_attributes(r#"{"a":1}"#), Verdict::Accepted);
        assert_eq!(judge_attributes(r#"[{"a":1}]"#), Verdict::Undecodable);
    }

    #[test]
    fn short_topics_are_those_of_the_long_ones() {
        assert_eq!(Topic::of(b"v2/t"), Topic::of(b"v1/devices/me/telemetry"));
        assert_eq!(Topic::of(b"v2/a"), Topic::of(b"v1/devices/me/attributes"));
        assert_eq!(Topic::of(b"/v1/devices/me/telemetry"), Topic::Unknown);
    }
}
