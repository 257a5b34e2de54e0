//! A damaged store: what is wrong is told, and nothing in it is touched.

use crate::support::{
    KEY as PROFILE, NAME, Ran, Running, SECRET, Sandbox, Server, fixture_text, for_each_row, same,
};

type Damage = fn(&Sandbox);

const RECORD: &str = "devices/sensor-01/device.json";
const KEY: &str = "devices/sensor-01/key.pem";
const CERTIFICATE: &str = "devices/sensor-01/cert.pem";

fn remove(sandbox: &Sandbox, file: &str) {
    std::fs::remove_file(sandbox.path(file)).unwrap();
}

fn put(sandbox: &Sandbox, file: &str, content: &str) {
    sandbox.write(file, content);
}

fn replace(sandbox: &Sandbox, from: &str, to: &str) {
    let text = sandbox.read(RECORD);
    assert!(text.contains(from), "{text}");
    sandbox.write(RECORD, text.replace(from, to));
}

/// `(what, the damage, how connect, devices show and a rerun end)`
const DAMAGES: &[(&str, Damage, &str)] = &[
    ("garbage as the record", |sandbox| put(sandbox, RECORD, "garbage"), "5 store/corrupt plan"),
    ("an empty record", |sandbox| put(sandbox, RECORD, ""), "5 store/corrupt plan"),
    ("no record", |sandbox| remove(sandbox, RECORD), "5 store/corrupt plan"),
    (
        "another schema",
        |sandbox| replace(sandbox, "tbprov-device/1", "tbprov-device/9"),
        "5 store/corrupt plan",
    ),
    ("an unknown state", |sandbox| replace(sandbox, "\"proved\",", "\"done\","), "5 store/corrupt plan"),
    ("no key", |sandbox| remove(sandbox, KEY), "5 store/corrupt plan"),
    ("no certificate", |sandbox| remove(sandbox, CERTIFICATE), "5 store/corrupt plan"),
    ("an empty key", |sandbox| put(sandbox, KEY, ""), "5 store/corrupt plan"),
    (
        "another key",
        |sandbox| put(sandbox, KEY, &fixture_text("files/other_key.pem")),
        "5 store/corrupt plan",
    ),
    (
        "an encrypted key",
        |sandbox| put(sandbox, KEY, &fixture_text("files/encrypted-pkcs8_key.pem")),
        "5 file/encrypted-key plan",
    ),
    (
        "another pair",
        |sandbox| {
            sandbox.write(KEY, fixture_text("files/other_key.pem"));
            sandbox.write(CERTIFICATE, fixture_text("files/other.pem"));
        },
        "5 store/corrupt plan",
    ),
];

/// The device's folder, byte for byte.
fn contents(sandbox: &Sandbox) -> String {
    let mut files = sandbox.files();
    files.retain(|path| path.parent().unwrap().ends_with(NAME));
    files.sort();
    let shown = |path| format!("{path:?}: {}", String::from_utf8(std::fs::read(path).unwrap()).unwrap());
    files.iter().map(shown).collect()
}

#[test]
fn damage_is_told_by_every_command_and_left_as_it_is() {
    for_each_row(DAMAGES, |(what, damage, promised)| {
        let sandbox = Sandbox::trusting("san");
        let server = Server::presenting("san", |_| {});
        same(what, &server.provision(&sandbox, "").brief(), "provisioned")?;
        damage(&sandbox);
        let before = contents(&sandbox);
        same(what, &sandbox.run(&format!("connect --json {NAME}")).brief(), promised)?;
        same(what, &sandbox.run(&format!("devices --json show {NAME}")).brief(), promised)?;
        same(what, &server.provision(&sandbox, "").brief(), promised)?;
        same(what, &sandbox.run("doctor --json").code.unwrap().to_string(), "5")?;
        same(what, &sandbox.run("devices --json list").code.unwrap().to_string(), "0")?;
        same(what, &(contents(&sandbox) == before).to_string(), "true")
    });
}

#[test]
fn a_damaged_server_certificate_is_told_and_another_can_be_given() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
    sandbox.write("devices/sensor-01/server.pem", "damaged");
    assert_eq!(sandbox.run("connect --json").brief(), "5 store/corrupt plan");
    assert_eq!(sandbox.run("connect --json --server-cert server.pem").outcome(), "connected");
}

