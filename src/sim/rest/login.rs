//! Logging in, who one is, and API keys (`AuthController`, `SystemInfoController`, `ApiKeyController`).

use serde_json::{Map, Value, json};

use super::accounts::{ApiKey, Authority, Pair, User};
use super::answer::{Answer, Outcome, Refusal};
use super::request::{Call, reference, text, uuid};
use crate::sim::fault::Fault;
use crate::sim::release::Release;

/// `RestLoginProcessingFilter`: whatever cannot be read is no login.
pub(super) fn log_in(call: &mut Call<'_>) -> Outcome {
    let failed = || Refusal::unauthorized("Authentication failed");
    let body: Map<String, Value> = serde_json::from_slice(&call.request.body).map_err(|_| failed())?;
    let given = |name| text(&body, name).filter(|text| !text.trim().is_empty());
    let (Some(name), Some(password)) = (given("username"), given("password")) else { return Err(failed()) };
    let injector = &call.server().injector;
    if let Some(fault) = injector.counted(Fault::RestLoginError) {
        call.peer.tell(fault);
        return Err(Refusal::failed("could not execute statement"));
    }
    let wrong = || Refusal::unauthorized("Invalid username or password");
    let accounts = call.accounts()?;
    let user = accounts.named(name).ok_or_else(|| match call.release() {
        Release::V3_2 => failed(),
        _ => wrong(),
    })?;
    if !accounts.is_password(password) {
        return Err(wrong());
    }
    if let Some((fault, scope)) = injector.second_factor() {
        call.peer.tell(fault);
        let pair = accounts.log_in(user, true).map_err(internal)?;
        let token = json!({ "token": pair.token.expose(), "refreshToken": null, "scope": scope });
        return Ok(Answer::tokens(&token));
    }
    pair(call, user)
}

pub(super) fn refresh(call: &mut Call<'_>) -> Outcome {
    let failed = || Refusal::unauthorized("Authentication failed");
    let body: Map<String, Value> = serde_json::from_slice(&call.request.body).map_err(|_| failed())?;
    let given = text(&body, "refreshToken").filter(|text| !text.trim().is_empty()).ok_or_else(failed)?;
    let user = call.accounts()?.refreshed(given);
    pair(call, user.ok_or_else(|| Refusal::unauthorized("Invalid username or password"))?)
}

fn pair(call: &Call<'_>, user: &User) -> Outcome {
    let fault = call.server().injector.counted(Fault::RestExpiredToken);
    if let Some(fault) = fault {
        call.peer.tell(fault);
    }
    let Pair { token, refresh } = call.accounts()?.log_in(user, fault.is_some()).map_err(internal)?;
    let mut answer = json!({ "token": token.expose(), "refreshToken": refresh.expose() });
    if call.release().shows_scope_of_tokens() {
        answer["scope"] = Value::Null;
    }
    Ok(Answer::tokens(&answer))
}

fn internal(error: crate::Error) -> Refusal {
    Refusal::failed(error.message)
}

/// Tokens live on: ThingsBoard forgets them only where its cache says so.
pub(super) fn log_out(call: &mut Call<'_>) -> Outcome {
    call.user()?;
    Ok(Answer::empty())
}

pub(super) fn user(call: &mut Call<'_>) -> Outcome {
    let user = call.user()?;
    Ok(Answer::json(&shown_user(user, call.release())))
}

fn shown_user(user: &User, release: Release) -> Value {
    let id = |kind: &str, id| json!({ "entityType": kind, "id": id });
    let mut shown = json!({
        "id": id("USER", user.id),
        "createdTime": user.id.created(),
        "tenantId": id("TENANT", user.tenant),
        "customerId": id("CUSTOMER", user.customer),
        "email": user.email,
        "authority": user.authority.as_str(),
        "firstName": null,
        "lastName": null,
        "name": user.email,
    });
    let mut additional = json!({ "failedLoginAttempts": 0, "lastLoginTs": super::answer::now() });
    if release <= Release::V3_4 {
        additional["userPasswordHistory"] = json!({});
    }
    shown["additionalInfo"] = if release >= Release::V4_0 { Value::Null } else { additional };
    if release >= Release::V3_6 {
        shown["phone"] = Value::Null;
    }
    if release.counts_versions() {
        shown["version"] = 1.into();
    }
    shown
}

pub(super) fn system_info(call: &mut Call<'_>) -> Outcome {
    let release = call.release();
    let mut info = json!({
        "version": release.version(),
        "artifact": "application",
        "name": "ThingsBoard Server Application",
    });
    if release.counts_versions() {
        info["type"] = "CE".into();
    }
    Ok(Answer::json(&info))
}

/// The certificate of the simulator: ThingsBoard gives the file that its operator has put there, and 404 without one.
pub(super) fn certificate(call: &mut Call<'_>) -> Outcome {
    let pem = call.server().certificate.clone();
    Ok(Answer::of(200, Some("application/octet-stream"), pem))
}

pub(super) fn create_key(call: &mut Call<'_>) -> Outcome {
    let body = call.json()?;
    let user = call.user()?;
    let wanted = reference(&body, "userId")?.unwrap_or(user.id);
    if wanted != user.id && user.authority == Authority::CustomerUser {
        return Err(Refusal::forbidden());
    }
    let accounts = call.accounts()?;
    let owner = accounts.user(wanted).ok_or_else(Refusal::not_found)?;
    let description = text(&body, "description").map(str::to_owned);
    let enabled = body.get("enabled").and_then(Value::as_bool).unwrap_or(true);
    let expiration = body.get("expirationTime").and_then(Value::as_i64).unwrap_or(0);
    let key = accounts.add_key(owner.id, description, enabled, expiration).map_err(internal)?;
    let key = key.ok_or_else(|| Refusal::coded(403, 41, "API keys limit reached"))?;
    Ok(Answer::json(&shown_key(&key, owner)))
}

fn shown_key(key: &ApiKey, owner: &User) -> Value {
    json!({
        "id": { "entityType": "API_KEY", "id": key.id },
        "createdTime": key.id.created(),
        "tenantId": { "entityType": "TENANT", "id": owner.tenant },
        "userId": { "entityType": "USER", "id": owner.id },
        "expirationTime": key.expiration,
        "description": key.description,
        "enabled": key.enabled,
        "value": key.value.expose(),
        "expired": false,
    })
}

pub(super) fn delete_key(call: &mut Call<'_>, id: &str) -> Outcome {
    let key = uuid(id)?;
    match call.accounts()?.remove_key(key) {
        true => Ok(Answer::empty()),
        false => Err(Refusal::no_entity(call.release(), "API key", id)),
    }
}
