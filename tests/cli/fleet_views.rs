//! What a fleet's ledger tells, and what is taken out of it: `fleet status`, `list`, `show`, `retry`, `verify`, `report`
//! and `export`.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use serde_json::Value;
use tbprov::DeviceName;
use tbprov::event::Progress;
use tbprov::identity::Certificate;
use tbprov::ledger::folder::Folders;
use tbprov::ledger::roster::{Ending, Roster as _, Row, Source, Trouble, Whole};
use tbprov::ledger::sqlite::{DEFAULT_LEASE, Sqlite};
use tbprov::ledger::{Ledger as _, Which};

use crate::support::{Ran, Sandbox, Server, entries, runtime};

/// A name that would be markup, with a label that a spreadsheet would run.
const NASTY: &str = "<script>alert('x')</script>";
const FORMULA: &str = "=HYPERLINK(\"http://x\")";

fn ledger(sandbox: &Sandbox) -> Sqlite {
    Sqlite::create(sandbox.path("fleet.db"), DEFAULT_LEASE, Progress::silent()).unwrap()
}

fn row(name: &str) -> Row {
    Row::named(DeviceName::parse(name).unwrap().unwrap())
}

/// Rows of a manifest.
fn imported(ledger: &Sqlite, rows: Vec<Row>) {
    let lines = rows.into_iter().enumerate().map(|(index, row)| Ok((index as u64 + 2, row)));
    let source = Source { name: "devices.csv".to_owned(), update: false, dry_run: false };
    runtime()
        .block_on(ledger.import(Box::new(lines.collect::<Vec<_>>().into_iter()), source))
        .unwrap()
        .unwrap();
}

/// Ends the first row that is due.
fn ended(ledger: &Sqlite, ending: Ending) {
    runtime().block_on(async {
        let claim = ledger.claim(1).await.unwrap().remove(0);
        ledger.finish(claim, ending).await.unwrap();
    });
}

fn failure() -> Trouble {
    Trouble {
        code: "server/failure".to_owned(),
        step: "exchange".to_owned(),
        message: "the server refused <b>\u{1b}[31m".to_owned(),
    }
}

/// A fleet of one row that failed, one that waits, and one that is due.
fn unfinished(sandbox: &Sandbox) {
    let ledger = ledger(sandbox);
    let nasty = Row { label: Some(FORMULA.to_owned()), ..row(NASTY) };
    let mut second = row("sensor-b");
    second.fields.extra = BTreeMap::from([("rack".to_owned(), "-7".to_owned())]);
    imported(&ledger, vec![nasty, second, row("sensor-c")]);
    ended(&ledger, Ending::Failed(failure()));
    let passing = Trouble { code: "network/timeout".to_owned(), ..failure() };
    ended(&ledger, Ending::Later(passing, Duration::from_secs(3600)));
}

/// A fleet of devices that are proved at the server.
fn proved(sandbox: &Sandbox, server: &Server, names: &[&str]) {
    for name in names {
        sandbox.provisioned(server, name);
    }
    runtime().block_on(async {
        let store = Folders::new(sandbox.path("devices"));
        let mut devices = Vec::new();
        for (_, entry) in store.list().await.unwrap() {
            let entry = entry.unwrap();
            let (trust, kept) =
                (store.trust(&entry).await.unwrap(), store.key(&entry, Which::Current).await.unwrap());
            devices.push(Whole { entry, trust, identities: vec![kept] });
        }
        ledger(sandbox).take_in(devices, "./devices").await.unwrap();
    });
}

fn fleet(sandbox: &Sandbox, line: &str) -> Ran {
    sandbox.run(&format!("fleet {line}"))
}

#[test]
fn status_counts_by_state_and_by_day() {
    let sandbox = Sandbox::new();
    unfinished(&sandbox);
    let status = fleet(&sandbox, "status --json").done();
    assert_eq!(status["total"], 3);
    assert_eq!((&status["states"]["failed"], &status["states"]["queued"]), (&1.into(), &2.into()));
    assert_eq!((&status["waiting"], &status["finished"]), (&1.into(), &false.into()));
    assert_eq!(status["days"][0]["failed"], 1);
    let shown = fleet(&sandbox, "status").stdout;
    assert!(
        shown.starts_with(&format!("{}: 3 devices\n", tbprov::text::shown_path("./fleet.db")))
            && shown.contains("waiting"),
        "{shown}"
    );
}

