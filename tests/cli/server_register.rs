//! `server register`: the way in by an account, and the way back after a lost key and after FAILURE.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::Value;
use tbprov::sim::{Config, PreProvisioned, Release, Strategy};

use crate::support::{NAME, Ran, Running, Sandbox, Server};

const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A server with an account, and a folder whose environment names both.
pub(super) struct Site {
    pub(super) sandbox: Sandbox,
    pub(super) server: Server,
}

impl Site {
    pub(super) fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut sandbox = Sandbox::trusting("san");
        let server = Server::presenting("san", |config| {
            config.rest = Some(ANY);
            change(config);
        });
        for (name, value) in server.account().into_iter().chain(server.environment()) {
            sandbox.set(name, &value);
        }
        Self { sandbox, server }
    }

    pub(super) fn with_faults(faults: &[&str]) -> Self {
        Self::new(|config| config.faults = faults.iter().map(|fault| fault.parse().unwrap()).collect())
    }

    pub(super) fn server(&self, line: &str) -> Ran {
        self.sandbox.run(&format!("server {line} --json"))
    }

    pub(super) fn run<const N: usize>(&self, words: [&str; N]) -> Ran {
        self.sandbox.run_all(["server"].into_iter().chain(words).chain(["--json"]))
    }

    /// The server's device has the certificate of the store, which a connect proves.
    #[track_caller]
    fn assert_registered(&self, result: &Value) {
        let id = self.server.device(NAME).credentials_id.unwrap();
        assert_eq!(result["credentials_id"], id.as_str());
        let record = self.sandbox.record();
        assert_eq!((&record["credentials_id"], &record["state"]), (&Value::from(id), &Value::from("proved")));
        self.sandbox.run("connect --json").done();
    }
}

#[test]
fn a_device_that_neither_side_has_is_made_on_every_release() {
    for release in Release::ALL {
        let site = Site::new(|config| config.release = *release);
        let result = site.server("register sensor-01").done();
        assert_eq!(result["outcome"], "created", "{release:?}");
        assert_eq!(result["profile_by"], "provision-key");
        site.assert_registered(&result);
        assert_eq!(site.server("register sensor-01").outcome(), "verified");
        assert_eq!(site.server.devices().len(), 1);
    }
}

#[test]
fn the_profile_is_the_named_one_or_the_default() {
    let site = Site::new(|_| {});
    site.server("register sensor-01 --profile nowhere").failed(1, "rest/not-found");
    assert!(site.server.devices().is_empty() && !site.sandbox.path("devices").exists());
    let mut sandbox = Sandbox::trusting("san");
    for (name, value) in site.server.account() {
        sandbox.set(name, &value);
    }
    let line = format!("server register sensor-01 --json {}", site.server.flags());
    let result = sandbox.run(&line).done();
    assert_eq!(result["profile_by"], "default");
    let name = result["profile"].as_str().unwrap().to_owned();
    let made = site.run(["register", "another", "--profile", &name]).done();
    assert_eq!((&made["profile_by"], &made["profile"]), (&"name".into(), &name.into()));
}

#[test]
fn one_command_brings_a_device_back_whose_folder_is_gone() {
    let site = Site::new(|_| {});
    assert_eq!(site.server.provision(&site.sandbox, "").outcome(), "provisioned");
    let before = site.server.device(NAME).credentials_id;
    std::fs::remove_dir_all(site.sandbox.path("devices")).unwrap();
    // Whoever has the old key is cut off, so that is asked first.
    let refused = site.server("register sensor-01").failed(2, "usage/missing-value");
    assert!(refused["help"].as_str().unwrap().contains("--yes"), "{refused}");
    assert_eq!(site.server.device(NAME).credentials_id, before);
    let result = site.server("register sensor-01 --yes").done();
    assert_eq!(result["outcome"], "replaced");
    assert_ne!(site.server.device(NAME).credentials_id, before);
    site.assert_registered(&result);
}

#[test]
fn a_key_that_is_gone_or_damaged_is_said_with_the_way_out() {
    for content in [None, Some("no key at all")] {
        let site = Site::new(|_| {});
        assert_eq!(site.server.provision(&site.sandbox, "").outcome(), "provisioned");
        let key = site.sandbox.path("devices/sensor-01/key.pem");
        std::fs::remove_file(&key).unwrap();
        if let Some(content) = content {
            site.sandbox.write("devices/sensor-01/key.pem", content);
            #[cfg(unix)]
            std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
        let failed = site.server("register sensor-01 --yes");
        assert!(failed.help().contains("tbprov devices remove sensor-01"), "{failed:?}");
        site.sandbox.run("devices remove sensor-01 --yes --json").done();
        let result = site.server("register sensor-01 --yes").done();
        assert_eq!(result["outcome"], "replaced");
        site.assert_registered(&result);
    }
}

#[test]
fn failure_is_explained_and_its_help_works() {
    // Somebody made the device by hand: it has a token.
    let site = Site::new(|config| {
        config.pre_provisioned = vec![PreProvisioned::new(NAME)];
    });
    let failed = site.server.provision(&site.sandbox, "");
    let error = failed.failed(1, "server/failure");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("the name is taken") && message.contains("type ACCESS_TOKEN"), "{message}");
    assert!(failed.help().contains("tbprov server register sensor-01"), "{failed:?}");
    site.server("register sensor-01").failed(2, "usage/missing-value");
    let result = site.server("register sensor-01 --yes").done();
    assert_eq!(result["outcome"], "replaced");
    site.assert_registered(&result);
}

