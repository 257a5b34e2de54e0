//! A system that gives no thread, no descriptor, no lock or no room.

#![cfg(target_os = "linux")]

use crate::support::peers::installed;
use crate::support::{NAME, Ran, Sandbox, Server};

/// `tbprov` with `arguments`, under a shell that has run `before`.
fn under(sandbox: &Sandbox, before: &str, arguments: &str) -> Ran {
    let line = format!("{before}; exec '{}' {arguments}", env!("CARGO_BIN_EXE_tbprov"));
    Ran::from(sandbox.command("sh").args(["-c", &line]).output().unwrap())
}

/// `tbprov` where the system call `call` fails with `error`; nothing without strace, or where it may not trace.
fn failing(sandbox: &Sandbox, call: &str, error: &str, arguments: &str) -> Option<Ran> {
    let strace = installed("strace")?;
    let inject = format!("inject={call}:error={error}");
    let mut command = sandbox.command(strace.to_str().unwrap());
    command.args(["-f", "-o", "/dev/null", "-e", &inject, env!("CARGO_BIN_EXE_tbprov")]);
    let ran = Ran::from(command.args(arguments.split(' ')).output().unwrap());
    let may_trace = !ran.stderr.contains("ptrace");
    assert!(may_trace || std::env::var_os("TBPROV_REQUIRE_PEERS").is_none(), "strace may not trace");
    may_trace.then_some(ran)
}

#[test]
fn no_thread_is_an_error_that_names_the_limit() {
    let sandbox = Sandbox::new();
    for (error, arguments) in [
        ("EPERM", "connect d"),
        ("EPERM", "devices list"),
        ("EAGAIN", "provision --dry-run"),
        ("EAGAIN", "sim --port 0"),
        ("EPERM", "doctor"),
        ("ENOMEM", "demo"),
    ] {
        let Some(ran) = failing(&sandbox, "clone3", error, &format!("{arguments} --json")) else { return };
        assert_eq!(ran.brief(), "2 system/limit plan", "{arguments}");
        assert!(ran.help().contains("ulimit -u") && ran.help().contains("seccomp"), "{ran:?}");
    }
    assert!(sandbox.files().is_empty());
}

#[test]
fn no_descriptor_is_an_error_that_names_the_limit() {
    let sandbox = Sandbox::new();
    for limit in [6, 8, 10, 12, 14] {
        for arguments in ["connect d", "devices list", "sim --port 0", "certs gen --name d"] {
            let ran = under(&sandbox, &format!("ulimit -n {limit}"), &format!("{arguments} --json"));
            assert_eq!(ran.brief(), "2 system/limit plan", "{limit} {arguments}");
            assert!(ran.help().contains("ulimit -n"), "{ran:?}");
        }
    }
    let told = under(&sandbox, "ulimit -n 12", "devices list");
    assert!(told.stderr.contains("error[system/limit]") && told.stdout.is_empty(), "{told:?}");
}

/// `(the system call, its error, what is run, what helps)`
const FAILING: &[(&str, &str, &str, &str)] = &[
    ("flock", "ENOLCK", "provision --device-name other", "no locks"),
    ("flock", "EROFS", "provision --device-name other", "read-only"),
    ("mkdir", "EROFS", "certs gen --name d --out new", "read-only"),
    ("mkdir", "ENOSPC", "certs gen --name d --out new", "disk is full"),
    ("mkdir", "EDQUOT", "certs gen --name d --out new", "share of the disk"),
    ("mkdir", "ENAMETOOLONG", "certs gen --name d --out new", "too long"),
    ("mkdir", "EACCES", "certs gen --name d --out new", "allowed"),
    ("mkdir", "ELOOP", "certs gen --name d --out new", "links"),
    ("mkdir", "EIO", "certs gen --name d --out new", "disk itself"),
    ("mkdir", "EOPNOTSUPP", "certs gen --name d --out new", "file system"),
];

#[test]
fn help_is_by_what_the_system_says() {
    let server = Server::presenting("san", |_| {});
    let mut sandbox = Sandbox::trusting("san");
    for (name, value) in server.environment() {
        sandbox.set(name, &value);
    }
    for (call, error, arguments, helps) in FAILING {
        let Some(ran) = failing(&sandbox, call, error, &format!("{arguments} --json")) else { return };
        assert_eq!(ran.code, Some(5), "{error}: {ran:?}");
        assert!(ran.help().contains(helps), "{error}: {ran:?}");
    }
    let ran = sandbox.run(&format!("certs gen --name d --out {} --json", "x".repeat(300)));
    assert!(ran.help().contains("too long"), "{ran:?}");
}

/// SQLite reads a ledger for which it has no room beside it, and says of a change only that it cannot be made.
#[test]
fn a_ledger_on_a_full_disk_is_not_called_read_only() {
    let sandbox = Sandbox::trusting("san");
    sandbox.write("fleet.csv", "name\nd\n");
    sandbox.run("fleet import fleet.csv --ledger fleet.db --json").done();
    let line = "fleet retry --all --ledger fleet.db --json";
    let Some(ran) = failing(&sandbox, "pwrite64", "ENOSPC", line) else { return };
    assert_eq!(ran.brief(), "5 ledger/io ledger", "{ran:?}");
    let message = ran.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("full") && ran.help().contains("free space"), "{ran:?}");
}

#[test]
fn a_proved_device_in_a_store_that_cannot_be_written_is_verified() {
    let server = Server::presenting("san", |_| {});
    let mut sandbox = Sandbox::trusting("san");
    for (name, value) in server.environment() {
        sandbox.set(name, &value);
    }
    let line = format!("provision --device-name {NAME} --json");
    assert_eq!(sandbox.run(&line).outcome(), "provisioned");
    let before = sandbox.read(&format!("devices/{NAME}/device.json"));
    for error in ["EROFS", "EACCES"] {
        let Some(ran) = failing(&sandbox, "flock", error, &line) else { return };
        assert_eq!(ran.outcome(), "verified");
        assert!(ran.stderr.contains("verified, and nothing is recorded"), "{ran:?}");
    }
    assert_eq!(sandbox.read(&format!("devices/{NAME}/device.json")), before);
    // Another device cannot be made there.
    let other = failing(&sandbox, "flock", "EROFS", "provision --device-name other --json").unwrap();
    assert_eq!(other.failure().1, "store/io");
}
