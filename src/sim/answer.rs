//! The answer to a provision request, as text.

use serde::Serialize;

use super::credentials::HeldCredentials;
use super::device::RegisteredDevice;
use super::provisioning::Decision;
use super::release::Release;
use crate::error::{Error, Result};

/// Larger than ThingsBoard's largest packet (64 KiB), in bytes.
const OVERSIZE: usize = 70_000;

/// The answer to a request without a payload, which counts as one of Protobuf without key and secret: a
/// `ProvisionDeviceResponseMsg` whose status is NOT_FOUND.
pub(super) const PROTOBUF_NOT_FOUND: [u8; 2] = [0x08, 0x02];

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// As every release writes it (`JsonConverter.toJson(ProvisionDeviceResponseMsg)`).
    Real,
    /// As ThingsBoard's documentation shows it, and no release ever wrote it.
    Documentation,
    /// Not JSON.
    Garbage,
    /// As every release writes it, and longer than any client accepts.
    Oversize,
}

/// The real answer; the order of the fields is that of the server.
#[derive(Serialize)]
struct Success<'a> {
    #[serde(rename = "credentialsValue")]
    value: AnswerValue<'a>,
    #[serde(rename = "credentialsType")]
    credentials_type: &'static str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    padding: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum AnswerValue<'a> {
    Text(&'a str),
    Basic {
        #[serde(rename = "clientId")]
        client_id: &'a str,
        #[serde(rename = "userName")]
        user_name: &'a str,
        password: &'a str,
    },
}

impl<'a> From<&'a HeldCredentials> for AnswerValue<'a> {
    fn from(credentials: &'a HeldCredentials) -> Self {
        match credentials {
            HeldCredentials::Certificate(text) => Self::Text(text),
            HeldCredentials::Token(token) => Self::Text(token.expose()),
            HeldCredentials::Basic(basic) => Self::Basic {
                client_id: &basic.client_id,
                user_name: &basic.user_name,
                password: basic.password.expose(),
            },
        }
    }
}

#[derive(Serialize)]
struct Refusal {
    #[serde(rename = "errorMsg")]
    message: &'static str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    padding: Option<String>,
}

/// The documentation's answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Documented<'a> {
    device_id: String,
    credentials_type: &'static str,
    credentials_id: String,
    credentials_value: AnswerValue<'a>,
    provision_device_status: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DocumentedRefusal {
    error_msg: &'static str,
    provision_device_status: &'static str,
}

/// The bytes of the answer to a request that was decided so.
pub(super) fn write(decision: &Decision, shape: Shape, release: Release) -> Result<Vec<u8>> {
    let answer = plainly(decision, shape)?;
    Ok(if release.escapes_html() { escaped(&answer) } else { answer })
}

/// Without what could be markup where the answer stands in a page. Such characters stand in texts alone.
fn escaped(answer: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(answer.len());
    for byte in answer {
        match byte {
            b'<' | b'>' | b'&' | b'=' | b'\'' => {
                escaped.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
            }
            _ => escaped.push(*byte),
        }
    }
    escaped
}

fn plainly(decision: &Decision, shape: Shape) -> Result<Vec<u8>> {
    let padding = (shape == Shape::Oversize).then(|| "x".repeat(OVERSIZE));
    let status = decision.status();
    match (shape, decision) {
        (Shape::Garbage, _) => Ok(b"<html>502 Bad Gateway</html>".to_vec()),
        (Shape::Documentation, Decision::Success(device)) => json(&documented(device, status)?),
        (Shape::Documentation, _) => {
            json(&DocumentedRefusal { error_msg: message(decision), provision_device_status: status })
        }
        (_, Decision::Success(device)) => json(&Success {
            value: AnswerValue::from(&device.credentials),
            credentials_type: device.credentials.credentials_type().wire_name(),
            status,
            padding,
        }),
        _ => json(&Refusal { message: message(decision), status, padding }),
    }
}

