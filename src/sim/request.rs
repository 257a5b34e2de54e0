//! The provision request: ThingsBoard's parser, with its traps.

use std::borrow::Cow;

use super::lenient_json::{Json, is_too_deep, read};
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

    fn parse(text: &str, release: Release) -> Option<Self> {
        [Self::AccessToken, Self::MqttBasic, Self::X509Certificate, Self::Lwm2m]
            .into_iter()
            .filter(|requested| *requested != Self::Lwm2m || release.knows_lwm2m())
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
    /// Not a JSON object, or with an array that is no single value. ThingsBoard tries it as Protobuf then, and closes.
    NotJson,
    /// Nothing at all: as Protobuf, a request without key and secret.
    Empty,
    /// A field is missing, null or of the wrong type: a RuntimeException in ThingsBoard's parser.
    Field(String),
}

impl ProvisionRequest {
    /// Parses as `JsonConverter.convertToProvisionRequestMsg` does. Unknown fields are ignored; a number
    /// or a boolean is taken for its text, an array of one for its element; `null` anywhere is an error.
    pub(super) fn parse(payload: &[u8], release: Release) -> Result<Self, BadRequest> {
        if payload.is_empty() {
            return Err(BadRequest::Empty);
        }
        let json = String::from_utf8_lossy(payload);
        let Some(Json::Object(fields)) = read(&json) else {
            let is_bad_request = release.takes_deep_json_for_a_bad_request() && is_too_deep(&json);
            return Err(if is_bad_request { too_deep() } else { BadRequest::NotJson });
        };
        let text = |name| text(&fields, name).map(Option::unwrap_or_default);
        let secret = |name| text(name).map(Secret::new);
        Ok(Self {
            key: required(&fields, "provisionDeviceKey")?,
            secret: required(&fields, "provisionDeviceSecret").map(Secret::new)?,
            device_name: text("deviceName")?,
            credentials_type: credentials_type(&fields, release)?,
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

fn required(fields: &[(Cow<'_, str>, Json<'_>)], name: &str) -> Result<String, BadRequest> {
    text(fields, name)?.ok_or_else(|| BadRequest::Field(format!("the field {name} is missing")))
}

fn credentials_type(
    fields: &[(Cow<'_, str>, Json<'_>)],
    release: Release,
) -> Result<RequestedType, BadRequest> {
    let Some(word) = text(fields, "credentialsType")? else {
        return Ok(RequestedType::AccessToken);
    };
    let known = RequestedType::parse(&word, release);
    known.ok_or_else(|| BadRequest::Field("unknown credentialsType".to_owned()))
}

fn gateway(fields: &[(Cow<'_, str>, Json<'_>)]) -> Result<bool, BadRequest> {
    // Gson's getAsBoolean on a text is Boolean.parseBoolean.
    Ok(text(fields, "gateway")?.is_some_and(|word| word.eq_ignore_ascii_case("true")))
}

/// Gson's `getAsString` of a field that may be absent.
fn text(fields: &[(Cow<'_, str>, Json<'_>)], name: &str) -> Result<Option<String>, BadRequest> {
    let Some((_, value)) = fields.iter().find(|(known, _)| known == name) else { return Ok(None) };
    let mut value = value;
    while let Json::Array(items) = value {
        let [only] = items.as_slice() else { return Err(BadRequest::NotJson) };
        value = only;
    }
    match value {
        Json::Text(text) => Ok(Some(text.clone().into_owned())),
        Json::Number(number) => Ok(Some((*number).to_owned())),
        Json::Boolean(flag) => Ok(Some(flag.to_string())),
        Json::Null => Err(BadRequest::Field(format!("the field {name} is null"))),
        Json::Object(_) | Json::Array(_) => Err(BadRequest::Field(format!("the field {name} is not a text"))),
    }
}

fn too_deep() -> BadRequest {
    BadRequest::Field("the JSON lies too deep".to_owned())
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
        assert_eq!(with(r#","deviceName":[["a"]]"#).unwrap().device_name, "a");
        assert!(matches!(with(r#","deviceName":["a","b"]"#), Err(BadRequest::NotJson)));
        assert!(matches!(with(r#","token":[]"#), Err(BadRequest::NotJson)));
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
        for payload in ["[]", "7", "null", "{", "hello", " "] {
            assert!(matches!(parse(payload), Err(BadRequest::NotJson)), "{payload}");
        }
        assert!(matches!(parse(""), Err(BadRequest::Empty)));
    }
}
