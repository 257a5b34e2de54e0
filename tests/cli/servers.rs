//! Servers that behave as no ThingsBoard does: they alert, answer too early, or never ask for the certificate.

use rustls::version::{TLS12, TLS13};
use tbprov::sim::Release;

use crate::broker::{Asks, Broker, answering_with, failure, listen_tls, server_config, success};
use crate::support::{KEY, NAME, Ran, SECRET, Sandbox, Server, for_each_row, same};

/// A folder with a device that was proved.
fn proved() -> Sandbox {
    let sandbox = Sandbox::trusting("san");
    assert_eq!(Server::presenting("san", |_| {}).provision(&sandbox, "").outcome(), "provisioned");
    sandbox
}

fn provision(sandbox: &Sandbox, port: u16, flags: &str) -> Ran {
    sandbox.run(&format!(
        "provision --json --host localhost --port {port} --server-cert server.pem --provision-key {KEY} \
         --provision-secret {SECRET} --device-name {NAME} {flags}"
    ))
}

#[track_caller]
fn is_only_a_handshake(ran: &Ran, step: &str) {
    assert_eq!(ran.brief(), format!("3 tls/handshake {step}"), "{ran:?}");
    assert!(!ran.message().contains("certificate ") && !ran.help().contains("credentialsId"), "{ran:?}");
}

#[test]
fn an_alert_of_anybody_says_nothing_about_the_certificate() {
    let sandbox = proved();
    for alert in [42, 46, 49, 116] {
        let port = answering_with(vec![0x15, 3, 3, 0, 2, 2, alert]);
        is_only_a_handshake(
            &sandbox.run(&format!("connect --json --server-cert server.pem --port {port}")),
            "verify",
        );
        is_only_a_handshake(&provision(&Sandbox::trusting("san"), port, ""), "tls");
    }
}

/// `(alert, what helps)`: RFC 8446 6.
const ALERTS: &[(u8, &str)] = &[
    (40, "ECDHE"),
    (71, "ECDHE"),
    (70, "TLS 1.2 or 1.3"),
    (80, "balancer"),
    (112, "SNI"),
    (116, "demands a client certificate"),
    (120, "ALPN"),
    (10, "the log of the server"),
    (47, "the log of the server"),
    (90, "the log of the server"),
    (255, "the log of the server"),
];

/// Who sends an alert speaks TLS, and `doctor` never sends anybody to `doctor`.
#[test]
fn each_alert_has_an_advice_and_none_is_about_the_plain_port() {
    for_each_row(ALERTS, |(alert, says)| {
        let sandbox = Sandbox::trusting("san");
        let port = answering_with(vec![0x15, 3, 3, 0, 2, 2, *alert]);
        let line = format!("doctor --json --host localhost --port {port} --server-cert server.pem");
        let doctor = sandbox.run(&line).json();
        let checks = doctor["checks"].as_array().unwrap();
        let tls = checks.iter().find(|check| check["check"] == "tls").unwrap();
        let help = tls["help"].as_str().unwrap();
        let detail = tls["detail"].as_str().unwrap();
        let right = help.contains(says) && detail.contains(&format!("alert {alert}"));
        if !right || tls["code"] != "tls/handshake" || help.contains("1883") || help.contains("doctor") {
            return Err(format!("{alert}: {tls}"));
        }
        let provisioned = provision(&sandbox, port, "");
        same("provision", &provisioned.brief(), "3 tls/handshake tls")?;
        same("provision", &provisioned.help(), help)
    });
}

/// `(what answers to a ClientHello, how it ends, what helps)`
const NO_TLS: &[(&[u8], &str, &str)] = &[
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", "3 tls/handshake tls", "1883 is its plain port"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", "3 tls/handshake tls", "1883 is its plain port"),
    (&[0x20, 2, 0, 1], "3 tls/handshake tls", "1883 is its plain port"),
    // ThingsBoard's plain port, and one that is blocked.
    (b"", "3 network/closed tls", "the plain port (ThingsBoard's is 1883"),
];

#[test]
fn where_no_tls_is_spoken_the_plain_port_is_named() {
    for_each_row(NO_TLS, |(answer, promised, says)| {
        let ran = provision(&Sandbox::trusting("san"), answering_with(answer.to_vec()), "");
        same("ends", &ran.brief(), promised)?;
        if ran.help().contains(says) { Ok(()) } else { Err(format!("{ran:?}")) }
    });
}

#[test]
fn an_alert_where_no_certificate_was_presented_says_nothing_about_one() {
    for version in [&TLS12, &TLS13] {
        let config = server_config(&[version], Asks::and_refuses_even_none());
        let port = listen_tls(config, |_| async {});
        let ran = provision(&Sandbox::trusting("san"), port, "");
        let step = if version == &TLS12 { "tls" } else { "connect" };
        is_only_a_handshake(&ran, step);
    }
}

#[test]
fn a_refusal_of_the_certificate_that_was_presented_is_one() {
    let sandbox = proved();
    let refused = "3 tls/client-certificate-refused verify";
    for version in [&TLS12, &TLS13] {
        let config = server_config(&[version], Asks::and_refuses());
        let port = listen_tls(config, |_| async {});
        let ran = sandbox.run(&format!("connect --json --server-cert server.pem --port {port}"));
        assert_eq!(ran.brief(), refused, "{version:?} {ran:?}");
    }
    let old = Server::presenting("san", |config| config.release = Release::V3_4);
    assert_eq!(
        sandbox.run(&format!("connect --json --server-cert server.pem --port {}", old.port())).brief(),
        refused
    );
}

