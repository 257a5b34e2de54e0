//! Who works on a row: a process is a run from its first lease on. It holds the operating system's lock on a file of its
//! own, so that others see at once when it has ended, and says until when it is to be believed, in case it only stopped.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension as _, params};

use super::failure::Done;
use super::millis;
use super::worker::{Desk, execute};
use crate::clock;
use crate::error::{Error, ErrorCode};
use crate::files::lock::LifeLock;
use crate::secret::Secret;

/// For how long a row waits for its next attempt at the most.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Letters of a run's word.
const WORD: usize = 12;
/// How often a run that finds enough to do looks for others that have ended.
const LOOK: Duration = Duration::from_secs(5);

/// One registration of this process, and what its leases have to know.
pub(super) struct Run {
    pub(super) word: String,
    lease: Duration,
    /// When it last told that it is there, by a clock that nobody sets.
    renewed: Mutex<Instant>,
    is_over: AtomicBool,
    _lock: LifeLock,
}

impl Run {
    /// Whether others may have its rows by now, or soon. It is renewed after a third of the lease; a renewal may be late,
    /// because another program holds the ledger.
    pub(super) fn is_lost(&self) -> bool {
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_over.load(Ordering::SeqCst) || renewed.elapsed() > self.lease * 5 / 6
    }

    fn has_renewed(&self, at: Instant) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

/// The runs, as the thread that writes knows them.
pub(super) struct Runs {
    /// Where the files of the locks are.
    folder: PathBuf,
    lease: Duration,
    own: Option<Arc<Run>>,
    looked: Option<Instant>,
}

impl Runs {
    pub(super) fn new(ledger: &Path, lease: Duration) -> Self {
        let name = ledger.file_name().unwrap_or_default().to_string_lossy();
        let folder = ledger.with_file_name(format!("{name}-runs"));
        Self { folder, lease, own: None, looked: None }
    }

    /// How long until the lease is to be renewed.
    pub(super) fn until_renewal(&self) -> Option<Duration> {
        let own = self.own.as_ref()?;
        let renewed = *own.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        Some((self.lease / 3).saturating_sub(renewed.elapsed()))
    }

    fn lease_until(&self) -> i64 {
        millis(clock::now()).saturating_add(i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX))
    }

    /// Tells that this process is still there, where it is time to. What fails is tried again soon.
    pub(super) fn renew(&mut self, db: &Connection) {
        let (Some(own), Some(Duration::ZERO)) = (self.own.clone(), self.until_renewal()) else { return };
        // The lock of the ledger may be waited for, and the lease counts from before that.
        let at = Instant::now();
        let renewed = db
            .prepare_cached("UPDATE run SET lease_until = ?2 WHERE word = ?1")
            .and_then(|mut update| update.execute(params![own.word, self.lease_until()]));
        match renewed {
            Ok(1) => own.has_renewed(at),
            Ok(_) => self.lose(),
            // Not in a hurry: the ledger is busy, or its disk is full.
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }

    fn lose(&mut self) {
        if let Some(own) = self.own.take() {
            own.is_over.store(true, Ordering::SeqCst);
        }
    }

    /// Gives all rows of this process free.
    pub(super) fn end(&mut self, db: &Connection) {
        let Some(own) = &self.own else { return };
        let ended = execute(db, "BEGIN IMMEDIATE").is_ok()
            && free(db, &own.word).is_ok()
            && execute(db, "COMMIT").is_ok();
        if !ended && !db.is_autocommit() {
            let _ = execute(db, "ROLLBACK");
        }
        self.lose();
    }

    /// Whether other processes work on rows too.
    pub(super) fn has_others(&self, db: &Connection) -> bool {
        let own = self.own.as_ref().map(|own| own.word.as_str());
        let others = db.prepare_cached("SELECT 1 FROM run WHERE word IS NOT ?1 LIMIT 1");
        others.and_then(|mut others| others.exists([own])).unwrap_or_default()
    }

    /// Whether it is time to look whether other runs have ended.
    pub(super) fn is_time_to_look(&self) -> bool {
        self.looked.is_none_or(|looked| looked.elapsed() > LOOK)
    }
}

impl Desk<'_> {
    /// This process's run, which is registered where it is not yet.
    pub(super) fn run(&mut self) -> Done<Arc<Run>> {
        if let Some(own) = &self.runs.own {
            let mut known = self.db.prepare_cached("SELECT 1 FROM run WHERE word = ?1")?;
            if known.exists([&own.word])? {
                return Ok(Arc::clone(own));
            }
        }
        self.runs.lose();
        let word = Secret::random(WORD)?.expose().to_owned();
        let lock = LifeLock::take(&self.runs.folder, &word)?;
        let mut insert = self
            .db
            .prepare_cached("INSERT INTO run (word, process, began, lease_until) VALUES (?1, ?2, ?3, ?4)")?;
        insert.execute(params![word, std::process::id(), millis(self.now), self.runs.lease_until()])?;
        let run = Arc::new(Run {
            word,
            lease: self.runs.lease,
            renewed: Mutex::new(Instant::now()),
            is_over: AtomicBool::new(false),
            _lock: lock,
        });
        self.runs.own = Some(Arc::clone(&run));
        Ok(run)
    }

