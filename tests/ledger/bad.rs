//! Files that are no ledger, or none that can be used.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use tbprov::event::Progress;
use tbprov::ledger::roster::Roster as _;
#[cfg(unix)]
use tbprov::ledger::roster::Selection;
use tbprov::ledger::sqlite::{DEFAULT_LEASE, Sqlite};
use tbprov::{Error, ErrorCode};

use crate::place::InFile;
use crate::roster::{from, lines, row};
use crate::samples::code;

fn open(path: &Path) -> tbprov::Result<Sqlite> {
    Sqlite::open(path, DEFAULT_LEASE, Progress::silent())
}

#[track_caller]
fn refused(place: &InFile, wanted: ErrorCode, says: &str) -> Error {
    let error = open(&place.path()).unwrap_err();
    assert_eq!(error.code, wanted, "{error}");
    assert!(error.message.contains(says) && error.message.contains("fleet.db"), "{error}");
    error
}

async fn with_row(place: &InFile) -> Sqlite {
    let ledger = place.ledger();
    ledger.import(lines(vec![row("sensor")]), from("m.csv")).await.unwrap().unwrap();
    ledger
}

#[test]
fn what_is_not_there_is_not_made_by_opening_it() {
    let place = InFile::new();
    refused(&place, ErrorCode::LedgerNotFound, "there is no ledger");
    assert!(!place.path().exists());
}

#[test]
fn another_file_is_no_ledger_and_is_not_changed() {
    let place = InFile::new();
    let text = "name,label\nsensor,door\n".repeat(20);
    for (content, says) in [
        ("", "is an empty file"),
        ("name\n", "is no SQLite file"),
        (&*text, "is no SQLite file"),
        ("SQLite format 3\0", "is cut off"),
    ] {
        fs::write(place.path(), content).unwrap();
        refused(&place, ErrorCode::LedgerNotALedger, says);
        assert_eq!(fs::read_to_string(place.path()).unwrap(), content);
        if !content.is_empty() {
            let made = Sqlite::create(place.path(), DEFAULT_LEASE, Progress::silent());
            assert_eq!(code(made), ErrorCode::LedgerNotALedger);
        }
    }
    fs::remove_file(place.path()).unwrap();
    place.raw().execute_batch("CREATE TABLE device (id INTEGER); PRAGMA user_version = 1").unwrap();
    refused(&place, ErrorCode::LedgerNotALedger, "another program");
    fs::remove_file(place.path()).unwrap();
    fs::create_dir(place.path()).unwrap();
    refused(&place, ErrorCode::LedgerNotALedger, "no regular file");
}

/// What a run leaves that was killed before there was a ledger.
#[tokio::test]
async fn an_empty_file_becomes_a_ledger_where_one_is_made() {
    let place = InFile::new();
    tbprov::files::write_new(&place.path(), b"", tbprov::files::Access::Owner).unwrap();
    with_row(&place).await;
    assert!(open(&place.path()).is_ok());
}

#[tokio::test]
async fn a_later_schema_is_left_alone() {
    let place = InFile::new();
    drop(with_row(&place).await);
    place.raw().execute_batch("PRAGMA user_version = 7").unwrap();
    refused(&place, ErrorCode::LedgerNewer, "has the schema 7");
    place.raw().execute_batch("PRAGMA user_version = 1").unwrap();
    assert!(open(&place.path()).is_ok());
}

#[tokio::test]
async fn damage_is_told() {
    let place = InFile::new();
    drop(with_row(&place).await);
    let whole = fs::read(place.path()).unwrap();
    fs::write(place.path(), &whole[..whole.len() - 4096]).unwrap();
    refused(&place, ErrorCode::LedgerCorrupt, "cut off");
    // Every page but the first, one after the other.
    for page in 1..whole.len() / 4096 {
        let mut damaged = whole.clone();
        damaged[page * 4096..(page + 1) * 4096].fill(0xA5);
        fs::write(place.path(), damaged).unwrap();
        refused(&place, ErrorCode::LedgerCorrupt, "is damaged");
    }
    fs::write(place.path(), &whole).unwrap();
    assert!(open(&place.path()).is_ok());
}

/// A large ledger is not looked at as a whole: what is met later is told then.
#[tokio::test]
async fn damage_that_is_met_later_is_told_too() {
    let place = InFile::new();
    let ledger = with_row(&place).await;
    let damaged = place.raw();
    damaged.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let root: u32 = damaged
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'event'", [], |row| row.get(0))
        .unwrap();
    let mut content = fs::read(place.path()).unwrap();
    let root = root as usize;
    content[(root - 1) * 4096..root * 4096].fill(0xA5);
    fs::write(place.path(), content).unwrap();
    let fresh = Connection::open(place.path()).unwrap();
    fresh.execute_batch("UPDATE ledger SET fence = fence + 1").unwrap();
    let error = ledger.walk().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::LedgerCorrupt, "{error}");
    assert!(error.message.contains("fleet.db"), "{error}");
}

/// SQLite would take them for the new ledger's own.
#[test]
fn changes_that_lie_beside_no_ledger_are_not_taken_into_a_new_one() {
    let place = InFile::new();
    for ending in ["-wal", "-shm"] {
        let beside = place.path().with_file_name(format!("fleet.db{ending}"));
        fs::write(&beside, "changes").unwrap();
        let made = Sqlite::create(place.path(), DEFAULT_LEASE, Progress::silent());
        let error = made.unwrap_err();
        assert_eq!(error.code, ErrorCode::LedgerIo, "{error}");
        assert!(error.message.contains("lies there without its ledger"), "{error}");
        assert!(!place.path().exists());
        fs::remove_file(beside).unwrap();
    }
}

