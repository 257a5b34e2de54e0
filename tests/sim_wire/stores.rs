//! What of telemetry is acknowledged, and what of it is stored.

use std::net::{Ipv4Addr, SocketAddr};

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish};
use tbprov::sim::{PreProvisioned, Release, StoredValue};
use tokio::net::TcpStream;

use crate::client::*;

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq)]
enum Fate {
    /// It is acknowledged, and this is what the store has: times, or -77 for that of arrival; keys; values.
    Stored(Vec<(i64, String, String)>),
    /// No PUBACK, and the connection stays.
    Ignored,
    Closed,
}

/// Stands for the time of arrival.
const ARRIVAL: i64 = -77;

fn stored(values: &[(i64, &str, &str)]) -> Fate {
    Fate::Stored(values.iter().map(|(ts, key, value)| (*ts, (*key).into(), (*value).into())).collect())
}

/// One value of the time of arrival, with the key `a`.
fn value(value: &str) -> Fate {
    stored(&[(ARRIVAL, "a", value)])
}

fn dropped() -> Fate {
    stored(&[])
}

/// A simulator that keeps values, with the devices `0`, `1`, … whose tokens are their names.
async fn keeping(devices: usize, release: Release) -> Fixture {
    start(|config| {
        config.release = release;
        config.keep_values = true;
        config.plain = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let device = |number: usize| with_token(&number.to_string(), &number.to_string());
        config.pre_provisioned = (0..devices).map(device).collect::<Vec<PreProvisioned>>();
    })
    .await
}

async fn plain_device(fixture: &Fixture, token: &str) -> Client<TcpStream> {
    let stream = TcpStream::connect(fixture.simulator.plain_address().unwrap()).await.unwrap();
    let mut client = Client::new(stream);
    assert!(matches!(client.connect(user(token)).await, Some((_, 0))));
    client
}

async fn publish(client: &mut Client<TcpStream>, topic: &str, payload: &[u8]) {
    let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload);
    publish.pkid = 7;
    client.send(Packet::Publish(publish)).await;
    client.send(Packet::PingReq).await;
}

