//! What is done over REST shows over MQTT, and the other way round.

use std::net::SocketAddr;

use rumqttc::mqttbytes::QoS;
use rustls::ALL_VERSIONS;
use serde_json::{Value, json};
use tbprov::Secret;
use tbprov::sim::{HeldCredentials, PreProvisioned, Release};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::chain::{authority, issued};
use crate::client::*;
use crate::http::*;

/// The body of a profile with this strategy, key and secret.
fn profile(name: &str, strategy: &str, key: &str, secret: &str) -> Value {
    json!({
        "name": name, "type": "DEFAULT", "transportType": "DEFAULT", "provisionType": strategy,
        "provisionDeviceKey": key,
        "profileData": {
            "configuration": { "type": "DEFAULT" }, "transportConfiguration": { "type": "DEFAULT" },
            "provisionConfiguration": { "type": strategy, "provisionDeviceSecret": secret },
        },
    })
}

async fn device(fixture: &Fixture, token: &str, name: &str) -> Value {
    fixture.call(&format!("GET /api/tenant/devices?deviceName={name}"), Some(token), "").await.json()
}

async fn credentials(fixture: &Fixture, token: &str, device: &Value) -> Value {
    let id = device["id"]["id"].as_str().unwrap();
    fixture.call(&format!("GET /api/device/{id}/credentials"), Some(token), "").await.json()
}

async fn provision(fixture: &Fixture, key: &str, secret: &str, name: &str) -> Value {
    let request = json!({ "provisionDeviceKey": key, "provisionDeviceSecret": secret, "deviceName": name });
    fixture.ask(&request.to_string()).await["status"].clone()
}

#[tokio::test]
async fn a_profile_made_over_rest_provisions_at_once() {
    let fixture = start_rest(|_| {}).await;
    let token = fixture.token(TENANT).await;
    let made = profile("Pumps", "ALLOW_CREATE_NEW_DEVICES", "k", "s");
    let made = fixture.call("POST /api/deviceProfile", Some(&token), &made.to_string()).await;
    assert_eq!(provision(&fixture, "k", "s", "a").await, "SUCCESS");
    assert_eq!(provision(&fixture, KEY, SECRET, "b").await, "SUCCESS");
    assert_eq!(provision(&fixture, "k", SECRET, "c").await, "NOT_FOUND");
    assert_eq!(device(&fixture, &token, "a").await["type"], "Pumps");
    assert_eq!(device(&fixture, &token, "b").await["type"], "provisioned");

    let mut changed = made.json();
    changed["profileData"]["provisionConfiguration"]["provisionDeviceSecret"] = "other".into();
    let changed = fixture.call("POST /api/deviceProfile", Some(&token), &changed.to_string()).await;
    assert_eq!((changed.status, &changed.json()["version"]), (200, &json!(2)));
    assert_eq!(provision(&fixture, "k", "s", "d").await, "NOT_FOUND");
    assert_eq!(provision(&fixture, "k", "other", "d").await, "SUCCESS");

    let mut disabled = changed.json();
    disabled["provisionType"] = "DISABLED".into();
    fixture.call("POST /api/deviceProfile", Some(&token), &disabled.to_string()).await;
    assert_eq!(provision(&fixture, "k", "other", "e").await, "NOT_FOUND");
}

