//! Telemetry from outside: every source, every fault in the middle, each message counted once.

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

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;
use support::*;
use tbprov::dial::Dialer;
use tbprov::event::Progress;
use tbprov::identity::{Credentials, Issue, Profile, Validity, X509Identity, issue};
use tbprov::keys::{KeyType, SoftwareKey};
use tbprov::mqtt::{Incoming, Login, Session};
use tbprov::sim::{Config, Fault, HeldCredentials, PreProvisioned, Release};
use tbprov::tls::{Trust, TrustSource};

/// A server with these faults, and a store with the device `sensor`.
fn sensor(faults: &[Fault]) -> (Server, Sandbox) {
    let server = Server::start(|config| config.faults = faults.to_vec());
    let sandbox = Sandbox::new();
    sandbox.provisioned(&server, "sensor");
    (server, sandbox)
}

/// What the server was sent for each reading, without the times that were added, which have to increase.
fn readings(server: &Server, name: &str) -> Vec<String> {
    let mut last = 0;
    let mut reading = |payload: String| {
        let message: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&payload).unwrap();
        let time: i64 = serde_json::from_str(message["ts"].get()).unwrap();
        assert!(time > last, "{payload} after {last}");
        last = time;
        message["values"].get().to_owned()
    };
    server.telemetry(name).into_iter().map(&mut reading).collect()
}

/// The same, sent again or not.
fn different_readings(server: &Server, name: &str) -> BTreeSet<String> {
    let different: BTreeSet<_> = server.telemetry(name).into_iter().collect();
    let values = |payload: &String| {
        let message: BTreeMap<String, Box<RawValue>> = serde_json::from_str(payload).unwrap();
        message["values"].get().to_owned()
    };
    let readings: BTreeSet<_> = different.iter().map(values).collect();
    assert_eq!(readings.len(), different.len(), "a reading that is sent again keeps its time");
    readings
}

#[track_caller]
fn assert_counts(json: &Value, sent: u64, acknowledged: u64) {
    let counts = [&json["telemetry"]["sent"], &json["telemetry"]["acknowledged"]];
    assert_eq!(counts, [sent, acknowledged], "{json}");
}

