//! The one thread that writes. It puts the changes that wait together into one transaction, and answers each of them when
//! that is on the disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use rusqlite::Connection;
use time::OffsetDateTime;
use tokio::sync::oneshot;

use super::failure::{Done, Failed, no_room};
use super::files::Files;
use super::session::Runs;
use crate::clock;
use crate::error::{Error, ErrorCode, Result};

/// Changes in one transaction, at the most.
const LARGEST_GROUP: usize = 256;
/// How long the thread sleeps where there is no lease to renew.
const IDLE: Duration = Duration::from_secs(3600);
/// After a group of so many changes, more are on their way.
const BUSY: usize = 4;
/// How long the thread waits for them: many of them write the same pages, and all wait for one `fsync`.
const GATHERING: Duration = Duration::from_millis(4);
/// How long the thread leaves the ledger to other processes after each transaction, where some work on rows too.
const BREATH: Duration = Duration::from_millis(2);

/// What a change works with: inside a transaction, on the thread that writes.
pub(super) struct Desk<'a> {
    pub(super) db: &'a Connection,
    pub(super) runs: &'a mut Runs,
    pub(super) now: OffsetDateTime,
    /// Whether the change is undone although it did not fail.
    pub(super) is_undone: bool,
    /// Set when nobody waits for the change any more.
    given_up: Option<Arc<AtomicBool>>,
}

impl Desk<'_> {
    /// Fails where nobody waits for the change any more: what takes long ends then, and is undone.
    pub(super) fn check_wanted(&self) -> Done<()> {
        match &self.given_up {
            Some(given_up) if given_up.load(Ordering::Relaxed) => Err(Error::interrupted().into()),
            _ => Ok(()),
        }
    }
}

/// Tells the thread, when it is dropped, that nobody waits any more.
#[derive(Default)]
struct Waits(Arc<AtomicBool>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Tells who waits how the change ended, once the transaction has.
type Answer = Box<dyn FnOnce(Option<Error>)>;

/// Does the change, or just fails.
type Work = Box<dyn FnOnce(std::result::Result<&mut Desk<'_>, Error>) -> Worked + Send>;

/// How a change ended, before its transaction has.
struct Worked {
    /// Whether what it did stays.
    is_kept: bool,
    failed: Option<Error>,
    answer: Answer,
}

struct Job {
    work: Work,
    /// Whether it has a transaction of its own, because it is large.
    is_large: bool,
}

/// The thread that writes, and the way to it.
pub(super) struct Writer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    id: Option<ThreadId>,
    path: PathBuf,
    /// Why there is no thread, if the disk is why.
    is_full: bool,
}

impl Writer {
    pub(super) fn start(db: Connection, runs: Runs, path: PathBuf) -> Result<Self> {
        let (jobs, waiting) = channel();
        let files = Files::of(&path);
        let desk = Writing { db, files, runs, waiting, next: None, has_others: false, path: path.clone() };
        let thread = thread::Builder::new().name("ledger".to_owned()).spawn(move || desk.serve());
        let thread = thread.map_err(|error| {
            Error::new(ErrorCode::LedgerIo, "the system gave no thread for the ledger").source(error)
        })?;
        Ok(Self {
            jobs: Some(jobs),
            id: Some(thread.thread().id()),
            thread: Some(thread),
            path,
            is_full: false,
        })
    }

    /// One that refuses every change, because the ledger can only be read; `is_full` where its disk has no room.
    pub(super) const fn refusing(path: PathBuf, is_full: bool) -> Self {
        Self { jobs: None, thread: None, id: None, path, is_full }
    }

    fn is_this_thread(&self) -> bool {
        self.id == Some(thread::current().id())
    }

    /// Does `work` in a transaction; it is on the disk when the future ends. Dropping that does not end the change.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Desk<'_>) -> Done<T> + Send + 'static,
    ) -> Result<T> {
        self.wait(work, false).await
    }

    /// As [`Writer::change`], for what may be large. It is undone when the future is dropped before its end.
    pub(super) async fn change_much<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Desk<'_>) -> Done<T> + Send + 'static,
    ) -> Result<T> {
        let waits = Waits::default();
        let given_up = Arc::clone(&waits.0);
        let work = move |desk: &mut Desk<'_>| {
            desk.given_up = Some(given_up);
            work(desk)
        };
        self.wait(work, true).await
    }

    async fn wait<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Desk<'_>) -> Done<T> + Send + 'static,
        is_large: bool,
    ) -> Result<T> {
        let answer = self.begin(work, is_large)?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    fn begin<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Desk<'_>) -> Done<T> + Send + 'static,
        is_large: bool,
    ) -> Result<oneshot::Receiver<Result<T>>> {
        let Some(jobs) = &self.jobs else {
            let is_full = self.is_full;
            return Err(if is_full {
                no_room(&self.path)
            } else {
                Failed::Sql(read_only()).told(&self.path)
            });
        };
        let (sender, answer) = oneshot::channel();
        let path = self.path.clone();
        let work: Work = Box::new(move |desk| {
            let done = desk.and_then(|desk| {
                let done = work(desk).map_err(|failed| failed.told(&path));
                done.map(|done| (done, !desk.is_undone))
            });
            let (done, is_kept) = match done {
                Ok((done, is_kept)) => (Ok(done), is_kept),
                Err(error) => (Err(error), false),
            };
            let failed = done.as_ref().err().map(again);
            let answer = move |failed: Option<Error>| {
                let _ = sender.send(match (done, failed) {
                    (Ok(_), Some(error)) => Err(error),
                    (done, _) => done,
                });
            };
            Worked { is_kept, failed, answer: Box::new(answer) }
        });
        jobs.send(Job { work, is_large }).map_err(|_| stopped())?;
        Ok(answer)
    }

    /// Does `work` soon. Waits for its end, unless this is the thread that does it.
    pub(super) fn change_now(&self, work: impl FnOnce(&mut Desk<'_>) -> Done<()> + Send + 'static) {
        if let Ok(mut answer) = self.begin(work, false)
            && !self.is_this_thread()
        {
            // No runtime may be there, and this may be one of its own threads: it is as short as a commit and the wait
            // before it.
            while let Err(oneshot::error::TryRecvError::Empty) = answer.try_recv() {
                thread::sleep(Duration::from_micros(50));
            }
        }
    }

    /// Does `work` soon, and does not wait.
    pub(super) fn change_later(&self, work: impl FnOnce(&mut Desk<'_>) -> Done<()> + Send + 'static) {
        let _ = self.begin(work, false);
    }
}

impl Drop for Writer {
    /// What waits is done first.
    fn drop(&mut self) {
        self.jobs = None;
        if !self.is_this_thread()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn stopped() -> Error {
    Error::new(ErrorCode::Bug, "the ledger's thread stopped")
}

fn read_only() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY), None)
}

