//! Devices in one SQLite file: [`Sqlite`] is a [`Ledger`](super::Ledger) and a [`Roster`](super::roster::Roster).
//!
//! ```text
//! fleet.db         0600; `schema/1.sql` says what is in it
//! fleet.db-wal     SQLite's own, while somebody uses the ledger, with fleet.db-shm
//! fleet.db-runs/   0700; one file for each process that works on rows, locked for as long as it lives
//! ```
//!
//! One thread writes (`worker`), others read what is on the disk. A change is made where the row still has the fence of
//! the lease and the record that was read, and its line of the history is written with it.

mod claims;
mod device;
mod failure;
mod files;
mod history;
mod identity;
mod import;
mod lease;
mod network;
mod open;
mod report;
mod schema;
mod session;
mod take_in;
#[cfg(test)]
mod tests;
mod trait_ledger;
mod trait_roster;
mod worker;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rusqlite::Connection;
use time::OffsetDateTime;

use self::failure::Done;
use self::lease::Claimed;
use self::open::Place;
use self::worker::Writer;
use crate::blocking::blocking;
use crate::error::Result;
use crate::event::Progress;
use crate::text::shown_path;

/// For how long the rows of a run that does not answer stay its own.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(60);

/// Connections that are kept for the next reader.
const READERS: usize = 4;

/// A ledger in one SQLite file.
pub struct Sqlite(Arc<Core>);

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Sqlite({})", self.0.path.display())
    }
}

/// What the handle and its leases share.
struct Core {
    path: PathBuf,
    place: Place,
    writer: Writer,
    readers: Mutex<Vec<Connection>>,
    /// The claims of this process, by the names of their rows.
    claims: Mutex<HashMap<String, Weak<Claimed>>>,
}

impl Drop for Sqlite {
    /// What goes on is done first: the future of a change may be dropped before it.
    fn drop(&mut self) {
        self.0.writer.change_now(|_| Ok(()));
    }
}

impl Sqlite {
    /// Opens the ledger at `path`. `lease` is how long the rows of this process stay its own when it does not answer;
    /// `progress` is told of an upgrade.
    ///
    /// # Errors
    /// `ledger/…`, `store/readable-key`.
    pub fn open(path: impl AsRef<Path>, lease: Duration, progress: Progress) -> Result<Self> {
        Self::at(Place::find(path.as_ref(), &progress)?, lease)
    }

    /// Opens the ledger at `path`, and makes one where there is none.
    ///
    /// # Errors
    /// `ledger/…`, `store/readable-key`.
    pub fn create(path: impl AsRef<Path>, lease: Duration, progress: Progress) -> Result<Self> {
        open::make(path.as_ref())?;
        Self::open(path, lease, progress)
    }

    fn at(place: Place, lease: Duration) -> Result<Self> {
        let path = place.path().to_owned();
        let writer = match place.writing()? {
            Some(db) => Writer::start(db, session::Runs::new(&path, lease), path.clone())?,
            None => Writer::refusing(path.clone(), place.is_full),
        };
        Ok(Self(Arc::new(Core { path, place, writer, readers: Mutex::default(), claims: Mutex::default() })))
    }

    /// Does `work` on a thread where it may wait, with what is on the disk.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Done<T> + Send + 'static,
    ) -> Result<T> {
        let core = Arc::clone(&self.0);
        blocking(move || core.read(work)).await
    }
}

impl Core {
    /// Does `work` with what is on the disk.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Done<T>) -> Result<T> {
        let kept = self.readers().pop();
        let db = kept.map_or_else(|| self.place.reading(), Ok)?;
        let done = at_one_moment(&db, work).map_err(|failed| failed.told(&self.path));
        let mut readers = self.readers();
        if readers.len() < READERS && db.is_autocommit() {
            readers.push(db);
        }
        done
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown(&self) -> String {
        format!("the ledger {}", shown_path(&self.path))
    }
}

/// Does `work`: all that it reads is of one moment, whatever others write meanwhile.
fn at_one_moment<T>(db: &Connection, work: impl FnOnce(&Connection) -> Done<T>) -> Done<T> {
    worker::execute(db, "BEGIN")?;
    let done = work(db);
    // After a failure there may be no transaction any more.
    let _ = worker::execute(db, "ROLLBACK");
    done
}

/// A time as the ledger keeps it.
fn millis(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
}

/// The time that was kept.
fn moment(millis: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
