//! Which call is which: one match on the method and the parts of the path.

use super::answer::{Outcome, Refusal};
use super::request::Call;
use super::{credentials, devices, login, profiles, telemetry};
use crate::sim::release::Release;

/// Whether nobody needs to log in for it.
pub(super) fn is_open(segments: &[&str], release: Release) -> bool {
    match segments {
        ["api", "auth", "login" | "token"] | ["api", "noauth", ..] => true,
        ["api", "device-connectivity", "mqtts", "certificate", "download"] => release.gives_certificate(),
        ["api", ..] => false,
        _ => true,
    }
}

/// Whether it may change something beside tokens.
pub(super) fn changes(method: &hyper::Method, segments: &[&str]) -> bool {
    *method != hyper::Method::GET && !matches!(segments, ["api", "auth", ..])
}

/// Answers a call.
pub(super) fn answer(call: &mut Call<'_>) -> Outcome {
    let release = call.release();
    let request = call.request;
    let segments = request.segments(release);
    match (request.method.as_str(), segments.as_slice()) {
        (_, ["api", .., ""]) => Err(no_path(&segments)),
        ("POST", ["api", "auth", "login"]) => login::log_in(call),
        (_, ["api", "auth", "login"]) => Err(Refusal::unauthorized("Authentication method not supported")),
        ("POST", ["api", "auth", "token"]) => login::refresh(call),
        (_, ["api", "auth", "token"]) => Err(Refusal::unauthorized("Authentication method not supported")),
        ("POST", ["api", "auth", "logout"]) => login::log_out(call),
        ("GET", ["api", "auth", "user"]) => login::user(call),
        ("GET", ["api", "system", "info"]) if release.tells_its_version() => login::system_info(call),
        ("GET", ["api", "device-connectivity", "mqtts", "certificate", "download"])
            if release.gives_certificate() =>
        {
            login::certificate(call)
        }
        ("POST", ["api", "apiKey"]) if release.has_api_keys() => login::create_key(call),
        ("DELETE", ["api", "apiKey", id]) if release.has_api_keys() => login::delete_key(call, id),

        ("POST", ["api", "deviceProfile"]) => profiles::save(call),
        ("GET", ["api", "deviceProfile", "names"]) if release.lists_profile_names() => profiles::names(call),
        ("GET", ["api", "deviceProfile", id]) => profiles::get(call, id),
        ("DELETE", ["api", "deviceProfile", id]) => profiles::delete(call, id),
        ("GET", ["api", "deviceProfiles"]) => profiles::list(call),
        ("GET", ["api", "deviceProfileInfos"]) => profiles::list_infos(call),
        ("GET", ["api", "deviceProfileInfo", "default"]) => profiles::default_info(call),
        ("GET", ["api", "deviceProfileInfo", id]) => profiles::info(call, id),

        ("POST", ["api", "device"]) => devices::save(call),
        ("POST", ["api", "device", "credentials"]) => credentials::save(call),
        ("POST", ["api", "device-with-credentials"]) if release.makes_devices_with_credentials() => {
            devices::save_with_credentials(call)
        }
        ("GET", ["api", "device", "info", id]) => devices::info(call, id),
        ("GET", ["api", "device", id, "credentials"]) => credentials::get(call, id),
        ("GET", ["api", "device", id]) => devices::get(call, id),
        ("DELETE", ["api", "device", id]) => devices::delete(call, id),
        ("GET", ["api", "tenant", "devices"]) => devices::named_or_list(call),
        ("GET", ["api", "tenant", "deviceInfos"]) => devices::list_infos(call),

        ("GET", ["api", "plugins", "telemetry", "DEVICE", id, "keys", "timeseries"]) => {
            telemetry::keys(call, id)
        }
        ("GET", ["api", "plugins", "telemetry", "DEVICE", id, "values", "timeseries"]) => {
            telemetry::values(call, id)
        }
        ("GET", ["api", "plugins", "telemetry", "DEVICE", id, "values", "attributes"]) => {
            telemetry::attributes(call, id, None)
        }
        ("GET", ["api", "plugins", "telemetry", "DEVICE", id, "values", "attributes", scope]) => {
            telemetry::attributes(call, id, Some(scope))
        }
        ("POST", ["api", "plugins", "telemetry", "DEVICE", id, "timeseries", _]) => telemetry::save(call, id),
        ("POST", ["api", "plugins", "telemetry", "DEVICE", id, "attributes", scope]) => {
            telemetry::save_attributes(call, id, scope)
        }

        (method, segments) if has_other_methods(segments, release) => {
            Err(Refusal::NoMethod(method.to_owned()))
        }
        _ => Err(no_path(&segments)),
    }
}

fn no_path(segments: &[&str]) -> Refusal {
    Refusal::NoPath(segments.join("/").trim_end_matches('/').to_owned())
}

/// Whether the path has methods, none of which was meant.
fn has_other_methods(segments: &[&str], release: Release) -> bool {
    match segments {
        ["api", "auth", "user" | "logout"]
        | ["api", "deviceProfile"]
        | ["api", "deviceProfiles" | "deviceProfileInfos"]
        | ["api", "device"]
        | ["api", "device", _, "credentials"]
        | ["api", "tenant", "devices" | "deviceInfos"] => true,
        ["api", "deviceProfile" | "deviceProfileInfo" | "device", _] | ["api", "device", "info", _] => true,
        ["api", "apiKey"] => release.has_api_keys(),
        ["api", "device-with-credentials"] => release.makes_devices_with_credentials(),
        ["api", "plugins", "telemetry", "DEVICE", _, "values" | "keys", ..] => true,
        _ => false,
    }
}
