//! What devices have sent, and their attributes (`TelemetryController`). Its own errors are plain text.

use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::accounts::Authority;
use super::answer::{Answer, FORBIDDEN, Outcome, Refusal, now};
use super::request::{Call, uuid};
use crate::sim::attributes::Attributes;
use crate::sim::device::RegisteredDevice;
use crate::sim::release::Release;
use crate::sim::storage::{Store, as_text};
use crate::sim::telemetry::{Telemetry, are_attributes};

/// How many values of a key are given where a call does not say it.
const USUAL_LIMIT: i64 = 100;

/// After so much silence a device is not active any more (`state.defaultInactivityTimeoutInSec`).
const INACTIVE_AFTER: i64 = 600_000;

fn find(call: &Call<'_>, id: &str) -> Result<Arc<RegisteredDevice>, Refusal> {
    let wanted = match uuid(id) {
        Err(_) if call.release() == Release::V3_2 => return Err(Refusal::Spring { status: 500 }),
        parsed => parsed?,
    };
    if call.user()?.authority != Authority::TenantAdmin {
        return Err(Refusal::Text { status: 403, message: FORBIDDEN.to_owned() });
    }
    let not_found =
        || Refusal::Text { status: 404, message: "Device with requested id wasn't found!".to_owned() };
    call.registry.device(wanted).ok_or_else(not_found)
}

pub(super) fn keys(call: &mut Call<'_>, id: &str) -> Outcome {
    let device = find(call, id)?;
    let keys = device.kept(|kept| kept.map(|kept| json!(kept.store.keys())));
    Ok(Answer::json(&keys.unwrap_or_else(|| json!([]))))
}

/// A range where keys and both times are given, else the latest values.
pub(super) fn values(call: &mut Call<'_>, id: &str) -> Outcome {
    let device = find(call, id)?;
    let query = &call.request.query;
    let strict = query.get("useStrictDataTypes") == Some("true");
    let names = query.names("keys");
    let answer = match (names, query.number("startTs")?, query.number("endTs")?) {
        (Some(names), Some(from), Some(to)) => {
            let limit = query.number("limit")?.unwrap_or(USUAL_LIMIT);
            let range = Range {
                from,
                to,
                limit: usize::try_from(limit).unwrap_or(0),
                is_ascending: query.get("orderBy").is_some_and(|order| order.eq_ignore_ascii_case("ASC")),
            };
            device.kept(|kept| kept.map(|kept| range.of(&kept.store, &names, strict)))
        }
        (names, ..) => {
            let empty = Store::default();
            Some(device.kept(|kept| latest(kept.map_or(&empty, |kept| &kept.store), names, strict)))
        }
    };
    Ok(Answer::json(&answer.unwrap_or_else(|| json!({}))))
}

fn latest(store: &Store, names: Option<Vec<&str>>, strict: bool) -> Value {
    let names = names.unwrap_or_else(|| store.keys().into_iter().collect());
    let value = |name: &str| match store.latest(name) {
        Some((ts, value)) => json!([shown(ts, value, strict)]),
        None => json!([{ "ts": now(), "value": null }]),
    };
    names.into_iter().map(|name| (name.to_owned(), value(name))).collect::<Map<_, _>>().into()
}

fn shown(ts: i64, value: &str, strict: bool) -> Value {
    let typed = || serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    json!({ "ts": ts, "value": if strict { typed() } else { as_text(value).into() } })
}

/// Which values of a time.
struct Range {
    from: i64,
    to: i64,
    limit: usize,
    is_ascending: bool,
}

impl Range {
    /// Keys without values are left out.
    fn of(&self, store: &Store, names: &[&str], strict: bool) -> Value {
        let shown = |(ts, value): (i64, &str)| shown(ts, value, strict);
        let mut answer = Map::new();
        for name in names {
            let values = store.range(name, self.from, self.to);
            let values: Vec<_> = match self.is_ascending {
                true => values.take(self.limit).map(shown).collect(),
                false => values.rev().take(self.limit).map(shown).collect(),
            };
            if !values.is_empty() {
                answer.insert((*name).to_owned(), values.into());
            }
        }
        answer.into()
    }
}

