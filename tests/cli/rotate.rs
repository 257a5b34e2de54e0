//! `rotate`: a new identity for a device, by the connect itself and by hand. What an account does is in `rotate_account`.

use serde_json::Value;
use tbprov::identity::read_certificates;
use tbprov::sim::{Config, Event, HeldCredentials, NamePattern, PreProvisioned, Release, Strategy};

use crate::support::{NAME, Ran, Running, Sandbox, Server, entries, for_each_row, same};

const AUTHORITY: &str = "--ca-cert ca.pem --ca-key ca_key.pem";

fn chain(sandbox: &Sandbox, config: &mut Config) {
    let authority = read_certificates(&sandbox.read("ca.pem"), "ca.pem").unwrap().remove(0);
    let name_pattern = NamePattern::new("(.*)");
    config.strategy = Strategy::Chain { authority, name_pattern, allow_create: true };
}

/// A device that registers at connect, and its server.
fn at_connect(change: impl FnOnce(&mut Config)) -> (Sandbox, Server) {
    let sandbox = Sandbox::trusting("san");
    sandbox.run("certs ca --json --name factory").done();
    let registry = sandbox.path("registry.json");
    let server = Server::presenting("san", |config| {
        chain(&sandbox, config);
        config.state = Some(registry);
        change(config);
    });
    let line = format!("provision --json --device-name {NAME} {} {AUTHORITY}", server.flags());
    assert_eq!(sandbox.run(&line).outcome(), "provisioned");
    (sandbox, server)
}

/// The same server, with these faults.
fn broken(sandbox: &Sandbox, server: Server, faults: &[&str]) -> Server {
    server.replace(|config| {
        chain(sandbox, config);
        config.state = Some(sandbox.path("registry.json"));
        config.faults = faults.iter().map(|fault| fault.parse().unwrap()).collect();
    })
}

/// A device that was registered by a request, and its server.
fn by_request() -> (Sandbox, Server) {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
    (sandbox, server)
}

fn rotate(sandbox: &Sandbox, flags: &str) -> Ran {
    sandbox.run(&format!("rotate --json {flags}"))
}

fn own(sandbox: &Sandbox) -> String {
    sandbox.identity(NAME).leaf.credentials_id()
}

/// What must hold after every rotation: one identity works, and it is the store's current one.
#[track_caller]
fn assert_current(sandbox: &Sandbox, server: &Server) {
    let record = sandbox.record();
    assert_eq!(server.device(NAME).credentials_id.as_deref(), record["credentials_id"].as_str());
    assert_eq!(
        (&record["state"], record["credentials_id"].as_str()),
        (&"proved".into(), Some(&*own(sandbox)))
    );
    assert_eq!(record["candidate"], Value::Null);
    assert_eq!(server.devices().len(), 1);
    assert_eq!(sandbox.run("connect --json").outcome(), "connected");
}

#[test]
fn a_device_that_registers_at_connect_is_rotated_by_its_connect() {
    for_each_row(&[Release::V3_6, Release::V3_8, Release::V4_3], |release| {
        let what = release.to_string();
        let (sandbox, server) = at_connect(|config| config.release = *release);
        let old = own(&sandbox);
        let done = rotate(&sandbox, AUTHORITY).done();
        same(&what, done["outcome"].as_str().unwrap(), "rotated")?;
        let row = &done["devices"][0];
        same(&what, row["switch"].as_str().unwrap(), "at-connect")?;
        same(&what, row["old_credentials_id"].as_str().unwrap(), &old)?;
        same(&what, row["new_credentials_id"].as_str().unwrap(), &own(&sandbox))?;
        let new = sandbox.identity(NAME);
        same(&what, new.leaf.common_name.as_deref().unwrap(), NAME)?;
        same(&what, &new.intermediates.len().to_string(), "1")?;
        same(&what, sandbox.record()["previous"]["credentials_id"].as_str().unwrap(), &old)?;
        assert_current(&sandbox, &server);
        same(&what, &rotate(&sandbox, "--expiring 30d").outcome(), "not-needed")
    });
}

