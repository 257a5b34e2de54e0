//! What each release answers to what a client sends: one table. Its rows are what six real servers answered, where the
//! simulator can be asked the same.

mod cases;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, Packet, Publish, Subscribe};
use tbprov::identity::BasicCredentials;
use tbprov::sim::{HeldCredentials, PreProvisioned, Release};
use tbprov::{Secret, sim};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::{KEY, SECRET, TELEMETRY, request, start, with_token};

/// Ends a test that would hang; no test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum As {
    /// A connection without CONNECT.
    Nobody,
    /// The user `provision`, once CONNACK is there.
    Provision,
    /// A device with a token, once CONNACK is there.
    Device,
}

/// What comes back from a release on, until another row says otherwise. `PINGRESP` at the end answers the PINGREQ that
/// is sent last: nothing else came before it.
type From = (&'static str, &'static str);

struct Case {
    name: &'static str,
    sender: As,
    sends: Vec<u8>,
    expected: Vec<From>,
}

fn packet(packet: Packet) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    packet.write(&mut bytes, usize::MAX).unwrap();
    bytes.to_vec()
}

/// A CONNECT with this user name.
fn connect(user: &str) -> Vec<u8> {
    let mut connect = Connect::new("c");
    connect.set_username(user);
    packet(Packet::Connect(connect))
}

/// A CONNECT of another protocol, with the client id `c` and no user; MQTT 5 has the length of its properties too.
fn foreign(name: &str, level: u8) -> Vec<u8> {
    let mut body = vec![0, u8::try_from(name.len()).unwrap()];
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(&[level, 2, 0, 60]);
    body.extend_from_slice(if level >= 5 { &[0, 0, 1, b'c'] } else { &[0, 1, b'c'] });
    [vec![0x10, u8::try_from(body.len()).unwrap()], body].concat()
}

fn publish_at(qos: QoS, id: u16, topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut publish = Publish::new(topic, qos, payload);
    publish.pkid = if qos == QoS::AtMostOnce { 0 } else { id };
    packet(Packet::Publish(publish))
}

/// A PUBLISH of QoS 1 with packet identifier 7.
fn publish(topic: &str, payload: &str) -> Vec<u8> {
    publish_at(QoS::AtLeastOnce, 7, topic, payload.as_bytes())
}

fn ask(payload: &str) -> Vec<u8> {
    publish("/provision/request", payload)
}

/// A request with key, secret and these members.
fn with(extra: &str) -> Vec<u8> {
    ask(&request(extra))
}

fn named(name: &str) -> Vec<u8> {
    with(&format!(",\"deviceName\":{}", serde_json::Value::from(name)))
}

fn subscribe(filter: &str) -> Vec<u8> {
    let mut subscribe = Subscribe::new(filter, QoS::AtLeastOnce);
    subscribe.pkid = 9;
    packet(Packet::Subscribe(subscribe))
}

const PING: &[u8] = &[0xC0, 0];

fn case(name: &'static str, sender: As, sends: impl Into<Vec<u8>>, expected: &[From]) -> Case {
    Case { name, sender, sends: sends.into(), expected: expected.to_vec() }
}

/// A simulator with devices whose tokens are `T`, `0`, `1`, …, and one with a client id alone.
async fn simulator(release: Release, devices: usize) -> sim::Simulator {
    let fixture = start(|config| {
        config.release = release;
        config.plain = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let device = |number: usize| with_token(&format!("device {number}"), &number.to_string());
        config.pre_provisioned = (0..devices).map(device).collect();
        config.pre_provisioned.push(with_token("T", "T"));
        let client_alone = BasicCredentials {
            client_id: "client".to_owned(),
            user_name: String::new(),
            password: Secret::new(""),
        };
        let client_alone = HeldCredentials::Basic(client_alone);
        config.pre_provisioned.push(PreProvisioned::new("client alone").with(client_alone));
    })
    .await;
    fixture.simulator
}

/// The packets that come back, in words, as many as `most`, or up to `closed`.
async fn answers(stream: &mut TcpStream, most: usize) -> Vec<String> {
    let mut answers = Vec::new();
    while answers.len() < most {
        let packet = tokio::time::timeout(PATIENCE, one_packet(stream)).await;
        match packet.unwrap_or_else(|_| panic!("nothing came after {answers:?}")) {
            Ok((first, body)) => answers.push(in_words(first, &body)),
            Err(_) => {
                answers.push("closed".to_owned());
                break;
            }
        }
    }
    answers
}

