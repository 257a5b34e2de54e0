//! No secret in any output, at any level, or in any file but the one it belongs in.

use crate::support::{KEY, NAME, Ran, SECRET, Sandbox, Server};

const MODES: &[&str] =
    &["", "-v", "-vv", "-vvv", "-q", "--json", "--json -vvv", "--events", "--events -vvv", "--color always"];

/// Files that are there to hold a secret, and that only their owner reads.
const KEEPERS: &[&str] = &["key.pem", "credentials.json"];

/// The body of the private key, and of the credentials the token and the password.
fn secrets_of(sandbox: &Sandbox) -> Vec<String> {
    let mut secrets = vec![SECRET.to_owned()];
    for file in sandbox.files() {
        let text = std::fs::read_to_string(&file).unwrap();
        if file.ends_with("key.pem") {
            secrets.extend(text.lines().filter(|line| !line.starts_with("-----")).map(str::to_owned));
        } else if file.ends_with("credentials.json") {
            let saved: serde_json::Value = serde_json::from_str(&text).unwrap();
            let members = ["token", "password"].map(|member| saved[member].as_str());
            secrets.extend(members.into_iter().flatten().map(str::to_owned));
        }
    }
    secrets
}

#[track_caller]
fn assert_silent(what: &str, said: &str, secrets: &[String]) {
    for secret in secrets {
        assert!(!said.contains(secret.as_str()), "{what} tells {secret:?}:\n{said}");
    }
}

#[track_caller]
fn assert_kept(sandbox: &Sandbox, what: &str, runs: &[Ran]) {
    let secrets = secrets_of(sandbox);
    for ran in runs {
        assert_silent(what, &ran.stdout, &secrets);
        assert_silent(what, &ran.stderr, &secrets);
    }
    for file in sandbox.files() {
        if !KEEPERS.iter().any(|keeper| file.ends_with(keeper)) {
            let text = std::fs::read_to_string(&file).unwrap();
            assert_silent(&format!("{what}: {}", file.display()), &text, &secrets);
        }
    }
}

/// As [`Server::provision`], without its `--json`.
fn provision(server: &Server, sandbox: &Sandbox, flags: &str) -> Ran {
    let mut command = sandbox.bare_in_time();
    command.envs(server.environment()).env("TBPROV_DEVICE_NAME", NAME);
    Ran::from(command.arg("provision").args(flags.split_whitespace()).output().unwrap())
}

#[test]
fn no_mode_of_any_command_tells_a_secret() {
    for kind in ["x509", "access-token", "mqtt-basic"] {
        let sandbox = Sandbox::trusting("san");
        let server = Server::presenting("san", |_| {});
        let mut runs = vec![provision(&server, &sandbox, &format!("-vvv --credentials-type {kind}"))];
        assert_eq!(runs[0].code, Some(0), "{runs:?}");
        for mode in MODES {
            runs.push(provision(&server, &sandbox, &format!("{mode} --credentials-type {kind}")));
            runs.push(provision(&server, &sandbox, &format!("{mode} --dry-run --credentials-type {kind}")));
            runs.push(sandbox.run(&format!("connect --send-telemetry {mode}")));
            runs.push(sandbox.run(&format!("doctor {NAME} {mode}")));
            runs.push(sandbox.run(&format!("devices show {NAME} {mode}")));
            runs.push(sandbox.run(&format!("devices list {mode}")));
        }
        assert!(runs.iter().all(|ran| ran.code == Some(0)), "{kind}: {runs:?}");
        assert_kept(&sandbox, kind, &runs);
    }
}

#[test]
fn a_first_run_tells_no_secret_in_any_mode() {
    for mode in MODES {
        for kind in ["x509", "access-token", "mqtt-basic"] {
            let sandbox = Sandbox::trusting("san");
            let server = Server::presenting("san", |_| {});
            let run = provision(&server, &sandbox, &format!("{mode} --credentials-type {kind}"));
            assert_eq!(run.code, Some(0), "{run:?}");
            assert_kept(&sandbox, &format!("{kind} {mode}"), &[run]);
        }
    }
}

#[test]
fn no_failure_tells_a_secret() {
    let faults = [
        "failure",
        "garbage",
        "refuse=1",
        "wrong-type",
        "wrong-value",
        "accept-then-close",
        "tls-alert",
        "garbage-mqtt",
        "drop-before-tls",
        "close-after-connect",
        "unavailable=1",
        "oversize",
        "doc-shape",
    ];
    for fault in faults {
        for kind in ["x509", "access-token", "mqtt-basic"] {
            let sandbox = Sandbox::trusting("san");
            let server = Server::presenting("san", |config| config.faults = vec![fault.parse().unwrap()]);
            let flags = format!("-vvv --credentials-type {kind}");
            let runs = [
                provision(&server, &sandbox, &flags),
                provision(&server, &sandbox, &format!("--events {flags}")),
            ];
            assert_kept(&sandbox, &format!("{fault} {kind}"), &runs);
        }
    }
}

#[test]
fn a_damaged_store_tells_nothing_of_its_keys() {
    for kind in ["x509", "access-token", "mqtt-basic"] {
        let sandbox = Sandbox::trusting("san");
        let server = Server::presenting("san", |_| {});
        assert_eq!(provision(&server, &sandbox, &format!("--credentials-type {kind}")).code, Some(0));
        let secrets = secrets_of(&sandbox);
        let file = if kind == "x509" { "key.pem" } else { "credentials.json" };
        let path = format!("devices/{NAME}/{file}");
        // Cut off, and with a word too many: parsers like to quote what they trip over.
        let whole = sandbox.read(&path);
        for damaged in [&whole[..whole.len() * 2 / 3], &whole.replacen('"', "", 1), &format!("x{whole}")] {
            sandbox.write(&path, damaged);
            for command in ["connect", "doctor sensor-01", "devices show sensor-01"] {
                let ran = sandbox.run(&format!("{command} -vvv"));
                assert_silent(command, &format!("{ran:?}"), &secrets);
            }
        }
    }
}

#[test]
fn a_dry_run_does_nothing_and_hides_the_secret() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    let before = sandbox.files();
    for mode in MODES {
        let ran = provision(&server, &sandbox, &format!("--dry-run {mode}"));
        assert!(ran.stdout.contains("[hidden]") && ran.stdout.contains(KEY), "{ran:?}");
        assert_silent(mode, &format!("{ran:?}"), &[SECRET.to_owned()]);
    }
    assert_eq!(sandbox.files(), before);
    assert!(server.events().len() == 1, "{:?}", server.events());
}

#[test]
fn help_shows_no_value_of_a_secret_variable() {
    let mut sandbox = Sandbox::new();
    sandbox.set("TBPROV_PROVISION_SECRET", SECRET).set("TBPROV_SIM_PROVISION_SECRET", SECRET);
    sandbox.set("TBPROV_KEY_PASSWORD", SECRET);
    for line in ["provision --help", "sim --help", "certs gen --help", "help provision", "provision --port x"]
    {
        assert_silent(line, &format!("{:?}", sandbox.run(line)), &[SECRET.to_owned()]);
    }
}

#[test]
fn an_encrypted_key_tells_neither_key_nor_password() {
    let mut sandbox = Sandbox::new();
    sandbox.set("TBPROV_KEY_PASSWORD", SECRET);
    for (index, mode) in MODES.iter().enumerate() {
        let ran = sandbox.run(&format!("certs gen --name d --encrypt-key --out {index} {mode}"));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_silent(mode, &format!("{ran:?}"), &[SECRET.to_owned()]);
        assert!(
            sandbox.read(&format!("{index}/key.pem")).starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        );
    }
}
