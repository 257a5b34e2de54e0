//! Opening a ledger: whether the file is one, whether it may be used where it lies, and who else could read it.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode as Code, OpenFlags};

use super::failure::{Done, Failed, no_room};
use super::files::check_nothing_beside;
use super::{network, schema};
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::event::Progress;
use crate::files::{self, Access, Failure, Privacy, lock};
use crate::text::shown_path;

/// How long another program may hold the ledger: an import of a million rows takes some seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long until it is asked again for the lock that another program has.
const PAUSE: Duration = Duration::from_millis(1);

/// Bytes of a file that is checked page by page whenever it is opened: that takes some milliseconds.
const QUICKLY_CHECKED: u64 = 4 << 20;

/// The beginning of every SQLite file, and where in it what stands.
const MAGIC: &[u8] = b"SQLite format 3\0";
const HEADER: usize = 100;
const PAGE_SIZE: usize = 16;
const PAGES: usize = 28;
const APPLICATION: usize = 68;

/// Statements that are kept ready.
const STATEMENTS: usize = 96;

/// A ledger that can be opened, and how.
pub(super) struct Place {
    path: PathBuf,
    how: How,
    /// Whether it can only be read because the disk has no room for what SQLite keeps beside it.
    pub(super) is_full: bool,
    /// How long another program may hold it.
    pub(super) patience: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Writing,
    Reading,
    /// Nobody can change it, so that no lock is needed, which could not be taken either.
    ReadingOnlyThis,
}

impl Place {
    /// Looks at the file at `path`, and upgrades its schema where it is that of an earlier release.
    pub(super) fn find(path: &Path, progress: &Progress) -> Result<Self> {
        let known = look(path)?;
        check_header(path, known.len())?;
        check_place(path, &known, progress)?;
        let Way { db, how, is_full } = first_way(path)?;
        let place = Self { path: path.to_owned(), how, is_full, patience: PATIENCE };
        schema::upgrade(&db, path, how == How::Writing, schema::STEPS, progress)?;
        check_pages(&db, known.len()).map_err(|failed| failed.told(path))?;
        Ok(place)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A connection that writes; none where the ledger can only be read.
    pub(super) fn writing(&self) -> Result<Option<Connection>> {
        if self.how != How::Writing {
            return Ok(None);
        }
        let patience = self.patience;
        let set = |db: &mut Connection| -> Done<()> {
            db.execute_batch(
                "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA foreign_keys = ON; PRAGMA cache_size = -24000;
                 PRAGMA secure_delete = ON;
                 PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 33554432;",
            )?;
            let mode: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
            if mode != "wal" {
                let message = format!(
                    "the file system of {} has no memory that processes share, which a ledger needs",
                    shown_path(&self.path)
                );
                return Err(Error::new(ErrorCode::LedgerIo, message).into());
            }
            wait_patiently(db, patience)
        };
        let mut db = open(&self.path, self.how).map_err(|failed| failed.told(&self.path))?;
        set(&mut db).map_err(|failed| failed.told(&self.path))?;
        Ok(Some(db))
    }

    /// A connection that reads.
    pub(super) fn reading(&self) -> Result<Connection> {
        let opened = open(&self.path, self.how).and_then(|db| {
            db.execute_batch("PRAGMA cache_size = -4000; PRAGMA query_only = ON")?;
            Ok(db)
        });
        opened.map_err(|failed| failed.told(&self.path))
    }
}

/// Lets `db` wait for other programs. SQLite's own pauses are so long that one that writes all the time would always be
/// faster.
fn wait_patiently(db: &mut Connection, patience: Duration) -> Done<()> {
    let mut since = Instant::now();
    db.busy_handler(Some(move |count| {
        if count == 0 {
            since = Instant::now();
        }
        thread::sleep(PAUSE);
        since.elapsed() < patience
    }))?;
    Ok(())
}

/// Makes a ledger where there is none, and no file or an empty one has its name: what a killed run left.
pub(super) fn make(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(known) if known.len() > 0 || !known.is_file() => return Ok(()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            check_folder(folder_of(path))?;
            network::check(folder_of(path))?;
            check_nothing_beside(path)?;
            lock::refuse_a_shared_folder(folder_of(path)).map_err(of_ledger)?;
            match files::write_new(path, b"", Access::Owner) {
                Err(failure) if !failure.is_existing() => return Err(of_ledger(failure.in_store())),
                _ => {
                    files::sync_directory(folder_of(path)).map_err(|failure| of_ledger(failure.in_store()))?
                }
            }
        }
        Err(error) => return Err(of_ledger(Failure::new("look at", path, error).in_store())),
    }
    let made = open(path, How::Writing).and_then(|db| schema::make(&db));
    made.map_err(|failed| failed.told(path))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A mistyped path would get a new ledger in a new folder, so none is made.
fn check_folder(folder: &Path) -> Result<()> {
    if folder.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        let message = format!("there is no folder {} for the ledger", shown_path(folder));
        return Err(Error::new(ErrorCode::LedgerIo, message).hint(Hint::MakeFolder));
    }
    Ok(())
}