async fn one_packet(stream: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let first = stream.read_u8().await?;
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let byte = stream.read_u8().await?;
        length |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok((first, body))
}

fn in_words(first: u8, body: &[u8]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match (first, body) {
        (0x20, [0, code]) => format!("CONNACK {code}"),
        (0x20, [0, code, 0]) => format!("CONNACK {code} with properties"),
        (0x40, [0, id]) => format!("PUBACK {id}"),
        (0x90, [0, id]) => format!("SUBACK {id}"),
        (0x90, [0, id, codes @ ..]) => format!("SUBACK {id} {}", hex(codes)),
        (0xD0, []) => "PINGRESP".to_owned(),
        (0x30 | 0x32, [0, length, rest @ ..]) => {
            let (topic, rest) = rest.split_at(usize::from(*length));
            let payload = if first == 0x32 { &rest[2..] } else { rest };
            published(std::str::from_utf8(topic).unwrap(), payload)
        }
        _ => format!("{first:02x} {}", hex(body)),
    }
}

fn published(topic: &str, payload: &[u8]) -> String {
    if topic != "/provision/response" {
        return format!("{topic} {}", String::from_utf8_lossy(payload));
    }
    match serde_json::from_slice::<serde_json::Value>(payload) {
        Ok(answer) => {
            let word = |member: &str| answer[member].as_str().unwrap_or_default().to_owned();
            format!("{} {}", word("status"), word("credentialsType")).trim_end().to_owned()
        }
        Err(_) => {
            format!("bytes {}", payload.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
    }
}

/// What comes back for `case`, whose device has the token `token`.
async fn run(simulator: &sim::Simulator, case: &Case, token: &str, most: usize) -> Vec<String> {
    let mut stream = TcpStream::connect(simulator.plain_address().unwrap()).await.unwrap();
    let user = match case.sender {
        As::Nobody => None,
        As::Provision => Some("provision"),
        As::Device => Some(token),
    };
    let mut last = PING.to_vec();
    if let Some(user) = user {
        stream.write_all(&connect(user)).await.unwrap();
        assert_eq!(answers(&mut stream, 1).await, ["CONNACK 0"], "{}", case.name);
    } else {
        // A CONNECT of the row's own needs no other, and nothing behind it.
        let has_connect = case.sends.first() == Some(&0x10) || case.sends.ends_with(&connect("T"));
        let is_without_user = case.sends.get(9) == Some(&0x42);
        last = if has_connect && !is_without_user { Vec::new() } else { connect("provision") };
    }
    // The server may have closed already, which the next read tells.
    let _ = stream.write_all(&case.sends).await;
    let mut came = answers(&mut stream, most - 1).await;
    let _ = stream.write_all(&last).await;
    came.extend(answers(&mut stream, most - came.len()).await);
    came
}

async fn check(cases: Vec<Case>) {
    let mut wrong = Vec::new();
    for release in Release::ALL {
        let simulator = simulator(*release, cases.len()).await;
        for (number, case) in cases.iter().enumerate() {
            let reached =
                case.expected.iter().rev().find(|(from, _)| from.parse::<Release>().unwrap() <= *release);
            let expected: Vec<_> = split(reached.unwrap().1);
            let token = number.to_string();
            let came = run(&simulator, case, &token, expected.len()).await;
            if came != expected {
                wrong.push(format!("{release} {}: {came:?}, not {expected:?}", case.name));
            }
        }
        simulator.stop().await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The answers of a row. A comma inside JSON is followed by no blank.
fn split(expected: &str) -> Vec<String> {
    expected.split(", ").map(str::to_owned).collect()
}

#[tokio::test]
async fn before_connect_and_at_connect() {
    check(cases::connects()).await;
}

#[tokio::test]
async fn how_requests_are_read() {
    check(cases::requests()).await;
}

#[tokio::test]
async fn which_names_and_credentials_are_taken() {
    check(cases::values()).await;
}

#[tokio::test]
async fn what_a_device_is_answered() {
    check(cases::sessions()).await;
}
