//! What `fleet import` says of manifests that cannot be taken.

use crate::place::Place;
use crate::snapshot::Snapshot;
use crate::support::fixture;

/// A folder with `name` of `fixtures/manifests`.
fn place(name: &str) -> Place {
    let file = name.rsplit('/').next().unwrap();
    Place::empty().file(file, std::fs::read(fixture(&format!("manifests/{name}"))).unwrap())
}

#[test]
fn bad_manifests() {
    let mut snapshot = Snapshot::new("errors/manifests");
    for (title, name) in [
        ("an empty file", "empty.csv"),
        ("a header alone", "header-only.csv"),
        ("no header", "no-header.csv"),
        ("no column of names", "no-name.csv"),
        ("columns that are none, or there twice", "columns.csv"),
        ("secrets", "secrets.csv"),
        ("cells", "cells.csv"),
        ("rows with more or fewer cells, and quotes", "rows.csv"),
        ("a quote without an end", "open-quote.csv"),
        ("the same name and the same address", "twice.csv"),
        ("UTF-16", "utf-16.csv"),
        ("Latin-1", "latin-1.csv"),
        ("line ends of old Macs", "old-mac.csv"),
        ("a spreadsheet", "sheet.xlsx"),
        ("a line without an end", "long-line.csv"),
        ("an array", "array.json"),
        ("objects", "objects.ndjson"),
    ] {
        let line = format!("fleet import {name}");
        let place = place(&format!("bad/{name}"));
        snapshot.both_in(&place, title, &line);
        assert!(!place.sandbox.path("fleet.db").exists(), "{name} has left a ledger");
    }
    snapshot.case("as events");
    snapshot.ran(&place("bad/twice.csv"), "--events fleet import twice.csv");
    snapshot.check();
}

#[test]
fn no_manifest() {
    let mut snapshot = Snapshot::new("errors/manifest-sources");
    for (title, line) in [
        ("nothing to import", "fleet import"),
        ("no such file", "fleet import fleet.csv"),
        ("a folder", "fleet import ."),
        ("a manifest and a count", "fleet import fleet.csv --count 3 --name s-{}"),
        ("a manifest and a store", "fleet import fleet.csv --store devices"),
        ("a store that is replaced", "fleet import --store devices --update"),
        ("a count without names", "fleet import --count 3"),
        ("names that do not count", "fleet import --count 3 --name sensor"),
        ("names of no device", "fleet import --count 0 --name s-{:05}"),
        ("an empty store", "fleet import --store devices"),
    ] {
        snapshot.both(title, line, Place::empty);
    }
    snapshot.check();
}

#[test]
fn imports() {
    let mut snapshot = Snapshot::new("results/fleet-import");
    let place = place("example.csv");
    for (title, line) in [
        ("a dry run", "fleet import example.csv --dry-run"),
        ("a manifest", "fleet import example.csv"),
        ("the same again", "fleet import example.csv"),
        (
            "names that count, into another ledger",
            "fleet import --count 3 --name sensor-{:05} --ledger other.db",
        ),
    ] {
        snapshot.case(title);
        snapshot.ran(&place, line);
    }
    snapshot.case("as JSON");
    snapshot.ran(&place, "--json fleet import --count 5 --name sensor-{:05} --ledger other.db");
    let place = place.replaced("example.csv", "Hall 2", "Hall 3").replaced("example.csv", "3650", "365");
    snapshot.both_in(&place, "rows that differ", "fleet import example.csv");
    snapshot.ran(&place, "fleet import example.csv --update --dry-run");
    snapshot.ran(&place, "fleet import example.csv --update");
    snapshot.check();
}
