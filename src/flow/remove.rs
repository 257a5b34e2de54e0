//! Takes a device out of the ledger.

use crate::error::Result;
use crate::ledger::{Entry, Ledger, Subject};

/// Moves the device called `name` aside, and tells where. The server still knows it.
///
/// # Errors
/// `store/not-found`, and those of the ledger.
pub async fn remove(name: &str, ledger: &dyn Ledger) -> Result<(Entry, String)> {
    let lease = ledger.lease(Subject::Named(name)).await?;
    let entry = ledger.open(name).await?;
    let aside = ledger.remove(&lease, &entry).await?;
    Ok((entry, aside))
}
