//! How fast a ledger in a file is. Nothing is asserted: `cargo test --release --test ledger -- --ignored --nocapture
//! figures` shows what docs/performance.md has.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tbprov::State;
use tbprov::event::Progress;
use tbprov::identity::sha256_hex;
use tbprov::ledger::roster::{Ending, Line, Roster as _, Row, Selection};
use tbprov::ledger::sqlite::{DEFAULT_LEASE, Sqlite};
use tbprov::ledger::{Ledger as _, Subject, Which};

use crate::place::InFile;
use crate::roster::{from, row};
use crate::samples::*;

const ROWS: u64 = 1_000_000;
const DEVICES: u64 = 100_000;

fn shown(what: &str, begun: Instant, count: u64) {
    let taken = begun.elapsed();
    let each = taken.as_secs_f64() * 1e6 / count as f64;
    println!(
        "{what}: {:.3} s, {each:.2} µs each, processor {:.2} s, {} MB",
        taken.as_secs_f64(),
        cpu(),
        peak()
    );
}

/// Seconds of the processor that this process has had.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse().unwrap_or(0.0))
        .collect();
    fields.iter().sum::<f64>() / 100.0
}

/// Megabytes that this process had at the most.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().to_owned();
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn manifest(count: u64, are_mixed: bool) -> Box<dyn Iterator<Item = Line> + Send> {
    Box::new((0..count).map(move |number| {
        let name = match are_mixed {
            true => format!("sensor-{}", &sha256_hex(&number.to_le_bytes())[..12]),
            false => format!("sensor-{number:07}"),
        };
        let (label, serial) = (Some(format!("Sensor {number}")), Some(format!("SN{number:09}")));
        Ok((number + 2, Row { label, serial, ..row(&name) }))
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures, in release"]
async fn import_and_totals() {
    for are_mixed in [false, true] {
        let place = InFile::new();
        let ledger = place.ledger();
        let begun = Instant::now();
        println!(
            "rows alone: {} characters",
            manifest(ROWS, are_mixed).map(|line| line.unwrap().1.name.as_str().len()).sum::<usize>()
        );
        shown("making the rows", begun, ROWS);
        let begun = Instant::now();
        ledger.import(manifest(ROWS, are_mixed), from("m.csv")).await.unwrap().unwrap();
        shown(&format!("import, mixed {are_mixed}"), begun, ROWS);
        let begun = Instant::now();
        ledger.import(manifest(ROWS, are_mixed), from("m.csv")).await.unwrap().unwrap();
        shown("the same again", begun, ROWS);
        // As after a day's work: some hundred thousand ended.
        let sql =
            "UPDATE device SET state = 'proved', due = 0, ended = 1764000000000 + id * 300 WHERE id % 3 > 0";
        place.raw().execute(sql, []).unwrap();
        for _ in 0..3 {
            let begun = Instant::now();
            let totals = ledger.totals().await.unwrap();
            shown(&format!("totals, {} days", totals.days.len()), begun, 1);
        }
        let begun = Instant::now();
        println!("{} intervals", ledger.timeline(Duration::from_secs(60)).await.unwrap().len());
        shown("timeline by minute", begun, 1);
        let begun = Instant::now();
        println!("{:?}", ledger.due().await.unwrap());
        shown("due", begun, 1);
        let begun = Instant::now();
        println!("{} claims", ledger.claim(64).await.unwrap().len());
        shown("claim of 64", begun, 1);
        println!("{} MB", place.path().metadata().unwrap().len() >> 20);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures, in release"]
async fn changes() {
    let place = InFile::new();
    let ledger = Arc::new(place.ledger());
    ledger.import(manifest(DEVICES, false), from("m.csv")).await.unwrap().unwrap();
    let (server, sample) = (Arc::new(server(1)), Sample::certificate("sensor"));
    let before = cpu();
    let begun = Instant::now();
    let (work, waiting) = tokio::sync::mpsc::channel(64);
    let waiting = Arc::new(tokio::sync::Mutex::new(waiting));
    let feeder = {
        let ledger = Arc::clone(&ledger);
        tokio::spawn(async move {
            loop {
                let claims = ledger.claim(64).await.unwrap();
                if claims.is_empty() {
                    break;
                }
                for claim in claims {
                    work.send(claim).await.unwrap();
                }
            }
        })
    };
    let workers: Vec<_> = (0..64)
        .map(|_| {
            let (ledger, server, waiting, kept) =
                (Arc::clone(&ledger), Arc::clone(&server), Arc::clone(&waiting), sample.clone());
            tokio::spawn(async move {
                while let Some(claim) = { waiting.lock().await.recv().await } {
                    let name = claim.row.name.as_str().to_owned();
                    // A certificate of its own costs more than the ledger: a token has the same path.
                    let (_, token) = (&kept, Sample::token());
                    let subject = Subject::Named(&name);
                    let lease = ledger.lease(subject).await.unwrap();
                    assert!(ledger.find(subject).await.unwrap().is_none());
                    let entry = stage(&*ledger, &lease, subject, &server, &token).await.unwrap();
                    let sent = reaching(Which::Current, &[State::Sent], &server);
                    let entry = ledger.advance(&lease, &entry, sent).await.unwrap();
                    let reached = [State::Accepted, State::Proved];
                    ledger
                        .advance(&lease, &entry, reaching(Which::Current, &reached, &server))
                        .await
                        .unwrap();
                    drop(lease);
                    ledger.finish(claim, Ending::Done).await.unwrap();
                }
            })
        })
        .collect();
    feeder.await.unwrap();
    for worker in workers {
        worker.await.unwrap();
    }
    shown("claimed, found, staged, sent, proved, ended", begun, DEVICES);
    println!("{:.1} µs of the processor each", (cpu() - before) * 1e6 / DEVICES as f64);
    let begun = Instant::now();
    let walked = ledger.walk().await.unwrap();
    shown(&format!("walk of {} lines, {} broken", walked.lines, walked.broken.len()), begun, walked.lines);
    let begun = Instant::now();
    let (mut after, mut count) = (None, 0);
    loop {
        let rows = ledger.rows(&Selection::default(), after, 1000).await.unwrap();
        let Some(last) = rows.last() else { break };
        (after, count) = (Some(last.id), count + rows.len());
    }
    shown("all rows by thousands", begun, count as u64);
    println!("{} MB", place.path().metadata().unwrap().len() >> 20);
    drop(Sqlite::open(place.path(), DEFAULT_LEASE, Progress::silent()).unwrap());
}