#[test]
fn a_chain_rotation_that_was_cut_is_finished_by_the_candidate_and_no_command_shows_the_old_leaf() {
    for fault in ["drop-before-tls", "no-connack", "stall-tls"] {
        let (sandbox, server) = at_connect(|_| {});
        let old = own(&sandbox);
        let server = broken(&sandbox, server, &[fault]);
        let cut = rotate(&sandbox, &format!("{AUTHORITY} --timeout 1s --wait 0s"));
        assert_eq!(cut.failure().0, 3, "{fault}: {cut:?}");
        let record = sandbox.record();
        assert_eq!(
            (&record["credentials_id"], &record["candidate"]["state"]),
            (&old.clone().into(), &"sent".into())
        );
        let server = broken(&sandbox, server, &[]);
        let before = server.connections();
        let provision = format!("provision --json --device-name {NAME} {} {AUTHORITY}", server.flags());
        let pair = format!("--cert devices/{NAME}/cert.pem --key devices/{NAME}/key.pem");
        let lines = [
            "connect --json".to_owned(),
            "connect --json --send-telemetry".to_owned(),
            format!("connect --json {pair} {}", server.flags()),
            format!("devices add other --json {pair} {}", server.flags()),
            provision,
            format!("rotate --json --discard {NAME}"),
        ];
        for line in &lines {
            let ran = sandbox.run(line);
            let (code, error, _) = ran.failure();
            assert_eq!((code, &*error), (5, "rotate/unfinished"), "{line}: {ran:?}");
            assert!(ran.help().contains(&format!("tbprov rotate {NAME}")), "{line}: {}", ran.help());
        }
        let looked = sandbox.run(&format!("doctor --json {NAME}"));
        assert!(looked.stdout.contains("rotate/unfinished"), "{looked:?}");
        assert_eq!(server.connections(), before, "nobody was asked");
        // Without the authority: its certificate is with the candidate.
        let again = rotate(&sandbox, NAME).done();
        assert_eq!(
            (&again["outcome"], &again["devices"][0]["old_credentials_id"]),
            (&"recovered".into(), &old.into())
        );
        assert_current(&sandbox, &server);
    }
}

#[test]
fn a_chain_rotation_is_rolled_back_before_and_after_its_promotion() {
    let (sandbox, server) = at_connect(|_| {});
    let old = own(&sandbox);
    // Before: the old leaf is presented by this command alone.
    let server = broken(&sandbox, server, &["no-connack"]);
    rotate(&sandbox, &format!("{AUTHORITY} --timeout 1s --wait 0s")).failure();
    let server = broken(&sandbox, server, &[]);
    let candidate = sandbox.record()["candidate"]["credentials_id"].clone();
    assert_eq!(rotate(&sandbox, &format!("--roll-back {NAME}")).outcome(), "rolled-back");
    assert_eq!((own(&sandbox), &sandbox.record()["previous"]["credentials_id"]), (old.clone(), &candidate));
    assert_current(&sandbox, &server);
    // What was never proved does not become the device's by a way back.
    assert_eq!(rotate(&sandbox, &format!("--roll-back {NAME}")).brief(), "5 store/not-proved rotate");
    // After.
    let done = rotate(&sandbox, AUTHORITY).done();
    let new = own(&sandbox);
    assert_eq!((done["outcome"].as_str(), new == old), (Some("rotated"), false));
    assert_eq!(rotate(&sandbox, &format!("--roll-back {NAME}")).outcome(), "rolled-back");
    assert_eq!(own(&sandbox), old);
    assert_eq!(sandbox.record()["previous"]["credentials_id"], new);
    assert_current(&sandbox, &server);
    // And it is forgotten.
    let kept = entries(&sandbox.path(&format!("devices/{NAME}/identities"))).len();
    assert_eq!(rotate(&sandbox, &format!("--discard {NAME}")).outcome(), "discarded");
    let left = entries(&sandbox.path(&format!("devices/{NAME}/identities")));
    assert!(kept > 1 && left == [&old[..12]], "{left:?}");
    assert_eq!(rotate(&sandbox, &format!("--discard {NAME}")).outcome(), "not-needed");
    assert_eq!(rotate(&sandbox, &format!("--roll-back {NAME}")).brief(), "5 store/not-found rotate");
    assert_current(&sandbox, &server);
}

