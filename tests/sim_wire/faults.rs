//! Each fault, as a client meets it.

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, Packet};
use tbprov::sim::Fault;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::*;

/// A simulator with these faults and a device with the token `T`.
async fn faulty(faults: &[&str]) -> Fixture {
    let faults = faults.iter().map(|fault| fault.parse::<Fault>().unwrap()).collect();
    start(|config| {
        config.faults = faults;
        config.pre_provisioned = vec![with_token("sensor", "T")];
    })
    .await
}

fn names(fixture: &Fixture) -> Vec<String> {
    fixture.simulator.devices().into_iter().map(|device| device.name).collect()
}

async fn token_device(fixture: &Fixture) -> Client<TlsStream> {
    let mut client = fixture.dial(None).await;
    assert_eq!(client.connect(user("T")).await, Some((0, 0)));
    client
}

/// Everything the server sends on a bare TCP connection that says `hello` and closes its side.
async fn tcp_answer(fixture: &Fixture, hello: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(fixture.simulator.address()).await.unwrap();
    let _ = stream.write_all(hello).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

#[tokio::test]
async fn drop_before_tls_and_stall_tls_say_nothing() {
    for fault in ["drop-before-tls", "stall-tls"] {
        let fixture = faulty(&[fault]).await;
        assert!(tcp_answer(&fixture, b"\x16\x03\x01").await.is_empty());
        fixture.events.until("closed").await;
        assert!(fixture.events.ndjson().contains(fault));
    }
}

#[tokio::test]
async fn tls_alert_is_handshake_failure() {
    let fixture = faulty(&["tls-alert"]).await;
    let error = handshake(fixture.simulator.address(), fixture.tls(None)).await.unwrap_err();
    assert!(error.to_string().contains("HandshakeFailure"), "{error}");
}

#[tokio::test]
async fn no_connack_and_garbage_mqtt_and_close_after_connect() {
    let fixture = faulty(&["no-connack"]).await;
    let mut client = fixture.dial(None).await;
    client.send(Packet::Connect(user("T"))).await;
    client.stream.shutdown().await.unwrap();
    assert!(client.is_closed().await);

    let fixture = faulty(&["garbage-mqtt"]).await;
    let mut client = fixture.dial(None).await;
    client.send(Packet::Connect(user("T"))).await;
    let mut answer = Vec::new();
    let _ = client.stream.read_to_end(&mut answer).await;
    assert!(answer.ends_with(b"not MQTT\r\n"));

    let fixture = faulty(&["close-after-connect"]).await;
    assert!(token_device(&fixture).await.is_closed().await);
}

#[tokio::test]
async fn no_answer_creates_nothing_and_stays_open() {
    let fixture = faulty(&["no-answer"]).await;
    let mut client = fixture.provisioning().await;
    client.publish("/provision/request", QoS::AtLeastOnce, &x509_request("new", &new_identity())).await;
    assert!(client.is_quiet().await);
    assert_eq!(names(&fixture), ["sensor"]);
}

#[tokio::test]
async fn accept_then_close_creates_the_device_and_says_nothing() {
    let fixture = faulty(&["accept-then-close"]).await;
    let identity = new_identity();
    let mut client = fixture.provisioning().await;
    client.publish("/provision/request", QoS::AtLeastOnce, &x509_request("new", &identity)).await;
    assert!(client.is_closed().await);
    fixture.device(&identity).await;
}

#[tokio::test]
async fn delay_is_told_and_the_answer_comes() {
    let fixture = faulty(&["delay=1ms"]).await;
    assert_eq!(fixture.ask(&x509_request("new", &new_identity())).await["status"], "SUCCESS");
    assert!(fixture.events.ndjson().contains(r#""name":"delay""#));
}

#[tokio::test]
async fn wrong_value_and_wrong_type_leave_the_sent_certificate_unknown() {
    for (fault, credentials_type) in [("wrong-value", "X509_CERTIFICATE"), ("wrong-type", "ACCESS_TOKEN")] {
        let fixture = faulty(&[fault]).await;
        let identity = new_identity();
        let answer = fixture.ask(&x509_request("new", &identity)).await;
        assert_eq!(
            (&answer["status"], &answer["credentialsType"]),
            (&"SUCCESS".into(), &credentials_type.into())
        );
        let sent: String =
            identity.certificate.to_pem().lines().filter(|line| !line.starts_with('-')).collect();
        assert_ne!(answer["credentialsValue"], sent);
        let mut client = fixture.dial(Some(&identity)).await;
        assert_eq!(client.connect(Connect::new("x")).await, Some((0, 5)));
    }
}

#[tokio::test]
async fn wrong_value_changes_every_type() {
    let fixture = faulty(&["wrong-value"]).await;
    let token = fixture.ask(&request(r#","token":"sent""#)).await;
    assert_ne!(token["credentialsValue"], "sent");
    let basic =
        fixture.ask(&request(r#","credentialsType":"MQTT_BASIC","username":"u","password":"sent""#)).await;
    assert_eq!(basic["credentialsValue"]["userName"], "u");
    assert_ne!(basic["credentialsValue"]["password"], "sent");
}

#[tokio::test]
async fn garbage_and_oversize_answers_come_from_a_device_that_exists() {
    for fault in ["garbage", "oversize"] {
        let fixture = faulty(&[fault]).await;
        let mut client = fixture.provisioning().await;
        let identity = new_identity();
        client.publish("/provision/request", QoS::AtMostOnce, &x509_request("new", &identity)).await;
        let payload = client.answer().await.payload;
        let is_json = serde_json::from_slice::<serde_json::Value>(&payload).is_ok();
        assert_eq!((is_json, payload.len() > 65_536), (fault == "oversize", fault == "oversize"));
        fixture.device(&identity).await;
    }
}

#[tokio::test]
async fn doc_shape_is_that_of_the_documentation() {
    let fixture = faulty(&["doc-shape"]).await;
    let identity = new_identity();
    let answer = fixture.ask(&x509_request("new", &identity)).await;
    assert_eq!(answer["provisionDeviceStatus"], "SUCCESS");
    assert_eq!(answer["credentialsId"], identity.certificate.credentials_id());
    assert!(answer["status"].is_null());
    let refused = fixture.ask(&x509_request("new", &identity)).await;
    assert_eq!(refused["provisionDeviceStatus"], "FAILURE");
}

#[tokio::test]
async fn failure_creates_nothing_and_failure_after_create_does() {
    for (fault, created) in [("failure", false), ("failure-after-create", true)] {
        let fixture = faulty(&[fault]).await;
        assert_eq!(fixture.ask(&x509_request("new", &new_identity())).await["status"], "FAILURE");
        assert_eq!(names(&fixture).contains(&"new".to_owned()), created);
    }
}

#[tokio::test]
async fn the_first_devices_are_refused() {
    for (fault, code) in [("refuse=2", 5), ("unavailable=2", 3)] {
        let fixture = faulty(&[fault]).await;
        fixture.provisioning().await;
        for expected in [code, code, 0] {
            let mut client = fixture.dial(None).await;
            assert_eq!(client.connect(user("T")).await, Some((0, expected)));
        }
    }
}

#[tokio::test]
async fn over_the_rate_limit_the_connection_closes_without_puback() {
    let fixture = faulty(&["rate-limit=2"]).await;
    let mut client = token_device(&fixture).await;
    let mut burst = bytes::BytesMut::new();
    for id in 1..=3 {
        let mut publish = rumqttc::mqttbytes::v4::Publish::new(TELEMETRY, QoS::AtLeastOnce, "{}");
        publish.pkid = id;
        publish.write(&mut burst).unwrap();
    }
    client.raw(&burst).await;
    // The PUBACKs of the two that were accepted had not left yet.
    assert!(client.is_closed().await);
    assert_eq!(fixture.simulator.devices()[0].telemetry, 2);
}

/// Sends telemetry until something other than its PUBACK happens; how many were acknowledged, and how it ended.
async fn send_until_reset(client: &mut Client<TlsStream>, most: u64) -> (u64, bool) {
    for acknowledged in 0..most {
        client.publish(TELEMETRY, QoS::AtLeastOnce, "{}").await;
        if !client.is_acknowledged().await {
            return (acknowledged, true);
        }
    }
    (most, false)
}

#[tokio::test]
async fn reset_comes_after_the_nth_message_and_once() {
    let fixture = faulty(&["reset=3"]).await;
    assert_eq!(send_until_reset(&mut token_device(&fixture).await, 10).await, (2, true));
    assert_eq!(fixture.simulator.devices()[0].telemetry, 3);
    assert_eq!(send_until_reset(&mut token_device(&fixture).await, 10).await, (10, false));
}

#[tokio::test]
async fn reset_is_a_tcp_reset() {
    let fixture = faulty(&["reset=1"]).await;
    let mut client = token_device(&fixture).await;
    client.publish(TELEMETRY, QoS::AtLeastOnce, "{}").await;
    let error = client.stream.read(&mut [0; 16]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn reset_always_comes_on_every_connection() {
    let fixture = faulty(&["reset-always=2"]).await;
    for _ in 0..3 {
        assert_eq!(send_until_reset(&mut token_device(&fixture).await, 10).await, (1, true));
    }
}
