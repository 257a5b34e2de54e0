//! Emulators that are scripts: what `emulate` makes of a log, whoever writes it. Needs neither compiler nor QEMU.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn qemu(sandbox: &Sandbox, script: &str) -> PathBuf {
    let qemu = sandbox.write("qemu", &format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(&qemu, std::fs::Permissions::from_mode(0o755)).unwrap();
    qemu
}

/// `emulate` with the device of a simulator, by an emulator that runs `script`.
fn emulated_by(script: &str, arguments: &[&str]) -> Ended {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    sandbox.provisioned(&server, "sensor");
    let qemu = qemu(&sandbox, script);
    run(emulate(&sandbox, Path::new("no.elf"), arguments).env("TBPROV_QEMU", qemu))
}

const ACKNOWLEDGED: &str = "echo 'I (9) tbprov: [Telemetry][Ack] packet 1 in 3 ms'";

#[test]
fn readings_are_counted_by_what_the_log_says() {
    let script = format!("{ACKNOWLEDGED}; echo talk; {ACKNOWLEDGED}; {ACKNOWLEDGED}; sleep 60");
    let ended = emulated_by(&script, &["--count", "2"]);
    assert_eq!(ended.succeeded()["acknowledged"], 2);
    assert_eq!(log(&ended).len(), 3, "it ends at the second");
}

#[test]
fn a_panic_ends_it() {
    let ended = emulated_by("echo 'E (9) tbprov: [Panic] at x.rs:1'; sleep 60", &[]);
    let error = ended.failed(7, "firmware/panic");
    assert!(error["message"].as_str().unwrap().contains("x.rs:1"), "{error}");
}

#[test]
fn the_last_trouble_is_the_error() {
    let trouble = |code: &str| format!("echo 'W (9) tbprov: [{code}] in words; next attempt in 9 ms'");
    let script = format!("{}; {}; sleep 60", trouble("network/connect"), trouble("tls/untrusted"));
    let error =
        emulated_by(&script, &["--give-up-after", "1s", "--interval", "10ms"]).failed(3, "tls/untrusted");
    assert!(error["message"].as_str().unwrap().contains("in words"), "{error}");
    // What was mended meanwhile is no error any more.
    let script = format!("{}; {ACKNOWLEDGED}; sleep 60", trouble("tls/untrusted"));
    emulated_by(&script, &["--give-up-after", "1s", "--interval", "10ms"]).failed(3, "network/timeout");
}

#[test]
fn an_unusable_identity_is_final() {
    let script = "echo 'E (9) tbprov: [firmware/identity] the identity partition is empty'; sleep 60";
    emulated_by(script, &[]).failed(7, "firmware/identity");
}

#[test]
fn an_emulator_that_fails_is_quoted() {
    let error = emulated_by("echo 'no such machine' >&2; exit 1", &[]).failed(7, "firmware/emulator");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("no such machine") && message.contains("exit code 1"), "{message}");
}

#[test]
fn an_emulator_that_is_missing_is_named() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    sandbox.provisioned(&server, "sensor");
    let mut command = emulate(&sandbox, Path::new("no.elf"), &["--qemu", "nowhere/qemu"]);
    let error = run(&mut command).failed(7, "firmware/emulator");
    assert!(error["message"].as_str().unwrap().contains("nowhere/qemu"), "{error}");
    assert!(error["help"].as_str().unwrap().contains("qemu-system-misc"), "{error}");
}

/// More than a line has, without an end, and bytes that are no text.
#[test]
fn noise_is_no_harm() {
    let script = format!(
        "head -c 300000 /dev/zero | tr '\\0' 'x'; head -c 1000 /dev/urandom; echo; {ACKNOWLEDGED}; sleep 60"
    );
    assert_eq!(emulated_by(&script, &["--count", "1"]).succeeded()["acknowledged"], 1);
}

#[test]
fn it_sees_the_identity_and_no_secret_of_the_environment() {
    let script = format!(
        r#"for argument; do case $argument in loader,file=*) file=${{argument#loader,file=}}; file=${{file%%,*}};; esac; done
           ls -l "$file" | cut -c1-10; wc -c <"$file"; env; {ACKNOWLEDGED}; sleep 60"#
    );
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    sandbox.provisioned(&server, "sensor");
    let qemu = qemu(&sandbox, &script);
    let mut command = emulate(&sandbox, Path::new("no.elf"), &["--count", "1"]);
    let ended = run(command.env("TBPROV_QEMU", qemu).env("TBPROV_WIFI_PASSWORD", "a-secret-of-ours"));
    ended.succeeded();
    let log = log(&ended);
    assert!(log.contains(&"-rw-------".to_owned()), "{log:#?}");
    assert!(!ended.stdout.contains("a-secret-of-ours"), "{log:#?}");
}
