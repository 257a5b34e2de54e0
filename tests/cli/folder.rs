//! What lies in the folder where the command runs, and nobody named: it is announced, and may not do everything.

use crate::support::{KEY, Sandbox, Server, fixture_text, for_each_row, same};

/// A folder within a folder, with a file beside it that is not its business.
fn repository(lines: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("credentials", "https://user:ghp_TOKEN@github.com\n");
    sandbox.write("repo/ca.pem", fixture_text("server/san.pem"));
    sandbox.write("repo/secret", "s\n");
    sandbox.write(
        "repo/tbprov.toml",
        format!("host = \"h\"\nprovision-key = \"k\"\ndevice-name = \"d\"\n{lines}"),
    );
    sandbox
}

fn run_in(sandbox: &Sandbox, line: &str) -> crate::support::Ran {
    let mut command = sandbox.bare();
    command.current_dir(sandbox.path("repo")).args(line.split_whitespace());
    crate::support::Ran::from(command.output().unwrap())
}

const DRY_RUN: &str = "provision --json --dry-run --no-input";

/// `(lines, how it ends)`
const NAMED_FILES: &[(&str, &str)] = &[
    ("provision-secret-file = \"secret\"", ""),
    ("provision-secret-file = \"./secret\"\nserver-cert = \"ca.pem\"", ""),
    ("provision-secret-file = \"../repo/secret\"", ""),
    ("provision-secret-file = \"../credentials\"", "2 config/invalid plan"),
    ("provision-secret = \"s\"\nserver-cert = \"../credentials\"", "2 config/invalid plan"),
    ("provision-secret-file = \"nowhere\"", "5 file/not-found plan"),
];

#[test]
fn a_configuration_that_nobody_named_names_no_file_outside_its_folder() {
    for_each_row(NAMED_FILES, |(lines, promised)| {
        let sandbox = repository(lines);
        let ran = run_in(&sandbox, DRY_RUN);
        assert!(!format!("{ran:?}").contains("ghp_TOKEN"), "{ran:?}");
        if *promised == "2 config/invalid plan" {
            assert!(ran.message().contains("outside the folder"), "{ran:?}");
            assert!(ran.help().contains("--config tbprov.toml"), "{ran:?}");
            let consent = run_in(&sandbox, &format!("{DRY_RUN} --config tbprov.toml"));
            assert!(!consent.stdout.contains("config/invalid"), "{consent:?}");
        }
        same(lines, &ran.brief(), promised)
    });
}

#[cfg(unix)]
#[test]
fn a_link_leads_outside_the_folder_as_a_path_does() {
    for lines in ["provision-secret-file = \"linked\"", "server-cert = \"/etc/passwd\""] {
        let sandbox = repository(lines);
        std::os::unix::fs::symlink("../credentials", sandbox.path("repo/linked")).unwrap();
        let ran = run_in(&sandbox, DRY_RUN);
        assert_eq!(ran.brief(), "2 config/invalid plan", "{ran:?}");
        assert!(!format!("{ran:?}").contains("ghp_TOKEN"), "{ran:?}");
    }
}

