//! Device profiles, as far as provisioning is concerned.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::account::Account;
use super::device::encoded;
use super::failure;
use crate::error::{Error, ErrorCode, Result};
use crate::event::Progress;
use crate::identity::Certificate;
use crate::secret::{Secret, hide};
use crate::text::shown;

/// Entities of a page.
const PAGE: usize = 100;

/// Pages that are read, at the most.
const MOST_PAGES: usize = 100;

/// The id of an entity.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Id {
    /// A UUID.
    pub(super) id: String,
}

/// How a device profile registers devices (`DeviceProfileProvisionType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Not at all (`DISABLED`).
    Disabled,
    /// A provision request makes the device (`ALLOW_CREATE_NEW_DEVICES`).
    Create,
    /// A provision request finds the device (`CHECK_PRE_PROVISIONED_DEVICES`).
    PreProvisioned,
    /// A connect with a certificate of its authority makes the device (`X509_CERTIFICATE_CHAIN`, from 3.5 on).
    Chain,
}

impl Strategy {
    /// ThingsBoard's name of it.
    pub const fn server_name(self) -> &'static str {
        match self {
            Self::Disabled => "DISABLED",
            Self::Create => "ALLOW_CREATE_NEW_DEVICES",
            Self::PreProvisioned => "CHECK_PRE_PROVISIONED_DEVICES",
            Self::Chain => "X509_CERTIFICATE_CHAIN",
        }
    }

    fn from_server(name: &str) -> Option<Self> {
        [Self::Disabled, Self::Create, Self::PreProvisioned, Self::Chain]
            .into_iter()
            .find(|strategy| strategy.server_name() == name)
    }
}

/// What a device profile registers devices with.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a command has one of them")]
pub enum Provisioning {
    /// Nothing: no device is registered.
    Disabled,
    /// A provision request with this key and secret.
    Request {
        /// Whether the device has to be there already.
        pre_provisioned: bool,
        /// The provision key, unique on the whole server.
        key: String,
        /// The provision secret.
        secret: Secret,
    },
    /// A connect with a certificate of this authority.
    Chain {
        /// The authority. Its credentialsId becomes the provision key.
        authority: Certificate,
        /// What takes the device's name out of the certificate's common name: Java's regular expression with one group.
        name_pattern: String,
    },
}

/// A device profile to be made.
#[derive(Debug, Clone)]
pub struct NewProfile<'a> {
    /// Its name, unique in the tenant.
    pub name: &'a str,
    /// What registers devices.
    pub provisioning: &'a Provisioning,
}

/// A device profile as the server has it. Saving it again takes the whole object.
#[derive(Clone, PartialEq)]
pub struct DeviceProfile {
    raw: Map<String, Value>,
}

impl DeviceProfile {
    /// The server's id of it, a UUID.
    pub fn id(&self) -> Option<&str> {
        self.raw.get("id")?.get("id")?.as_str()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.raw.get("name").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether devices without a profile of their own get it.
    pub fn is_default(&self) -> bool {
        self.raw.get("default").and_then(Value::as_bool).unwrap_or_default()
    }

    /// `DEFAULT`, `MQTT` or another transport.
    pub fn transport(&self) -> &str {
        self.raw.get("transportType").and_then(Value::as_str).unwrap_or_default()
    }

    /// How it registers devices; nothing for what only a fork has, and where the two places that say it differ.
    pub fn strategy(&self) -> Option<Strategy> {
        let above = self.raw.get("provisionType").and_then(Value::as_str);
        let within = self.configuration().and_then(|configuration| configuration.get("type")?.as_str());
        match (above, within) {
            // A profile that never was provisioned with has none within.
            (None, None) => Some(Strategy::Disabled),
            (Some(above), Some(within)) if above != within => None,
            (Some(name), _) | (None, Some(name)) => Strategy::from_server(name),
        }
    }

    /// The provision key; for a chain the authority's credentialsId.
    pub fn provision_key(&self) -> Option<&str> {
        self.raw.get("provisionDeviceKey")?.as_str().filter(|key| !key.is_empty())
    }

    /// The provision secret; for a chain the authority's certificate.
    pub fn provision_secret(&self) -> Option<Secret> {
        let secret = self.configuration()?.get("provisionDeviceSecret")?.as_str()?;
        (!secret.is_empty()).then(|| Secret::new(secret))
    }

    /// What takes the device's name out of a certificate's common name.
    pub fn name_pattern(&self) -> Option<&str> {
        self.configuration()?.get("certificateRegExPattern")?.as_str()
    }

    fn configuration(&self) -> Option<&Value> {
        self.raw.get("profileData")?.get("provisionConfiguration").filter(|value| !value.is_null())
    }

    /// The same profile that registers devices with something else.
    fn with(&self, provisioning: &Provisioning) -> Self {
        let (strategy, key, configuration) = parts(provisioning);
        let mut raw = self.raw.clone();
        raw.insert("provisionType".to_owned(), strategy.server_name().into());
        raw.insert("provisionDeviceKey".to_owned(), key);
        let data = raw.entry("profileData").or_insert_with(|| json!({}));
        if let Some(data) = data.as_object_mut() {
            data.insert("provisionConfiguration".to_owned(), configuration);
        }
        Self { raw }
    }

    /// Whether it registers devices with exactly that.
    fn has(&self, provisioning: &Provisioning) -> bool {
        let same = match provisioning {
            Provisioning::Disabled => true,
            Provisioning::Request { key, secret, .. } => {
                self.provision_key() == Some(key) && self.provision_secret().as_ref() == Some(secret)
            }
            Provisioning::Chain { authority, name_pattern } => {
                self.provision_key() == Some(authority.credentials_id().as_str())
                    && self.name_pattern() == Some(name_pattern)
            }
        };
        same && self.strategy() == Some(parts(provisioning).0)
    }
}

impl fmt::Debug for DeviceProfile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DeviceProfile({:?}, {:?})", self.name(), self.strategy())
    }
}

