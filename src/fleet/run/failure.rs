//! A failure as the ledger keeps it, and as the end of a run.

use std::time::Duration;

use super::report::End;
use crate::error::{Error, ErrorCode, Step};
use crate::ledger::roster::Trouble;

/// The ledger failed: nothing more can be recorded.
pub(super) fn of_the_ledger(error: Error) -> End {
    End::Stopped(error.stamped(Step::Ledger))
}

/// As a ledger keeps it.
pub(super) fn trouble(error: &Error) -> Trouble {
    Trouble {
        code: error.code.as_str().to_owned(),
        step: error.step().as_str().to_owned(),
        message: error.message.clone(),
    }
}

/// The same failure, without what is underneath.
pub(super) fn copy(error: &Error) -> Error {
    let mut copy = Error::new(error.code, error.message.clone()).stamped(error.step());
    copy.hint.clone_from(&error.hint);
    copy
}

/// Why the run stops after rows that failed alike.
pub(super) fn like_others(error: &Error) -> Error {
    let mut stop = copy(error);
    stop.message = match error.code {
        ErrorCode::ServerFailure => format!(
            "three devices, one after the other, were refused without a reason: the tenant's limit of devices is \
             reached, or their names are taken; the last one: {}",
            error.message
        ),
        _ => format!(
            "three devices, one after the other, failed in the same way; the last one: {}",
            error.message
        ),
    };
    stop
}

/// The server has taken nothing for so long.
pub(super) fn gave_up(error: &Error, away: Duration) -> Error {
    let mut stop = copy(error);
    let (seconds, last) = (away.as_secs(), &error.message);
    stop.message = format!("the server has taken nothing for {seconds} s; the last failure: {last}");
    stop
}
