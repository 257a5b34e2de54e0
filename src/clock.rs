//! This machine's clock, which may be wrong: a small computer without a battery begins in 1970.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::macros::datetime;

use crate::error::{Error, ErrorCode, Result};

/// The day on which the oldest compiler that builds tbprov (Rust 1.95) was released: no clock that is right is
/// before it.
const EARLIEST: OffsetDateTime = datetime!(2026-04-16 00:00 UTC);

/// The last instant that a certificate can name (RFC 5280, section 4.1.2.5).
pub(crate) const LATEST: OffsetDateTime = datetime!(9999-12-31 23:59:59 UTC);

/// What this machine's clock says, UTC; the last second of the year 9999 for all that is later.
pub fn now() -> OffsetDateTime {
    let nanoseconds = |duration: Duration| i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX);
    let now = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => nanoseconds(since),
        Err(before) => -nanoseconds(before.duration()),
    };
    let latest = LATEST.unix_timestamp_nanos();
    OffsetDateTime::from_unix_timestamp_nanos(now.min(latest)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// The same, where it can be right.
///
/// # Errors
/// `identity/clock` for a time before this version of tbprov existed, or after the year 9999.
pub fn plausible_now() -> Result<OffsetDateTime> {
    plausible(now())
}

fn plausible(now: OffsetDateTime) -> Result<OffsetDateTime> {
    let why = if now < EARLIEST {
        format!("says {}, which is before this version of tbprov existed", shown(now))
    } else if now >= LATEST {
        "says a time after the year 9999".to_owned()
    } else {
        return Ok(now);
    };
    Err(Error::new(ErrorCode::IdentityClock, format!("this machine's clock {why}")))
}

/// A time as messages show it, to the minute.
pub(crate) fn shown(time: OffsetDateTime) -> String {
    format!("{} {:02}:{:02} UTC", time.date(), time.hour(), time.minute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_cannot_be_right_is_told() {
        assert!(plausible(datetime!(2027-01-01 00:00 UTC)).is_ok());
        for (now, says) in [
            (
                datetime!(1970-01-01 00:01 UTC),
                "this machine's clock says 1970-01-01 00:01 UTC, which is before",
            ),
            (LATEST, "this machine's clock says a time after the year 9999"),
        ] {
            let error = plausible(now).unwrap_err();
            assert_eq!((error.code, error.exit_code()), (ErrorCode::IdentityClock, 2));
            assert!(error.message.starts_with(says), "{}", error.message);
        }
    }
}
