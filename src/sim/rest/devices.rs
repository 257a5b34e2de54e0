//! Devices (`DeviceController`, `DeviceServiceImpl`).

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::answer::{Answer, Outcome, Refusal};
use super::credentials::read_credentials;
use super::names::check_name;
use super::profiles::check_version;
use super::request::{Call, Page, reference, text, uuid};
use super::telemetry::is_active;
use crate::secret::Secret;
use crate::sim::credentials::HeldCredentials;
use crate::sim::device::RegisteredDevice;
use crate::sim::profile::{DeviceProfile, Document};
use crate::sim::registry::NotCreated;
use crate::sim::release::Release;
use crate::sim::uuid::Uuid;

pub(super) const DELETED: &str = "the device was deleted";

/// What REST says where a device cannot be saved.
pub(super) fn not_saved(why: NotCreated) -> Refusal {
    match why {
        NotCreated::NameTaken => Refusal::bad("Device with such name already exists!"),
        NotCreated::CredentialsTaken => {
            Refusal::bad("Device credentials are already assigned to another device!")
        }
        NotCreated::Deleted => Refusal::not_found(),
        NotCreated::NotSaved(why) => Refusal::failed(why),
    }
}

/// The device of this id; `shown` is the id as it came.
pub(super) fn find(call: &Call<'_>, id: Uuid, shown: &str) -> Result<Arc<RegisteredDevice>, Refusal> {
    call.registry.device(id).ok_or_else(|| Refusal::no_entity(call.release(), "Device", shown))
}

pub(super) fn save(call: &mut Call<'_>) -> Outcome {
    let body = call.json()?;
    call.check_tenant()?;
    let known = reference(&body, "id")?.map(|id| find(call, id, &id.to_string())).transpose()?;
    let wanted = Wanted::read(call, &body)?;
    let device = match known {
        Some(known) => {
            check_version(&body, known.versions[0], "Device", call.release())?;
            wanted.change(call, &known)?
        }
        None => {
            let token = call.request.query.get("accessToken").filter(|token| !token.is_empty());
            let credentials = match token {
                Some(token) => HeldCredentials::Token(Secret::new(token)),
                None => HeldCredentials::random_token().map_err(|error| Refusal::failed(error.message))?,
            };
            wanted.create(call, credentials)?
        }
    };
    Ok(Answer::json(&shown(call, &device)?))
}

/// At 3.4 a name that is taken gives the device that has it other credentials, and 200.
pub(super) fn save_with_credentials(call: &mut Call<'_>) -> Outcome {
    let body = call.json()?;
    call.check_tenant()?;
    let member = |name: &str| body.get(name).and_then(Value::as_object);
    let (Some(device), Some(credentials)) = (member("device"), member("credentials")) else {
        let missing = if member("device").is_none() { "device" } else { "credentials" };
        return Err(match call.release().checks_missing_members() {
            true => Refusal::bad(format!("Validation error: {missing} must not be null")),
            false => Refusal::not_found(),
        });
    };
    let wanted = Wanted::read(call, device)?;
    let credentials = read_credentials(credentials)?;
    let taken = call.registry.named(&wanted.name).filter(|_| call.release().reuses_devices_of_the_name());
    let device = match taken {
        Some(known) => {
            let changed = call.registry.replace(&known, credentials).map_err(not_saved)?;
            call.server().sessions.end(&known.name, "the device has other credentials");
            changed
        }
        None => wanted.create(call, credentials)?,
    };
    Ok(Answer::json(&shown(call, &device)?))
}

/// What a body says of a device.
struct Wanted {
    name: String,
    label: Option<Box<str>>,
    is_gateway: bool,
    profile: Uuid,
}

impl Wanted {
    fn read(call: &mut Call<'_>, body: &Map<String, Value>) -> Result<Self, Refusal> {
        let name = check_name(text(body, "name"), "Device", call.release())?.to_owned();
        let profile = match (reference(body, "deviceProfileId")?, text(body, "type")) {
            (Some(id), _) => {
                let known = call.registry.profiles.get(id).map(|profile| profile.id);
                known.ok_or_else(|| Refusal::bad("Device is referencing non existing device profile!"))?
            }
            (None, Some(kind)) if !kind.is_empty() => of_type(call, kind)?,
            (None, _) => call.registry.profiles.default().id,
        };
        let additional = body.get("additionalInfo").and_then(|info| info.get("gateway"));
        Ok(Self {
            name,
            label: text(body, "label").map(Into::into),
            is_gateway: additional.and_then(Value::as_bool).unwrap_or(false),
            profile,
        })
    }

    fn create(
        self,
        call: &mut Call<'_>,
        credentials: HeldCredentials,
    ) -> Result<Arc<RegisteredDevice>, Refusal> {
        let device = RegisteredDevice::new(self.name, credentials, self.is_gateway, false);
        let device = device.labelled(self.label).of_profile(self.profile);
        call.registry.create(device).map_err(not_saved)
    }

    fn change(self, call: &mut Call<'_>, known: &RegisteredDevice) -> Result<Arc<RegisteredDevice>, Refusal> {
        let is_renamed = *known.name != *self.name;
        let mut changed = known.copy().labelled(self.label).of_profile(self.profile);
        changed.name = self.name.into();
        changed.gateway = self.is_gateway;
        changed.versions[0] = changed.versions[0].saturating_add(1);
        let changed = call.registry.change(known, changed).map_err(not_saved)?;
        if is_renamed {
            // Sessions are known by name here; a device that is renamed has to connect again.
            call.server().sessions.end(&known.name, "the device has another name");
        }
        Ok(changed)
    }
}

