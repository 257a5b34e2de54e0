//! What a ledger of many devices does beyond keeping them: rows that come in, runs that share them, how they end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tbprov::event::Progress;
use tbprov::identity::Credentials;
use tbprov::ledger::roster::{
    Claim, Ending, Fault, Fields, Imported, Line, Roster, Row, RowId, RowState, Selection, Source, Trouble,
    Whole,
};
use tbprov::ledger::sqlite::Sqlite;
use tbprov::ledger::{Flashed, Ledger, NewDevice, Note, Subject, Which, Wishes};
use tbprov::{DeviceName, ErrorCode, State, clock};

use crate::place::{InFile, InFolder, Place as _};
use crate::samples::*;

pub fn row(name: &str) -> Row {
    Row::named(DeviceName::parse(name).unwrap().unwrap())
}

pub fn lines(rows: Vec<Row>) -> Box<dyn Iterator<Item = Line> + Send> {
    Box::new((2..).zip(rows).map(Ok))
}

pub fn from(name: &str) -> Source {
    Source { name: name.to_owned(), update: false, dry_run: false }
}

async fn import(ledger: &dyn Roster, rows: Vec<Row>) -> Result<Imported, Vec<Fault>> {
    let imported = ledger.import(lines(rows), from("manifest.csv")).await.unwrap();
    imported.map_err(|refused| refused.faults)
}

/// A ledger with the rows `sensor-0`, `sensor-1` and so on.
async fn with_rows(place: &InFile, count: usize) -> Sqlite {
    let ledger = place.ledger();
    let rows = (0..count).map(|number| row(&format!("sensor-{number}"))).collect();
    assert_eq!(import(&ledger, rows).await.unwrap().added, count as u64);
    ledger
}

fn trouble(code: &str) -> Trouble {
    Trouble { code: code.to_owned(), step: "exchange".to_owned(), message: "it says no".to_owned() }
}

/// Does with a claimed device what a run does. Tells its credentialsId.
async fn prove(ledger: &dyn Ledger, name: &str) -> tbprov::Result<String> {
    let (server, sample, subject) = (server(1), Sample::certificate(name), Subject::Named(name));
    let lease = ledger.lease(subject).await?;
    let entry = stage(ledger, &lease, subject, &server, &sample).await?;
    let entry = ledger.advance(&lease, &entry, reaching(Which::Current, &[State::Sent], &server)).await?;
    let reached = [State::Accepted, State::Proved];
    ledger.advance(&lease, &entry, reaching(Which::Current, &reached, &server)).await?;
    Ok(sample.id())
}

fn names(claims: &[Claim]) -> Vec<&str> {
    claims.iter().map(|claim| claim.row.name.as_str()).collect()
}

async fn all_rows(ledger: &dyn Roster) -> Vec<tbprov::ledger::roster::Listed> {
    ledger.rows(&Selection::default(), None, 1000).await.unwrap()
}

fn named(name: &str) -> Selection {
    Selection { names: vec![name.to_owned()], ..Selection::default() }
}

#[tokio::test]
async fn two_runs_share_the_rows() {
    let place = InFile::new();
    let (one, other) = (with_rows(&place, 100).await, place.ledger());
    let (mut seen, mut last) = (BTreeSet::new(), RowId(0));
    loop {
        let claims = [one.claim(7).await.unwrap(), other.claim(5).await.unwrap()];
        for claims in &claims {
            for claim in claims {
                assert_eq!((claim.state, claim.attempts), (RowState::Queued, 1));
                assert!(claim.id > last, "they are claimed in their order");
                last = claim.id;
                assert!(seen.insert(claim.row.name.as_str().to_owned()), "claimed twice");
                assert!(claim.lease.check().is_ok());
            }
        }
        assert_eq!(one.due().await.unwrap().claimed, (claims[0].len() + claims[1].len()) as u64);
        let [first, second] = claims;
        if first.is_empty() && second.is_empty() {
            break;
        }
        for claim in first {
            one.finish(claim, Ending::Done).await.unwrap();
        }
        for claim in second {
            other.finish(claim, Ending::Done).await.unwrap();
        }
    }
    assert_eq!(seen.len(), 100);
    assert_eq!(one.due().await.unwrap().free, 0);
}

#[tokio::test]
async fn a_claim_that_is_dropped_is_free_again() {
    let place = InFile::new();
    let ledger = with_rows(&place, 1).await;
    let first = ledger.claim(1).await.unwrap();
    let fence = first[0].lease.fence();
    assert!(ledger.claim(1).await.unwrap().is_empty());
    drop(first);
    let again = ledger.claim(1).await.unwrap();
    assert_eq!(again[0].attempts, 1, "it was not tried");
    assert!(again[0].lease.fence() > fence);
    drop(again);
    // With the handle goes all that it holds.
    let claims = ledger.claim(1).await.unwrap();
    let other = place.ledger();
    assert!(other.claim(1).await.unwrap().is_empty());
    drop((claims, ledger));
    assert_eq!(names(&other.claim(1).await.unwrap()), ["sensor-0"]);
}

