//! The provision request: ThingsBoard's parser, with its traps.

use serde_json::{Map, Value};

use super::release::Release;
use crate::secret::Secret;

/// `credentialsType` of a request (`DeviceCredentialsType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestedType {
    AccessToken,
    MqttBasic,
    X509Certificate,
    /// Known to ThingsBoard, but a provision request has no fields for it.
    Lwm2m,
}

impl RequestedType {
    pub(super) const fn wire_name(self) -> &'static str {
        match self {
            Self::AccessToken => "ACCESS_TOKEN",
            Self::MqttBasic => "MQTT_BASIC",
            Self::X509Certificate => "X509_CERTIFICATE",
            Self::Lwm2m => "LWM2M_CREDENTIALS",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::AccessToken, Self::MqttBasic, Self::X509Certificate, Self::Lwm2m]
            .into_iter()
            .find(|requested| requested.wire_name() == text)
    }
}

/// A provision request that ThingsBoard's parser accepts; absent texts are empty, as there.
#[derive(Debug)]
pub(super) struct ProvisionRequest {
    pub(super) device_name: String,
    pub(super) key: String,
    pub(super) secret: Secret,
    pub(super) credentials_type: RequestedType,
    pub(super) token: Secret,
    pub(super) client_id: String,
    pub(super) user_name: String,
    pub(super) password: Secret,
    pub(super) hash: String,
    pub(super) gateway: bool,
}

/// Why a request is not even answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BadRequest {
    /// Not a JSON object. ThingsBoard tries it as protobuf then, and closes.
    NotJson,
    /// A field is missing, null or of the wrong type: a RuntimeException in ThingsBoard's parser.
    Field(String),
}

impl ProvisionRequest {
    /// Parses as `JsonConverter.convertToProvisionRequestMsg` does. Unknown fields are ignored; a number
    /// or a boolean is taken for its text, an array of one for its element; `null` anywhere is an error.
    pub(super) fn parse(payload: &[u8], release: Release) -> Result<Self, BadRequest> {
        let Ok(Value::Object(fields)) = serde_json::from_slice(payload) else {
            return Err(BadRequest::NotJson);
        };
        let text = |name| text(&fields, name).map(Option::unwrap_or_default);
        let secret = |name| text(name).map(Secret::new);
        Ok(Self {
            key: required(&fields, "provisionDeviceKey")?,
            secret: required(&fields, "provisionDeviceSecret").map(Secret::new)?,
            device_name: text("deviceName")?,
            credentials_type: credentials_type(&fields)?,
            token: secret("token")?,
            client_id: text("clientId")?,
            user_name: text("username")?,
            password: secret("password")?,
            hash: text("hash")?,
            gateway: release.reads_gateway_flag() && gateway(&fields)?,
        })
    }

    /// Whether no credentials were sent at all, whatever `credentialsType` says: ThingsBoard then keeps
    /// the token that it made for the new device (`DeviceServiceImpl.saveDevice`).
    pub(super) fn has_no_credentials(&self) -> bool {
        [&self.client_id, &self.user_name, &self.hash].iter().all(|text| text.is_empty())
            && [&self.token, &self.password].iter().all(|secret| secret.expose().is_empty())
    }
}

fn required(fields: &Map<String, Value>, name: &str) -> Result<String, BadRequest> {
    text(fields, name)?.ok_or_else(|| BadRequest::Field(format!("the field {name} is missing")))
}

fn credentials_type(fields: &Map<String, Value>) -> Result<RequestedType, BadRequest> {
    let Some(word) = text(fields, "credentialsType")? else {
        return Ok(RequestedType::AccessToken);
    };
    RequestedType::parse(&word).ok_or_else(|| BadRequest::Field("unknown credentialsType".to_owned()))
}

fn gateway(fields: &Map<String, Value>) -> Result<bool, BadRequest> {
    // Gson's getAsBoolean on a text is Boolean.parseBoolean.
    Ok(text(fields, "gateway")?.is_some_and(|word| word.eq_ignore_ascii_case("true")))
}

/// Gson's `getAsString` of a field that may be absent.
fn text(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, BadRequest> {
    let Some(mut value) = fields.get(name) else {
        return Ok(None);
    };
    while let Value::Array(items) = value {
        let [only] = items.as_slice() else {
            return Err(wrong_type(name));
        };
        value = only;
    }
    match value {
        Value::String(text) => Ok(Some(text.clone())),
        Value::Number(number) => Ok(Some(number.to_string())),
        Value::Bool(flag) => Ok(Some(flag.to_string())),
        Value::Null => Err(BadRequest::Field(format!("the field {name} is null"))),
        Value::Object(_) | Value::Array(_) => Err(wrong_type(name)),
    }
}

fn wrong_type(name: &str) -> BadRequest {
    BadRequest::Field(format!("the field {name} is not a text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<ProvisionRequest, BadRequest> {
        ProvisionRequest::parse(json.as_bytes(), Release::V4_3)
    }

    fn with(extra: &str) -> Result<ProvisionRequest, BadRequest> {
        parse(&format!(r#"{{"provisionDeviceKey":"k","provisionDeviceSecret":"s"{extra}}}"#))
    }

    fn field(result: Result<ProvisionRequest, BadRequest>) -> String {
        match result {
            Err(BadRequest::Field(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_smallest_request_asks_for_a_token() {
        let request = with("").unwrap();
        assert_eq!(request.credentials_type, RequestedType::AccessToken);
        assert!(request.has_no_credentials() && request.device_name.is_empty() && !request.gateway);
    }

    #[test]
    fn key_and_secret_are_needed() {
        assert!(field(parse(r#"{"provisionDeviceKey":"k"}"#)).contains("provisionDeviceSecret is missing"));
        assert!(field(parse("{}")).contains("provisionDeviceKey is missing"));
    }

    #[test]
    fn null_is_an_error_everywhere() {
        for name in
            ["deviceName", "credentialsType", "token", "username", "password", "clientId", "hash", "gateway"]
        {
            assert!(field(with(&format!(r#","{name}":null"#))).contains("null"), "{name}");
        }
    }

    #[test]
    fn old_releases_do_not_look_at_gateway() {
        let json = br#"{"provisionDeviceKey":"k","provisionDeviceSecret":"s","gateway":null}"#;
        assert!(!ProvisionRequest::parse(json, Release::V3_6).unwrap().gateway);
        assert!(with(r#","gateway":true"#).unwrap().gateway);
        assert!(with(r#","gateway":"TRUE""#).unwrap().gateway);
    }

    #[test]
    fn other_types_are_taken_for_texts_as_gson_does() {
        assert_eq!(with(r#","deviceName":7"#).unwrap().device_name, "7");
        assert_eq!(with(r#","deviceName":["a"]"#).unwrap().device_name, "a");
        assert!(field(with(r#","deviceName":["a","b"]"#)).contains("not a text"));
        assert!(field(with(r#","deviceName":{}"#)).contains("not a text"));
    }

    #[test]
    fn credentials_types_are_case_sensitive() {
        let requested = |word: &str| with(&format!(r#","credentialsType":"{word}""#));
        assert_eq!(requested("X509_CERTIFICATE").unwrap().credentials_type, RequestedType::X509Certificate);
        assert!(field(requested("x509_certificate")).contains("credentialsType"));
    }

    #[test]
    fn what_is_not_an_object_is_not_json() {
        for payload in ["", "[]", "7", "null", "{", "hello"] {
            assert!(matches!(parse(payload), Err(BadRequest::NotJson)), "{payload}");
        }
    }
}
