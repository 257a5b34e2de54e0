//! The faults of the REST API, one by one.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tbprov::sim::Fault;

use crate::client::*;
use crate::http::*;

async fn with(fault: Fault) -> Fixture {
    start_rest(|config| {
        config.faults = vec![fault];
        config.pre_provisioned = vec![with_token("d", "T")];
    })
    .await
}

/// Three times the same call with a token: its statuses.
async fn statuses(fixture: &Fixture, call: &str, body: &str) -> Vec<(u16, Value)> {
    let token = fixture.token(TENANT).await;
    let mut all = Vec::new();
    for _ in 0..3 {
        let reply = fixture.call(call, Some(&token), body).await;
        all.push((reply.status, reply.json()["errorCode"].clone()));
    }
    all
}

const USER: &str = "GET /api/auth/user";

fn ok() -> (u16, Value) {
    (200, Value::Null)
}

#[tokio::test]
async fn the_first_calls_are_limited_with_and_without_a_time() {
    for (fault, tells) in [(Fault::RestLimited(2), true), (Fault::RestLimitedBare(2), false)] {
        let fixture = with(fault).await;
        assert_eq!(statuses(&fixture, USER, "").await, [(429, json!(33)), (429, json!(33)), ok()]);
        let fixture = with(fault).await;
        let token = fixture.token(TENANT).await;
        let head = fixture.call(USER, Some(&token), "").await.head.to_lowercase();
        assert_eq!(head.contains("\r\nretry-after: 1"), tells, "{head}");
    }
}

#[tokio::test]
async fn the_first_calls_find_nobody() {
    let fixture = with(Fault::RestUnavailable(2)).await;
    for status in [503, 503, 200] {
        let password = fixture.simulator.api_password().unwrap().expose();
        let body = json!({ "username": TENANT, "password": password }).to_string();
        assert_eq!(fixture.call("POST /api/auth/login", None, &body).await.status, status);
    }
}

#[tokio::test]
async fn the_first_changes_conflict_and_are_not_made() {
    let fixture = with(Fault::RestConflict(1)).await;
    let made = statuses(&fixture, "POST /api/device", r#"{"name":"new"}"#).await;
    assert_eq!(made, [(409, json!(35)), ok(), (400, json!(31))]);
}

#[tokio::test]
async fn the_first_login_fails() {
    let fixture = with(Fault::RestLoginError(1)).await;
    assert_eq!(fixture.log_in(TENANT).await["errorCode"], 2);
    assert!(fixture.log_in(TENANT).await["token"].is_string());
}

#[tokio::test]
async fn the_first_token_is_over_at_once() {
    let fixture = with(Fault::RestExpiredToken(1)).await;
    assert_eq!(statuses(&fixture, USER, "").await[0], (401, json!(11)));
    assert_eq!(statuses(&fixture, USER, "").await[0], ok());
}

#[tokio::test]
async fn a_second_factor_is_wanted() {
    for (fault, scope) in [
        (Fault::RestSecondFactor, "PRE_VERIFICATION_TOKEN"),
        (Fault::RestFactorSetup, "MFA_CONFIGURATION_TOKEN"),
    ] {
        let pair = with(fault).await.log_in(TENANT).await;
        assert_eq!((&pair["scope"], &pair["refreshToken"]), (&json!(scope), &Value::Null));
        assert!(pair["token"].is_string());
    }
}

#[tokio::test]
async fn the_first_answer_breaks_off() {
    let fixture = with(Fault::RestCut(1)).await;
    let token = fixture.token(TENANT).await;
    let cut = fixture.call(USER, Some(&token), "").await;
    let whole = fixture.call(USER, Some(&token), "").await;
    let length = format!("content-length: {}", whole.body.len());
    assert!(cut.head.to_lowercase().contains(&length), "{cut:?}");
    assert_eq!(cut.body.len(), whole.body.len() / 2);
}

#[tokio::test]
async fn the_first_change_is_made_and_never_answered() {
    let fixture = with(Fault::RestLost(1)).await;
    let made = statuses(&fixture, "POST /api/device", r#"{"name":"new"}"#).await;
    assert_eq!(made, [(0, Value::Null), (400, json!(31)), (400, json!(31))]);
    assert!(fixture.simulator.devices().iter().any(|device| device.name == "new"));
    assert!(fixture.events.ndjson().contains(r#""path":"/api/device","status":null"#));
}

#[tokio::test]
async fn saved_credentials_are_not_applied() {
    let fixture = with(Fault::RestNotApplied).await;
    let token = fixture.token(TENANT).await;
    let device = fixture.call("GET /api/tenant/devices?deviceName=d", Some(&token), "").await.id();
    let path = format!("GET /api/device/{device}/credentials");
    let mut wanted = fixture.call(&path, Some(&token), "").await.json();
    wanted["credentialsId"] = "other".into();
    let saved = fixture.call("POST /api/device/credentials", Some(&token), &wanted.to_string()).await;
    assert_eq!(saved.json()["credentialsId"], "other");
    assert_eq!(fixture.call(&path, Some(&token), "").await.json()["credentialsId"], "T");
}

#[tokio::test]
async fn something_else_answers() {
    let proxy = with(Fault::RestHtml).await.call(USER, None, "").await;
    assert!(
        proxy.status == 502 && proxy.body.contains("<html>") && proxy.head.contains("text/html"),
        "{proxy:?}"
    );
    let redirect = with(Fault::RestRedirect).await.call(USER, None, "").await;
    assert!(redirect.status == 302 && redirect.head.contains("location: /login"), "{redirect:?}");
}

#[tokio::test]
async fn answers_come_late() {
    let fixture = with(Fault::RestSlow(Duration::from_millis(60))).await;
    let begin = Instant::now();
    assert_eq!(fixture.call("GET /", None, "").await.status, 404);
    assert!(begin.elapsed() >= Duration::from_millis(60));
}
