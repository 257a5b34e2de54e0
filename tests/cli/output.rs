//! The machine's contract, and the same in words: results, failures, events, help.

use serde_json::{Value, json};
use snapbox::str;
use tbprov::ErrorCode;

use crate::support::{KEY, NAME, Sandbox, Server, fixture};

/// The JSON text has each member once: a reader must not have to choose.
#[track_caller]
fn members(line: &str) -> Value {
    let value: Value = serde_json::from_str(line).unwrap();
    let object = value.as_object().unwrap();
    for name in object.keys() {
        let times = line.matches(&format!("\"{name}\":")).count();
        let nested = value.to_string().matches(&format!("\"{name}\":")).count();
        assert_eq!(times, nested, "{name} in {line}");
    }
    value
}

fn names(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn provision_tells_what_was_done() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    let ran = server.provision(&sandbox, "--send-telemetry --count 2 --interval 0s");
    let result = members(ran.stdout.trim_end());
    assert_eq!(ran.stdout.lines().count(), 1);
    assert_eq!(ran.stderr, "");
    assert_eq!(
        names(&result),
        [
            "command",
            "credentials_id",
            "credentials_type",
            "device",
            "directory",
            "key_type",
            "not_after",
            "outcome",
            "schema",
            "server",
            "telemetry",
            "timings_ms",
            "verified"
        ]
    );
    assert_eq!(result["schema"], "tbprov/1");
    assert_eq!(result["command"], "provision");
    assert_eq!(result["device"], NAME);
    assert_eq!(result["credentials_id"].as_str().unwrap().len(), 64);
    assert_eq!(result["server"], json!({"host": "localhost", "port": server.port(), "tls": "TLSv1.3"}));
    assert_eq!(result["verified"], json!({"answer": true, "connect": true, "mutual_tls": true}));
    assert_eq!(
        result["telemetry"],
        json!({
            "sent": 2, "acknowledged": 2, "messages": 2, "refused": 0, "reconnects": 0, "held_back": 0,
            "held_back_ms": 0, "interrupted": false, "confirmed": null, "seen_ms": null,
        })
    );
    assert_eq!(names(&result["timings_ms"]), ["exchange", "key", "verify"]);
    assert_eq!(sandbox.record()["state"], "proved");

    let again = server.provision(&sandbox, "").done();
    assert_eq!(again["outcome"], "verified");
    assert_eq!(again["verified"], json!({"answer": false, "connect": true, "mutual_tls": true}));
    assert_eq!(again["credentials_id"], result["credentials_id"]);
    assert_eq!(server.devices().len(), 1);
}

#[test]
fn an_identity_that_was_not_tried_is_not_called_proved() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    let result = server.provision(&sandbox, "--no-verify-connect").done();
    assert_eq!(result["outcome"], "provisioned");
    assert_eq!(result["verified"], json!({"answer": true, "connect": false, "mutual_tls": false}));
    assert_eq!(result["server"]["tls"], Value::Null);
    assert_eq!(sandbox.record()["state"], "accepted");
    assert_eq!(sandbox.run("connect --json").outcome(), "connected");
    assert_eq!(sandbox.record()["state"], "proved");
}

#[test]
fn connect_devices_and_doctor_tell_what_they_saw() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    let id = server.provision(&sandbox, "").done()["credentials_id"].clone();

    let connect = members(sandbox.run("connect --json").stdout.trim_end());
    assert_eq!(
        names(&connect),
        ["command", "credentials_id", "device", "outcome", "schema", "server", "telemetry"]
    );
    assert_eq!(connect["credentials_id"], id);

    let list = members(sandbox.run("devices list --json").stdout.trim_end());
    assert_eq!(names(&list), ["command", "devices", "schema", "store"]);
    let show = members(sandbox.run(&format!("devices show {NAME} --json")).stdout.trim_end());
    assert_eq!(show["schema"], "tbprov/1");
    assert_eq!(show["command"], "devices show");
    for member in [
        "device",
        "host",
        "port",
        "credentials_id",
        "key_type",
        "not_before",
        "not_after",
        "state",
        "reached",
    ] {
        assert_eq!(show[member], list["devices"][0][member], "{member}");
        assert_eq!(show[member], sandbox.record()[member], "{member}");
    }
    for state in ["staged", "sent", "accepted", "proved"] {
        assert!(show["reached"][state].is_string(), "{show}");
    }

    let doctor = members(sandbox.run(&format!("doctor {NAME} --json")).stdout.trim_end());
    assert_eq!(doctor["healthy"], true);
    let checks: Vec<_> = doctor["checks"].as_array().unwrap().iter().map(|check| &check["check"]).collect();
    let of_the_server = ["resolve", "tcp", "tls", "connect", "identity", "server-cert", "store", "device"];
    let of_the_firmware = ["toolchain", "toolchain", "toolchain", "emulator"];
    let (ports, others): (Vec<_>, Vec<_>) = checks.into_iter().partition(|check| *check == "port");
    // What nobody looks at there is said there alone.
    let of_windows: &[&str] = if cfg!(windows) { &["rights"] } else { &[] };
    assert_eq!(others, [&of_the_server[..], of_windows, &of_the_firmware].concat());
    assert!(!ports.is_empty(), "none is said as well");
    let missing = &doctor["checks"][of_the_server.len() + of_windows.len()];
    assert_eq!((&missing["outcome"], &missing["code"]), (&json!("skipped"), &Value::Null));
    drop(server);
}

