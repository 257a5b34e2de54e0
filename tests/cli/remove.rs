//! `devices remove`: out of the store, kept aside, and the server still knows the device.

use crate::support::{NAME, Sandbox, Server, entries};

const REMOVE: &str = "devices remove --json --yes";

#[test]
fn a_removed_device_is_kept_aside_and_the_server_still_knows_it() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    let made = server.provision(&sandbox, "").done();
    let key = sandbox.read("devices/sensor-01/key.pem");
    let removed = sandbox.run(&format!("{REMOVE} {NAME}")).done();
    assert_eq!(removed["device"], NAME);
    assert_eq!(removed["credentials_id"], made["credentials_id"]);
    assert_eq!(removed["known_to_server"], true);
    assert_eq!(removed["moved_to"], tbprov::text::shown_path("./devices/.removed/sensor-01"));
    assert_eq!(sandbox.read("devices/.removed/sensor-01/key.pem"), key);
    assert!(sandbox.run("devices list --json").done()["devices"].as_array().unwrap().is_empty());
    assert_eq!(sandbox.run(&format!("connect --json {NAME}")).brief(), "5 store/not-found plan");
    assert_eq!(sandbox.run(&format!("{REMOVE} {NAME}")).brief(), "5 store/not-found plan");
    // The name is free here, and taken there.
    let anew = server.provision(&sandbox, "");
    assert_eq!(anew.brief(), "1 server/failure exchange");
    // A second of the same name lies beside the first.
    let second = sandbox.run(&format!("{REMOVE} {NAME}")).done();
    assert_eq!(second["known_to_server"], false);
    assert_eq!(entries(&sandbox.path("devices/.removed")), ["sensor-01", "sensor-01.2"]);
    assert_eq!(sandbox.read("devices/.removed/sensor-01/key.pem"), key);
    // Once it is deleted there too, it is a new device.
    let server = server.replace(|_| {});
    assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
    assert_ne!(sandbox.read("devices/sensor-01/key.pem"), key);
}

#[test]
fn people_are_told_that_the_server_still_knows_it() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    server.provision(&sandbox, "").done();
    let ran = sandbox.run(&format!("devices remove -y {NAME}"));
    assert_eq!(ran.code, Some(0));
    let said = ran.stdout + &ran.stderr;
    let place = if cfg!(windows) { r".removed\sensor-01" } else { ".removed/sensor-01" };
    assert!(said.contains("still knows it") && said.contains(place), "{said}");
}

#[test]
fn without_a_terminal_and_a_yes_nothing_is_removed() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    server.provision(&sandbox, "").done();
    let ran = sandbox.run(&format!("devices remove --json {NAME}"));
    assert_eq!(ran.failure().1, "usage/missing-value");
    assert!(ran.help().contains("--yes"), "{ran:?}");
    assert_eq!(server.provision(&sandbox, "").outcome(), "verified");
}

#[test]
fn a_device_that_the_server_named_is_removed_by_its_folder() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |config| config.faults = vec!["drop-before-tls".parse().unwrap()]);
    // An unfinished one, and then a finished one.
    assert_eq!(server.provision_as(&sandbox, "", "").brief(), "3 network/closed tls");
    let remove = || {
        let folders = entries(&sandbox.path("devices"));
        let folder = folders.iter().find(|name| name.starts_with("unnamed-")).unwrap();
        let removed = sandbox.run(&format!("{REMOVE} {folder}")).done();
        assert_eq!(removed["device"].as_str(), Some(folder.as_str()));
        removed["known_to_server"].as_bool().unwrap()
    };
    assert!(!remove());
    let server = server.replace(|_| {});
    let made = server.provision_as(&sandbox, "", "").done();
    assert_eq!(made["outcome"], "provisioned");
    assert!(remove());
    assert_eq!(entries(&sandbox.path("devices/.removed")).len(), 2);
    assert!(entries(&sandbox.path("devices/.unfinished")).is_empty());
}

#[test]
fn a_damaged_device_is_not_removed_by_guessing() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    server.provision(&sandbox, "").done();
    sandbox.write("devices/sensor-01/device.json", "{}");
    assert_eq!(sandbox.run(&format!("{REMOVE} {NAME}")).failure().1, "store/corrupt");
    assert!(sandbox.path("devices/sensor-01/key.pem").exists());
}

#[test]
fn a_device_that_another_tbprov_works_on_is_not_removed() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    server.provision(&sandbox, "").done();
    let lock = std::fs::OpenOptions::new().write(true).open(sandbox.path("devices/.locks/sensor-01.lock"));
    let lock = lock.unwrap();
    lock.lock().unwrap();
    assert_eq!(sandbox.run(&format!("{REMOVE} {NAME}")).brief(), "5 store/locked stage");
    drop(lock);
    sandbox.run(&format!("{REMOVE} {NAME}")).done();
}
