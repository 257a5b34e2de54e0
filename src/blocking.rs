//! Work that waits, beside the runtime's own threads.

use crate::error::{Error, ErrorCode, Result};

/// Runs `work` on a thread where it may wait: for a disk, another program, a board or many primes. Dropping the future
/// does not end it.
///
/// # Errors
/// Those of `work`; `internal/bug` when it panicked.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::new(ErrorCode::Bug, "work on a thread of its own stopped").source(error))
    })
}