#[test]
fn an_answer_before_the_request_answers_nothing() {
    let early = Some(r#"{"status":"NOT_FOUND","errorMsg":"early"}"#);
    let port = Broker { early, ..Broker::answering(success) }.that_never_asks();
    let sandbox = Sandbox::trusting("san");
    let ran = provision(&sandbox, port, "--no-verify-connect");
    assert_eq!(ran.outcome(), "provisioned", "{ran:?}");
    assert_eq!(sandbox.record()["state"], "accepted");
}

fn secret_of(request: &str) -> String {
    let request: serde_json::Value = serde_json::from_str(request).unwrap();
    request["provisionDeviceSecret"].as_str().unwrap().to_owned()
}

#[test]
fn a_server_that_echoes_the_request_shows_no_secret() {
    let echo = |request: &str| serde_json::json!({"status": "FAILURE", "errorMsg": request}).to_string();
    let word = |request: &str| serde_json::json!({"status": secret_of(request)}).to_string();
    let kind = |request: &str| {
        serde_json::json!({"status": "SUCCESS", "credentialsType": secret_of(request)}).to_string()
    };
    for answer in [echo as fn(&str) -> String, word, kind] {
        for credentials in ["x509", "access-token", "mqtt-basic"] {
            let port = Broker::answering(answer).that_never_asks();
            let sandbox = Sandbox::trusting("san");
            let secret = r#"s3cret-"quoted"\and-more"#;
            let arguments = format!(
                "provision --events -v --host localhost --port {port} --server-cert server.pem \
                 --no-verify-connect --provision-key k --device-name d --credentials-type {credentials}"
            );
            let mut command = sandbox.bare();
            command.env("TBPROV_PROVISION_SECRET", secret).args(arguments.split_whitespace());
            let ran = Ran::from(command.output().unwrap());
            let said = format!("{}{}", ran.stdout, ran.stderr);
            assert!(said.contains("[hidden]"), "{ran:?}");
            for part in ["s3cret", "and-more"] {
                assert!(!said.contains(part), "{part} in {ran:?}");
            }
            let saved = sandbox.files().into_iter().find(|path| path.ends_with("credentials.json"));
            let Some(saved) = saved else { continue };
            let saved: serde_json::Value =
                serde_json::from_str(&std::fs::read_to_string(saved).unwrap()).unwrap();
            for own in ["token", "password"].into_iter().filter_map(|member| saved[member].as_str()) {
                assert!(!said.contains(own), "{own} in {ran:?}");
            }
        }
    }
}

#[test]
fn a_server_that_never_asks_for_the_certificate_proves_nothing() {
    let sandbox = proved();
    let port = Broker::answering(success).that_never_asks();
    let connect = sandbox.run(&format!("connect --events --server-cert server.pem --port {port}"));
    assert_eq!(connect.failure().1, "verify/not-asked", "{connect:?}");
    assert!(!connect.stdout.contains(r#""event":"connected""#), "{connect:?}");
    let doctor = sandbox.run(&format!("doctor {NAME} --json --server-cert server.pem --port {port}")).json();
    let identity = doctor["checks"].as_array().unwrap().iter().find(|check| check["check"] == "identity");
    let identity = identity.unwrap();
    assert_eq!((&identity["outcome"], &identity["code"]), (&"failed".into(), &"verify/not-asked".into()));
    assert!(identity["detail"].as_str().unwrap().contains("without asking"), "{identity}");
}

#[test]
fn doctor_shows_what_an_untrusted_server_presents_in_one_line() {
    let sandbox = Sandbox::trusting("esp32");
    let server = Server::presenting("impostor", |_| {});
    let line = format!("doctor --json --host localhost --port {} --server-cert server.pem", server.port());
    let doctor = sandbox.run(&line).json();
    let checks = doctor["checks"].as_array().unwrap();
    let tls = checks.iter().find(|check| check["check"] == "tls").unwrap();
    let detail = tls["detail"].as_str().unwrap();
    assert!(detail.contains("presented: 'CN=localhost'") && !detail.contains('\n'), "{detail}");
    assert_eq!(tls["code"], "tls/untrusted");
    let connect = checks.iter().find(|check| check["check"] == "connect").unwrap();
    assert_eq!(connect["outcome"], "skipped");
}

/// ThingsBoard up to 3.4 behind a balancer that keeps the certificate: CONNACK 5 is about nobody.
#[test]
fn a_refusal_without_asking_for_the_certificate_says_nothing_of_it() {
    let port = Broker { connack: Some(5), ..Broker::answering(failure) }.that_never_asks();
    let sandbox = Sandbox::trusting("san");
    assert_eq!(provision(&sandbox, port, "").brief(), "1 server/failure exchange");
    assert_eq!(sandbox.record()["state"], "sent");
    let ran = sandbox.run("connect --json");
    assert_eq!(ran.brief(), "4 verify/not-asked verify");
    assert!(ran.message().contains("refused the device without asking"), "{ran:?}");
    assert_eq!(sandbox.record()["state"], "sent");
}
