//! How fast a server without an announced limit takes messages, learnt from the connections that it closes.
//!
//! A tenant's limit is never announced. Over the limit, ThingsBoard closes the connection. It never sends the PUBACKs
//! of what it accepted just before. So a close shows neither the limit nor its cause. But the messages that were
//! acknowledged between two closes can be counted. The bucket was empty at both closes, so it was refilled by about
//! that number in between.

use std::time::Duration;

use tokio::time::Instant;

/// The first guess, in messages a second: what hosted plans have.
const FIRST_GUESS: f64 = 10.0;

/// The part of a measured rate that is used.
const USED: f64 = 0.95;

/// How many acknowledged messages are needed for a measurement.
const MEASURABLE: u32 = 5;

/// How long after a close the pace does not grow.
const REST: Duration = Duration::from_secs(5);

/// Growth per second: near a pace that was too fast, and if no such pace is known.
const CAREFUL: f64 = 1.02;
const BOLD: f64 = 2.0;

/// When the pace is this many times one that was too fast, and nothing was closed, the limit must have changed.
const BEYOND: f64 = 1.3;

/// The slowest: one message in half a minute.
const SLOWEST: f64 = 1.0 / 30.0;

/// A pause is made up for up to this time.
const SLACK: Duration = Duration::from_millis(20);

/// After this many closes in a row at a lowered pace, if they came no later than before, the pace is not their reason:
/// the server counts messages, or is restarted again and again.
const ANOTHER_REASON: u32 = 2;

/// A pace counts as lower than another one if it is at most this part of it.
const LOWER: f64 = 0.8;

/// After this time without a close, such another reason is assumed to have ended.
const FORGOTTEN: Duration = Duration::from_secs(20);

/// The learnt pace.
#[derive(Debug)]
pub(super) struct Pace {
    /// Messages per second; `None` until the first close.
    rate: Option<f64>,
    /// A pace that was too fast.
    too_fast: Option<f64>,
    /// Whether the rate is what was measured.
    is_measured: bool,
    /// Messages that were acknowledged before the last close.
    before: u32,
    /// How many closes in a row the pace did not prevent.
    in_vain: u32,
    /// When the next message may leave.
    next: Instant,
    /// Messages in flight at the most.
    window: usize,
    largest_window: usize,
    /// Whether messages waited for the pace since it last grew.
    is_felt: bool,
    /// When it grew last, or rested.
    grown: Instant,
    started: Instant,
    last_close: Option<Instant>,
    /// Messages acknowledged since the last close, or since the beginning.
    acknowledged: u32,
}

impl Pace {
    pub(super) fn new(window: usize, now: Instant) -> Self {
        Self {
            rate: None,
            too_fast: None,
            is_measured: false,
            before: 0,
            in_vain: 0,
            next: now,
            window,
            largest_window: window,
            is_felt: false,
            grown: now,
            started: now,
            last_close: None,
            acknowledged: 0,
        }
    }

    /// Messages a second, where that was learnt.
    pub(super) const fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// Messages that may be in flight.
    pub(super) const fn window(&self) -> usize {
        self.window
    }

    /// The server announced how many may be in flight.
    pub(super) fn limit_window(&mut self, window: usize) {
        self.largest_window = self.largest_window.min(window);
        self.window = self.window.min(window);
    }

    /// When the next message may leave.
    pub(super) fn ready_at(&mut self, now: Instant) -> Instant {
        if self.rate.is_none() {
            return now;
        }
        self.is_felt |= self.next > now;
        self.next
    }

    /// A message leaves.
    pub(super) fn sent(&mut self, now: Instant) {
        self.grow(now);
        if let Some(rate) = self.rate {
            let earliest = now.checked_sub(SLACK).unwrap_or(now);
            self.next = self.next.max(earliest) + Duration::from_secs_f64(1.0 / rate);
        }
    }

    pub(super) fn acknowledged(&mut self, now: Instant) {
        self.acknowledged = self.acknowledged.saturating_add(1);
        if self.last_close.is_some_and(|last| now.saturating_duration_since(last) > FORGOTTEN) {
            self.window = self.largest_window;
        }
    }

    /// The server closed the connection, and nobody knows why.
    pub(super) fn closed(&mut self, now: Instant) {
        let acknowledged = std::mem::take(&mut self.acknowledged);
        let since = self.last_close.replace(now).map(|last| now - last);
        let is_lower = self.is_measured
            || self.too_fast.zip(self.rate).is_some_and(|(too_fast, rate)| rate <= too_fast * LOWER);
        let came_no_later = acknowledged <= std::mem::replace(&mut self.before, acknowledged);
        if acknowledged == 0 || since.is_some_and(|since| since > FORGOTTEN) {
            self.in_vain = 0;
        } else if is_lower {
            self.in_vain = if self.is_measured || came_no_later { self.in_vain + 1 } else { 0 };
        }
        if self.in_vain >= ANOTHER_REASON {
            return self.blame_another_reason(acknowledged);
        }
        self.window = self.largest_window;
        self.slow_down(acknowledged, since, now);
    }