    /// The next number of a lease.
    pub(super) fn next_fence(&self) -> Done<i64> {
        let mut next = self.db.prepare_cached("UPDATE ledger SET fence = fence + 1 RETURNING fence")?;
        Ok(next.query_row([], |row| row.get(0))?)
    }

    /// Gives the rows of the run `word` free, where it has ended. Fails where it has not, naming its process.
    pub(super) fn take_over(&self, word: &str, shown: &str) -> Done<()> {
        let mut known = self.db.prepare_cached("SELECT process, lease_until FROM run WHERE word = ?1")?;
        let other = known.query_row([word], |row| Ok((row.get::<_, u32>(0)?, row.get(1)?))).optional()?;
        if let Some((process, lease_until)) = other
            && !self.has_ended(word, lease_until)?
        {
            let message = format!("another tbprov (process {process}) is working on the device '{shown}'");
            return Err(Error::new(ErrorCode::StoreLocked, message).into());
        }
        free(self.db, word)?;
        LifeLock::clear(&self.runs.folder, word);
        Ok(())
    }

    fn has_ended(&self, word: &str, lease_until: i64) -> Done<bool> {
        let is_own = self.runs.own.as_ref().is_some_and(|own| own.word == word);
        if is_own {
            return Ok(false);
        }
        Ok(lease_until < millis(self.now) || LifeLock::is_free(&self.runs.folder, word)?)
    }

    /// Gives the rows of all runs free that have ended. Tells whether there were any.
    pub(super) fn free_the_ended(&mut self) -> Done<bool> {
        self.runs.looked = Some(Instant::now());
        let mut known = self.db.prepare_cached("SELECT word, lease_until FROM run")?;
        let known = known.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let known: Vec<(String, i64)> = known.collect::<Result<_, _>>()?;
        let mut any = self.is_put_right()?;
        for (word, lease_until) in known {
            if self.has_ended(&word, lease_until)? {
                free(self.db, &word)?;
                LifeLock::clear(&self.runs.folder, &word);
                any = true;
            }
        }
        Ok(any)
    }
}

impl Desk<'_> {
    /// Makes rows due that wait until a time which a clock that was ahead has set.
    fn is_put_right(&self) -> Done<bool> {
        let now = millis(self.now);
        let latest = now.saturating_add(i64::try_from(LONGEST_WAIT.as_millis()).unwrap_or(i64::MAX));
        let mut update = self.db.prepare_cached(
            "UPDATE device SET retry_at = ?1 WHERE due = 1 AND run IS NULL AND retry_at > ?2",
        )?;
        Ok(update.execute([now, latest])? > 0)
    }
}

/// Gives the rows of a run free, and forgets it.
fn free(db: &Connection, word: &str) -> rusqlite::Result<()> {
    db.prepare_cached(
        "DELETE FROM device WHERE run = ?1 AND record IS NULL AND batch IS NULL AND removed IS NULL",
    )?
    .execute([word])?;
    db.prepare_cached("UPDATE device SET run = NULL WHERE run = ?1")?.execute([word])?;
    db.prepare_cached("DELETE FROM run WHERE word = ?1")?.execute([word]).map(drop)
}