fn full() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None)
}

/// What the thread has.
struct Writing {
    db: Connection,
    files: Files,
    runs: Runs,
    waiting: Receiver<Job>,
    /// A large change that came while a group was gathered.
    next: Option<Job>,
    /// Whether other processes work on rows too.
    has_others: bool,
    path: PathBuf,
}

impl Writing {
    fn serve(mut self) {
        loop {
            let wait = self.runs.until_renewal().unwrap_or(IDLE);
            match self.next.take().map_or_else(|| self.waiting.recv_timeout(wait), Ok) {
                Ok(first) => {
                    let group = self.gather(first);
                    let is_busy = group.len() >= BUSY;
                    self.work(group);
                    if self.has_others {
                        thread::sleep(BREATH);
                    } else if is_busy && self.next.is_none() {
                        thread::sleep(GATHERING);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.runs.renew(&self.db);
        }
        self.runs.end(&self.db);
    }

    /// `first`, and those that wait behind it.
    fn gather(&mut self, first: Job) -> Vec<Job> {
        let is_large = first.is_large;
        let mut group = vec![first];
        while !is_large && group.len() < LARGEST_GROUP {
            match self.waiting.try_recv() {
                Ok(job) if job.is_large => {
                    self.next = Some(job);
                    break;
                }
                Ok(job) => group.push(job),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        group
    }

    fn work(&mut self, group: Vec<Job>) {
        let begun = self.files.check().and_then(|()| {
            execute(&self.db, "BEGIN IMMEDIATE").map_err(|error| Failed::Sql(error).told(&self.path))
        });
        if let Err(error) = begun {
            for job in group {
                ((job.work)(Err(again(&error))).answer)(None);
            }
            return;
        }
        let is_alone = group.len() == 1;
        let mut answers = Vec::with_capacity(group.len());
        let (mut is_kept, mut error) = (false, None);
        for job in group {
            let worked = match &error {
                None => self.step(job.work, is_alone),
                Some(error) => (job.work)(Err(again(error))),
            };
            // After a failure such as a full disk there is no transaction any more, and no change of the group is kept.
            if error.is_none() && self.db.is_autocommit() {
                error = Some(worked.failed.unwrap_or_else(|| Failed::Sql(full()).told(&self.path)));
            }
            is_kept |= worked.is_kept;
            answers.push(worked.answer);
        }
        if error.is_none() {
            self.has_others = self.runs.has_others(&self.db);
            let ended = execute(&self.db, if is_kept { "COMMIT" } else { "ROLLBACK" });
            error = ended.err().map(|error| Failed::Sql(error).told(&self.path));
        }
        if !self.db.is_autocommit() {
            let _ = execute(&self.db, "ROLLBACK");
        }
        for answer in answers {
            answer(error.as_ref().map(again));
        }
    }

    /// One change of a group: one that fails undoes nothing but itself.
    fn step(&mut self, work: Work, is_alone: bool) -> Worked {
        if !is_alone && let Err(error) = execute(&self.db, "SAVEPOINT change") {
            return work(Err(Failed::Sql(error).told(&self.path)));
        }
        let (db, runs) = (&self.db, &mut self.runs);
        let mut desk = Desk { db, runs, now: clock::now(), is_undone: false, given_up: None };
        let worked = work(Ok(&mut desk));
        if !is_alone && !self.db.is_autocommit() {
            if !worked.is_kept && execute(&self.db, "ROLLBACK TO change").is_err() {
                let _ = execute(&self.db, "ROLLBACK");
                return worked;
            }
            let _ = execute(&self.db, "RELEASE change");
        }
        worked
    }
}

pub(super) fn execute(db: &Connection, sql: &str) -> rusqlite::Result<()> {
    db.prepare_cached(sql)?.execute([]).map(drop)
}

/// The same failure, for another change of its group.
fn again(error: &Error) -> Error {
    Error::new(error.code, error.message.clone())
}
