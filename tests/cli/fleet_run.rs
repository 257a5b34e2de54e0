//! `tbprov fleet run`: small fleets by request and at connect, what stops a run, and what does not.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tbprov::State;
use tbprov::dial::Dialer;
use tbprov::event::Progress;
use tbprov::flow::{NewIdentity as Wanted, new_identity};
use tbprov::identity::{Credentials, Profile, X509Identity, read_certificates};
use tbprov::keys::{Exportable as _, KeyType, Stored};
use tbprov::ledger::roster::{Listed, Roster as _, RowState, Selection};
use tbprov::ledger::sqlite::{DEFAULT_LEASE, Sqlite};
use tbprov::ledger::{Advance, Kept, Ledger as _, NewDevice, NewIdentity, Subject, Which, Wishes};
use tbprov::server;
use tbprov::sim::{Config, Event, Fault, NamePattern, PreProvisioned, Strategy};
use tbprov::tls::{Trust, TrustSource};

use crate::support::{Ran, Running, SECRET, Sandbox, Server, run, runtime};

/// A folder with a ledger of these rows, below the columns.
pub(crate) fn fleet(manifest: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("fleet.csv", manifest);
    sandbox.run("fleet import fleet.csv --json").done();
    sandbox
}

/// A manifest of so many names.
pub(crate) fn names(count: usize) -> String {
    let rows = (1..=count).map(|number| format!("sensor-{number:03}\n"));
    std::iter::once("name\n".to_owned()).chain(rows).collect()
}

/// `tbprov fleet run` with everything in its environment.
pub(crate) fn command(sandbox: &Sandbox, server: &Server, flags: &str) -> Command {
    let mut command = sandbox.tbprov_for(server, &["fleet", "run"]);
    command.args(flags.split_whitespace());
    command
}

fn fleet_run(sandbox: &Sandbox, server: &Server, flags: &str) -> Ran {
    run(&mut command(sandbox, server, &format!("--json {flags}")))
}

/// Every row of the ledger.
pub(crate) fn rows(sandbox: &Sandbox) -> Vec<Listed> {
    let ledger = Sqlite::open(sandbox.path("fleet.db"), DEFAULT_LEASE, Progress::silent()).unwrap();
    runtime().block_on(ledger.rows(&Selection::default(), None, 10_000)).unwrap()
}

/// Each row is proved, and the server has one device for it, with the same identity.
#[track_caller]
pub(crate) fn assert_whole(sandbox: &Sandbox, server: &Server, count: usize) {
    let rows = rows(sandbox);
    assert_eq!(rows.len(), count);
    assert_eq!(server.devices().len(), count, "{:?}", server.devices());
    for row in rows {
        let name = row.row.name.as_str().to_owned();
        assert_eq!(row.state, RowState::Proved, "{name}: {:?}", row.trouble);
        let held = row.entry.unwrap().record.identity.credentials_id;
        assert_eq!(server.device(&name).credentials_id, held, "{name}");
    }
}

fn of_state(sandbox: &Sandbox, state: RowState) -> usize {
    rows(sandbox).iter().filter(|row| row.state == state).count()
}

fn requests(server: &Server) -> usize {
    server.events().iter().filter(|event| matches!(event, Event::ProvisionRequest { .. })).count()
}