#[tokio::test]
async fn a_pre_provisioned_device_is_of_its_profile() {
    let fixture = start_rest(|_| {}).await;
    let token = fixture.token(TENANT).await;
    let made = profile("Checked", "CHECK_PRE_PROVISIONED_DEVICES", "k", "s");
    let made = fixture.call("POST /api/deviceProfile", Some(&token), &made.to_string()).await;
    let body = json!({ "name": "mine", "deviceProfileId": made.json()["id"] });
    fixture.call("POST /api/device", Some(&token), &body.to_string()).await;
    fixture.call("POST /api/device", Some(&token), r#"{"name":"theirs"}"#).await;
    assert_eq!(provision(&fixture, "k", "s", "mine").await, "SUCCESS");
    assert_eq!(provision(&fixture, "k", "s", "theirs").await, "FAILURE");
}

#[tokio::test]
async fn a_chain_profile_made_over_rest_registers_at_connect() {
    let fixture = start_rest(|_| {}).await;
    let token = fixture.token(TENANT).await;
    let authority = authority("Plant 7");
    let mut body = profile("Chain", "X509_CERTIFICATE_CHAIN", "", &authority.certificate.to_pem());
    body["profileData"]["provisionConfiguration"]["certificateRegExPattern"] = "(.*)".into();
    body["profileData"]["provisionConfiguration"]["allowCreateNewDevicesByX509Certificate"] = true.into();
    let made = fixture.call("POST /api/deviceProfile", Some(&token), &body.to_string()).await.json();
    assert_eq!(made["provisionDeviceKey"], authority.certificate.credentials_id());

    let leaf = issued(&authority, "pump-1");
    assert_eq!(fixture.connected(&leaf, &[&authority]).await.1, 0);
    let device = device(&fixture, &token, "pump-1").await;
    assert_eq!(device["type"], "Chain");
    assert_eq!(
        credentials(&fixture, &token, &device).await["credentialsId"],
        leaf.certificate.credentials_id()
    );
}

#[tokio::test]
async fn new_credentials_close_the_session_and_are_in_force() {
    let (old, new) = (new_identity(), new_identity());
    for release in [Release::V3_2, Release::V4_0, Release::V4_3] {
        let fixture = start_rest(|config| {
            config.release = release;
            config.pre_provisioned = vec![holding("sensor", &old)];
        })
        .await;
        let token = fixture.token(TENANT).await;
        let device = device(&fixture, &token, "sensor").await;
        let mut wanted = credentials(&fixture, &token, &device).await;

        let mut session = fixture.device(&old).await;
        let same = fixture.call("POST /api/device/credentials", Some(&token), &wanted.to_string()).await;
        assert_eq!(same.status, 200);
        if release == Release::V4_3 {
            assert!(session.is_quiet().await, "{release}");
        } else {
            assert!(session.is_closed().await, "{release}");
            session = fixture.device(&old).await;
        }
        wanted = same.json();
        wanted["credentialsId"] = Value::Null;
        wanted["credentialsValue"] = new.certificate.to_pem().into();
        let saved = fixture.call("POST /api/device/credentials", Some(&token), &wanted.to_string()).await;
        assert_eq!(saved.json()["credentialsId"], new.certificate.credentials_id());
        assert!(session.is_closed().await);
        fixture.device(&new).await;
    }
}

#[tokio::test]
async fn a_deleted_device_loses_its_session_and_its_name_is_free() {
    let identity = new_identity();
    let fixture = start_rest(|config| config.pre_provisioned = vec![holding("sensor", &identity)]).await;
    let token = fixture.token(TENANT).await;
    let mut session = fixture.device(&identity).await;
    let id = device(&fixture, &token, "sensor").await["id"]["id"].as_str().unwrap().to_owned();
    assert_eq!(fixture.call(&format!("DELETE /api/device/{id}"), Some(&token), "").await.status, 200);
    assert!(session.is_closed().await);
    let mut again = fixture.dial(Some(&identity)).await;
    assert_eq!(again.connect(rumqttc::mqttbytes::v4::Connect::new("x")).await, Some((0, 5)));
    assert_eq!(fixture.ask(&x509_request("sensor", &identity)).await["status"], "SUCCESS");
}

#[tokio::test]
async fn what_a_device_sends_is_read_back() {
    let fixture = start_rest(|config| config.pre_provisioned = vec![with_token("d", "T")]).await;
    let token = fixture.token(TENANT).await;
    let mut client =
        Client::new(TcpStream::connect(fixture.simulator.plain_address().unwrap()).await.unwrap());
    assert_eq!(client.connect(user("T")).await, Some((0, 0)));
    let readings = r#"[{"ts":1000,"values":{"a":1,"s":"x"}},{"ts":2000,"values":{"a":2.5,"j":{"n":[1]}}}]"#;
    for (topic, payload) in [(TELEMETRY, readings), ("v1/devices/me/attributes", r#"{"fw":"v1"}"#)] {
        client.publish(topic, QoS::AtLeastOnce, payload).await;
        assert!(client.is_acknowledged().await);
    }
    let found = device(&fixture, &token, "d").await;
    let base = format!("/api/plugins/telemetry/DEVICE/{}", found["id"]["id"].as_str().unwrap());
    let get = async |query: &str| fixture.call(&format!("GET {base}/{query}"), Some(&token), "").await.json();
    assert_eq!(get("keys/timeseries").await, json!(["a", "j", "s"]));
    assert_eq!(
        get("values/timeseries?keys=a,s&useStrictDataTypes=true").await,
        json!({ "a": [{ "ts": 2000, "value": 2.5 }], "s": [{ "ts": 1000, "value": "x" }] })
    );
    assert_eq!(get("values/timeseries?keys=j").await["j"][0]["value"], r#"{"n":[1]}"#);
    let nothing = get("values/timeseries?keys=nope").await;
    assert_eq!(nothing["nope"][0]["value"], Value::Null);
    assert_eq!(
        get("values/timeseries?keys=a,nope&startTs=1000&endTs=1001").await,
        json!({ "a": [{ "ts": 1000, "value": "1" }] })
    );
    let all = "values/timeseries?keys=a&startTs=0&endTs=9999";
    assert_eq!(get(all).await["a"][0]["ts"], 2000);
    assert_eq!(get(&format!("{all}&orderBy=ASC&limit=1")).await["a"], json!([{ "ts": 1000, "value": "1" }]));

    let client_scope = get("values/attributes/CLIENT_SCOPE?keys=fw").await;
    assert_eq!((&client_scope[0]["key"], &client_scope[0]["value"]), (&json!("fw"), &json!("v1")));
    let known = get("values/attributes/SERVER_SCOPE?keys=active,lastConnectTime,lastDisconnectTime").await;
    assert_eq!((&known[0]["value"], &known[1]["key"]), (&json!(true), &json!("lastConnectTime")));
    assert_eq!(known.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_provisioned_device_says_so() {
    let fixture = start_rest(|_| {}).await;
    let token = fixture.token(TENANT).await;
    provision(&fixture, KEY, SECRET, "made").await;
    fixture.call("POST /api/device", Some(&token), r#"{"name":"by-hand"}"#).await;
    for (name, state) in [("made", json!("provisioned")), ("by-hand", Value::Null)] {
        let id = device(&fixture, &token, name).await["id"]["id"].as_str().unwrap().to_owned();
        let path = format!(
            "GET /api/plugins/telemetry/DEVICE/{id}/values/attributes/SERVER_SCOPE?keys=provisionState"
        );
        assert_eq!(fixture.call(&path, Some(&token), "").await.json()[0]["value"], state, "{name}");
    }
}

#[tokio::test]
async fn with_a_state_file_everything_survives() {
    let folder = tempfile::tempdir().unwrap();
    let state = Some(folder.path().join("state"));
    let first = start_rest(|config| {
        config.state = state.clone();
        let device = |name: &str| PreProvisioned::new(name).with(HeldCredentials::Token(Secret::new(name)));
        config.pre_provisioned = vec![device("deleted"), device("changed")];
    })
    .await;
    let token = first.token(TENANT).await;
    let made = profile("Kept", "ALLOW_CREATE_NEW_DEVICES", "k", "s").to_string();
    first.call("POST /api/deviceProfile", Some(&token), &made).await;
    let gone = profile("Gone", "ALLOW_CREATE_NEW_DEVICES", "gone", "s").to_string();
    let gone = first.call("POST /api/deviceProfile", Some(&token), &gone).await.id();
    first.call(&format!("DELETE /api/deviceProfile/{gone}"), Some(&token), "").await;
    let id = device(&first, &token, "deleted").await["id"]["id"].as_str().unwrap().to_owned();
    first.call(&format!("DELETE /api/device/{id}"), Some(&token), "").await;
    let before = device(&first, &token, "changed").await;
    let mut other = credentials(&first, &token, &before).await;
    other["credentialsId"] = "other".into();
    let saved = first.call("POST /api/device/credentials", Some(&token), &other.to_string()).await;
    let (password, key) =
        (first.simulator.api_password().unwrap().clone(), first.simulator.api_key().unwrap().clone());
    first.simulator.stop().await;

    let second = start_rest(|config| config.state = state.clone()).await;
    assert!(second.simulator.api_password() == Some(&password) && second.simulator.api_key() == Some(&key));
    let token = second.token(TENANT).await;
    assert_eq!(device(&second, &token, "changed").await, before);
    assert_eq!(credentials(&second, &token, &before).await, saved.json());
    assert_eq!(device(&second, &token, "deleted").await["errorCode"], 32);
    assert_eq!(provision(&second, "k", "s", "new").await, "SUCCESS");
    assert_eq!(provision(&second, "gone", "s", "newer").await, "NOT_FOUND");
}

#[tokio::test]
async fn one_port_speaks_tls_and_plain_http() {
    let fixture = start_rest(|_| {}).await;
    let config = client_config(fixture.simulator.certificate(), None, ALL_VERSIONS);
    let mut stream = handshake(fixture.simulator.rest_address().unwrap(), config).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("No static resource ."), "{answer}");
    assert_eq!(fixture.call("GET /", None, "").await.status, 404);
}

#[tokio::test]
async fn tokens_end_are_renewed_and_api_keys_come_and_go() {
    let fixture = start_rest(|config| config.token_lifetime = std::time::Duration::ZERO).await;
    let pair = fixture.log_in(TENANT).await;
    let user = async |header: &str| fixture.call_with("GET /api/auth/user", header, "").await;
    let bearer = |pair: &Value| format!("X-Authorization: Bearer {}\r\n", pair["token"].as_str().unwrap());
    let expired = user(&bearer(&pair)).await;
    assert_eq!((expired.status, &expired.json()["errorCode"]), (401, &json!(11)));
    let renewed = json!({ "refreshToken": pair["refreshToken"] }).to_string();
    assert_eq!(fixture.call("POST /api/auth/token", None, &renewed).await.status, 200);

    let first = fixture.simulator.api_key().unwrap().expose().to_owned();
    let header =
        |name: &str, key: &str| format!("{name}: ApiKey {key}\r\nContent-Type: application/json\r\n");
    assert_eq!(user(&header("X-Authorization", &first)).await.json()["email"], TENANT);
    let body = r#"{"description":"x","enabled":true,"expirationTime":0}"#;
    let made = fixture.call_with("POST /api/apiKey", &header("Authorization", &first), body).await;
    let second = made.json()["value"].as_str().unwrap().to_owned();
    assert_eq!(user(&header("Authorization", &second)).await.status, 200);
    let delete = format!("DELETE /api/apiKey/{}", made.id());
    assert_eq!(fixture.call_with(&delete, &header("Authorization", &first), "").await.status, 200);
    assert_eq!(user(&header("Authorization", &second)).await.status, 401);

    let older = start_rest(|config| config.release = Release::V4_0).await;
    assert!(older.simulator.api_key().is_none());
    assert_eq!(older.call("POST /api/apiKey", Some(&older.token(TENANT).await), body).await.status, 404);
}

#[tokio::test]
async fn garbage_ends_no_simulator() {
    let fixture = start_rest(|_| {}).await;
    let long = [b"GET /".to_vec(), vec![b'x'; 200_000], b" HTTP/1.1\r\n\r\n".to_vec()].concat();
    for bytes in [&b"\x16\x03\x01\x00\x05hello"[..], b"\x00\x00\x00\x00\r\n\r\n", b"nonsense\r\n\r\n", &long]
    {
        let answer = fixture.raw(bytes).await;
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{answer:?}");
    }
    let token = fixture.token(TENANT).await;
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(1 << 20));
    assert_eq!(fixture.call("POST /api/device", Some(&token), &large).await.status, 413);
    let deep = "[".repeat(100_000);
    assert_eq!(fixture.call("POST /api/device", Some(&token), &deep).await.json()["errorCode"], 2);
    assert_eq!(fixture.call("GET /api/auth/user", Some(&token), "").await.status, 200);
}

#[tokio::test]
async fn events_tell_calls_and_no_secret() {
    let fixture = start_rest(|config| config.api_password = Some(Secret::new("hunter2"))).await;
    let pair = fixture.log_in(TENANT).await;
    let token = pair["token"].as_str().unwrap();
    let body = r#"{"name":"d"}"#;
    fixture.call("POST /api/device?accessToken=secret-token", Some(token), body).await;
    let events = fixture.events.ndjson();
    assert!(events.contains(r#""method":"POST","path":"/api/device","status":200"#), "{events}");
    for secret in ["hunter2", "secret-token", token, fixture.simulator.api_key().unwrap().expose()] {
        assert!(!events.contains(secret), "{events}");
    }
}

#[tokio::test]
async fn the_rest_api_is_off_unless_it_is_asked_for() {
    let fixture = start(|_| {}).await;
    assert_eq!(fixture.simulator.rest_address(), None::<SocketAddr>);
    assert!(fixture.simulator.api_password().is_none() && fixture.simulator.api_key().is_none());
}