#[tokio::test]
async fn a_claim_is_lent_to_one_at_a_time() {
    let place = InFile::new();
    let (ledger, other) = (with_rows(&place, 2).await, place.ledger());
    let mut claims = ledger.claim(2).await.unwrap();
    let subject = Subject::Named("sensor-0");
    for _ in 0..2 {
        let lent = ledger.lease(subject).await.unwrap();
        assert_eq!(lent.fence(), claims[0].lease.fence());
        let error = ledger.lease(subject).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::StoreLocked);
        let process = format!("process {}", std::process::id());
        assert!(error.message.contains(&process), "{}", error.message);
        drop(lent);
        // The row is still the run's.
        let error = other.lease(subject).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::StoreLocked);
        assert!(error.message.contains(&process), "{}", error.message);
    }
    let lent = ledger.lease(subject).await.unwrap();
    ledger.finish(claims.remove(0), Ending::GivenBack).await.unwrap();
    assert_eq!(code(lent.check()), ErrorCode::StoreLeaseLost);
    let late = stage(&ledger, &lent, subject, &server(1), &Sample::certificate("late")).await;
    assert_eq!(code(late), ErrorCode::StoreLeaseLost);
    drop(lent);
    drop(other.lease(subject).await.unwrap());
    // A claim that is dropped while it is lent stays until both are gone.
    let lent = ledger.lease(Subject::Named("sensor-1")).await.unwrap();
    drop(claims);
    assert_eq!(code(other.lease(Subject::Named("sensor-1")).await), ErrorCode::StoreLocked);
    drop(lent);
    drop(tbprov::ledger::wait_for(&other, Subject::Named("sensor-1"), &Progress::silent()).await.unwrap());
}

/// A kill after the proof leaves nothing to do again.
#[tokio::test]
async fn a_claimed_row_ends_in_the_change_that_proves_it() {
    let place = InFile::new();
    let ledger = with_rows(&place, 2).await;
    let mut claims = ledger.claim(2).await.unwrap();
    let (second, first) = (claims.pop().unwrap(), claims.pop().unwrap());
    let subject = Subject::Named("sensor-0");
    assert!(ledger.find(subject).await.unwrap().is_none());
    prove(&ledger, "sensor-0").await.unwrap();
    assert_eq!(ledger.find(subject).await.unwrap().unwrap().record.state(), State::Proved);

    let other = place.ledger();
    let due = other.due().await.unwrap();
    assert_eq!((due.free, due.claimed), (0, 1), "the other row alone is worked on");
    assert!(other.claim(2).await.unwrap().is_empty());
    ledger.finish(first, Ending::Done).await.unwrap();
    drop(second);
    assert_eq!(names(&other.claim(2).await.unwrap()), ["sensor-1"]);
    let shown = other.show("sensor-0").await.unwrap();
    assert_eq!((shown.listed.state, shown.listed.attempts, shown.broken), (RowState::Proved, 1, None));
}

#[tokio::test]
async fn a_claimed_row_with_attributes_ends_after_its_proof() {
    let place = InFile::new();
    let ledger = place.ledger();
    let mut with = row("sensor-0");
    with.fields.client.insert("place".to_owned(), "cellar".into());
    import(&ledger, vec![with]).await.unwrap();
    let claim = ledger.claim(1).await.unwrap().pop().unwrap();
    prove(&ledger, "sensor-0").await.unwrap();
    assert_eq!(ledger.due().await.unwrap().claimed, 1);
    ledger.finish(claim, Ending::Later(trouble("network/closed"), Duration::ZERO)).await.unwrap();
    let again = ledger.claim(1).await.unwrap().pop().unwrap();
    assert_eq!((again.state, again.attempts), (RowState::Proved, 2));
    ledger.finish(again, Ending::Done).await.unwrap();
    assert_eq!(ledger.due().await.unwrap().free, 0);
}

/// A run that stopped for longer than its lease, and goes on.
#[tokio::test]
async fn what_comes_late_changes_nothing() {
    let place = InFile::new();
    let (late, other) = (with_rows(&place, 1).await, place.ledger());
    let mut claims = late.claim(1).await.unwrap();
    let subject = Subject::Named("sensor-0");
    assert!(other.claim(1).await.unwrap().is_empty());
    place.raw().execute("UPDATE run SET lease_until = 0", []).unwrap();
    let taken = other.claim(1).await.unwrap();
    assert_eq!((taken[0].attempts, taken[0].state), (2, RowState::Queued));
    let lent = late.lease(subject).await.unwrap();
    let staged = stage(&late, &lent, subject, &server(1), &Sample::certificate("late")).await;
    assert_eq!(code(staged), ErrorCode::StoreLeaseLost);
    let finished = late.finish(claims.remove(0), Ending::Failed(trouble("server/failure"))).await;
    assert_eq!(code(finished), ErrorCode::StoreLeaseLost);
    drop(lent);
    assert!(other.find(subject).await.unwrap().is_none());
    assert!(taken[0].lease.check().is_ok(), "what was lost is nobody's to give free");
    let id = prove(&other, "sensor-0").await.unwrap();
    // The late one is a new run from now on, and finds the device as it is.
    drop(taken);
    let lease = tbprov::ledger::wait_for(&late, subject, &Progress::silent()).await.unwrap();
    let again = stage(&late, &lease, subject, &server(1), &Sample::certificate("again")).await;
    assert_eq!(code(again), ErrorCode::StoreExists);
    let found = late.find(subject).await.unwrap().unwrap();
    assert_eq!(held(&late, &found, Which::Current).await, id);
}

