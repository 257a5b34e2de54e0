//! Limits: what is over them, what a device is told of them, and what becomes of PUBACKs.

use bytes::BytesMut;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish};
use tbprov::sim::{Config, Fault, Limit, Release};
use tokio::io::AsyncReadExt as _;

use crate::client::*;

fn limit(text: &str) -> Option<Limit> {
    Some(text.parse().unwrap())
}

/// Two devices with the tokens `T` and `U`.
async fn limited(change: impl FnOnce(&mut Config)) -> Fixture {
    start(|config| {
        config.pre_provisioned = vec![with_token("sensor", "T"), with_token("other", "U")];
        config.keep_values = true;
        change(config);
    })
    .await
}

async fn faulty(faults: &[&str]) -> Fixture {
    let faults = faults.iter().map(|fault| fault.parse::<Fault>().unwrap()).collect();
    limited(|config| config.faults = faults).await
}

async fn logged_in(fixture: &Fixture, token: &str) -> Client<TlsStream> {
    let mut client = fixture.dial(None).await;
    assert!(matches!(client.connect(user(token)).await, Some((_, 0))));
    client
}

/// Sends messages of these packet identifiers together, the nth of them with the time n.
async fn pipeline(client: &mut Client<TlsStream>, ids: std::ops::RangeInclusive<u16>, values: &str) {
    let mut burst = BytesMut::new();
    for id in ids {
        let payload = format!(r#"{{"ts":{id},"values":{{{values}}}}}"#);
        let mut publish = Publish::new(TELEMETRY, QoS::AtLeastOnce, payload);
        publish.pkid = id;
        publish.write(&mut burst).unwrap();
    }
    client.raw(&burst).await;
}

/// The packet identifiers of the next PUBACKs, so many, or as many as come before the end.
async fn acknowledged(client: &mut Client<TlsStream>, most: usize) -> Vec<u16> {
    let mut ids = Vec::new();
    while ids.len() < most {
        match client.next().await {
            Some(Packet::PubAck(ack)) => ids.push(ack.pkid),
            None => break,
            other => panic!("{other:?}"),
        }
    }
    ids
}

fn stored(fixture: &Fixture, device: &str) -> u64 {
    let devices = fixture.simulator.devices();
    devices.iter().find(|found| found.name == device).unwrap().stored
}

#[tokio::test]
async fn what_is_pipelined_over_the_limit_is_stored_up_to_it_and_not_acknowledged() {
    let fixture = limited(|config| config.device_limit = limit("10:60")).await;
    let mut client = logged_in(&fixture, "T").await;
    pipeline(&mut client, 1..=15, r#""a":1"#).await;
    assert!(acknowledged(&mut client, 15).await.len() <= 1);
    assert_eq!(stored(&fixture, "sensor"), 10);
    drop(client);
    fixture.events.until("closed").await;
    let events = fixture.events.ndjson();
    assert!(events.contains("over the device's limit of telemetry messages"), "{events}");
}

#[tokio::test]
async fn a_window_of_the_limit_is_acknowledged_and_the_next_message_closes() {
    let fixture = limited(|config| config.device_limit = limit("10:60,12:3600")).await;
    let mut client = logged_in(&fixture, "T").await;
    pipeline(&mut client, 1..=10, r#""a":1"#).await;
    assert_eq!(acknowledged(&mut client, 10).await, (1..=10).collect::<Vec<_>>());
    pipeline(&mut client, 11..=11, r#""a":1"#).await;
    assert!(client.is_closed().await);
    assert_eq!(stored(&fixture, "sensor"), 10);
}

#[tokio::test]
async fn the_limit_belongs_to_the_device_and_not_to_its_connection() {
    let fixture = limited(|config| config.device_limit = limit("3:3600")).await;
    for id in 1..=3 {
        let mut client = logged_in(&fixture, "T").await;
        pipeline(&mut client, id..=id, r#""a":1"#).await;
        assert_eq!(acknowledged(&mut client, 1).await, [id]);
    }
    let mut client = logged_in(&fixture, "T").await;
    pipeline(&mut client, 4..=4, r#""a":1"#).await;
    assert!(client.is_closed().await);
    let mut other = logged_in(&fixture, "U").await;
    pipeline(&mut other, 1..=3, r#""a":1"#).await;
    assert_eq!(acknowledged(&mut other, 3).await.len(), 3);
}

#[tokio::test]
async fn tokens_come_back() {
    let fixture = limited(|config| config.device_limit = limit("20:1")).await;
    let mut client = logged_in(&fixture, "T").await;
    for id in 1..=30 {
        pipeline(&mut client, id..=id, r#""a":1"#).await;
        assert_eq!(acknowledged(&mut client, 1).await, [id]);
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    }
}

#[tokio::test]
async fn data_points_are_limited_too() {
    let fixture = limited(|config| config.device_point_limit = limit("10:3600")).await;
    let mut client = logged_in(&fixture, "T").await;
    let four = r#""a":1,"b":2,"c":3,"d":4"#;
    for id in 1..=2 {
        pipeline(&mut client, id..=id, four).await;
        assert_eq!(acknowledged(&mut client, 1).await, [id]);
    }
    pipeline(&mut client, 3..=3, four).await;
    assert!(client.is_closed().await);
    assert_eq!(stored(&fixture, "sensor"), 8);
    let mut client = logged_in(&fixture, "T").await;
    pipeline(&mut client, 4..=4, r#""a":1,"b":2,"c":null"#).await;
    assert_eq!(acknowledged(&mut client, 1).await, [4]);
}

#[tokio::test]
async fn the_tenant_is_all_devices_together() {
    let fixture = limited(|config| config.tenant_limit = limit("3:3600")).await;
    let (mut one, mut two) = (logged_in(&fixture, "T").await, logged_in(&fixture, "U").await);
    pipeline(&mut one, 1..=2, r#""a":1"#).await;
    assert_eq!(acknowledged(&mut one, 2).await.len(), 2);
    pipeline(&mut two, 1..=2, r#""a":1"#).await;
    assert!(acknowledged(&mut two, 2).await.len() <= 1);
    assert_eq!((stored(&fixture, "sensor"), stored(&fixture, "other")), (2, 1));

    let fixture = limited(|config| config.tenant_point_limit = limit("3:3600")).await;
    let (mut one, mut two) = (logged_in(&fixture, "T").await, logged_in(&fixture, "U").await);
    pipeline(&mut one, 1..=1, r#""a":1,"b":1"#).await;
    assert_eq!(acknowledged(&mut one, 1).await.len(), 1);
    pipeline(&mut two, 1..=1, r#""a":1,"b":1"#).await;
    assert!(two.is_closed().await);
}

#[tokio::test]
async fn connects_over_the_limit_get_connack_3() {
    let fixture = limited(|config| config.device_connect_limit = limit("2:3600")).await;
    let mut last = None;
    for _ in 0..2 {
        let mut client = logged_in(&fixture, "T").await;
        pipeline(&mut client, 1..=50, r#""a":1"#).await;
        assert_eq!(acknowledged(&mut client, 50).await.len(), 50);
        last = Some(client);
    }
    assert_eq!(fixture.dial(None).await.connect(user("T")).await, Some((0, 3)));
    assert_eq!(fixture.dial(None).await.connect(user("U")).await, Some((0, 0)));
    assert_eq!(fixture.dial(None).await.connect(user("unknown")).await, Some((0, 5)));
    assert!(last.unwrap().is_quiet().await);
    fixture.provisioning().await;
}

#[tokio::test]
async fn a_closed_connection_still_gets_its_other_answers() {
    let fixture = limited(|config| config.device_limit = limit("1:3600")).await;
    let mut client = logged_in(&fixture, "T").await;
    let mut burst = BytesMut::new();
    for id in 1..=2 {
        let mut publish = Publish::new(TELEMETRY, QoS::AtLeastOnce, "{a:1}");
        publish.pkid = id;
        publish.write(&mut burst).unwrap();
        Packet::PingReq.write(&mut burst, usize::MAX).unwrap();
    }
    client.raw(&burst).await;
    assert!(matches!(client.next().await, Some(Packet::PingResp)));
    assert!(client.is_closed().await);
}

const ASK: &str = r#"{"method":"getSessionLimits","params":{}}"#;
const REQUEST: &str = "v1/devices/me/rpc/request/17";

#[tokio::test]
async fn session_limits_are_told_from_3_8_on() {
    for release in Release::ALL {
        let fixture = limited(|config| {
            config.release = *release;
            config.device_limit = limit("10:1,300:60");
            config.device_connect_limit = limit("20:1,600:60");
            config.tenant_limit = limit("1:3600");
            config.tenant_point_limit = limit("1:3600");
        })
        .await;
        let mut client = logged_in(&fixture, "T").await;
        client.publish(REQUEST, QoS::AtLeastOnce, ASK).await;
        assert!(client.is_acknowledged().await);
        if *release >= Release::V3_8 {
            let answer = client.answer().await;
            assert_eq!(answer.topic, "v1/devices/me/rpc/response/17");
            assert_eq!(answer.qos, QoS::AtLeastOnce);
            assert_ne!(answer.pkid, 0);
            let points = if *release >= Release::V4_3 { "null" } else { r#""""# };
            let expected = format!(
                r#"{{"maxPayloadSize":65536,"maxInflightMessages":100,"rateLimits":{{"messages":"20:1,600:60","telemetryMessages":"10:1,300:60","telemetryDataPoints":{points}}}}}"#
            );
            assert_eq!(std::str::from_utf8(&answer.payload).unwrap(), expected);
        }
        assert!(client.is_quiet().await, "{release}");
    }
}

#[tokio::test]
async fn the_question_is_neither_telemetry_nor_a_message() {
    let fixture = limited(|config| {
        config.device_limit = limit("1:3600");
        config.device_connect_limit = limit("1:3600");
        config.faults = vec![Fault::RateLimit(1)];
    })
    .await;
    let mut client = logged_in(&fixture, "T").await;
    for _ in 0..5 {
        client.publish(REQUEST, QoS::AtLeastOnce, ASK).await;
        assert!(client.is_acknowledged().await);
        client.answer().await;
    }
    pipeline(&mut client, 1..=1, r#""a":1"#).await;
    assert_eq!(acknowledged(&mut client, 1).await, [1]);
    assert_eq!(fixture.simulator.devices()[1].telemetry, 1);
}

#[tokio::test]
async fn requests_without_number_or_method_close_and_others_get_no_answer() {
    for release in Release::ALL {
        let fixture = limited(|config| config.release = *release).await;
        for (topic, payload) in [
            ("v1/devices/me/rpc/request/x", ASK),
            ("v1/devices/me/rpc/request/", ASK),
            (REQUEST, r#"{"params":{}}"#),
            (REQUEST, "{}"),
            (REQUEST, "[]"),
            (REQUEST, "getSessionLimits"),
        ] {
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
                let mut client = logged_in(&fixture, "T").await;
                client.publish(topic, qos, payload).await;
                assert!(client.is_closed().await, "{release} {topic} {payload}");
            }
        }
        let mut client = logged_in(&fixture, "T").await;
        client.publish(REQUEST, QoS::AtLeastOnce, r#"{"method":"getTime","params":{}}"#).await;
        assert!(client.is_acknowledged().await && client.is_quiet().await, "{release}");
    }
}

#[tokio::test]
async fn pubacks_are_late_and_what_they_acknowledge_is_stored() {
    let fixture = faulty(&["puback-late=800ms"]).await;
    let mut client = logged_in(&fixture, "T").await;
    let sent = tokio::time::Instant::now();
    pipeline(&mut client, 1..=3, r#""a":1"#).await;
    assert!(client.is_quiet().await);
    assert_eq!(stored(&fixture, "sensor"), 3);
    assert_eq!(acknowledged(&mut client, 3).await, [1, 2, 3]);
    assert!(sent.elapsed() >= std::time::Duration::from_millis(800));
    assert!(fixture.events.ndjson().contains(r#""name":"puback-late""#));
}

#[tokio::test]
async fn late_pubacks_are_forgotten_over_a_limit() {
    let fixture = limited(|config| {
        config.device_limit = limit("10:3600");
        config.faults = vec!["puback-late=60s".parse().unwrap()];
    })
    .await;
    let mut client = logged_in(&fixture, "T").await;
    for id in 1..=15 {
        pipeline(&mut client, id..=id, r#""a":1"#).await;
    }
    assert!(acknowledged(&mut client, 15).await.is_empty());
    assert_eq!(stored(&fixture, "sensor"), 10);
}

#[tokio::test]
async fn pubacks_are_shuffled_and_none_is_withheld() {
    let fixture = faulty(&["puback-shuffled"]).await;
    let mut client = logged_in(&fixture, "T").await;
    pipeline(&mut client, 1..=5, r#""a":1"#).await;
    let mut ids = acknowledged(&mut client, 5).await;
    assert_ne!(ids, [1, 2, 3, 4, 5]);
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    pipeline(&mut client, 6..=6, r#""a":1"#).await;
    assert_eq!(acknowledged(&mut client, 1).await, [6]);
}

#[tokio::test]
async fn late_and_shuffled_pubacks_come_twice() {
    let fixture = faulty(&["puback-late=20ms", "puback-shuffled", "puback-twice"]).await;
    let mut client = logged_in(&fixture, "T").await;
    pipeline(&mut client, 1..=3, r#""a":1"#).await;
    let mut ids = acknowledged(&mut client, 6).await;
    ids.sort_unstable();
    assert_eq!(ids, [1, 1, 2, 2, 3, 3]);
    assert!(client.is_quiet().await);
}

#[tokio::test]
async fn what_is_acknowledged_is_stored_later_or_never() {
    let fixture = faulty(&["not-stored=2"]).await;
    let mut client = logged_in(&fixture, "T").await;
    pipeline(&mut client, 1..=3, r#""a":1"#).await;
    assert_eq!(acknowledged(&mut client, 3).await, [1, 2, 3]);
    assert_eq!(stored(&fixture, "sensor"), 2);
    let fixture = faulty(&["stored-late=40ms"]).await;
    let mut client = logged_in(&fixture, "T").await;
    pipeline(&mut client, 1..=3, r#""a":1"#).await;
    assert_eq!(acknowledged(&mut client, 3).await, [1, 2, 3]);
    assert_eq!(stored(&fixture, "sensor"), 0);
    while stored(&fixture, "sensor") < 3 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn close_every_closes_in_order_and_forgets_pubacks() {
    let fixture = faulty(&["close-every=3"]).await;
    for round in 0..2 {
        let mut client = logged_in(&fixture, "T").await;
        pipeline(&mut client, 1..=5, r#""a":1"#).await;
        assert!(acknowledged(&mut client, 5).await.is_empty());
        // An end in order, which no reset is.
        assert_eq!(client.stream.read(&mut [0; 16]).await.unwrap(), 0);
        assert_eq!(fixture.simulator.devices()[1].telemetry, 3 * (round + 1));
    }
    assert_eq!(stored(&fixture, "sensor"), 3);
}