#[cfg(unix)]
#[test]
fn status_watches_until_it_is_interrupted() {
    use crate::support::Running;
    let sandbox = Sandbox::new();
    unfinished(&sandbox);
    let mut watching = Running::start(&mut sandbox.tbprov(&["fleet", "status", "--watch", "--events"]));
    let first: Value = serde_json::from_str(&watching.until("\"status\"")).unwrap();
    assert_eq!((&first["total"], &first["rate"]), (&3.into(), &Value::Null));
    ended(&ledger(&sandbox), Ending::Failed(failure()));
    let next: Value = serde_json::from_str(&watching.until("\"failed\":2")).unwrap();
    assert!(next["rate"].as_f64().unwrap() > 0.0 && next["seconds_left"].is_number(), "{next}");
    watching.signal("INT");
    let last = watching.end().done();
    assert_eq!((&last["command"], &last["states"]["failed"]), (&"fleet status".into(), &2.into()));
}

#[test]
fn list_writes_a_row_a_device_in_every_format() {
    let sandbox = Sandbox::new();
    unfinished(&sandbox);
    let listed = fleet(&sandbox, "list --json").done();
    assert_eq!((listed["devices"].as_array().unwrap().len(), &listed["count"]), (3, &3.into()));
    let failed = &listed["devices"][0];
    assert_eq!((&failed["device"], &failed["label"]), (&NASTY.into(), &FORMULA.into()));
    assert_eq!(failed["manifest"], serde_json::json!({"name": "devices.csv", "line": 2}));
    assert_eq!(failed["error"]["code"], "server/failure");
    assert!(failed["error"]["help"].as_str().unwrap().contains("the device name is taken"), "{failed}");
    let events = fleet(&sandbox, "list --events --limit 2");
    let lines: Vec<Value> = events.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["event"], &lines[1]["device"]), (&"row".into(), &"sensor-b".into()));
    assert_eq!((lines.len(), &events.done()["count"]), (3, &2.into()));
    let one = fleet(&sandbox, "list --code network/timeout --json").done();
    assert_eq!((&one["count"], &one["devices"][0]["device"]), (&1.into(), &"sensor-b".into()));
    let shown = fleet(&sandbox, "list --state failed").stdout;
    assert!(shown.contains(r"server/failure: the server refused <b>\u{1b}[31m"), "{shown}");
    assert!(shown.ends_with("\n1 device\n"), "{shown}");
    assert_eq!(fleet(&sandbox, "list --state lost --json").failed(2, "usage/invalid-value")["step"], "plan");
}

#[test]
fn show_tells_the_row_its_failure_and_its_history() {
    let sandbox = Sandbox::new();
    unfinished(&sandbox);
    let shown = sandbox.run_all(["fleet", "show", "--json", NASTY]).done();
    assert_eq!((&shown["state"], &shown["record"]), (&"failed".into(), &Value::Null));
    assert_eq!((&shown["attempts"], &shown["history_holds"]), (&1.into(), &true.into()));
    let history = shown["history"].as_array().unwrap();
    assert_eq!(history.last().unwrap()["kind"], "failed");
    assert!(history.iter().all(|line| line["hash"].as_str().unwrap().len() == 64), "{history:?}");
    let text = fleet(&sandbox, "show sensor-b").stdout;
    for part in
        ["x.rack          -7", "again at", "why             network/timeout at exchange", "the hashes hold"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    fleet(&sandbox, "show nobody --json").failed(5, "store/not-found");
}

#[test]
fn retry_makes_failed_rows_due_again() {
    let sandbox = Sandbox::new();
    unfinished(&sandbox);
    fleet(&sandbox, "retry --json").failed(2, "usage/missing-value");
    fleet(&sandbox, "retry nobody --json").failed(5, "store/not-found");
    assert_eq!(fleet(&sandbox, "retry --code server/failure --json").done()["retried"], 1);
    let all = fleet(&sandbox, "retry --all --json").done();
    assert_eq!(
        (&all["retried"], &fleet(&sandbox, "status --json").done()["waiting"]),
        (&1.into(), &0.into())
    );
    assert!(fleet(&sandbox, "retry --all").stdout.contains("nothing to do"));
}

#[test]
fn a_ledger_that_is_missing_names_the_way_to_one() {
    let sandbox = Sandbox::new();
    let verbs = ["status", "list", "show x", "retry --all", "verify", "report", "export --to store out"];
    for verb in verbs {
        let error = fleet(&sandbox, &format!("{verb} --json")).failed(5, "ledger/not-found");
        assert!(error["help"].as_str().unwrap().contains("tbprov fleet import"), "{verb}: {error}");
        let both = fleet(&sandbox, &format!("{verb} --json --store other"));
        assert_eq!(both.failed(2, "usage/conflict")["step"], "plan", "{verb}");
    }
    assert!(entries(&sandbox.path("")).is_empty());
}

#[test]
fn a_report_in_csv_is_harmless_in_a_spreadsheet() {
    let sandbox = Sandbox::new();
    unfinished(&sandbox);
    let report = fleet(&sandbox, "report");
    assert_eq!(report.code, Some(6), "{report:?}");
    let text = report.stdout.strip_prefix('\u{FEFF}').unwrap();
    let mut table = csv::Reader::from_reader(text.as_bytes());
    let mut column = |name: &str| table.headers().unwrap().iter().position(|header| header == name).unwrap();
    let (name, label, code, rack) = (column("name"), column("label"), column("code"), column("x.rack"));
    let rows: Vec<_> = table.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 3);
    assert_eq!((&rows[0][name], &rows[0][label]), (NASTY, "'=HYPERLINK(\"http://x\")"));
    assert_eq!((&rows[0][code], &rows[1][rack]), ("server/failure", "'-7"));
    assert!(text.contains(r"<b>\u{1b}[31m"), "{text}");
}

