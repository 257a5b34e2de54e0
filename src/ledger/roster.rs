//! A ledger that knows devices before they have an identity: the rows of a fleet, who works on them, how they ended and
//! what happened to them. [`Roster`] is what a fleet needs of a ledger beyond [`Ledger`].

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::{Date, OffsetDateTime};

use super::{Entry, Kept, Lease, Ledger};
use crate::device::DeviceName;
pub use crate::error::Fault;
use crate::error::Result;
use crate::keys::KeyType;
use crate::tls::Trust;

/// What a manifest says about one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The device's name.
    pub name: DeviceName,
    /// What people call it.
    pub label: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// The MAC address of the board that it is for, `24:0a:c4:00:00:00`. No two rows have the same.
    pub mac: Option<String>,
    /// Its key's type, where it is not that of the run.
    pub key_type: Option<KeyType>,
    /// Days that its certificate is valid, where they are not those of the run.
    pub days: Option<u32>,
    /// Whether it is a gateway.
    pub gateway: bool,
    /// What nothing is looked for by.
    pub fields: Fields,
}

impl Row {
    /// A row that says nothing but the device's name.
    pub fn named(name: DeviceName) -> Self {
        Self {
            name,
            label: None,
            serial: None,
            mac: None,
            key_type: None,
            days: None,
            gateway: false,
            fields: Fields::default(),
        }
    }

    /// Whether nothing is left to do once its device is proved: client attributes are sent after that.
    pub fn is_done_when_proved(&self) -> bool {
        self.fields.client.is_empty()
    }
}

/// The columns of a row that nothing is looked for by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fields {
    /// Client attributes that the device sends with its new identity.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub client: Map<String, Value>,
    /// The Wi-Fi network that its firmware joins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wifi_ssid: Option<String>,
    /// What only labels and reports show.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, String>,
}

/// A row's number in its ledger: in the order in which rows were imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RowId(pub i64);

/// How far a row has come. The first is that of a row without an identity; those in the middle are
/// [`State`](crate::State)'s; the last is one that somebody has to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowState {
    /// It has no identity yet.
    Queued,
    /// It has one, and the server does not know it.
    Staged,
    /// The server may know it.
    Sent,
    /// The server says that it has it.
    Accepted,
    /// A connect proved it.
    Proved,
    /// It failed by something of its own. `Roster::retry` makes it due again.
    Failed,
}

impl RowState {
    /// All, in their order.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Staged, Self::Sent, Self::Accepted, Self::Proved, Self::Failed];

    /// The name in ledgers and results.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Staged => "staged",
            Self::Sent => "sent",
            Self::Accepted => "accepted",
            Self::Proved => "proved",
            Self::Failed => "failed",
        }
    }
}

/// Where the rows of an import come from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The manifest's path, `-` for stdin, or what the names were made of.
    pub name: String,
    /// Whether rows that differ from those of an earlier import replace them, where nothing was done for them yet.
    pub update: bool,
    /// Whether nothing is changed at the end: what would be is told.
    pub dry_run: bool,
}

/// One row of a manifest, or why there is none.
pub type Line = std::result::Result<(u64, Row), Fault>;

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// New rows.
    pub added: u64,
    /// Rows that were replaced.
    pub updated: u64,
    /// Rows that were there already.
    pub unchanged: u64,
}

/// Why an import changed nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong, in the order of the lines.
    pub faults: Vec<Fault>,
    /// Whether [`Source::update`] would replace some of the rows.
    pub is_for_update: bool,
}

/// A device with everything that a ledger holds of it, from another ledger.
#[derive(Debug, Clone)]
pub struct Whole {
    /// Its record.
    pub entry: Entry,
    /// What authenticates its server.
    pub trust: Trust,
    /// Its identities with their keys: the current one first, then the candidate and the previous one, as its record
    /// names them.
    pub identities: Vec<Kept>,
}

/// A row that a run works on, until it [ends](Roster::finish) or is dropped. A ledger may end it in the change that proves
/// its device, where [nothing is left to do](Row::is_done_when_proved) then.
#[derive(Debug)]
pub struct Claim {
    /// The row's number.
    pub id: RowId,
    /// The row.
    pub row: Row,
    /// How far it has come.
    pub state: RowState,
    /// How often it was tried since it was made due, this time included.
    pub attempts: u32,
    /// Held while the claim is. [`Ledger::lease`] of the same ledger lends it to one at a time.
    pub lease: Lease,
}

/// How the work on a claimed row ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Everything is done.
    Done,
    /// It failed by something of its own, and is not due any more.
    Failed(Trouble),
    /// It failed by something that may pass, and is due again after this time.
    Later(Trouble, Duration),
    /// Nothing is to be recorded: the run ends before the row does.
    GivenBack,
}

/// Why a row is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// The error's code, such as `server/failure`.
    pub code: String,
    /// The step that was reached.
    pub step: String,
    /// What happened.
    pub message: String,
}

/// What is left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Rows that a run could claim now or later, without those that are claimed.
    pub free: u64,
    /// Rows that runs work on now, this one included.
    pub claimed: u64,
    /// How long until the first of the free rows may be claimed; zero where one may be now.
    pub wait: Duration,
}

/// How many rows there are of each kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// By state; states without a row are left out.
    pub states: BTreeMap<RowState, u64>,
    /// Rows that came to their end, by the day on which they did (UTC), in order.
    pub days: Vec<Day>,
    /// Rows that wait for another attempt.
    pub waiting: u64,
    /// Rows that a run works on.
    pub claimed: u64,
}