/// What would be written there is lost.
#[cfg(unix)]
#[tokio::test]
async fn a_ledger_that_was_deleted_moved_or_replaced_takes_no_change() {
    for (name, is_replaced) in
        [("fleet.db", false), ("fleet.db", true), ("fleet.db-wal", false), ("fleet.db-shm", false)]
    {
        let place = InFile::new();
        let ledger = with_row(&place).await;
        let claims = ledger.claim(1).await.unwrap();
        assert_eq!(claims.len(), 1);
        let file = place.path().with_file_name(name);
        fs::rename(&file, place.path().with_file_name("moved")).unwrap();
        if is_replaced {
            fs::write(&file, "another").unwrap();
        }
        let error = ledger.retry(Selection::default()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::LedgerIo, "{name}: {error}");
        assert!(error.message.contains("was deleted, moved or replaced"), "{error}");
    }
}

#[cfg(unix)]
mod rights {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[tokio::test]
    async fn a_ledger_that_others_can_read_is_not_used() {
        let place = InFile::new();
        let ledger = with_row(&place).await;
        let mode = |name: &str| {
            let path = place.path().with_file_name(name);
            path.metadata().unwrap_or_else(|error| panic!("{name}: {error}")).permissions().mode() & 0o777
        };
        assert_eq!([mode("fleet.db"), mode("fleet.db-wal")], [0o600, 0o600]);
        let _claims = ledger.claim(1).await.unwrap();
        assert_eq!(mode("fleet.db-runs"), 0o700);
        set_mode(&place.path(), 0o640);
        refused(&place, ErrorCode::StoreReadableKey, "can be read by others (its mode is 0640)");
    }

    #[tokio::test]
    async fn a_ledger_has_one_name_in_a_folder_of_its_own() {
        let place = InFile::new();
        drop(with_row(&place).await);
        let moved = place.path().with_file_name("moved.db");
        fs::rename(place.path(), &moved).unwrap();
        symlink(&moved, place.path()).unwrap();
        refused(&place, ErrorCode::LedgerNotALedger, "is a link");
        fs::remove_file(place.path()).unwrap();
        fs::hard_link(&moved, place.path()).unwrap();
        refused(&place, ErrorCode::LedgerIo, "has another name as well");
        fs::remove_file(moved).unwrap();
        set_mode(place.path().parent().unwrap(), 0o777);
        let error = open(&place.path()).unwrap_err();
        assert_eq!(error.code, ErrorCode::LedgerIo, "{error}");
        assert!(error.message.contains("others may write to the folder"), "{error}");
        let other = place.path().with_file_name("other.db");
        let made = Sqlite::create(&other, DEFAULT_LEASE, Progress::silent());
        assert_eq!(code(made), ErrorCode::LedgerIo);
        assert!(!other.exists());
    }

    /// Does `work` as a user whom the modes of files stop. The user root has a thread that is another one.
    #[cfg(target_os = "linux")]
    fn as_a_user(place: &InFile, work: impl AsyncFnOnce() + Send) {
        use rustix::process::Uid;
        const NOBODY: u32 = 65534;
        if rustix::process::geteuid().is_root() {
            let folder = place.path().parent().unwrap().to_owned();
            let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
            for path in files.chain([folder.clone()]) {
                std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        std::thread::scope(|scope| {
            let done = scope.spawn(|| {
                if rustix::process::geteuid().is_root() {
                    let nobody = Uid::from_raw(NOBODY);
                    rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
                }
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(work());
            });
            done.join().unwrap();
        });
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_ledger_that_cannot_be_written_can_be_read() {
        use tbprov::ledger::roster::Selection;
        for (file, folder) in [(0o400, 0o700), (0o400, 0o500), (0o600, 0o500)] {
            let place = InFile::new();
            drop(with_row(&place).await);
            set_mode(&place.path(), file);
            set_mode(place.path().parent().unwrap(), folder);
            as_a_user(&place, async || {
                let ledger =
                    open(&place.path()).unwrap_or_else(|error| panic!("{file:o} {folder:o}: {error}"));
                assert_eq!(ledger.rows(&Selection::default(), None, 9).await.unwrap().len(), 1);
                assert_eq!(ledger.totals().await.unwrap().states.len(), 1);
                assert!(ledger.walk().await.unwrap().broken.is_empty());
                let refused = ledger.claim(1).await.unwrap_err();
                assert_eq!(refused.code, ErrorCode::LedgerReadOnly, "{file:o} {folder:o}: {refused}");
                assert!(refused.message.contains("fleet.db"), "{refused}");
                let imported = ledger.import(lines(vec![row("x")]), from("m.csv")).await;
                assert_eq!(imported.unwrap_err().code, ErrorCode::LedgerReadOnly);
            });
            set_mode(place.path().parent().unwrap(), 0o700);
        }
    }

    /// After a kill, changes lie beside the file that only a writer could bring in.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn changes_beside_a_ledger_that_cannot_be_written_are_not_overlooked() {
        let (live, place) = (InFile::new(), InFile::new());
        let ledger = with_row(&live).await;
        for name in ["fleet.db", "fleet.db-wal"] {
            fs::copy(live.path().with_file_name(name), place.path().with_file_name(name)).unwrap();
            set_mode(&place.path().with_file_name(name), 0o400);
        }
        drop(ledger);
        set_mode(place.path().parent().unwrap(), 0o500);
        as_a_user(&place, async || {
            refused(&place, ErrorCode::LedgerReadOnly, "its -wal");
        });
        set_mode(place.path().parent().unwrap(), 0o700);
    }
}