/// A failure of the store's files, as one of the ledger's.
fn of_ledger(error: Error) -> Error {
    let hint = error.hint.clone();
    let ours = Error::new(ErrorCode::LedgerIo, error.message.clone()).source(error);
    match hint {
        Some(hint) => ours.hint(hint),
        None => ours,
    }
}

fn look(path: &Path) -> Result<Metadata> {
    let shown = shown_path(path);
    let not_a_ledger = |why: &str| Err(Error::new(ErrorCode::LedgerNotALedger, format!("{shown} {why}")));
    match path.symlink_metadata() {
        Ok(known) if known.is_symlink() => not_a_ledger("is a link: name the file itself"),
        Ok(known) if !known.is_file() => not_a_ledger("is no regular file"),
        Ok(known) if known.len() == 0 => not_a_ledger("is an empty file"),
        Ok(known) => Ok(known),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Error::new(ErrorCode::LedgerNotFound, format!("there is no ledger {shown}")))
        }
        Err(error) => Err(of_ledger(Failure::new("look at", path, error).in_store())),
    }
}

/// Fails where the file is none of tbprov, or is shorter than it says.
fn check_header(path: &Path, length: u64) -> Result<()> {
    let shown = shown_path(path);
    let mut header = Vec::with_capacity(HEADER);
    let read = File::open(path).and_then(|file| file.take(HEADER as u64).read_to_end(&mut header));
    read.map_err(|error| of_ledger(Failure::new("read", path, error).in_store()))?;
    let whose = match number(&header, APPLICATION) {
        _ if !header.starts_with(MAGIC) => "is no SQLite file",
        None => "is cut off",
        Some(schema::APPLICATION_ID) => return check_length(&header, length, path),
        Some(_) => "is the SQLite file of another program",
    };
    Err(Error::new(ErrorCode::LedgerNotALedger, format!("{shown} {whose}")))
}

/// With changes that lie beside it the file may be shorter.
fn check_length(header: &[u8], length: u64, path: &Path) -> Result<()> {
    let page = header.get(PAGE_SIZE..PAGE_SIZE + 2).and_then(|bytes| bytes.try_into().ok());
    let page = match u16::from_be_bytes(page.unwrap_or_default()) {
        1 => 65_536,
        page => u64::from(page),
    };
    let whole = u64::from(number(header, PAGES).unwrap_or_default()) * page;
    if length < whole && !has_changes_beside(path) {
        let message = format!("the ledger {} is cut off: it has {length} of {whole} bytes", shown_path(path));
        return Err(Error::new(ErrorCode::LedgerCorrupt, message));
    }
    Ok(())
}

fn number(header: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?))
}

fn has_changes_beside(path: &Path) -> bool {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    Path::new(&wal).metadata().is_ok_and(|known| known.len() > 0)
}

/// Fails where others could read the keys, or change the file, or where its locks do not hold.
fn check_place(path: &Path, known: &Metadata, progress: &Progress) -> Result<()> {
    let shown = shown_path(path);
    network::check(path)?;
    lock::refuse_a_shared_folder(folder_of(path)).map_err(of_ledger)?;
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::nlink(known) != 1 {
        // SQLite's own files beside it would be others for each name.
        let message = format!("{shown} has another name as well, and a ledger must have one");
        return Err(Error::new(ErrorCode::LedgerIo, message));
    }
    #[cfg(not(unix))]
    let _ = known;
    let why = match files::privacy(path) {
        Ok(Privacy::Private | Privacy::Unchecked) => return Ok(()),
        Err(error) => return Err(of_ledger(Failure::new("look at", path, error).in_store())),
        Ok(Privacy::NoModes) => {
            progress.warn(format!("the file system of {shown} keeps no access rights: others may read it"));
            return Ok(());
        }
        Ok(Privacy::Readable { mode }) => format!("can be read by others (its mode is {mode:04o})"),
        Ok(Privacy::OwnedByAnother { uid }) => format!("belongs to another user ({uid})"),
    };
    let message = format!("the ledger {shown} {why}");
    Err(Error::new(ErrorCode::StoreReadableKey, message).hint(Hint::PrivateLedger))
}

