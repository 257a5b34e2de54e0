//! What the REST API answers, call by call and release by release: taken from the answers of six real servers
//! (3.2.2, 3.4.4, 3.6.4, 3.8.1, 4.0.2 and 4.3.1.3).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tbprov::sim::Release;

use crate::client::Fixture;
use crate::http::*;

// The members of what is answered; `>=` names the first release that has one.
#[rustfmt::skip]
const USER: &str = "additionalInfo authority createdTime customerId email firstName id lastName name phone>=3.6 tenantId version>=3.8";
const SYSTEM_INFO: &str = "artifact name type>=3.8 version";
#[rustfmt::skip]
const PROFILE: &str = "createdTime default defaultDashboardId>=3.4 defaultEdgeRuleChainId>=3.6 defaultQueueName defaultRuleChainId description externalId>=3.4 firmwareId>=3.4 id image>=3.4 name profileData provisionDeviceKey provisionType softwareId>=3.4 tenantId transportType type version>=3.8";
const PAGE: &str = "data hasNext totalElements totalPages";
const PROFILE_INFO: &str = "defaultDashboardId>=3.4 id image>=3.4 name tenantId>=3.6 transportType type";
const NAMED: &str = "id name";
#[rustfmt::skip]
const DEVICE: &str = "additionalInfo createdTime customerId deviceData deviceProfileId externalId>=3.4 firmwareId>=3.4 id label name softwareId>=3.4 tenantId type version>=3.8";
#[rustfmt::skip]
const DEVICE_INFO: &str = "active>=3.6 additionalInfo createdTime customerId customerIsPublic customerTitle deviceData deviceProfileId deviceProfileName externalId>=3.4 firmwareId>=3.4 id label name softwareId>=3.4 tenantId type version>=3.8";
#[rustfmt::skip]
const CREDENTIALS: &str = "createdTime credentialsId credentialsType credentialsValue deviceId id version>=3.8";