/// The members of a result.
fn members(result: &Value, names: &[&str]) -> Value {
    names
        .iter()
        .map(|name| ((*name).to_owned(), result[*name].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

const COUNTS: [&str; 6] = ["outcome", "provisioned", "recovered", "verified", "failed", "left"];

#[test]
fn a_fleet_is_provisioned_as_its_rows_say() {
    let server = Server::start(|_| {});
    let sandbox = fleet(
        "name,key-type,days,gateway,client.place,client.floor\n\
         plain,,,,,\n\
         other-key,ed25519,30,,,\n\
         gateway,,,yes,,\n\
         attributes,,,,cellar,-1\n",
    );
    let ran = fleet_run(&sandbox, &server, "--key-type ec-p384");
    let result = ran.done();
    let wanted = json!({
        "outcome": "done", "provisioned": 4, "recovered": 0, "verified": 0, "failed": 0, "left": 0
    });
    assert_eq!(members(&result, &COUNTS), wanted, "{ran:?}");
    assert_eq!(result["server"]["port"], server.port());
    assert_eq!(result["server"]["tls"], "TLSv1.3");
    assert_whole(&sandbox, &server, 4);
    let rows = rows(&sandbox);
    let row = |name: &str| rows.iter().find(|row| row.row.name.as_str() == name).unwrap();
    let identity = |name: &str| &row(name).entry.as_ref().unwrap().record.identity;
    assert_eq!(identity("plain").key_type, Some(KeyType::EcP384));
    assert_eq!(identity("other-key").key_type, Some(KeyType::Ed25519));
    let days = identity("other-key").not_after.unwrap() - time::OffsetDateTime::now_utc();
    assert!((29..=30).contains(&days.whole_days()), "{days}");
    let gateways: Vec<_> = server.devices().into_iter().filter(|device| device.gateway).collect();
    assert_eq!(gateways.iter().map(|device| device.name.as_str()).collect::<Vec<_>>(), ["gateway"]);
    let sent: Vec<_> = server
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Attributes { device, payload, .. } => Some((device, payload)),
            _ => None,
        })
        .collect();
    let [(device, payload)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(device, "attributes");
    let payload: Value = serde_json::from_str(payload).unwrap();
    assert_eq!(payload["place"], "cellar");
    assert_eq!(server.devices().iter().map(|device| device.telemetry).sum::<u64>(), 0, "no readings");
}

#[test]
fn a_fleet_registers_at_connect() {
    let sandbox = fleet(&names(12));
    sandbox.run("certs ca --json --name factory").done();
    let authority = read_certificates(&sandbox.read("ca.pem"), "ca.pem").unwrap().remove(0);
    let chain = |allow_create| {
        let (authority, name_pattern) = (authority.clone(), NamePattern::new("(.*)"));
        move |config: &mut Config| config.strategy = Strategy::Chain { authority, name_pattern, allow_create }
    };
    let at_connect = |server: &Server, flags: &str| {
        let mut command = command(&sandbox, server, &format!("--json {flags}"));
        command.env_remove("TBPROV_PROVISION_KEY").env_remove("TBPROV_PROVISION_SECRET");
        run(command.args(["--ca-cert", "ca.pem", "--ca-key", "ca_key.pem"]))
    };
    let refusing = Server::start(chain(false));
    let ran = at_connect(&refusing, "");
    ran.failed(1, "server/not-authorized");
    assert_eq!(of_state(&sandbox, RowState::Failed), 0, "an authority that is not known fails no row");
    assert_eq!(of_state(&sandbox, RowState::Queued), 11, "the first device was alone");
    refusing.stop();
    std::fs::remove_file(sandbox.path("pinned.pem")).unwrap();

    let server = Server::start(chain(true));
    let ran = at_connect(&server, "");
    assert_eq!(ran.done()["provisioned"], 12, "{ran:?}");
    assert_whole(&sandbox, &server, 12);
}

#[test]
fn one_wrong_key_is_seen_once_and_the_same_fleet_goes_on() {
    let server = Server::start(|_| {});
    let sandbox = fleet(&names(20));
    let mut wrong = command(&sandbox, &server, "--json --jobs 8");
    let ran = run(wrong.env("TBPROV_PROVISION_KEY", "not-the-key"));
    let error = ran.failed(1, "server/not-found");
    assert_eq!(error["step"], "exchange");
    assert_eq!(requests(&server), 1);
    let wanted = json!({"outcome": "stopped", "provisioned": 0, "recovered": 0, "verified": 0, "failed": 0, "left": 20});
    assert_eq!(members(&ran.json(), &COUNTS), wanted);
    assert_eq!(fleet_run(&sandbox, &server, "").done()["provisioned"], 20);
    assert_whole(&sandbox, &server, 20);
}

/// Names that devices of another profile have.
fn taken(numbers: impl IntoIterator<Item = usize>) -> impl FnOnce(&mut Config) {
    let taken = numbers.into_iter().map(|number| PreProvisioned::new(format!("sensor-{number:03}")));
    let taken: Vec<_> = taken.map(PreProvisioned::of_other_profile).collect();
    move |config| config.pre_provisioned = taken
}

#[test]
fn three_refusals_without_a_reason_stop_a_run() {
    let server = Server::start(taken([2, 3, 4, 5]));
    let sandbox = fleet(&names(8));
    let ran = fleet_run(&sandbox, &server, "--jobs 1");
    let error = ran.failed(1, "server/failure");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("limit of devices") && message.contains("names are taken"), "{message}");
    let wanted = json!({"outcome": "stopped", "provisioned": 1, "recovered": 0, "verified": 0, "failed": 3, "left": 4});
    assert_eq!(members(&ran.json(), &COUNTS), wanted);
}

#[test]
fn what_is_in_flight_when_all_fail_alike_stays_due() {
    let server = Server::start(taken(2..=40));
    let sandbox = fleet(&names(40));
    let ran = fleet_run(&sandbox, &server, "--jobs 32");
    ran.failed(1, "server/failure");
    let wanted = json!({"outcome": "stopped", "provisioned": 1, "recovered": 0, "verified": 0, "failed": 3, "left": 36});
    assert_eq!(members(&ran.json(), &COUNTS), wanted);
}

#[test]
fn a_row_of_its_own_fault_fails_and_the_others_are_done() {
    let server = Server::start(taken([2, 5]));
    let sandbox = fleet(&names(8));
    let ran = fleet_run(&sandbox, &server, "--jobs 1");
    assert_eq!(ran.code, Some(6), "{ran:?}");
    let wanted =
        json!({"outcome": "partly", "provisioned": 6, "recovered": 0, "verified": 0, "failed": 2, "left": 0});
    assert_eq!(members(&ran.json(), &COUNTS), wanted);
    assert!(ran.stderr.contains("sensor-002: server/failure: "), "{ran:?}");
    let rows = rows(&sandbox);
    let failed: Vec<_> = rows.iter().filter(|row| row.state == RowState::Failed).collect();
    assert_eq!(failed.len(), 2);
    assert_eq!(failed[0].trouble.as_ref().unwrap().code, "server/failure");

    // Nobody is asked for the secret, or the server, where nothing is due.
    let again = sandbox.run("fleet run --json");
    let result = again.done();
    assert_eq!((&result["outcome"], &result["failed"]), (&json!("nothing-due"), &json!(2)));
}

#[test]
fn a_server_that_was_never_there_stops_a_run_at_once() {
    let server = Server::start(|_| {});
    let sandbox = fleet(&names(3));
    let mut command = command(&sandbox, &server, "--json");
    server.stop();
    let begin = Instant::now();
    let ran = run(&mut command);
    ran.failed(3, "network/connect");
    assert_eq!(ran.json()["left"], 3);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_eq!(of_state(&sandbox, RowState::Failed), 0);
}

/// The ledger is open by then, and has no part in it.
#[test]
fn a_file_that_cannot_be_used_is_of_the_plan() {
    let sandbox = fleet(&names(1));
    std::fs::write(sandbox.path("text"), "text").unwrap();
    let ran = sandbox.run("fleet run --json --host localhost --server-cert text");
    ran.failed(5, "file/not-pem");
    assert_eq!(ran.json()["error"]["step"], "plan", "{ran:?}");
}

/// A server that keeps its devices in this folder.
fn keeping(sandbox: &Sandbox, faults: &[Fault]) -> impl Fn(&mut Config) + use<> {
    let (state, faults) = (sandbox.path("sim.json"), faults.to_vec());
    move |config| {
        config.state = Some(state.clone());
        config.faults = faults.clone();
    }
}

#[test]
fn a_run_survives_a_server_that_goes_away_in_the_middle() {
    let sandbox = fleet(&names(30));
    let server = Server::presenting("san", keeping(&sandbox, &[]));
    let mut running = Running::start(&mut command(&sandbox, &server, "--events --jobs 4 --rate 40/s"));
    running.until("device-done");
    let postponed = || _ = running.until("device-postponed");
    let server = server.replace_after(postponed, keeping(&sandbox, &[]));
    let ran = running.end();
    let result = ran.json();
    assert_eq!(
        (ran.code, &result["outcome"], &result["failed"]),
        (Some(0), &json!("done"), &json!(0)),
        "{ran:?}"
    );
    assert_whole(&sandbox, &server, 30);
}

#[test]
fn a_server_that_stays_away_ends_a_run_and_fails_no_row() {
    let sandbox = fleet(&names(30));
    let server = Server::start(|_| {});
    let flags = "--events --jobs 2 --rate 20/s --give-up-after 500ms";
    let mut running = Running::start(&mut command(&sandbox, &server, flags));
    running.until("device-done");
    server.stop();
    let ran = running.end();
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let result = ran.json();
    assert_eq!(result["outcome"], "stopped");
    assert!(result["error"]["message"].as_str().unwrap().contains("has taken nothing for"), "{result}");
    assert_eq!(of_state(&sandbox, RowState::Failed), 0);
    assert_eq!(result["left"].as_u64().unwrap() + result["provisioned"].as_u64().unwrap(), 30);
}

/// Rows whose request may have left, though the server never saw it.
fn sent(sandbox: &Sandbox, server: &Server, rows: usize) {
    let ledger = Sqlite::open(sandbox.path("fleet.db"), DEFAULT_LEASE, Progress::silent()).unwrap();
    let trust = Trust::from_certificates(vec![server.certificate()], TrustSource::System, false);
    let at =
        server::Server { host: "127.0.0.1".parse().unwrap(), port: server.port(), trust: Arc::new(trust) };
    let dialer = Dialer::new(at, Duration::from_secs(1));
    runtime().block_on(async {
        for number in 1..=rows {
            let name = format!("sensor-{number:03}");
            let wanted = Wanted {
                name: &name,
                profile: &Profile::Device,
                days: 30,
                key_type: KeyType::EcP256,
                issuer: None,
            };
            let identity = new_identity(&wanted, &Progress::silent()).await.unwrap();
            let kept =
                Kept::X509 { chain: vec![identity.leaf.clone()], key: Stored::Bytes(identity.key.to_pem()) };
            let credentials = Credentials::X509(X509Identity::from(identity));
            let subject = Subject::Named(&name);
            let lease = ledger.lease(subject).await.unwrap();
            let new = NewDevice {
                subject,
                server: &dialer.server,
                identity: NewIdentity { kept: &kept, credentials: &credentials },
                state: State::Staged,
                wishes: Wishes::default(),
            };
            let entry = ledger.stage(&lease, new).await.unwrap();
            let reached = &[State::Sent];
            let advance =
                Advance { which: Which::Current, reached, server: None, wishes: None, leaves: None };
            ledger.advance(&lease, &entry, advance).await.unwrap();
        }
    });
}

#[test]
fn forty_lost_answers_are_settled_without_tripping_the_address_filter() {
    let server = Server::start(|config| config.faults = vec![Fault::AddressFilter(10)]);
    let sandbox = fleet(&names(50));
    sent(&sandbox, &server, 40);
    let ran = fleet_run(&sandbox, &server, "--jobs 16");
    assert_eq!(ran.done()["provisioned"], 50, "{ran:?}");
    assert_whole(&sandbox, &server, 50);
    let events = server.events();
    let refused = events.iter().filter(|event| matches!(event, Event::Refused { .. })).count();
    assert_eq!(refused, 41, "each of them once, and a stranger");
    let blocked = events.iter().any(|event| matches!(event, Event::Fault { name: "address-filter", .. }));
    assert!(!blocked, "no connection was closed before TLS");
    assert_eq!(requests(&server), 50);
}

#[test]
fn lost_answers_are_settled_and_the_rows_recovered() {
    let server = Server::start(|config| config.faults = vec![Fault::AcceptThenClose]);
    let sandbox = fleet(&names(6));
    let ran = fleet_run(&sandbox, &server, "--jobs 2");
    let result = ran.done();
    assert_eq!((&result["recovered"], &result["failed"]), (&json!(6), &json!(0)), "{ran:?}");
    assert_whole(&sandbox, &server, 6);
}

/// CONNACK 3 before anything was proved is another transport type; afterwards it is a limit.
#[test]
fn connack_3_is_waited_out_once_something_was_proved() {
    let server = Server::start(|config| config.faults = vec![Fault::Unavailable(1)]);
    let sandbox = fleet(&names(3));
    fleet_run(&sandbox, &server, "").failed(1, "server/unavailable");
    assert_eq!(fleet_run(&sandbox, &server, "").done()["recovered"], 1);
    assert_whole(&sandbox, &server, 3);

    let limited = Server::start(|config| config.tenant_connect_limit = Some("3:1".parse().unwrap()));
    let sandbox = fleet(&names(8));
    let ran = fleet_run(&sandbox, &limited, "--jobs 4");
    let result = ran.done();
    assert!(result["postponed"].as_u64().unwrap() > 0, "{ran:?}");
    assert_whole(&sandbox, &limited, 8);
}

#[test]
fn a_limit_and_a_rate_hold() {
    let server = Server::start(|_| {});
    let sandbox = fleet(&names(6));
    let begin = Instant::now();
    let ran = fleet_run(&sandbox, &server, "--limit 4 --rate 5/s --jobs 4");
    let result = ran.done();
    assert_eq!((&result["provisioned"], &result["left"]), (&json!(4), &json!(2)), "{ran:?}");
    assert!(begin.elapsed() >= Duration::from_millis(500), "{:?}", begin.elapsed());
    let per_minute = fleet_run(&sandbox, &server, "--rate 6000/m");
    assert_eq!(per_minute.done()["provisioned"], 2);
    assert_whole(&sandbox, &server, 6);
    for flags in ["--jobs 0", "--jobs many", "--rate 5", "--rate 5/h", "--lease 10ms", "--limit 0"] {
        assert_eq!(fleet_run(&sandbox, &server, flags).code, Some(2), "{flags}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_finishes_what_is_begun_and_the_same_command_goes_on() {
    let server = Server::start(|config| config.faults = vec![Fault::Delay(Duration::from_millis(300))]);
    let sandbox = fleet(&names(12));
    let mut running = Running::start(&mut command(&sandbox, &server, "--events --jobs 3"));
    running.until("device-done");
    running.until("request-sent");
    running.signal("INT");
    running.until("fleet-ending");
    let ran = running.end();
    let result = ran.json();
    assert_eq!((ran.code, &result["outcome"]), (Some(130), &json!("interrupted")), "{ran:?}");
    let done = result["provisioned"].as_u64().unwrap();
    assert!((2..12).contains(&done), "{result}");
    assert_eq!(result["left"].as_u64().unwrap(), 12 - done);
    assert_eq!(of_state(&sandbox, RowState::Queued) as u64, 12 - done, "what was begun is done");
    assert_eq!(fleet_run(&sandbox, &server, "").done()["provisioned"], 12 - done);
    assert_whole(&sandbox, &server, 12);
}

#[test]
fn two_runs_share_the_work() {
    let server = Server::start(|config| config.faults = vec![Fault::Delay(Duration::from_millis(30))]);
    let sandbox = fleet(&names(40));
    let start = || Running::start(&mut command(&sandbox, &server, "--events --jobs 2"));
    let (one, other) = (start(), start());
    let results = [one.end(), other.end()].map(|ran| {
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.json()["provisioned"].as_u64().unwrap()
    });
    assert_eq!(results.iter().sum::<u64>(), 40);
    assert!(results.iter().all(|done| *done > 0), "{results:?}");
    assert_whole(&sandbox, &server, 40);
    assert_eq!(requests(&server), 40);
}

#[test]
fn the_provision_secret_is_nowhere() {
    let server = Server::start(taken([2]));
    let sandbox = fleet(&names(5));
    let outputs = [
        run(&mut command(&sandbox, &server, "--events --limit 2")),
        run(&mut command(&sandbox, &server, "-v --limit 2")),
        fleet_run(&sandbox, &server, ""),
    ];
    for ran in &outputs {
        assert!(!ran.stdout.contains(SECRET) && !ran.stderr.contains(SECRET), "{ran:?}");
    }
    for file in sandbox.files() {
        let bytes = std::fs::read(&file).unwrap();
        let is_there = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        assert!(!is_there, "{}", file.display());
    }
}

#[test]
fn events_name_their_device_and_people_see_few_lines() {
    let server = Server::start(|_| {});
    let sandbox = fleet(&names(8));
    let ran = run(&mut command(&sandbox, &server, "--events --limit 2"));
    let events: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events[0], json!({"event": "fleet-begun", "due": 8}), "{ran:?}");
    let done: Vec<_> = events.iter().filter(|event| event["event"] == "device-done").collect();
    assert_eq!(done.len(), 2);
    assert_eq!(*done[0], json!({"event": "device-done", "outcome": "provisioned", "device": "sensor-001"}));
    let steps = events.iter().filter(|event| event["event"] == "state-reached");
    assert!(steps.clone().count() >= 6 && steps.clone().all(|event| event["device"].is_string()), "{ran:?}");

    let ran = run(&mut command(&sandbox, &server, "--limit 4"));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert!(ran.stdout.contains("done         4\n") && ran.stdout.contains("left         2\n"), "{ran:?}");
    let ran = run(&mut command(&sandbox, &server, "-v"));
    assert!(ran.stderr.contains("sensor-007: provisioned"), "{ran:?}");
}

#[test]
fn a_run_waits_for_rows_of_another_run() {
    let server = Server::start(|config| config.faults = vec![Fault::Delay(Duration::from_millis(1500))]);
    let sandbox = fleet(&names(1));
    let mut one = Running::start(&mut command(&sandbox, &server, "--events"));
    one.until("request-sent");
    let mut other = Running::start(&mut command(&sandbox, &server, "--events"));
    let waiting: Value = serde_json::from_str(&other.until("fleet-waiting")).unwrap();
    assert_eq!((&waiting["later"], &waiting["claimed"]), (&json!(0), &json!(1)), "{waiting}");
    let ended = [one.end(), other.end()];
    assert!(ended.iter().all(|ran| ran.code == Some(0)), "{ended:?}");
    assert_eq!(ended[1].json()["provisioned"], 0);
    assert_whole(&sandbox, &server, 1);
}
