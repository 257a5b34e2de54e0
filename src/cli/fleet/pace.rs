//! How fast devices come to their end, from what is seen of it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What is older tells nothing about now.
const WINDOW: Duration = Duration::from_secs(60);

/// When how many were done, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Pace(VecDeque<(Instant, u64)>);

impl Pace {
    pub(super) fn note(&mut self, now: Instant, done: u64) {
        // Somebody has made failed ones due again: the differences before are of another count.
        if self.0.back().is_some_and(|(_, before)| *before > done) {
            self.0.clear();
        }
        self.0.push_back((now, done));
        while self.0.front().is_some_and(|(then, _)| now.duration_since(*then) > WINDOW) {
            self.0.pop_front();
        }
    }

    /// Devices a second.
    #[allow(clippy::cast_precision_loss, reason = "a rate to show")]
    pub(super) fn rate(&self) -> Option<f64> {
        let ((first, before), (last, after)) = (self.0.front()?, self.0.back()?);
        let seconds = last.duration_since(*first).as_secs_f64();
        (seconds > 0.0).then(|| ((after - before) as f64 / seconds * 10.0).round() / 10.0)
    }

    /// Seconds until so many more are done.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time to show; neither is negative"
    )]
    pub(super) fn seconds_left(&self, left: u64) -> Option<u64> {
        let rate = self.rate().filter(|rate| *rate > 0.0)?;
        Some((left as f64 / rate).ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_the_last_minute() {
        let begin = Instant::now();
        let mut pace = Pace::default();
        let mut seen = |second, done| {
            pace.note(begin + Duration::from_secs(second), done);
            (pace.rate(), pace.seconds_left(100))
        };
        assert_eq!(seen(0, 0), (None, None));
        assert_eq!(seen(10, 100), (Some(10.0), Some(10)));
        // A pause, after which the fast beginning is not counted any more.
        assert_eq!(seen(65, 100), (Some(0.0), None));
        assert_eq!(seen(70, 130), (Some(0.5), Some(200)));
        // A retry.
        assert_eq!(seen(71, 90), (None, None));
        assert_eq!(seen(73, 96), (Some(3.0), Some(34)));
    }
}