#[tokio::test]
async fn a_lease_is_renewed() {
    let place = InFile::new();
    drop(with_rows(&place, 1).await);
    let lease = Duration::from_secs(1);
    let ledger = Sqlite::open(place.path(), lease, Progress::silent()).unwrap();
    let other = place.ledger();
    let claims = ledger.claim(1).await.unwrap();
    for _ in 0..5 {
        tokio::time::sleep(lease * 3 / 10).await;
        assert!(other.claim(1).await.unwrap().is_empty());
    }
    ledger.finish(claims.into_iter().next().unwrap(), Ending::Done).await.unwrap();
}

#[tokio::test]
async fn rows_come_in_all_or_none() {
    let place = InFile::new();
    let ledger = place.ledger();
    let mac = |name: &str, mac: &str| Row { mac: Some(mac.to_owned()), ..row(name) };
    let (first, second) = ("24:0a:c4:00:00:01", "24:0a:c4:00:00:02");
    let bad = Fault { line: 7, column: Some("days".to_owned()), why: "it is no number".to_owned() };
    let rows = vec![row("a"), mac("b", first), row("a"), mac("c", first), mac("d", second)];
    let with_bad = Box::new(lines(rows).chain([Err(bad.clone())]));
    let refused = ledger.import(with_bad, from("m.csv")).await.unwrap().unwrap_err();
    assert!(!refused.is_for_update, "nothing would be replaced");
    let faults = refused.faults;
    let told: Vec<_> = faults.iter().map(|fault| (fault.line, fault.column.as_deref().unwrap())).collect();
    assert_eq!(told, [(4, "name"), (5, "mac"), (7, "days")]);
    assert!(faults[0].why.contains("line 2") && faults[1].why.contains("line 3"), "{faults:?}");
    assert_eq!(faults[2], bad);
    assert!(all_rows(&ledger).await.is_empty());
    let rows = vec![row("a"), mac("b", first), mac("d", second)];
    let dry = Source { dry_run: true, ..from("m.csv") };
    let would = ledger.import(lines(rows.clone()), dry).await.unwrap().unwrap();
    assert_eq!(would.added, 3);
    assert!(all_rows(&ledger).await.is_empty());
    assert_eq!(import(&ledger, rows.clone()).await.unwrap().added, 3);
    // The same again is no change.
    let again = import(&ledger, rows).await.unwrap();
    assert_eq!(again, Imported { unchanged: 3, ..Imported::default() });
    assert_eq!(ledger.walk().await.unwrap().lines, 1, "one line for the one import");
    let batches: i64 = place.raw().query_row("SELECT count(*) FROM batch", [], |row| row.get(0)).unwrap();
    assert_eq!(batches, 1);
    let taken = import(&ledger, vec![row("e"), mac("f", second)]).await.unwrap_err();
    assert!(taken[0].why.contains("'d'"), "{taken:?}");
    assert_eq!(all_rows(&ledger).await.len(), 3);
}

#[tokio::test]
async fn a_row_is_replaced_only_before_something_is_done_for_it() {
    let place = InFile::new();
    let ledger = with_rows(&place, 2).await;
    let changed = |name: &str| Row { label: Some("door".to_owned()), days: Some(30), ..row(name) };
    let refused = ledger.import(lines(vec![changed("sensor-0")]), from("m.csv")).await.unwrap().unwrap_err();
    assert!(refused.is_for_update);
    let faults = refused.faults;
    assert_eq!((faults[0].line, faults[0].column.as_deref()), (2, Some("label")));
    let update = Source { update: true, ..from("new.csv") };
    let done = ledger.import(lines(vec![changed("sensor-0"), row("sensor-1")]), update.clone()).await;
    assert_eq!(done.unwrap().unwrap(), Imported { added: 0, updated: 1, unchanged: 1 });
    let listed = ledger.rows(&named("sensor-0"), None, 9).await.unwrap();
    assert_eq!((&listed[0].row, &listed[0].source), (&changed("sensor-0"), &Some(("new.csv".to_owned(), 2))));
    let claims = ledger.claim(1).await.unwrap();
    assert_eq!(claims[0].row, changed("sensor-0"));
    prove(&ledger, "sensor-0").await.unwrap();
    drop(claims);
    let refused = ledger.import(lines(vec![row("sensor-0")]), update).await.unwrap().unwrap_err();
    let faults = refused.faults;
    assert!(!refused.is_for_update && faults[0].why.contains("something was done"), "{faults:?}");
    assert_eq!(import(&ledger, vec![changed("sensor-0")]).await.unwrap().unchanged, 1);
}

