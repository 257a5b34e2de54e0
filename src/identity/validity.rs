//! From when until when a certificate is valid.

use time::{Duration, OffsetDateTime};

use crate::clock;
use crate::error::{Error, ErrorCode, Result};

/// How far a certificate reaches into the past, so that a server whose clock is behind accepts it:
/// ThingsBoard refuses one whose start lies in its future exactly like an expired one.
const BACKDATED: Duration = Duration::hours(1);

/// From when until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first valid instant.
    pub not_before: OffsetDateTime,
    /// The last valid instant.
    pub not_after: OffsetDateTime,
}

impl Validity {
    /// From an hour ago, for `days` days from now; at most until the end of the year 9999, after which RFC 5280 knows
    /// no time.
    pub fn days(days: u32) -> Self {
        let now = clock::now();
        let now = now.replace_nanosecond(0).unwrap_or(now);
        let not_after = now.saturating_add(Duration::days(days.into())).min(clock::LATEST);
        Self { not_before: now.saturating_sub(BACKDATED), not_after }
    }

    /// Fails when a certificate that is valid for `days` days from now would end after the year 9999.
    ///
    /// # Errors
    /// `usage/invalid-value`.
    pub fn check_days(days: u32) -> Result<()> {
        if clock::now().checked_add(Duration::days(days.into())).is_some_and(|end| end <= clock::LATEST) {
            return Ok(());
        }
        let message = format!("{days} days from now is after the year 9999, which no certificate can name");
        Err(Error::new(ErrorCode::UsageInvalid, message))
    }

    /// Whether `instant` lies within.
    pub fn contains(&self, instant: OffsetDateTime) -> bool {
        self.not_before <= instant && instant <= self.not_after
    }

    /// What this and `other` have in common.
    #[must_use]
    pub(super) fn within(self, other: Self) -> Self {
        Self {
            not_before: self.not_before.max(other.not_before),
            not_after: self.not_after.min(other.not_after),
        }
    }
}