/// The events of a rotation that nothing disturbs, and so every moment at which something changed.
fn events(sandbox: &Sandbox, flags: &str) -> usize {
    let ran = sandbox.run(&format!("rotate --events {flags}"));
    ran.done();
    for wanted in [r#""state":"staged""#, r#""state":"sent""#, r#""state":"proved""#, "promoted"] {
        assert!(ran.stdout.contains(wanted), "no {wanted}: {ran:?}");
    }
    ran.stdout.lines().count()
}

#[test]
fn a_chain_rotation_that_is_killed_at_any_event_is_finished_by_a_rerun() {
    let (sandbox, server) = at_connect(|_| {});
    let count = events(&sandbox, AUTHORITY);
    assert!(count >= 12, "{count}");
    for event in 0..count {
        let old = own(&sandbox);
        let line = format!("rotate --events {AUTHORITY}");
        let mut running = Running::start(sandbox.bare().args(line.split_whitespace()));
        for _ in 0..=event {
            running.line();
        }
        running.kill();
        let is_promoted = sandbox.record()["credentials_id"] != old.as_str();
        let outcome = rotate(&sandbox, AUTHORITY).outcome();
        assert!(["rotated", "recovered"].contains(&&*outcome), "{event}: {outcome}");
        assert_ne!(own(&sandbox), old, "{event}, promoted {is_promoted}");
        assert_current(&sandbox, &server);
    }
}

#[test]
fn by_hand_the_certificate_is_shown_and_waits_until_the_server_has_it() {
    let (sandbox, server) = by_request();
    let old = own(&sandbox);
    let done = rotate(&sandbox, "").done();
    assert_eq!(done["outcome"], "waiting");
    let row = &done["devices"][0];
    let shown = read_certificates(row["certificate"].as_str().unwrap(), "shown").unwrap().remove(0);
    assert_eq!(Some(&*shown.credentials_id()), row["new_credentials_id"].as_str());
    assert_eq!((row["switch"].as_str(), shown.common_name.as_deref()), (Some("by-hand"), Some(NAME)));
    assert_eq!(sandbox.record()["candidate"]["state"], "sent");
    // The old identity works until the server is told.
    assert_eq!(sandbox.run("connect --json").outcome(), "connected");
    // A rerun tries it once, and waits again.
    let again = rotate(&sandbox, NAME).done();
    assert_eq!(
        (&again["outcome"], &again["devices"][0]["certificate"]),
        (&"waiting".into(), &row["certificate"])
    );
    // The server forgets the refused try.
    let events = server.events();
    let refused = events.iter().rposition(|event| matches!(event, Event::Refused { .. }));
    let accepted = events.iter().rposition(|event| matches!(event, Event::Connected { .. }));
    assert!(refused.is_some() && accepted > refused, "{events:?}");
    let text = sandbox.run(&format!("rotate {NAME}"));
    assert!(text.stdout.starts_with("-----BEGIN CERTIFICATE-----\n"), "{text:?}");
    assert_eq!(rotate(&sandbox, &format!("{NAME} --wait 1s")).brief(), "4 verify/refused verify");
    // Somebody pastes it in the web form.
    let server = pasted(server, &shown.to_pem());
    let refused = sandbox.run("connect --json");
    assert_eq!(refused.failure().0, 1, "{refused:?}");
    let way_out = format!("finish it: tbprov rotate {NAME}; or give the new certificate up:");
    assert!(refused.help().starts_with(&way_out), "{refused:?}");
    // A store that a flag names is named again.
    let elsewhere = sandbox.run("connect --store devices --json");
    let way_out_there = format!("tbprov rotate --store devices {NAME}; or");
    assert!(elsewhere.help().contains(&way_out_there), "{elsewhere:?}");
    let doctor = sandbox.run("doctor --json").json();
    let device =
        doctor["checks"].as_array().unwrap().iter().find(|check| check["check"] == "device").unwrap();
    assert_eq!((&device["outcome"], &doctor["healthy"]), (&"warning".into(), &true.into()));
    assert!(device["help"].as_str().unwrap().starts_with(&way_out), "{device}");
    assert!(rotate(&sandbox, &format!("{NAME} --wait 5s")).outcome() == "rotated");
    assert_eq!(sandbox.record()["previous"]["credentials_id"], old);
    assert_current(&sandbox, &server);
    // For people the certificate is text of its own.
    let text = sandbox.run("rotate");
    assert!(text.stdout.starts_with("-----BEGIN CERTIFICATE-----\n"), "{text:?}");
    assert!(text.stdout.contains(&format!("then run: tbprov rotate {NAME}")), "{text:?}");
}