fn with_mac(name: &str, last: u8) -> Row {
    Row { mac: Some(format!("24:0a:c4:00:00:{last:02x}")), ..row(name) }
}

#[tokio::test]
async fn rows_that_are_replaced_may_change_their_mac_addresses() {
    let place = InFile::new();
    let ledger = place.ledger();
    import(&ledger, vec![with_mac("a", 1), with_mac("b", 2), with_mac("c", 3)]).await.unwrap();
    let update = |rows| {
        let source = Source { update: true, ..from("new.csv") };
        ledger.import(lines(rows), source)
    };
    let macs = async || all_rows(&ledger).await.into_iter().map(|listed| listed.row.mac).collect::<Vec<_>>();
    // Two that change places, and a new row that takes the address of one that has none any more.
    let rows = vec![with_mac("a", 2), with_mac("b", 1), with_mac("d", 3), row("c")];
    let done = update(rows.clone()).await.unwrap().unwrap();
    assert_eq!(done, Imported { added: 1, updated: 3, unchanged: 0 });
    let wanted = [("a", 2), ("b", 1)].map(|(name, last)| with_mac(name, last).mac);
    assert_eq!(macs().await, [&wanted[..], &[None, with_mac("d", 3).mac]].concat());
    assert_eq!(update(rows).await.unwrap().unwrap().unchanged, 4);
    // The row whose address it is stays as it is: nothing is changed.
    let before = macs().await;
    let rows = vec![row("x"), with_mac("a", 1), row("a"), with_mac("e", 3)];
    let refused = update(rows).await.unwrap().unwrap_err();
    let told: Vec<_> = refused.faults.iter().map(|fault| (fault.line, fault.column.as_deref())).collect();
    assert_eq!(told, [(3, Some("mac")), (4, Some("name")), (5, Some("mac"))]);
    assert!(refused.faults[0].why.contains("'b'") && refused.faults[2].why.contains("'d'"), "{refused:?}");
    assert_eq!(macs().await, before);
}

#[tokio::test]
async fn a_column_that_differs_is_named_as_in_the_manifest() {
    let place = InFile::new();
    let ledger = place.ledger();
    let fields = |key: &str, text: &str| Fields {
        client: [("site".to_owned(), text.into())].into_iter().collect(),
        extra: [(key.to_owned(), text.to_owned())].into_iter().collect(),
        wifi_ssid: None,
    };
    import(&ledger, vec![Row { fields: fields("hall", "1"), ..row("a") }]).await.unwrap();
    let mut changed = fields("hall", "2");
    let faults = import(&ledger, vec![Row { fields: changed.clone(), ..row("a") }]).await.unwrap_err();
    assert_eq!(faults[0].column.as_deref(), Some("client.site"));
    changed.client = fields("hall", "1").client;
    let faults = import(&ledger, vec![Row { fields: changed, ..row("a") }]).await.unwrap_err();
    assert_eq!(faults[0].column.as_deref(), Some("x.hall"));
}

#[tokio::test]
async fn an_import_that_nobody_waits_for_ends_and_is_undone() {
    let place = InFile::new();
    let ledger = with_rows(&place, 1).await;
    let endless = Box::new((2..).map(|line| Ok((line, row(&format!("endless-{line}"))))));
    let import = ledger.import(endless, from("m.csv"));
    assert!(tokio::time::timeout(Duration::from_millis(50), import).await.is_err());
    assert_eq!(ledger.claim(9).await.unwrap().len(), 1);
    assert_eq!(all_rows(&ledger).await.len(), 1);
}

/// Whatever another handle does: what is read is of one moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_is_of_one_moment() {
    let place = InFile::new();
    let (ledger, other) = (with_rows(&place, 8).await, place.ledger());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let changing = tokio::spawn(async move {
        let mut changes = 0;
        while !stop.is_closed() {
            for claim in other.claim(8).await.unwrap() {
                other.finish(claim, Ending::Failed(trouble("server/failure"))).await.unwrap();
                changes += 1;
            }
            other.retry(Selection::default()).await.unwrap();
        }
        changes
    });
    for _ in 0..60 {
        let walked = ledger.walk().await.unwrap();
        assert!(walked.broken.is_empty(), "{walked:?}");
        let shown = ledger.show("sensor-7").await.unwrap();
        assert_eq!(shown.broken, None);
        let last = shown.history.last().map(|line| line.kind.as_str());
        assert_eq!(last == Some("failed"), shown.listed.state == RowState::Failed);
        let totals = ledger.totals().await.unwrap();
        assert_eq!(totals.states.values().sum::<u64>(), 8);
        let failed = totals.states.get(&RowState::Failed).copied().unwrap_or_default();
        assert_eq!(totals.days.iter().map(|day| day.failed).sum::<u64>(), failed);
    }
    drop(stopped);
    assert!(changing.await.unwrap() > 0);
}

