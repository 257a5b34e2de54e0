//! Several `tbprov` on one device: one works, the others wait, or are told who works.

#![cfg(feature = "cli")]
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod support;

use std::process::Stdio;
use std::time::Duration;

use support::*;
use tbprov::sim::Fault;

/// Starts `count` at once; the outcomes, in order.
fn race(server: &Server, sandbox: &Sandbox, count: usize) -> Vec<String> {
    let start =
        || sandbox.provision(server, "sensor").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let children: Vec<_> = (0..count).map(|_| start()).collect();
    let mut outcomes: Vec<_> = children
        .into_iter()
        .map(|child| {
            Ran::from(child.wait_with_output().unwrap()).done()["outcome"].as_str().unwrap().to_owned()
        })
        .collect();
    outcomes.sort();
    outcomes
}

#[test]
fn of_several_at_once_one_provisions_and_the_others_verify() {
    for (release, count) in [(RELEASES[0], 2), (RELEASES[3], 8)] {
        let server = Server::start(|config| {
            config.release = release;
            config.faults = vec![Fault::Delay(Duration::from_millis(200))];
        });
        let sandbox = Sandbox::new();
        let outcomes = race(&server, &sandbox, count);
        assert_eq!(outcomes[0], "provisioned");
        assert!(outcomes[1..].iter().all(|outcome| outcome == "verified"), "{outcomes:?}");
        assert_eq!(server.devices().len(), 1);
        assert_whole(&sandbox, &server, "sensor");
    }
}

/// How a message names the process. Windows lets nobody read a locked file, so there it does not.
fn holder(running: &Running) -> String {
    if cfg!(unix) { format!("(process {})", running.child.id()) } else { String::new() }
}

#[test]
fn the_second_says_for_whom_it_waits_and_goes_on_when_the_first_is_killed() {
    let server = Server::start(|config| config.faults = vec![Fault::NoAnswer]);
    let sandbox = Sandbox::new();
    let arguments = ["provision", "--events", "--timeout", "60s", "--device-name", "sensor"];
    let mut first = Running::start(&mut sandbox.tbprov_for(&server, &arguments));
    first.until("request-sent");
    let mut second = Running::start(&mut sandbox.tbprov_for(&server, &arguments));
    let waiting = second.until("waiting");
    assert!(waiting.contains(&holder(&first)), "{waiting}");
    first.kill();
    // The lock is free, and the state 'sent' is settled by a connect.
    second.until("settling");
    second.until("request-sent");
    second.kill();
    assert!(server.devices().is_empty());
}

#[test]
fn adding_a_device_that_is_being_provisioned_names_the_process() {
    let server = Server::start(|config| config.faults = vec![Fault::NoAnswer]);
    let sandbox = Sandbox::new();
    run(&mut sandbox.tbprov(&["certs", "gen", "--name", "sensor", "--out", "made", "--json"])).done();
    let arguments = ["provision", "--events", "--timeout", "60s", "--device-name", "sensor"];
    let mut first = Running::start(&mut sandbox.tbprov_for(&server, &arguments));
    first.until("request-sent");
    let arguments = [
        "devices",
        "add",
        "sensor",
        "--cert",
        "made/cert.pem",
        "--key",
        "made/key.pem",
        "--no-verify-connect",
        "--json",
    ];
    let error = run(&mut sandbox.tbprov_for(&server, &arguments)).failed(5, "store/locked");
    assert!(error["message"].as_str().unwrap().contains(&holder(&first)), "{error}");
    // Another device is nobody's business.
    let arguments = [
        "devices",
        "add",
        "other",
        "--cert",
        "made/cert.pem",
        "--key",
        "made/key.pem",
        "--no-verify-connect",
        "--json",
    ];
    run(&mut sandbox.tbprov_for(&server, &arguments)).done();
    first.kill();
}

/// Different devices in one store do not wait for each other.
#[test]
fn different_devices_are_provisioned_side_by_side() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (server, sandbox) = (&server, &sandbox);
            // The pin is written by the first that needs it.
            let mut command = sandbox.provision(server, &format!("sensor {number}"));
            scope.spawn(move || assert_eq!(run(&mut command).done()["outcome"], "provisioned"));
        }
    });
    assert_eq!(server.devices().len(), 8);
    (0..8).for_each(|number| assert_whole(&sandbox, &server, &format!("sensor {number}")));
}

/// Connects, again where another one of the same device ended the session: the server lets one in at a time.
fn connected(sandbox: &Sandbox, name: &str) {
    let mut ended = run(&mut sandbox.connect(&[name]));
    while ended.code == Some(3) {
        ended.failed(3, "network/closed");
        ended = run(&mut sandbox.connect(&[name]));
    }
    ended.done();
}

/// The first connect of an unproved device proves it, for whichever of several gets there first.
#[test]
fn several_connects_of_an_unproved_device_all_end_well() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    for round in 0..3 {
        let name = format!("sensor {round}");
        run(sandbox.provision(&server, &name).arg("--no-verify-connect")).done();
        assert_eq!(record_state(&sandbox, &name).as_deref(), Some("accepted"));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| connected(&sandbox, &name));
            }
        });
        assert_whole(&sandbox, &server, &name);
    }
}
