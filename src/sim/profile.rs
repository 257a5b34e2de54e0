//! A device profile of the tenant: how its devices are provisioned, and what ThingsBoard's REST API shows of it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::config::{Config, Strategy};
use super::name_pattern::NamePattern;
use super::release::Release;
use super::state::{ProfileKind, StoredProfile};
use super::uuid::Uuid;
use crate::secret::Secret;

/// The name of ThingsBoard's own profile, which every tenant has.
const DEFAULT_NAME: &str = "default";

/// The name of the profile that the simulator is started with.
const OWN_NAME: &str = "provisioned";

/// How a profile's devices are registered (`DeviceProfileProvisionType`).
#[derive(Debug, Clone)]
pub(super) enum Provisioning {
    Disabled,
    AllowCreate,
    PreProvisioned,
    /// The profile's key is the credentialsId of its authority.
    Chain {
        name_pattern: NamePattern,
        allow_create: bool,
    },
}

/// A device profile.
#[derive(Debug, Clone)]
pub(super) struct DeviceProfile {
    pub(super) id: Uuid,
    pub(super) version: u32,
    pub(super) kind: ProfileKind,
    pub(super) name: String,
    /// Unique among the profiles that have one.
    pub(super) key: Option<String>,
    pub(super) secret: Option<Secret>,
    pub(super) provisioning: Provisioning,
    /// Whether its devices may connect over MQTT.
    pub(super) takes_mqtt: bool,
    pub(super) release: Release,
    pub(super) document: Document,
}

/// What the REST API takes and shows of a profile, but for its id and version. It holds the secret.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Document(pub(super) Map<String, Value>);

impl fmt::Debug for Document {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[document]")
    }
}

impl Document {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    fn provisioning(&self, name: &str) -> Option<&Value> {
        self.0.get("profileData")?.get("provisionConfiguration")?.get(name)
    }
}

impl DeviceProfile {
    /// A profile as it is saved over REST, or in the state file.
    pub(super) fn new(id: Uuid, version: u32, document: Document, release: Release) -> Self {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let provisioning = match document.text("provisionType") {
            Some("ALLOW_CREATE_NEW_DEVICES") => Provisioning::AllowCreate,
            Some("CHECK_PRE_PROVISIONED_DEVICES") => Provisioning::PreProvisioned,
            Some("X509_CERTIFICATE_CHAIN") => {
                let pattern = text(document.provisioning("certificateRegExPattern")).unwrap_or_default();
                let allow_create = document.provisioning("allowCreateNewDevicesByX509Certificate");
                let allow_create = allow_create.and_then(Value::as_bool).unwrap_or(false);
                Provisioning::Chain { name_pattern: NamePattern::new(&pattern), allow_create }
            }
            _ => Provisioning::Disabled,
        };
        Self {
            id,
            version,
            kind: ProfileKind::Made,
            name: document.text("name").unwrap_or_default().to_owned(),
            key: document.text("provisionDeviceKey").map(str::to_owned),
            secret: text(document.provisioning("provisionDeviceSecret")).map(Secret::new),
            provisioning,
            takes_mqtt: matches!(document.text("transportType"), Some("DEFAULT" | "MQTT")),
            release,
            document,
        }
    }

    /// ThingsBoard's own profile.
    pub(super) fn default_of(id: Uuid, release: Release) -> Self {
        let configuration = json!({ "type": "DISABLED", "provisionDeviceSecret": null });
        let document = document(DEFAULT_NAME, "DISABLED", None, configuration);
        Self { kind: ProfileKind::Default, ..Self::new(id, 1, document, release) }
    }

    /// The profile that `config` asks for.
    pub(super) fn own(id: Uuid, config: &Config) -> Self {
        let key = own_key(config);
        let secret = config.provision_secret.expose();
        let (strategy, configuration) = match &config.strategy {
            Strategy::AllowCreate => ("ALLOW_CREATE_NEW_DEVICES", json!({ "provisionDeviceSecret": secret })),
            Strategy::PreProvisioned => {
                ("CHECK_PRE_PROVISIONED_DEVICES", json!({ "provisionDeviceSecret": secret }))
            }
            Strategy::Chain { authority, name_pattern, allow_create } => {
                let certificate = super::credentials::HeldCredentials::certificate(authority);
                let configuration = json!({
                    "provisionDeviceSecret": certificate.value(),
                    "certificateRegExPattern": name_pattern.as_str(),
                    "allowCreateNewDevicesByX509Certificate": allow_create,
                });
                ("X509_CERTIFICATE_CHAIN", configuration)
            }
        };
        let document = document(OWN_NAME, strategy, Some(&key), configuration);
        Self { kind: ProfileKind::Own, ..Self::new(id, 1, document, config.release) }
    }

    pub(super) fn restored(stored: StoredProfile, release: Release) -> Self {
        Self::new(stored.id, stored.version, stored.document, release)
    }

    /// Of the two profiles that every run has, the id alone is kept.
    pub(super) fn stored(&self) -> StoredProfile {
        let is_made = self.kind == ProfileKind::Made;
        let document = if is_made { self.document.clone() } else { Document::default() };
        StoredProfile { id: self.id, kind: self.kind, version: self.version, document }
    }
}

fn own_key(config: &Config) -> String {
    match &config.strategy {
        Strategy::Chain { authority, .. } => authority.credentials_id(),
        _ => config.provision_key.clone(),
    }
}

fn document(name: &str, strategy: &str, key: Option<&str>, mut configuration: Value) -> Document {
    if let Some(members) = configuration.as_object_mut() {
        members.insert("type".to_owned(), strategy.into());
    }
    let whole = json!({
        "name": name,
        "type": "DEFAULT",
        "transportType": "DEFAULT",
        "provisionType": strategy,
        "provisionDeviceKey": key,
        "profileData": {
            "configuration": { "type": "DEFAULT" },
            "transportConfiguration": { "type": "DEFAULT" },
            "provisionConfiguration": configuration,
            "alarms": null,
        },
    });
    match whole {
        Value::Object(members) => Document(members),
        _ => Document::default(),
    }
}