#[test]
fn a_configuration_that_nobody_named_is_announced_in_every_format() {
    let sandbox = repository("provision-secret = \"s\"");
    let line = "provision --dry-run --no-input";
    let using = format!("using {}", tbprov::text::shown_path("./tbprov.toml"));
    assert!(run_in(&sandbox, line).stderr.contains(&using));
    let json = run_in(&sandbox, &format!("{line} --json"));
    assert_eq!((json.stdout.lines().count(), json.stderr.trim()), (1, using.as_str()));
    let events = run_in(&sandbox, &format!("{line} --events"));
    let first: serde_json::Value = serde_json::from_str(events.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(first["event"], "file-found");
    assert_eq!((first["purpose"].as_str(), first["file"].as_str()), (Some("config"), Some("./tbprov.toml")));
    for silent in ["-q", "--json -q", "--config tbprov.toml", "--json --config tbprov.toml"] {
        let ran = run_in(&sandbox, &format!("{line} {silent}"));
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{silent}");
    }
}

#[cfg(unix)]
#[test]
fn another_users_configuration_is_refused_unless_it_is_named() {
    let sandbox = repository("provision-secret = \"s\"");
    if std::os::unix::fs::chown(sandbox.path("repo/tbprov.toml"), Some(12345), None).is_err() {
        return println!("skipped: only root can give a file away");
    }
    let ran = run_in(&sandbox, DRY_RUN);
    assert_eq!(ran.brief(), "2 config/invalid plan");
    assert!(ran.message().contains("another user (12345)"), "{ran:?}");
    run_in(&sandbox, &format!("{DRY_RUN} --config tbprov.toml")).done();
}

#[test]
fn a_server_certificate_that_nobody_named_is_announced() {
    let server = Server::presenting("san", |_| {});
    let sandbox = Sandbox::new();
    sandbox.write("mqttserver.pub.pem", fixture_text("server/san.pem"));
    let line = format!(
        "provision --host localhost --port {} --provision-key {KEY} --provision-secret {} --device-name d",
        server.port(),
        crate::support::SECRET
    );
    let ran = sandbox.run(&format!("{line} --json"));
    assert_eq!(ran.outcome(), "provisioned");
    let file = if cfg!(windows) { r".\mqttserver.pub.pem" } else { "./mqttserver.pub.pem" };
    assert!(ran.stderr.contains(&format!("using {file}")), "{ran:?}");
    let events = sandbox.run(&format!("{line} --events --store other --dry-run")).stdout;
    assert!(events.contains(r#""event":"file-found","purpose":"server-cert""#), "{events}");
    let named = sandbox.run(&format!("{line} --json --dry-run --server-cert mqttserver.pub.pem"));
    assert_eq!(named.stderr, "");
}

#[test]
fn what_is_too_long_is_refused_and_not_cut() {
    let sandbox = Sandbox::new();
    let line = "provision --json --dry-run --host h --provision-key k --device-name d --provision-secret-file secret";
    for end in ["", "\n", "\r\n"] {
        sandbox.write("secret", format!("{}{end}", "x".repeat(4096)));
        sandbox.run(line).done();
        sandbox.write("secret", format!("{}{end}", "x".repeat(4097)));
        let ran = sandbox.run(line);
        assert_eq!(ran.brief(), "2 usage/invalid-value plan");
        assert!(ran.message().contains("secret") && ran.message().contains("4096"), "{ran:?}");
    }
    let comment = format!("#{}\n", "x".repeat(1 << 20));
    sandbox.write("tbprov.toml", format!("{comment}hots = \"h\"\n"));
    let ran = sandbox.run("devices list --json");
    assert_eq!(ran.brief(), "2 config/invalid plan");
    assert!(ran.message().contains("tbprov.toml") && ran.message().contains("1 MiB"), "{ran:?}");
}

/// What Windows' editors call Unicode, with and without a mark at the beginning.
#[test]
fn a_secret_in_another_encoding_is_told_to_be_one() {
    let sandbox = Sandbox::new();
    let line = "provision --json --dry-run --host h --provision-key k --device-name d --provision-secret-file secret";
    let utf16: Vec<u8> = "secret\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for content in [[b"\xff\xfe".to_vec(), utf16.clone()].concat(), utf16, b"se\xe9cret".to_vec()] {
        sandbox.write("secret", content);
        let ran = sandbox.run(line);
        assert_eq!(ran.brief(), "5 file/io plan");
        assert!(ran.message().contains("encoding") && ran.help().contains("UTF-8"), "{ran:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_key_that_others_can_read_is_warned_of_unless_that_is_meant() {
    use std::os::unix::fs::PermissionsExt as _;
    let sandbox = Sandbox::new();
    sandbox.run("certs ca --name ca --json").done();
    let line = "certs gen --name d --json --ca-cert ca.pem --ca-key ca_key.pem --out";
    assert_eq!(sandbox.run(&format!("{line} a")).stderr, "");
    for (out, mode) in [("b", 0o640), ("c", 0o604)] {
        std::fs::set_permissions(sandbox.path("ca_key.pem"), std::fs::Permissions::from_mode(mode)).unwrap();
        let warned = sandbox.run(&format!("{line} {out}"));
        warned.done();
        assert!(warned.stderr.contains(&format!("ca_key.pem (mode {mode:04o})")), "{warned:?}");
        let meant = sandbox.run(&format!("{line} {out}2 --allow-readable-key"));
        assert_eq!((meant.code, meant.stderr.as_str()), (Some(0), ""));
    }
}

/// What a lock's name leads to is not written to, and the mode of a new lock does not depend on the umask.
#[cfg(unix)]
#[test]
fn a_lock_that_is_another_file_is_refused() {
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
    let server = Server::presenting("san", |_| {});
    let sandbox = Sandbox::trusting("san");
    sandbox.write("victim.txt", "precious");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(sandbox.path("devices/.locks")).unwrap();
    let lock = sandbox.path("devices/.locks/sensor-01.lock");
    for link in [std::fs::hard_link::<_, &std::path::Path>, |from, to| std::os::unix::fs::symlink(from, to)] {
        link(sandbox.path("victim.txt"), &lock).unwrap();
        assert_eq!(server.provision(&sandbox, "").brief(), "5 store/io stage");
        assert_eq!(sandbox.read("victim.txt"), "precious");
        std::fs::remove_file(&lock).unwrap();
    }
    assert!(server.devices().is_empty());
    let mut command = std::process::Command::new("sh");
    let tbprov = env!("CARGO_BIN_EXE_tbprov");
    let script = format!("umask 000; exec '{tbprov}' provision --json --device-name sensor-02");
    command.args(["-c", &script]).current_dir(sandbox.path(".")).envs(server.environment());
    assert!(command.output().unwrap().status.success());
    for (file, mode) in [(".locks/sensor-02.lock", 0o600), ("sensor-02/key.pem", 0o600), ("sensor-02", 0o700)]
    {
        assert_eq!(sandbox.path("devices").join(file).metadata().unwrap().mode() & 0o777, mode, "{file}");
    }
}

/// A file in the way of a folder: the store says that it is the store.
#[test]
fn what_cannot_be_written_is_of_the_store_or_of_a_file() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "");
    for (line, ends) in [
        ("certs gen --name d --out file/x --json", "5 file/io stage"),
        ("certs ca --name d --out file --json", "5 file/io stage"),
        ("man --out file/x --json", "5 file/io plan"),
        ("sim --port 0 --dir file/x --json", "5 file/io serve"),
    ] {
        let ran = sandbox.run(line);
        assert_eq!(ran.brief(), ends, "{line}");
        assert!(ran.message().ends_with("file is not a folder"), "{line}: {ran:?}");
    }
    let server = Server::presenting("san", |_| {});
    sandbox.write("server.pem", fixture_text("server/san.pem"));
    assert_eq!(server.provision(&sandbox, "--store file/x").brief(), "5 store/io stage");
}

#[cfg(unix)]
#[test]
fn a_pipe_in_the_place_of_the_configuration_is_refused_and_not_waited_for() {
    let sandbox = Sandbox::new();
    let made = std::process::Command::new("mkfifo").arg(sandbox.path("tbprov.toml")).status().unwrap();
    assert!(made.success());
    let ran = crate::support::Ran::from(
        sandbox.bare_in_time().args(["devices", "list", "--json"]).output().unwrap(),
    );
    assert_eq!(ran.brief(), "2 config/invalid plan");
}
