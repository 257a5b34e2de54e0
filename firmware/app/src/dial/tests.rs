//! Sessions over TCP: how long a connection is kept, and when it is given up.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::convert::Infallible;

use embassy_futures::select::{Either, select};
use embassy_net::Stack;
use embassy_time::{Instant, Timer};
use embedded_io_async::{ErrorType, Read, Write};
use tbprov_contract::Identity;

use super::*;
use crate::testing::wire::{Cable, SERVER, on_a_cable};
use crate::testing::{alone, identity};
use crate::{Readings, Samples, mqtt};

const PORT: u16 = 8883;
const TEN_MINUTES: Duration = Duration::from_secs(600);

/// A connection without TLS, which tells faults as the one with TLS does.
struct Plain<'s, 'b>(&'s mut TcpSocket<'b>);

impl ErrorType for Plain<'_, '_> {
    type Error = Fault;
}

impl Read for Plain<'_, '_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        self.0.read(buffer).await.map_err(|_| Fault::new(Trouble::Closed, "reset"))
    }
}

impl Write for Plain<'_, '_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        self.0.write(bytes).await.map_err(|_| Fault::new(Trouble::Closed, "reset"))
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        self.0.flush().await.map_err(|_| Fault::new(Trouble::Closed, "reset"))
    }
}

/// What the server has seen.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    sessions: usize,
    readings: usize,
    pings: usize,
}

/// Accepts one session after the other and answers all that comes.
async fn serve(stack: Stack<'_>, seen: &RefCell<Seen>) -> Infallible {
    loop {
        let (mut receiving, mut sending) = ([0; 2048], [0; 2048]);
        let mut socket = TcpSocket::new(stack, &mut receiving, &mut sending);
        if socket.accept(PORT).await.is_ok() {
            while let Some(answer) = answer(&mut socket, seen).await {
                let _ = socket.write(&answer).await;
            }
        }
    }
}

/// The answer to the next packet, which comes whole here.
async fn answer(socket: &mut TcpSocket<'_>, seen: &RefCell<Seen>) -> Option<Vec<u8>> {
    let mut packet = [0; 256];
    let size = socket.read(&mut packet).await.ok().filter(|size| *size > 0)?;
    let mut seen = seen.borrow_mut();
    match packet[0] {
        0x10 => {
            seen.sessions += 1;
            Some([0x20, 2, 0, 0].into())
        }
        0x32 => {
            seen.readings += 1;
            let topic = usize::from(packet[3]);
            Some([0x40, 2, packet[4 + topic], packet[5 + topic]].into())
        }
        0xC0 => {
            seen.pings += 1;
            Some([0xD0, 0].into())
        }
        other => panic!("{other:#x} in {:x?}", &packet[..size]),
    }
}

/// The device: one session, until it ends.
async fn session(stack: Stack<'_>, identity: &Identity, mut readings: impl Readings) -> Fault {
    let (mut receiving, mut sending) = ([0; 2048], [0; 2048]);
    let mut socket = TcpSocket::new(stack, &mut receiving, &mut sending);
    let mut acknowledged = false;
    let session = async {
        connect(&mut socket, SocketAddrV4::new(SERVER, PORT)).await?;
        let mut session = mqtt::Session::connect(Plain(&mut socket), identity).await?;
        session.send_readings(&mut readings, &mut acknowledged).await
    };
    match session.await {
        Ok(never) => match never {},
        Err(fault) => fault,
    }
}

/// A session of ten minutes with a server that answers, after which the server has seen this.
fn ten_minutes(interval: u64, readings: impl Readings) -> Seen {
    let alone = alone();
    let identity = Identity { interval: core::time::Duration::from_secs(interval), ..identity() };
    let seen = RefCell::default();
    let play = on_a_cable(async |device, server, _| {
        match select(session(device, &identity, readings), serve(server, &seen)).await {
            Either::First(fault) => fault,
            Either::Second(never) => match never {},
        }
    });
    let ended = alone.run_for(TEN_MINUTES, play);
    assert_eq!(ended, None, "a reading every {interval} s: {:?}", alone.lines());
    seen.into_inner()
}

#[test]
fn a_session_lasts_whatever_the_pause_between_two_readings() {
    for (interval, readings, pings) in
        [(5, 120, 0), (29, 21, 0), (31, 20, 0), (40, 15, 0), (70, 9, 8), (100, 6, 12), (3600, 1, 13)]
    {
        assert_eq!(
            ten_minutes(interval, Samples::default()),
            Seen { sessions: 1, readings, pings },
            "a reading every {interval} s"
        );
    }
}

/// A sensor that takes its time.
struct Slow(Duration);

impl Readings for Slow {
    async fn read(&mut self) -> Option<String> {
        Timer::after(self.0).await;
        Some("{}".to_string())
    }
}

#[test]
fn a_session_lasts_while_a_reading_is_taken() {
    for (seconds, readings, pings) in [(40, 14, 0), (70, 8, 8), (200, 2, 12), (3600, 0, 13)] {
        let seen = ten_minutes(1, Slow(Duration::from_secs(seconds)));
        assert_eq!(seen, Seen { sessions: 1, readings, pings }, "a reading takes {seconds} s");
    }
}

/// How long after the cable was cut, at that second, the device gives up, and why.
fn given_up(interval: u64, cut_after: u64, readings: impl Readings) -> (u64, Fault) {
    let alone = alone();
    let identity = Identity { interval: core::time::Duration::from_secs(interval), ..identity() };
    let seen = RefCell::default();
    let cut = async |cable: Cable| {
        Timer::after_secs(cut_after).await;
        cable.cut();
        core::future::pending::<Infallible>().await
    };
    let play = on_a_cable(async |device, server, cable| {
        let others = select(serve(server, &seen), cut(cable));
        match select(session(device, &identity, readings), others).await {
            Either::First(fault) => (Instant::now().as_secs() - cut_after, fault),
            Either::Second(_) => unreachable!(),
        }
    });
    alone.run_for(TEN_MINUTES, play).expect("the device waits for ever")
}

#[test]
fn a_server_that_is_gone_is_noticed() {
    for (interval, cut_after) in [(5, 12), (40, 42), (70, 20), (3600, 1), (3600, 44), (3600, 300)] {
        let (after, fault) = given_up(interval, cut_after, Samples::default());
        assert!(after <= mqtt::LONGEST_SILENCE.as_secs(), "{after} s after {cut_after} s at {interval} s");
        assert_eq!(fault.trouble, Trouble::Timeout, "{fault}");
    }
    let (after, fault) = given_up(1, 100, Slow(Duration::from_secs(3600)));
    assert!(after <= mqtt::LONGEST_SILENCE.as_secs(), "{after} s");
    assert_eq!(fault.trouble, Trouble::Timeout, "{fault}");
}
