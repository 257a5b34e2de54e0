//! Device profiles (`DeviceProfileController`, `DeviceProfileServiceImpl`, `DeviceProfileDataValidator`).

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::answer::{Answer, Outcome, Refusal};
use super::names::check_name;
use super::request::{Call, Page, check_enum, reference, text, unreadable, uuid};
use crate::sim::credentials::HeldCredentials;
use crate::sim::profile::{DeviceProfile, Document};
use crate::sim::release::Release;
use crate::sim::state::ProfileKind;
use crate::sim::uuid::Uuid;

/// How many profiles a tenant has at the most; ThingsBoard has no such bound.
const MOST: usize = 1_000;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// What a profile refers to, and what only ThingsBoard's web page shows: kept as it comes.
const KEPT: [&str; 11] = [
    "description",
    "image",
    "defaultRuleChainId",
    "defaultDashboardId",
    "defaultQueueName",
    "firmwareId",
    "softwareId",
    "defaultEdgeRuleChainId",
    "externalId",
    "type",
    "transportType",
];

pub(super) fn save(call: &mut Call<'_>) -> Outcome {
    let body = call.json()?;
    let release = call.release();
    check_enums(&body, release)?;
    call.check_tenant()?;
    let id = reference(&body, "id")?;
    let known = id.map(|id| find(call, id, &id.to_string())).transpose()?;
    let document = read(&body, release)?;
    if let Some(known) = &known {
        check_version(&body, known.version, "Device profile", release)?;
    }
    check_unique(call, &document, known.as_ref())?;
    let profile = match known {
        Some(known) => DeviceProfile {
            kind: known.kind,
            ..DeviceProfile::new(known.id, known.version.saturating_add(1), document, release)
        },
        None if call.registry.profiles.iter().count() >= MOST => {
            return Err(Refusal::coded(403, 41, "Device profiles limit reached"));
        }
        None => DeviceProfile::new(call.registry.next_id(), 1, document, release),
    };
    let saved = call.registry.save_profile(profile).map_err(|error| Refusal::failed(error.message))?;
    Ok(Answer::json(&shown(call, &saved)?))
}

fn check_enums(body: &Map<String, Value>, release: Release) -> Result<(), Refusal> {
    let chain: &[&str] = if release.has_chain_strategy() { &["X509_CERTIFICATE_CHAIN"] } else { &[] };
    let strategies = ["ALLOW_CREATE_NEW_DEVICES", "DISABLED", "CHECK_PRE_PROVISIONED_DEVICES"];
    let strategies = [chain, &strategies].concat();
    let of = |name: &str| format!("org.thingsboard.server.common.data.{name}");
    check_enum(body, "provisionType", &of("DeviceProfileProvisionType"), &strategies)?;
    check_enum(body, "type", &of("DeviceProfileType"), &["DEFAULT"])?;
    let transports = ["DEFAULT", "MQTT", "COAP", "LWM2M", "SNMP"];
    check_enum(body, "transportType", &of("DeviceTransportType"), &transports)?;
    let configuration = body.get("profileData").and_then(|data| data.get("provisionConfiguration"));
    match configuration.and_then(Value::as_object) {
        Some(configuration) => {
            check_enum(configuration, "type", &of("DeviceProfileProvisionType"), &strategies)
        }
        None => Ok(()),
    }
}

/// What is kept of a body, in ThingsBoard's order of checks. Members that it does not know are dropped.
fn read(body: &Map<String, Value>, release: Release) -> Result<Document, Refusal> {
    let name = check_name(text(body, "name"), "Device profile", release)?;
    for (member, what) in [("type", "type"), ("transportType", "transport type")] {
        if text(body, member).is_none() {
            return Err(Refusal::bad(format!("Device profile {what} should be specified!")));
        }
    }
    let data = body.get("profileData").and_then(Value::as_object).ok_or_else(no_profile_data)?;
    let strategy = text(body, "provisionType").unwrap_or("DISABLED");
    let mut key = body.get("provisionDeviceKey").cloned().unwrap_or_default();
    let mut configuration = configuration(data)?;
    if strategy == "X509_CERTIFICATE_CHAIN" {
        let secret = configuration.get("provisionDeviceSecret").and_then(Value::as_str);
        let null = || Refusal::failed("Cannot invoke \"String.length()\" because \"input\" is null");
        let (authority, cleaned) = authority(secret.ok_or_else(null)?);
        key = HeldCredentials::certificate_text(authority).lookup_id().into();
        configuration["provisionDeviceSecret"] = cleaned.into();
    }
    let of_body = |member: &str| (member.to_owned(), body.get(member).cloned().unwrap_or_default());
    let of_data = |member: &str| data.get(member).cloned().unwrap_or_default();
    let mut kept: Map<_, _> = KEPT.into_iter().map(of_body).collect();
    kept.insert("name".to_owned(), name.into());
    kept.insert("provisionType".to_owned(), strategy.into());
    kept.insert("provisionDeviceKey".to_owned(), key);
    let profile_data = json!({
        "configuration": of_data("configuration"),
        "transportConfiguration": of_data("transportConfiguration"),
        "provisionConfiguration": configuration,
        "alarms": of_data("alarms"),
    });
    kept.insert("profileData".to_owned(), profile_data);
    Ok(Document(kept))
}

