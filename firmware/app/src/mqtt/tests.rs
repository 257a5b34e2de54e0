//! Sessions with servers of every kind.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use embassy_futures::select::{Either, select};
use embassy_time::{Duration as Ticks, Instant, Timer};
use proptest::prelude::*;

use tbprov_contract::identity::LONGEST_NAME;

use super::*;
use crate::testing::{Peer, alone, duplex, identity};
use crate::{Readings, Samples};

const ACCEPTED: [u8; 4] = [0x20, 2, 0, 0];

/// Runs the device against `server` until its session ends.
fn session_with(identity: &Identity, server: impl AsyncFnOnce(Peer)) -> Fault {
    session_of(identity, Samples::default(), server)
}

fn session_of(identity: &Identity, readings: impl Readings, server: impl AsyncFnOnce(Peer)) -> Fault {
    let alone = alone();
    alone.run(async {
        let (device, peer) = duplex();
        let server = async {
            server(peer).await;
            core::future::pending::<Infallible>().await
        };
        match select(device_side(device, identity, readings), server).await {
            Either::First(fault) => fault,
            Either::Second(never) => match never {},
        }
    })
}

async fn device_side(stream: Peer, identity: &Identity, mut readings: impl Readings) -> Fault {
    let mut acknowledged = false;
    let session = async {
        Session::connect(stream, identity).await?.send_readings(&mut readings, &mut acknowledged).await
    };
    match session.await {
        Ok(never) => match never {},
        Err(fault) => fault,
    }
}

/// The device's CONNECT, answered.
async fn accept(server: &mut Peer) {
    assert_eq!(server.packet().await[0], 0x10);
    server.put(&ACCEPTED);
}

/// The device's next reading and its packet identifier.
async fn reading(server: &mut Peer) -> (String, [u8; 2]) {
    let packet = server.packet().await;
    assert_eq!(packet[0], 0x32, "not a PUBLISH at QoS 1: {packet:x?}");
    let topic = usize::from(packet[3]);
    assert_eq!(&packet[4..4 + topic], b"v1/devices/me/telemetry");
    let identifier = [packet[4 + topic], packet[5 + topic]];
    (String::from_utf8(packet[6 + topic..].to_vec()).unwrap(), identifier)
}

fn puback(identifier: [u8; 2]) -> [u8; 4] {
    [0x40, 2, identifier[0], identifier[1]]
}

#[test]
fn readings_are_sent_and_acknowledged_at_their_interval() {
    let fault = session_with(&identity(), async |mut server| {
        let connect = server.packet().await;
        assert_eq!(connect[..14], *b"\x10\x1C\x00\x04MQTT\x04\x02\x00\x3C\x00\x10");
        assert_eq!(connect[14..], *b"tbprov-sensor-01");
        server.put(&ACCEPTED);
        let began = Instant::now();
        for index in 0..4u64 {
            let (json, identifier) = reading(&mut server).await;
            assert_eq!(json, tbprov_contract::telemetry::sample(index));
            assert_eq!(u64::from(identifier[1]), index + 1);
            assert_eq!(began.elapsed().as_secs(), 5 * index);
            server.put(&puback(identifier));
        }
        server.end(Ok(()));
    });
    assert_eq!(fault.to_string(), "[network/closed] the server closed the connection");
}

/// 255 characters of three bytes: what ThingsBoard takes, as Java counts.
#[test]
fn the_longest_name_is_in_the_client_identifier() {
    let name = "\u{6e29}".repeat(LONGEST_NAME);
    let identity = Identity { name: name.clone(), ..identity() };
    session_with(&identity, async |mut server| {
        let connect = server.packet().await;
        let expected = format!("{CLIENT_ID}{name}");
        assert!(connect.ends_with(expected.as_bytes()), "{connect:x?}");
        server.put(&ACCEPTED);
        reading(&mut server).await;
    });
}

#[test]
fn each_refusal_has_its_words() {
    for (code, expected) in [
        (1, "[server/refused] CONNACK 1: the server does not speak MQTT 3.1.1"),
        (
            2,
            "[server/identifier-rejected] CONNACK 2: the server rejects the client identifier, or got no certificate",
        ),
        (3, "[server/unavailable] CONNACK 3: the server is unavailable"),
        (4, "[server/not-authorized] CONNACK 4: the server wants a user name and a password"),
        (5, "[server/not-authorized] CONNACK 5: the server does not know this certificate"),
        (6, "[server/refused] CONNACK 6: the server refuses for a reason that MQTT 3.1.1 does not have"),
    ] {
        // ThingsBoard 3.2 says that a session was present, even when it refuses.
        for present in [0, 1] {
            let fault = session_with(&identity(), async |server| server.put(&[0x20, 2, present, code]));
            assert_eq!(fault.to_string(), expected);
        }
    }
}

