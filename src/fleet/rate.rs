//! How many devices may be begun in a time: `20/s`, `300/m`.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// What timers are late by is made up for, up to this time.
const SLACK: Duration = Duration::from_millis(100);

/// So many devices in a second or in a minute, evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: NonZeroU32,
    is_a_minute: bool,
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.count, if self.is_a_minute { "m" } else { "s" })
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rate = |(count, unit): (&str, &str)| {
            let is_a_minute = match unit {
                "s" => false,
                "m" => true,
                _ => return None,
            };
            Some(Self { count: count.parse().ok()?, is_a_minute })
        };
        text.split_once('/').and_then(rate).ok_or_else(|| {
            format!("'{text}' is no rate N/s or N/m, such as 20/s or 300/m, with a number from 1 on")
        })
    }
}

/// Holds to a [`Rate`]. Pure: the caller passes the time.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    due: Option<Instant>,
}

impl Pace {
    /// The first device may begin at once.
    pub fn new(rate: Rate) -> Self {
        let period = Duration::from_secs(if rate.is_a_minute { 60 } else { 1 });
        Self { interval: period / rate.count.get(), due: None }
    }

    /// When the next device may begin. It may be over already.
    pub fn ready_at(&self) -> Option<Instant> {
        self.due
    }

    /// A device begins now.
    pub fn begun(&mut self, now: Instant) {
        let earliest = now.checked_sub(SLACK).unwrap_or(now);
        self.due = Some(self.due.map_or(now, |due| due.max(earliest)) + self.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_show_as_they_were_written() {
        for text in ["20/s", "300/m", "1/s", "4294967295/s"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for text in ["", "20", "0/s", "-1/s", "20/h", "20 /s", "/s", "1.5/s"] {
            assert!(text.parse::<Rate>().unwrap_err().contains("300/m"), "{text}");
        }
    }

    /// How many begin within so many seconds, if the timer is always late by `late`.
    fn begun(rate: &str, seconds: u64, late: Duration) -> usize {
        let begin = Instant::now();
        let mut pace = Pace::new(rate.parse().unwrap());
        let (mut now, mut count) = (begin, 0);
        while now < begin + Duration::from_secs(seconds) {
            pace.begun(now);
            count += 1;
            now = now.max(pace.ready_at().unwrap_or(now) + late);
        }
        count
    }

    #[test]
    fn devices_begin_evenly_though_timers_are_late() {
        assert_eq!(begun("20/s", 10, Duration::ZERO), 200);
        assert_eq!(begun("30/m", 60, Duration::ZERO), 30);
        let late = begun("500/s", 10, Duration::from_millis(1));
        assert!((4_990..=5_000).contains(&late), "{late}");
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let begin = Instant::now();
        let mut pace = Pace::new("10/s".parse().unwrap());
        pace.begun(begin);
        let later = begin + Duration::from_secs(60);
        pace.begun(later);
        pace.begun(later);
        assert!(pace.ready_at().unwrap() > later);
    }
}