/// A type is the name of a profile, which is made where there is none (`findOrCreateDeviceProfile`).
fn of_type(call: &mut Call<'_>, kind: &str) -> Result<Uuid, Refusal> {
    if let Some(profile) = call.registry.profiles.named(kind) {
        return Ok(profile.id);
    }
    let mut document: Document = call.registry.profiles.default().document.clone();
    document.0.insert("name".to_owned(), kind.into());
    let profile = DeviceProfile::new(call.registry.next_id(), 1, document, call.release());
    let made = call.registry.save_profile(profile).map_err(|error| Refusal::failed(error.message))?;
    Ok(made.id)
}

fn shown(call: &Call<'_>, device: &RegisteredDevice) -> Result<Value, Refusal> {
    let release = call.release();
    let profile = call.registry.profiles.get(device.profile);
    let mut shown = json!({
        "id": { "entityType": "DEVICE", "id": device.id },
        "createdTime": device.id.created(),
        "additionalInfo": device.gateway.then(|| json!({ "gateway": true })),
        "tenantId": { "entityType": "TENANT", "id": call.accounts()?.tenant },
        "customerId": { "entityType": "CUSTOMER", "id": Uuid::NULL },
        "name": &*device.name,
        "type": profile.map(|profile| profile.name.as_str()),
        "label": device.label,
        "deviceProfileId": { "entityType": "DEVICE_PROFILE", "id": device.profile },
        "deviceData": {
            "configuration": { "type": "DEFAULT" },
            "transportConfiguration": { "type": "DEFAULT" },
        },
    });
    if release >= Release::V3_4 {
        for member in ["firmwareId", "softwareId", "externalId"] {
            shown[member] = Value::Null;
        }
    }
    if release.counts_versions() {
        shown["version"] = device.versions[0].into();
    }
    Ok(shown)
}

fn shown_info(call: &Call<'_>, device: &RegisteredDevice) -> Result<Value, Refusal> {
    let mut shown = shown(call, device)?;
    shown["customerTitle"] = Value::Null;
    shown["customerIsPublic"] = false.into();
    shown["deviceProfileName"] = shown["type"].clone();
    if call.release() >= Release::V3_6 {
        shown["active"] = is_active(device).into();
    }
    Ok(shown)
}

pub(super) fn get(call: &mut Call<'_>, id: &str) -> Outcome {
    let wanted = uuid(id)?;
    call.check_tenant()?;
    let device = find(call, wanted, id)?;
    Ok(Answer::json(&shown(call, &device)?))
}

pub(super) fn info(call: &mut Call<'_>, id: &str) -> Outcome {
    let wanted = uuid(id)?;
    call.check_tenant()?;
    let device = find(call, wanted, id)?;
    Ok(Answer::json(&shown_info(call, &device)?))
}

/// Up to 4.2 what has neither a name nor a page is taken for `GET /api/tenant/{tenantId}`.
pub(super) fn named_or_list(call: &mut Call<'_>) -> Outcome {
    if let Some(name) = call.request.query.get("deviceName") {
        call.check_tenant()?;
        let device = call.registry.named(name).ok_or_else(Refusal::not_found)?;
        return Ok(Answer::json(&shown(call, &device)?));
    }
    let missing = || match call.release().maps_by_path_alone() {
        true => Page::missing(call.release()),
        false => Refusal::bad("Invalid UUID string: devices"),
    };
    list(call, &missing, shown)
}

pub(super) fn list_infos(call: &mut Call<'_>) -> Outcome {
    let release = call.release();
    list(call, &|| Page::missing(release), shown_info)
}

fn list(
    call: &Call<'_>,
    missing: &dyn Fn() -> Refusal,
    shown: impl Fn(&Call<'_>, &RegisteredDevice) -> Result<Value, Refusal>,
) -> Outcome {
    let page = Page::read(&call.request.query)?.ok_or_else(missing)?;
    call.check_tenant()?;
    let profile = call.request.query.get("deviceProfileId").filter(|id| !id.is_empty());
    let profile = profile.map(uuid).transpose()?;
    let kind = call.request.query.get("type").filter(|kind| !kind.is_empty());
    let kind =
        kind.map(|kind| call.registry.profiles.named(kind).map_or_else(Uuid::default, |known| known.id));
    let is_wanted = |device: &&Arc<RegisteredDevice>| {
        page.wants(&device.name)
            && [profile, kind].into_iter().flatten().all(|wanted| device.profile == wanted)
    };
    let wanted = call.registry.devices().filter(is_wanted);
    Ok(Answer::json(&page.of(wanted, |device| shown(call, device).unwrap_or_default())))
}

pub(super) fn delete(call: &mut Call<'_>, id: &str) -> Outcome {
    let wanted = uuid(id)?;
    call.check_tenant()?;
    let device = find(call, wanted, id)?;
    call.registry.delete(&device).map_err(|error| Refusal::failed(error.message))?;
    call.server().sessions.end(&device.name, DELETED);
    Ok(Answer::empty())
}
