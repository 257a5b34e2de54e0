//! What fails in a ledger, as an error of this crate.

use std::path::Path;

use rusqlite::ErrorCode as Code;

use crate::error::{Error, ErrorCode};
use crate::text::{one_line, shown_path};

/// Characters of what SQLite says that are shown.
const LONGEST_SHOWN: usize = 200;

/// What went wrong, before it is known in which file.
#[derive(Debug)]
pub(super) enum Failed {
    Sql(rusqlite::Error),
    Ours(Error),
}

pub(super) type Done<T> = Result<T, Failed>;

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl Failed {
    /// The error of the ledger at `path`.
    pub(super) fn told(self, path: &Path) -> Error {
        match self {
            Self::Ours(error) => error,
            Self::Sql(error) => told(error, path),
        }
    }

    /// Whether two rows would be the same in something that only one may have.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self, Self::Sql(error) if error.sqlite_error_code() == Some(Code::ConstraintViolation))
    }
}

/// A content that no ledger has, such as a text that is no JSON.
pub(super) fn corrupt(what: impl Into<String>) -> Failed {
    Failed::Ours(Error::new(ErrorCode::LedgerCorrupt, what))
}

fn told(error: rusqlite::Error, path: &Path) -> Error {
    let shown = shown_path(path);
    let (code, message) = match error.sqlite_error_code() {
        Some(Code::DatabaseBusy | Code::DatabaseLocked | Code::FileLockingProtocolFailed) => {
            (ErrorCode::LedgerBusy, format!("another program has held the ledger {shown} for too long"))
        }
        Some(Code::DatabaseCorrupt | Code::NotADatabase) => {
            (ErrorCode::LedgerCorrupt, format!("the ledger {shown} is damaged: {}", said(&error)))
        }
        Some(Code::ReadOnly) => (ErrorCode::LedgerReadOnly, format!("the ledger {shown} cannot be written")),
        Some(Code::DiskFull) => (
            ErrorCode::LedgerIo,
            format!("the disk of the ledger {shown} is full; nothing of the last change was kept"),
        ),
        Some(Code::CannotOpen | Code::SystemIoFailure | Code::PermissionDenied | Code::OutOfMemory) => {
            (ErrorCode::LedgerIo, format!("the ledger {shown} cannot be read or written: {}", said(&error)))
        }
        // A value of a kind that the schema does not allow there.
        None => (ErrorCode::LedgerCorrupt, format!("the ledger {shown} is damaged: {}", said(&error))),
        Some(_) => (ErrorCode::Bug, format!("a query of the ledger {shown} failed: {}", said(&error))),
    };
    Error::new(code, message).source(error)
}

/// A ledger whose files cannot become longer.
pub(super) fn no_room(path: &Path) -> Error {
    let message =
        format!("the files beside the ledger {} cannot grow: its disk is full, or fails", shown_path(path));
    Error::new(ErrorCode::LedgerIo, message)
}

fn said(error: &rusqlite::Error) -> String {
    one_line(&error.to_string(), LONGEST_SHOWN)
}
