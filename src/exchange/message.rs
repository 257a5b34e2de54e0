//! The JSON of the provision request and its answer.
//!
//! Source: ThingsBoard's `JsonConverter` (`convertToProvisionRequestMsg`, `toJson` of the response), the
//! same in every release from 3.2 to 4.3, and the documentation's older shape with `provisionDeviceStatus`,
//! which forks may send.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorCode, Result};
use crate::identity::{Credentials, CredentialsType};
use crate::mqtt::LARGEST_PACKET;
use crate::secret::Secret;
use crate::secret::hide;

/// A provision request.
#[derive(Debug, Clone, Copy)]
pub struct ProvisionRequest<'a> {
    /// The device's name; without one the server makes up a name and never tells it.
    pub device_name: Option<&'a str>,
    /// The device profile's provision key.
    pub provision_key: &'a str,
    /// The device profile's provision secret.
    pub provision_secret: &'a Secret,
    /// The credentials the device shall have.
    pub credentials: &'a Credentials,
    /// Whether the device is a gateway (understood from 3.8 on).
    pub gateway: bool,
}

/// The wire form. Absent members are left out: the server closes the connection on an explicit `null`.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    device_name: Option<&'a str>,
    provision_device_key: &'a str,
    provision_device_secret: &'a str,
    credentials_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    gateway: bool,
}

impl RequestBody<'_> {
    /// Bytes of the names of all members, and of what is between them and their texts. They are 187.
    const FRAME: usize = 256;

    /// Bytes that it has at most as JSON, where a character has up to six (`\u0001`).
    fn most_bytes(&self) -> usize {
        let texts = [
            self.device_name,
            Some(self.provision_device_key),
            Some(self.provision_device_secret),
            Some(self.credentials_type),
            self.hash.as_deref(),
            self.token,
            self.client_id,
            self.username,
            self.password,
        ];
        Self::FRAME + texts.into_iter().flatten().map(str::len).sum::<usize>() * 6
    }
}

impl ProvisionRequest<'_> {
    /// The request as JSON. It holds the provision secret: zeroized on drop.
    ///
    /// The certificate goes as the leaf alone, in clean PEM: the server hashes the text after deleting just
    /// the markers and line ends, so a chain or any other character would make an id that never matches.
    ///
    /// # Errors
    /// Never for real input; a serializer's error is reported as a defect.
    pub fn to_json(&self) -> Result<Zeroizing<Vec<u8>>> {
        let mut body = RequestBody {
            device_name: self.device_name,
            provision_device_key: self.provision_key,
            provision_device_secret: self.provision_secret.expose(),
            credentials_type: self.credentials.credentials_type().wire_name(),
            gateway: self.gateway,
            ..RequestBody::default()
        };
        match self.credentials {
            Credentials::X509(identity) => body.hash = Some(identity.leaf.to_pem()),
            Credentials::AccessToken(token) => body.token = Some(token.expose()),
            Credentials::MqttBasic(basic) => {
                body.client_id = Some(&basic.client_id);
                body.username = Some(&basic.user_name);
                body.password = Some(basic.password.expose());
            }
        }
        // One allocation of the final size, so that no copy of the secret is left behind by growing.
        let mut json = Zeroizing::new(Vec::with_capacity(body.most_bytes()));
        serde_json::to_writer(&mut *json, &body).map_err(|error| {
            Error::new(ErrorCode::Bug, "the request could not be written as JSON").source(error)
        })?;
        Ok(json)
    }

    /// The secrets of the request.
    pub(super) fn secrets(&self) -> Vec<&Secret> {
        let own = match self.credentials {
            Credentials::X509(_) => None,
            Credentials::AccessToken(token) => Some(token),
            Credentials::MqttBasic(basic) => Some(&basic.password),
        };
        std::iter::once(self.provision_secret).chain(own).collect()
    }
}

/// How the server judged the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The device exists and has credentials. The rest of the answer says which ones.
    Success,
    /// Wrong provision key or secret, or provisioning is disabled.
    NotFound,
    /// Any other refusal.
    Failure,
    /// A word that ThingsBoard never sends.
    Other(String),
}

impl Status {
    /// The word on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Success => "SUCCESS",
            Self::NotFound => "NOT_FOUND",
            Self::Failure => "FAILURE",
            Self::Other(word) => word,
        }
    }
}

/// The credentials that an answer holds: a certificate or a token as text, or the members of MQTT_BASIC.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// One line of base64, or a token.
    Text(#[serde(deserialize_with = "secret")] Secret),
    /// MQTT_BASIC; unset members are empty.
    #[serde(rename_all = "camelCase")]
    Basic {
        /// The MQTT client id.
        #[serde(default)]
        client_id: String,
        /// The MQTT user name.
        #[serde(default)]
        user_name: String,
        /// The MQTT password.
        #[serde(deserialize_with = "secret", default = "no_secret")]
        password: Secret,
    },
}

/// The server's answer, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// How the server judged the request.
    pub status: Status,
    /// The server's text on a refusal. ThingsBoard has just two.
    pub error_message: Option<String>,
    /// `credentialsType`, where the server named one.
    pub credentials_type: Option<String>,
    /// `credentialsValue`, where the server sent one.
    pub credentials_value: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerBody {
    status: Option<String>,
    provision_device_status: Option<String>,
    error_msg: Option<String>,
    credentials_type: Option<String>,
    credentials_value: Option<Value>,
}