#[test]
fn the_list_shows_the_damaged_beside_the_good() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
    sandbox.write("devices/broken/device.json", "{}");
    let list = sandbox.run("devices list --json").done();
    assert_eq!(list["devices"].as_array().unwrap().len(), 2);
    assert!(list["devices"][0]["error"].as_str().unwrap().contains("broken"), "{list}");
    assert_eq!(list["devices"][1]["state"], "proved");
    assert!(sandbox.run("devices list").stdout.contains("damaged"));
    assert_eq!(sandbox.run("connect --json").brief(), "2 usage/missing-value plan");
}

#[test]
fn names_of_any_kind_are_one_folder_in_the_store() {
    let server = Server::presenting("san", |_| {});
    let longest = "n".repeat(255);
    for name in
        ["../../escape", "..", "/etc/passwd", "C:\\x", "with space", "传感器", "a'b\"c", "-", &longest]
    {
        let sandbox = Sandbox::trusting("san");
        assert_eq!(server.provision_as(&sandbox, name, "").done()["device"], name);
        let folders = std::fs::read_dir(sandbox.path("devices")).unwrap();
        let visible =
            folders.filter(|entry| !entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
        assert_eq!(visible.count(), 1, "{name}");
        let entries: Vec<_> = std::fs::read_dir(sandbox.path("")).unwrap().collect();
        assert_eq!(entries.len(), 2, "{name}: {entries:?}");
        let connect = sandbox.run_all(["connect", "--json", "--", name]);
        assert_eq!(connect.outcome(), "connected", "{name}");
    }
}

#[test]
fn names_that_thingsboard_cannot_store_are_refused_before_anything_happens() {
    let sandbox = Sandbox::new();
    let too_long = "x".repeat(300);
    for name in [too_long.as_str(), "line\nbreak", "bell\u{7}"] {
        let common = "provision --json --host h --provision-key k --provision-secret s --device-name";
        let ran = sandbox.run_all(common.split(' ').chain([name]));
        assert_eq!(ran.brief(), "2 usage/invalid-value plan");
        let ran = sandbox.run_all(["certs", "gen", "--json", "--name", name]);
        assert_eq!(ran.brief(), "2 usage/invalid-value plan");
    }
    assert!(sandbox.files().is_empty());
}

#[test]
fn a_rerun_with_other_wishes_is_refused_and_changes_nothing() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
    let before = contents(&sandbox);
    for flags in ["--key-type ec-p384", "--credentials-type access-token", "--port 1"] {
        assert_eq!(server.provision(&sandbox, flags).brief(), "5 store/exists stage", "{flags}");
    }
    assert_eq!(contents(&sandbox), before);
}

#[test]
fn a_device_without_a_name_is_kept_under_its_fingerprint() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    let result = server.provision_as(&sandbox, "", "").done();
    let id = result["credentials_id"].as_str().unwrap();
    assert_eq!(result["device"], format!("unnamed-{}", &id[..12]));
    assert_eq!(sandbox.run("connect --json").outcome(), "connected");
}

#[cfg(unix)]
#[test]
fn only_the_owner_reads_the_key() {
    use std::os::unix::fs::PermissionsExt as _;
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
    let mode = |file: &str| std::fs::metadata(sandbox.path(file)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(KEY), 0o600);
    assert_eq!(mode("devices/sensor-01"), 0o700);
}

#[cfg(unix)]
#[test]
fn a_key_of_the_store_that_others_can_read_is_not_used() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
    let key = sandbox.path(KEY);
    let everywhere = |why: &str| {
        let firmware = format!("firmware identity --json --device {NAME} --out identity.bin");
        for ran in [
            server.provision(&sandbox, ""),
            sandbox.run("connect --json"),
            sandbox.run(&format!("devices show --json {NAME}")),
            sandbox.run(&firmware),
        ] {
            assert_eq!((ran.failure().0, ran.failure().1.as_str()), (5, "store/readable-key"), "{ran:?}");
            assert!(ran.message().contains(why) && ran.help().contains("chmod 600"), "{ran:?}");
        }
        assert!(!sandbox.path("identity.bin").exists());
    };
    for mode in [0o644, 0o640, 0o604] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        everywhere(&format!("{mode:04o}"));
    }
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(server.provision(&sandbox, "").outcome(), "verified");
    if chown(&key, Some(12345), None).is_err() {
        return println!("skipped: only root can give a file away");
    }
    everywhere("another user (12345)");
}

