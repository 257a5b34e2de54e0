//! What an answer that is no success means.

use serde::Deserialize;

use super::http::Answer;
use super::url::ApiUrl;
use crate::error::{Error, ErrorCode, Hint};
use crate::secret::{Secret, hide};
use crate::text::shown;

/// `{"status":…,"message":…,"errorCode":…,"timestamp":…}` (`ThingsboardErrorResponse`); Spring's own answers, up to 3.4,
/// have no code.
#[derive(Debug, Deserialize)]
struct Body {
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

/// What answers is not the API.
pub(super) fn not_thingsboard(url: &ApiUrl, why: &str) -> Error {
    Error::new(ErrorCode::RestNotThingsBoard, format!("{url} is not ThingsBoard's REST API: {why}"))
}

/// A failure of dialling, with help that is about the REST API, and not about MQTT. What is about a proxy, or the
/// resolver, is the same for both.
pub(super) fn of_dialling(error: Error) -> Error {
    let is_common = matches!(
        error.hint,
        Some(
            Hint::ProxyUnreached
                | Hint::BeyondProxy
                | Hint::ProxyLogin
                | Hint::ProxyRefuses
                | Hint::ProxyKind
                | Hint::UnusedProxy(_)
        )
    );
    let is_of_rest = matches!(
        error.code,
        ErrorCode::NetworkConnect
            | ErrorCode::NetworkTimeout
            | ErrorCode::NetworkClosed
            | ErrorCode::TlsHandshake
            | ErrorCode::TlsUntrusted
            | ErrorCode::TlsExpired
            | ErrorCode::TlsName
            | ErrorCode::TlsClientCertificate
    );
    if is_of_rest && !is_common { error.hint(Hint::OfRest) } else { error }
}

/// The failure that `answer` is. What the server says is shown without `secrets`.
pub(super) fn of(url: &ApiUrl, what: &str, answer: &Answer, secrets: &[&Secret]) -> Error {
    let status = answer.status;
    if (300..400).contains(&status) {
        return redirected(url, answer, secrets);
    }
    let code = match status {
        401 => ErrorCode::RestUnauthorized,
        403 => ErrorCode::RestForbidden,
        404 => ErrorCode::RestNotFound,
        409 => ErrorCode::RestConflict,
        429 => ErrorCode::RestLimited,
        500.. => ErrorCode::RestServerError,
        _ => ErrorCode::RestRefused,
    };
    match said(answer) {
        Said::Text(text) => {
            let text = shown(hide(&text, secrets).trim());
            Error::new(code, format!("{url} answered {status} to {what}: {text}"))
        }
        Said::Nothing => Error::new(code, format!("{url} answered {status} to {what}")),
        // A gateway's own page: ThingsBoard behind it did not answer.
        Said::Page if status >= 500 => {
            let message = format!("{url} answered {status} to {what}, with a page of a proxy in front of it");
            Error::new(code, message).hint(Hint::RestGateway)
        }
        Said::Page => {
            not_thingsboard(url, &format!("it answers {what} with a page in HTML (status {status})"))
        }
    }
}

fn redirected(url: &ApiUrl, answer: &Answer, secrets: &[&Secret]) -> Error {
    // Without its query, in which a login page is told where to return to.
    let to = answer.location.as_deref().and_then(|text| text.split(['?', '#']).next()).unwrap_or_default();
    let to = shown(&hide(to, secrets));
    let why = format!("it redirects to '{to}' (status {}), which is not followed", answer.status);
    not_thingsboard(url, &why).hint(Hint::RestRedirect)
}

/// What a server says about a failure.
enum Said {
    Text(String),
    Page,
    Nothing,
}

fn said(answer: &Answer) -> Said {
    let text = String::from_utf8_lossy(&answer.body);
    let text = text.trim();
    if text.is_empty() {
        return Said::Nothing;
    }
    if text.starts_with('<') {
        return Said::Page;
    }
    match serde_json::from_str::<Body>(text) {
        Ok(Body { message, error }) => {
            let words = message.filter(|text| !text.trim().is_empty()).or(error);
            words.map_or(Said::Nothing, Said::Text)
        }
        // The telemetry calls answer in plain text.
        Err(_) => Said::Text(text.to_owned()),
    }
}
