//! Devices and their credentials.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::account::Account;
use super::failure;
use super::profile::{DeviceProfile, Id};
use crate::error::{Error, ErrorCode, Result};
use crate::event::Progress;
use crate::identity::{Certificate, Credentials};
use crate::text::shown;

/// ThingsBoard's name of the credentials that are a certificate (`DeviceCredentialsType`).
const X509: &str = "X509_CERTIFICATE";

/// The kinds of credentials (`DeviceCredentialsType`).
const TYPES: [&str; 4] = [X509, "ACCESS_TOKEN", "MQTT_BASIC", "LWM2M_CREDENTIALS"];

/// A device as the server has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    id: Id,
    /// Its name.
    pub name: String,
    device_profile_id: Id,
    /// When it was made, in milliseconds since 1970, UTC.
    pub created_time: i64,
}

impl Device {
    /// The server's id of it, a UUID.
    pub fn id(&self) -> &str {
        &self.id.id
    }

    /// The id of its device profile.
    pub fn profile_id(&self) -> &str {
        &self.device_profile_id.id
    }
}

/// What a device proves itself with, as the server has it. Saving it again takes the whole object, with members of later
/// releases, and with its `version`.
#[derive(Clone, PartialEq)]
pub struct DeviceCredentials {
    device: String,
    device_id: String,
    raw: Map<String, Value>,
}

impl DeviceCredentials {
    /// `X509_CERTIFICATE`, `ACCESS_TOKEN`, `MQTT_BASIC` or `LWM2M_CREDENTIALS`; `UNKNOWN` for what is none of them, and
    /// may be a secret.
    pub fn credentials_type(&self) -> &'static str {
        let given = self.text("credentialsType");
        TYPES.into_iter().find(|known| *known == given).unwrap_or("UNKNOWN")
    }

    /// ThingsBoard's id of a certificate; nothing for other credentials, whose id may be a token.
    pub fn credentials_id(&self) -> Option<&str> {
        let id = self.text("credentialsId");
        let is_digest = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        (self.is_x509() && is_digest).then_some(id)
    }

    /// Whether they are a certificate.
    pub fn is_x509(&self) -> bool {
        self.credentials_type() == X509
    }

    /// Whether they are this certificate.
    pub fn are(&self, leaf: &Certificate) -> bool {
        self.credentials_id() == Some(leaf.credentials_id().as_str())
    }

    /// Whether they are these credentials, of any kind.
    pub fn are_of(&self, held: &Credentials) -> bool {
        match held {
            Credentials::X509(identity) => self.are(&identity.leaf),
            Credentials::AccessToken(token) => {
                self.credentials_type() == "ACCESS_TOKEN" && self.text("credentialsId") == token.expose()
            }
            Credentials::MqttBasic(basic) => {
                let value: Option<Basic<'_>> = serde_json::from_str(self.text("credentialsValue")).ok();
                self.credentials_type() == "MQTT_BASIC"
                    && value.is_some_and(|value| {
                        value.client_id.as_deref() == Some(&basic.client_id)
                            && value.user_name.as_deref() == Some(&basic.user_name)
                    })
            }
        }
    }

    /// What they are, for messages; no secret is in it.
    pub fn in_words(&self) -> String {
        match self.credentials_id() {
            Some(id) => format!("the certificate {id}"),
            None => format!("credentials of type {}", self.credentials_type()),
        }
    }

    fn text(&self, member: &str) -> &str {
        self.raw.get(member).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether type, id and value are those of `other`. Its version may be another one.
    pub fn are_those_of(&self, other: &Self) -> bool {
        ["credentialsType", "credentialsId", "credentialsValue"]
            .into_iter()
            .all(|member| self.raw.get(member) == other.raw.get(member))
    }

    /// These with another certificate.
    fn with(&self, leaf: &Certificate) -> Self {
        let mut new = self.clone();
        new.raw.insert("credentialsType".to_owned(), X509.into());
        // The server computes it from the value.
        new.raw.insert("credentialsId".to_owned(), Value::Null);
        new.raw.insert("credentialsValue".to_owned(), leaf.to_pem().into());
        new
    }
}

/// What tells basic credentials apart (`BasicMqttCredentials`).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Basic<'a> {
    #[serde(borrow)]
    client_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user_name: Option<Cow<'a, str>>,
}

impl fmt::Debug for DeviceCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.credentials_id().unwrap_or("[secret]");
        write!(formatter, "DeviceCredentials({}, {id})", self.credentials_type())
    }
}

/// What means nothing but itself in a URL (RFC 3986, 2.3) is written as it is.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A name in a path or a query.
pub(super) fn encoded(name: &str) -> String {
    utf8_percent_encode(name, RESERVED).to_string()
}

impl Account {
    /// The device called `name`, if the tenant has it.
    ///
    /// # Errors
    /// Those of the network and of TLS, and the `rest/…` codes.
    pub async fn device(&self, name: &str, progress: &Progress) -> Result<Option<Device>> {
        let path = format!("/api/tenant/devices?deviceName={}", encoded(name));
        let found: Option<Device> = self.find(&path, progress).await?;
        match found {
            Some(device) if device.name != name => {
                let (named, given) = (shown(name), shown(&device.name));
                let message = format!("{} gave the device '{given}' in place of '{named}'", self.url());
                Err(Error::new(ErrorCode::RestNotThingsBoard, message))
            }
            found => Ok(found),
        }
    }

