//! `getSessionLimits`: a device asks what it may send (`MqttTransportHandler`, `SessionLimits`).

use serde::Serialize;

use super::lenient_json::{Json, read};
use super::limit::{Allowance, Limit};
use super::release::Release;

/// The method that asks for it.
const METHOD: &str = "getSessionLimits";

/// Bytes of a payload, and messages that may be unacknowledged: ThingsBoard's defaults, which it announces.
const LARGEST_PAYLOAD: u32 = 65_536;
const MOST_IN_FLIGHT: u32 = 100;

/// A request of a device to the server, as ThingsBoard reads it (`JsonConverter.convertToServerRpcRequest`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeviceRequest {
    SessionLimits,
    /// For the rule engine.
    Other,
}

impl DeviceRequest {
    /// Nothing when it has no method, which closes the connection.
    pub(super) fn read(payload: &str) -> Option<Self> {
        let Some(Json::Object(members)) = read(payload) else { return None };
        match &members.iter().find(|(name, _)| name == "method")?.1 {
            Json::Text(method) if method == METHOD => Some(Self::SessionLimits),
            Json::Text(_) | Json::Number(_) | Json::Boolean(_) => Some(Self::Other),
            _ => None,
        }
    }
}

/// The answer; the order of the fields is that of the server.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    max_payload_size: u32,
    max_inflight_messages: u32,
    rate_limits: RateLimits,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RateLimits {
    messages: Option<String>,
    telemetry_messages: Option<String>,
    telemetry_data_points: Option<String>,
}

/// The answer of a release, as JSON. The limits are those of the device: its tenant's are never told.
pub(super) fn answer(device: &Allowance, release: Release) -> Vec<u8> {
    let told = |limit: &Option<Limit>| match limit {
        Some(limit) => Some(limit.to_string()),
        None => (!release.tells_no_limit_as_null()).then(String::new),
    };
    let rate_limits = RateLimits {
        messages: told(&device.connects),
        telemetry_messages: told(&device.messages),
        telemetry_data_points: told(&device.points),
    };
    let answer =
        Answer { max_payload_size: LARGEST_PAYLOAD, max_inflight_messages: MOST_IN_FLIGHT, rate_limits };
    serde_json::to_vec(&answer).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_a_method() {
        let read = DeviceRequest::read;
        assert_eq!(read(r#"{"method":"getSessionLimits","params":{}}"#), Some(DeviceRequest::SessionLimits));
        assert_eq!(read("{method:getSessionLimits}"), Some(DeviceRequest::SessionLimits));
        assert_eq!(read(r#"{"method":"getTime","params":{}}"#), Some(DeviceRequest::Other));
        for bad in ["", "{}", "[]", r#"{"params":{}}"#, r#"{"method":null}"#, r#"{"method":{}}"#] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_not_limited_is_null_or_empty() {
        let messages = "10:1,300:60".parse().ok();
        let device = Allowance { messages, ..Allowance::default() };
        let text = |release| String::from_utf8(answer(&device, release)).unwrap();
        assert_eq!(
            text(Release::V4_3),
            r#"{"maxPayloadSize":65536,"maxInflightMessages":100,"rateLimits":{"messages":null,"telemetryMessages":"10:1,300:60","telemetryDataPoints":null}}"#
        );
        assert_eq!(
            text(Release::V3_8),
            r#"{"maxPayloadSize":65536,"maxInflightMessages":100,"rateLimits":{"messages":"","telemetryMessages":"10:1,300:60","telemetryDataPoints":""}}"#
        );
    }
}
