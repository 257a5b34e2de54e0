//! Whether a network that was joined carries anything.

use core::sync::atomic::{AtomicU32, Ordering};

use embassy_time::{Duration, Instant};

/// How long a network may carry nothing. Longer than several attempts of a device to connect, with the pauses between.
const PATIENCE: Duration = Duration::from_secs(300);

/// The second since the start at which another machine was last heard of.
static HEARD: AtomicU32 = AtomicU32::new(0);

/// To be called when another machine has answered: a server that refuses is heard of too.
pub(crate) fn heard() {
    HEARD.store(second(Instant::now()), Ordering::Relaxed);
}

/// Whether a network that was joined at that time carries nothing: for five minutes, no other machine has answered
/// over it. Whoever joined it shall leave it and join anew, which may help.
pub fn carries_nothing(joined_at: Instant) -> bool {
    let heard = HEARD.load(Ordering::Relaxed).max(second(joined_at));
    u64::from(second(Instant::now()).saturating_sub(heard)) >= PATIENCE.as_secs()
}

fn second(time: Instant) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
pub(crate) fn forget() {
    HEARD.store(0, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use embassy_time::MockDriver;

    use super::*;
    use crate::testing::alone;

    fn pass(seconds: u64) {
        MockDriver::get().advance(Duration::from_secs(seconds));
    }

    #[test]
    fn a_network_without_an_answer_is_left_after_five_minutes() {
        let alone = alone();
        pass(1000);
        let joined_at = Instant::now();
        pass(299);
        assert!(!carries_nothing(joined_at));
        pass(1);
        assert!(carries_nothing(joined_at));
        // Joined anew, it has as long again.
        let joined_at = Instant::now();
        assert!(!carries_nothing(joined_at));
        pass(300);
        assert!(carries_nothing(joined_at));
        drop(alone);
    }

    #[test]
    fn an_answer_now_and_then_keeps_it() {
        let alone = alone();
        let joined_at = Instant::now();
        for _ in 0..20 {
            pass(299);
            assert!(!carries_nothing(joined_at));
            heard();
        }
        pass(300);
        assert!(carries_nothing(joined_at));
        drop(alone);
    }
}
