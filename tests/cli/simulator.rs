//! `tbprov sim` and `tbprov demo` as processes.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::Sandbox;

/// Ends what would hang; no test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A simulator's process, ended with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn start(sandbox: &Sandbox, flags: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tbprov"));
        command.current_dir(sandbox.path("")).env_clear().env("HOME", sandbox.path(""));
        command.args(["sim", "--port", "0", "--ready-file", "ready.json"]).args(flags.split_whitespace());
        Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
    }
}

/// The ready file, once it is there; it appears whole.
fn ready(sandbox: &Sandbox) -> Value {
    let deadline = Instant::now() + PATIENCE;
    while !sandbox.path("ready.json").exists() {
        assert!(Instant::now() < deadline, "the simulator is not ready");
        std::thread::sleep(Duration::from_millis(10));
    }
    serde_json::from_str(&sandbox.read("ready.json")).unwrap()
}

#[test]
fn the_ready_file_is_all_that_a_client_needs() {
    let mut sandbox = Sandbox::new();
    let simulator = Process::start(&sandbox, "--release 3.6");
    let ready = ready(&sandbox);
    assert_eq!(ready["release"], "3.6");
    assert_eq!(ready["process"], simulator.0.id());
    let text = |member: &str| ready[member].as_str().unwrap().to_owned();
    sandbox.set("TBPROV_PROVISION_SECRET", &text("provision_secret"));
    let line = format!(
        "provision --json --host {} --port {} --provision-key {} --server-cert {} --device-name d --send-telemetry",
        text("host"),
        ready["port"],
        text("provision_key"),
        text("server_cert")
    );
    assert_eq!(sandbox.run(&line).outcome(), "provisioned");
}

#[cfg(unix)]
#[test]
fn the_ready_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let sandbox = Sandbox::new();
    let _simulator = Process::start(&sandbox, "");
    ready(&sandbox);
    let mode = |file: &str| std::fs::metadata(sandbox.path(file)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("ready.json"), 0o600);
    assert_eq!(mode("tbprov-sim/server_key.pem"), 0o600);
}

#[test]
fn the_simulators_events_are_lines_of_json() {
    let sandbox = Sandbox::new();
    let mut simulator = Process::start(&sandbox, "--events");
    let ready = ready(&sandbox);
    sandbox.run(&format!(
        "doctor --json --host localhost --port {} --server-cert tbprov-sim/server.pem",
        ready["port"]
    ));
    let lines = BufReader::new(simulator.0.stdout.take().unwrap()).lines();
    let mut told = Vec::new();
    for line in lines {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        told.push(event["event"].as_str().unwrap_or("the result").to_owned());
        if told.last().is_some_and(|event| event == "connected") {
            break;
        }
    }
    for wanted in ["listening", "the result", "connection-opened", "tls-established", "connected"] {
        assert!(told.iter().any(|event| event == wanted), "{wanted} in {told:?}");
    }
}

#[test]
fn a_restarted_simulator_has_the_same_certificate() {
    let sandbox = Sandbox::new();
    drop({
        let simulator = Process::start(&sandbox, "");
        ready(&sandbox);
        simulator
    });
    let certificate = sandbox.read("tbprov-sim/server.pem");
    std::fs::remove_file(sandbox.path("ready.json")).unwrap();
    let _simulator = Process::start(&sandbox, "");
    ready(&sandbox);
    assert_eq!(sandbox.read("tbprov-sim/server.pem"), certificate);
    // Its names are in the certificate already.
    assert_eq!(sandbox.run("sim --json --port 0 --name other").brief(), "2 usage/conflict plan");
}

#[test]
fn the_demo_ends_well_from_nothing() {
    let sandbox = Sandbox::new();
    let result = sandbox.run("demo --json").done();
    assert_eq!(result["acknowledged"], 4);
    assert_eq!(result["server_has"]["telemetry"], 4);
    assert_eq!(result["credentials_id"].as_str().unwrap().len(), 64);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let sandbox = Sandbox::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ran = sandbox.run(&format!("sim --json --port {port}"));
    assert_eq!(ran.brief(), "2 usage/invalid-value serve");
    assert!(ran.message().contains(&port), "{ran:?}");
}
