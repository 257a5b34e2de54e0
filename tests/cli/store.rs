//! A damaged store: what is wrong is told, and nothing in it is touched.

use crate::support::{NAME, Server, World, fixture_text, for_each_row, same};

type Damage = fn(&World);

const RECORD: &str = "devices/sensor-01/device.json";
const KEY: &str = "devices/sensor-01/key.pem";
const CERTIFICATE: &str = "devices/sensor-01/cert.pem";

fn remove(world: &World, file: &str) {
    std::fs::remove_file(world.path(file)).unwrap();
}

fn replace(world: &World, from: &str, to: &str) {
    let text = world.read(RECORD);
    assert!(text.contains(from), "{text}");
    world.write(RECORD, text.replace(from, to));
}

/// `(what, the damage, how connect, devices show and a rerun end)`
const DAMAGES: &[(&str, Damage, &str)] = &[
    ("garbage as the record", |world| world.write(RECORD, "garbage"), "5 store/corrupt plan"),
    ("an empty record", |world| world.write(RECORD, ""), "5 store/corrupt plan"),
    ("no record", |world| remove(world, RECORD), "5 store/corrupt plan"),
    ("another schema", |world| replace(world, "tbprov-device/1", "tbprov-device/9"), "5 store/corrupt plan"),
    ("an unknown state", |world| replace(world, "\"proved\",", "\"done\","), "5 store/corrupt plan"),
    ("no key", |world| remove(world, KEY), "5 store/corrupt plan"),
    ("no certificate", |world| remove(world, CERTIFICATE), "5 store/corrupt plan"),
    ("an empty key", |world| world.write(KEY, ""), "5 store/corrupt plan"),
    ("another key", |world| world.write(KEY, fixture_text("files/other_key.pem")), "5 store/corrupt plan"),
    (
        "an encrypted key",
        |world| world.write(KEY, fixture_text("files/encrypted-pkcs8_key.pem")),
        "5 file/encrypted-key identity",
    ),
    (
        "another pair",
        |world| {
            world.write(KEY, fixture_text("files/other_key.pem"));
            world.write(CERTIFICATE, fixture_text("files/other.pem"));
        },
        "5 store/corrupt plan",
    ),
];

/// The device's folder, byte for byte.
fn contents(world: &World) -> String {
    let mut files = world.files();
    files.retain(|path| path.parent().unwrap().ends_with(NAME));
    files.sort();
    let shown = |path| format!("{path:?}: {}", String::from_utf8(std::fs::read(path).unwrap()).unwrap());
    files.iter().map(shown).collect()
}

#[test]
fn damage_is_told_by_every_command_and_left_as_it_is() {
    for_each_row(DAMAGES, |(what, damage, promised)| {
        let world = World::trusting("san");
        let server = Server::start(|_| {});
        same(what, &server.provision(&world, "").brief(), "provisioned")?;
        damage(&world);
        let before = contents(&world);
        same(what, &world.run(&format!("connect --json {NAME}")).brief(), promised)?;
        same(what, &world.run(&format!("devices --json show {NAME}")).brief(), promised)?;
        same(what, &server.provision(&world, "").brief(), promised)?;
        same(what, &world.run("doctor --json").code.unwrap().to_string(), "5")?;
        same(what, &world.run("devices --json list").code.unwrap().to_string(), "0")?;
        same(what, &(contents(&world) == before).to_string(), "true")
    });
}

#[test]
fn a_damaged_server_certificate_is_told_and_another_can_be_given() {
    let world = World::trusting("san");
    let server = Server::start(|_| {});
    assert_eq!(server.provision(&world, "").outcome(), "provisioned");
    world.write("devices/sensor-01/server.pem", "damaged");
    assert_eq!(world.run("connect --json").brief(), "5 store/corrupt plan");
    assert_eq!(world.run("connect --json --server-cert server.pem").outcome(), "connected");
}

#[test]
fn the_list_shows_the_damaged_beside_the_good() {
    let world = World::trusting("san");
    let server = Server::start(|_| {});
    assert_eq!(server.provision(&world, "").outcome(), "provisioned");
    world.write("devices/broken/device.json", "{}");
    let list = world.run("devices list --json").done();
    assert_eq!(list["devices"].as_array().unwrap().len(), 2);
    assert!(list["devices"][0]["error"].as_str().unwrap().contains("broken"), "{list}");
    assert_eq!(list["devices"][1]["state"], "proved");
    assert!(world.run("devices list").stdout.contains("damaged"));
    assert_eq!(world.run("connect --json").brief(), "2 usage/missing-value plan");
}

#[test]
fn names_of_any_kind_are_one_folder_in_the_store() {
    let server = Server::start(|_| {});
    let longest = "n".repeat(255);
    for name in
        ["../../escape", "..", "/etc/passwd", "C:\\x", "with space", "传感器", "a'b\"c", "-", &longest]
    {
        let world = World::trusting("san");
        assert_eq!(server.provision_as(&world, name, "").done()["device"], name);
        let folders = std::fs::read_dir(world.path("devices")).unwrap();
        let visible =
            folders.filter(|entry| !entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
        assert_eq!(visible.count(), 1, "{name}");
        let entries: Vec<_> = std::fs::read_dir(world.path("")).unwrap().collect();
        assert_eq!(entries.len(), 2, "{name}: {entries:?}");
        let connect = world.run_all(["connect", "--json", "--", name]);
        assert_eq!(connect.outcome(), "connected", "{name}");
    }
}

#[test]
fn names_that_thingsboard_cannot_store_are_refused_before_anything_happens() {
    let world = World::new();
    let too_long = "x".repeat(300);
    for name in [too_long.as_str(), "line\nbreak", "bell\u{7}"] {
        let common = "provision --json --host h --provision-key k --provision-secret s --device-name";
        let ran = world.run_all(common.split(' ').chain([name]));
        assert_eq!(ran.brief(), "2 usage/invalid-value plan");
        let ran = world.run_all(["certs", "gen", "--json", "--name", name]);
        assert_eq!(ran.brief(), "2 usage/invalid-value plan");
    }
    assert!(world.files().is_empty());
}

#[test]
fn a_rerun_with_other_wishes_is_refused_and_changes_nothing() {
    let world = World::trusting("san");
    let server = Server::start(|_| {});
    assert_eq!(server.provision(&world, "").outcome(), "provisioned");
    let before = contents(&world);
    for flags in ["--key-type ec-p384", "--credentials-type access-token", "--port 1"] {
        assert_eq!(server.provision(&world, flags).brief(), "5 store/exists stage", "{flags}");
    }
    assert_eq!(contents(&world), before);
}

#[test]
fn a_device_without_a_name_is_kept_under_its_fingerprint() {
    let world = World::trusting("san");
    let server = Server::start(|_| {});
    let result = server.provision_as(&world, "", "").done();
    let id = result["credentials_id"].as_str().unwrap();
    assert_eq!(result["device"], format!("unnamed-{}", &id[..12]));
    assert_eq!(world.run("connect --json").outcome(), "connected");
}

#[cfg(unix)]
#[test]
fn only_the_owner_reads_the_key() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::trusting("san");
    let server = Server::start(|_| {});
    assert_eq!(server.provision(&world, "").outcome(), "provisioned");
    let mode = |file: &str| std::fs::metadata(world.path(file)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(KEY), 0o600);
    assert_eq!(mode("devices/sensor-01"), 0o700);
}