#[test]
fn a_report_in_json_is_one_object() {
    let sandbox = Sandbox::new();
    unfinished(&sandbox);
    let written = fleet(&sandbox, "report -o report.json --json");
    assert_eq!(written.code, Some(6), "{written:?}");
    let result = written.json();
    assert_eq!((&result["format"], &result["finished"]), (&"json".into(), &false.into()));
    assert_eq!((&result["devices"], &result["failed"]), (&3.into(), &1.into()));
    let report: Value = serde_json::from_str(&sandbox.read("report.json")).unwrap();
    assert_eq!((&report["schema"], &report["command"]), (&"tbprov/1".into(), &"fleet report".into()));
    assert_eq!((&report["finished"], &report["states"]["failed"]), (&false.into(), &1.into()));
    assert_eq!(report["timeline"]["intervals"][0]["failed"], 1);
    assert_eq!(report["devices"].as_array().unwrap().len(), 3);
    fleet(&sandbox, "report -o report.json --json").failed(5, "file/exists");
    fleet(&sandbox, "report -o report.txt --json").failed(2, "usage/missing-value");
    assert_eq!(entries(&sandbox.path("")).iter().filter(|name| name.contains("report")).count(), 1);
}

#[test]
fn a_report_in_html_stands_alone_and_escapes_what_it_shows() {
    let sandbox = Sandbox::new();
    unfinished(&sandbox);
    assert_eq!(fleet(&sandbox, "report -o report.html").code, Some(6));
    let page = sandbox.read("report.html");
    let names = tags(&page);
    for absent in ["script", "link", "img", "iframe", "b>"] {
        assert!(!names.iter().any(|name| name == absent), "{absent}");
    }
    assert!(!page.contains("src=") && !page.contains("href="));
    let text = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;<br><small>=HYPERLINK(&quot;http://x&quot;)";
    for part in
        [text, "This fleet is not finished: 2 of 3", "Failed: 1 device", "<svg", "the device name is taken"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(page.find("Failed: 1 device") < page.find("sensor-b"), "failures come first");
}

/// The names of the elements, which have to be closed as they were opened.
fn tags(page: &str) -> Vec<String> {
    let (mut open, mut all) = (Vec::new(), Vec::new());
    for tag in page.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').unwrap();
        assert!(!text.contains('>'), "{text}");
        let name = tag.split([' ', '/', '\n']).next().unwrap_or_default().to_owned();
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(closed));
        } else if !name.starts_with('!') {
            if !tag.ends_with('/') && !["meta", "br"].contains(&&*name) {
                open.push(name.clone());
            }
            all.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    all
}

#[test]
fn verify_proves_again() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    proved(&sandbox, &server, &["sensor-a", "sensor-b", "sensor-c"]);
    let before = server.events().len();
    let all = fleet(&sandbox, "verify --json").done();
    assert_eq!((&all["outcome"], &all["proved"]), (&"verified".into(), &3.into()));
    let connected = server.events()[before..]
        .iter()
        .filter(|event| matches!(event, tbprov::sim::Event::Connected { .. }))
        .count();
    assert_eq!(connected, 3);
    assert_eq!(fleet(&sandbox, "verify --sample 1% --json").done()["proved"], 1);
    let named = fleet(&sandbox, "verify sensor-b --events");
    assert!(
        named.stdout.contains(r#"{"event":"verified","device":"sensor-b","outcome":"proved"}"#),
        "{named:?}"
    );
    fleet(&sandbox, "verify nobody --json").failed(5, "store/not-found");
    fleet(&sandbox, "verify --sample 0% --json").failed(2, "usage/invalid-value");
}

#[test]
fn verify_tells_what_is_refused_and_stops_before_the_address_is_blocked() {
    let names = ["sensor-a", "sensor-b", "sensor-c", "sensor-d", "sensor-e", "sensor-f", "sensor-g"];
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    proved(&sandbox, &server, &names);
    // A server that knows none of them.
    let server = server.replace(|_| {});
    let refused = |from: usize| {
        let is_refusal = |event: &&tbprov::sim::Event| matches!(event, tbprov::sim::Event::Refused { .. });
        server.events()[from..].iter().filter(is_refusal).count()
    };
    let some = fleet(&sandbox, "verify sensor-a sensor-b --json");
    assert_eq!(some.code, Some(6), "{some:?}");
    assert_eq!((&some.json()["outcome"], &some.json()["failed"]), (&"failed".into(), &2.into()));
    assert_eq!(some.json()["devices"][0]["error"]["code"], "server/not-authorized");
    let before = server.events().len();
    let all = fleet(&sandbox, "verify --json --jobs 2");
    assert_eq!((all.code, &all.json()["outcome"]), (Some(1), &"stopped".into()), "{all:?}");
    assert!(all.json()["stopped"]["message"].as_str().unwrap().contains("block this address"), "{all:?}");
    // With the throw-away one.
    assert!((6..=7).contains(&refused(before)), "{}", refused(before));
    server.stop();
    let gone = fleet(&sandbox, "verify --json");
    assert_eq!(
        (gone.code, &gone.json()["stopped"]["code"]),
        (Some(3), &"network/connect".into()),
        "{gone:?}"
    );
}

#[test]
fn a_changed_history_is_told_and_nothing_connects() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    proved(&sandbox, &server, &["sensor-a", "sensor-b"]);
    let db = rusqlite::Connection::open(sandbox.path("fleet.db")).unwrap();
    let device = "(SELECT id FROM device WHERE name = 'sensor-b')";
    db.execute_batch(&format!(
        "DROP TRIGGER event_is_not_changed; UPDATE event SET at = at + 1 WHERE device = {device};"
    ))
    .unwrap();
    drop(db);
    let before = server.connections();
    let error = fleet(&sandbox, "verify --json").failed(5, "ledger/tampered");
    assert!(error["message"].as_str().unwrap().contains("'sensor-b'"), "{error}");
    assert_eq!(server.connections(), before);
    let shown = fleet(&sandbox, "show sensor-b --json").done();
    assert_eq!(shown["history_holds"], false);
    assert_eq!(fleet(&sandbox, "show sensor-a --json").done()["history_holds"], true);
}