impl Answer {
    /// Reads an answer. Unknown members are ignored.
    ///
    /// # Errors
    /// `answer/malformed`, saying what is missing or where the JSON breaks; never with the answer's text,
    /// which may hold a token.
    pub fn parse(payload: &[u8]) -> Result<Self> {
        if payload.len() > LARGEST_PACKET {
            return Err(malformed(format!(
                "it is {} bytes, more than ThingsBoard's packets can be",
                payload.len()
            )));
        }
        let body: AnswerBody = serde_json::from_slice(payload).map_err(|error| {
            let why = match error.classify() {
                serde_json::error::Category::Data => "a member has another type than ThingsBoard gives it",
                _ => "it is not JSON",
            };
            malformed(format!("{why} (line {}, column {})", error.line(), error.column()))
        })?;
        let status = match (body.status, body.provision_device_status) {
            (Some(one), Some(other)) if one != other => {
                return Err(malformed("its 'status' and 'provisionDeviceStatus' differ".to_owned()));
            }
            (Some(status), _) | (None, Some(status)) => status,
            (None, None) => {
                return Err(malformed("it has neither 'status' nor 'provisionDeviceStatus'".to_owned()));
            }
        };
        let status = match status.as_str() {
            "SUCCESS" => Status::Success,
            "NOT_FOUND" => Status::NotFound,
            "FAILURE" => Status::Failure,
            _ => Status::Other(status),
        };
        Ok(Self {
            status,
            error_message: body.error_msg,
            credentials_type: body.credentials_type,
            credentials_value: body.credentials_value,
        })
    }

    /// Replaces `secrets` by `[hidden]` in every text that may be shown.
    pub(super) fn hide(&mut self, secrets: &[&Secret]) {
        let status = match &mut self.status {
            Status::Other(word) => Some(word),
            _ => None,
        };
        let texts = [status, self.error_message.as_mut(), self.credentials_type.as_mut()];
        for text in texts.into_iter().flatten() {
            *text = hide(text, secrets);
        }
    }

    /// The type named by the answer, as one of ours.
    pub fn known_credentials_type(&self) -> Option<CredentialsType> {
        let name = self.credentials_type.as_deref()?;
        CredentialsType::ALL.iter().copied().find(|known| known.wire_name() == name)
    }
}

pub(crate) fn malformed(why: String) -> Error {
    Error::new(ErrorCode::AnswerMalformed, format!("the server's answer cannot be used: {why}"))
}

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

fn no_secret() -> Secret {
    Secret::new("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_room_for_the_longest_texts() {
        let longest = "\u{1}".repeat(100);
        let text = Some(&*longest);
        let body = RequestBody {
            device_name: text,
            provision_device_key: &longest,
            provision_device_secret: &longest,
            credentials_type: &longest,
            hash: Some(longest.clone()),
            token: text,
            client_id: text,
            username: text,
            password: text,
            gateway: true,
        };
        let json = serde_json::to_vec(&body).unwrap();
        assert!((json.len()..json.len() + RequestBody::FRAME).contains(&body.most_bytes()), "{}", json.len());
    }

    #[test]
    fn both_answer_shapes_are_read() {
        for shape in [
            r#"{"credentialsValue":"MIIB","credentialsType":"X509_CERTIFICATE","status":"SUCCESS"}"#,
            r#"{"deviceId":"3b8","credentialsType":"X509_CERTIFICATE","credentialsId":"f3","credentialsValue":"MIIB","provisionDeviceStatus":"SUCCESS"}"#,
        ] {
            let answer = Answer::parse(shape.as_bytes()).unwrap();
            assert_eq!(answer.status, Status::Success);
            assert_eq!(answer.known_credentials_type(), Some(CredentialsType::X509));
            assert_eq!(answer.credentials_value, Some(Value::Text(Secret::new("MIIB"))));
        }
    }

    #[test]
    fn basic_credentials_come_as_an_object() {
        let answer = Answer::parse(
            br#"{"credentialsValue":{"clientId":"c","userName":"u","password":"p"},"credentialsType":"MQTT_BASIC","status":"SUCCESS"}"#,
        )
        .unwrap();
        assert!(
            matches!(answer.credentials_value, Some(Value::Basic { ref user_name, .. }) if user_name == "u")
        );
    }

    #[test]
    fn what_cannot_be_an_answer_is_named_and_never_quoted() {
        for (payload, why) in [
            (&b"hello s3cret"[..], "not JSON"),
            (b"{}", "neither 'status'"),
            (br#"{"status":"SUCCESS","provisionDeviceStatus":"FAILURE"}"#, "differ"),
            (b"[]", "another type"),
            (br#"{"status":7}"#, "another type"),
            (br#"{"status":null}"#, "neither 'status'"),
            (b"\xff\xfe", "not JSON"),
        ] {
            let error = Answer::parse(payload).unwrap_err();
            assert_eq!(error.code, ErrorCode::AnswerMalformed);
            assert!(error.message.contains(why), "{} lacks {why}", error.message);
            assert!(!error.message.contains("s3cret"));
        }
    }
}
