//! The time of each reading, in milliseconds since 1970, UTC.
//!
//! ThingsBoard keeps one value for a key and a millisecond, and gives a reading without a time the millisecond in which
//! it arrives. So each reading without a time gets one, and no two readings of a run get the same.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// 2025-01-01, in milliseconds: a clock that is before it was never set.
const EARLIEST: i64 = 1_735_689_600_000;

/// A clock that is later is wrong, and ThingsBoard does not store its times.
const LATEST: i64 = super::reading::value::LATEST;

/// How far times may run ahead of the clock, in milliseconds.
const AHEAD: i64 = 100;

/// When the clock goes back by less, in milliseconds, it is being adjusted, and there is no warning.
const SMALL_STEP: i64 = 1000;

/// Gives each reading its own time.
#[derive(Debug)]
pub(super) struct Times {
    clock: Clock,
    /// The last one given, and the last one that left.
    last: i64,
    left: i64,
}

/// What a time comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// This one, now.
    Now(i64),
    /// So many readings came in so short a time that the next one has to wait this long.
    After(Duration),
    /// The clock cannot be right: readings go without a time.
    NoClock,
}

impl Times {
    pub(super) fn new() -> Self {
        Self { clock: Clock::new(Instant::now(), wall()), last: 0, left: 0 }
    }

    /// The next time. It is taken by [`Times::take`].
    pub(super) fn ask(&mut self) -> Ask {
        let now = self.clock.now(Instant::now(), wall());
        let next = now.max(self.last + 1);
        if !(EARLIEST..=LATEST).contains(&next) {
            return Ask::NoClock;
        }
        match next - now - AHEAD {
            ..=0 => Ask::Now(next),
            over => Ask::After(milliseconds(over)),
        }
    }

    /// Takes the times from `first` to before `next`.
    pub(super) fn take(&mut self, first: i64, next: i64) {
        self.last = self.last.max(first.max(next - 1));
    }

    /// How long until a message whose last time is `last` may leave.
    pub(super) fn until_sendable(&mut self, last: i64) -> Duration {
        milliseconds(last - AHEAD - self.clock.now(Instant::now(), wall()))
    }

    /// A message whose last time is `last` leaves.
    pub(super) fn sent(&mut self, last: i64) {
        self.left = self.left.max(last);
    }

    /// How long until the clock has passed all times that left: another run then meets none of them.
    pub(super) fn until_passed(&mut self) -> Duration {
        if self.left == 0 {
            return Duration::ZERO;
        }
        milliseconds(self.left + 1 - self.clock.now(Instant::now(), wall()))
    }

    /// By how much the machine's clock was set back, if that was much. Given once.
    pub(super) fn set_back(&mut self) -> Option<Duration> {
        self.clock.set_back.take().map(milliseconds)
    }
}

/// The wall clock, carried on by the monotonic one: it follows a jump forward, and never one back.
#[derive(Debug)]
struct Clock {
    from: Instant,
    at_from: i64,
    /// How far it was set back, in milliseconds, until somebody asks.
    set_back: Option<i64>,
    told: bool,
}

impl Clock {
    const fn new(now: Instant, wall: i64) -> Self {
        Self { from: now, at_from: wall, set_back: None, told: false }
    }

    fn now(&mut self, now: Instant, wall: i64) -> i64 {
        let carried = self.at_from + whole_milliseconds(now.duration_since(self.from));
        if wall > carried && wall <= LATEST {
            (self.from, self.at_from) = (now, wall);
        } else if carried - wall >= SMALL_STEP && !self.told {
            (self.set_back, self.told) = (Some(carried - wall), true);
        }
        if wall <= LATEST { wall.max(carried) } else { carried }
    }
}

/// The time of this machine's clock; 0 before 1970.
fn wall() -> i64 {
    whole_milliseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn whole_milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2)
}

/// None of it where it is negative.
fn milliseconds(count: i64) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_800_000_000_000;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn the_clock_follows_a_jump_forward_and_none_back() {
        let start = Instant::now();
        let mut clock = Clock::new(start, START);
        assert_eq!(clock.now(at(start, 1), START + 1000), START + 1000);
        assert_eq!(clock.now(at(start, 2), START + 3_600_000), START + 3_600_000, "forward");
        assert_eq!(clock.now(at(start, 3), START + 3000), START + 3_601_000, "back");
        assert_eq!(clock.set_back.take(), Some(3_598_000));
        clock.now(at(start, 4), START + 4000);
        assert_eq!(clock.set_back, None, "told once");
    }

    /// ThingsBoard does not store them, and the clock may be right again in a moment.
    #[test]
    fn a_jump_beyond_the_latest_time_is_not_followed() {
        let start = Instant::now();
        let mut clock = Clock::new(start, START);
        assert_eq!(clock.now(at(start, 1), LATEST + 1), START + 1000);
        assert_eq!(clock.now(at(start, 2), START + 2000), START + 2000);
        assert_eq!(clock.set_back, None);
    }

    #[test]
    fn a_small_adjustment_is_not_worth_a_word() {
        let start = Instant::now();
        let mut clock = Clock::new(start, START);
        assert_eq!(clock.now(at(start, 1), START + 500), START + 1000);
        assert_eq!(clock.set_back, None);
    }

    #[test]
    fn no_two_readings_have_the_same_time_and_none_is_far_ahead() {
        let mut times = Times::new();
        let mut last = 0;
        for _ in 0..100 {
            let Ask::Now(time) = times.ask() else { panic!("held back within the first hundred") };
            assert!(time > last && time - wall() <= AHEAD);
            times.take(time, time + 1);
            last = time;
        }
        std::thread::sleep(milliseconds(AHEAD));
        let Ask::Now(time) = times.ask() else { panic!("held back") };
        times.take(time, time + 60_000);
        let Ask::After(wait) = times.ask() else { panic!("a minute ahead") };
        assert!(wait < Duration::from_secs(61));
        times.sent(time + 59_999);
        assert!(times.until_passed() >= times.until_sendable(time + 59_999));
    }
}
