//! Takes devices out of a ledger, for others: into a store, as certificates, as ThingsBoard's import table. The ledger
//! keeps them. Each can be repeated: what is there already stays.

mod certificates;
mod store;
mod table;

use std::sync::Arc;

use serde::Serialize;
use tokio::task::JoinSet;

pub use certificates::certificates;
pub use store::to_store;
pub use table::{Columns, table};

use super::pages::Pages;
use crate::error::{Error, ErrorCode, Result};
use crate::ledger::Entry;
use crate::ledger::roster::{Roster, Selection};

/// Devices that are written at the same time: a disk syncs several files as fast as one.
const JOBS: usize = 8;

/// What was taken out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Devices that were written.
    pub written: u64,
    /// Devices that were there already.
    pub unchanged: u64,
    /// Rows without an identity, or without one of this kind.
    pub skipped: u64,
    /// Devices that could not be written.
    pub failed: u64,
}

/// What became of one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Written,
    Unchanged,
    Skipped,
}

impl Exported {
    const fn count(&mut self, done: Done) {
        match done {
            Done::Written => self.written += 1,
            Done::Unchanged => self.unchanged += 1,
            Done::Skipped => self.skipped += 1,
        }
    }
}

/// Does `work` with every device, several at once. A failure of one is told with its name, and the others go on; one of
/// the disk ends it.
async fn each<W, F>(
    roster: &Arc<dyn Roster>,
    work: W,
    told: &mut (dyn FnMut(&str, &Error) + Send),
) -> Result<Exported>
where
    W: Fn(Arc<dyn Roster>, Entry) -> F,
    F: Future<Output = Result<Done>> + Send + 'static,
{
    let mut exported = Exported::default();
    let mut running = JoinSet::new();
    let mut pages = Pages::of(&**roster, Selection::default());
    while let Some(rows) = pages.page().await? {
        for row in rows {
            let Some(entry) = row.entry else {
                exported.count(Done::Skipped);
                continue;
            };
            if running.len() >= JOBS {
                next(&mut running, &mut exported, told).await?;
            }
            let name = row.row.name.as_str().to_owned();
            let work = work(Arc::clone(roster), entry);
            running.spawn(async move { (name, work.await) });
        }
    }
    while !running.is_empty() {
        next(&mut running, &mut exported, told).await?;
    }
    Ok(exported)
}

/// Waits for one of them.
async fn next(
    running: &mut JoinSet<(String, Result<Done>)>,
    exported: &mut Exported,
    told: &mut (dyn FnMut(&str, &Error) + Send),
) -> Result<()> {
    let Some(ended) = running.join_next().await else { return Ok(()) };
    let (name, done) =
        ended.map_err(|error| Error::new(ErrorCode::Bug, "an export stopped").source(error))?;
    match done {
        Ok(done) => exported.count(done),
        // It would meet every other device.
        Err(error) if matches!(error.code, ErrorCode::StoreIo | ErrorCode::FileIo) => return Err(error),
        Err(error) => {
            exported.failed += 1;
            told(&name, &error);
        }
    }
    Ok(())
}
