//! `kill -9` at any moment of a provisioning: the rerun ends with one device on the server and its key on disk.

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

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use support::*;
use tbprov::sim::{Fault, Release};

/// Random moments in all.
const MOMENTS: usize = 200;
/// Of the random numbers; printed, so that a failure can be repeated with another.
const SEED: u64 = 0x5eed_0fc4_a5e5;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A duration below `end`.
    fn moment(&mut self, end: Duration) -> Duration {
        let part = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        end.mul_f64(part)
    }
}

/// What a killed run left in the store and on the server.
struct Left {
    state: Option<String>,
    key: Option<String>,
    on_server: bool,
}

impl Left {
    fn by(sandbox: &Sandbox, server: &Server, name: &str) -> Self {
        Self {
            state: record_state(sandbox, name),
            key: std::fs::read_to_string(sandbox.path("devices").join(name).join("key.pem")).ok(),
            on_server: server.devices().iter().any(|device| device.name == name),
        }
    }

    /// The outcomes that a rerun may have.
    fn outcomes(&self) -> &'static [&'static str] {
        match self.state.as_deref() {
            None | Some("staged") => &["provisioned"],
            Some("sent") if self.on_server => &["recovered"],
            // The request may be on its way.
            Some("sent") => &["provisioned", "recovered"],
            Some("accepted") => &["recovered"],
            _ => &["verified"],
        }
    }
}

/// Reruns the command to its end, and checks that nothing was lost and nothing is left over.
fn finish(
    sandbox: &Sandbox,
    server: &Server,
    name: &str,
    expected: impl Fn(&Left) -> &'static [&'static str],
) {
    let left = Left::by(sandbox, server, name);
    let result = run(&mut sandbox.provision(server, name)).done();
    let outcome = result["outcome"].as_str().unwrap();
    assert!(expected(&left).contains(&outcome), "{name}: {outcome} after {:?}", left.state);
    assert_whole(sandbox, server, name);
    if let Some(key) = &left.key {
        assert_eq!(
            *key,
            sandbox.read(&format!("devices/{name}/key.pem")),
            "{name}: the identity was replaced"
        );
    }
}

/// The events of a run that nothing disturbs, and so every moment at which something changed.
fn events(sandbox: &Sandbox, server: &Server) -> Vec<String> {
    let mut command = sandbox.tbprov_for(server, &["provision", "--events", "--device-name", "undisturbed"]);
    let ended = run(&mut command);
    ended.done();
    let name = |line: &str| -> String {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let state = event["state"].as_str().map(|state| format!(" {state}")).unwrap_or_default();
        format!("{}{state}", event["event"].as_str().unwrap_or("result"))
    };
    ended.stdout.lines().map(name).collect()
}

fn kill_at_every_event(server: &Server, expected: impl Fn(&Left) -> &'static [&'static str]) {
    let sandbox = Sandbox::new();
    let events = events(&sandbox, server);
    for wanted in
        ["state-reached staged", "state-reached sent", "request-sent", "proved", "state-reached proved"]
    {
        assert!(events.iter().any(|event| event == wanted), "no {wanted} in {events:?}");
    }
    for (count, event) in events.iter().enumerate() {
        let name = format!("{count:02} {event}");
        let mut command = sandbox.tbprov_for(server, &["provision", "--events", "--device-name", &name]);
        let mut running = Running::start(&mut command);
        for _ in 0..=count {
            running.line();
        }
        running.kill();
        finish(&sandbox, server, &name, &expected);
    }
}

#[test]
fn a_kill_at_every_event_loses_nothing() {
    std::thread::scope(|scope| {
        for release in RELEASES {
            scope.spawn(move || kill_at_every_event(&Server::of(release), Left::outcomes));
        }
    });
}

/// The server has the device, and the answer never comes.
#[test]
fn a_kill_around_a_lost_answer_loses_nothing() {
    std::thread::scope(|scope| {
        for release in [Release::V3_4, Release::V4_3] {
            scope.spawn(move || {
                let server = Server::start(|config| {
                    config.release = release;
                    config.faults = vec![Fault::AcceptThenClose];
                });
                kill_at_every_event(&server, |left| match left.state.as_deref() {
                    Some("proved") => &["verified"],
                    _ => &["recovered"],
                });
            });
        }
    });
}

/// Most devices are killed once, every fifth three times, the reruns included.
#[test]
fn a_kill_at_any_moment_loses_nothing() {
    println!("seed {SEED:#x}");
    std::thread::scope(|scope| {
        for (lane, release) in RELEASES.into_iter().enumerate() {
            scope.spawn(move || kill_at_moments(lane, release, MOMENTS / RELEASES.len()));
        }
    });
}

fn kill_at_moments(lane: usize, release: Release, devices: usize) {
    let (sandbox, server) = (Sandbox::new(), Server::of(release));
    let started = Instant::now();
    sandbox.provisioned(&server, "undisturbed");
    // How long a run takes depends on what else the machine does, so the moments follow it: about a third of
    // them come after the end.
    let mut window = started.elapsed();
    let mut random = Random(SEED + lane as u64);
    let mut left = BTreeMap::<_, usize>::new();
    for number in 0..devices {
        let name = format!("device {number}");
        for _ in 0..if number % 5 == 4 { 3 } else { 1 } {
            let mut running = Running::start(&mut sandbox.provision(&server, &name));
            // Not to wait for something: this is the moment.
            std::thread::sleep(random.moment(window));
            window = window.mul_f64(if running.has_ended() { 0.8 } else { 1.1 });
            running.kill();
        }
        *left.entry(record_state(&sandbox, &name).unwrap_or_else(|| "nothing".to_owned())).or_default() += 1;
        finish(&sandbox, &server, &name, Left::outcomes);
    }
    println!("{release}: {devices} devices, moments within {window:?}, left as {left:?}");
    assert_eq!(server.devices().len(), devices + 1);
    let listed = run(&mut sandbox.tbprov(&["devices", "list", "--json"])).done();
    assert_eq!(listed["devices"].as_array().unwrap().len(), devices + 1);
}

/// A device that the server names: the store alone tells the rerun which one it is.
#[test]
fn a_kill_does_not_lose_a_device_without_a_name() {
    let server = Server::start(|config| config.faults = vec![Fault::AcceptThenClose]);
    for event in ["state-reached", "request-sent", "settling"] {
        let sandbox = Sandbox::new();
        let before = server.devices().len();
        let arguments = ["provision", "--events", "--device-name", ""];
        let mut running = Running::start(&mut sandbox.tbprov_for(&server, &arguments));
        running.until(event);
        running.kill();
        let result = run(&mut sandbox.tbprov_for(&server, &arguments)).done();
        assert_eq!(result["outcome"], "recovered");
        assert_eq!(server.devices().len(), before + 1, "after {event}");
        let names = entries(&sandbox.path("devices"));
        let (hidden, devices): (Vec<_>, Vec<_>) = names.iter().partition(|name| name.starts_with('.'));
        assert!(devices.len() == 1 && devices[0].starts_with("unnamed-"), "{names:?}");
        assert_eq!(hidden, [".locks", ".unfinished"]);
        assert!(entries(&sandbox.path("devices/.unfinished")).is_empty(), "it is finished");
    }
}
