//! Provisioning connections, release by release.

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, Packet, SubscribeReasonCode};
use serde_json::json;
use tbprov::sim::{Release, Strategy};

use crate::client::*;

#[tokio::test]
async fn a_device_is_created_in_every_release_and_connects_with_its_certificate() {
    for release in Release::ALL {
        let fixture = start(|config| config.release = *release).await;
        let identity = new_identity();
        let answer = fixture.ask(&x509_request("sensor", &identity)).await;
        assert_eq!(answer["status"], "SUCCESS", "{release}");
        assert_eq!(answer["credentialsType"], "X509_CERTIFICATE");
        let sent: String =
            identity.certificate.to_pem().lines().filter(|line| !line.starts_with('-')).collect();
        assert_eq!(answer["credentialsValue"], sent);

        let mut device = fixture.device(&identity).await;
        device.publish(TELEMETRY, QoS::AtLeastOnce, r#"{"temperature":25}"#).await;
        assert!(device.is_acknowledged().await);
        let devices = fixture.simulator.devices();
        assert_eq!((devices[0].name.as_str(), devices[0].telemetry), ("sensor", 1));
        assert_eq!(devices[0].credentials_id, Some(identity.certificate.credentials_id()));

        let again = fixture.ask(&x509_request("sensor", &identity)).await;
        assert_eq!(again, json!({"errorMsg": "Failed to provision device!", "status": "FAILURE"}));
        let taken = fixture.ask(&x509_request("other", &identity)).await;
        assert_eq!(taken["status"], "FAILURE");
        assert!(!fixture.events.ndjson().contains(SECRET));
    }
}

#[tokio::test]
async fn a_wrong_secret_is_not_found() {
    let fixture = start(|_| {}).await;
    let answer = fixture.ask(&request("").replace(SECRET, "wrong")).await;
    assert_eq!(answer, json!({"errorMsg": "Provision data was not found!", "status": "NOT_FOUND"}));
}

#[tokio::test]
async fn user_name_or_client_id_makes_a_provisioning_connection() {
    let fixture = start(|_| {}).await;
    for connect in [user("provision"), Connect::new("provision")] {
        let mut client = fixture.dial(None).await;
        assert_eq!(client.connect(connect).await, Some((0, 0)));
    }
}

#[tokio::test]
async fn only_from_3_9_on_subscribe_is_acknowledged() {
    for release in Release::ALL {
        let fixture = start(|config| config.release = *release).await;
        let mut client = fixture.provisioning().await;
        client.subscribe("/provision/response").await;
        if release.acknowledges_subscribe() {
            let granted = SubscribeReasonCode::Success(QoS::AtMostOnce);
            assert!(
                matches!(client.next().await, Some(Packet::SubAck(ack)) if ack.return_codes == [granted])
            );
            client.subscribe("#").await;
            let refused = SubscribeReasonCode::Failure;
            assert!(
                matches!(client.next().await, Some(Packet::SubAck(ack)) if ack.return_codes == [refused])
            );
        }
        assert!(client.is_quiet().await, "{release}");
        client.publish("/provision/request", QoS::AtMostOnce, &request("")).await;
        let answer = client.answer().await;
        // Subscribed at QoS 0 where that counts; QoS 1 without a subscription that the server knows.
        let expected = if release.acknowledges_subscribe() { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        assert_eq!(answer.qos, expected, "{release}");
        assert_eq!(answer.topic, "/provision/response");
    }
}

#[tokio::test]
async fn bad_requests_are_closed_upon_and_from_3_7_on_acknowledged_first() {
    let bad = [
        r#"{"provisionDeviceKey":"k"}"#.to_owned(),
        request(r#","deviceName":null"#),
        request(r#","credentialsType":"X509""#),
    ];
    for release in Release::ALL {
        let fixture = start(|config| config.release = *release).await;
        let mut topics: Vec<_> = bad.iter().map(|request| ("/provision/request", request.as_str())).collect();
        topics.push(("provision/request", r#"{"no":"leading slash"}"#));
        for (topic, payload) in topics {
            let mut client = fixture.provisioning().await;
            client.publish(topic, QoS::AtLeastOnce, payload).await;
            if release.acknowledges_before_close() {
                assert!(client.is_acknowledged().await, "{release} {payload}");
            }
            assert!(client.is_closed().await, "{release} {payload}");
        }
        for not_json in [" ", "hello", "[]"] {
            let mut client = fixture.provisioning().await;
            client.publish("/provision/request", QoS::AtLeastOnce, not_json).await;
            assert!(client.is_closed().await, "{release} {not_json}");
        }
    }
}

#[tokio::test]
async fn a_type_without_its_field_is_answered_with_a_random_token() {
    let fixture = start(|_| {}).await;
    let answer = fixture.ask(&request(r#","credentialsType":"X509_CERTIFICATE""#)).await;
    assert_eq!(answer["credentialsType"], "ACCESS_TOKEN");
    let token = answer["credentialsValue"].as_str().unwrap();
    let mut client = fixture.dial(None).await;
    assert_eq!(client.connect(user(token)).await, Some((0, 0)));
    assert!(!fixture.events.ndjson().contains(token));
}

#[tokio::test]
async fn basic_credentials_are_answered_as_an_object_and_log_in() {
    let fixture = start(|_| {}).await;
    let extra = r#","credentialsType":"MQTT_BASIC","username":"u","password":"p","clientId":"c""#;
    let answer = fixture.ask(&request(extra)).await;
    assert_eq!(answer["credentialsValue"], json!({"clientId": "c", "userName": "u", "password": "p"}));
    for (password, code) in [("p", 0), ("wrong", 5)] {
        let mut connect = Connect::new("c");
        connect.set_credentials("u", password);
        let mut client = fixture.dial(None).await;
        assert_eq!(client.connect(connect).await, Some((0, code)));
    }
}

#[tokio::test]
async fn a_pre_provisioned_device_is_answered_with_what_the_server_holds() {
    for release in Release::ALL {
        let fixture = start(|config| {
            config.release = *release;
            config.strategy = Strategy::PreProvisioned;
            config.pre_provisioned = vec![with_token("sensor", "T")];
        })
        .await;
        let request = x509_request("sensor", &new_identity());
        let answer = fixture.ask(&request).await;
        let success =
            json!({"credentialsValue": "T", "credentialsType": "ACCESS_TOKEN", "status": "SUCCESS"});
        assert_eq!(answer, success);
        let again = fixture.ask(&request).await["status"].clone();
        let expected = if release.repeats_pre_provisioned() { "SUCCESS" } else { "FAILURE" };
        assert_eq!(again, expected, "{release}");
        let unknown = fixture.ask(&x509_request("unknown", &new_identity())).await;
        assert_eq!(unknown["status"], "FAILURE");
    }
}

#[tokio::test]
async fn qos_2_is_answered_with_puback() {
    let fixture = start(|_| {}).await;
    let mut client = fixture.provisioning().await;
    client.publish("/provision/request", QoS::ExactlyOnce, &request("")).await;
    assert!(client.is_acknowledged().await);
    assert_eq!(client.answer().await.pkid, 1);
}

#[tokio::test]
async fn several_requests_on_one_connection_are_answered() {
    let fixture = start(|_| {}).await;
    let mut client = fixture.provisioning().await;
    for id in 1..=3 {
        client.publish("/provision/request", QoS::AtMostOnce, &request("")).await;
        assert_eq!(client.answer().await.pkid, id);
    }
    assert_eq!(fixture.simulator.devices().len(), 3);
}

#[tokio::test]
async fn the_connection_is_closed_some_time_after_the_first_answer() {
    let fixture = start(|config| config.provisioning_lifetime = std::time::Duration::ZERO).await;
    let mut client = fixture.provisioning().await;
    assert!(client.is_quiet().await);
    client.publish("/provision/request", QoS::AtMostOnce, &request("")).await;
    // The answer may still be in the server's buffer when the time is over, as with the real one.
    while client.next().await.is_some() {}
}

#[tokio::test]
async fn packets_over_64_kib_and_malformed_ones_are_closed_upon() {
    let fixture = start(|_| {}).await;
    let padded = |length: usize| request(&format!(r#","padding":"{}""#, "x".repeat(length)));
    let mut client = fixture.provisioning().await;
    client.publish("/provision/request", QoS::AtMostOnce, &padded(65_000)).await;
    client.answer().await;
    client.publish("/provision/request", QoS::AtMostOnce, &padded(65_536)).await;
    assert!(client.is_closed().await);

    // No such packet type, wrong flags, a length that never ends; and what is no CONNECT.
    for malformed in [&[0x00, 0][..], &[0x80, 2, 0, 1], &[0x30, 0xFF, 0xFF, 0xFF, 0xFF]] {
        let mut client = fixture.provisioning().await;
        client.raw(malformed).await;
        assert!(client.is_closed().await);
    }
    let mut client = fixture.dial(None).await;
    client.raw(&[0x00]).await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn plain_mqtt_provisions_too() {
    let fixture = start(|config| config.plain = Some(([127, 0, 0, 1], 0).into())).await;
    let address = fixture.simulator.plain_address().unwrap();
    let mut client = Client::new(tokio::net::TcpStream::connect(address).await.unwrap());
    assert_eq!(client.connect(user("provision")).await, Some((0, 0)));
    client.publish("/provision/request", QoS::AtMostOnce, &request("")).await;
    client.answer().await;
}

#[tokio::test]
async fn the_gateway_flag_counts_from_3_8_on() {
    for release in Release::ALL {
        let fixture = start(|config| config.release = *release).await;
        assert_eq!(fixture.ask(&request(r#","gateway":true"#)).await["status"], "SUCCESS");
        assert_eq!(fixture.simulator.devices()[0].gateway, release.reads_gateway_flag(), "{release}");
    }
}

#[tokio::test]
async fn devices_outlive_the_simulator_in_a_state_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let identity = new_identity();
    let fixture = start(|config| config.state = Some(path.clone())).await;
    assert_eq!(fixture.ask(&x509_request("sensor", &identity)).await["status"], "SUCCESS");
    fixture.simulator.stop().await;
    let fixture = start(|config| config.state = Some(path.clone())).await;
    fixture.device(&identity).await;
    assert_eq!(fixture.ask(&x509_request("sensor", &new_identity())).await["status"], "FAILURE");
}

#[tokio::test]
async fn a_killed_simulator_leaves_its_devices_and_an_old_state_file_is_read() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let old = r#"{"schema":"tbprov-sim/1","devices":[
        {"name":"old","credentials":{"type":"access-token","token":"T"},"gateway":false,"provisioned":true}]}"#;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path).unwrap();
    file.write_all(old.as_bytes()).unwrap();
    // Wine renames over no file that is open, as Windows before 10.
    drop(file);
    let fixture = start(|config| config.state = Some(path.clone())).await;
    for name in ["first", "second"] {
        assert_eq!(fixture.ask(&x509_request(name, &new_identity())).await["status"], "SUCCESS");
    }
    fixture.simulator.stop().await;
    let lines = std::fs::read_to_string(&path).unwrap();
    let is_profile = |line: &&str| line.starts_with(r#"{"profile":"#);
    let begins: Vec<_> = lines.lines().filter(|line| !is_profile(line)).map(|line| &line[..23]).collect();
    let device = |name: &str| format!(r#"{{"device":{{"name":"{name}"#)[..23].to_owned();
    assert_eq!(begins[1..], [device("old\","), device("first"), device("second")]);
    assert!(begins[0].starts_with(r#"{"schema":"tbprov-sim/3"#), "{}", begins[0]);

    // A kill in the middle of the last line.
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(u64::try_from(lines.len()).unwrap() - 40).unwrap();
    drop(file);
    let fixture = start(|config| config.state = Some(path.clone())).await;
    let names: Vec<_> = fixture.simulator.devices().into_iter().map(|device| device.name).collect();
    assert_eq!(names, ["first", "old"]);
    assert_eq!(fixture.ask(&x509_request("second", &new_identity())).await["status"], "SUCCESS");
    fixture.simulator.stop().await;
    let fixture = start(|config| config.state = Some(path.clone())).await;
    assert_eq!(fixture.simulator.devices().len(), 3);
}
