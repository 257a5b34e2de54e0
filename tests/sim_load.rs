//! How much the simulator carries. Ignored: figures, not checks. Run with
//! `cargo test --release --test sim_load -- --ignored --nocapture --test-threads 1`
//! (and `ulimit -n 20000` for the connections).

#![allow(
    missing_docs,
    clippy::disallowed_methods,
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

#[path = "sim_wire/client.rs"]
mod client;

use std::time::Instant;

use bytes::BytesMut;
use client::*;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, Packet, Publish};

/// Messages of the throughput test.
const MESSAGES: u64 = 1_000_000;

/// Messages in flight, as many as ThingsBoard takes.
const WINDOW: u16 = 100;

/// Connections held at once.
const CONNECTIONS: usize = 4_000;

/// This process's resident memory, in KiB, where Linux tells it.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Client and server share one thread, so the server alone is faster than this.
#[tokio::test]
#[ignore = "a measurement"]
async fn messages_a_second_on_one_connection() {
    let identity = new_identity();
    let simulator = quiet(vec![holding("sensor", &identity)]).await;
    let config = client_config(simulator.certificate(), Some(&identity), rustls::ALL_VERSIONS);
    let mut client = Client::new(handshake(simulator.address(), config).await.unwrap());
    assert_eq!(client.connect(Connect::new("x")).await, Some((0, 0)));
    let mut burst = BytesMut::new();
    for id in 1..=WINDOW {
        let mut publish = Publish::new(TELEMETRY, QoS::AtLeastOnce, r#"{"temperature":25.5,"humidity":61}"#);
        publish.pkid = id;
        publish.write(&mut burst).unwrap();
    }
    let (start, before) = (Instant::now(), resident());
    for round in 0..MESSAGES / u64::from(WINDOW) {
        client.raw(&burst).await;
        for _ in 0..WINDOW {
            assert!(matches!(client.next().await, Some(Packet::PubAck(_))));
        }
        if round == 100 {
            println!("resident after 10,000 messages: {} KiB (before: {before})", resident());
        }
    }
    let rate = MESSAGES as f64 / start.elapsed().as_secs_f64();
    println!("{MESSAGES} messages, {rate:.0} a second, resident {} KiB", resident());
    assert_eq!(simulator.devices()[0].telemetry, MESSAGES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn connections_held() {
    let identities: Vec<_> = (0..CONNECTIONS).map(|_| new_identity()).collect();
    let devices =
        identities.iter().enumerate().map(|(number, identity)| holding(&number.to_string(), identity));
    let simulator = quiet(devices.collect()).await;
    let (start, before) = (Instant::now(), resident());
    let mut tasks = tokio::task::JoinSet::new();
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(64));
    for identity in &identities {
        let config = client_config(simulator.certificate(), Some(identity), rustls::ALL_VERSIONS);
        let (address, gate) = (simulator.address(), gate.clone());
        tasks.spawn(async move {
            let _permit = gate.acquire().await.unwrap();
            let mut client = Client::new(handshake(address, config).await.unwrap());
            assert_eq!(client.connect(Connect::new("x")).await, Some((0, 0)));
            client
        });
    }
    let mut clients = tasks.join_all().await;
    let seconds = start.elapsed().as_secs_f64();
    let pair = (resident() - before) as f64 / CONNECTIONS as f64;
    let rate = CONNECTIONS as f64 / seconds;
    println!("{CONNECTIONS} connections, {rate:.0} a second, {pair:.1} KiB a pair (client and server)");
    for client in &mut clients {
        client.publish(TELEMETRY, QoS::AtLeastOnce, "{}").await;
    }
    for client in &mut clients {
        assert!(client.is_acknowledged().await);
    }
    assert!(simulator.devices().iter().all(|device| device.telemetry == 1));
}

async fn quiet(pre_provisioned: Vec<tbprov::sim::PreProvisioned>) -> tbprov::sim::Simulator {
    let mut config = tbprov::sim::Config::new(KEY, tbprov::Secret::new(SECRET));
    config.pre_provisioned = pre_provisioned;
    tbprov::sim::Simulator::start(config, std::sync::Arc::new(())).await.unwrap()
}

/// Devices of a large simulator, and the clients that provision them.
const DEVICES: usize = 100_000;
const CLIENTS: usize = 20;

/// What a device costs in memory, and what provisioning it costs, once there are many: with a state file, and without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn devices_held() {
    let folder = tempfile::tempdir().unwrap();
    for state in [None, Some(folder.path().join("state"))] {
        let shown = if state.is_some() { "with a state file" } else { "in memory" };
        let mut config = tbprov::sim::Config::new(KEY, tbprov::Secret::new(SECRET));
        config.plain = Some(([127, 0, 0, 1], 0).into());
        config.state = state;
        // The clients stay longer than ThingsBoard lets them.
        config.provisioning_lifetime = std::time::Duration::from_secs(3600);
        let simulator = tbprov::sim::Simulator::start(config, std::sync::Arc::new(())).await.unwrap();
        let certificate = new_identity().certificate.to_pem();
        let before = resident();
        let mut many = 0;
        for batch in [1_000, DEVICES - 2_000, 1_000] {
            let start = Instant::now();
            provision(simulator.plain_address().unwrap(), &certificate, many, batch).await;
            many += batch;
            let rate = batch as f64 / start.elapsed().as_secs_f64();
            let bytes = (resident() - before) as f64 * 1024.0 / many as f64;
            println!(
                "{shown}: {many} devices, the last {batch} at {rate:.0} a second, {bytes:.0} bytes a device"
            );
        }
        assert_eq!(simulator.devices().len(), DEVICES);
        simulator.stop().await;
    }
}

/// Provisions devices with certificates of one length, which differ.
async fn provision(address: std::net::SocketAddr, certificate: &str, first: usize, count: usize) {
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let certificate = certificate.to_owned();
        clients.spawn(async move {
            let mut client = Client::new(tokio::net::TcpStream::connect(address).await.unwrap());
            assert_eq!(client.connect(user("provision")).await, Some((0, 0)));
            for device in (first + number..first + count).step_by(CLIENTS) {
                let request = serde_json::json!({
                    "deviceName": format!("sensor-{device:06}"),
                    "provisionDeviceKey": KEY, "provisionDeviceSecret": SECRET,
                    "credentialsType": "X509_CERTIFICATE",
                    "hash": certificate.replacen("MII", &format!("{device:06}"), 1),
                });
                client.publish("/provision/request", QoS::AtMostOnce, &request.to_string()).await;
                let answer = client.answer().await;
                assert!(answer.payload.ends_with(br#""status":"SUCCESS"}"#), "{answer:?}");
            }
        });
    }
    clients.join_all().await;
}