/// Who calls (`t`enant, `c`ustomer, `s`ystem administrator, nobody, `r`efresh token, or a token as it is); the call; its
/// body; status and `errorCode` of each release, or of all (`s`: Spring's form of an error, `t`: plain text); the members;
/// the name that the id is given for later calls.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const CALLS: &[Row] = &[
    ("-", "POST /api/auth/login", r#"{"username":"tenant@thingsboard.org","password":"nope"}"#, "401/10", "", ""),
    ("-", "POST /api/auth/login", r#"{"username":"nobody@x.org","password":"nope"}"#, "401/10", "", ""),
    ("-", "POST /api/auth/login", r#"{"username":"","password":""}"#, "401/10", "", ""),
    ("-", "POST /api/auth/login", r#"{"username":"tenant@thingsboard.org"}"#, "401/10", "", ""),
    ("-", "POST /api/auth/login", "{nope", "401/10", "", ""),
    ("-", "GET /api/auth/login", "", "401/10", "", ""),
    ("-", "POST /api/auth/token", r#"{"refreshToken":"x"}"#, "401/10", "", ""),
    ("t", "GET /api/auth/user", "", "200", USER, ""),
    ("c", "GET /api/auth/user", "", "200", USER, ""),
    ("s", "GET /api/auth/user", "", "200", USER, ""),
    ("-", "GET /api/auth/user", "", "401/10", "", ""),
    ("abc", "GET /api/auth/user", "", "401/10", "", ""),
    ("a.b.c", "GET /api/auth/user", "", "401/10 401/11 401/11 401/11 401/11 401/11", "", ""),
    ("r", "GET /api/auth/user", "", "500s 500s 500/2 500/2 500/2 500/2", "", ""),
    ("t", "GET /api/nosuch", "", "404s 404s 404/32 404/32 404/32 404/32", "", ""),
    ("-", "GET /api/nosuch", "", "401/10", "", ""),
    ("-", "GET /", "", "404s 404s 404/32 404/32 404/32 404/32", "", ""),
    ("t", "GET /api/system/info", "", "404s 200 200 200 200 200", SYSTEM_INFO, ""),
    ("t", "POST /api/auth/logout", "", "200", "", ""),
    ("t", "POST /api/deviceProfile", r#"{"name":"P","type":"DEFAULT","transportType":"DEFAULT","provisionType":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceKey":"k","profileData":{"configuration":{"type":"DEFAULT"},"transportConfiguration":{"type":"DEFAULT"},"provisionConfiguration":{"type":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceSecret":"s"},"alarms":null}}"#, "200", PROFILE, "profile"),
    ("t", "POST /api/deviceProfile", r#"{"name":"P","type":"DEFAULT","transportType":"DEFAULT","provisionType":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceKey":"k2","profileData":{"configuration":{"type":"DEFAULT"},"transportConfiguration":{"type":"DEFAULT"},"provisionConfiguration":{"type":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceSecret":"s"},"alarms":null}}"#, "400/31", "", ""),
    ("t", "POST /api/deviceProfile", r#"{"name":"P2","type":"DEFAULT","transportType":"DEFAULT","provisionType":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceKey":"k","profileData":{"configuration":{"type":"DEFAULT"},"transportConfiguration":{"type":"DEFAULT"},"provisionConfiguration":{"type":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceSecret":"s"},"alarms":null}}"#, "400/31", "", ""),
    ("t", "POST /api/deviceProfile", r#"{"name":"","type":"DEFAULT","transportType":"DEFAULT","provisionType":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceKey":"k3","profileData":{"configuration":{"type":"DEFAULT"},"transportConfiguration":{"type":"DEFAULT"},"provisionConfiguration":{"type":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceSecret":"s"},"alarms":null}}"#, "400/31", "", ""),
    ("t", "POST /api/deviceProfile", r#"{"name":"P5","type":"DEFAULT","transportType":"DEFAULT","provisionType":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceKey":null,"profileData":{"configuration":{"type":"DEFAULT"},"transportConfiguration":{"type":"DEFAULT"},"provisionConfiguration":{"type":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceSecret":"s"},"alarms":null}}"#, "200", PROFILE, ""),
    ("t", "POST /api/deviceProfile", r#"{"name":"P7","type":"DEFAULT","transportType":"DEFAULT","provisionType":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceKey":"k7","profileData":{"configuration":{"type":"DEFAULT"},"transportConfiguration":{"type":"DEFAULT"},"provisionConfiguration":{"type":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceSecret":null},"alarms":null}}"#, "200", PROFILE, ""),
    ("t", "POST /api/deviceProfile", r#"{"name":"P9","type":"DEFAULT","transportType":"DEFAULT","provisionType":"DISABLED"}"#, "500/2", "", ""),
    ("t", "POST /api/deviceProfile", r#"{"name":"P10","transportType":"DEFAULT","profileData":{}}"#, "400/31", "", ""),
    ("t", "POST /api/deviceProfile", r#"{"name":"P11","type":"DEFAULT","profileData":{}}"#, "400/31", "", ""),
    ("t", "POST /api/deviceProfile", r#"{"name":"P12","type":"DEFAULT","transportType":"DEFAULT","provisionType":"DISABLED","provisionDeviceKey":"k12","profileData":{"configuration":{"type":"DEFAULT"},"transportConfiguration":{"type":"DEFAULT"},"provisionConfiguration":{"type":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceSecret":"s"},"alarms":null}}"#, "200", PROFILE, ""),
    ("t", "POST /api/deviceProfile", r#"{"name":"P13","type":"DEFAULT","transportType":"DEFAULT","provisionType":"NOPE","provisionDeviceKey":"k13","profileData":{"configuration":{"type":"DEFAULT"},"transportConfiguration":{"type":"DEFAULT"},"provisionConfiguration":{"type":"NOPE","provisionDeviceSecret":"s"},"alarms":null}}"#, "400s 500/2 500/2 500/2 500/2 500/2", "", ""),
    ("t", "POST /api/deviceProfile", r#"{"name":"P14","type":"DEFAULT","transportType":"DEFAULT","provisionType":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceKey":"k14","profileData":{"configuration":{"type":"DEFAULT"},"transportConfiguration":{"type":"DEFAULT"},"provisionConfiguration":{"type":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceSecret":"s"},"alarms":null},"nope":1}"#, "200", PROFILE, ""),
    ("t", "POST /api/deviceProfile", r#"{"name":"{long}","type":"DEFAULT","transportType":"DEFAULT","provisionType":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceKey":"k15","profileData":{"configuration":{"type":"DEFAULT"},"transportConfiguration":{"type":"DEFAULT"},"provisionConfiguration":{"type":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceSecret":"s"},"alarms":null}}"#, "500/2 400/31 400/31 400/31 400/31 400/31", "", ""),
    ("t", "POST /api/deviceProfile", r#"{"name":"<b>","type":"DEFAULT","transportType":"DEFAULT","provisionType":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceKey":"k16","profileData":{"configuration":{"type":"DEFAULT"},"transportConfiguration":{"type":"DEFAULT"},"provisionConfiguration":{"type":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceSecret":"s"},"alarms":null}}"#, "200 400/31 400/31 400/31 400/31 400/31", PROFILE, ""),
    ("t", "POST /api/deviceProfile", "{nope", "400s 500/2 500/2 500/2 500/2 500/2", "", ""),
    ("t", "POST /api/deviceProfile", "", "400s 500/2 500/2 500/2 500/2 500/2", "", ""),
    ("t", "POST /api/deviceProfile", "[]", "400s 500/2 500/2 500/2 500/2 500/2", "", ""),
    ("c", "POST /api/deviceProfile", r#"{"name":"P18","type":"DEFAULT","transportType":"DEFAULT","provisionType":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceKey":"k18","profileData":{"configuration":{"type":"DEFAULT"},"transportConfiguration":{"type":"DEFAULT"},"provisionConfiguration":{"type":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceSecret":"s"},"alarms":null}}"#, "403/20", "", ""),
    ("-", "POST /api/deviceProfile", r#"{"name":"P20","type":"DEFAULT","transportType":"DEFAULT","provisionType":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceKey":"k20","profileData":{"configuration":{"type":"DEFAULT"},"transportConfiguration":{"type":"DEFAULT"},"provisionConfiguration":{"type":"ALLOW_CREATE_NEW_DEVICES","provisionDeviceSecret":"s"},"alarms":null}}"#, "401/10", "", ""),
    ("t", "POST /api/deviceProfile", r#"{"name":"C","type":"DEFAULT","transportType":"DEFAULT","provisionType":"X509_CERTIFICATE_CHAIN","provisionDeviceKey":null,"profileData":{"configuration":{"type":"DEFAULT"},"transportConfiguration":{"type":"DEFAULT"},"provisionConfiguration":{"type":"X509_CERTIFICATE_CHAIN","provisionDeviceSecret":"authority","certificateRegExPattern":"(.*)","allowCreateNewDevicesByX509Certificate":true},"alarms":null}}"#, "400s 500/2 200 200 200 200", PROFILE, ""),
    ("t", "POST /api/deviceProfile", r#"{"name":"C2","type":"DEFAULT","transportType":"DEFAULT","provisionType":"X509_CERTIFICATE_CHAIN","provisionDeviceKey":null,"profileData":{"configuration":{"type":"DEFAULT"},"transportConfiguration":{"type":"DEFAULT"},"provisionConfiguration":{"type":"X509_CERTIFICATE_CHAIN","provisionDeviceSecret":"authority","certificateRegExPattern":"(.*)","allowCreateNewDevicesByX509Certificate":true},"alarms":null}}"#, "400s 500/2 400/31 400/31 400/31 400/31", "", ""),
    ("t", "GET /api/deviceProfile/{profile}", "", "200", PROFILE, ""),
    ("c", "GET /api/deviceProfile/{profile}", "", "403/20", "", ""),
    ("t", "GET /api/deviceProfile/6ba7b810-9dad-11d1-80b4-00c04fd430c8", "", "404/32", "", ""),
    ("t", "GET /api/deviceProfile/nope", "", "400/31", "", ""),
    ("t", "GET /api/deviceProfiles?pageSize=10&page=0&textSearch=P1", "", "200", PAGE, ""),
    ("t", "GET /api/deviceProfiles", "", "400s 400/31 400/31 400/31 400/31 500/2", "", ""),
    ("t", "GET /api/deviceProfiles?pageSize=0&page=0", "", "400/31", "", ""),
    ("t", "GET /api/deviceProfileInfos?pageSize=3&page=0", "", "200", PAGE, ""),
    ("t", "GET /api/deviceProfileInfo/default", "", "200", PROFILE_INFO, ""),
    ("t", "GET /api/deviceProfile/names", "", "400/31 400/31 200 200 200 200", NAMED, ""),
    ("t", "POST /api/device", r#"{"name":"D","type":"default","label":"l"}"#, "200", DEVICE, "device"),
    ("t", "POST /api/device", r#"{"name":"D2","deviceProfileId":{"id":"{profile}","entityType":"DEVICE_PROFILE"}}"#, "200", DEVICE, ""),
    ("t", "POST /api/device", r#"{"name":"D"}"#, "400/31", "", ""),
    ("t", "POST /api/device", r#"{"type":"default"}"#, "400/31", "", ""),
    ("t", "POST /api/device", r#"{"name":"<b>x</b>","type":"default"}"#, "200 400/31 400/31 400/31 400/31 400/31", DEVICE, ""),
    ("t", "POST /api/device", r#"{"name":"{{x}}","type":"default"}"#, "200 200 200 200 200 400/31", DEVICE, ""),
    ("t", "POST /api/device", r#"{"name":"a\u0000b"}"#, "500/2 500/2 400/31 400/31 400/31 400/31", "", ""),
    ("t", "POST /api/device", r#"{"name":"D5","deviceProfileId":{"id":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","entityType":"DEVICE_PROFILE"}}"#, "400/31", "", ""),
    ("t", "POST /api/device?accessToken=AT", r#"{"name":"D8"}"#, "200", DEVICE, ""),
    ("t", "POST /api/device?accessToken=AT", r#"{"name":"D9"}"#, "400/31", "", ""),
    ("t", "GET /api/tenant/devices?deviceName=D", "", "200", DEVICE, ""),
    ("t", "GET /api/tenant/devices?deviceName=nosuch", "", "404/32", "", ""),
    ("t", "GET /api/tenant/devices", "", "400/31 400/31 400/31 400/31 400/31 500/2", "", ""),
    ("c", "GET /api/tenant/devices?deviceName=D", "", "403/20", "", ""),
    ("t", "GET /api/tenant/devices?pageSize=2&page=0&textSearch=D", "", "200", PAGE, ""),
    ("t", "GET /api/device/{device}", "", "200", DEVICE, ""),
    ("t", "GET /api/device/info/{device}", "", "200", DEVICE_INFO, ""),
    ("t", "GET /api/device/6ba7b810-9dad-11d1-80b4-00c04fd430c8", "", "404/32", "", ""),
    ("s", "GET /api/device/{device}", "", "403/20", "", ""),
    ("t", "GET /api/device/{device}/credentials", "", "200", CREDENTIALS, "credentials"),
    ("t", "GET /api/device/6ba7b810-9dad-11d1-80b4-00c04fd430c8/credentials", "", "404/32", "", ""),
    ("t", "POST /api/device/credentials", r#"{"id":{"id":"{credentials}"},"deviceId":{"entityType":"DEVICE","id":"{device}"},"credentialsType":"X509_CERTIFICATE","credentialsId":null,"credentialsValue":"one","version":1}"#, "200", CREDENTIALS, ""),
    ("t", "POST /api/device/credentials", r#"{"id":{"id":"{credentials}"},"deviceId":{"entityType":"DEVICE","id":"{device}"},"credentialsType":"X509_CERTIFICATE","credentialsId":null,"credentialsValue":"one","version":1}"#, "200 200 200 409/35 409/35 409/35", CREDENTIALS, ""),
    ("t", "POST /api/device/credentials", r#"{"deviceId":{"entityType":"DEVICE","id":"{device}"},"credentialsType":"ACCESS_TOKEN","credentialsId":"tt"}"#, "400/31", "", ""),
    ("t", "POST /api/device/credentials", r#"{"id":{"id":"{credentials}"},"deviceId":{"entityType":"DEVICE","id":"{device}"},"credentialsType":"X509_CERTIFICATE","credentialsId":null,"credentialsValue":"two"}"#, "200", CREDENTIALS, ""),
    ("t", "POST /api/device/credentials", r#"{"id":{"id":"{credentials}"},"deviceId":{"entityType":"DEVICE","id":"{device}"},"credentialsType":"X509_CERTIFICATE","credentialsId":null,"credentialsValue":null}"#, "500/2", "", ""),
    ("t", "POST /api/device/credentials", r#"{"id":{"id":"{credentials}"},"deviceId":{"entityType":"DEVICE","id":"{device}"},"credentialsType":"ACCESS_TOKEN","credentialsId":"AT","credentialsValue":null}"#, "400/31", "", ""),
    ("t", "POST /api/device/credentials", r#"{"id":{"id":"{credentials}"},"deviceId":{"entityType":"DEVICE","id":"{device}"},"credentialsType":"MQTT_BASIC","credentialsId":null,"credentialsValue":"{\"clientId\":\"c\",\"userName\":\"u\",\"password\":\"p\"}"}"#, "200", CREDENTIALS, ""),
    ("t", "POST /api/device/credentials", r#"{"id":{"id":"{credentials}"},"deviceId":{"entityType":"DEVICE","id":"{device}"},"credentialsType":"NOPE","credentialsId":null,"credentialsValue":null}"#, "400s 500/2 500/2 500/2 500/2 500/2", "", ""),
    ("c", "POST /api/device/credentials", r#"{"id":{"id":"{credentials}"},"deviceId":{"entityType":"DEVICE","id":"{device}"},"credentialsType":"X509_CERTIFICATE","credentialsId":null,"credentialsValue":"three"}"#, "403/20", "", ""),
    ("t", "POST /api/device/credentials", r#"{"id":{"id":"{credentials}"},"deviceId":{"entityType":"DEVICE","id":"6ba7b810-9dad-11d1-80b4-00c04fd430c8"},"credentialsType":"ACCESS_TOKEN","credentialsId":"x","credentialsValue":null}"#, "404/32", "", ""),
    ("t", "POST /api/device/credentials", "{}", "400/31", "", ""),
    ("t", "POST /api/device-with-credentials", r#"{"device":{"name":"W"},"credentials":{"credentialsType":"X509_CERTIFICATE","credentialsValue":"w"}}"#, "404s 200 200 200 200 200", DEVICE, ""),
    ("t", "POST /api/device-with-credentials", r#"{"device":{"name":"W2"},"credentials":{"credentialsType":"X509_CERTIFICATE","credentialsValue":"w"}}"#, "404s 400/31 400/31 400/31 400/31 400/31", "", ""),
    ("t", "GET /api/tenant/devices?deviceName=W2", "", "404/32", "", ""),
    ("t", "POST /api/device-with-credentials", r#"{"device":{"name":"W"},"credentials":{"credentialsType":"ACCESS_TOKEN","credentialsId":"wt"}}"#, "404s 200 400/31 400/31 400/31 400/31", DEVICE, ""),
    ("t", "POST /api/device-with-credentials", r#"{"device":{"name":"W4"}}"#, "404s 404/32 400/31 400/31 400/31 400/31", "", ""),
    ("c", "POST /api/device-with-credentials", r#"{"device":{"name":"W7"},"credentials":{"credentialsType":"ACCESS_TOKEN","credentialsId":"w7"}}"#, "404s 403/20 403/20 403/20 403/20 403/20", "", ""),
    ("t", "GET /api/plugins/telemetry/DEVICE/{device}/values/attributes/SERVER_SCOPE", "", "200", "", ""),
    ("t", "GET /api/plugins/telemetry/DEVICE/{device}/values/attributes/SERVER_SCOPE?keys=nope", "", "200", "", ""),
    ("t", "GET /api/plugins/telemetry/DEVICE/{device}/values/attributes/NOPE", "", "200 200 200 500/2 500/2 400/31", "", ""),
    ("t", "POST /api/plugins/telemetry/DEVICE/{device}/attributes/SERVER_SCOPE", r#"{"a":1}"#, "200", "", ""),
    ("t", "POST /api/plugins/telemetry/DEVICE/{device}/timeseries/ANY", r#"{"n":3}"#, "200", "", ""),
    ("t", "GET /api/plugins/telemetry/DEVICE/{device}/values/timeseries?keys=nope", "", "200", "", ""),
    ("t", "GET /api/plugins/telemetry/DEVICE/6ba7b810-9dad-11d1-80b4-00c04fd430c8/values/timeseries?keys=a", "", "404t", "", ""),
    ("t", "GET /api/plugins/telemetry/DEVICE/nope/values/timeseries?keys=a", "", "500s 400/31 400/31 400/31 400/31 400/31", "", ""),
    ("c", "GET /api/plugins/telemetry/DEVICE/{device}/values/timeseries?keys=a", "", "403t", "", ""),
    ("t", "DELETE /api/deviceProfile/{profile}", "", "400/31", "", ""),
    ("c", "DELETE /api/device/{device}", "", "403/20", "", ""),
    ("t", "DELETE /api/device/{device}", "", "200", "", ""),
    ("t", "DELETE /api/device/{device}", "", "404/32", "", ""),
    ("t", "DELETE /api/deviceProfile/{default}", "", "400/31", "", ""),
    ("t", "PUT /api/device", r#"{"name":"x"}"#, "405s 405/31 405/31 405/31 405/31 405/31", "", ""),
    ("t", "DELETE /api/device/", "", "405s 405/31 405/31 404/32 404/32 404/32", "", ""),
];

/// Goes through all calls at one release.
struct Walk {
    fixture: Fixture,
    release: Release,
    tokens: BTreeMap<&'static str, String>,
    ids: BTreeMap<&'static str, String>,
}

impl Walk {
    async fn begin(release: Release) -> Self {
        let fixture = start_rest(|config| config.release = release).await;
        let pair = fixture.log_in(TENANT).await;
        let text = |name: &str| pair[name].as_str().unwrap().to_owned();
        let tokens = [
            ("t", text("token")),
            ("r", text("refreshToken")),
            ("c", fixture.token(CUSTOMER).await),
            ("s", fixture.token(SYSTEM).await),
        ];
        let default = fixture.call("GET /api/deviceProfileInfo/default", Some(&tokens[0].1), "").await.id();
        Self { fixture, release, tokens: tokens.into(), ids: [("{default}", default)].into() }
    }

    fn filled(&self, text: &str) -> String {
        let filled = text.replace("{long}", &"x".repeat(256));
        self.ids.iter().fold(filled, |text, (name, id)| text.replace(name, id))
    }

    async fn call(&mut self, (who, call, body, outcome, members, keeps): Row) {
        let token = self.tokens.get(who).map(String::as_str).or((who != "-").then_some(who));
        let reply = self.fixture.call(&self.filled(call), token, &self.filled(body)).await;
        let context = format!("{} {who} {call} {body}: {reply:?}", self.release);
        let place = Release::ALL.iter().position(|release| *release == self.release).unwrap();
        let outcomes: Vec<_> = outcome.split(' ').collect();
        let expected = outcomes.get(place).copied().unwrap_or(outcomes[0]);
        assert_eq!(outcome_of(&reply, self.release, &context), expected, "{context}");
        if reply.status == 200 && !members.is_empty() {
            assert_eq!(members_of(&reply.json()), members_at(members, self.release), "{context}");
        }
        match keeps {
            "" => {}
            "device" => drop(self.ids.insert("{device}", reply.id())),
            "profile" => drop(self.ids.insert("{profile}", reply.id())),
            _ => drop(self.ids.insert("{credentials}", reply.id())),
        }
    }
}

/// In the words of the table; the members of an error are looked at here.
fn outcome_of(reply: &Reply, release: Release, context: &str) -> String {
    let (json, status) = (reply.json(), reply.status);
    let is_old = release == Release::V3_2;
    let (outcome, members) = match (&json["errorCode"], &json["error"]) {
        (Value::Number(code), _) => (format!("{status}/{code}"), "errorCode message status timestamp"),
        (_, Value::String(_)) if is_old => (format!("{status}s"), "error message path status timestamp"),
        (_, Value::String(_)) => (format!("{status}s"), "error path status timestamp"),
        _ if status == 200 => return "200".to_owned(),
        _ => return format!("{status}t"),
    };
    assert_eq!(members_of(&json), members.split(' ').map(str::to_owned).collect(), "{context}");
    assert_eq!(json["status"], status, "{context}");
    let has_text = release <= Release::V3_4 || json.get("path").is_some();
    assert_eq!(json["timestamp"].is_string(), has_text, "{context}");
    outcome
}

fn members_of(json: &Value) -> BTreeSet<String> {
    let first = if json.is_array() { &json[0] } else { json };
    first.as_object().map(|members| members.keys().cloned().collect()).unwrap_or_default()
}

fn members_at(members: &str, release: Release) -> BTreeSet<String> {
    let at = |member: &str| match member.split_once(">=") {
        Some((name, first)) => (first.parse::<Release>().unwrap() <= release).then(|| name.to_owned()),
        None => Some(member.to_owned()),
    };
    members.split(' ').filter_map(at).collect()
}

#[tokio::test]
async fn every_release_answers_as_real_servers_do() {
    for release in Release::ALL {
        let mut walk = Walk::begin(*release).await;
        for row in CALLS {
            walk.call(*row).await;
        }
    }
}
