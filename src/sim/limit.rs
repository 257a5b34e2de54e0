//! Limits in ThingsBoard's notation, and the buckets of tokens that hold to them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio::time::Instant;

/// How much may be sent in which time, as a tenant profile says it: `COUNT:SECONDS`, of which there may be several
/// (`10:1,300:60`). All of them hold at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit(Vec<Band>);

/// So many within so many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Band {
    count: u64,
    seconds: u32,
}

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, band) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(formatter, "{comma}{}:{}", band.count, band.seconds)?;
        }
        Ok(())
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let band = |band: &str| {
            let (count, seconds) = band.split_once(':')?;
            let band = Band { count: whole(count)?, seconds: whole(seconds)? };
            (band.count > 0 && band.seconds > 0).then_some(band)
        };
        let bands: Option<Vec<_>> = text.split(',').map(band).collect();
        bands.map(Self).ok_or_else(|| {
            format!("'{text}' is no limit COUNT:SECONDS, such as 10:1 or 10:1,300:60, with numbers from 1 on")
        })
    }
}

/// A number of digits alone.
fn whole<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// The buckets of one limit: full at first, filled again evenly, taken from all together or not at all.
#[derive(Debug)]
pub(super) struct Buckets(Vec<Bucket>);

impl Buckets {
    pub(super) fn new(limit: &Limit, now: Instant) -> Self {
        Self(limit.0.iter().map(|band| Bucket::new(*band, now)).collect())
    }

    /// Takes so many tokens, if each bucket has them.
    pub(super) fn take(&mut self, tokens: u64, now: Instant) -> bool {
        self.0.iter_mut().for_each(|bucket| bucket.fill(now));
        let have_them = self.0.iter().all(|bucket| bucket.level >= bucket.price(tokens));
        if have_them {
            self.0.iter_mut().for_each(|bucket| bucket.level -= bucket.price(tokens));
        }
        have_them
    }
}

/// Counted in tokens times nanoseconds of the period, so that nothing is lost by rounding.
#[derive(Debug)]
struct Bucket {
    count: u128,
    period: u128,
    level: u128,
    filled: Instant,
}

impl Bucket {
    fn new(band: Band, now: Instant) -> Self {
        let (count, period) = (u128::from(band.count), Duration::from_secs(band.seconds.into()).as_nanos());
        Self { count, period, level: count * period, filled: now }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_nanos().min(self.period);
        self.level = (self.level + passed * self.count).min(self.count * self.period);
        self.filled = self.filled.max(now);
    }

    fn price(&self, tokens: u64) -> u128 {
        u128::from(tokens) * self.period
    }
}

/// The limits of one device, or of all together.
#[derive(Debug, Clone, Default)]
pub(super) struct Allowance {
    /// Telemetry messages.
    pub(super) messages: Option<Limit>,
    /// Data points of telemetry.
    pub(super) points: Option<Limit>,
    pub(super) connects: Option<Limit>,
}

impl Allowance {
    pub(super) fn is_unlimited(&self) -> bool {
        self.messages.is_none() && self.points.is_none() && self.connects.is_none()
    }
}

/// What one device, or all together, may send yet.
#[derive(Debug)]
pub(super) struct Meter {
    messages: Option<Buckets>,
    points: Option<Buckets>,
    connects: Option<Buckets>,
}

impl Meter {
    pub(super) fn new(allowance: &Allowance, now: Instant) -> Self {
        let buckets = |limit: &Option<Limit>| limit.as_ref().map(|limit| Buckets::new(limit, now));
        Self {
            messages: buckets(&allowance.messages),
            points: buckets(&allowance.points),
            connects: buckets(&allowance.connects),
        }
    }

    /// One telemetry message of so many data points: what it is too much of, if anything. As in ThingsBoard, the
    /// message counts even when its points are too many (`DefaultTransportRateLimitService.checkEntityRateLimit`).
    pub(super) fn telemetry(&mut self, points: u64, now: Instant) -> Result<(), &'static str> {
        if !take(&mut self.messages, 1, now) {
            return Err("telemetry messages");
        }
        if take(&mut self.points, points, now) { Ok(()) } else { Err("data points") }
    }

    pub(super) fn connect(&mut self, now: Instant) -> bool {
        take(&mut self.connects, 1, now)
    }
}

fn take(buckets: &mut Option<Buckets>, tokens: u64, now: Instant) -> bool {
    buckets.as_mut().is_none_or(|buckets| buckets.take(tokens, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(text: &str) -> Limit {
        text.parse().unwrap()
    }

    #[test]
    fn limits_show_as_they_were_written() {
        for text in ["10:1", "10:1,300:60", "1:86400"] {
            assert_eq!(limit(text).to_string(), text);
        }
        for text in ["", "10", "10:", ":1", "0:1", "1:0", "10:1,", "10:1;2:3", "+1:1", "a:b", "1:99999999999"]
        {
            assert!(text.parse::<Limit>().unwrap_err().contains("10:1,300:60"), "{text}");
        }
    }

    #[test]
    fn a_bucket_starts_full_and_fills_evenly() {
        let start = Instant::now();
        let mut buckets = Buckets::new(&limit("10:1"), start);
        let mut take = |tokens, after| buckets.take(tokens, start + Duration::from_millis(after));
        assert!((0..10).all(|_| take(1, 0)));
        assert!(!take(1, 0) && !take(1, 99));
        assert!(take(1, 100) && !take(1, 100));
        assert!(!take(3, 399) && take(3, 400));
        assert!(!take(11, 60_000) && take(10, 60_000) && !take(1, 60_000));
    }

    #[test]
    fn all_buckets_have_the_tokens_or_none_gives_any() {
        let start = Instant::now();
        let mut buckets = Buckets::new(&limit("3:60,2:1"), start);
        assert!(buckets.take(2, start));
        assert!(!buckets.take(1, start));
        assert!(buckets.take(1, start + Duration::from_secs(1)));
        assert!(!buckets.take(1, start + Duration::from_secs(2)));
        assert!(buckets.take(1, start + Duration::from_secs(20)));
    }

    #[test]
    fn the_largest_limits_do_not_overflow() {
        let largest = limit(&format!("{}:{}", u64::MAX, u32::MAX));
        let start = Instant::now();
        let mut buckets = Buckets::new(&largest, start);
        assert!(buckets.take(u64::MAX, start));
        assert!(!buckets.take(u64::MAX, start + Duration::from_secs(1)));
    }

    #[test]
    fn a_message_counts_though_its_points_are_too_many() {
        let allowance =
            Allowance { messages: Some(limit("2:60")), points: Some(limit("5:60")), connects: None };
        let now = Instant::now();
        let mut meter = Meter::new(&allowance, now);
        assert_eq!(meter.telemetry(4, now), Ok(()));
        assert_eq!(meter.telemetry(4, now), Err("data points"));
        assert_eq!(meter.telemetry(1, now), Err("telemetry messages"));
        assert!(meter.connect(now));
    }
}
