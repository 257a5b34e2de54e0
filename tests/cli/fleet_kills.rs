//! A run that is killed, paused or started twice, at each moment of a device: always one device a row, with the identity
//! that the ledger has.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tbprov::sim::{Event, Fault};

use crate::fleet_run::{assert_whole, command, fleet, names};
use crate::support::{Ran, Running, Sandbox, Server, run};

/// Rows of a fleet, and how many devices are worked on at once.
const ROWS: usize = 5;
const JOBS: &str = "--jobs 2";

/// The moments after which a run is killed: its events, in their order, with the state.
const MOMENTS: [(&str, &str); 9] = [
    ("fleet-begun", ""),
    ("identity-created", ""),
    ("state-reached", "staged"),
    ("state-reached", "sent"),
    ("request-sent", ""),
    ("answer-received", ""),
    ("state-reached", "accepted"),
    ("state-reached", "proved"),
    ("device-done", ""),
];

/// Who goes on after a kill.
#[derive(Debug, Clone, Copy)]
enum Heir {
    /// The same command again.
    Same,
    /// Another run, which was there at the same time.
    Other,
    Both,
}

/// Starts a run, and waits until it tells of this moment for the `count`th time.
fn started(sandbox: &Sandbox, server: &Server, flags: &str, moment: (&str, &str), count: usize) -> Running {
    let mut running = Running::start(&mut command(sandbox, server, &format!("--events {flags}")));
    for _ in 0..count {
        loop {
            let line = running.line().unwrap_or_else(|| panic!("ended before {moment:?}"));
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["event"] == moment.0 && (moment.1.is_empty() || event["state"] == moment.1) {
                break;
            }
        }
    }
    running
}

#[track_caller]
fn assert_done(what: &str, ran: &Ran) {
    assert_eq!(ran.code, Some(0), "{what}: {ran:?}");
    assert_eq!(ran.json()["left"], 0, "{what}: {ran:?}");
}

fn killed(moment: (&str, &str), heir: Heir, count: usize) {
    let what = format!("{moment:?} {heir:?} {count}");
    let server = Server::start(|config| config.faults = vec![Fault::Delay(Duration::from_millis(20))]);
    let sandbox = fleet(&names(ROWS));
    let victim = started(&sandbox, &server, JOBS, moment, count);
    let beside = || Running::start(&mut command(&sandbox, &server, &format!("--events {JOBS}")));
    let other = matches!(heir, Heir::Other | Heir::Both).then(beside);
    victim.kill();
    if matches!(heir, Heir::Same | Heir::Both) {
        assert_done(&what, &run(&mut command(&sandbox, &server, &format!("--json {JOBS}"))));
    }
    if let Some(other) = other {
        assert_done(&what, &other.end());
    }
    assert_whole(&sandbox, &server, ROWS);
}

#[test]
fn a_kill_at_any_moment_leaves_one_device_a_row() {
    std::thread::scope(|scope| {
        for heir in [Heir::Same, Heir::Other, Heir::Both] {
            for part in 0..3 {
                scope.spawn(move || {
                    for (number, moment) in MOMENTS.into_iter().enumerate().skip(part).step_by(3) {
                        // The first device is alone; later ones have others beside them.
                        let count = if moment.0 == "fleet-begun" { 1 } else { 1 + number % 3 };
                        killed(moment, heir, count);
                    }
                });
            }
        }
    });
}

/// A device is proved before its attributes are sent.
#[test]
fn a_kill_after_the_proof_loses_no_attributes() {
    let server = Server::start(|_| {});
    let sandbox = fleet("name,client.place\none,cellar\nother,roof\n");
    started(&sandbox, &server, JOBS, ("state-reached", "proved"), 1).kill();
    assert_done("attributes", &run(&mut command(&sandbox, &server, "--json")));
    let devices = server.devices();
    assert!(devices.len() == 2 && devices.iter().all(|device| device.attributes > 0), "{devices:?}");
}