/// What a row is not in any more is not told.
#[tokio::test]
async fn trouble_ends_with_its_cause() {
    let place = InFile::new();
    let ledger = with_rows(&place, 3).await;
    for claim in ledger.claim(3).await.unwrap() {
        ledger.finish(claim, Ending::Failed(trouble("server/failure"))).await.unwrap();
    }
    // By another command; by one that came half the way; by another manifest.
    prove(&ledger, "sensor-0").await.unwrap();
    let subject = Subject::Named("sensor-1");
    let lease = ledger.lease(subject).await.unwrap();
    stage(&ledger, &lease, subject, &server(1), &Sample::certificate("x")).await.unwrap();
    drop(lease);
    let source = Source { update: true, ..from("new.csv") };
    let changed = Row { label: Some("door".to_owned()), ..row("sensor-2") };
    ledger.import(lines(vec![changed]), source).await.unwrap().unwrap();
    let listed = all_rows(&ledger).await;
    assert!(listed.iter().all(|listed| listed.trouble.is_none() && listed.retry_at.is_none()), "{listed:?}");
    let states: Vec<_> = listed.iter().map(|listed| listed.state).collect();
    assert_eq!(states, [RowState::Proved, RowState::Staged, RowState::Queued]);
    let ended: Vec<_> = listed.iter().map(|listed| listed.ended.is_some()).collect();
    assert_eq!((ended, listed[2].attempts), (vec![true, false, false], 0));
    let mut due = ledger.claim(9).await.unwrap();
    due.sort_by_key(|claim| claim.id);
    assert_eq!(
        names(&due),
        ["sensor-0", "sensor-1", "sensor-2"],
        "a run finishes what another command began"
    );
}

#[tokio::test]
async fn devices_are_listed_by_their_ids_whether_they_have_names_or_not() {
    let place = InFile::new();
    let (ledger, server) = (with_rows(&place, 1).await, server(1));
    assert_eq!(code(ledger.only().await), ErrorCode::StoreNotFound, "a row alone is no device");
    let slot = slot(&server, "key");
    for subject in [Subject::Named("z"), Subject::Unnamed(&slot), Subject::Named("a")] {
        let lease = ledger.lease(subject).await.unwrap();
        stage(&ledger, &lease, subject, &server, &Sample::certificate("x")).await.unwrap();
        if let Subject::Named("z") = subject {
            assert_eq!(ledger.only().await.unwrap().shown_name(), "z");
        }
    }
    assert_eq!(code(ledger.only().await), ErrorCode::UsageMissing);
    let listed = ledger.list().await.unwrap();
    let ids: Vec<_> = listed.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!((ids[0], ids[2], ids.len()), ("a", "z", 3));
    assert!(ids[1].starts_with("unnamed-"), "{ids:?}");
}

#[tokio::test]
async fn a_row_ends_in_one_of_four_ways() {
    let place = InFile::new();
    let ledger = with_rows(&place, 4).await;
    let mut claims = ledger.claim(4).await.unwrap().into_iter();
    let mut next = || claims.next().unwrap();
    prove(&ledger, "sensor-0").await.unwrap();
    ledger.finish(next(), Ending::Done).await.unwrap();
    ledger.finish(next(), Ending::Failed(trouble("server/failure"))).await.unwrap();
    let wait = Duration::from_secs(100);
    ledger.finish(next(), Ending::Later(trouble("net/refused"), wait)).await.unwrap();
    ledger.finish(next(), Ending::GivenBack).await.unwrap();
    let listed = all_rows(&ledger).await;
    let states: Vec<_> = listed.iter().map(|listed| listed.state).collect();
    let attempts: Vec<_> = listed.iter().map(|listed| listed.attempts).collect();
    assert_eq!(attempts, [1, 1, 1, 0], "a row that is given back was not tried");
    assert_eq!(states, [RowState::Proved, RowState::Failed, RowState::Queued, RowState::Queued]);
    assert!(listed[0].trouble.is_none() && listed[0].ended.is_some() && listed[0].entry.is_some());
    assert_eq!(listed[1].trouble, Some(trouble("server/failure")));
    assert!(listed[1].ended.is_some() && listed[1].retry_at.is_none());
    assert!(listed[2].retry_at.unwrap() > clock::now() && listed[2].ended.is_none());
    assert!(listed[3].trouble.is_none() && listed[3].retry_at.is_none());
    let due = ledger.due().await.unwrap();
    assert_eq!((due.free, due.claimed, due.wait), (2, 0, Duration::ZERO));
    let claims = ledger.claim(9).await.unwrap();
    assert_eq!(names(&claims), ["sensor-3"]);
    let due = ledger.due().await.unwrap();
    assert_eq!((due.free, due.claimed), (1, 1));
    assert!(due.wait > wait / 2 && due.wait <= wait, "{due:?}");
    // Of those that failed one is named, the other waits.
    let meant = Selection { code: Some("net/refused".to_owned()), ..Selection::default() };
    assert_eq!(ledger.retry(meant).await.unwrap(), 1);
    assert_eq!(code(ledger.retry(named("nobody")).await), ErrorCode::StoreNotFound);
    assert_eq!(ledger.retry(named("sensor-0")).await.unwrap(), 0, "it has not failed");
    assert_eq!(ledger.retry(named("sensor-1")).await.unwrap(), 1);
    let again = ledger.claim(9).await.unwrap();
    assert_eq!(names(&again), ["sensor-1", "sensor-2"]);
    assert_eq!((again[0].state, again[0].attempts), (RowState::Queued, 1), "it is counted anew");
}