#[test]
fn by_hand_the_way_back_waits_for_the_old_certificate() {
    let (sandbox, server) = by_request();
    let (old, end) = (own(&sandbox), sandbox.record()["not_after"].clone());
    let current = sandbox.read(&format!("devices/{NAME}/cert.pem"));
    let shown = rotate(&sandbox, "--days 5").done()["devices"][0]["certificate"].clone();
    let server = pasted(server, shown.as_str().unwrap());
    let done = rotate(&sandbox, &format!("--roll-back {NAME}")).done();
    let row = &done["devices"][0];
    assert_eq!((&done["outcome"], &row["not_after"]), (&"waiting".into(), &end));
    assert_eq!((&row["old_credentials_id"], &row["new_credentials_id"]), (&old.clone().into(), &Value::Null));
    let awaited = read_certificates(row["certificate"].as_str().unwrap(), "shown").unwrap().remove(0);
    assert_eq!(awaited.credentials_id(), old);
    let text = sandbox.run(&format!("rotate --roll-back {NAME}"));
    assert!(text.stdout.contains(&format!("then run: tbprov rotate --roll-back={NAME}")), "{text:?}");
    let server = pasted(server, &current);
    assert_eq!(rotate(&sandbox, &format!("--roll-back={NAME}")).outcome(), "rolled-back");
    assert_eq!(own(&sandbox), old);
    assert_current(&sandbox, &server);
}

#[test]
fn a_server_that_fails_stops_its_own_devices_alone() {
    let sandbox = Sandbox::trusting("san");
    let [dead, alive] = [(), ()].map(|()| Server::presenting("san", |_| {}));
    for (server, name) in [(&dead, "a"), (&dead, "b"), (&alive, "c")] {
        assert_eq!(server.provision_as(&sandbox, name, "").outcome(), "provisioned");
    }
    assert_eq!(rotate(&sandbox, "--all").outcome(), "waiting");
    dead.stop();
    let ran = rotate(&sandbox, "--all --timeout 1s");
    assert_eq!(ran.code, Some(6), "{ran:?}");
    let rows = ran.json()["devices"].clone();
    let outcomes = [0, 1, 2].map(|row: usize| rows[row]["outcome"].as_str().unwrap().to_owned());
    assert_eq!(outcomes, ["failed", "skipped", "waiting"], "{rows}");
}