/// The answers are lost too: the heir has to find out what the server has.
#[test]
fn a_kill_around_lost_answers_leaves_one_device_a_row() {
    let server = Server::start(|config| config.faults = vec![Fault::AcceptThenClose]);
    for moment in [("state-reached", "sent"), ("request-sent", ""), ("settling", "")] {
        let sandbox = fleet(&format!("name\n{}-1\n{}-2\n", moment.0, moment.0));
        started(&sandbox, &server, JOBS, moment, 1).kill();
        let ran = run(&mut command(&sandbox, &server, &format!("--json {JOBS}")));
        assert_done(moment.0, &ran);
    }
    assert_eq!(server.devices().len(), 6, "{:?}", server.devices());
}

/// Paused for longer than its lease, overtaken by another run, and awake again.
fn paused(moment: (&str, &str), faults: &[Fault]) {
    let server = Server::start(|config| config.faults = faults.to_vec());
    let sandbox = fleet(&names(2));
    let mut sleeper = started(&sandbox, &server, "--lease 1s", moment, 1);
    sleeper.signal("STOP");
    let begin = Instant::now();
    let other = run(&mut command(&sandbox, &server, "--json --lease 1s"));
    assert_done(&format!("{moment:?}"), &other);
    assert_eq!(
        other.json()["provisioned"].as_u64().unwrap() + other.json()["recovered"].as_u64().unwrap(),
        2
    );
    assert!(begin.elapsed() >= Duration::from_millis(900), "the lease holds: {:?}", begin.elapsed());
    assert!(!sleeper.has_ended());
    sleeper.signal("CONT");
    let woken = sleeper.end();
    assert_done(&format!("{moment:?} awake"), &woken);
    let lost = woken.json()["lost"].as_u64();
    assert!(matches!(lost, Some(1..=2)), "the one that was begun, and perhaps the next: {woken:?}");
    assert_eq!(woken.json()["provisioned"], 0, "{woken:?}");
    assert_whole(&sandbox, &server, 2);
}

/// The connection takes so long that the pause comes before the request.
#[test]
fn a_run_that_was_paused_before_its_request_sends_none() {
    paused(("state-reached", "staged"), &[Fault::Latency(Duration::from_millis(150))]);
}

#[test]
fn a_run_that_was_paused_before_the_answer_records_nothing() {
    paused(("request-sent", ""), &[Fault::Delay(Duration::from_millis(400))]);
}

#[test]
fn a_run_that_is_started_twice_makes_one_device_a_row() {
    let server = Server::start(|_| {});
    let sandbox = fleet(&names(20));
    let start = || Running::start(&mut command(&sandbox, &server, "--events --jobs 4"));
    for running in [start(), start(), start()] {
        let ran = running.end();
        assert_done("together", &ran);
        assert_eq!(ran.json()["lost"], 0, "{ran:?}");
    }
    assert_whole(&sandbox, &server, 20);
    let asked =
        server.events().iter().filter(|event| matches!(event, Event::ProvisionRequest { .. })).count();
    assert_eq!(asked, 20);
}

/// Leases are told by clocks, and a clock that is wrong makes no second device. A clock that is a day behind takes the
/// certificates of others for those of the future, which fails no row.
#[test]
fn a_clock_that_is_wrong_makes_no_second_device() {
    let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
    if !Path::new(&library).exists() {
        assert!(std::env::var_os("TBPROV_REQUIRE_PEERS").is_none(), "libfaketime is not installed");
        println!("skipped: libfaketime is not installed");
        return;
    }
    for shift in ["-1d", "-30m", "+30m"] {
        let server = Server::start(|config| config.faults = vec![Fault::Delay(Duration::from_millis(20))]);
        let sandbox = fleet(&names(ROWS));
        let shifted = |flags: &str| -> Command {
            let mut command = command(&sandbox, &server, flags);
            command.env("LD_PRELOAD", &library).env("FAKETIME", shift);
            command
        };
        started(&sandbox, &server, JOBS, ("state-reached", "sent"), 2).kill();
        if shift == "-1d" {
            run(&mut shifted("--json")).failed(2, "identity/clock");
        }
        let together = Running::start(&mut command(&sandbox, &server, "--events"));
        let ran = run(&mut shifted("--json --jobs 2"));
        assert_done(shift, &together.end());
        if shift != "-1d" {
            assert_done(shift, &ran);
        }
        assert_whole(&sandbox, &server, ROWS);
    }
}
