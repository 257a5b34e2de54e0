//! `server profile`: what an administrator makes on ThingsBoard's web pages, by an account.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::Value;
use tbprov::sim::{Config, Release};

use crate::support::{Ran, Sandbox, Server};

/// The REST API of a simulator at any port.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A folder with an account at a server that has no profile for it yet.
struct Desk {
    sandbox: Sandbox,
    server: Server,
}

impl Desk {
    fn new(change: impl Fn(&mut Config)) -> Self {
        let mut sandbox = Sandbox::trusting("san");
        let server = Server::presenting("san", |config| {
            config.rest = Some(ANY);
            change(config);
        });
        for (name, value) in server.account() {
            sandbox.set(name, &value);
        }
        Self { sandbox, server }
    }

    fn profile(&self, line: &str) -> Ran {
        self.sandbox.run(&format!("server profile {line} --json"))
    }

    /// Provisions with what was written to `config`.
    fn provision(&self, config: &str, name: &str) -> Ran {
        let port = self.server.port();
        self.sandbox.run(&format!(
            "provision --config {config} --host localhost --port {port} --server-cert server.pem --device-name {name} --json"
        ))
    }

    fn secret(&self, file: &str) -> String {
        self.sandbox.read(file).trim_end().to_owned()
    }
}

#[test]
fn from_no_profile_to_a_device() {
    let desk = Desk::new(|_| {});
    desk.sandbox.write("tbprov.toml", "# mine\nstore = \"devices\"  # here\n");
    let made = desk.profile("create sensors --write tbprov.toml");
    let result = made.done();
    assert_eq!((&result["outcome"], &result["profile"]["strategy"]), (&"created".into(), &"create".into()));
    let secret = desk.secret("provision-secret.txt");
    assert_eq!(secret.len(), 20);
    assert!(!format!("{made:?}").contains(&secret), "{made:?}");
    let key = result["profile"]["provision_key"].as_str().unwrap();
    assert_eq!(
        desk.sandbox.read("tbprov.toml"),
        format!(
            "# mine\nstore = \"devices\"  # here\nprovision-key = \"{key}\"\n\
             provision-secret-file = \"provision-secret.txt\"\n"
        )
    );
    assert_eq!(desk.provision("tbprov.toml", "sensor-01").outcome(), "provisioned");
}

