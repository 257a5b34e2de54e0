//! The credentials of devices (`DeviceController.updateDeviceCredentials`, `DeviceCredentialsServiceImpl`).

use serde_json::{Map, Value, json};

use super::answer::{Answer, Outcome, Refusal};
use super::devices::{find, not_saved};
use super::profiles::check_version;
use super::request::{Call, check_enum, reference, text, uuid};
use crate::identity::{BasicCredentials, CredentialsType};
use crate::secret::Secret;
use crate::sim::credentials::HeldCredentials;
use crate::sim::device::RegisteredDevice;
use crate::sim::fault::Fault;
use crate::sim::release::Release;

const KINDS: [&str; 4] = ["LWM2M_CREDENTIALS", "MQTT_BASIC", "ACCESS_TOKEN", "X509_CERTIFICATE"];

pub(super) fn get(call: &mut Call<'_>, id: &str) -> Outcome {
    let wanted = uuid(id)?;
    call.check_tenant()?;
    let device = find(call, wanted, id)?;
    Ok(Answer::json(&shown(&device, call.release())))
}

/// The credentials of the device as they are now. Its live session is closed.
pub(super) fn save(call: &mut Call<'_>) -> Outcome {
    let body = call.json()?;
    check_kind(&body)?;
    call.check_tenant()?;
    let release = call.release();
    let device = reference(&body, "deviceId")?.ok_or_else(|| match release.checks_missing_members() {
        true => Refusal::bad("Invalid entity id"),
        false => Refusal::bad("Incorrect deviceId null"),
    })?;
    let device = find(call, device, &device.to_string())?;
    match reference(&body, "id")? {
        None => return Err(Refusal::bad("Credentials for this device are already specified!")),
        Some(id) if id != device.id.sibling() => {
            return Err(Refusal::bad("Unable to update non-existent device credentials!"));
        }
        Some(_) => {}
    }
    let credentials = read_credentials(&body)?;
    check_version(&body, device.versions[1], "Entity", release)?;
    if call.server().injector.has(Fault::RestNotApplied) {
        call.peer.tell(Fault::RestNotApplied);
        return Ok(Answer::json(&shown(&device.with_credentials(credentials), release)));
    }
    let is_same = credentials == device.credentials;
    let changed = call.registry.replace(&device, credentials).map_err(not_saved)?;
    if !is_same || release.ends_sessions_of_the_same_credentials() {
        call.server().sessions.end(&device.name, "the device has other credentials");
    }
    Ok(Answer::json(&shown(&changed, release)))
}

fn check_kind(body: &Map<String, Value>) -> Result<(), Refusal> {
    let kind = "org.thingsboard.server.common.data.security.DeviceCredentialsType";
    check_enum(body, "credentialsType", kind, &KINDS)
}

/// The credentials of a body, checked and formatted as `DeviceCredentialsServiceImpl` does.
pub(super) fn read_credentials(body: &Map<String, Value>) -> Result<HeldCredentials, Refusal> {
    check_kind(body)?;
    match text(body, "credentialsType") {
        Some("ACCESS_TOKEN") => match text(body, "credentialsId") {
            Some(token) if !token.is_empty() => Ok(HeldCredentials::Token(Secret::new(token))),
            _ => Err(Refusal::bad("Device credentials id should be specified!")),
        },
        Some("X509_CERTIFICATE") => match text(body, "credentialsValue") {
            Some(value) => Ok(HeldCredentials::certificate_text(value)),
            None => Err(Refusal::failed(
                "Cannot invoke \"String.replaceAll(String, String)\" because \"input\" is null",
            )),
        },
        Some("MQTT_BASIC") => basic(text(body, "credentialsValue").unwrap_or_default()),
        Some("LWM2M_CREDENTIALS") => Err(Refusal::bad("LwM2M credentials are not simulated")),
        _ => Err(Refusal::bad("Device credentials type should be specified!")),
    }
}

fn basic(value: &str) -> Result<HeldCredentials, Refusal> {
    let parsed: Map<String, Value> = serde_json::from_str(value)
        .map_err(|_| Refusal::bad("Invalid credentials body for simple mqtt credentials!"))?;
    let member = |name: &str| text(&parsed, name).unwrap_or_default().to_owned();
    let basic = BasicCredentials {
        client_id: member("clientId"),
        user_name: member("userName"),
        password: Secret::new(member("password")),
    };
    if basic.client_id.is_empty() && basic.user_name.is_empty() {
        return Err(Refusal::bad("Both mqtt client id and user name are empty!"));
    }
    Ok(HeldCredentials::Basic(basic))
}

fn shown(device: &RegisteredDevice, release: Release) -> Value {
    let kind = match device.credentials.credentials_type() {
        CredentialsType::AccessToken => "ACCESS_TOKEN",
        CredentialsType::MqttBasic => "MQTT_BASIC",
        CredentialsType::X509 => "X509_CERTIFICATE",
    };
    let mut shown = json!({
        "id": { "id": device.id.sibling() },
        "createdTime": device.id.created(),
        "deviceId": { "entityType": "DEVICE", "id": device.id },
        "credentialsType": kind,
        "credentialsId": device.credentials.lookup_id(),
        "credentialsValue": device.credentials.value(),
    });
    if release.counts_versions() {
        shown["version"] = device.versions[1].into();
    }
    shown
}
