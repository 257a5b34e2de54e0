#![allow(clippy::disallowed_methods, reason = "tests")]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use super::open::Place;
use super::schema::{self, STEPS};
use super::session::Runs;
use super::worker::Writer;
use super::*;
use crate::device::{DeviceId, DeviceName};
use crate::error::ErrorCode;
use crate::event::{Event, Observer};
use crate::ledger::roster::{Line, Roster as _, Row, Selection, Source};

/// One step more than there is.
const NEXT: &str = "ALTER TABLE device ADD COLUMN colour TEXT; UPDATE device SET colour = 'red';";

fn row(name: &str) -> Row {
    Row::named(DeviceName::parse(name).unwrap().unwrap())
}

fn lines(count: u64) -> Box<dyn Iterator<Item = Line> + Send> {
    Box::new((0..count).map(|number| Ok((number, row(&format!("sensor-{number}"))))))
}

fn source() -> Source {
    Source { name: "m.csv".to_owned(), update: false, dry_run: false }
}

fn path(folder: &TempDir) -> PathBuf {
    folder.path().join("fleet.db")
}

async fn made(folder: &TempDir, count: u64) -> Sqlite {
    let ledger = Sqlite::create(path(folder), DEFAULT_LEASE, Progress::silent()).unwrap();
    ledger.import(lines(count), source()).await.unwrap().unwrap();
    ledger
}

fn names(folder: &TempDir) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Observer for Warnings {
    fn event(&self, _: Option<&DeviceId>, event: &Event) {
        if let Event::Warning { message } = event {
            self.0.lock().unwrap().push(message.clone());
        }
    }
}

#[tokio::test]
async fn an_earlier_schema_is_upgraded_after_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    drop(made(&folder, 3).await);
    let (path, warnings) = (path(&folder), Arc::new(Warnings::default()));
    let steps = [STEPS[0], NEXT];
    let db = Connection::open(&path).unwrap();
    schema::upgrade(&db, &path, true, &steps, &Progress::new(warnings.clone())).unwrap();
    let red: i64 =
        db.query_row("SELECT count(*) FROM device WHERE colour = 'red'", [], |row| row.get(0)).unwrap();
    assert_eq!(red, 3);
    let told = warnings.0.lock().unwrap().join("\n");
    assert!(told.contains("from the schema 1 to 2") && told.contains("fleet.db.schema-1"), "{told}");
    let copy = path.with_file_name("fleet.db.schema-1");
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&copy.metadata().unwrap()) & 0o777, 0o600);
    let copy = Sqlite::open(&copy, DEFAULT_LEASE, Progress::silent()).unwrap();
    assert_eq!(copy.rows(&Selection::default(), None, 9).await.unwrap().len(), 3);
    // This release refuses what it has just been upgraded to.
    drop(db);
    let newer = Sqlite::open(&path, DEFAULT_LEASE, Progress::silent()).unwrap_err();
    assert_eq!(newer.code, ErrorCode::LedgerNewer);
}

#[tokio::test]
async fn an_upgrade_that_ends_in_the_middle_leaves_the_earlier_schema() {
    let folder = tempfile::tempdir().unwrap();
    drop(made(&folder, 3).await);
    let path = path(&folder);
    let db = Connection::open(&path).unwrap();
    let failing = format!("{NEXT} INSERT INTO nothing VALUES (1)");
    let failed = schema::upgrade(&db, &path, true, &[STEPS[0], &failing], &Progress::silent());
    assert_eq!(failed.unwrap_err().code, ErrorCode::LedgerCorrupt);
    // Killed after the copy, in the transaction: what lies on the disk then is opened elsewhere.
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    db.execute_batch(NEXT).unwrap();
    db.cache_flush().unwrap();
    let other = tempfile::tempdir().unwrap();
    for name in ["fleet.db", "fleet.db-wal"] {
        std::fs::copy(path.with_file_name(name), other.path().join(name)).unwrap();
    }
    db.execute_batch("ROLLBACK").unwrap();
    drop(db);
    for folder in [&folder, &other] {
        let path = folder.path().join("fleet.db");
        let ledger = Sqlite::open(&path, DEFAULT_LEASE, Progress::silent()).unwrap();
        assert_eq!(ledger.rows(&Selection::default(), None, 9).await.unwrap().len(), 3);
        drop(ledger);
        let db = Connection::open(&path).unwrap();
        schema::upgrade(&db, &path, true, &[STEPS[0], NEXT], &Progress::silent()).unwrap();
        assert!(db.prepare("SELECT colour FROM device").is_ok());
    }
    assert_eq!(names(&folder), ["fleet.db", "fleet.db.schema-1", "fleet.db.schema-1.2"]);
}