#[test]
fn an_exported_store_works_and_an_export_can_be_repeated() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    proved(&sandbox, &server, &["sensor-a", "sensor-b"]);
    imported(&ledger(&sandbox), vec![row("sensor-c")]);
    let first = fleet(&sandbox, "export --to store out --json").done();
    assert_eq!((&first["written"], &first["skipped"]), (&2.into(), &1.into()));
    for name in ["sensor-a", "sensor-b"] {
        assert_eq!(sandbox.run(&format!("connect {name} --store out --json")).outcome(), "connected");
        let files = entries(&sandbox.path("out").join(name));
        assert_eq!(files, ["cert.pem", "device.json", "key.pem", "server.pem"]);
    }
    let again = fleet(&sandbox, "export --to store out --json").done();
    assert_eq!((&again["written"], &again["unchanged"]), (&0.into(), &2.into()));
    // Another device of that name.
    let other = Sandbox::trusting("san");
    other.provisioned(&server, "sensor-z");
    proved(&other, &server, &[]);
    other.write("out/sensor-z/key.pem", "taken");
    let taken = fleet(&other, "export --to store out --json");
    assert_eq!((taken.code, &taken.json()["failed"]), (Some(6), &1.into()), "{taken:?}");
}

#[test]
fn certificates_and_thingsboards_table_hold_the_identity_and_no_key() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    proved(&sandbox, &server, &["sensor-a"]);
    let leaf = sandbox.identity("sensor-a").leaf;
    assert_eq!(fleet(&sandbox, "export --to certificates certs --json").done()["written"], 1);
    assert_eq!(sandbox.read("certs/sensor-a.pem"), leaf.to_pem());
    assert_eq!(fleet(&sandbox, "export --to certificates certs --json").done()["unchanged"], 1);
    sandbox.write("certs/sensor-a.pem", "other");
    assert_eq!(fleet(&sandbox, "export --to certificates certs --json").code, Some(6));
    let line = "export --to thingsboard devices.csv --profile meters --json";
    assert_eq!(fleet(&sandbox, line).done()["written"], 1);
    let text = sandbox.read("devices.csv");
    assert_eq!((text.lines().count(), text.contains("PRIVATE")), (2, false));
    let mut table = csv::Reader::from_reader(text.as_bytes());
    let row: BTreeMap<String, String> = table.deserialize().next().unwrap().unwrap();
    assert_eq!((&*row["NAME"], &*row["TYPE"], &*row["IS_GATEWAY"]), ("sensor-a", "meters", "false"));
    let der = base64::engine::general_purpose::STANDARD.decode(&row["X509"]).unwrap();
    let certificate = Certificate::from_der(der.into(), "devices.csv").unwrap();
    assert_eq!(certificate.credentials_id(), leaf.credentials_id());
    fleet(&sandbox, line).failed(5, "file/exists");
}
