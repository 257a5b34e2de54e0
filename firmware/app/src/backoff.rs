//! Pauses between attempts.

use embassy_time::Duration;

/// The longest pause.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);

/// Pauses that double with each failure, each shortened by up to a half at random, so that a thousand devices that
/// lost the same server do not come back in the same moment.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration) -> Self {
        let first = first.min(LONGEST);
        Self { first, next: first }
    }

    /// Begins again with the first pause.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    /// The next pause; `random` is any 32 bits.
    pub(crate) fn pause(&mut self, random: u32) -> Duration {
        let longest = self.next.as_micros();
        self.next = (self.next * 2).min(LONGEST);
        let jitter = (longest / 2) * u64::from(random) / u64::from(u32::MAX);
        Duration::from_micros(longest - jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_again() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        let pauses: [u64; 8] = core::array::from_fn(|_| backoff.pause(0).as_secs());
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        backoff.reset();
        assert_eq!(backoff.pause(0), Duration::from_secs(1));
    }

    #[test]
    fn jitter_takes_up_to_a_half() {
        for random in [0, 1, 7, u32::MAX / 2, u32::MAX] {
            let pause = Backoff::new(Duration::from_millis(100)).pause(random).as_millis();
            assert!((50..=100).contains(&pause), "{random} made {pause} ms");
        }
        assert_eq!(Backoff::new(Duration::from_millis(100)).pause(u32::MAX).as_millis(), 50);
    }

    #[test]
    fn no_first_pause_is_too_long_or_too_short() {
        assert_eq!(Backoff::new(Duration::MAX).pause(0), LONGEST);
        assert!(Backoff::new(Duration::from_millis(1)).pause(u32::MAX) >= Duration::from_micros(500));
    }
}