#[tokio::test]
async fn an_earlier_schema_that_cannot_be_written_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    drop(made(&folder, 1).await);
    let path = path(&folder);
    let db = Connection::open(&path).unwrap();
    let refused = schema::upgrade(&db, &path, false, &[STEPS[0], NEXT], &Progress::silent()).unwrap_err();
    assert_eq!(refused.code, ErrorCode::LedgerReadOnly);
    assert!(refused.message.contains("an earlier tbprov"), "{refused}");
}

#[tokio::test]
async fn a_ledger_that_another_program_holds_is_busy() {
    let folder = tempfile::tempdir().unwrap();
    drop(made(&folder, 1).await);
    let mut place = Place::find(&path(&folder), &Progress::silent()).unwrap();
    place.patience = Duration::from_millis(50);
    let ledger = Sqlite::at(place, DEFAULT_LEASE).unwrap();
    let other = Connection::open(path(&folder)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = ledger.claim(1).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::LedgerBusy);
    assert!(error.message.contains("fleet.db"), "{error}");
    assert_eq!(ledger.rows(&Selection::default(), None, 9).await.unwrap().len(), 1, "it can be read");
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(ledger.claim(1).await.unwrap().len(), 1);
}

const INSERT: &str = "INSERT INTO batch (source, at) VALUES (?1, 1)";
const LARGE: &str = "INSERT INTO batch (source, at) VALUES (hex(zeroblob(9999999)), 1)";

/// As SQLite sees a full disk: no page more.
#[tokio::test]
async fn a_full_disk_is_told_and_keeps_nothing_of_the_change() {
    let folder = tempfile::tempdir().unwrap();
    drop(made(&folder, 1).await);
    let place = Place::find(&path(&folder), &Progress::silent()).unwrap();
    let db = place.writing().unwrap().unwrap();
    let pages: i64 = db.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    let _: i64 = db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| row.get(0)).unwrap();
    let ledger = Sqlite::at(place, DEFAULT_LEASE).unwrap();
    let writer = Writer::start(db, Runs::new(&path(&folder), DEFAULT_LEASE), path(&folder)).unwrap();
    let error = writer.change_much(|desk| desk.import(lines(9999), &source())).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::LedgerIo);
    assert!(error.message.contains("is full") && error.message.contains("fleet.db"), "{error}");
    assert_eq!(ledger.rows(&Selection::default(), None, 9).await.unwrap().len(), 1);
    // Changes that wait together: none is kept when the transaction ended before them.
    let add = |what: &'static str| writer.change(move |desk| Ok(desk.db.execute(INSERT, [what])?));
    let slow = writer.change(|_| {
        std::thread::sleep(Duration::from_millis(100));
        Ok(())
    });
    let large = writer.change(|desk| Ok(desk.db.execute(LARGE, [])?));
    // The slow one may be of their group, and then fails with them.
    let (_, first, large, last) = tokio::join!(slow, add("first"), large, add("last"));
    for failed in [first, large, last] {
        assert_eq!(failed.unwrap_err().code, ErrorCode::LedgerIo);
    }
    let batches = writer.change(|desk| {
        Ok(desk.db.query_row("SELECT count(*) FROM batch", [], |row| row.get::<_, i64>(0))?)
    });
    assert_eq!(batches.await.unwrap(), 1);
    // What needs no page more goes on.
    let run = writer.change(|desk| Ok(desk.run()?.word.clone())).await.unwrap();
    assert!(!run.is_empty());
}