#[test]
fn a_session_that_was_present_is_none_to_us() {
    let fault = session_with(&identity(), async |mut server| {
        server.packet().await;
        server.put(&[0x20, 2, 1, 0]);
        let (_, identifier) = reading(&mut server).await;
        server.put(&puback(identifier));
        server.end(Ok(()));
    });
    assert_eq!(fault.trouble, Trouble::Closed);
}

#[test]
fn silence_ends_by_a_deadline_wherever_it_begins() {
    let fault = session_with(&identity(), async |_server| {
        core::future::pending::<()>().await;
    });
    assert_eq!(fault.to_string(), "[network/timeout] no CONNACK within 15 s");

    let fault = session_with(&identity(), async |mut server| {
        accept(&mut server).await;
        core::future::pending::<()>().await;
    });
    assert_eq!(fault.to_string(), "[network/timeout] no PUBACK within 15 s");

    let slow = Identity { interval: Duration::from_secs(3600), ..identity() };
    let fault = session_with(&slow, async |mut server| {
        accept(&mut server).await;
        let (_, identifier) = reading(&mut server).await;
        server.put(&puback(identifier));
        assert_eq!(server.packet().await, [0xC0, 0]);
        core::future::pending::<()>().await;
    });
    assert_eq!(fault.to_string(), "[network/timeout] no PINGRESP within 15 s");
}

#[test]
fn a_trickle_and_a_flood_are_no_answers() {
    // A byte a second of a packet that never ends.
    let fault = session_with(&identity(), async |server| {
        server.put(&[0x30, 100, 0, 1]);
        loop {
            Timer::after_secs(1).await;
            server.put(b"x");
        }
    });
    assert_eq!(fault.trouble, Trouble::Timeout);

    // Messages without end, but no PUBACK.
    let fault = session_with(&identity(), async |mut server| {
        accept(&mut server).await;
        reading(&mut server).await;
        loop {
            server.put(&[0x30, 4, 0, 1, b'a', b'x']);
            Timer::after(Ticks::from_millis(5)).await;
        }
    });
    assert_eq!(fault.to_string(), "[network/timeout] no PUBACK within 15 s");
}

#[test]
fn an_end_or_a_reset_is_told_wherever_it_comes() {
    for packets in 0..3 {
        for reset in [false, true] {
            let fault = session_with(&identity(), async |mut server| {
                if packets > 0 {
                    accept(&mut server).await;
                }
                if packets > 1 {
                    reading(&mut server).await;
                }
                let reset_by_peer = Fault::new(Trouble::Closed, "reset");
                server.end(if reset { Err(reset_by_peer) } else { Ok(()) });
            });
            assert_eq!(fault.trouble, Trouble::Closed, "after {packets} packets");
        }
    }
}

#[test]
fn the_connection_is_kept_alive() {
    let slow = Identity { interval: Duration::from_secs(3600), ..identity() };
    let mut pings = 0;
    let fault = session_with(&slow, async |mut server| {
        accept(&mut server).await;
        let (_, identifier) = reading(&mut server).await;
        server.put(&puback(identifier));
        let mut heard_at = Instant::now();
        loop {
            let packet = server.packet().await;
            assert!(heard_at.elapsed() <= Ticks::from_secs(60), "silent for longer than the keep-alive");
            heard_at = Instant::now();
            if packet != [0xC0, 0] {
                break;
            }
            pings += 1;
            server.put(&[0xD0, 0]);
        }
        // The next reading came after an hour.
        server.end(Ok(()));
    });
    assert_eq!(fault.trouble, Trouble::Closed);
    assert_eq!(pings, 80);
}

#[test]
fn messages_are_acknowledged_and_dropped() {
    let fault = session_with(&identity(), async |mut server| {
        accept(&mut server).await;
        let (_, identifier) = reading(&mut server).await;
        server.put(&[0x30, 4, 0, 1, b'a', b'x']);
        server.put(&[0x32, 5, 0, 1, b'a', 0, 9]);
        server.put(&[0x90, 3, 0, 1, 0]);
        assert_eq!(server.packet().await, [0x40, 2, 0, 9]);
        server.put(&puback(identifier));
        server.put(&[0x32, 5, 0, 1, b'a', 0, 10]);
        assert_eq!(server.packet().await, [0x40, 2, 0, 10]);
        reading(&mut server).await;
        server.end(Ok(()));
    });
    assert_eq!(fault.trouble, Trouble::Closed);
}

#[test]
fn packets_may_come_in_pieces() {
    let fault = session_with(&identity(), async |mut server| {
        server.packet().await;
        for byte in ACCEPTED {
            server.put(&[byte]);
            Timer::after_secs(1).await;
        }
        for _ in 0..3 {
            let (_, identifier) = reading(&mut server).await;
            for byte in puback(identifier) {
                server.put(&[byte]);
                Timer::after_secs(1).await;
            }
        }
        server.end(Ok(()));
    });
    assert_eq!(fault.trouble, Trouble::Closed);
}