#[tokio::test]
async fn rows_are_counted_by_state_and_by_day() {
    let place = InFile::new();
    let ledger = with_rows(&place, 6).await;
    let mut claims = ledger.claim(4).await.unwrap();
    for name in ["sensor-0", "sensor-1"] {
        prove(&ledger, name).await.unwrap();
        ledger.finish(claims.remove(0), Ending::Done).await.unwrap();
    }
    ledger.finish(claims.remove(0), Ending::Failed(trouble("server/failure"))).await.unwrap();
    let day = 24 * 60 * 60 * 1000_i64;
    place.raw().execute("UPDATE device SET ended = ended - 3 * ?1 WHERE name = 'sensor-0'", [day]).unwrap();
    let totals = ledger.totals().await.unwrap();
    let states: Vec<_> = totals.states.into_iter().collect();
    assert_eq!(states, [(RowState::Queued, 3), (RowState::Proved, 2), (RowState::Failed, 1)]);
    let days: Vec<_> = totals.days.iter().map(|day| (day.proved, day.failed)).collect();
    assert_eq!(days, [(1, 0), (1, 1)]);
    assert_eq!((totals.days[1].date - totals.days[0].date).whole_days(), 3);
    assert_eq!((totals.waiting, totals.claimed), (0, 1));
    let hours = ledger.timeline(Duration::from_secs(3600)).await.unwrap();
    assert_eq!(hours.iter().map(|hour| hour.proved + hour.failed).sum::<u64>(), 3);
    assert_eq!(hours[0].begin.minute(), 0);
    let failed = Selection { state: Some(RowState::Failed), ..Selection::default() };
    assert_eq!(ledger.rows(&failed, None, 9).await.unwrap()[0].row.name.as_str(), "sensor-2");
    let rest = ledger.rows(&Selection::default(), Some(RowId(2)), 2).await.unwrap();
    assert_eq!(rest.iter().map(|row| row.id).collect::<Vec<_>>(), [RowId(3), RowId(4)]);
    assert_eq!(ledger.sample(0.0).await.unwrap().len(), 1);
    assert_eq!(ledger.sample(1.0).await.unwrap(), [RowId(1), RowId(2)]);
}

/// What is no row is not counted: a device that was taken out, and a place that is held for one.
#[tokio::test]
async fn what_is_taken_out_leaves_its_name() {
    let place = InFile::new();
    let ledger = with_rows(&place, 1).await;
    prove(&ledger, "sensor-0").await.unwrap();
    let entry = ledger.open("sensor-0").await.unwrap();
    let lease = ledger.lease(Subject::Named("sensor-0")).await.unwrap();
    let told = ledger.remove(&lease, &entry).await.unwrap();
    assert!(told.contains("fleet.db"), "{told}");
    drop(lease);
    let _held = ledger.lease(Subject::Named("another")).await.unwrap();
    assert!(all_rows(&ledger).await.is_empty() && ledger.totals().await.unwrap().states.is_empty());
    assert_eq!(import(&ledger, vec![row("sensor-0")]).await.unwrap().added, 1);
    let kept: i64 = place.raw().query_row("SELECT count(*) FROM identity", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 1, "the key is kept aside");
}

#[tokio::test]
async fn a_history_has_a_line_for_each_change() {
    let place = InFile::new();
    let ledger = with_rows(&place, 2).await;
    assert!(ledger.history("sensor-0").await.unwrap().is_empty(), "it begins with the first change");
    assert_eq!(code(ledger.history("nobody").await), ErrorCode::StoreNotFound);
    let mut claims = ledger.claim(2).await.unwrap();
    prove(&ledger, "sensor-0").await.unwrap();
    let fence = claims[0].lease.fence();
    ledger.finish(claims.remove(0), Ending::Done).await.unwrap();
    ledger.finish(claims.remove(0), Ending::Failed(trouble("server/failure"))).await.unwrap();
    ledger.retry(Selection::default()).await.unwrap();
    let lines = ledger.history("sensor-0").await.unwrap();
    let kinds: Vec<_> = lines.iter().map(|line| line.kind.as_str()).collect();
    assert_eq!(kinds, ["staged", "sent", "proved"]);
    assert!(lines.iter().all(|line| line.fence == fence && line.run.is_some() && line.hash.len() == 64));
    let lines = ledger.history("sensor-1").await.unwrap();
    let kinds: Vec<_> = lines.iter().map(|line| line.kind.as_str()).collect();
    assert_eq!(kinds, ["failed", "retried"]);
    assert_eq!(lines[0].detail.as_ref().unwrap()["code"], "server/failure");
    let walked = ledger.walk().await.unwrap();
    assert_eq!((walked.lines, walked.broken.len()), (6, 0));
}

