//! Connections of devices.

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, Packet, SubscribeReasonCode};
use tbprov::sim::Release;

use crate::client::*;

#[tokio::test]
async fn connack_tells_who_is_refused() {
    for release in Release::ALL {
        let fixture = start(|config| {
            config.release = *release;
            config.pre_provisioned = vec![with_token("sensor", "T")];
        })
        .await;
        let no_identity = if *release >= Release::V3_6 { 2 } else { 5 };
        let mut blank = Connect::new("");
        blank.clean_session = true;
        let mut both = Connect::new("c");
        both.set_credentials("unknown", "p");
        let cases = [
            (user("T"), 0),
            (user("unknown"), 5),
            (both, 5),
            (Connect::new("some-client"), no_identity),
            (blank, 5),
        ];
        for (connect, code) in cases {
            let mut client = fixture.dial(None).await;
            assert_eq!(client.connect(connect.clone()).await.unwrap().1, code, "{release} {connect:?}");
        }
    }
}

#[tokio::test]
async fn session_present_is_not_clean_session_even_on_refusals() {
    for release in Release::ALL {
        let fixture = start(|config| {
            config.release = *release;
            config.pre_provisioned = vec![with_token("sensor", "T")];
        })
        .await;
        for name in ["T", "unknown"] {
            for clean_session in [true, false] {
                let mut connect = user(name);
                connect.clean_session = clean_session;
                let present = fixture.dial(None).await.connect(connect).await.unwrap().0;
                assert_eq!(present, u8::from(!clean_session), "{release} {name} {clean_session}");
            }
        }
    }
}

#[tokio::test]
async fn telemetry_and_attributes_are_acknowledged_and_counted() {
    let identity = new_identity();
    let fixture = start(|config| config.pre_provisioned = vec![holding("sensor", &identity)]).await;
    let mut client = fixture.device(&identity).await;
    for topic in
        [TELEMETRY, "v2/t", "v1/devices/me/attributes", "v2/a", "something/else", "/provision/request"]
    {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            client.publish(topic, qos, r#"{"temperature":25.5}"#).await;
            assert!(client.is_acknowledged().await, "{topic}");
        }
    }
    client.publish(TELEMETRY, QoS::AtMostOnce, r#"{"last":true}"#).await;
    client.publish(TELEMETRY, QoS::AtLeastOnce, "[]").await;
    assert!(client.is_quiet().await);
    let device = fixture.simulator.devices().remove(0);
    assert_eq!((device.telemetry, device.attributes), (5, 4));
    assert_eq!(device.last_telemetry.as_deref(), Some(r#"{"last":true}"#));
    let events = fixture.events.ndjson();
    assert!(events.contains(r#""payload":"{\"last\":true}""#) && events.contains(r#""event":"attributes""#));
}

#[tokio::test]
async fn an_undecodable_payload_closes_without_puback() {
    let fixture = start(|config| config.pre_provisioned = vec![with_token("sensor", "T")]).await;
    for (topic, payload) in
        [(TELEMETRY, "temperature=25"), (TELEMETRY, "7"), ("v1/devices/me/attributes", "[]")]
    {
        let mut client = fixture.dial(None).await;
        assert_eq!(client.connect(user("T")).await, Some((0, 0)));
        client.publish(topic, QoS::AtLeastOnce, payload).await;
        assert!(client.is_closed().await);
    }
    assert_eq!(fixture.simulator.devices()[0].telemetry, 0);
}

#[tokio::test]
async fn devices_subscribe_to_exact_filters() {
    let fixture = start(|config| config.pre_provisioned = vec![with_token("sensor", "T")]).await;
    let mut client = fixture.dial(None).await;
    assert_eq!(client.connect(user("T")).await, Some((0, 0)));
    let granted = SubscribeReasonCode::Success(QoS::AtMostOnce);
    for (filter, code) in
        [("v1/devices/me/rpc/request/+", granted), ("#", SubscribeReasonCode::Failure), ("v2/a", granted)]
    {
        client.subscribe(filter).await;
        assert!(
            matches!(client.next().await, Some(Packet::SubAck(ack)) if ack.return_codes == [code]),
            "{filter}"
        );
    }
}

#[tokio::test]
async fn a_newer_connection_closes_the_older_one_of_the_device() {
    let identity = new_identity();
    let fixture = start(|config| config.pre_provisioned = vec![holding("sensor", &identity)]).await;
    let mut older = fixture.device(&identity).await;
    let mut newer = fixture.device(&identity).await;
    assert!(older.is_closed().await);
    assert!(newer.is_quiet().await);
    drop(older);
    assert!(newer.is_quiet().await);
}

#[tokio::test]
async fn a_burst_is_acknowledged_in_order_and_completely() {
    let fixture = start(|config| config.pre_provisioned = vec![with_token("sensor", "T")]).await;
    let mut client = fixture.dial(None).await;
    assert_eq!(client.connect(user("T")).await, Some((0, 0)));
    let mut burst = bytes::BytesMut::new();
    for id in 1..=1000 {
        let mut publish = rumqttc::mqttbytes::v4::Publish::new(TELEMETRY, QoS::AtLeastOnce, r#"{"a":1}"#);
        publish.pkid = id;
        publish.write(&mut burst).unwrap();
    }
    client.raw(&burst).await;
    for id in 1..=1000 {
        assert!(matches!(client.next().await, Some(Packet::PubAck(ack)) if ack.pkid == id));
    }
    assert_eq!(fixture.simulator.devices()[0].telemetry, 1000);
}

#[tokio::test]
async fn stopping_closes_connections() {
    let fixture = start(|config| config.pre_provisioned = vec![with_token("sensor", "T")]).await;
    let mut client = fixture.dial(None).await;
    assert_eq!(client.connect(user("T")).await, Some((0, 0)));
    let address = fixture.simulator.address();
    fixture.simulator.stop().await;
    assert!(client.is_closed().await);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_connection_without_connect_ends_and_a_ping_is_none() {
    let fixture = start(|config| {
        config.plain = Some(([127, 0, 0, 1], 0).into());
        config.unconnected_lifetime = std::time::Duration::from_millis(100);
        config.pre_provisioned = vec![with_token("sensor", "T")];
    })
    .await;
    let dial = || tokio::net::TcpStream::connect(fixture.simulator.plain_address().unwrap());
    let mut device = Client::new(dial().await.unwrap());
    assert_eq!(device.connect(user("T")).await, Some((0, 0)));
    for first in [&[][..], &[0x10], &[0xC0, 0]] {
        let mut silent = Client::new(dial().await.unwrap());
        silent.raw(first).await;
        assert!(silent.is_closed().await, "{first:?}");
    }
    assert!(fixture.events.ndjson().contains(r#""reason":"no CONNECT came""#));
    // One that has logged in may be silent.
    assert!(device.is_quiet().await);
}

#[tokio::test]
async fn connections_have_a_bound() {
    let fixture = start(|config| {
        config.most_connections = 2;
        config.pre_provisioned = vec![with_token("sensor", "T")];
    })
    .await;
    let mut first = fixture.dial(None).await;
    let second = fixture.dial(None).await;
    assert!(handshake(fixture.simulator.address(), fixture.tls(None)).await.is_err());
    assert!(fixture.events.ndjson().contains("there are too many connections"));
    assert_eq!(first.connect(user("T")).await, Some((0, 0)));
    drop(second);
    // The place is free once the server has seen the end.
    while handshake(fixture.simulator.address(), fixture.tls(None)).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}