/// What becomes of one message of the device.
async fn fate(fixture: &Fixture, device: &str, payload: &[u8]) -> Fate {
    let mut client = plain_device(fixture, device).await;
    let before = now();
    publish(&mut client, TELEMETRY, payload).await;
    let first = client.next().await;
    let after = now();
    let is_of_arrival = |ts: i64| (before..=after).contains(&ts);
    let row = |value: StoredValue| {
        (if is_of_arrival(value.ts) { ARRIVAL } else { value.ts }, value.key, value.value)
    };
    let values = fixture.simulator.values(device);
    match first {
        Some(Packet::PubAck(ack)) => {
            assert_eq!(ack.pkid, 7);
            assert!(matches!(client.next().await, Some(Packet::PingResp)));
            Fate::Stored(values.into_iter().map(row).collect())
        }
        Some(Packet::PingResp) => Fate::Ignored,
        Some(other) => panic!("{other:?}"),
        None => {
            assert!(values.is_empty());
            Fate::Closed
        }
    }
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

async fn check(cases: &[(Vec<u8>, Fate)], release: Release) {
    let fixture = keeping(cases.len(), release).await;
    for (number, (payload, expected)) in cases.iter().enumerate() {
        let fate = fate(&fixture, &number.to_string(), payload).await;
        assert_eq!(fate, *expected, "{release} {}", String::from_utf8_lossy(payload));
    }
}

async fn check_at_every_release(cases: &[(&str, Fate)]) {
    let cases: Vec<_> =
        cases.iter().map(|(payload, fate)| (payload.as_bytes().to_vec(), fate.clone())).collect();
    for release in Release::ALL {
        check(&cases, *release).await;
    }
}

#[tokio::test]
async fn times_are_those_sent_or_those_of_arrival() {
    let at = |ts: i64| stored(&[(ts, "a", "1")]);
    check_at_every_release(&[
        (r#"{"a":1}"#, value("1")),
        (r#"{"a":1,"b":"x"}"#, stored(&[(ARRIVAL, "a", "1"), (ARRIVAL, "b", "x")])),
        ("{}", dropped()),
        (r#"{"ts":1700000000000,"values":{"a":1}}"#, at(1_700_000_000_000)),
        (r#"{"ts":0,"values":{"a":1}}"#, at(0)),
        (r#"{"ts":-1,"values":{"a":1}}"#, at(-1)),
        (r#"{"ts":1700000000,"values":{"a":1}}"#, at(1_700_000_000)),
        (r#"{"ts":4102444799999,"values":{"a":1}}"#, at(4_102_444_799_999)),
        (r#"{"ts":"1700000000000","values":{"a":1}}"#, at(1_700_000_000_000)),
        (r#"{"ts":1700000000000.9,"values":{"a":1}}"#, at(1_700_000_000_000)),
        (r#"{"ts":9999999999999999,"values":{"a":1}}"#, dropped()),
        (r#"{"ts":99999999999999999999,"values":{"a":1}}"#, dropped()),
        (r#"{"ts":1700000000000,"a":1}"#, stored(&[(ARRIVAL, "a", "1"), (ARRIVAL, "ts", "1700000000000")])),
        (r#"{"values":{"a":1}}"#, stored(&[(ARRIVAL, "values", r#"{"a":1}"#)])),
        (r#"{"ts":1,"values":{}}"#, dropped()),
        (r#"[{"ts":1,"values":{"a":1}},{"ts":2,"values":{"a":2}}]"#, stored(&[(1, "a", "1"), (2, "a", "2")])),
        (r#"[{"ts":5,"values":{"a":1}},{"ts":5,"values":{"a":2}}]"#, stored(&[(5, "a", "2")])),
        (r#"[{"ts":5,"values":{"a":1}},{"b":2}]"#, stored(&[(5, "a", "1"), (ARRIVAL, "b", "2")])),
    ])
    .await;
}

#[tokio::test]
async fn keys_that_are_acknowledged_and_not_stored() {
    let key = |length: usize| format!(r#"{{"{}":1}}"#, "k".repeat(length));
    let longest = "k".repeat(255);
    check_at_every_release(&[
        (&key(255), stored(&[(ARRIVAL, &longest, "1")])),
        (&key(256), dropped()),
        (&key(1000), dropped()),
        (&format!(r#"{{"{}":1}}"#, "😀".repeat(128)), dropped()),
        (r#"{"":1}"#, dropped()),
        (r#"{"  ":1}"#, dropped()),
        (r#"{"a\u0000":1}"#, dropped()),
        (r#"[{"ts":1,"values":{"a":1}},{"ts":2,"values":{"":2}}]"#, stored(&[(1, "a", "1")])),
        (r#"{"a":null}"#, dropped()),
        (r#"{"a":1,"b":null}"#, value("1")),
    ])
    .await;
}

#[tokio::test]
async fn values_are_cast_or_become_text() {
    check_at_every_release(&[
        (r#"{"a":"007"}"#, value("7")),
        (r#"{"a":"25.0"}"#, value("25.0")),
        (r#"{"a":25.5}"#, value("25.5")),
        (r#"{"a":007}"#, value("7")),
        (r#"{"a":"1e5"}"#, value("1e5")),
        (r#"{"a":"true"}"#, value("true")),
        (r#"{"a":true}"#, value("true")),
        (r#"{"a":""}"#, value("")),
        (r#"{"a":" "}"#, value(" ")),
        (r#"{"a":NaN}"#, value("NaN")),
        (r#"{"a":0x10}"#, value("0x10")),
        (r#"{"a":hello}"#, value("hello")),
        (r#"{"a":0.12345678901234567890}"#, value("0.12345678901234567890")),
        (r#"{"a":"99999999999999999999"}"#, value("99999999999999999999")),
        (r#"{"a":"x\u0000y"}"#, value("xy")),
        (r#"{"a":"\ud800"}"#, value("?")),
        (r#"{"a":{"b":[1,null,"x"]}}"#, value(r#"{"b":[1,null,"x"]}"#)),
        (r#"{"a":[1,2]}"#, value("[1,2]")),
        (r#"{"a":1,"a":2}"#, value("2")),
    ])
    .await;
}

#[tokio::test]
async fn numbers_beyond_64_bits_close_at_3_2_and_are_text_later() {
    let huge = format!("1{}", "0".repeat(400));
    for release in Release::ALL {
        let later = |text: &str| if *release == Release::V3_2 { Fate::Closed } else { value(text) };
        let cases = [
            (br#"{"a":9223372036854775807}"#.to_vec(), value("9223372036854775807")),
            (br#"{"a":9223372036854775808}"#.to_vec(), later("9223372036854775808")),
            (br#"{"a":1e400}"#.to_vec(), later(&huge)),
            (br#"{"a":1e308}"#.to_vec(), later(&huge[..309])),
        ];
        check(&cases, *release).await;
    }
}

#[tokio::test]
async fn the_parser_is_lenient() {
    check_at_every_release(&[
        ("{'a':'b'}", value("b")),
        ("{a:1}", value("1")),
        ("\u{feff}{\"a\":1}", value("1")),
        ("/* one */ {\"a\": // two\n1 # three\n}", value("1")),
        (r#"{"a"=1}"#, value("1")),
        (r#"{"a"=>1}"#, value("1")),
        (r#"{"a":1;"b":2}"#, stored(&[(ARRIVAL, "a", "1"), (ARRIVAL, "b", "2")])),
        (r#"{"a":TRUE}"#, value("true")),
    ])
    .await;
    let not_utf8 = (b"{\"a\":\"x\xFFy\"}".to_vec(), value("x\u{fffd}y"));
    check(&[not_utf8], Release::V4_3).await;
}

#[tokio::test]
async fn what_cannot_be_decoded_closes_without_puback() {
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
    let mut cases = vec![("[]", Fate::Ignored)];
    let closing = [
        r#"{"ts":"yesterday","values":{"a":1}}"#,
        r#"{"ts":yesterday,"values":{"a":1}}"#,
        r#"{"ts":null,"values":{"a":1}}"#,
        r#"{"ts":1,"values":7}"#,
        r#"{"ts":1,"values":[1]}"#,
        r#"{"ts":1,"values":null}"#,
        "[[]]",
        "[1]",
        "[null]",
        r#"[{"a":1},7]"#,
        "7",
        "text",
        "true",
        "null",
        "",
        r#"{"a":1,}"#,
        r#"[{"a":1},]"#,
        r#"{"a":1} x"#,
        r#"{"a":1}{"a":2}"#,
        r#"{"a":1"#,
        r#"{"a":"#,
        r#"{"a"#,
        &deep,
    ];
    cases.extend(closing.map(|payload| (payload, Fate::Closed)));
    check_at_every_release(&cases).await;
}

#[tokio::test]
async fn a_resend_is_acknowledged_and_stored_once() {
    let fixture = keeping(1, Release::V4_3).await;
    let mut client = plain_device(&fixture, "0").await;
    for (payload, stored) in [
        (r#"{"ts":5,"values":{"a":1,"b":2}}"#, 2),
        (r#"{"ts":5,"values":{"a":1,"b":2}}"#, 2),
        (r#"{"ts":5,"values":{"a":1,"b":2}}"#, 2),
        (r#"{"ts":4,"values":{"a":1}}"#, 3),
        (r#"{"ts":6,"values":{"":1}}"#, 3),
    ] {
        publish(&mut client, TELEMETRY, payload.as_bytes()).await;
        assert!(client.is_acknowledged().await);
        assert!(matches!(client.next().await, Some(Packet::PingResp)));
        let device = fixture.simulator.devices().remove(0);
        assert_eq!((device.stored, device.stored_is_lower_bound), (stored, false));
    }
    let events = fixture.events.ndjson();
    let told: Vec<_> = events.lines().filter(|line| line.contains(r#""event":"telemetry""#)).collect();
    assert!(told[0].ends_with(r#""stored":2}"#) && told[1].ends_with(r#""stored":0}"#), "{events}");
    assert_eq!(fixture.simulator.devices()[0].telemetry, 5);
}

#[tokio::test]
async fn values_are_counted_and_not_kept_by_default() {
    let fixture = start(|config| config.pre_provisioned = vec![with_token("sensor", "T")]).await;
    let mut client = fixture.dial(None).await;
    assert_eq!(client.connect(user("T")).await, Some((0, 0)));
    client.publish(TELEMETRY, QoS::AtLeastOnce, r#"{"a":1,"b":2}"#).await;
    assert!(client.is_acknowledged().await);
    assert_eq!(fixture.simulator.devices()[0].stored, 2);
    assert!(fixture.simulator.values("sensor").is_empty());
    assert!(fixture.simulator.values("nobody").is_empty());
}

#[tokio::test]
async fn the_topics_of_telemetry_are_those_of_the_release() {
    for release in Release::ALL {
        let fixture = keeping(1, *release).await;
        for topic in [TELEMETRY, "v2/t", "v2/t/j"] {
            let mut client = plain_device(&fixture, "0").await;
            publish(&mut client, topic, b"{a:1}").await;
            assert!(client.is_acknowledged().await, "{release} {topic}");
        }
        let mut client = plain_device(&fixture, "0").await;
        publish(&mut client, "v2/t/p", b"{a:1}").await;
        let acknowledged = client.next().await.is_some();
        assert_eq!(acknowledged, *release == Release::V3_2, "{release}");
        let stored = if *release == Release::V3_2 { 1 } else { 3 };
        assert_eq!(fixture.simulator.devices()[0].telemetry, stored, "{release}");
    }
}