/// Each of these is done by somebody who writes to the file.
#[tokio::test]
async fn a_history_that_was_changed_is_found() {
    let sensor = "device = (SELECT id FROM device WHERE name = 'sensor-0')";
    let last = format!("number = (SELECT max(number) FROM event WHERE {sensor})");
    for (what, sql, whose) in [
        (
            "changed",
            format!("UPDATE event SET detail = '{{}}' WHERE kind = 'staged' AND {sensor}"),
            "sensor-0",
        ),
        ("another time", format!("UPDATE event SET at = at + 1 WHERE {last}"), "sensor-0"),
        ("the last is gone", format!("DELETE FROM event WHERE {last}"), "sensor-0"),
        (
            "one in the middle is gone",
            format!("DELETE FROM event WHERE kind = 'sent' AND {sensor}"),
            "sensor-0",
        ),
        ("all are gone", format!("DELETE FROM event WHERE {sensor}"), "sensor-0"),
        ("turned", "UPDATE event SET number = -number".to_owned(), "sensor-0"),
        ("another's", format!("UPDATE event SET device = 2 WHERE {last}"), "sensor-0"),
        ("the import", "UPDATE event SET detail = NULL WHERE device IS NULL".to_owned(), ""),
        ("the import is gone", "DELETE FROM event WHERE device IS NULL".to_owned(), ""),
    ] {
        let place = InFile::new();
        let ledger = with_rows(&place, 2).await;
        prove(&ledger, "sensor-0").await.unwrap();
        prove(&ledger, "sensor-1").await.unwrap();
        assert!(ledger.walk().await.unwrap().broken.is_empty());
        let raw = place.raw();
        let refused = raw.execute(&sql, []).unwrap_err();
        assert!(refused.to_string().contains("a history is not changed"), "{what}: {refused}");
        raw.execute_batch("DROP TRIGGER event_is_not_changed; DROP TRIGGER event_is_not_deleted").unwrap();
        raw.execute(&sql, []).unwrap();
        let broken = ledger.walk().await.unwrap().broken;
        let whose = (!whose.is_empty()).then(|| whose.to_owned());
        assert!(broken.iter().any(|(name, _)| *name == whose), "{what}: {broken:?}");
    }
}

#[tokio::test]
async fn a_board_has_the_identity_of_one_device() {
    let place = InFile::new();
    let ledger = with_rows(&place, 2).await;
    for (name, mac) in [
        ("sensor-0", "24:0a:c4:00:00:01"),
        ("sensor-1", "24:0a:c4:00:00:01"),
        ("sensor-1", "24:0a:c4:00:00:02"),
    ] {
        if ledger.find(Subject::Named(name)).await.unwrap().is_none() {
            prove(&ledger, name).await.unwrap();
        }
        let entry = ledger.open(name).await.unwrap();
        let lease = ledger.lease(Subject::Named(name)).await.unwrap();
        let at = clock::now().replace_nanosecond(0).unwrap();
        let chip = Flashed { at, chip: "esp32c3".to_owned(), mac: mac.to_owned(), image_sha256: None };
        let credentials_id = entry.record.identity.credentials_id.clone();
        ledger.note(&lease, &entry, Note::Flashed { chip, credentials_id }).await.unwrap();
    }
    let raw = place.raw();
    let sql = "SELECT device, mac, scrapped IS NULL FROM board ORDER BY id";
    let mut boards = raw.prepare(sql).unwrap();
    let boards = boards.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let boards: Vec<(i64, String, bool)> = boards.map(Result::unwrap).collect();
    let (first, second) = ("24:0a:c4:00:00:01".to_owned(), "24:0a:c4:00:00:02".to_owned());
    assert_eq!(boards, [(1, first.clone(), false), (2, first, false), (2, second, true)]);
}

/// Changes that wait together are one transaction, and one that fails undoes nothing but itself.
#[tokio::test]
async fn a_change_that_fails_leaves_its_neighbours() {
    let place = InFile::new();
    let ledger = Arc::new(with_rows(&place, 40).await);
    let samples: Vec<_> = (0..20).map(|_| Sample::certificate("x")).collect();
    // Each certificate twice: the second of the two fails, in the same moment.
    let claims = ledger.claim(40).await.unwrap();
    let staged = claims.into_iter().enumerate().map(|(at, claim)| {
        let (ledger, sample) = (Arc::clone(&ledger), samples[at / 2].clone());
        tokio::spawn(async move {
            let subject = Subject::Named(claim.row.name.as_str());
            let lease = ledger.lease(subject).await.unwrap();
            stage(&*ledger, &lease, subject, &server(1), &sample).await
        })
    });
    let staged: Vec<_> = staged.collect();
    let (mut done, mut refused) = (0, 0);
    for staged in staged {
        match staged.await.unwrap() {
            Ok(entry) => {
                done += 1;
                assert!(ledger.find(Subject::Named(entry.shown_name())).await.unwrap().is_some());
            }
            Err(error) => {
                refused += 1;
                assert_eq!(error.code, ErrorCode::StoreExists, "{error}");
            }
        }
    }
    assert_eq!((done, refused), (20, 20));
    let walked = ledger.walk().await.unwrap();
    assert_eq!((walked.lines, walked.broken.len()), (21, 0));
}

