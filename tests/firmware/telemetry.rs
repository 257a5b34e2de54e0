//! From the identity in the store to readings under the device's credentialsId.

use super::*;

#[test]
fn readings_arrive_under_the_identity_of_the_device() {
    let Some(elf) = firmware() else { return };
    for key_type in ["ec-p256", "rsa-2048"] {
        for release in RELEASES {
            let (server, sandbox) = (Server::of(release), Sandbox::new());
            run(sandbox.provision(&server, "sensor").args(["--key-type", key_type])).done();
            let before = server.device("sensor").telemetry;
            let emulated = run(&mut emulate(&sandbox, elf, &["--count", "3", "--interval", "100ms"]));
            let result = emulated.done();
            assert_eq!(result["acknowledged"], 3, "{key_type} {release}");
            assert_eq!(result["credentials_id"], sandbox.identity("sensor").leaf.credentials_id());
            let arrived = &server.telemetry("sensor")[before as usize..];
            let samples = (0..).map(tbprov_contract::telemetry::sample);
            assert!(arrived.len() >= 3 && samples.zip(arrived).all(|(sample, arrived)| sample == *arrived));
        }
    }
}

/// The story of the example firmware, in its order.
#[test]
fn the_log_tells_the_story() {
    let Some(elf) = firmware() else { return };
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    sandbox.provisioned(&server, "sensor");
    let emulated = run(&mut emulate(&sandbox, elf, &["--count", "2", "--interval", "50ms"]));
    emulated.done();
    let log = log(&emulated).join("\n");
    let mut rest = log.as_str();
    for part in [
        "virt",
        "ree heap",
        "10.0.2.15",
        "mqtts://127.0.0.1:",
        "TLS 1.3",
        "CONNACK",
        r#"[Telemetry][Tx] {"temperature":25,"humidity":26}"#,
        "[Telemetry][Ack] ",
        r#"[Telemetry][Tx] {"temperature":25.5,"humidity":27}"#,
        "[Telemetry][Ack] ",
    ] {
        let Some(at) = rest.find(part) else { panic!("'{part}' is not in its place in\n{log}") };
        rest = &rest[at + part.len()..];
    }
    let key = sandbox.read("devices/sensor/key.pem");
    assert!(!emulated.stdout.contains(key.lines().nth(1).unwrap()), "the log holds the key");
}

/// By that name as a client identifier ThingsBoard would know somebody who wants to be provisioned.
#[test]
fn a_device_may_be_called_provision() {
    let Some(elf) = firmware() else { return };
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    sandbox.provisioned(&server, "provision");
    let mut command = sandbox.tbprov(&["firmware", "emulate", "--json", "--device", "provision"]);
    let emulated = run(command.arg("--elf").arg(elf).args(["--count", "1", "--give-up-after", "10s"]));
    assert_eq!(emulated.done()["acknowledged"], 1);
}

#[test]
fn without_a_device_it_brings_a_server_and_a_device_of_its_own() {
    let Some(elf) = firmware() else { return };
    let sandbox = Sandbox::new();
    let mut command = sandbox.tbprov(&["firmware", "emulate", "--json", "--interval", "50ms"]);
    let result = run(command.arg("--elf").arg(elf)).done();
    assert_eq!((result["acknowledged"].as_u64(), result["outcome"].as_str()), (Some(4), Some("emulated")));
}

#[test]
fn a_lost_connection_is_made_again() {
    let Some(elf) = firmware() else { return };
    let sandbox = Sandbox::new();
    let server = Server::start(|config| config.faults.push(tbprov::sim::Fault::Reset(2)));
    sandbox.provisioned(&server, "sensor");
    let arguments = ["--count", "5", "--interval", "50ms", "--retry", "50ms"];
    let emulated = run(&mut emulate(&sandbox, elf, &arguments));
    assert_eq!(emulated.done()["acknowledged"], 5);
    assert!(emulated.stdout.contains("[network/closed]"), "{}", emulated.stdout);
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_it_and_leaves_no_copy_of_the_key() {
    let Some(elf) = firmware() else { return };
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    sandbox.provisioned(&server, "sensor");
    let temporary = sandbox.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut running =
        Running::start(emulate(&sandbox, elf, &["--interval", "50ms"]).env("TMPDIR", &temporary));
    running.until("[Telemetry][Ack]");
    assert_eq!(entries(&temporary), Vec::<String>::new());
    running.signal("INT");
    let ended = running.end();
    assert_eq!(ended.code, Some(0), "interrupting is how an endless run ends");
    assert_eq!(ended.json()["outcome"], "interrupted");
}

/// The places of panics are in the image: they begin with no folder of this machine.
#[test]
fn the_image_says_nothing_of_who_built_it() {
    let Some(elf) = firmware() else { return };
    let program = std::fs::read(elf).unwrap();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware");
    assert_eq!(builder::folders_named_in(&program, &sources), Vec::<String>::new());
    for place in ["/cargo/registry", "/library/core/src"] {
        let place = place.as_bytes();
        assert!(program.windows(place.len()).any(|window| window == place), "nothing to look at");
    }
}

/// The server's certificate was renewed: while the device believes the old one and the new one, it finds the server
/// before and after.
#[test]
fn every_certificate_of_the_identity_is_believed() {
    let Some(elf) = firmware() else { return };
    for renewed in [false, true] {
        let (server, other, sandbox) = (Server::start(|_| {}), Server::start(|_| {}), Sandbox::new());
        sandbox.provisioned(&server, "sensor");
        let mut both = [server.certificate().to_pem(), other.certificate().to_pem()];
        if renewed {
            both.reverse();
        }
        sandbox.write("both.pem", both.concat());
        let arguments = ["--server-cert", "both.pem", "--count", "1", "--give-up-after", "10s"];
        let emulated = run(&mut emulate(&sandbox, elf, &arguments));
        assert_eq!(emulated.done()["acknowledged"], 1, "renewed: {renewed}");
    }
}
