//! Time servers that tell the truth, and others.

use alloc::string::ToString as _;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::convert::Infallible;

use embassy_futures::select::{Either, select};
use embassy_time::Timer;

use super::*;
use crate::testing::alone;
use crate::testing::wire::{SERVER, on_a_cable};

const NOW: u32 = 1_795_824_000;
const FORGED: u32 = NOW + 10 * 365 * 86_400;

/// Answers the requests with these times, one after the other, and then no more. Returns how many there were.
async fn tell(stack: Stack<'_>, times: &[u32], asked: &RefCell<usize>) -> Infallible {
    let (mut metadata, mut received) = ([PacketMetadata::EMPTY; 4], [0; 512]);
    let (mut sent_metadata, mut sent) = ([PacketMetadata::EMPTY; 4], [0; 512]);
    let mut socket = UdpSocket::new(stack, &mut metadata, &mut received, &mut sent_metadata, &mut sent);
    socket.bind(123).unwrap();
    loop {
        let mut request = [0; sntp::SIZE];
        let (_, from) = socket.recv_from(&mut request).await.unwrap();
        let number = asked.replace_with(|asked| *asked + 1);
        let Some(time) = times.get(number) else { continue };
        let mut reply = [0; sntp::SIZE];
        (reply[0], reply[1]) = (0x24, 1);
        reply[24..32].copy_from_slice(&request[40..]);
        reply[40..44].copy_from_slice(&time.wrapping_add(2_208_988_800_u64 as u32).to_be_bytes());
        socket.send_to(&reply, from).await.unwrap();
    }
}

/// What the device does in turn.
enum Step {
    Set,
    Doubt,
    Wait(u64),
}
use Step::{Doubt, Set, Wait};

/// The time after each `Set`, less the time that has passed, and how often the server was asked by then.
fn clocks(times: &[u32], steps: &[Step]) -> Vec<(Option<u32>, usize)> {
    let alone = alone();
    let asked = RefCell::new(0);
    let server = SERVER.to_string();
    let play = on_a_cable(async |device, other, _| {
        let device = async {
            clock::forget();
            let mut time_server = TimeServer::new(Some(&server), || 4);
            let mut clocks = Vec::new();
            for step in steps {
                match step {
                    Set => {
                        time_server.set_clock(device).await;
                        let passed = u32::try_from(Instant::now().as_secs()).unwrap();
                        clocks.push((clock::now().map(|now| now - passed), *asked.borrow()));
                    }
                    Doubt => time_server.doubt(),
                    Wait(seconds) => Timer::after_secs(*seconds).await,
                }
            }
            clock::forget();
            clocks
        };
        match select(device, tell(other, times, &asked)).await {
            Either::First(clocks) => clocks,
            Either::Second(never) => match never {},
        }
    });
    alone.run(play)
}

#[test]
fn a_forged_time_lasts_until_it_is_in_doubt() {
    let told = clocks(&[FORGED, NOW], &[Set, Wait(30), Set, Doubt, Set]);
    assert_eq!(told[..2], [(Some(FORGED), 1), (Some(FORGED), 1)]);
    assert_eq!(told[2], (Some(NOW - 30), 2));
}

#[test]
fn a_right_time_is_asked_for_once_a_day() {
    let told = clocks(&[NOW, NOW], &[Set, Wait(86_000), Set, Wait(500), Set]);
    assert_eq!(told.iter().map(|(_, asked)| *asked).collect::<Vec<_>>(), [1, 1, 2]);
}

/// A server whose certificate has really expired: the time server is not to suffer for it.
#[test]
fn doubt_asks_no_more_often_than_a_server_allows() {
    let told = clocks(&[NOW; 9], &[Set, Doubt, Set, Doubt, Wait(10), Set, Doubt, Wait(6), Set, Set]);
    assert_eq!(told.iter().map(|(_, asked)| *asked).collect::<Vec<_>>(), [1, 1, 1, 2, 2]);
}

/// Else whoever keeps the time server's answers away could make the device believe an old certificate.
#[test]
fn without_another_answer_the_clock_goes_on() {
    let told = clocks(&[NOW], &[Set, Doubt, Wait(20), Set]);
    assert_eq!(told, [(Some(NOW), 1), (Some(NOW), 3)]);
}
