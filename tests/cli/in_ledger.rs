//! `--ledger` in place of the store: every command that takes a device takes it from the ledger of a fleet.

use crate::fleet_run::{assert_whole, command, fleet};
use crate::support::{Ran, Sandbox, Server, run};

const MANIFEST: &str = "name,wifi-ssid\nsensor-001,workshop\nsensor-002,\n";

/// A fleet that is provisioned.
fn provisioned() -> (Sandbox, Server) {
    let (sandbox, server) = (fleet(MANIFEST), Server::start(|_| {}));
    run(&mut command(&sandbox, &server, "--json")).done();
    assert_whole(&sandbox, &server, 2);
    (sandbox, server)
}

fn ran(sandbox: &Sandbox, server: &Server, line: &str) -> Ran {
    let arguments: Vec<_> = line.split_whitespace().collect();
    run(&mut sandbox.tbprov_for(server, &arguments))
}

#[test]
fn devices_are_listed_shown_connected_and_looked_at() {
    let (sandbox, server) = provisioned();
    let own = server.device("sensor-001").credentials_id;
    let listed = ran(&sandbox, &server, "devices list --json --ledger fleet.db").done();
    assert_eq!(listed["ledger"], "fleet.db");
    assert!(listed.get("store").is_none(), "{listed}");
    assert_eq!(listed["devices"].as_array().unwrap().len(), 2);
    assert_eq!(listed["devices"][0]["credentials_id"].as_str(), own.as_deref());
    let shown = ran(&sandbox, &server, "devices show sensor-001 --json --ledger fleet.db").done();
    assert_eq!(shown["credentials_id"].as_str(), own.as_deref());
    let line = "connect sensor-001 --json --ledger fleet.db --send-telemetry";
    assert_eq!(ran(&sandbox, &server, line).done()["telemetry"]["acknowledged"], 1);
    let looked = ran(&sandbox, &server, "doctor sensor-001 --json --ledger fleet.db").json();
    let checks = looked["checks"].as_array().unwrap().clone();
    let check = |name: &str| checks.iter().find(|check| check["check"] == name).unwrap()["outcome"].clone();
    assert_eq!(check("connect"), "passed", "{checks:?}");
    assert!(!sandbox.path("devices").exists());
}

#[test]
fn a_certificate_is_rotated_in_the_ledger() {
    let (sandbox, server) = provisioned();
    let line = "rotate sensor-002 --json --ledger fleet.db --wait 0s";
    let rotated = ran(&sandbox, &server, line).json();
    assert_eq!(rotated["devices"][0]["outcome"], "waiting", "{rotated}");
    let shown = ran(&sandbox, &server, "devices show sensor-002 --json --ledger fleet.db").done();
    assert_eq!(shown["candidate"]["state"], "sent", "{shown}");
    let line = "rotate --roll-back sensor-002 --json --ledger fleet.db";
    ran(&sandbox, &server, line).done();
    let shown = ran(&sandbox, &server, "devices show sensor-002 --json --ledger fleet.db").done();
    assert!(shown["candidate"].is_null(), "{shown}");
}

#[test]
fn a_board_joins_the_network_of_its_row() {
    let (sandbox, server) = provisioned();
    // The password of that network is asked for, and nobody can answer.
    let line = "firmware identity --json --ledger fleet.db --device sensor-001 --out one.bin";
    let refused = ran(&sandbox, &server, line);
    refused.failed(2, "usage/missing-value");
    let arguments: Vec<_> = line.split_whitespace().collect();
    let given = &mut sandbox.tbprov_for(&server, &arguments);
    run(given.env("TBPROV_WIFI_PASSWORD", "open sesame")).done();
    let partition = std::fs::read(sandbox.path("one.bin")).unwrap();
    assert!(partition.windows(8).any(|window| window == b"workshop"));
    let line = "firmware identity --json --ledger fleet.db --device sensor-002 --out two.bin";
    ran(&sandbox, &server, line).done();
    let partition = std::fs::read(sandbox.path("two.bin")).unwrap();
    assert!(!partition.windows(8).any(|window| window == b"workshop"));
}

#[test]
fn the_ledger_is_named_by_a_flag_or_a_variable_and_a_flag_is_stronger() {
    let (sandbox, server) = provisioned();
    let found = |store: &str, ledger: &str, flags: &str| {
        let mut arguments = vec!["devices", "list", "--json"];
        arguments.extend(flags.split_whitespace());
        let mut command = sandbox.tbprov_for(&server, &arguments);
        for (name, value) in [("TBPROV_STORE", store), ("TBPROV_LEDGER", ledger)] {
            if value.is_empty() {
                command.env_remove(name);
            } else {
                command.env(name, value);
            }
        }
        let ran = run(&mut command);
        if ran.code != Some(0) {
            return ran.failure().1;
        }
        let listed = ran.json();
        ["store", "ledger"].into_iter().filter(|place| listed.get(place).is_some()).collect()
    };
    assert_eq!(found("", "", ""), "store");
    assert_eq!(found("", "fleet.db", ""), "ledger");
    assert_eq!(found("devices", "fleet.db", ""), "ledger");
    assert_eq!(found("devices", "", "--ledger fleet.db"), "ledger");
    assert_eq!(found("", "fleet.db", "--store devices"), "store");
    assert_eq!(found("", "", "--store devices --ledger fleet.db"), "usage/conflict");
    assert_eq!(found("devices", "fleet.db", "--store devices --ledger fleet.db"), "usage/conflict");
    assert_eq!(found("", "nothing.db", ""), "ledger/not-found");
}
