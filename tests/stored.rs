//! Acknowledged is stored: every reading once, in order of time, whatever the server does meanwhile. What is compared
//! is what the server has in its store.

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
use std::time::{Duration, SystemTime};

use serde_json::Value;
use support::*;
use tbprov::sim::{Config, Event, Fault, HeldCredentials, PreProvisioned, Release, StoredValue};

/// A server that keeps what is stored, and a store with the device `sensor`.
fn sensor(change: impl FnOnce(&mut Config)) -> (Server, Sandbox) {
    let server = Server::start(|config| {
        config.keep_values = true;
        change(config);
    });
    let sandbox = Sandbox::new();
    sandbox.provisioned(&server, "sensor");
    (server, sandbox)
}

/// Sends `input` from stdin with these flags too; the result's part about telemetry.
fn send(sandbox: &Sandbox, input: &str, flags: &[&str]) -> Value {
    let result = run_with_input(sandbox.connect(&["--send-telemetry=-"]).args(flags), input).done();
    result["telemetry"].clone()
}

/// Whether the store has the numbers from 0 to before `count`, each once, and later ones at later times.
#[track_caller]
fn assert_stored(values: &[StoredValue], count: usize, what: &str) {
    let numbers: Vec<_> = values.iter().map(|value| value.value.parse::<usize>().unwrap()).collect();
    let first_wrong = numbers.iter().copied().zip(0..).find(|(number, place)| number != place);
    assert_eq!((numbers.len(), first_wrong), (count, None), "{what}: not each once, in order of time");
}

#[track_caller]
fn assert_all_stored(count: usize, what: &str, change: impl FnOnce(&mut Config)) -> Value {
    let (server, sandbox) = sensor(change);
    let telemetry = send(&sandbox, &lines(count), &[]);
    assert_eq!([&telemetry["sent"], &telemetry["acknowledged"]], [count, count], "{what}: {telemetry}");
    assert_stored(&server.values("sensor"), count, what);
    assert_eq!(server.device("sensor").stored, count as u64, "{what}");
    telemetry
}

fn limit(text: &str) -> Option<tbprov::sim::Limit> {
    Some(text.parse().unwrap())
}

#[test]
fn without_a_limit() {
    let telemetry = assert_all_stored(10_000, "no limit", |_| {});
    assert_eq!([&telemetry["reconnects"], &telemetry["held_back"]], [0, 0]);
}

/// No release but 4.3 was asked, and none before 3.8 answers.
#[test]
fn on_every_release() {
    std::thread::scope(|scope| {
        for release in Release::ALL {
            scope.spawn(move || assert_all_stored(500, release.as_str(), |config| config.release = *release));
        }
    });
}

#[test]
fn within_announced_limits() {
    std::thread::scope(|scope| {
        for (text, count) in
            [("1000:1", 10_000), ("1000:1,30000:60", 40_000), ("10:1", 300), ("100:1,300:60", 400)]
        {
            scope.spawn(move || {
                let telemetry = assert_all_stored(count, text, |config| config.device_limit = limit(text));
                // None but where this machine stands still for longer than the margin.
                assert!(telemetry["reconnects"].as_u64() <= Some(2), "{text}: {telemetry}");
            });
        }
    });
}

#[test]
fn within_limits_that_are_not_announced() {
    std::thread::scope(|scope| {
        for (text, count) in [("1000:1", 10_000), ("1000:1,30000:60", 10_000), ("10:1", 300), ("20:1", 120)] {
            scope.spawn(move || {
                let telemetry = assert_all_stored(count, text, |config| config.tenant_limit = limit(text));
                assert!(telemetry["reconnects"].as_u64() <= Some(30), "{text}: {telemetry}");
                let held_back = [&telemetry["held_back"], &telemetry["held_back_ms"]];
                assert!(
                    text.starts_with("1000") || held_back.iter().all(|count| count.as_u64() > Some(0)),
                    "{text}: {telemetry}"
                );
            });
        }
    });
}

#[test]
fn whatever_becomes_of_pubacks_and_connections() {
    let late = Fault::PubackLate(Duration::from_millis(300));
    std::thread::scope(|scope| {
        for faults in [
            vec![Fault::PubackShuffled],
            vec![Fault::PubackTwice],
            vec![late],
            vec![late, Fault::PubackShuffled, Fault::PubackTwice],
            vec![Fault::CloseEvery(10)],
            vec![Fault::CloseEvery(10), late],
            vec![Fault::ResetAlways(10)],
            vec![Fault::Reset(250)],
        ] {
            scope.spawn(move || {
                let what = format!("{faults:?}");
                assert_all_stored(500, &what, |config| config.faults = faults);
            });
        }
    });
}

/// A reading may have a time that is not there yet, by no more than 100 ms.
#[test]
fn no_time_is_far_ahead_of_the_clock() {
    let (server, sandbox) = sensor(|_| {});
    let array: Vec<_> = (0..900).map(|number| format!("{{\"number\":{number}}}")).collect();
    send(&sandbox, &format!("[{}]\n{}", array.join(","), lines(600)), &["--batch", "7"]);
    let arrived = server.events_in_time();
    let mut messages = 0;
    for (at, event) in arrived {
        let Event::Telemetry { payload, .. } = event else { continue };
        let readings: Vec<Value> = serde_json::from_str(&payload).unwrap();
        let last = readings.last().unwrap()["ts"].as_u64().unwrap();
        let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert!(Duration::from_millis(last) <= at + Duration::from_millis(100), "{payload} at {at:?}");
        messages += 1;
    }
    assert!(messages > 80, "{messages}");
}