/// The rows that came to their end on one day (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    /// The day.
    pub date: Date,
    /// Rows that were proved.
    pub proved: u64,
    /// Rows that failed.
    pub failed: u64,
}

/// How many rows came to their end in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// When it begins.
    pub begin: OffsetDateTime,
    /// Rows that were proved in it.
    pub proved: u64,
    /// Rows that failed in it.
    pub failed: u64,
}

/// Which rows are meant. Every condition has to hold.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Rows of this state.
    pub state: Option<RowState>,
    /// Rows that failed with this code.
    pub code: Option<String>,
    /// Rows of these names; all when it is empty.
    pub names: Vec<String>,
}

/// A row with what became of it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The row's number.
    pub id: RowId,
    /// The row. A device that was not imported has its name alone.
    pub row: Row,
    /// The import that it came with, and its line there.
    pub source: Option<(String, u64)>,
    /// How far it has come.
    pub state: RowState,
    /// The device, once it has an identity.
    pub entry: Option<Entry>,
    /// How often it was tried since it was made due.
    pub attempts: u32,
    /// Why it is not done, where it was tried.
    pub trouble: Option<Trouble>,
    /// When it is due again, where it waits.
    pub retry_at: Option<OffsetDateTime>,
    /// When it came to its end.
    pub ended: Option<OffsetDateTime>,
}

/// A row with its history, all of one moment.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The row.
    pub listed: Listed,
    /// What happened to it, in order.
    pub history: Vec<Happened>,
    /// What is wrong with the history; nothing where it is as it was written.
    pub broken: Option<String>,
}

/// One line of a history.
#[derive(Debug, Clone, Serialize)]
pub struct Happened {
    /// Its number in the ledger.
    pub number: i64,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// What: `staged`, `sent`, `accepted`, `proved`, `failed`, `retried` and so on.
    pub kind: String,
    /// More about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Value>,
    /// The run that did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The number of the lease under which it was done.
    pub fence: u64,
    /// The hash of this line and the one before it, 64 hex digits.
    pub hash: String,
}

/// What walking the hashes found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walked {
    /// Lines that were read.
    pub lines: u64,
    /// Devices (or the ledger itself, without a name) whose history is not as it was written, and why.
    pub broken: Vec<(Option<String>, String)>,
}

/// A ledger that a fleet lives in.
///
/// Correctness comes from its rows: a device's identity is written once, under a fence, before anything is sent. A run's
/// lease only decides when somebody else may go on.
#[async_trait]
pub trait Roster: Ledger {
    /// Takes rows in: all or none, and none when the future is dropped. Rows that are there already, as they are, change
    /// nothing.
    ///
    /// Gives what was done, or every fault: those of the lines, two rows of one name or one MAC address, and rows that
    /// differ from those that are there (where `source` does not replace them, or where something was done for them).
    ///
    /// # Errors
    /// `ledger/…`.
    async fn import(
        &self,
        lines: Box<dyn Iterator<Item = Line> + Send>,
        source: Source,
    ) -> Result<std::result::Result<Imported, Refused>>;

    /// Takes devices of another ledger in, with their keys: all or none. Those that are there already with the same
    /// identity change nothing.
    ///
    /// # Errors
    /// `store/exists` naming one that is there with another identity; `ledger/…`.
    async fn take_in(&self, devices: Vec<Whole>, source: &str) -> Result<Imported>;

    /// Claims up to `limit` rows that are due, in their order. Rows of runs that ended without an end, and of those whose
    /// lease ended, are due too.
    ///
    /// # Errors
    /// `ledger/…`.
    async fn claim(&self, limit: usize) -> Result<Vec<Claim>>;

    /// Records how the work on a row ended, and frees it. One that has ended with its proof ends only as
    /// [done](Ending::Done).
    ///
    /// # Errors
    /// `store/lease-lost` when the row is another run's by now; `ledger/…`.
    async fn finish(&self, claim: Claim, ending: Ending) -> Result<()>;

    /// What is left to do.
    ///
    /// # Errors
    /// `ledger/…`.
    async fn due(&self) -> Result<Due>;

    /// Makes failed rows due again, and rows that wait due at once. Tells how many.
    ///
    /// # Errors
    /// `store/not-found` naming a row that is not there; `ledger/…`.
    async fn retry(&self, selection: Selection) -> Result<u64>;

    /// How many rows there are, by state and by day.
    ///
    /// # Errors
    /// `ledger/…`.
    async fn totals(&self) -> Result<Totals>;

    /// How many rows came to their end in each interval of this length that has one, in order.
    ///
    /// # Errors
    /// `ledger/…`.
    async fn timeline(&self, width: Duration) -> Result<Vec<Interval>>;

    /// Up to `limit` rows after `after`, in their order.
    ///
    /// # Errors
    /// `ledger/…`.
    async fn rows(&self, selection: &Selection, after: Option<RowId>, limit: usize) -> Result<Vec<Listed>>;

    /// A random part of the rows that are proved; at least one where there is one. `share` is between 0 and 1.
    ///
    /// # Errors
    /// `ledger/…`.
    async fn sample(&self, share: f64) -> Result<Vec<RowId>>;

    /// What happened to the device called `name`, in order.
    ///
    /// # Errors
    /// `store/not-found`, `ledger/…`.
    async fn history(&self, name: &str) -> Result<Vec<Happened>>;

    /// Walks every history, and compares the hashes.
    ///
    /// # Errors
    /// `ledger/…`.
    async fn walk(&self) -> Result<Walked>;

    /// The row called `name` with its history.
    ///
    /// # Errors
    /// `store/not-found`, `ledger/…`.
    async fn show(&self, name: &str) -> Result<Shown>;
}