    /// As fast as it goes, but no more at once than one connection lasts for: the others would be lost.
    fn blame_another_reason(&mut self, acknowledged: u32) {
        (self.rate, self.too_fast, self.is_measured) = (None, None, false);
        self.window = self.largest_window.min(usize::try_from(acknowledged).unwrap_or(usize::MAX));
    }

    fn slow_down(&mut self, acknowledged: u32, since: Option<Duration>, now: Instant) {
        let rate = match (self.rate, since) {
            (Some(rate), Some(since)) => {
                (self.too_fast, self.grown) = (Some(rate), now + REST);
                let (slower, is_measured) = slower(rate, acknowledged, since);
                self.is_measured = is_measured;
                slower
            }
            // The limit may be per second or per minute: the first guess is the average so far.
            _ => {
                let so_far = now.saturating_duration_since(self.started).as_secs_f64().max(2.0);
                self.grown = now;
                FIRST_GUESS.max(f64::from(acknowledged) / so_far)
            }
        };
        let rate = rate.max(SLOWEST);
        (self.rate, self.is_felt) = (Some(rate), false);
        self.next = now + Duration::from_secs_f64(1.0 / rate);
    }

    /// Raises the pace with the time that has passed: slowly near a pace that was too fast, else quickly.
    fn grow(&mut self, now: Instant) {
        let Some(rate) = self.rate else { return };
        let since = now.saturating_duration_since(self.grown).as_secs_f64();
        if since <= 0.0 {
            return;
        }
        self.grown = now;
        // If the source is slower than the pace, nothing is learnt.
        if !std::mem::take(&mut self.is_felt) {
            return;
        }
        // A pace that is far below the one that was too fast was halved several times. It may grow fast.
        let is_near = self.too_fast.is_some_and(|too_fast| rate > too_fast / 3.0);
        let growth: f64 = if is_near { CAREFUL.powf(since.min(30.0)) } else { BOLD.powf(since.min(2.0)) };
        let grown = rate * growth;
        if self.too_fast.is_some_and(|too_fast| grown > too_fast * BEYOND) {
            self.too_fast = None;
        }
        (self.rate, self.is_measured) = (Some(grown), false);
    }
}