fn documented<'a>(device: &'a RegisteredDevice, status: &'static str) -> Result<Documented<'a>> {
    Ok(Documented {
        device_id: random_uuid()?,
        credentials_type: device.credentials.credentials_type().wire_name(),
        credentials_id: device.credentials.lookup_id(),
        credentials_value: AnswerValue::from(&device.credentials),
        provision_device_status: status,
    })
}

/// ThingsBoard has these two texts and no others.
const fn message(decision: &Decision) -> &'static str {
    match decision {
        Decision::NotFound => "Provision data was not found!",
        _ => "Failed to provision device!",
    }
}

fn json(answer: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(answer).map_err(|error| {
        let message = "the simulator's answer could not be encoded";
        Error::new(crate::ErrorCode::Bug, message).source(error)
    })
}

fn random_uuid() -> Result<String> {
    let mut bytes = [0u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::no_randomness())?;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::identity::BasicCredentials;
    use crate::secret::Secret;

    fn answer(decision: &Decision, shape: Shape) -> String {
        String::from_utf8(write(decision, shape, Release::V4_3).unwrap()).unwrap()
    }

    fn success(credentials: HeldCredentials) -> Decision {
        Decision::Success(Arc::new(RegisteredDevice::new("a".to_owned(), credentials, false, true)))
    }

    #[test]
    fn the_real_answers_are_those_of_every_release() {
        let certificate = success(HeldCredentials::Certificate("MIIB".to_owned()));
        assert_eq!(
            answer(&certificate, Shape::Real),
            r#"{"credentialsValue":"MIIB","credentialsType":"X509_CERTIFICATE","status":"SUCCESS"}"#
        );
        let basic = success(HeldCredentials::Basic(BasicCredentials {
            client_id: "c".to_owned(),
            user_name: String::new(),
            password: Secret::new("p"),
        }));
        assert_eq!(
            answer(&basic, Shape::Real),
            r#"{"credentialsValue":{"clientId":"c","userName":"","password":"p"},"credentialsType":"MQTT_BASIC","status":"SUCCESS"}"#
        );
        assert_eq!(
            answer(&Decision::NotFound, Shape::Real),
            r#"{"errorMsg":"Provision data was not found!","status":"NOT_FOUND"}"#
        );
        assert_eq!(
            answer(&Decision::Failure("secret reason".to_owned()), Shape::Real),
            r#"{"errorMsg":"Failed to provision device!","status":"FAILURE"}"#
        );
    }

    #[test]
    fn what_could_be_markup_is_escaped_at_3_2() {
        let decision = success(HeldCredentials::Token(Secret::new("<b>&'x'==é")));
        let answer = write(&decision, Shape::Real, Release::V3_2).unwrap();
        let token = r"\u003cb\u003e\u0026\u0027x\u0027\u003d\u003dé";
        assert_eq!(
            String::from_utf8(answer).unwrap(),
            format!(
                r#"{{"credentialsValue":"{token}","credentialsType":"ACCESS_TOKEN","status":"SUCCESS"}}"#
            )
        );
    }

    #[test]
    fn the_documented_answer_has_the_documented_fields() {
        let decision = success(HeldCredentials::Certificate("MIIB........AQAB".to_owned()));
        let json: serde_json::Value = serde_json::from_str(&answer(&decision, Shape::Documentation)).unwrap();
        assert_eq!(json["provisionDeviceStatus"], "SUCCESS");
        assert_eq!(json["deviceId"].as_str().unwrap().len(), 36);
        let id = "f307a1f717a12b32c27203cf77728d305d29f64694a8311be921070dd1259b3a";
        assert_eq!(json["credentialsId"], id);
        assert!(json.get("status").is_none());
    }

    #[test]
    fn an_oversize_answer_is_larger_than_a_packet_may_be() {
        assert!(answer(&Decision::NotFound, Shape::Oversize).len() > 65_536);
    }
}