/// Batches keep to the data points of the limit, also those that were made before it was known.
#[test]
fn within_announced_data_points() {
    let announced = |config: &mut Config| config.device_point_limit = limit("50:1");
    let (server, sandbox) = sensor(announced);
    let telemetry = send(&sandbox, &lines(300), &["--batch", "100"]);
    assert!(telemetry["reconnects"].as_u64() <= Some(1), "{telemetry}");
    assert_eq!([&telemetry["sent"], &telemetry["acknowledged"]], [300, 300], "{telemetry}");
    assert_stored(&server.values("sensor"), 300, "batches");

    let large: Vec<_> = (0..51).map(|key| format!("\"k{key}\":1")).collect();
    let input = format!("{}{{{}}}\n{{\"number\":20}}\n", lines(20), large.join(","));
    let ran = run_with_input(&mut sandbox.connect(&["--send-telemetry=-", "--skip-refused"]), &input);
    assert_eq!(ran.code, Some(6), "{ran:?}");
    let telemetry = &ran.json()["telemetry"];
    assert_eq!([&telemetry["sent"], &telemetry["acknowledged"], &telemetry["refused"]], [21, 21, 1]);
    let why =
        "line 21 of standard input has 51 data points, more than the server's limit telemetryDataPoints 50:1";
    assert!(ran.stderr.contains(why), "{ran:?}");
    let ran = run_with_input(&mut sandbox.connect(&["--send-telemetry=-"]), &input);
    let error = ran.failed(2, "usage/invalid-value");
    assert!(error["message"].as_str().unwrap().starts_with(why), "{error}");
    // In one message with those before and after it, made before the limit was known.
    let before = server.telemetry("sensor").len();
    let ran = run_with_input(&mut sandbox.connect(&["--send-telemetry=-", "--batch", "100"]), &input);
    let error = ran.failed(2, "usage/invalid-value");
    assert!(error["message"].as_str().unwrap().ends_with("(20 of 20 readings were acknowledged)"), "{error}");
    let sent = server.telemetry("sensor")[before..].concat();
    assert!(sent.contains("\"number\":19") && !sent.contains("\"number\":20"), "{sent}");
}

/// Out of order and twice costs nothing: no connection, and no message more.
#[test]
fn pubacks_out_of_order_and_twice_cost_nothing() {
    let (server, sandbox) = sensor(|config| config.faults = vec![Fault::PubackShuffled, Fault::PubackTwice]);
    let telemetry = send(&sandbox, &lines(1000), &[]);
    assert_eq!(telemetry["reconnects"], 0);
    assert_eq!(server.telemetry("sensor").len(), 1000);
}

/// The times that were given are told, and those of the store.
#[test]
fn each_time_that_is_given_is_told() {
    let (server, sandbox) = sensor(|_| {});
    let mut command = sandbox.tbprov(&["connect", "--events", "--send-telemetry", "--count", "3"]);
    let ran = run(command.args(["--interval", "0s"]));
    let told: Vec<i64> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["event"] == "acknowledged")
        .map(|event| event["ts"].as_i64().unwrap())
        .collect();
    let mut stored: Vec<_> = server.values("sensor").iter().map(|value| value.ts).collect();
    stored.dedup();
    assert_eq!(told, stored);
}

/// A server that is ended and started again on the same port, again and again.
#[test]
fn over_a_server_that_is_restarted() {
    const COUNT: usize = 4000;
    let (credentials, held) = identity("sensor");
    let configure = |config: &mut Config| {
        config.keep_values = true;
        config.pre_provisioned = vec![PreProvisioned::new("sensor").with(held.clone())];
    };
    let mut server = Server::presenting("san", configure);
    let sandbox = Sandbox::trusting("san");
    credentials(&sandbox);
    let mut command = sandbox.tbprov(&["connect", "--json", "--cert", "cert.pem", "--key", "key.pem"]);
    let port = server.address().port().to_string();
    command.args([
        "--host",
        "localhost",
        "--port",
        &port,
        "--server-cert",
        "server.pem",
        "--send-telemetry=@lines",
    ]);
    sandbox.write("lines", lines(COUNT));
    let running = Running::start(&mut command);
    until("the first reading", || !server.telemetry("sensor").is_empty());
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(500));
        server = server.replace(configure);
    }
    let telemetry = running.end().done()["telemetry"].clone();
    assert_eq!(telemetry["acknowledged"], COUNT, "{telemetry}");
    assert!(telemetry["reconnects"].as_u64() >= Some(1), "{telemetry}");
    // What each of them accepted, put together: the last value of a time counts.
    let accepted = server.telemetry("sensor").into_iter().map(|payload| {
        let reading: Value = serde_json::from_str(&payload).unwrap();
        (reading["ts"].as_i64().unwrap(), reading["values"]["number"].to_string())
    });
    let by_time: BTreeMap<_, _> = accepted.collect();
    let value = |(ts, value)| StoredValue { ts, key: "number".to_owned(), value };
    assert_stored(&by_time.into_iter().map(value).collect::<Vec<_>>(), COUNT, "restarted");
}

/// The files of an identity that the server shall know, written where a command finds them.
fn identity(name: &str) -> (impl Fn(&Sandbox), HeldCredentials) {
    use tbprov::identity::{Issue, Profile, Validity, issue};
    use tbprov::keys::{Exportable as _, KeyType, SoftwareKey};
    let key = SoftwareKey::generate(KeyType::EcP256).unwrap();
    let validity = Validity::days(2);
    let wanted = Issue { name, profile: &Profile::Device, validity, key: &key, issuer: None };
    let leaf = issue(&wanted).unwrap().leaf;
    let held = HeldCredentials::certificate(&leaf);
    let write = move |sandbox: &Sandbox| {
        sandbox.write("cert.pem", leaf.to_pem());
        sandbox.write("key.pem", key.to_pem().expose());
    };
    (write, held)
}