fn no_profile_data() -> Refusal {
    let package = "org.thingsboard.server.common.data";
    let getter = format!("{package}.device.profile.DeviceProfileData.getTransportConfiguration()");
    let null = format!("{package}.DeviceProfile.getProfileData()");
    Refusal::failed(format!("Cannot invoke \"{getter}\" because the return value of \"{null}\" is null"))
}

/// The members of a strategy's configuration (`DeviceProfileProvisionConfiguration`); null where there is none.
fn configuration(data: &Map<String, Value>) -> Result<Value, Refusal> {
    let Some(given) = data.get("provisionConfiguration").and_then(Value::as_object) else {
        return Ok(Value::Null);
    };
    let Some(kind) = text(given, "type") else {
        return Err(unreadable("Could not resolve subtype: missing type id property 'type'"));
    };
    let member = |name: &str| given.get(name).cloned().unwrap_or_default();
    let mut kept = json!({ "type": kind, "provisionDeviceSecret": member("provisionDeviceSecret") });
    if kind == "X509_CERTIFICATE_CHAIN" {
        kept["certificateRegExPattern"] = member("certificateRegExPattern");
        let allows = member("allowCreateNewDevicesByX509Certificate").as_bool().unwrap_or(false);
        kept["allowCreateNewDevicesByX509Certificate"] = allows.into();
    }
    Ok(kept)
}

/// The first certificate of what was pasted, and all of it as it is stored: one certificate without its markers,
/// several as they are, both without line ends (`DeviceProfileServiceImpl.formatDeviceProfileCertificate`).
fn authority(pasted: &str) -> (&str, String) {
    let cleaned = pasted.replace(['\r', '\n'], "");
    let first = pasted.find(BEGIN).and_then(|begin| {
        let behind = pasted.get(begin..)?;
        behind.get(..behind.find(END)? + END.len())
    });
    match first {
        Some(first) if pasted.matches(BEGIN).count() > 1 => (first, cleaned),
        Some(first) => (first, cleaned.replace(BEGIN, "").replace(END, "")),
        None => (pasted, cleaned),
    }
}

/// A version that is not that of the entity means that somebody else has changed it; none fits any.
pub(super) fn check_version(
    body: &Map<String, Value>,
    version: u32,
    what: &str,
    release: Release,
) -> Result<(), Refusal> {
    match body.get("version").and_then(Value::as_u64) {
        Some(given) if release.counts_versions() && given != u64::from(version) => {
            Err(Refusal::conflict(what))
        }
        _ => Ok(()),
    }
}

/// The unique keys of the database: `device_profile_name_unq_key`, `device_provision_key_unq_key`.
fn check_unique(
    call: &Call<'_>,
    document: &Document,
    known: Option<&Arc<DeviceProfile>>,
) -> Result<(), Refusal> {
    let is_other = |found: &&Arc<DeviceProfile>| known.is_none_or(|known| known.id != found.id);
    let profiles = &call.registry.profiles;
    let named = document.text("name").and_then(|name| profiles.named(name)).filter(is_other);
    if named.is_some() {
        return Err(Refusal::bad("Device profile with such name already exists!"));
    }
    let keyed = document.text("provisionDeviceKey").and_then(|key| profiles.with_key(key)).filter(is_other);
    match (keyed, document.text("provisionType")) {
        (None, _) => Ok(()),
        (Some(_), Some("X509_CERTIFICATE_CHAIN")) => {
            Err(Refusal::bad("Device profile with such certificate already exists!"))
        }
        (Some(_), _) => Err(Refusal::bad("Device profile with such provision device key already exists!")),
    }
}

fn find(call: &Call<'_>, id: Uuid, shown: &str) -> Result<Arc<DeviceProfile>, Refusal> {
    let found = call.registry.profiles.get(id).cloned();
    found.ok_or_else(|| Refusal::no_entity(call.release(), "Device profile", shown))
}