/// The server would return to it, as to the one after it.
#[test]
fn the_certificate_before_the_current_one_is_refused_too_while_a_rotation_is_not_finished() {
    let (sandbox, server) = at_connect(|_| {});
    for file in ["cert.pem", "key.pem"] {
        std::fs::copy(sandbox.path(&format!("devices/{NAME}/{file}")), sandbox.path(&format!("old-{file}")))
            .unwrap();
    }
    assert_eq!(rotate(&sandbox, AUTHORITY).outcome(), "rotated");
    let server = broken(&sandbox, server, &["no-connack"]);
    let failed = rotate(&sandbox, &format!("{AUTHORITY} --timeout 1s --wait 0s"));
    failed.failure();
    assert!(failed.stderr.contains("not finished") && failed.stderr.contains("same command"), "{failed:?}");
    sandbox.write("devices/broken/device.json", "{}");
    let pair = format!("--cert old-cert.pem --key old-key.pem {}", server.flags());
    for command in ["connect", "devices add other", "provision --device-name other"] {
        let mut line = sandbox.bare();
        line.envs(server.environment()).args(format!("{command} --json {pair}").split_whitespace());
        let ran = Ran::from(line.output().unwrap());
        assert_eq!(ran.failure().1, "rotate/unfinished", "{command}: {ran:?}");
        assert!(ran.stderr.contains("broken") && ran.stderr.contains("is not known"), "{command}: {ran:?}");
    }
}

#[test]
fn a_dry_run_says_what_the_run_would_do() {
    let (sandbox, server) = by_request();
    let named = "--dry-run --api-url https://localhost:1 --api-user somebody@example.com";
    let planned = rotate(&sandbox, &format!("{NAME} {named}")).done();
    assert_eq!(planned["devices"][0]["switch"], "account");
    assert_eq!(rotate(&sandbox, "--dry-run").done()["devices"][0]["switch"], "by-hand");
    flash(&sandbox);
    assert_eq!(rotate(&sandbox, "--dry-run").brief(), "2 rotate/on-a-board rotate");
    assert_eq!(server.provision_as(&sandbox, "unproved", "--no-verify-connect").outcome(), "provisioned");
    assert_eq!(rotate(&sandbox, "unproved --dry-run").brief(), "5 store/not-proved rotate");
    let both = rotate(&sandbox, &format!("{NAME} unproved --flashed --dry-run"));
    assert_eq!(both.code, Some(6), "{both:?}");
    let rows = both.json()["devices"].clone();
    assert_eq!((&rows[0]["outcome"], &rows[1]["outcome"]), (&"to-rotate".into(), &"failed".into()));
}

/// The server with this certificate as the device's, as if somebody had used its web form.
fn pasted(server: Server, certificate: &str) -> Server {
    let has = HeldCredentials::certificate_text(certificate);
    server.replace(|config| config.pre_provisioned = vec![PreProvisioned::new(NAME).with(has.clone())])
}

#[test]
fn what_cannot_be_rotated_is_said_before_anything_is_done() {
    let (sandbox, server) = at_connect(|_| {});
    let ran = rotate(&sandbox, "");
    assert_eq!(ran.brief(), "2 usage/missing-value rotate");
    assert!(ran.help().contains("--ca-cert"), "{ran:?}");
    assert_eq!(rotate(&sandbox, "nobody").brief(), "5 store/not-found plan");
    for flags in [
        "--all sensor-01",
        "--ca-cert ca.pem",
        "--days 0",
        "--roll-back a --discard b",
        "--all --roll-back a",
    ] {
        let ran = rotate(&sandbox, flags);
        assert_eq!(ran.failure().0, 2, "{flags}: {ran:?}");
    }
    assert_current(&sandbox, &server);
    let planned = rotate(&sandbox, &format!("--all --dry-run {AUTHORITY}")).done();
    assert_eq!((&planned["outcome"], &planned["dry_run"]), (&"to-rotate".into(), &true.into()));
    assert_eq!(sandbox.record()["candidate"], Value::Null);

    let (sandbox, server) = by_request();
    sandbox.run(&format!("devices remove --json --yes {NAME}")).done();
    let token = server.provision_as(&sandbox, "token", "--credentials-type access-token");
    assert_eq!(token.outcome(), "provisioned");
    let ran = rotate(&sandbox, "token");
    assert_eq!(ran.brief(), "2 usage/conflict rotate");
    assert!(ran.help().contains("tbprov server register token"), "{ran:?}");
    let all = rotate(&sandbox, "--all").done();
    assert_eq!((&all["outcome"], all["devices"][0]["reason"].is_string()), (&"skipped".into(), true));
    let unproved = server.provision_as(&sandbox, "unproved", "--no-verify-connect");
    assert_eq!(unproved.outcome(), "provisioned");
    assert_eq!(rotate(&sandbox, "unproved").brief(), "5 store/not-proved rotate");
}

