//! The time of day, once a server has told it.

use core::sync::atomic::{AtomicU32, Ordering};

use embassy_time::Instant;

/// The second of Unix time at which the board started; 0 while it is unknown.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// Takes `now`, in seconds since 1970, for the time.
pub(crate) fn set(now: u32) {
    // Never 0: a time that was told is known, even one at which no certificate is valid.
    STARTED.store(now.saturating_sub(uptime()).max(1), Ordering::Relaxed);
}

/// The time in seconds since 1970, if it is known.
pub(crate) fn now() -> Option<u32> {
    match STARTED.load(Ordering::Relaxed) {
        0 => None,
        started => Some(started.saturating_add(uptime())),
    }
}

#[cfg(test)]
pub(crate) fn forget() {
    STARTED.store(0, Ordering::Relaxed);
}

fn uptime() -> u32 {
    u32::try_from(Instant::now().as_secs()).unwrap_or(u32::MAX)
}

/// A date and a time of day in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Date {
    pub(crate) year: i32,
    pub(crate) month: i32,
    pub(crate) day: i32,
    pub(crate) hour: i32,
    pub(crate) minute: i32,
    pub(crate) second: i32,
}

impl Date {
    /// Seconds since 1970.
    pub(crate) fn unix(self) -> i64 {
        let in_day = i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        days(self.year.into(), self.month.into(), self.day.into()) * 86_400 + in_day
    }
}

/// Days since 1970-01-01 in the Gregorian calendar, counted in years that begin in March, so that the leap day is a
/// year's last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    const BEFORE_1970: i64 = 719_468;
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + day_of_year - BEFORE_1970
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::alone;

    fn date(year: i32, month: i32, day: i32) -> Date {
        Date { year, month, day, hour: 0, minute: 0, second: 0 }
    }

    #[test]
    fn a_time_that_was_told_is_known_whatever_it_is() {
        let alone = alone();
        for told in [0, 1, 1_795_305_600, u32::MAX] {
            set(told);
            assert!(now().is_some_and(|now| now.abs_diff(told) <= 1), "{told}");
        }
        forget();
        drop(alone);
    }

    #[test]
    fn dates_become_seconds() {
        assert_eq!(date(1970, 1, 1).unix(), 0);
        assert_eq!(date(2000, 2, 29).unix(), 951_782_400);
        assert_eq!(date(2000, 3, 1).unix(), 951_868_800);
        assert_eq!(date(2100, 3, 1).unix(), 4_107_542_400);
        let last = Date { hour: 23, minute: 59, second: 59, ..date(2026, 12, 31) };
        assert_eq!(last.unix(), 1_798_761_599);
        assert_eq!(date(9999, 12, 31).unix() + 86_399, 253_402_300_799);
        assert_eq!(date(1969, 12, 31).unix(), -86_400);
    }
}