/// A ledger that was opened.
struct Way {
    db: Connection,
    how: How,
    is_full: bool,
}

/// Opens the file in the first way that works: to write, to read, to read without locks.
fn first_way(path: &Path) -> Result<Way> {
    let mut failed: Option<rusqlite::Error> = None;
    for how in [How::Writing, How::Reading, How::ReadingOnlyThis] {
        if how == How::ReadingOnlyThis && has_changes_beside(path) {
            continue;
        }
        match open(path, how).and_then(|db| Ok((is_writable(&db)?, db))) {
            Ok((is_writable, db)) => {
                let how = if how == How::Writing && !is_writable { How::Reading } else { how };
                return Ok(Way { db, how, is_full: failed.as_ref().is_some_and(is_of_room) });
            }
            Err(Failed::Sql(error)) if is_of_rights(&error) => _ = failed.get_or_insert(error),
            Err(other) => return Err(other.told(path)),
        }
    }
    match failed {
        Some(error) if is_of_room(&error) => return Err(no_room(path)),
        // The disk itself.
        Some(error) if error.sqlite_error_code() == Some(Code::SystemIoFailure) => {
            return Err(Failed::Sql(error).told(path));
        }
        _ => {}
    }
    let why = "it cannot be read without being written, because changes lie beside it in its -wal";
    let message = format!("the ledger {} cannot be written, and {why}", shown_path(path));
    let error = Error::new(ErrorCode::LedgerReadOnly, message);
    Err(failed.map(|failed| Error::new(error.code, error.message.clone()).source(failed)).unwrap_or(error))
}

fn is_of_rights(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(Code::ReadOnly | Code::CannotOpen | Code::PermissionDenied | Code::SystemIoFailure)
    )
}

/// Whether the file by which processes share a ledger could not become longer. SQLite does not say why.
fn is_of_room(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}

/// Reads a little, because SQLite opens nothing before; tells whether the file can be written.
fn is_writable(db: &Connection) -> Done<bool> {
    let _: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(!db.is_readonly(rusqlite::MAIN_DB)?)
}

fn open(path: &Path, how: How) -> Done<Connection> {
    // `:memory:` and `file:…` are names of files too.
    let path = &folder_of(path).join(path.file_name().unwrap_or_default());
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = match how {
        How::Writing => Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_READ_WRITE)?,
        How::Reading => Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_READ_ONLY)?,
        How::ReadingOnlyThis => Connection::open_with_flags(
            uri(path),
            flags | OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI,
        )?,
    };
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.busy_timeout(PATIENCE)?;
    db.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON")?;
    Ok(db)
}

/// The path as SQLite's URI that says that nobody changes the file.
fn uri(path: &Path) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let path = path.to_string_lossy().replace('\\', "/");
    let whole = if cfg!(windows) { format!("/{path}") } else { path };
    let parts: Vec<_> =
        whole.split('/').map(|part| utf8_percent_encode(part, NON_ALPHANUMERIC).to_string()).collect();
    format!("file:{}?immutable=1", parts.join("/"))
}

/// Looks for damage, as far as that takes no time.
fn check_pages(db: &Connection, length: u64) -> Done<()> {
    if length > QUICKLY_CHECKED {
        for table in ["ledger", "run", "device", "identity", "event", "bundle", "board", "batch"] {
            let sql = format!("SELECT max(rowid), (SELECT rowid FROM {table} LIMIT 1) FROM {table}");
            db.query_row(&sql, [], |_| Ok(()))?;
        }
        return Ok(());
    }
    let found: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" {
        return Ok(());
    }
    let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    Err(rusqlite::Error::SqliteFailure(error, Some(found)).into())
}