#[tokio::test]
async fn devices_of_a_store_come_in_with_their_keys() {
    let (folder, place) = (InFolder::new(), InFile::new());
    let store = folder.open();
    let (server, own, next) = (server(1), Sample::certificate("sensor"), Sample::certificate("sensor"));
    let (lease, entry) = proved(&*store, &server, &own).await;
    let entry = with_candidate(&*store, &lease, &entry, &server, &next).await;
    let rotated = store.promote(&lease, &entry).await.unwrap();
    let token = Sample::token();
    let subject = Subject::Named("half");
    let lease = store.lease(subject).await.unwrap();
    let half = stage(&*store, &lease, subject, &server, &token).await.unwrap();
    let mut whole = Vec::new();
    for (entry, all) in [(&rotated, &[Which::Current, Which::Previous][..]), (&half, &[Which::Current])] {
        let mut identities = Vec::new();
        for which in all {
            identities.push(store.key(entry, *which).await.unwrap());
        }
        whole.push(Whole { entry: entry.clone(), trust: store.trust(entry).await.unwrap(), identities });
    }
    let ledger = place.ledger();
    let done = ledger.take_in(whole.clone(), "./devices").await.unwrap();
    assert_eq!(done, Imported { added: 2, ..Imported::default() });
    let found = ledger.open("sensor").await.unwrap();
    assert_eq!(found.record, rotated.record);
    assert_eq!(held(&ledger, &found, Which::Current).await, next.id());
    assert_eq!(held(&ledger, &found, Which::Previous).await, own.id());
    assert_eq!(ledger.trust(&found).await.unwrap().certificates, server.trust.certificates);
    let found = ledger.open("half").await.unwrap();
    let kept = ledger.key(&found, Which::Current).await.unwrap();
    let Credentials::AccessToken(held) = kept.open("half").unwrap() else { panic!("no token") };
    assert!(matches!(&token.credentials, Credentials::AccessToken(token) if *token == held));
    // What is not proved is due; what is there already stays as it is.
    assert_eq!(names(&ledger.claim(9).await.unwrap()), ["half"]);
    let again = ledger.take_in(whole.clone(), "./devices").await.unwrap();
    assert_eq!(again, Imported { unchanged: 2, ..Imported::default() });
    let other = place_with(&own).await;
    assert_eq!(code(other.1.take_in(whole, "./devices").await), ErrorCode::StoreExists);
    assert_eq!(all_rows(&other.1).await.len(), 1, "all or none");
}

/// A ledger in which `sensor` has this identity.
async fn place_with(sample: &Sample) -> (InFile, Sqlite) {
    let place = InFile::new();
    let ledger = place.ledger();
    let server = server(1);
    let subject = Subject::Named("sensor");
    let lease = ledger.lease(subject).await.unwrap();
    stage(&ledger, &lease, subject, &server, sample).await.unwrap();
    drop(lease);
    (place, ledger)
}

/// A given device is kept as far as it has come.
#[tokio::test]
async fn a_device_may_come_in_proved() {
    let place = InFile::new();
    let (ledger, server, sample) = (with_rows(&place, 1).await, server(1), Sample::certificate("x"));
    let subject = Subject::Named("sensor-0");
    let lease = ledger.lease(subject).await.unwrap();
    let identity = sample.new_identity();
    let (state, wishes) = (State::Proved, Wishes::default());
    ledger.stage(&lease, NewDevice { subject, server: &server, identity, state, wishes }).await.unwrap();
    let listed = all_rows(&ledger).await;
    assert_eq!(listed[0].state, RowState::Proved);
    assert!(listed[0].ended.is_some());
    assert_eq!(ledger.totals().await.unwrap().days.len(), 1);
}

/// Many tasks of one run, each with its own device.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_proves_many_at_once() {
    let place = InFile::new();
    let ledger = Arc::new(with_rows(&place, 60).await);
    let claims = ledger.claim(60).await.unwrap();
    let works = claims.into_iter().map(|claim| {
        let ledger = Arc::clone(&ledger);
        tokio::spawn(async move {
            let id = prove(&*ledger, claim.row.name.as_str()).await.unwrap();
            let name = claim.row.name.as_str().to_owned();
            ledger.finish(claim, Ending::Done).await.unwrap();
            (name, id)
        })
    });
    let works: Vec<_> = works.collect();
    for work in works {
        let (name, id) = work.await.unwrap();
        let entry = ledger.open(&name).await.unwrap();
        assert_eq!(held(&*ledger, &entry, Which::Current).await, id);
    }
    assert_eq!(ledger.totals().await.unwrap().states.get(&RowState::Proved), Some(&60));
    assert!(ledger.walk().await.unwrap().broken.is_empty());
    place.assert_tidy();
}