#[test]
fn failure_of_a_free_name_says_what_remains() {
    let site = Site::with_faults(&["failure"]);
    let message = site.server.provision(&site.sandbox, "").message();
    assert!(message.contains("no device has this name"), "{message}");
    let site = Site::new(|config| config.strategy = Strategy::PreProvisioned);
    let failed = site.server.provision(&site.sandbox, "");
    assert!(failed.message().contains("only devices that are there already"), "{failed:?}");
    assert!(failed.help().contains("tbprov server register sensor-01"), "{failed:?}");
}

#[test]
fn what_the_account_cannot_tell_does_not_hide_the_failure() {
    let mut site = Site::with_faults(&["failure"]);
    site.sandbox.set("TBPROV_API_PASSWORD", "wrong");
    let failed = site.server.provision(&site.sandbox, "");
    failed.failed(1, "server/failure");
    assert!(failed.stderr.contains("the account does not tell the cause"), "{failed:?}");
    site.sandbox.unset("TBPROV_API_PASSWORD");
    let failed = site.server.provision(&site.sandbox, "");
    failed.failed(1, "server/failure");
    assert!(!failed.message().contains("account"), "{failed:?}");
}

#[test]
fn a_certificate_of_another_device_is_named() {
    let site = Site::new(|_| {});
    assert_eq!(site.server.provision(&site.sandbox, "").outcome(), "provisioned");
    let folder = |name: &str| format!("devices/sensor-01/{name}");
    let (certificate, key) = (site.sandbox.read(&folder("cert.pem")), site.sandbox.read(&folder("key.pem")));
    site.sandbox.write("cert.pem", certificate);
    site.sandbox.write("key.pem", key);
    let line = format!(
        "devices add other --cert cert.pem --key key.pem --no-verify-connect --json {}",
        site.server.flags()
    );
    site.sandbox.run(&line).done();
    let failed = site.server("register other");
    let error = failed.failed(1, "rest/refused");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("another device at the server") && message.contains("'sensor-01'"), "{message}");
    let state: Value = serde_json::from_str(&site.sandbox.read("devices/other/device.json")).unwrap();
    assert_eq!(state["state"], "sent");
    // What was made for it has a token that nobody used, and is taken up again without a question.
    site.server("remove sensor-01 --yes").done();
    assert_eq!(site.server("register other").outcome(), "replaced");
}

#[test]
fn tokens_are_not_registered() {
    let site = Site::new(|_| {});
    let ran = site.server.provision(&site.sandbox, "--credentials-type access-token");
    assert_eq!(ran.outcome(), "provisioned");
    let failed = site.server("register sensor-01 --yes");
    failed.failed(5, "store/exists");
    assert!(failed.message().contains("access-token"), "{failed:?}");
    assert_eq!(site.server("device sensor-01").done()["credentials_are"], "current");
}

#[test]
fn a_rerun_ends_what_lost_answers_and_kills_have_begun() {
    for lost in 1..=2 {
        let site = Site::with_faults(&[&format!("rest-lost={lost}")]);
        let mut failures = 0;
        let result = loop {
            let ran = site.server("register sensor-01");
            if ran.code == Some(0) {
                break ran.done();
            }
            failures += 1;
            assert!(failures <= lost, "{ran:?}");
            assert_eq!(site.sandbox.record()["state"], "sent");
        };
        assert_eq!(failures, lost);
        site.assert_registered(&result);
        assert_eq!(site.server.devices().len(), 1);
    }
    let site = Site::with_faults(&["rest-conflict=1"]);
    let ran = site.server("register sensor-01");
    let result = if ran.code == Some(0) { ran.done() } else { site.server("register sensor-01").done() };
    site.assert_registered(&result);
    let site = Site::with_faults(&["rest-not-applied"]);
    site.server("register sensor-01").failed(4, "verify/not-stored");
}

/// `kill -9` at each event of a run: the rerun ends with one device, and the key that was on the disk.
#[test]
fn a_kill_at_any_event_is_harmless() {
    let whole = Site::new(|_| {});
    let events = whole.sandbox.run("server register sensor-01 --events").stdout.lines().count();
    assert!(events > 8, "{events}");
    let site = Site::new(|_| {});
    for count in 0..events {
        let name = format!("d{count}");
        let mut command = site.sandbox.bare();
        let mut running = Running::start(command.args(["server", "register", &name, "--events"]));
        for _ in 0..=count {
            running.line();
        }
        running.kill();
        let key = std::fs::read_to_string(site.sandbox.path(&format!("devices/{name}/key.pem"))).ok();
        let result = site.server(&format!("register {name}")).done();
        let device = site.server.device(&name);
        assert_eq!(result["credentials_id"], device.credentials_id.unwrap().as_str(), "{name}");
        if let Some(key) = key {
            assert_eq!(key, site.sandbox.read(&format!("devices/{name}/key.pem")), "{name}");
        }
    }
}

#[test]
fn a_device_of_another_server_or_with_nothing_to_ask_is_refused() {
    let mut site = Site::new(|_| {});
    assert_eq!(site.server.provision(&site.sandbox, "").outcome(), "provisioned");
    site.sandbox.set("TBPROV_PORT", "1");
    site.server("register sensor-01").failed(5, "store/exists");
    site.sandbox.unset("TBPROV_HOST");
    site.server("register new").failed(2, "usage/missing-value");
    site.run(["register", " "]).failed(2, "usage/invalid-value");
}