fn shown(call: &Call<'_>, profile: &DeviceProfile) -> Result<Value, Refusal> {
    let release = call.release();
    let member = |name: &str| profile.document.0.get(name).cloned().unwrap_or_default();
    let mut shown = json!({
        "id": { "entityType": "DEVICE_PROFILE", "id": profile.id },
        "createdTime": profile.id.created(),
        "tenantId": { "entityType": "TENANT", "id": call.accounts()?.tenant },
        "default": profile.kind == ProfileKind::Default,
    });
    let always = [
        "name",
        "description",
        "type",
        "transportType",
        "provisionType",
        "defaultRuleChainId",
        "defaultQueueName",
        "provisionDeviceKey",
        "profileData",
    ];
    let from_3_4: &[&str] = &["image", "defaultDashboardId", "firmwareId", "softwareId", "externalId"];
    let from_3_4 = if release >= Release::V3_4 { from_3_4 } else { &[] };
    let from_3_6: &[&str] = if release >= Release::V3_6 { &["defaultEdgeRuleChainId"] } else { &[] };
    for name in always.iter().chain(from_3_4).chain(from_3_6) {
        shown[*name] = member(name);
    }
    if release.counts_versions() {
        shown["version"] = profile.version.into();
    }
    Ok(shown)
}

fn shown_info(call: &Call<'_>, profile: &DeviceProfile) -> Result<Value, Refusal> {
    let release = call.release();
    let mut shown = json!({
        "id": { "entityType": "DEVICE_PROFILE", "id": profile.id },
        "name": profile.name,
        "type": profile.document.text("type"),
        "transportType": profile.document.text("transportType"),
    });
    if release >= Release::V3_4 {
        for member in ["image", "defaultDashboardId"] {
            shown[member] = profile.document.0.get(member).cloned().unwrap_or_default();
        }
    }
    if release >= Release::V3_6 {
        shown["tenantId"] = json!({ "entityType": "TENANT", "id": call.accounts()?.tenant });
    }
    Ok(shown)
}

pub(super) fn get(call: &mut Call<'_>, id: &str) -> Outcome {
    let wanted = uuid(id)?;
    call.check_tenant()?;
    let profile = find(call, wanted, id)?;
    Ok(Answer::json(&shown(call, &profile)?))
}

pub(super) fn info(call: &mut Call<'_>, id: &str) -> Outcome {
    let wanted = uuid(id)?;
    call.check_tenant()?;
    let profile = find(call, wanted, id)?;
    Ok(Answer::json(&shown_info(call, &profile)?))
}

pub(super) fn default_info(call: &mut Call<'_>) -> Outcome {
    call.check_tenant()?;
    Ok(Answer::json(&shown_info(call, call.registry.profiles.default())?))
}

pub(super) fn list(call: &mut Call<'_>) -> Outcome {
    page(call, shown)
}

pub(super) fn list_infos(call: &mut Call<'_>) -> Outcome {
    page(call, shown_info)
}

fn page(call: &Call<'_>, shown: impl Fn(&Call<'_>, &DeviceProfile) -> Result<Value, Refusal>) -> Outcome {
    let page = Page::read(&call.request.query)?.ok_or_else(|| Page::missing(call.release()))?;
    call.check_tenant()?;
    let wanted = call.registry.profiles.iter().filter(|profile| page.wants(&profile.name));
    Ok(Answer::json(&page.of(wanted, |profile| shown(call, profile).unwrap_or_default())))
}

pub(super) fn names(call: &mut Call<'_>) -> Outcome {
    call.check_tenant()?;
    let name = |profile: &Arc<DeviceProfile>| json!({ "id": { "entityType": "DEVICE_PROFILE", "id": profile.id }, "name": profile.name });
    let mut profiles: Vec<_> = call.registry.profiles.iter().collect();
    profiles.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Answer::json(&profiles.into_iter().map(name).collect()))
}

pub(super) fn delete(call: &mut Call<'_>, id: &str) -> Outcome {
    let wanted = uuid(id)?;
    call.check_tenant()?;
    let profile = find(call, wanted, id)?;
    if profile.kind == ProfileKind::Default {
        return Err(Refusal::bad("Deletion of Default Device Profile is prohibited!"));
    }
    // Without it the simulator would have no profile to be started with.
    if profile.kind == ProfileKind::Own || call.registry.devices().any(|device| device.profile == wanted) {
        return Err(Refusal::bad("The device profile referenced by the devices cannot be deleted!"));
    }
    call.registry.delete_profile(wanted).map_err(|error| Refusal::failed(error.message))?;
    Ok(Answer::empty())
}
