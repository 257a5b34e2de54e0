//! A process that ends in the middle of its work, by `kill -9`, and one that is stopped for longer than its lease: both
//! are this test binary once more, with the ledger's path in a variable.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tbprov::event::Progress;
use tbprov::ledger::roster::{Ending, Roster as _, RowState, Selection};
use tbprov::ledger::sqlite::{DEFAULT_LEASE, Sqlite};
use tbprov::ledger::{Ledger as _, Subject, Which};
use tbprov::{ErrorCode, Secret, State};

use crate::place::InFile;
use crate::roster::{from, lines, row};
use crate::samples::*;

const PATH: &str = "TBPROV_TEST_LEDGER";

/// Starts the test `name` of this binary as a process of its own.
fn start(name: &str, path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([&format!("killed::{name}"), "--exact", "--ignored", "--nocapture"])
        .env(PATH, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until the process has said `word` so often.
fn wait_for(child: &mut Child, word: &str, often: usize) {
    let stdout = child.stdout.as_mut().unwrap();
    let lines = BufReader::new(stdout).lines().map(Result::unwrap);
    let said = lines.filter(|line| line.contains(word)).take(often).count();
    assert_eq!(said, often, "it did not say {word} so often");
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

async fn with_rows(place: &InFile, count: usize) -> Sqlite {
    let ledger = place.ledger();
    let rows = (0..count).map(|number| row(&format!("sensor-{number}"))).collect();
    ledger.import(lines(rows), from("m.csv")).await.unwrap().unwrap();
    ledger
}

/// A process that works until somebody kills it.
#[tokio::test]
#[ignore = "started by the test below"]
async fn works() {
    let Ok(path) = std::env::var(PATH) else { return };
    let ledger = Sqlite::open(path, DEFAULT_LEASE, Progress::silent()).unwrap();
    let server = server(1);
    while let Ok(claims) = ledger.claim(8).await {
        for claim in claims {
            let (name, sample) = (claim.row.name.as_str().to_owned(), Sample::token());
            let subject = Subject::Named(&name);
            let lease = ledger.lease(subject).await.unwrap();
            let entry = match ledger.find(subject).await.unwrap() {
                Some(entry) => entry,
                None => stage(&ledger, &lease, subject, &server, &sample).await.unwrap(),
            };
            for state in [State::Sent, State::Proved] {
                let entry = ledger.find(subject).await.unwrap().unwrap_or_else(|| entry.clone());
                let reached = [state];
                let advance = reaching(Which::Current, &reached, &server);
                ledger.advance(&lease, &entry, advance).await.unwrap();
            }
            drop(lease);
            ledger.finish(claim, Ending::Done).await.unwrap();
            println!("proved");
        }
    }
}

/// The token of each device that has one.
async fn tokens(ledger: &Sqlite) -> BTreeMap<String, Secret> {
    let mut tokens = BTreeMap::new();
    for listed in ledger.rows(&Selection::default(), None, usize::MAX).await.unwrap() {
        if let Some(entry) = &listed.entry {
            let kept = ledger.key(entry, Which::Current).await.unwrap();
            let tbprov::ledger::Kept::AccessToken(token) = kept else { panic!("no token") };
            tokens.insert(entry.shown_name().to_owned(), token);
        }
    }
    tokens
}

#[tokio::test]
async fn a_run_that_is_killed_loses_nothing_and_holds_nothing() {
    let (place, mut known) = (InFile::new(), BTreeMap::new());
    let ledger = with_rows(&place, 5000).await;
    for (round, proved) in [1, 5, 14, 30].into_iter().enumerate() {
        let mut child = start("works", &place.path());
        wait_for(&mut child, "proved", proved);
        std::thread::sleep(Duration::from_micros(700 * proved as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        let begun = Instant::now();
        // What it held is free at once, though its lease has long to go.
        let claims = ledger.claim(5000).await.unwrap();
        let all_proved = ledger.totals().await.unwrap().states[&RowState::Proved];
        let ended: i64 =
            place.raw().query_row("SELECT count(*) FROM device WHERE due = 0", [], |row| row.get(0)).unwrap();
        assert_eq!(claims.len() as i64 + ended, 5000, "round {round}");
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert!(all_proved >= proved as u64, "round {round}: {all_proved} proved");
        drop(claims);
        let walked = ledger.walk().await.unwrap();
        assert!(walked.broken.is_empty(), "round {round}: {:?}", walked.broken);
        let now = tokens(&ledger).await;
        assert!(known.iter().all(|(name, token)| now.get(name) == Some(token)), "an identity was replaced");
        known = now;
        let sql = "SELECT count(*) - count(DISTINCT device) FROM identity";
        let twice: i64 = place.raw().query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(twice, 0, "round {round}: a device has two identities");
    }
    drop(ledger);
    let left = std::fs::read_dir(place.path().parent().unwrap()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["fleet.db"], "what the killed processes left is cleared away");
}

const SHORT: Duration = Duration::from_millis(300);

/// A process that claims a row, and works on it once somebody says so.
#[tokio::test]
#[ignore = "started by the test below"]
async fn works_later() {
    let Ok(path) = std::env::var(PATH) else { return };
    let ledger = Sqlite::open(path, SHORT, Progress::silent()).unwrap();
    let claim = ledger.claim(1).await.unwrap().remove(0);
    let subject = Subject::Named("sensor-0");
    let lease = ledger.lease(subject).await.unwrap();
    println!("claimed");
    std::io::stdin().lines().next();
    let staged = stage(&ledger, &lease, subject, &server(1), &Sample::token()).await;
    let finished = ledger.finish(claim, Ending::Done).await;
    let is_lost =
        [staged.map(drop), finished].into_iter().all(|done| code(done) == ErrorCode::StoreLeaseLost);
    println!("{}", if is_lost { "lost" } else { "not lost" });
}

#[tokio::test]
async fn a_run_that_is_stopped_for_too_long_changes_nothing_late() {
    let place = InFile::new();
    let ledger = with_rows(&place, 1).await;
    let mut child = start("works_later", &place.path());
    wait_for(&mut child, "claimed", 1);
    signal(&child, Signal::STOP);
    assert!(ledger.claim(1).await.unwrap().is_empty(), "its lease has not ended");
    let begun = Instant::now();
    let claims = loop {
        let claims = ledger.claim(1).await.unwrap();
        if !claims.is_empty() || begun.elapsed() > Duration::from_secs(20) {
            break claims;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(claims.len(), 1);
    signal(&child, Signal::CONT);
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.lines().any(|line| line == "lost"), "{said}");
    assert!(ledger.find(Subject::Named("sensor-0")).await.unwrap().is_none());
    assert!(claims[0].lease.check().is_ok());
}