#[cfg(unix)]
#[test]
fn a_token_of_the_store_that_others_can_read_is_not_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    let token = "--credentials-type access-token";
    assert_eq!(server.provision(&sandbox, token).outcome(), "provisioned");
    let file = sandbox.path("devices/sensor-01/credentials.json");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(server.provision(&sandbox, token).failure().1, "store/readable-key");
    assert_eq!(sandbox.run("connect --json").failure().1, "store/readable-key");
}

#[cfg(unix)]
#[test]
fn a_key_file_that_others_can_read_gets_a_warning_unless_that_is_meant() {
    use std::os::unix::fs::PermissionsExt as _;
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    sandbox.write("cert.pem", fixture_text("files/device.pem"));
    let key = sandbox.write("device_key.pem", fixture_text("files/device_key.pem"));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let pair = "--cert cert.pem --key device_key.pem";
    let warned = server.provision(&sandbox, pair);
    assert_eq!(warned.outcome(), "provisioned");
    assert!(
        warned.stderr.contains("others can read the private key device_key.pem (mode 0644)"),
        "{warned:?}"
    );
    let meant = server.provision(&sandbox, &format!("{pair} --allow-readable-key"));
    assert_eq!((meant.outcome().as_str(), meant.stderr.as_str()), ("verified", ""));
    let connect = format!("connect --json {pair} {}", server.flags());
    assert!(sandbox.run(&connect).stderr.contains("mode 0644"));
    assert_eq!(sandbox.run(&format!("{connect} --allow-readable-key")).stderr, "");
}

/// The last rename fails over a link that leads nowhere.
#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_made_leaves_no_key_behind() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    std::fs::create_dir(sandbox.path("devices")).unwrap();
    std::os::unix::fs::symlink("/nonexistent/elsewhere", sandbox.path("devices/sensor-01")).unwrap();
    assert_eq!(server.provision(&sandbox, "").brief(), "5 store/io stage");
    let keys: Vec<_> = sandbox.files().into_iter().filter(|path| path.ends_with("key.pem")).collect();
    assert!(keys.is_empty(), "{keys:?}");
    assert!(server.devices().is_empty());
}

/// Runs until the request was sent, does `meanwhile`, and tells how it ended.
fn meanwhile(sandbox: &Sandbox, server: &Server, meanwhile: impl FnOnce()) -> Ran {
    let line = format!(
        "provision --events --device-name {NAME} --provision-key {PROFILE} --provision-secret {SECRET} {}",
        server.flags()
    );
    let mut running = Running::start(sandbox.bare().args(line.split_whitespace()));
    running.until("request-sent");
    meanwhile();
    running.end()
}

#[test]
fn what_others_do_to_the_store_meanwhile_is_noticed_and_loses_nothing() {
    let slow = |config: &mut tbprov::sim::Config| config.faults = vec!["delay=1s".parse().unwrap()];
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", slow);
    let ran = meanwhile(&sandbox, &server, || {
        let removed = std::fs::remove_dir_all(sandbox.path("devices/.locks"));
        // A lock that is held cannot be removed there.
        assert_eq!(removed.is_ok(), cfg!(unix), "{removed:?}");
    });
    if cfg!(unix) {
        assert_eq!(ran.brief(), "5 store/lease-lost promote");
        assert_eq!(server.provision(&sandbox, "").outcome(), "recovered");
    } else {
        assert_eq!(ran.outcome(), "provisioned");
    }

    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", slow);
    let ran = meanwhile(&sandbox, &server, || {
        let mut record = sandbox.record();
        record["gateway"] = true.into();
        sandbox.write(RECORD, record.to_string());
    });
    assert_eq!(ran.brief(), "5 store/changed promote");
    assert_eq!(server.provision(&sandbox, "").outcome(), "recovered");
}