#[test]
fn what_is_out_of_order_is_no_mqtt() {
    let after_connack = |bytes: &'static [u8]| {
        session_with(&identity(), async move |mut server| {
            accept(&mut server).await;
            reading(&mut server).await;
            server.put(bytes);
        })
        .to_string()
    };
    assert_eq!(after_connack(&[0x40, 2, 0, 2]), "[network/protocol] a PUBACK is for another packet");
    assert_eq!(after_connack(&ACCEPTED), "[network/protocol] the server sent a second CONNACK");
    assert_eq!(
        after_connack(&[0x32, 5, 0, 1, b'a', 0, 0]),
        "[network/protocol] a message from the server has the identifier 0"
    );
    let fault = session_with(&identity(), async |server| server.put(&[0xD0, 0]));
    assert_eq!(fault.to_string(), "[network/protocol] the server's first packet is no CONNACK");
    for garbage in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"\x15\x03\x01\x00\x02\x02\x28", b"\0\0\0\0"] {
        let fault = session_with(&identity(), async |server| server.put(garbage));
        assert_eq!(fault.trouble, Trouble::Protocol);
    }
}

/// Readings that fail every other time.
#[derive(Default)]
struct Shaky {
    taken: u32,
}

impl Readings for Shaky {
    async fn read(&mut self) -> Option<String> {
        self.taken += 1;
        self.taken.is_multiple_of(2).then(|| self.taken.to_string())
    }
}

#[test]
fn a_reading_that_cannot_be_taken_is_skipped() {
    session_of(&identity(), Shaky::default(), async |mut server| {
        accept(&mut server).await;
        for expected in ["2", "4"] {
            let (json, identifier) = reading(&mut server).await;
            assert_eq!(json, expected);
            server.put(&puback(identifier));
        }
        server.end(Ok(()));
    });
}

/// A reading that no server takes.
struct Huge;

impl Readings for Huge {
    async fn read(&mut self) -> Option<String> {
        Some("x".repeat(70_000))
    }
}

#[test]
fn a_reading_that_is_too_large_is_skipped() {
    let fault = session_of(&identity(), Huge, async |mut server| {
        accept(&mut server).await;
        assert_eq!(server.packet().await, [0xC0, 0], "something was sent");
    });
    assert_eq!(fault.trouble, Trouble::Timeout);
}

#[test]
fn packet_identifiers_begin_again_without_0() {
    let quick = Identity { interval: Duration::from_millis(10), ..identity() };
    session_with(&quick, async |mut server| {
        accept(&mut server).await;
        let mut expected = 0u16;
        for _ in 0..66_000 {
            expected = expected.checked_add(1).unwrap_or(1);
            let (_, identifier) = reading(&mut server).await;
            assert_eq!(u16::from_be_bytes(identifier), expected);
            server.put(&puback(identifier));
        }
        server.end(Ok(()));
    });
}

#[test]
fn the_tool_understands_the_log() {
    let alone = alone();
    let identity = identity();
    let fault = alone.run(async {
        let (device, mut server) = duplex();
        let served = async {
            accept(&mut server).await;
            for _ in 0..3 {
                let (_, identifier) = reading(&mut server).await;
                server.put(&puback(identifier));
            }
            server.end(Ok(()));
            core::future::pending::<Infallible>().await
        };
        match select(device_side(device, &identity, Samples::default()), served).await {
            Either::First(fault) => fault,
            Either::Second(never) => match never {},
        }
    });
    assert_eq!(fault.trouble, Trouble::Closed);
    assert_eq!(alone.acknowledged(), 3);
    let lines = alone.lines();
    assert_eq!(lines[0], "I (0) tbprov: [MQTT] connected as sensor-01, CONNACK in 0 ms");
    assert_eq!(lines[1], r#"I (0) tbprov: [Telemetry][Tx] {"temperature":25,"humidity":26}"#);
    assert_eq!(lines[2], "I (0) tbprov: [Telemetry][Ack] packet 1 in 0 ms");
    assert_eq!(lines[3], r#"I (5000) tbprov: [Telemetry][Tx] {"temperature":25.5,"humidity":27}"#);
}

proptest! {
    #[test]
    fn random_bytes_end_the_session_in_words(
        accepted: bool,
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        pieces in 1..50usize,
    ) {
        let fault = session_with(&identity(), async |mut server| {
            if accepted {
                accept(&mut server).await;
            }
            for piece in bytes.chunks(pieces) {
                server.put(piece);
                Timer::after(Ticks::from_millis(5)).await;
            }
            server.end(Ok(()));
        });
        prop_assert!(!fault.words().is_empty());
    }

    #[test]
    fn random_packets_end_the_session_in_words(
        packets in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..8)), 0..50),
    ) {
        let fault = session_with(&identity(), async |mut server| {
            accept(&mut server).await;
            for (kind, body) in packets {
                let mut packet = Vec::from([kind, u8::try_from(body.len()).unwrap()]);
                packet.extend(body);
                server.put(&packet);
            }
            server.end(Ok(()));
        });
        prop_assert!(!fault.words().is_empty());
    }
}
