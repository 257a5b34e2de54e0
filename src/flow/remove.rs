//! Takes a device out of the ledger.

use crate::error::Result;
use crate::ledger::{Entry, Ledger, Subject};

/// Moves the device aside, as it was read, and tells where. The server still knows it.
///
/// # Errors
/// `store/changed` when it is not as it was read any more, and those of the ledger.
pub async fn remove(entry: &Entry, ledger: &dyn Ledger) -> Result<String> {
    let lease = ledger.lease(Subject::Named(entry.shown_name())).await?;
    ledger.remove(&lease, entry).await
}