/// The strategy has to stand in both places: the server saves what differs, and does not provision with it.
fn parts(provisioning: &Provisioning) -> (Strategy, Value, Value) {
    let (strategy, key, secret) = match provisioning {
        Provisioning::Disabled => (Strategy::Disabled, Value::Null, Value::Null),
        Provisioning::Request { pre_provisioned, key, secret } => {
            let strategy = if *pre_provisioned { Strategy::PreProvisioned } else { Strategy::Create };
            (strategy, key.as_str().into(), secret.expose().into())
        }
        Provisioning::Chain { authority, .. } => (Strategy::Chain, Value::Null, authority.to_pem().into()),
    };
    let mut configuration = json!({"type": strategy.server_name(), "provisionDeviceSecret": secret});
    if let (Provisioning::Chain { name_pattern, .. }, Some(object)) =
        (provisioning, configuration.as_object_mut())
    {
        object.insert("certificateRegExPattern".to_owned(), name_pattern.as_str().into());
        object.insert("allowCreateNewDevicesByX509Certificate".to_owned(), true.into());
    }
    (strategy, key, configuration)
}

/// A page of entities (`PageData`).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    data: Vec<Map<String, Value>>,
    has_next: bool,
}

impl Account {
    /// The tenant's device profiles, by name.
    ///
    /// # Errors
    /// Those of the network and of TLS, and the `rest/…` codes.
    pub async fn profiles(&self, progress: &Progress) -> Result<Vec<DeviceProfile>> {
        self.profiles_like("", progress).await
    }

    /// The device profile called `name`, if there is one.
    ///
    /// # Errors
    /// As [`Self::profiles`].
    pub async fn profile(&self, name: &str, progress: &Progress) -> Result<Option<DeviceProfile>> {
        let found = self.profiles_like(name, progress).await?;
        Ok(found.into_iter().find(|profile| profile.name() == name))
    }

    /// The device profile with this id, if there is one.
    ///
    /// # Errors
    /// As [`Self::profiles`].
    pub async fn profile_with_id(&self, id: &str, progress: &Progress) -> Result<Option<DeviceProfile>> {
        let raw = self.find(&format!("/api/deviceProfile/{}", encoded(id)), progress).await?;
        Ok(raw.map(|raw| DeviceProfile { raw }))
    }

    /// Those whose name holds `text`.
    async fn profiles_like(&self, text: &str, progress: &Progress) -> Result<Vec<DeviceProfile>> {
        let mut profiles = Vec::new();
        for number in 0..MOST_PAGES {
            let path = format!(
                "/api/deviceProfiles?pageSize={PAGE}&page={number}&sortProperty=name&sortOrder=ASC&textSearch={}",
                encoded(text)
            );
            let Page { data, has_next } = self.get(&path, progress).await?;
            profiles.extend(data.into_iter().map(|raw| DeviceProfile { raw }));
            if !has_next {
                return Ok(profiles);
            }
        }
        let message = format!("{} has more than {} device profiles", self.url(), PAGE * MOST_PAGES);
        Err(Error::new(ErrorCode::RestNotThingsBoard, message))
    }

    /// Makes a device profile with the transport `DEFAULT`, and reads it back.
    ///
    /// # Errors
    /// As [`Self::profiles`]; `rest/refused` when the name, the key or the authority is taken; `verify/not-stored` when
    /// the server has something else afterwards.
    pub async fn create_profile(&self, new: &NewProfile<'_>, progress: &Progress) -> Result<DeviceProfile> {
        let mut raw = Map::new();
        raw.insert("name".to_owned(), new.name.into());
        for member in ["type", "transportType"] {
            raw.insert(member.to_owned(), "DEFAULT".into());
        }
        let kind = json!({"type": "DEFAULT"});
        raw.insert(
            "profileData".to_owned(),
            json!({"configuration": kind, "transportConfiguration": kind, "alarms": null}),
        );
        self.save_profile(&DeviceProfile { raw }.with(new.provisioning), new.provisioning, progress).await
    }

    /// Gives a device profile, as it was read, another provisioning, and reads it back.
    ///
    /// # Errors
    /// As [`Self::create_profile`]; `rest/conflict` when it was changed meanwhile.
    pub async fn change_profile(
        &self,
        profile: &DeviceProfile,
        provisioning: &Provisioning,
        progress: &Progress,
    ) -> Result<DeviceProfile> {
        let changed = self.save_profile(&profile.with(provisioning), provisioning, progress).await;
        changed.map_err(|mut error| {
            if let Some(old) = profile.provision_secret() {
                error.message = hide(&error.message, &[&old]);
            }
            error
        })
    }

    async fn save_profile(
        &self,
        wanted: &DeviceProfile,
        provisioning: &Provisioning,
        progress: &Progress,
    ) -> Result<DeviceProfile> {
        let body = Value::Object(wanted.raw.clone());
        let saved = DeviceProfile { raw: self.post("/api/deviceProfile", &body, progress).await? };
        let Some(id) = saved.id() else {
            let why = "it saved a device profile, and gave no id for it";
            return Err(failure::not_thingsboard(self.url(), why));
        };
        let found = self.profile_with_id(id, progress).await?;
        match found.filter(|found| found.name() == wanted.name() && found.has(provisioning)) {
            Some(found) => Ok(found),
            None => {
                let name = shown(wanted.name());
                let message =
                    format!("{} saved the device profile '{name}' otherwise than it was given", self.url());
                Err(Error::new(ErrorCode::VerifyNotStored, message))
            }
        }
    }
}