/// The next pace after one that was too fast, and whether it was measured from the messages that were acknowledged
/// since the last close.
fn slower(rate: f64, acknowledged: u32, since: Duration) -> (f64, bool) {
    if acknowledged < MEASURABLE {
        return (rate / 2.0, false);
    }
    let measured = USED * f64::from(acknowledged) / since.as_secs_f64().max(0.001);
    (measured.clamp(rate / 4.0, rate * USED), measured >= rate / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server with a limit, and what a run against it comes to.
    struct Run {
        seconds: f64,
        closes: Vec<f64>,
    }

    /// What closes a connection.
    enum Server {
        /// Buckets: how many, in how many seconds.
        Limit(&'static [(f64, f64)]),
        /// So many messages.
        Count(u32),
        /// So much time.
        Time(Duration),
    }

    /// Sends `messages`, with a PUBACK after `latency` and a new connection after `pause`. What was accepted and not
    /// acknowledged when the connection closes is sent again.
    fn run(server: &Server, messages: u32, latency: Duration, pause: Duration) -> Run {
        let start = Instant::now();
        let mut pace = Pace::new(100, start);
        let mut levels: Vec<f64> = if let Server::Limit(limits) = server {
            limits.iter().map(|limit| limit.0).collect()
        } else {
            vec![]
        };
        let (mut now, mut refilled, mut connected) = (start, start, start);
        let (mut done, mut on_connection) = (0, 0);
        let mut in_flight = std::collections::VecDeque::new();
        let mut closes = Vec::new();
        while done < messages {
            let free =
                in_flight.len() < pace.window() && done + u32::try_from(in_flight.len()).unwrap() < messages;
            let sends_at = if free { Some(pace.ready_at(now).max(now)) } else { None };
            let acknowledged_at = in_flight.front().copied();
            now = match (sends_at, acknowledged_at) {
                (Some(sends), Some(acknowledged)) if acknowledged <= sends => acknowledged,
                (Some(sends), _) => sends,
                (None, Some(acknowledged)) => acknowledged,
                (None, None) => panic!("nothing to do"),
            };
            if acknowledged_at.is_some_and(|at| at <= now) {
                in_flight.pop_front();
                pace.acknowledged(now);
                done += 1;
                continue;
            }
            pace.sent(now);
            on_connection += 1;
            let accepted = match server {
                Server::Limit(limits) => {
                    for (level, (count, period)) in levels.iter_mut().zip(*limits) {
                        *level = (*level + (now - refilled).as_secs_f64() * count / period).min(*count);
                    }
                    refilled = now;
                    let enough = levels.iter().all(|level| *level >= 1.0);
                    levels.iter_mut().filter(|_| enough).for_each(|level| *level -= 1.0);
                    enough
                }
                Server::Count(count) => on_connection < *count,
                Server::Time(time) => now - connected < *time,
            };
            if accepted {
                in_flight.push_back(now + latency);
            } else {
                closes.push((now - start).as_secs_f64());
                pace.closed(now);
                in_flight.clear();
                on_connection = 0;
                now += pause;
                connected = now;
            }
        }
        Run { seconds: (now - start).as_secs_f64(), closes }
    }

    const LATENCIES: [u64; 3] = [1, 30, 120];

    #[test]
    fn a_limit_of_twenty_a_second_is_found() {
        for latency in LATENCIES {
            let at = |messages| {
                let (latency, pause) = (Duration::from_millis(latency), Duration::from_millis(300));
                run(&Server::Limit(&[(20.0, 1.0)]), messages, latency, pause)
            };
            let Run { seconds, closes } = at(120);
            assert!(seconds <= 13.0 && closes.len() <= 6, "{latency} ms: {seconds} s, {closes:?}");
            let Run { seconds, closes } = at(1200);
            assert!(1200.0 / seconds >= 0.7 * 20.0, "{latency} ms: {seconds} s, {closes:?}");
            let late: Vec<_> = closes.into_iter().filter(|at| *at > 30.0).collect();
            assert!(late.windows(2).all(|two| two[1] - two[0] > 10.0), "{latency} ms: {late:?}");
        }
    }

    #[test]
    fn limits_of_every_size_are_found() {
        for (limits, messages, least) in [
            (&[(10.0, 1.0), (300.0, 60.0)][..], 600, 0.6 * 5.0),
            (&[(1000.0, 1.0)], 40_000, 0.7 * 1000.0),
            (&[(200.0, 1.0)], 10_000, 0.6 * 200.0),
            (&[(5.0, 1.0)], 300, 0.6 * 5.0),
            (&[(60.0, 60.0)], 200, 0.6),
            (&[(2.0, 10.0)], 20, 0.1),
        ] {
            for latency in LATENCIES {
                let (latency, pause) = (Duration::from_millis(latency), Duration::from_millis(300));
                let Run { seconds, closes } = run(&Server::Limit(limits), messages, latency, pause);
                let rate = f64::from(messages) / seconds;
                assert!(rate >= least, "{limits:?} {latency:?}: {rate}/s, {closes:?}");
                assert!(closes.len() <= 25, "{limits:?} {latency:?}: {closes:?}");
            }
        }
    }

    #[test]
    fn a_server_that_counts_messages_is_not_slowed_down_for() {
        for latency in LATENCIES {
            let (latency, pause) = (Duration::from_millis(latency), Duration::from_millis(250));
            for (count, messages, most) in [(10, 500, 40.0), (5, 200, 40.0), (3, 100, 60.0), (2, 60, 60.0)] {
                let Run { seconds, closes } = run(&Server::Count(count), messages, latency, pause);
                assert!(seconds < most, "{count} {latency:?}: {seconds} s, {closes:?}");
            }
        }
    }

    #[test]
    fn a_server_that_is_restarted_is_not_slowed_down_for() {
        for latency in LATENCIES {
            let (latency, pause) = (Duration::from_millis(latency), Duration::from_millis(250));
            let second = Duration::from_secs(1);
            let Run { seconds, closes } = run(&Server::Time(second), 10_000, latency, pause);
            assert!(seconds < 60.0, "{latency:?}: {seconds} s, {closes:?}");
        }
    }

    #[test]
    fn a_source_that_is_slower_teaches_nothing() {
        let start = Instant::now();
        let mut pace = Pace::new(100, start);
        pace.closed(start);
        let before = pace.rate();
        for second in 1..100 {
            let now = start + Duration::from_secs(second);
            assert!(pace.ready_at(now) <= now);
            pace.sent(now);
        }
        assert_eq!(pace.rate(), before);
    }
}