#[test]
fn doctor_names_the_step_that_fails_and_skips_the_rest() {
    for (fault, step, exit) in [
        ("drop-before-tls", "tls", 3),
        ("tls-alert", "tls", 3),
        ("stall-tls", "tls", 3),
        ("no-connack", "connect", 3),
        ("garbage-mqtt", "connect", 3),
        ("refuse=9", "identity", 1),
        ("unavailable=9", "identity", 1),
    ] {
        let sandbox = Sandbox::trusting("san");
        let server = Server::presenting("san", |_| {});
        assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
        let server = server.replace(|config| config.faults = vec![fault.parse().unwrap()]);
        let ran = sandbox.run(&format!("doctor {NAME} --json --timeout 3s"));
        let result = ran.json();
        assert_eq!((ran.code, &result["exit_code"]), (Some(exit), &json!(exit)), "{fault}: {result}");
        let checks = result["checks"].as_array().unwrap();
        let failed: Vec<_> = checks.iter().filter(|check| check["outcome"] == "failed").collect();
        assert_eq!(failed.len(), 1, "{fault}: {result}");
        assert_eq!(failed[0]["check"], step, "{fault}: {result}");
        assert!(failed[0]["code"].is_string() && failed[0]["help"].is_string(), "{fault}: {result}");
        drop(server);
    }
}

#[test]
fn certs_tell_what_they_made() {
    let sandbox = Sandbox::new();
    let made = [
        ("certs gen --name d --out gen", "key", "gen/key.pem"),
        ("certs server --host localhost --out server", "key", "server/server_key.pem"),
        ("certs ca --name authority --out ca", "key", "ca/ca_key.pem"),
    ];
    for (line, member, file) in made {
        let result = members(sandbox.run(&format!("{line} --json")).stdout.trim_end());
        assert_eq!(sandbox.path(result[member].as_str().unwrap()), sandbox.path(file), "{line}");
        assert_eq!(result["sha256"].as_str().unwrap().replace(':', "").len(), 64, "{line}");
        assert!(!result.to_string().contains("PRIVATE"), "{line}");
    }
    let example = fixture("credentials-id/example.pem").display().to_string();
    let read = members(sandbox.run(&format!("certs inspect --json {example}")).stdout.trim_end());
    assert_eq!(read["certificates"][0]["subject"], "CN=tbprov-example");
    assert_eq!(
        names(&read["certificates"][0]),
        [
            "credentials_id",
            "is_ca",
            "issuer",
            "key",
            "names",
            "not_after",
            "not_before",
            "serial",
            "sha256",
            "subject",
            "valid_now",
            "version"
        ]
    );
}

#[test]
fn each_event_is_a_line_of_json_and_the_result_is_the_last() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    let mut command = sandbox.bare_in_time();
    command.envs(server.environment()).args([
        "provision",
        "--events",
        "--device-name",
        NAME,
        "--send-telemetry",
    ]);
    let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let lines: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (result, events) = lines.split_last().unwrap();
    assert_eq!(result["outcome"], "provisioned");
    let told: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    let mut in_order = told.iter();
    for wanted in
        ["identity-created", "state-reached", "request-sent", "answer-received", "proved", "acknowledged"]
    {
        assert!(in_order.any(|event| *event == wanted), "{wanted} in {told:?}");
    }
    let states: Vec<_> = events.iter().filter_map(|event| event["state"].as_str()).collect();
    assert_eq!(states, ["staged", "sent", "accepted", "proved"]);

    let ran = sandbox.run("connect nobody --events");
    assert_eq!(ran.brief(), "5 store/not-found plan");
    assert_eq!(sandbox.run("provision --events --port x").brief(), "2 usage/invalid-value plan");
}

#[test]
fn a_failure_for_people_is_on_stderr_with_step_and_help() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run("connect nobody");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(5), ""));
    snapbox::assert_data_eq!(
        ran.stderr,
        str![[r#"
error[store/not-found]: the store ./devices has no device called 'nobody'
  step: plan
  help: 'tbprov devices list' shows what the store holds; --store names another

"#]]
    );
}

#[test]
fn a_refusal_for_people_says_what_the_server_means() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    let ran = sandbox.run(&format!(
        "provision --provision-key {KEY} --provision-secret wrong --device-name {NAME} {}",
        server.flags()
    ));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
    snapbox::assert_data_eq!(
        ran.stderr,
        str![[r#"
✓ made a new ec-p256 key and its certificate
✓ saved it in ./devices/sensor-01
! the server answered NOT_FOUND
error[server/not-found]: the server refused to provision the device: NOT_FOUND ([..])
  step: exchange
  help: check the provision key and secret against the device profile (Device profiles > your profile > Device provisioning), and that its strategy is not 'Disabled'

"#]]
    );
}

#[test]
fn colour_is_help_and_only_where_it_is_asked_for() {
    let sandbox = Sandbox::new();
    assert!(!sandbox.run("connect nobody").stderr.contains('\x1b'));
    let coloured = sandbox.run("--color always connect nobody");
    assert!(coloured.stderr.contains("\x1b[1;31merror[store/not-found]"), "{coloured:?}");
    assert!(!sandbox.run("--color always --json connect nobody").stdout.contains('\x1b'));
}

#[test]
fn quiet_says_the_result_alone() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    let mut command = sandbox.bare_in_time();
    command.envs(server.environment()).args(["provision", "-q", "--device-name", NAME]);
    let output = command.output().unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("sensor-01 (provisioned)"));
}

#[test]
fn every_error_code_is_unlike_any_other_and_has_a_help() {
    let mut codes: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), ErrorCode::ALL.len());
}

#[cfg(target_os = "linux")]
#[test]
fn a_result_that_cannot_be_written_is_no_success() {
    let sandbox = Sandbox::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("tbprov"));
    let ran = command
        .current_dir(sandbox.path(""))
        .args(["devices", "list", "--json"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(5));
}