/// `--send-telemetry` in all its forms: what arrives, in which order.
#[test]
fn every_source_arrives_in_order() {
    let samples = [r#"{"temperature":25,"humidity":26}"#, r#"{"temperature":25.5,"humidity":27}"#];
    let (one, two) = (r#"{"a":1}"#, r#"{"a": 2.50}"#);
    let text = format!("\u{20}{one}\r\n\n{two}");
    let cases: &[(&[&str], &[&str])] = &[
        (&["--send-telemetry"], &samples[..1]),
        (&["--send-telemetry", "--count", "2", "--interval", "1ms"], &samples),
        (&["--send-telemetry={\"a\":1}"], &[one]),
        (&["--send-telemetry={\"a\":1}", "--count", "3", "--interval", "0"], &[one, one, one]),
        (&["--send-telemetry=@readings"], &[one, two]),
        (&["--send-telemetry=@readings", "--count", "1"], &[one]),
        (&["--send-telemetry=-"], &[one, two]),
        (&["--send-telemetry=-", "--interval", "1ms"], &[one, two]),
    ];
    let (server, sandbox) = sensor(&[]);
    sandbox.write("readings", &text);
    for (arguments, expected) in cases {
        let before = server.telemetry("sensor").len();
        let result = run_with_input(&mut sandbox.connect(arguments), &text).done();
        assert_counts(&result, expected.len() as u64, expected.len() as u64);
        assert_eq!(readings(&server, "sensor")[before..], **expected, "{arguments:?}");
    }
    let mut command = sandbox.provision(&server, "other");
    let result = run(command.args(["--send-telemetry", "--count", "2", "--interval", "0"])).done();
    assert_counts(&result, 2, 2);
    assert_eq!(readings(&server, "other"), samples);
}

#[test]
fn nothing_to_send_is_no_failure() {
    let (server, sandbox) = sensor(&[]);
    for input in ["", "\n", " \r\n\n"] {
        let result = run_with_input(&mut sandbox.connect(&["--send-telemetry=-"]), input).done();
        assert_counts(&result, 0, 0);
    }
    assert!(server.telemetry("sensor").is_empty());
}

#[test]
fn attributes_are_sent_and_not_counted() {
    let (server, sandbox) = sensor(&[]);
    let arguments = ["--send-telemetry=-", "--attributes", r#"{"firmware":"1.2.0"}"#];
    for (input, count) in [(lines(3), 3), (String::new(), 0)] {
        let result = run_with_input(&mut sandbox.connect(&arguments), &input).done();
        assert_counts(&result, count, count);
    }
    let device = server.device("sensor");
    assert_eq!((device.telemetry, device.attributes), (3, 2));
}

/// Every fault in the middle of 1,000 lines: each is counted once, and the server saw each at least once.
#[test]
fn a_broken_connection_loses_no_line_and_counts_none_twice() {
    let input = lines(1000);
    let expected: BTreeSet<_> = input.lines().map(str::to_owned).collect();
    for fault in [Fault::Reset(1), Fault::Reset(500), Fault::Reset(1000), Fault::ResetAlways(150)] {
        let (server, sandbox) = sensor(&[fault]);
        let mut command = sandbox.connect(&["--send-telemetry=-"]);
        let result = run_with_input(&mut command, &input).done();
        assert_counts(&result, 1000, 1000);
        assert!(result["telemetry"]["reconnects"].as_u64() >= Some(1), "{fault}: {result}");
        assert_eq!(different_readings(&server, "sensor"), expected, "{fault}");
    }
}

/// ThingsBoard closes a connection that is over its limit, and the device comes back more slowly.
#[test]
fn a_rate_limit_slows_down_and_loses_nothing() {
    let (server, sandbox) = sensor(&[Fault::RateLimit(60)]);
    let result = run_with_input(&mut sandbox.connect(&["--send-telemetry=-"]), &lines(150)).done();
    assert_counts(&result, 150, 150);
    assert!(result["telemetry"]["reconnects"].as_u64() >= Some(1), "{result}");
    assert_eq!(different_readings(&server, "sensor").len(), 150);
}

#[test]
fn a_bad_line_is_named_after_those_before_it_are_acknowledged() {
    for bad in ["25", "{\"a\":", "[]", "null"] {
        let (server, sandbox) = sensor(&[]);
        let input = format!("{}{bad}\n{}", lines(250), lines(1));
        let mut command = sandbox.connect(&["--send-telemetry=-"]);
        let error = run_with_input(&mut command, &input).failed(2, "usage/invalid-value");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("line 251 of standard input"), "{message}");
        assert!(message.contains("250 of 250 readings were acknowledged"), "{message}");
        assert_eq!(server.telemetry("sensor").len(), 250, "{bad}");
    }
}

/// Each line is sent when it comes, not when a buffer is full or stdin ends.
#[test]
fn a_slow_stdin_is_sent_line_by_line() {
    let (server, sandbox) = sensor(&[]);
    let mut child = sandbox
        .connect(&["--send-telemetry=-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for (number, line) in lines(3).lines().enumerate() {
        writeln!(stdin, "{line}").unwrap();
        until("the line", || server.telemetry("sensor").len() == number + 1);
    }
    drop(stdin);
    assert_counts(&Ran::from(child.wait_with_output().unwrap()).done(), 3, 3);
}

/// A line that is half written when a message is acknowledged is not lost or cut.
#[test]
fn a_line_that_comes_in_pieces_stays_whole() {
    let (server, sandbox) = sensor(&[]);
    let mut child = sandbox
        .connect(&["--send-telemetry=-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"{\"a\":1}\n{\"whole\":").unwrap();
    until("the first line", || server.telemetry("sensor").len() == 1);
    stdin.write_all(b"true}\n").unwrap();
    drop(stdin);
    assert_counts(&Ran::from(child.wait_with_output().unwrap()).done(), 2, 2);
    assert_eq!(readings(&server, "sensor")[1], r#"{"whole":true}"#);
}

/// A simulator as a process that can be stopped and started on the same port, with the same certificate.
struct Restartable<'a> {
    sandbox: &'a Sandbox,
    port: String,
    running: Running,
}

impl<'a> Restartable<'a> {
    fn start(sandbox: &'a Sandbox) -> Self {
        let mut running = Self::spawn(sandbox, "0", &["--state", "state.json"]);
        let ready: Value = serde_json::from_str(&running.until("\"command\":\"sim\"")).unwrap();
        Self { sandbox, port: ready["port"].to_string(), running }
    }

    fn spawn(sandbox: &Sandbox, port: &str, more: &[&str]) -> Running {
        let arguments = ["sim", "--events", "--port", port, "--provision-key", KEY];
        let mut command = sandbox.tbprov(&arguments);
        Running::start(command.args(more).env("TBPROV_SIM_PROVISION_SECRET", SECRET))
    }

    fn stop(&mut self) {
        self.running.child.kill().unwrap();
        self.running.child.wait().unwrap();
    }

    fn again(&mut self, more: &[&str]) {
        self.running = Self::spawn(self.sandbox, &self.port, more);
        self.running.until("\"command\":\"sim\"");
    }

    /// Provisions `sensor`, and starts to send what is then written to the input.
    fn sending(&mut self) -> (Running, std::process::ChildStdin) {
        let mut command =
            self.sandbox.tbprov(&["provision", "--json", "--host", "localhost", "--device-name", "sensor"]);
        command.args([
            "--port",
            &self.port,
            "--server-cert",
            "tbprov-sim/server.pem",
            "--provision-key",
            KEY,
        ]);
        run(command.env("TBPROV_PROVISION_SECRET", SECRET)).done();
        let mut command = self.sandbox.tbprov(&["connect", "--events", "--send-telemetry=-"]);
        let mut sending = Running::start(command.stdin(Stdio::piped()));
        let mut stdin = sending.child.stdin.take().unwrap();
        writeln!(stdin, "{{\"number\":1}}").unwrap();
        sending.until("acknowledged");
        (sending, stdin)
    }
}

#[test]
fn a_server_that_is_restarted_is_found_again() {
    let sandbox = Sandbox::new();
    let mut server = Restartable::start(&sandbox);
    let (mut sending, mut stdin) = server.sending();
    server.stop();
    sending.until("reconnecting");
    writeln!(stdin, "{{\"number\":2}}").unwrap();
    server.again(&["--state", "state.json"]);
    sending.until("acknowledged");
    drop(stdin);
    assert_counts(&sending.end().done(), 2, 2);
    assert!(server.running.until("\"number\\\":2").contains("sensor"));
}

#[test]
fn a_device_that_is_unknown_after_the_restart_ends_with_an_error() {
    let sandbox = Sandbox::new();
    let mut server = Restartable::start(&sandbox);
    let (mut sending, mut stdin) = server.sending();
    server.stop();
    sending.until("reconnecting");
    writeln!(stdin, "{{\"number\":2}}").unwrap();
    server.again(&[]);
    let error = sending.end().failed(1, "server/not-authorized");
    assert!(error["message"].as_str().unwrap().contains("(1 of "), "{error}");
    assert_eq!(error["step"], "telemetry");
}

/// A run with a known end gives up after eight attempts to connect; one whose user gave a time, after that.
#[test]
fn a_server_that_stays_away_ends_a_run_that_has_an_end() {
    let sandbox = Sandbox::new();
    let mut server = Restartable::start(&sandbox);
    let (sending, stdin) = server.sending();
    drop(stdin);
    sending.end().done();
    let flags = ["connect", "--events", "--send-telemetry", "--interval", "100ms"];
    let mut until_gone = |more: [&str; 4]| {
        let mut running = Running::start(sandbox.tbprov(&flags).args(more));
        running.until("acknowledged");
        server.stop();
        let ended = running.end();
        server.again(&["--state", "state.json"]);
        ended
    };
    let error = until_gone(["--count", "0", "--give-up-after", "2s"]).failed(3, "network/timeout");
    assert!(error["message"].as_str().unwrap().contains("no PUBACK within 2s"), "{error}");
    let ended = until_gone(["--count", "1000", "--give-up-after", "1h"]);
    ended.failed(3, "network/connect");
    assert!(ended.stdout.contains("\"attempt\":8"), "{ended:?}");
}

#[cfg(unix)]
mod interrupted {
    use super::*;

    #[test]
    fn an_endless_run_ends_well() {
        for signal in ["INT", "TERM"] {
            let (server, sandbox) = sensor(&[]);
            let arguments = ["connect", "--events", "--send-telemetry", "--count", "0", "--interval", "1ms"];
            let mut sending = Running::start(&mut sandbox.tbprov(&arguments));
            for _ in 0..5 {
                sending.until("\"acknowledged\"");
            }
            sending.signal(signal);
            let result = sending.end().done();
            assert_eq!(result["outcome"], "interrupted");
            let sent = result["telemetry"]["sent"].as_u64().unwrap();
            assert_counts(&result, sent, sent);
            assert_eq!(server.device("sensor").telemetry, sent);
        }
    }

    #[test]
    fn a_finite_run_is_cut_short() {
        let (_server, sandbox) = sensor(&[]);
        let arguments = ["connect", "--events", "--send-telemetry", "--count", "2", "--interval", "1h"];
        let mut sending = Running::start(&mut sandbox.tbprov(&arguments));
        sending.until("\"acknowledged\"");
        sending.signal("INT");
        let ended = sending.end();
        assert_eq!(ended.code, Some(130), "{ended:?}");
        assert_counts(&ended.json(), 1, 1);
    }

    #[test]
    fn a_pipe_that_nobody_writes_to_is_not_waited_for() {
        let (server, sandbox) = sensor(&[]);
        let made = std::process::Command::new("mkfifo").arg(sandbox.path("pipe")).status().unwrap();
        assert!(made.success());
        let arguments = ["provision", "--events", "--device-name", "sensor", "--send-telemetry=@pipe"];
        let mut waiting = Running::start(&mut sandbox.tbprov_for(&server, &arguments));
        waiting.until("{\"event\":\"proved\"");
        waiting.signal("INT");
        waiting.end().failed(130, "interrupted");
    }

    #[test]
    fn the_longest_pause_is_no_defect() {
        let (_server, sandbox) = sensor(&[]);
        let forever = format!("{}s", u64::MAX);
        let arguments = ["connect", "--json", "--send-telemetry", "--count", "1", "--interval", &forever];
        assert_counts(&run(&mut sandbox.tbprov(&arguments)).done(), 1, 1);
    }

    /// While the connection is being made, the first time or again.
    #[test]
    fn a_server_that_never_answers_is_not_waited_for() {
        let sandbox = Sandbox::new();
        let mut server = Restartable::start(&sandbox);
        let (mut sending, mut stdin) = server.sending();
        server.stop();
        let arguments = ["--state", "state.json", "--fault", "stall-tls"];
        server.again(&arguments);
        sending.until("reconnecting");
        writeln!(stdin, "{{\"number\":2}}").unwrap();
        server.running.until("connection-opened");
        sending.signal("INT");
        let ended = sending.end();
        assert_eq!(
            (ended.code, ended.json()["outcome"].as_str()),
            (Some(130), Some("interrupted")),
            "{ended:?}"
        );
        assert_counts(&ended.json(), 1, 1);
        let sending = Running::start(&mut sandbox.tbprov(&[
            "connect",
            "--json",
            "--timeout",
            "1h",
            "--send-telemetry",
        ]));
        server.running.until("connection-opened");
        sending.signal("INT");
        sending.end().failed(130, "interrupted");
    }
}

/// An identity in memory, and the device that has it.
fn identity(name: &str) -> (Credentials, PreProvisioned) {
    let key = SoftwareKey::generate(KeyType::EcP256).unwrap();
    let validity = Validity::days(2);
    let wanted = Issue { name, profile: &Profile::Device, validity, key: &key, issuer: None };
    let leaf = issue(&wanted).unwrap().leaf;
    let held = PreProvisioned::new(name).with(HeldCredentials::certificate(&leaf));
    (Credentials::X509(X509Identity { leaf, intermediates: Vec::new(), key: Arc::new(key) }), held)
}

fn dialer(server: &Server) -> Dialer {
    let pin = vec![server.certificate().clone()];
    let trust = Trust::from_certificates(pin, TrustSource::File("server.pem".into()), false);
    let (host, port) = (server.address().ip().to_string().parse().unwrap(), server.address().port());
    Dialer::new(tbprov::server::Server { host, port, trust: Arc::new(trust) }, PATIENCE)
}

/// Sends one message, and waits for its PUBACK.
async fn send(session: &mut Session, payload: &str) {
    let topic = tbprov::telemetry::TELEMETRY_TOPIC;
    session.publish(topic, payload.to_owned().into()).unwrap();
    while !matches!(session.next().await.unwrap(), Incoming::Acknowledged(_)) {}
}

/// A resumed TLS session has the identity of the session that it resumes, on ThingsBoard too.
#[test]
fn no_connection_takes_the_identity_of_the_one_before() {
    for release in [Release::V3_6, Release::V3_8, Release::V4_3] {
        let (first, first_device) = identity("first");
        let (second, second_device) = identity("second");
        let server = Server::start(|config: &mut Config| {
            config.release = release;
            config.pre_provisioned = vec![first_device, second_device];
        });
        server.block_on(async {
            let dialer = dialer(&server);
            for (credentials, name) in [(&first, "first"), (&second, "second")].repeat(3) {
                let mut session =
                    Session::open(&dialer, &Login::Device(credentials), &Progress::silent()).await.unwrap();
                send(&mut session, &format!("{{\"i am\":\"{name}\"}}")).await;
                session.close().await;
                // Nobody, between the two.
                Session::open(&dialer, &Login::Provision, &Progress::silent()).await.unwrap().close().await;
            }
        });
        for name in ["first", "second"] {
            assert_eq!(server.telemetry(name), vec![format!("{{\"i am\":\"{name}\"}}"); 3], "{release}");
        }
    }
}

/// Each connection takes two files of this process, and macOS allows it 256.
#[cfg(not(target_os = "macos"))]
#[test]
fn three_hundred_connections_are_held() {
    const CONNECTIONS: usize = 300;
    let (identities, devices): (Vec<_>, Vec<_>) =
        (0..CONNECTIONS).map(|number| identity(&format!("sensor {number}"))).unzip();
    let server = Server::start(|config| config.pre_provisioned = devices);
    server.block_on(async {
        let dialer = Arc::new(dialer(&server));
        let mut opening = tokio::task::JoinSet::new();
        for credentials in identities {
            let dialer = Arc::clone(&dialer);
            opening.spawn(async move {
                Session::open(&dialer, &Login::Device(&credentials), &Progress::silent()).await.unwrap()
            });
        }
        let mut sessions = opening.join_all().await;
        for round in 1..=2 {
            for session in &mut sessions {
                send(session, &format!("{{\"round\":{round}}}")).await;
            }
        }
        assert!(server.devices().iter().all(|device| device.telemetry == 2));
        for session in sessions {
            session.close().await;
        }
    });
    assert_eq!(server.devices().len(), CONNECTIONS);
}

/// What waits to be written has the provision secret in it.
#[test]
fn a_session_that_is_shown_keeps_its_secrets() {
    const PAYLOAD: &str = "the-provision-secret";
    let (credentials, device) = identity("sensor");
    let server = Server::start(|config| config.pre_provisioned = vec![device]);
    server.block_on(async {
        let dialer = dialer(&server);
        let login = Login::Device(&credentials);
        let mut session = Session::open(&dialer, &login, &Progress::silent()).await.unwrap();
        session.publish("v1/devices/me/attributes", PAYLOAD.into()).unwrap();
        let shown = format!("{session:?}");
        assert!(shown.contains("Wire") && !shown.contains(PAYLOAD), "{shown}");
    });
}
