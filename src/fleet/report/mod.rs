//! What a fleet has come to: in numbers, by device, as a table for a spreadsheet and as a page for a browser.
//!
//! Nothing of it is a secret: a report holds no key, token or password.

pub mod chart;
pub mod csv;
mod device;
pub mod html;

use serde::Serialize;
use time::{Date, OffsetDateTime};

pub use device::{Advise, Device, Manifest, Why};

use crate::clock;
use crate::error::{Error, ErrorCode};
use crate::ledger::roster::{Day, RowState, Totals};

/// How many rows of each kind there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All rows.
    pub total: u64,
    /// Rows by state.
    pub states: States,
    /// Rows that wait for another attempt.
    pub waiting: u64,
    /// Rows that a run works on.
    pub claimed: u64,
    /// Whether every row has come to its end.
    pub finished: bool,
    /// Rows that came to their end, by the day (UTC).
    pub days: Vec<DayCounts>,
}

/// Rows by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "each is the number of rows in the state of its name")]
pub struct States {
    pub queued: u64,
    pub staged: u64,
    pub sent: u64,
    pub accepted: u64,
    pub proved: u64,
    pub failed: u64,
}

/// The rows that came to their end on one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DayCounts {
    /// The day, `2026-11-28`.
    pub date: String,
    /// Rows that were proved.
    pub proved: u64,
    /// Rows that failed.
    pub failed: u64,
}

impl States {
    /// The number of rows in `state`.
    pub const fn of(&self, state: RowState) -> u64 {
        match state {
            RowState::Queued => self.queued,
            RowState::Staged => self.staged,
            RowState::Sent => self.sent,
            RowState::Accepted => self.accepted,
            RowState::Proved => self.proved,
            RowState::Failed => self.failed,
        }
    }
}

impl Counts {
    /// Rows that have come to their end.
    pub const fn done(&self) -> u64 {
        self.states.proved + self.states.failed
    }

    /// Rows that have not.
    pub const fn left(&self) -> u64 {
        self.total - self.done()
    }
}

impl From<&Totals> for Counts {
    fn from(totals: &Totals) -> Self {
        let of = |state| totals.states.get(&state).copied().unwrap_or(0);
        let states = States {
            queued: of(RowState::Queued),
            staged: of(RowState::Staged),
            sent: of(RowState::Sent),
            accepted: of(RowState::Accepted),
            proved: of(RowState::Proved),
            failed: of(RowState::Failed),
        };
        let total = totals.states.values().sum();
        Self {
            total,
            states,
            waiting: totals.waiting,
            claimed: totals.claimed,
            finished: states.proved + states.failed == total,
            days: totals.days.iter().map(DayCounts::from).collect(),
        }
    }
}

impl From<&Day> for DayCounts {
    fn from(day: &Day) -> Self {
        Self { date: date(day.date), proved: day.proved, failed: day.failed }
    }
}

fn date(date: Date) -> String {
    date.to_string()
}

/// What stands above the devices of a report.
#[derive(Debug, Clone, Serialize)]
pub struct Head {
    /// The ledger's path, as it was given.
    pub ledger: String,
    /// When the report was made.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The numbers.
    #[serde(flatten)]
    pub counts: Counts,
}

impl Head {
    /// That of a report that is made now.
    pub fn now(ledger: String, totals: &Totals) -> Self {
        let at = clock::now();
        Self { ledger, at: at.replace_nanosecond(0).unwrap_or(at), counts: Counts::from(totals) }
    }
}

/// A report could not be written.
fn unwritten(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let error = error.into();
    Error::new(ErrorCode::FileIo, format!("the report could not be written: {error}")).source(error)
}
