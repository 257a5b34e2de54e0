//! An access token, or MQTT basic credentials, as JSON: what `credentials.json` holds.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Kept;
use crate::error::{Error, ErrorCode, Result};
use crate::identity::BasicCredentials;
use crate::secret::Secret;

/// Bytes of the JSON, at the most.
pub(super) const LARGEST: usize = 4096;

/// Its content, with ThingsBoard's own member names.
#[derive(Serialize, Deserialize)]
#[serde(tag = "credentialsType")]
enum Saved<'a> {
    #[serde(rename = "ACCESS_TOKEN")]
    AccessToken { token: Cow<'a, str> },
    #[serde(rename = "MQTT_BASIC", rename_all = "camelCase")]
    MqttBasic { client_id: Cow<'a, str>, user_name: Cow<'a, str>, password: Cow<'a, str> },
}

pub(super) fn to_json(kept: &Kept) -> Result<Zeroizing<Vec<u8>>> {
    let bug = |message: &str| Error::new(ErrorCode::Bug, message);
    let saved = match kept {
        Kept::AccessToken(token) => Saved::AccessToken { token: token.expose().into() },
        Kept::MqttBasic(basic) => Saved::MqttBasic {
            client_id: basic.client_id.as_str().into(),
            user_name: basic.user_name.as_str().into(),
            password: basic.password.expose().into(),
        },
        Kept::X509 { .. } => return Err(bug("a certificate is not saved as JSON")),
    };
    // One allocation, so that no copy of the secret is left behind by growing.
    let mut json = Zeroizing::new(Vec::with_capacity(LARGEST));
    serde_json::to_writer_pretty(&mut *json, &saved)
        .map_err(|error| bug("the credentials could not be written as JSON").source(error))?;
    Ok(json)
}

/// Reads them. `place` names the file, or what else holds them, in the error.
pub(super) fn from_json(text: &[u8], place: &str) -> Result<Kept> {
    let saved = serde_json::from_slice(text).map_err(|error| {
        let message = format!("{place} holds no credentials (line {})", error.line());
        Error::new(ErrorCode::StoreCorrupt, message)
    })?;
    Ok(match saved {
        Saved::AccessToken { token } => Kept::AccessToken(Secret::new(token.into_owned())),
        Saved::MqttBasic { client_id, user_name, password } => Kept::MqttBasic(BasicCredentials {
            client_id: client_id.into_owned(),
            user_name: user_name.into_owned(),
            password: Secret::new(password.into_owned()),
        }),
    })
}
