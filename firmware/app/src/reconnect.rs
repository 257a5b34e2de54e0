//! Trying again, for ever.

use core::time;

use embassy_time::{Duration, Timer};
use log::error;

use crate::backoff::Backoff;
use crate::fault::Fault;

/// How an attempt to connect, and the session that may have come of it, ended.
pub(crate) struct Ended {
    /// Why.
    pub(crate) fault: Fault,
    /// Whether a reading was acknowledged, so that the next attempt need not wait long.
    pub(crate) acknowledged: bool,
}

/// Makes attempts for ever, says why each ended and pauses before the next: `first`, then longer and longer.
pub(crate) async fn reconnect(
    first: time::Duration,
    random: fn() -> u32,
    mut attempt: impl AsyncFnMut() -> Ended,
) -> ! {
    let mut backoff = Backoff::new(duration(first));
    loop {
        let ended = attempt().await;
        if ended.acknowledged {
            backoff.reset();
        }
        let pause = backoff.pause(random());
        error!("{}; next attempt in {} ms", ended.fault, pause.as_millis());
        Timer::after(pause).await;
    }
}

/// The contract's durations, which are the standard library's and of 32 bits of milliseconds at most.
pub(crate) fn duration(duration: time::Duration) -> Duration {
    Duration::from_millis(u32::try_from(duration.as_millis()).unwrap_or(u32::MAX).into())
}

#[cfg(test)]
mod tests {
    use core::cell::RefCell;

    use alloc::vec::Vec;

    use embassy_time::Instant;
    use tbprov_contract::report::Trouble;

    use super::*;
    use crate::testing::alone;

    /// When attempts began that each end at once, `acknowledged` says which of them after an acknowledged reading.
    fn attempts(acknowledged: fn(usize) -> bool, longest: Duration) -> Vec<u64> {
        let alone = alone();
        let began = RefCell::new(Vec::new());
        let attempt = async || {
            let number = began.borrow().len();
            began.borrow_mut().push(Instant::now().as_secs());
            Ended { fault: Fault::new(Trouble::Connect, "nobody there"), acknowledged: acknowledged(number) }
        };
        assert!(alone.run_for(longest, reconnect(time::Duration::from_secs(1), || 0, attempt)).is_none());
        assert!(alone.troubles().iter().all(|trouble| *trouble == Trouble::Connect));
        assert!(alone.lines()[0].ends_with("[network/connect] nobody there; next attempt in 1000 ms"));
        began.into_inner()
    }

    #[test]
    fn attempts_are_made_for_ever_and_ever_less_often() {
        let began = attempts(|_| false, Duration::from_secs(86_400));
        assert_eq!(began[..9], [0, 1, 3, 7, 15, 31, 63, 123, 183]);
        assert!(began.len() > 86_400 / 60);
    }

    #[test]
    fn a_session_that_was_good_for_something_begins_the_pauses_again() {
        let began = attempts(|number| number == 3, Duration::from_secs(60));
        assert_eq!(began, [0, 1, 3, 7, 8, 10, 14, 22, 38]);
    }

    #[test]
    fn durations_are_the_same_on_both_sides() {
        assert_eq!(duration(time::Duration::from_millis(1)), Duration::from_millis(1));
        assert!(duration(time::Duration::MAX) > Duration::from_secs(86_400));
    }
}
