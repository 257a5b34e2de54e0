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

/// The contract's durations are the standard library's.
pub(crate) fn duration(duration: time::Duration) -> Duration {
    Duration::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}