#[cfg(unix)]
#[test]
fn nobody_else_can_read_the_secret() {
    use std::os::unix::fs::PermissionsExt as _;
    let desk = Desk::new(|_| {});
    desk.profile("create sensors --write tbprov.toml").done();
    for file in ["provision-secret.txt", "tbprov.toml"] {
        let mode = std::fs::metadata(desk.sandbox.path(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

/// Key and secret of a profile that somebody else made, or whose answer was lost.
#[test]
fn a_profile_that_is_there_is_written_too() {
    let desk = Desk::new(|_| {});
    let made = desk.profile("create sensors").done();
    assert_eq!(made["written"], Value::Null);
    desk.profile("create sensors").failed(1, "rest/refused");
    desk.profile("show sensors --write a.toml").done();
    let secret = desk.secret("provision-secret.txt");
    assert_eq!(desk.provision("a.toml", "sensor-01").outcome(), "provisioned");
    // The file has it already.
    desk.profile("show sensors --write a.toml").done();
    assert!(!desk.sandbox.path("provision-secret-2.txt").exists());
    // Another file gets a secret of its own, over nothing.
    desk.profile("show sensors --write b.toml").done();
    assert_eq!(desk.secret("provision-secret-2.txt"), secret);
    assert_eq!(desk.provision("b.toml", "sensor-02").outcome(), "provisioned");
    desk.profile("show nobody").failed(1, "rest/not-found");
}

#[test]
fn a_new_secret_is_in_force_at_once() {
    let desk = Desk::new(|_| {});
    desk.profile("create sensors --write old.toml").done();
    desk.sandbox.write("new.toml", desk.sandbox.read("old.toml"));
    let changed = desk.profile("new-secret sensors --write new.toml").done();
    assert_eq!(changed["written"]["secret_file"], "provision-secret-2.txt");
    assert_ne!(desk.secret("provision-secret.txt"), desk.secret("provision-secret-2.txt"));
    desk.provision("old.toml", "sensor-01").failed(1, "server/not-found");
    assert_eq!(desk.provision("new.toml", "sensor-01").outcome(), "provisioned");
}

#[test]
fn a_disabled_profile_registers_nobody_and_its_devices_go_on() {
    let desk = Desk::new(|_| {});
    desk.profile("create sensors --write tbprov.toml").done();
    desk.provision("tbprov.toml", "sensor-01").done();
    desk.profile("disable sensors --no-input").failed(2, "usage/missing-value");
    assert_eq!(desk.profile("disable sensors --yes").done()["profile"]["strategy"], "disabled");
    desk.provision("tbprov.toml", "sensor-02").failed(1, "server/not-found");
    assert_eq!(desk.sandbox.run("connect sensor-01 --json").outcome(), "connected");
    desk.profile("new-secret sensors").failed(2, "usage/conflict");
    desk.profile("show sensors --write x.toml").failed(2, "usage/conflict");
    assert!(!desk.sandbox.path("x.toml").exists());
}

#[test]
fn a_pre_provisioned_profile_finds_devices_and_makes_none() {
    let desk = Desk::new(|_| {});
    desk.profile("create sensors --strategy pre-provisioned --write tbprov.toml").done();
    desk.provision("tbprov.toml", "nobody").failed(1, "server/failure");
}

#[test]
fn a_chain_profile_registers_by_the_connect() {
    let desk = Desk::new(|_| {});
    desk.sandbox.run("certs ca --name Plant --out ca --json").done();
    let made = desk.profile("create plant --strategy chain --ca ca/ca.pem").done();
    assert_eq!(made["profile"]["name_pattern"], "(.*)");
    let port = desk.server.port();
    let line = format!(
        "provision --host localhost --port {port} --server-cert server.pem --ca-cert ca/ca.pem \
         --ca-key ca/ca_key.pem --device-name sensor-01 --json"
    );
    assert_eq!(desk.sandbox.run(&line).outcome(), "provisioned");
    // One authority, one profile, on the whole server.
    desk.profile("create other --strategy chain --ca ca/ca.pem").failed(1, "rest/refused");
}

#[test]
fn what_can_never_work_is_refused_before_the_server_is_asked() {
    let desk = Desk::new(|_| {});
    desk.sandbox.run("certs ca --name Plant --out ca --json").done();
    desk.sandbox.run("certs gen --name leaf --out leaf --json").done();
    desk.sandbox.write("other.toml", "provision-key = \"another\"\nprovision-secret = \"its secret\"\n");
    desk.sandbox.write("bad.toml", "provison-key = \"x\"\n");
    for (line, code, error) in [
        ("create a --strategy chain", 2, "usage/missing-value"),
        ("create a --ca ca/ca.pem", 2, "usage/conflict"),
        ("create a --strategy chain --ca leaf/cert.pem", 5, "file/bad-certificate"),
        ("create a --strategy chain --ca ca/ca.pem --name-pattern .*", 2, "usage/invalid-value"),
        ("create a --strategy chain --ca ca/ca.pem --name-pattern (", 2, "usage/invalid-value"),
        ("create a --strategy chain --ca ca/ca.pem --write a.toml", 2, "usage/conflict"),
        ("create a --write other.toml", 2, "config/invalid"),
        ("create a --write bad.toml", 2, "config/invalid"),
    ] {
        desk.profile(line).failed(code, error);
    }
    for name in ["", "  ", " a", "a\u{200b}", &"x".repeat(256)] {
        desk.sandbox
            .run_all(["server", "profile", "create", name, "--json"])
            .failed(2, "usage/invalid-value");
    }
    let listed = desk.profile("list").done();
    assert!(!listed["profiles"].as_array().unwrap().iter().any(|profile| profile["name"] == "a"), "{listed}");
    assert!(desk.sandbox.read("other.toml").contains("its secret"));
}

#[test]
fn what_cannot_be_written_is_found_before_the_server_is_asked() {
    let desk = Desk::new(|_| {});
    desk.profile("create sensors --write nowhere/tbprov.toml").failed(5, "file/io");
    desk.profile("show sensors").failed(1, "rest/not-found");
}

#[test]
fn a_configuration_of_another_folder_is_good_from_everywhere() {
    let desk = Desk::new(|_| {});
    std::fs::create_dir(desk.sandbox.path("plant")).unwrap();
    desk.profile("create sensors --write plant/tbprov.toml").done();
    let named = desk.sandbox.read("plant/tbprov.toml");
    let whole = if cfg!(windows) {
        // Quoted for TOML in another way, without the prefix that Rust gives.
        "provision-secret.txt".to_owned()
    } else {
        format!("{:?}", desk.sandbox.path("plant").canonicalize().unwrap().join("provision-secret.txt"))
    };
    assert!(named.contains(&whole), "{named}");
    assert_eq!(desk.provision("plant/tbprov.toml", "sensor-01").outcome(), "provisioned");
}

#[test]
fn a_release_without_chains_is_named() {
    let desk = Desk::new(|config| config.release = Release::V3_4);
    desk.sandbox.run("certs ca --name Plant --out ca --json").done();
    let failed = desk.profile("create a --strategy chain --ca ca/ca.pem");
    failed.failed(2, "usage/conflict");
    assert!(failed.message().contains("3.4.4"), "{failed:?}");
}

/// The change was made, and nobody knows it: what was made can be read.
#[test]
fn a_lost_answer_loses_no_secret() {
    let desk = Desk::new(|config| config.faults = vec!["rest-lost=1".parse().unwrap()]);
    let failed = desk.profile("create sensors --write tbprov.toml");
    assert_eq!(failed.code, Some(3), "{failed:?}");
    assert!(failed.help().contains("server profile show"), "{failed:?}");
    desk.profile("show sensors --write tbprov.toml").done();
    assert_eq!(desk.provision("tbprov.toml", "sensor-01").outcome(), "provisioned");
}