/// The attributes of a scope, or of all.
pub(super) fn attributes(call: &mut Call<'_>, id: &str, scope: Option<&str>) -> Outcome {
    let scopes = ["CLIENT_SCOPE", "SERVER_SCOPE", "SHARED_SCOPE"];
    if let Some(scope) = scope
        && !scopes.contains(&scope)
    {
        check_scope(call.release(), scope)?;
    }
    let device = find(call, id)?;
    let names = call.request.query.names("keys");
    let is_wanted = |name: &str| names.as_ref().is_none_or(|names| names.contains(&name));
    let is_of = |wanted: &str| scope.is_none_or(|scope| scope == wanted);
    let mut found = Vec::new();
    if is_of("SERVER_SCOPE") {
        found.extend(server_attributes(&device, call.release()));
        device.kept(|kept| kept.map(|kept| found.extend(all(&kept.server_attributes))));
    }
    if is_of("CLIENT_SCOPE") {
        device.kept(|kept| kept.map(|kept| found.extend(all(&kept.attributes))));
    }
    let wanted = found.into_iter().filter(|(_, name, _)| is_wanted(name));
    let shown = |(at, key, value)| json!({ "lastUpdateTs": at, "key": key, "value": value });
    Ok(Answer::json(&wanted.map(shown).collect()))
}

/// From 3.8 on a scope that there is not is an error; before, it has no attributes.
fn check_scope(release: Release, scope: &str) -> Result<(), Refusal> {
    let kind = "org.thingsboard.server.common.data.AttributeScope";
    let why =
        format!("Failed to convert value of type 'java.lang.String' to required type '{kind}'; [{scope}]");
    let parameter = "Method parameter 'scope'";
    match release {
        Release::V3_2 | Release::V3_4 | Release::V3_6 => Ok(()),
        Release::V3_8 => Err(Refusal::failed(why)),
        Release::V4_0 => Err(Refusal::failed(format!("{parameter}: {why}"))),
        Release::V4_3 => Err(Refusal::bad(format!("{parameter}: {why}"))),
    }
}

fn all(attributes: &Attributes) -> Vec<(i64, String, Value)> {
    let typed = |value: &str| serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    attributes.iter().map(|(name, at, value)| (at, name.to_owned(), typed(value))).collect()
}

/// What ThingsBoard itself knows of a device (`DefaultDeviceStateService`, `DeviceProvisionServiceImpl`).
fn server_attributes(device: &RegisteredDevice, release: Release) -> Vec<(i64, String, Value)> {
    let activity = device.activity();
    let created = device.id.created();
    let mut known = Vec::new();
    let mut add = |name: &str, at: i64, value: Value| known.push((at, name.to_owned(), value));
    if release >= Release::V3_4 || activity.active.is_some() {
        add("active", activity.active.unwrap_or(created), is_active(device).into());
    }
    let times = [
        ("lastConnectTime", activity.connected),
        ("lastDisconnectTime", activity.disconnected),
        ("lastActivityTime", activity.active),
    ];
    for (name, at) in times {
        if let Some(at) = at {
            add(name, at, at.into());
        }
    }
    if device.is_provisioned() {
        add("provisionState", created, "provisioned".into());
    }
    known
}

/// Whether the device did something lately.
pub(super) fn is_active(device: &RegisteredDevice) -> bool {
    device.activity().active.is_some_and(|at| now() - at < INACTIVE_AFTER)
}

/// Telemetry in the device's name.
pub(super) fn save(call: &mut Call<'_>, id: &str) -> Outcome {
    let device = find(call, id)?;
    let body = String::from_utf8_lossy(&call.request.body);
    match Telemetry::read(&body, now(), call.release()) {
        Telemetry::Readings(readings) => {
            device.store(&readings, call.server().keep);
            Ok(Answer::empty())
        }
        Telemetry::Nothing => Err(bad("No timeseries data found in request body!")),
        Telemetry::Undecodable => Err(bad("Unable to parse timeseries payload: Invalid JSON body!")),
    }
}

/// Attributes that somebody gives to the device. Those of the scope of clients are the device's own.
pub(super) fn save_attributes(call: &mut Call<'_>, id: &str, scope: &str) -> Outcome {
    let device = find(call, id)?;
    let body = String::from_utf8_lossy(&call.request.body);
    if scope != "SERVER_SCOPE" {
        return Err(bad("Invalid scope: the simulator takes SERVER_SCOPE alone"));
    }
    let is_json = serde_json::from_str::<&RawValue>(&body).is_ok();
    if !is_json || !are_attributes(&body, call.release()) {
        return Err(bad("Invalid JSON body!"));
    }
    device.set_server_attributes(&body, now());
    Ok(Answer::empty())
}

fn bad(message: &str) -> Refusal {
    Refusal::Text { status: 400, message: message.to_owned() }
}
