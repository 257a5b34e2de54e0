//! What is said of ledgers that cannot be used.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use rusqlite::Connection;

use crate::place::Place;
use crate::snapshot::Snapshot;

/// A folder with a ledger of three rows.
fn place() -> Place {
    Place::empty().after("fleet import --count 3 --name sensor-{}")
}

/// The same, after SQL of somebody else.
fn changed(sql: &str) -> Place {
    let place = place();
    let ledger = Connection::open(place.sandbox.path("fleet.db")).unwrap();
    ledger.execute_batch(sql).unwrap();
    drop(ledger);
    place
}

#[test]
fn bad_ledgers() {
    let mut snapshot = Snapshot::new("errors/ledgers");
    let line = "fleet status";
    snapshot.both("no ledger", line, Place::empty);
    snapshot.both("a table in text", line, || Place::empty().file("fleet.db", "name,label\nsensor,door\n"));
    snapshot.both("another program's file", line, || {
        let place = Place::empty();
        let other = Connection::open(place.sandbox.path("fleet.db")).unwrap();
        other.execute_batch("CREATE TABLE note (text TEXT)").unwrap();
        drop(other);
        let file = place.sandbox.path("fleet.db");
        std::fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
        place
    });
    snapshot.both("of a later release", line, || changed("PRAGMA user_version = 99"));
    snapshot.both("a damaged page", line, || {
        let place = place();
        let file = place.sandbox.path("fleet.db");
        let mut content = std::fs::read(&file).unwrap();
        content[4096..8192].fill(0xA5);
        std::fs::write(file, content).unwrap();
        place
    });
    snapshot.both("a history that was changed", "fleet verify", || {
        changed("DROP TRIGGER event_is_not_changed; UPDATE event SET kind = 'sent'")
    });
    snapshot.both("others can read it", line, || {
        let place = place();
        let file = place.sandbox.path("fleet.db");
        std::fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
        place
    });
    snapshot.both("in a folder that others may write to", "fleet status --ledger open/fleet.db", || {
        let place = place();
        let folder = place.sandbox.path("open");
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
        std::fs::rename(place.sandbox.path("fleet.db"), folder.join("fleet.db")).unwrap();
        place
    });
    snapshot.both("a ledger and a store", "connect sensor-1 --ledger fleet.db --store devices", place);
    snapshot.both("a device without an identity", "connect sensor-1 --ledger fleet.db", place);
    snapshot.check();
}