    /// What `device` proves itself with.
    ///
    /// # Errors
    /// As [`Self::device`].
    pub async fn credentials(&self, device: &Device, progress: &Progress) -> Result<DeviceCredentials> {
        let path = format!("/api/device/{}/credentials", encoded(device.id()));
        let raw: Map<String, Value> = self.get(&path, progress).await?;
        let whose = raw.get("deviceId").and_then(|id| id.get("id")).and_then(Value::as_str);
        if whose != Some(device.id()) {
            let name = shown(&device.name);
            let why = format!("it gave another device's credentials in place of those of '{name}'");
            return Err(failure::not_thingsboard(self.url(), &why));
        }
        Ok(DeviceCredentials { device: device.name.clone(), device_id: device.id().to_owned(), raw })
    }

    /// Makes `leaf` what the device of `held` proves itself with. The server ends the device's sessions, and its id of
    /// the certificate is compared with ours.
    ///
    /// # Errors
    /// As [`Self::device`]; `rest/conflict` when they are not as they were read any more; `verify/not-stored` when the
    /// server has something else afterwards.
    pub async fn set_certificate(
        &self,
        held: &DeviceCredentials,
        leaf: &Certificate,
        progress: &Progress,
    ) -> Result<DeviceCredentials> {
        let saved = self.save(held, &held.with(leaf), progress).await?;
        if saved.are(leaf) {
            return Ok(saved);
        }
        Err(self.not_stored(&saved, &leaf.credentials_id()))
    }

    /// Makes the credentials of the device again what they were when `before` was read; `held` is what they are now.
    ///
    /// # Errors
    /// As [`Self::set_certificate`].
    pub async fn put_back(
        &self,
        held: &DeviceCredentials,
        before: &DeviceCredentials,
        progress: &Progress,
    ) -> Result<DeviceCredentials> {
        let mut wanted = before.clone();
        // The number by which the server notices that somebody else changed them.
        match held.raw.get("version") {
            Some(version) => wanted.raw.insert("version".to_owned(), version.clone()),
            None => wanted.raw.remove("version"),
        };
        let saved = self.save(held, &wanted, progress).await?;
        if saved.are_those_of(before) {
            return Ok(saved);
        }
        Err(self.not_stored(&saved, before.credentials_id().unwrap_or("the ones of before")))
    }

    fn not_stored(&self, saved: &DeviceCredentials, wanted: &str) -> Error {
        let message = format!(
            "{} has other credentials for '{}' than it was given: {} instead of {wanted}",
            self.url(),
            saved.device,
            saved.in_words()
        );
        Error::new(ErrorCode::VerifyNotStored, message)
    }

    /// Saves, and once more where the version has changed and the credentials have not.
    async fn save(
        &self,
        held: &DeviceCredentials,
        wanted: &DeviceCredentials,
        progress: &Progress,
    ) -> Result<DeviceCredentials> {
        match self.try_to_save(wanted, progress).await {
            Err(error) if error.code == ErrorCode::RestConflict => {
                let now = self.read_again(held, progress).await?;
                if !now.are_those_of(held) {
                    return Err(error);
                }
                let mut wanted = wanted.clone();
                if let Some(version) = now.raw.get("version") {
                    wanted.raw.insert("version".to_owned(), version.clone());
                }
                self.try_to_save(&wanted, progress).await
            }
            saved => saved,
        }
    }

    async fn try_to_save(
        &self,
        wanted: &DeviceCredentials,
        progress: &Progress,
    ) -> Result<DeviceCredentials> {
        let body = Value::Object(wanted.raw.clone());
        let _: Value = self.post("/api/device/credentials", &body, progress).await?;
        self.read_again(wanted, progress).await
    }

    async fn read_again(&self, held: &DeviceCredentials, progress: &Progress) -> Result<DeviceCredentials> {
        let path = format!("/api/device/{}/credentials", encoded(&held.device_id));
        let raw: Map<String, Value> = self.get(&path, progress).await?;
        Ok(DeviceCredentials { raw, ..held.clone() })
    }

    /// Makes a device in `profile`, or in the tenant's default one. It has a token of the server's, until it is given
    /// something else.
    ///
    /// # Errors
    /// As [`Self::device`]; `rest/refused` when the name is taken or not allowed.
    pub async fn create_device(
        &self,
        name: &str,
        profile: Option<&DeviceProfile>,
        is_gateway: bool,
        progress: &Progress,
    ) -> Result<Device> {
        let mut device = json!({"name": name});
        if let (Some(object), Some(id)) = (device.as_object_mut(), profile.and_then(DeviceProfile::id)) {
            object.insert("deviceProfileId".to_owned(), json!({"entityType": "DEVICE_PROFILE", "id": id}));
        }
        if let (Some(object), true) = (device.as_object_mut(), is_gateway) {
            object.insert("additionalInfo".to_owned(), json!({"gateway": true}));
        }
        self.post("/api/device", &device, progress).await
    }

    /// Deletes a device. The server ends its sessions.
    ///
    /// # Errors
    /// As [`Self::device`].
    pub async fn remove_device(&self, device: &Device, progress: &Progress) -> Result<()> {
        self.delete(&format!("/api/device/{}", encoded(device.id())), progress).await
    }
}
