//! `fleet import`: all rows of a manifest, or none.

use serde_json::{Value, json};

use crate::support::{NAME, Ran, Sandbox, Server, fixture};

/// A folder with these files of `fixtures/manifests`.
fn with(names: &[&str]) -> Sandbox {
    let sandbox = Sandbox::new();
    for name in names {
        sandbox.write(name, std::fs::read(fixture(&format!("manifests/{name}"))).unwrap());
    }
    sandbox
}

fn import(sandbox: &Sandbox, arguments: &str) -> Ran {
    sandbox.run(&format!("fleet import --json {arguments}"))
}

/// Added, updated, unchanged.
#[track_caller]
fn counts(ran: Ran) -> [u64; 3] {
    let result = ran.done();
    let counts = ["added", "updated", "unchanged"].map(|name| result[name].as_u64().unwrap());
    assert_eq!(result["rows"], counts.iter().sum::<u64>());
    counts
}

/// The faults of a manifest, each as `LINE COLUMN`.
#[track_caller]
fn faults(ran: &Ran) -> Vec<String> {
    let (exit, code, _) = ran.failure();
    assert_eq!((exit, &*code), (2, "manifest/invalid"), "{ran:?}");
    let failure = ran.json();
    let faults = failure["error"]["faults"].as_array().unwrap();
    let shown = |fault: &Value| format!("{} {}", fault["line"], fault["column"].as_str().unwrap_or_default());
    faults.iter().map(shown).collect()
}

#[test]
fn each_dialect_is_imported_and_the_same_again_changes_nothing() {
    for (name, rows) in [("example.csv", 4), ("excel.csv", 2), ("tabs.tsv", 2), ("objects.ndjson", 2)] {
        let sandbox = with(&[name]);
        assert_eq!(counts(import(&sandbox, name)), [rows, 0, 0], "{name}");
        assert_eq!(counts(import(&sandbox, name)), [0, 0, rows], "{name}");
        let ran = sandbox.run(&format!("fleet import {name}"));
        assert!(ran.stdout.contains("changes nothing"), "{}", ran.stdout);
        assert!(ran.stdout.contains("next: tbprov fleet run\n"), "{}", ran.stdout);
    }
}

#[test]
fn standard_input_is_a_manifest_too() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run_with_stdin("fleet import - --ledger=a.db --json", "name\na\nb\n");
    assert_eq!(ran.json()["manifest"], "-");
    assert_eq!(counts(ran), [2, 0, 0]);
    let ran = sandbox.run_with_stdin("fleet import - --ledger=a.db --json", "name\na\n\u{7}\n");
    assert_eq!(faults(&ran), ["3 name"]);
    assert!(ran.json()["error"]["message"].as_str().unwrap().contains("standard input"));
}

#[test]
fn names_count() {
    let sandbox = Sandbox::new();
    let ran = import(&sandbox, "--count 3 --name sensor-{:05}");
    assert_eq!(ran.json()["manifest"], "sensor-{:05}");
    assert_eq!(counts(ran), [3, 0, 0]);
    // More of them, of which some are there.
    assert_eq!(counts(import(&sandbox, "--count 5 --name sensor-{:05} --start 2")), [3, 0, 2]);
}

#[test]
fn rows_that_differ_need_update() {
    let sandbox = Sandbox::new();
    sandbox.write("fleet.csv", "name,label\na,one\nb,two\n");
    counts(import(&sandbox, "fleet.csv"));
    sandbox.write("fleet.csv", "name,label\na,one\nb,three\nc,four\n");
    let ran = import(&sandbox, "fleet.csv");
    assert_eq!(faults(&ran), ["3 label"]);
    assert!(ran.json()["error"]["help"].as_str().unwrap().contains("--update"));
    // Nothing of it was imported.
    assert_eq!(counts(import(&sandbox, "fleet.csv --update --dry-run")), [1, 1, 1]);
    assert_eq!(counts(import(&sandbox, "fleet.csv --update")), [1, 1, 1]);
    assert_eq!(counts(import(&sandbox, "fleet.csv")), [0, 0, 3]);
}

