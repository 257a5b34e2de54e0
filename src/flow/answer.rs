//! Whether the answer agrees with what was sent. Nothing is called done without this.

use super::next::Answered;
use crate::error::{Error, ErrorCode, Result, Step};
use crate::exchange::{Answer, Status, Value};
use crate::identity::{BasicCredentials, Certificate, Credentials, CredentialsType};
use crate::text::one_line;

/// A token or basic credentials that the answer holds and that were not sent. A device profile with
/// `CHECK_PRE_PROVISIONED_DEVICES` answers so: it ignores what was sent, and returns what the device has.
///
/// From ThingsBoard 4.2.1.1 on it does so once (`DeviceProvisionServiceImpl`), so that they must not be lost.
pub(super) fn of_its_own(answer: &Answer, sent: &Credentials) -> Option<Credentials> {
    if answer.status != Status::Success {
        return None;
    }
    let theirs = match (answer.known_credentials_type()?, answer.credentials_value.as_ref()?) {
        (CredentialsType::AccessToken, Value::Text(token)) => Credentials::AccessToken(token.clone()),
        (CredentialsType::MqttBasic, Value::Basic { client_id, user_name, password }) => {
            Credentials::MqttBasic(BasicCredentials {
                client_id: client_id.clone(),
                user_name: user_name.clone(),
                password: password.clone(),
            })
        }
        _ => return None,
    };
    value_equals(answer.credentials_value.as_ref()?, sent).is_err().then_some(theirs)
}

/// Judges an answer: whether it says SUCCESS and holds exactly the credentials that were sent. What else it says comes
/// with the failure of the run, at its step.
pub(super) fn judge(answer: &Answer, sent: &Credentials) -> Result<(), (Answered, Error)> {
    check(answer, sent).map_err(|error| match error.code {
        ErrorCode::ServerNotFound => (Answered::NotFound, error.stamped(Step::Exchange)),
        ErrorCode::ServerFailure => (Answered::Failure, error.stamped(Step::Exchange)),
        ErrorCode::AnswerMalformed => (Answered::Lost, error.stamped(Step::Verify)),
        _ => (Answered::OtherCredentials, error.stamped(Step::Verify)),
    })
}

fn check(answer: &Answer, sent: &Credentials) -> Result<()> {
    match &answer.status {
        Status::Success => {}
        Status::NotFound => return Err(refused(ErrorCode::ServerNotFound, answer)),
        Status::Failure => return Err(refused(ErrorCode::ServerFailure, answer)),
        Status::Other(word) => {
            return Err(malformed(&format!("its status is '{}'", one_line(word, 40))));
        }
    }
    let Some(named) = &answer.credentials_type else {
        return Err(malformed("it has no 'credentialsType'"));
    };
    let wanted = sent.credentials_type();
    if answer.known_credentials_type() != Some(wanted) {
        let named = one_line(named, 40);
        let message =
            format!("the server gave the device credentials of type '{named}', not {}", wanted.wire_name());
        return Err(Error::new(ErrorCode::AnswerOtherType, message));
    }
    let Some(value) = &answer.credentials_value else {
        return Err(malformed("it has no 'credentialsValue'"));
    };
    value_equals(value, sent)
}

fn value_equals(value: &Value, sent: &Credentials) -> Result<()> {
    let equal = match (value, sent) {
        (Value::Text(text), Credentials::X509(identity)) => {
            return certificate_equals(text.expose(), &identity.leaf);
        }
        (Value::Text(text), Credentials::AccessToken(token)) => text == token,
        (Value::Basic { client_id, user_name, password }, Credentials::MqttBasic(basic)) => {
            *client_id == basic.client_id && *user_name == basic.user_name && *password == basic.password
        }
        _ => return Err(malformed("'credentialsValue' does not fit its 'credentialsType'")),
    };
    if equal {
        return Ok(());
    }
    let kind = match sent.credentials_type() {
        CredentialsType::AccessToken => "another access token",
        _ => "other MQTT credentials",
    };
    Err(Error::new(ErrorCode::AnswerOtherCredentials, format!("the server returned {kind} than was sent")))
}

/// Compares after the same trimming that the server does before it stores a certificate.
fn certificate_equals(returned: &str, sent: &Certificate) -> Result<()> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    let line: String = returned
        .replace("-----BEGIN CERTIFICATE-----", "")
        .replace("-----END CERTIFICATE-----", "")
        .replace(['\r', '\n'], "");
    if line == STANDARD.encode(sent.der()) {
        return Ok(());
    }
    // Its subject is the server's text, and may be anything.
    let other = STANDARD
        .decode(line.trim())
        .ok()
        .and_then(|der| Certificate::from_der(der.into(), "the answer").ok())
        .map_or_else(
            || "something that is no certificate".to_owned(),
            |other| format!("one with the credentialsId {}", other.credentials_id()),
        );
    let message = format!("the server returned another certificate than was sent: {other}");
    Err(Error::new(ErrorCode::AnswerOtherCertificate, message))
}

fn refused(code: ErrorCode, answer: &Answer) -> Error {
    let text = answer.error_message.as_deref().unwrap_or("no reason given");
    let text = one_line(text, 200);
    let message = format!("the server refused to provision the device: {} ({text})", answer.status.as_str());
    Error::new(code, message)
}

fn malformed(why: &str) -> Error {
    crate::exchange::malformed(why.to_owned())
}