/// Says in the record that a board has the device's identity.
fn flash(sandbox: &Sandbox) {
    let mut record = sandbox.record();
    record["flashed"] =
        serde_json::json!({"at": "2026-01-01T00:00:00Z", "chip": "esp32c3", "mac": "24:0a:c4:00:00:00"});
    sandbox.write(&format!("devices/{NAME}/device.json"), record.to_string());
}

#[test]
fn a_board_in_the_field_is_not_cut_off_unless_it_was_asked_for() {
    let (sandbox, server) = at_connect(|_| {});
    flash(&sandbox);
    let ran = rotate(&sandbox, AUTHORITY);
    assert_eq!(ran.brief(), "2 rotate/on-a-board rotate");
    for part in ["--flashed", "firmware flash --identity-only", "takes the device back at its next connect"] {
        assert!(ran.help().contains(part), "{part}: {ran:?}");
    }
    for flags in ["--all", "--expiring 9999d"] {
        let all = rotate(&sandbox, &format!("{flags} {AUTHORITY}")).done();
        assert_eq!(all["outcome"], "skipped", "{flags}: {all}");
    }
    let done = rotate(&sandbox, &format!("--flashed {AUTHORITY}")).done();
    assert_eq!((&done["outcome"], &done["devices"][0]["on_a_board"]), (&"rotated".into(), &true.into()));
    for line in ["devices list", &format!("devices show {NAME}")] {
        let text = sandbox.run(line).stdout;
        assert!(text.contains("previous identity"), "{line}: {text}");
    }
    assert_eq!(sandbox.run("devices list --json").done()["devices"][0]["board"], "previous");
    assert_eq!(rotate(&sandbox, &format!("--discard {NAME}")).brief(), "2 rotate/on-a-board rotate");
    // It goes back with the way back.
    assert_eq!(rotate(&sandbox, &format!("--roll-back {NAME}")).outcome(), "rolled-back");
    assert_eq!(sandbox.run("devices list --json").done()["devices"][0]["board"], "current");
    assert_current(&sandbox, &server);
    assert_eq!(rotate(&sandbox, &format!("--flashed {AUTHORITY}")).outcome(), "rotated");
    assert_eq!(rotate(&sandbox, &format!("--flashed --discard {NAME}")).outcome(), "discarded");
}

