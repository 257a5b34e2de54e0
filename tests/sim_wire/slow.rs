//! What makes a server slow or shut for many devices: its core, the network, limits of all together, blocked addresses.

use std::time::{Duration, Instant};

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::Packet;
use tbprov::sim::{Config, Fault};

use crate::client::*;

async fn slow(faults: &[&str], change: impl FnOnce(&mut Config)) -> Fixture {
    let faults = faults.iter().map(|fault| fault.parse::<Fault>().unwrap()).collect();
    start(|config| {
        config.faults = faults;
        config.pre_provisioned = vec![with_token("sensor", "T"), with_token("other", "U")];
        change(config);
    })
    .await
}

fn names(fixture: &Fixture) -> Vec<String> {
    fixture.simulator.devices().into_iter().map(|device| device.name).collect()
}

async fn took(work: impl Future) -> Duration {
    let begin = Instant::now();
    work.await;
    begin.elapsed()
}

#[tokio::test]
async fn a_core_works_on_so_many_at_once() {
    let requests = async |workers: &str| {
        let fixture = slow(&[&format!("core={workers}x60ms")], |_| {}).await;
        let named = ["a", "b", "c", "d"].map(|name| x509_request(name, &new_identity()));
        let [a, b, c, d] = &named;
        let all = async { tokio::join!(fixture.ask(a), fixture.ask(b), fixture.ask(c), fixture.ask(d)) };
        let took = took(all).await;
        assert_eq!(names(&fixture).len(), 6);
        took
    };
    assert!(requests("1").await >= Duration::from_millis(240));
    let at_once = requests("4").await;
    assert!((75..240).contains(&at_once.as_millis()), "{at_once:?}");
}

#[tokio::test]
async fn what_a_core_does_too_late_is_acknowledged_and_closed_upon() {
    let fixture =
        slow(&["core=1x200ms"], |config| config.unanswered_lifetime = Duration::from_millis(300)).await;
    let identities = [new_identity(), new_identity(), new_identity()];
    let mut clients = Vec::new();
    for (identity, name) in identities.iter().zip(["a", "b", "c"]) {
        let mut client = fixture.provisioning().await;
        client.publish("/provision/request", QoS::AtLeastOnce, &x509_request(name, identity)).await;
        clients.push(client);
    }
    let mut answered = Vec::new();
    for client in &mut clients {
        assert!(matches!(client.next().await, Some(Packet::PubAck(_))));
        answered.push(client.next().await.is_some());
    }
    assert_eq!(answered, [true, false, false]);
    // The second one was begun in time, and is there. The third one never is.
    assert_eq!(names(&fixture), ["a", "b", "other", "sensor"]);
}

#[tokio::test]
async fn a_core_that_stalls_holds_answers_and_logins_of_devices() {
    let fixture = slow(&["core-stalls=0ms/150ms"], |_| {}).await;
    let identity = new_identity();
    fixture.ask(&x509_request("new", &identity)).await;
    // From the end of one stall to the end of the next.
    assert!(took(fixture.device(&identity)).await >= Duration::from_millis(100));
    let second = x509_request("second", &identity);
    assert!(took(fixture.ask(&second)).await >= Duration::from_millis(100));
    assert!(fixture.events.ndjson().contains(r#""name":"core-stalls""#));
}

#[tokio::test]
async fn over_a_far_network_every_turn_takes_its_time() {
    let fixture = slow(&["latency=50ms"], |_| {}).await;
    let begin = Instant::now();
    let mut client = fixture.dial(None).await;
    assert!(begin.elapsed() >= Duration::from_millis(100), "{:?}", begin.elapsed());
    assert_eq!(client.connect(user("T")).await, Some((0, 0)));
    assert!(begin.elapsed() >= Duration::from_millis(150), "{:?}", begin.elapsed());
    for _ in 0..2 {
        client.publish(TELEMETRY, QoS::AtLeastOnce, "{}").await;
        assert!(matches!(client.next().await, Some(Packet::PubAck(_))));
    }
    client.publish(TELEMETRY, QoS::AtLeastOnce, "{").await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn an_address_is_blocked_after_wrong_logins_in_a_row() {
    let lasts = Duration::from_millis(400);
    let fixture = slow(&["address-filter=2"], |config| config.block_lifetime = lasts).await;
    let login = async |token| fixture.dial(None).await.connect(user(token)).await.unwrap().1;
    let is_blocked = async || handshake(fixture.simulator.address(), fixture.tls(None)).await.is_err();
    assert_eq!([login("wrong").await, login("T").await, login("wrong").await], [5, 0, 5]);
    let mut open = fixture.dial(None).await;
    assert_eq!(login("wrong").await, 5);
    assert!(is_blocked().await);
    tokio::time::sleep(lasts).await;
    assert!(!is_blocked().await);
    // One wrong login is enough after a block; a good one on an open connection ends it.
    assert_eq!(login("wrong").await, 5);
    assert!(is_blocked().await);
    assert_eq!(open.connect(user("T")).await, Some((0, 0)));
    assert!(!is_blocked().await);
}

#[tokio::test]
async fn the_tenant_has_a_limit_of_connects() {
    let fixture = slow(&[], |config| config.tenant_connect_limit = Some("2:3600".parse().unwrap())).await;
    let login = async |token| fixture.dial(None).await.connect(user(token)).await.unwrap().1;
    assert_eq!([login("T").await, login("U").await, login("T").await, login("U").await], [0, 0, 3, 3]);
    assert_eq!(login("provision").await, 0);
}
