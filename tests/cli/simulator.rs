//! `tbprov sim` and `tbprov demo` as processes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, Packet, Publish};
use serde_json::{Value, json};
use tbprov::identity::read_certificates;

use crate::support::{Sandbox, certificate_of, fixture_text};

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
        Self::talking_to(sandbox, flags, Stdio::null())
    }

    /// With its standard error there.
    fn talking_to(sandbox: &Sandbox, flags: &str, stderr: Stdio) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tbprov"));
        command.current_dir(sandbox.path("")).env_clear().env("HOME", sandbox.path(""));
        command.args(["sim", "--port", "0", "--ready-file", "ready.json"]).args(flags.split_whitespace());
        Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap())
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

/// The REST API: where it is, who may use it, and what opens it.
#[test]
fn the_ready_file_tells_of_the_rest_api() {
    for (release, has_key) in [("4.3", true), ("4.0", false)] {
        let sandbox = Sandbox::new();
        let account = "--api-user me@example.org --api-password hunter2";
        let _simulator = Process::start(&sandbox, &format!("--rest-port 0 {account} --release {release}"));
        let ready = ready(&sandbox);
        assert_eq!(
            (&ready["api_user"], &ready["api_password"]),
            (&"me@example.org".into(), &"hunter2".into())
        );
        assert_eq!(ready["api_key"].as_str().is_some_and(|key| key.starts_with("tb_")), has_key);
        let address = ready["api_url"].as_str().unwrap().strip_prefix("https://").unwrap().to_owned();
        let body = r#"{"username":"me@example.org","password":"hunter2"}"#;
        let request = format!(
            "POST /api/auth/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("refreshToken"), "{answer}");
    }
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

#[test]
fn a_limit_that_is_none_is_told_with_an_example() {
    for limit in ["10", "10:0", "ten:1", "10:1;20:2"] {
        let ran = Sandbox::new().run(&format!("sim --json --device-point-limit {limit}"));
        assert_eq!(ran.brief(), "2 usage/invalid-value plan");
        assert!(ran.message().contains("such as 10:1 or 10:1,300:60"), "{ran:?}");
    }
}

/// The answer to one provision request of QoS 0 on the plain port.
fn answer_to(port: u16, request: &Value) -> Value {
    let mut connect = Connect::new("any");
    connect.set_username("provision");
    let mut packets = bytes::BytesMut::new();
    Packet::Connect(connect).write(&mut packets, usize::MAX).unwrap();
    let publish = Publish::new("/provision/request", QoS::AtMostOnce, request.to_string());
    Packet::Publish(publish).write(&mut packets, usize::MAX).unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(&packets).unwrap();
    let mut answered = Vec::new();
    loop {
        let mut buffer = [0; 1024];
        let read = client.read(&mut buffer).unwrap();
        assert_ne!(read, 0, "closed without an answer");
        answered.extend_from_slice(&buffer[..read]);
        let begin = answered.iter().position(|byte| *byte == b'{');
        if let Some(Ok(answer)) = begin.map(|begin| serde_json::from_slice(&answered[begin..])) {
            return answer;
        }
    }
}

/// Sends these bytes to the plain port, and reads up to the end, which a server that closes brings.
fn bytes_back(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(bytes).unwrap();
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    back
}

/// A CONNECT of this protocol, and of this user where it has one.
fn connect_of(name: &str, level: u8, user: &str) -> Vec<u8> {
    let mut body = vec![0, u8::try_from(name.len()).unwrap()];
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(&[level, 0x82, 0, 60]);
    body.extend_from_slice(if level >= 5 { &[0, 0, 1, b'c'] } else { &[0, 1, b'c'] });
    body.extend_from_slice(&[0, u8::try_from(user.len()).unwrap()]);
    body.extend_from_slice(user.as_bytes());
    [vec![0x10, u8::try_from(body.len()).unwrap()], body].concat()
}

fn message(topic: &str, payload: &str) -> Vec<u8> {
    let mut packet = bytes::BytesMut::new();
    let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload);
    publish.pkid = 1;
    Packet::Publish(publish).write(&mut packet, usize::MAX).unwrap();
    packet.to_vec()
}

/// The lines of standard error, once there are as many; sooner or later they come.
fn lines_said(sandbox: &Sandbox, count: usize) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said: Vec<_> = sandbox.read("said.txt").lines().map(str::to_owned).collect();
        if said.len() >= count {
            return said;
        }
        assert!(Instant::now() < deadline, "{said:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whoever looks at the simulator sees what it leaves out, and why it closes.
#[test]
fn what_is_not_simulated_and_why_a_connection_ends_is_a_line() {
    let sandbox = Sandbox::new();
    let said = std::fs::File::create(sandbox.path("said.txt")).unwrap();
    let flags = "--plain-port 0 --device-token d=T --device-limit 1:60";
    let _simulator = Process::talking_to(&sandbox, flags, said.into());
    let port = u16::try_from(ready(&sandbox)["plain_port"].as_u64().unwrap()).unwrap();
    let only = "is not simulated, only MQTT 3.1.1";
    let mut expected = Vec::new();
    for (name, level, back, told) in [
        ("MQTT", 5, &[0x20, 3, 0, 0x84, 0][..], format!("\u{2717} refused with CONNACK 132: MQTT 5 {only}")),
        ("MQIsdp", 3, &[0x20, 2, 0, 1], format!("\u{2717} refused with CONNACK 1: MQTT 3.1 {only}")),
        (
            "MQTT",
            9,
            &[0x20, 3, 0, 0x84, 0],
            format!("\u{2717} refused with CONNACK 132: protocol MQTT, level 9 {only}"),
        ),
    ] {
        assert_eq!(bytes_back(port, &connect_of(name, level, "T")), back, "{name} {level}");
        expected.push(told);
    }
    let device = |packets: &[Vec<u8>]| {
        let disconnect = vec![0xE0, 0];
        bytes_back(port, &[connect_of("MQTT", 4, "T"), packets.concat(), disconnect].concat());
    };
    let tried = |what: &str| format!("! d tried what is not simulated: {what}");
    device(&[
        message("v1/gateway/connect", "{}"),
        message("v1/devices/me/claim", "{}"),
        message("v1/devices/me/rpc/request/1", r#"{"method":"getTime"}"#),
    ]);
    expected.push("\u{2713} d connected".to_owned());
    expected.push(tried("the topics of gateways"));
    expected.push(tried("claiming"));
    expected.push(tried("requests to the server, but getSessionLimits"));
    for (topic, what) in
        [("v2/t/p", "payloads of Protobuf"), ("v2/fw/request/1/chunk/0", "images for devices (OTA)")]
    {
        device(&[message(topic, "{}")]);
        expected.push("\u{2713} d connected".to_owned());
        expected.push(tried(what));
        expected.push("\u{2717} d closed: the payload cannot be decoded".to_owned());
    }
    device(&[
        message("v1/devices/me/telemetry", r#"{"a":1}"#),
        message("v1/devices/me/telemetry", r#"{"a":2}"#),
    ]);
    expected.push("\u{2713} d connected".to_owned());
    expected.push("\u{2713} d telemetry {\"a\":1}".to_owned());
    expected.push("\u{2717} d closed: over the device's limit of telemetry messages".to_owned());
    assert_eq!(bytes_back(port, b"GET / HTTP/1.1\r\n\r\n"), b"");
    expected.push("\u{2717} connection 8 closed: not MQTT 3.1.1: no packet begins so".to_owned());
    assert_eq!(lines_said(&sandbox, expected.len()), expected);
}

#[test]
fn a_device_that_exists_has_the_credentials_that_were_given() {
    let sandbox = Sandbox::new();
    let flags = "--strategy pre-provisioned --plain-port 0 --provision-key k --provision-secret s \
        --device any --device-token a=T=oken== --device-basic b=user:pass:word";
    let _simulator = Process::start(&sandbox, flags);
    let port = u16::try_from(ready(&sandbox)["plain_port"].as_u64().unwrap()).unwrap();
    let ask = |name: &str| {
        let request = json!({ "deviceName": name, "provisionDeviceKey": "k", "provisionDeviceSecret": "s" });
        answer_to(port, &request)
    };
    let success = |kind: &str, value: Value| json!({ "credentialsType": kind, "credentialsValue": value, "status": "SUCCESS" });
    assert_eq!(ask("a"), success("ACCESS_TOKEN", json!("T=oken==")));
    let basic = json!({ "clientId": "", "userName": "user", "password": "pass:word" });
    assert_eq!(ask("b"), success("MQTT_BASIC", basic));
    assert_eq!(ask("any")["credentialsValue"].as_str().map(str::len), Some(20));
    // Once, at 4.3.
    assert_eq!(ask("a")["status"], "FAILURE");
}

#[test]
fn a_device_that_is_not_given_in_full_is_refused_and_its_secret_not_shown() {
    for (flags, ends) in [
        ("--device-token hunter2", "2 usage/invalid-value plan"),
        ("--device-token =hunter2", "2 usage/invalid-value plan"),
        ("--device-token d=", "2 usage/invalid-value plan"),
        ("--device-basic d=hunter2", "2 usage/invalid-value plan"),
        ("--device-basic d=:hunter2", "2 usage/invalid-value plan"),
        ("--device d --device-token d=hunter2", "2 usage/conflict plan"),
    ] {
        let sandbox = Sandbox::new();
        let ran = sandbox.run(&format!("sim --json --port 0 {flags}"));
        assert_eq!(ran.brief(), ends, "{flags}");
        assert!(!format!("{ran:?}").replace(flags, "").contains("hunter2"), "{ran:?}");
        assert!(sandbox.files().is_empty());
    }
}

/// What the operator sees of a device's name is escaped: one line for one answer, whatever the name holds.
#[test]
fn a_name_cannot_forge_a_line_on_the_operators_terminal() {
    let sandbox = Sandbox::new();
    let said = std::fs::File::create(sandbox.path("said.txt")).unwrap();
    let _simulator = Process::talking_to(&sandbox, "--plain-port 0", said.into());
    let port = u16::try_from(ready(&sandbox)["plain_port"].as_u64().unwrap()).unwrap();
    let request = json!({
        "deviceName": "x\n\u{2713} prod-gw connected\u{202e}\u{1b}[31m",
        "provisionDeviceKey": "wrong", "provisionDeviceSecret": "wrong",
    });
    answer_to(port, &request);
    assert_eq!(
        sandbox.read("said.txt"),
        "\u{2717} x\\n\u{2713} prod-gw connected\\u{202e}\\u{1b}[31m: provisioning answered with NOT_FOUND\n"
    );
}

/// Such as `certs inspect --save server.pem` writes it.
#[test]
fn the_pin_of_another_server_is_never_replaced() {
    let sandbox = Sandbox::new();
    let pin = fixture_text("server/san.pem");
    sandbox.write("pins/server.pem", &pin);
    let ran = sandbox.run("sim --json --port 0 --dir pins");
    assert_eq!(ran.brief(), "5 file/not-found serve");
    assert!(ran.message().contains("server_key.pem"), "{ran:?}");
    sandbox.write("pins/server_key.pem", fixture_text("server/leaf_key.pem"));
    assert_eq!(sandbox.run("sim --json --port 0 --dir pins").brief(), "5 file/key-mismatch serve");
    assert_eq!(sandbox.read("pins/server.pem"), pin);
}

/// The key is written first.
#[test]
fn what_a_killed_first_run_left_is_taken_up() {
    let sandbox = Sandbox::new();
    sandbox.write("tbprov-sim/server_key.pem", fixture_text("server/san_key.pem"));
    let _simulator = Process::start(&sandbox, "");
    ready(&sandbox);
    let made = read_certificates(&sandbox.read("tbprov-sim/server.pem"), "server.pem").unwrap();
    assert_eq!(made[0].public_key, certificate_of("server/san.pem").public_key);
    assert_eq!(sandbox.read("tbprov-sim/server_key.pem"), fixture_text("server/san_key.pem"));
}

#[test]
fn a_state_file_is_for_one_simulator() {
    let sandbox = Sandbox::new();
    let first = Process::start(&sandbox, "--state state.json");
    ready(&sandbox);
    let second = sandbox.run("sim --json --port 0 --state state.json");
    assert_eq!(second.brief(), "5 store/locked serve");
    let (message, process) = (second.message(), first.0.id().to_string());
    assert!(message.contains("state.json") && message.contains(&process), "{message}");
    drop(first);
    std::fs::remove_file(sandbox.path("ready.json")).unwrap();
    let _third = Process::start(&sandbox, "--state state.json");
    ready(&sandbox);
}

#[test]
fn what_the_chain_strategy_lacks_or_excludes_is_said_before_anything_is_made() {
    let sandbox = Sandbox::new();
    sandbox.write("ca.pem", fixture_text("server/ca.pem"));
    for (flags, ends) in [
        ("--strategy chain", "2 usage/missing-value plan"),
        ("--strategy chain --ca ca.pem", "2 usage/missing-value plan"),
        ("--strategy chain --ca none.pem --name-pattern (.*)", "5 file/not-found plan"),
        ("--strategy chain --ca ca.pem --name-pattern (.*) --release 3.4", "2 usage/conflict plan"),
        ("--ca ca.pem", "2 usage/conflict plan"),
        ("--strategy pre-provisioned --no-create", "2 usage/conflict plan"),
    ] {
        assert_eq!(sandbox.run(&format!("sim --json --port 0 {flags}")).brief(), ends, "{flags}");
    }
    assert_eq!(sandbox.files(), [sandbox.path("ca.pem")]);
}

#[test]
fn a_chain_simulator_tells_its_authority_and_pattern_and_takes_a_device_by_them() {
    let sandbox = Sandbox::new();
    sandbox.run("certs ca --json --name plant --out ca").done();
    let _simulator = Process::start(&sandbox, "--strategy chain --ca ca/ca.pem --name-pattern (.*)");
    let ready = ready(&sandbox);
    assert_eq!(ready["name_pattern"], "(.*)");
    assert!(ready.get("provision_key").is_none() && ready.get("provision_secret").is_none(), "{ready}");
    let line = format!(
        "provision --json --host localhost --port {} --server-cert {} --ca-cert {} --ca-key ca/ca_key.pem --device-name d",
        ready["port"],
        ready["server_cert"].as_str().unwrap(),
        ready["ca_cert"].as_str().unwrap(),
    );
    assert_eq!(sandbox.run(&line).outcome(), "provisioned");
}

#[test]
fn a_pattern_that_names_nobody_is_warned_of() {
    let sandbox = Sandbox::new();
    sandbox.write("ca.pem", fixture_text("server/ca.pem"));
    let said = std::fs::File::create(sandbox.path("said.txt")).unwrap();
    let flags = "--strategy chain --ca ca.pem --name-pattern .*";
    let _simulator = Process::talking_to(&sandbox, flags, said.into());
    ready(&sandbox);
    let said = sandbox.read("said.txt");
    assert!(said.contains("warning: the name pattern has no group"), "{said}");
}