#[test]
fn several_devices_are_rotated_one_after_the_other_and_each_fails_for_itself() {
    let (sandbox, server) = at_connect(|config| config.pre_provisioned = vec![PreProvisioned::new("taken")]);
    let line = |name: &str| format!("provision --json --device-name {name} {} {AUTHORITY}", server.flags());
    assert_eq!(sandbox.run(&line("second")).outcome(), "provisioned");
    sandbox.write("devices/broken/device.json", "{}");
    let ran = rotate(&sandbox, &format!("--all {AUTHORITY} --days 5"));
    assert_eq!(ran.code, Some(6), "{ran:?}");
    let rows = ran.json()["devices"].as_array().unwrap().clone();
    let outcomes: Vec<_> = rows.iter().map(|row| (row["device"].as_str(), row["outcome"].as_str())).collect();
    assert_eq!(
        outcomes,
        [(Some("broken"), Some("failed")), (Some("second"), Some("rotated")), (Some(NAME), Some("rotated"))]
    );
    for member in ["code", "message", "help"] {
        assert!(rows[0]["error"][member].as_str().is_some_and(|text| !text.is_empty()), "{member}");
    }
    // What ends soon is warned of, and rotated by a later run.
    let listed = sandbox.run("devices list --json");
    assert!(listed.stderr.contains("tbprov rotate --expiring 30d"), "{listed:?}");
    assert_eq!(listed.done()["devices"][1]["days_left"], 4);
    std::fs::remove_dir_all(sandbox.path("devices/broken")).unwrap();
    assert_eq!(
        rotate(&sandbox, &format!("--expiring 30d {AUTHORITY}")).done()["devices"].as_array().unwrap().len(),
        2
    );
    assert_eq!(rotate(&sandbox, "--expiring 30d").done()["not_needed"], 2);
    // One cause for all ends the run, with its code.
    server.stop();
    let ran = rotate(&sandbox, &format!("--all {AUTHORITY} --timeout 1s --wait 0s"));
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let rows = ran.json()["devices"].clone();
    assert_eq!((&rows[0]["outcome"], &rows[1]["outcome"]), (&"failed".into(), &"skipped".into()));
}

#[test]
fn a_key_type_and_days_are_as_before_or_as_asked_for() {
    let (sandbox, server) = at_connect(|_| {});
    let key = || sandbox.record()["key_type"].as_str().unwrap().to_owned();
    assert_eq!(rotate(&sandbox, &format!("{AUTHORITY} --key-type ec-p384")).outcome(), "rotated");
    assert_eq!(key(), "ec-p384");
    assert_eq!(rotate(&sandbox, AUTHORITY).outcome(), "rotated");
    assert_eq!(key(), "ec-p384");
    assert_current(&sandbox, &server);
}

/// A connection that is lost would be made again with the old certificate, which would take the device back.
#[test]
fn a_device_that_registers_at_connect_is_not_rotated_while_it_is_connected() {
    let (sandbox, _server) = at_connect(|_| {});
    let mut command = sandbox.bare();
    command.args(["connect", "--events", "--send-telemetry=-"]).stdin(std::process::Stdio::piped());
    let mut connected = Running::start(&mut command);
    connected.until(r#""event":"connected""#);
    let removed = sandbox.run(&format!("devices remove --json --yes {NAME}"));
    assert_eq!(removed.failure().1, "store/locked", "{removed:?}");
    // Nor does `doctor` present its certificate without the lock.
    let mut doctor = sandbox.bare();
    let mut looking = Running::start(doctor.args(["doctor", "--json", NAME]));
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert!(!looking.has_ended(), "doctor did not wait");
    connected.kill();
    let looked = looking.end();
    assert!(looked.stdout.contains("\"doctor\"") && !looked.stdout.contains("store/"), "{looked:?}");
    assert_eq!(rotate(&sandbox, AUTHORITY).outcome(), "rotated");
}

/// The second run waits for the first, and does not rotate the device again.
#[test]
fn two_runs_at_once_rotate_once() {
    let (sandbox, server) = at_connect(|_| {});
    let line = format!("rotate --json {AUTHORITY}");
    let start = || {
        let mut command = sandbox.bare();
        Running::start(command.args(line.split_whitespace()))
    };
    let (one, other) = (start(), start());
    let mut outcomes = [one.end().outcome(), other.end().outcome()];
    outcomes.sort();
    // Where one had ended before the other began, each is a rotation of its own.
    let is_once = outcomes == ["not-needed", "rotated"];
    assert!(is_once || outcomes == ["rotated", "rotated"], "{outcomes:?}");
    assert_current(&sandbox, &server);
}