#[test]
fn one_bad_line_and_nothing_is_imported() {
    let sandbox = Sandbox::new();
    sandbox.write("fleet.csv", "name,days\na,1\nb,0\nc,1\na,1\n");
    let ran = import(&sandbox, "fleet.csv");
    assert_eq!(faults(&ran), ["3 days", "5 name"]);
    assert_eq!((ran.json()["error"]["more_faults"].as_u64(), ran.stderr.as_str()), (Some(0), ""));
    let shown = sandbox.run("-q fleet import fleet.csv");
    assert!(shown.stderr.contains("line 3, column days: is no number of days"), "{}", shown.stderr);
    // Neither was a ledger made.
    assert!(sandbox.files().iter().all(|file| file.ends_with("fleet.csv")), "{:?}", sandbox.files());
    let events = sandbox.run("--events fleet import fleet.csv");
    let faults: Vec<Value> = events
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["event"] == "manifest-fault")
        .collect();
    assert_eq!(
        faults[1],
        json!({"event":"manifest-fault","line":5,"column":"name","message":"is the same as in line 2"})
    );
}

#[test]
fn a_dry_run_makes_no_ledger() {
    let sandbox = with(&["example.csv"]);
    let ran = import(&sandbox, "example.csv --dry-run");
    assert_eq!(ran.json()["dry_run"], true);
    assert_eq!(counts(ran), [4, 0, 0]);
    assert_eq!(sandbox.files().len(), 1, "{:?}", sandbox.files());
    counts(import(&sandbox, "example.csv"));
    assert_eq!(counts(import(&sandbox, "example.csv --dry-run")), [0, 0, 4]);
}

#[test]
fn all_faults_are_told_and_a_thousand_are_in_the_result() {
    let sandbox = Sandbox::new();
    sandbox.write("fleet.csv", format!("name,days\n{}", "a,0\n".repeat(1_200)));
    let ran = import(&sandbox, "fleet.csv");
    assert_eq!((faults(&ran).len(), ran.json()["error"]["more_faults"].as_u64()), (1_000, Some(200)));
    let shown = sandbox.run("fleet import fleet.csv");
    assert_eq!(shown.stderr.lines().filter(|line| line.contains("column days")).count(), 1_200);
}

#[test]
fn no_value_of_a_secret_is_shown() {
    for name in ["bad/secrets.csv", "bad/no-header.csv", "bad/objects.ndjson", "bad/open-quote.csv"] {
        let sandbox = with(&[name]);
        for mode in ["", "--json ", "--events ", "-v "] {
            let ran = sandbox.run(&format!("{mode}fleet import {name}"));
            assert_eq!(ran.code, Some(2), "{name}: {ran:?}");
            assert!(!format!("{ran:?}").contains("hidden"), "{name}: {ran:?}");
        }
    }
}

#[test]
fn a_store_comes_with_its_keys() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
    assert_eq!(counts(import(&sandbox, "--store devices --dry-run")), [1, 0, 0]);
    assert!(!sandbox.path("fleet.db").exists());
    let ran = import(&sandbox, "--store devices");
    assert_eq!(ran.json()["manifest"], "devices");
    assert_eq!(counts(ran), [1, 0, 0]);
    assert_eq!(counts(import(&sandbox, "--store devices --dry-run")), [0, 0, 1]);
    assert_eq!(counts(import(&sandbox, "--store devices")), [0, 0, 1]);
    // One that cannot be read, and none is taken.
    sandbox.write("devices/broken/device.json", "{");
    let ran = import(&sandbox, "--store devices --ledger=other.db");
    assert_eq!(ran.failure().1, "store/corrupt", "{ran:?}");
    assert!(ran.stdout.contains("broken") && !sandbox.path("other.db").exists(), "{ran:?}");
    assert!(!ran.stdout.contains(NAME), "{ran:?}");
}

#[test]
fn a_store_is_imported_only_where_a_flag_names_it() {
    let mut sandbox = Sandbox::new();
    sandbox.set("TBPROV_STORE", "devices");
    let ran = import(&sandbox, "");
    assert_eq!(ran.failure().1, "usage/missing-value");
    assert_eq!(counts(import(&sandbox, "--count 1 --name a{}")), [1, 0, 0]);
}

#[test]
fn no_folder_is_made_for_a_ledger() {
    let sandbox = Sandbox::new();
    sandbox.write("fleet.csv", "name\nd\n");
    let ran = sandbox.run("fleet import fleet.csv --ledger flet/fleet.db --json");
    assert_eq!(ran.brief(), "5 ledger/io ledger");
    assert!(ran.help().starts_with("make the folder") && !sandbox.path("flet").exists(), "{ran:?}");
}
