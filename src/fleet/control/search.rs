//! Looks for the number of devices at once that gives the most devices a second.
//!
//! At first the number is doubled as long as the devices take hardly longer for it: this shows after one of them.
//! Then whole rounds are counted at each number. A larger number is tried now and then, and kept where it gives more
//! devices a second. A smaller one is tried too, and kept where it gives as many.

use std::time::{Duration, Instant};

use super::MAX;

/// The most that is tried after the first device. ThingsBoard's core works on 16 requests at once.
const SECOND: usize = 16;

/// A number is not tried at which devices could take longer than this. ThingsBoard gives up after 10 s.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much of the growth of the number has to be seen in the estimate for growing it fourfold, and twofold.
const FREE: f64 = 0.8;
const STEEP: f64 = 0.6;

/// What a larger number has to give, and what a smaller one, in parts of what there was. At a larger one that gives
/// hardly less, a still larger one is tried: a server may give less at twice the number and more at eight times.
const MORE: f64 = 1.05;
const AS_MUCH: f64 = 0.97;
const HARDLY_LESS: f64 = 0.9;

/// The least time and the least number of devices that are a measurement.
const LEAST_TIME: Duration = Duration::from_millis(500);
const LEAST_COUNT: usize = 32;

/// Waits between attempts: each one that was in vain doubles it.
const WAIT_UP: Duration = Duration::from_secs(5);
const LONGEST_UP: Duration = Duration::from_secs(60);
const WAIT_DOWN: Duration = Duration::from_secs(5);
const LONGEST_DOWN: Duration = Duration::from_secs(60);

/// An overload so long after the one before is not the number's fault.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// A silence longer than the devices take, by so much, is a server that stalls. It is left out of what is measured.
const SILENCE: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Search {
    limit: usize,
    phase: Phase,
    measured: Measured,
    up: Attempts,
    down: Attempts,
    /// How long a device takes, smoothed, in seconds.
    latency: f64,
    /// The shortest that was, in seconds: how long one takes that waits for no other.
    least: f64,
    last: Option<Instant>,
    capped: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The number was made so many times larger; the estimate before.
    Ramp { times: usize, before: f64 },
    /// Devices a second at this number, once measured.
    Hold { rate: Option<f64> },
    /// Another number than `from` is tried, which gave `rate`.
    Probe { from: usize, rate: f64 },
}

impl Search {
    pub(super) const fn new() -> Self {
        Self {
            limit: 1,
            phase: Phase::Hold { rate: None },
            measured: Measured::new(),
            up: Attempts::new(WAIT_UP, LONGEST_UP),
            down: Attempts::new(WAIT_DOWN, LONGEST_DOWN),
            latency: 0.0,
            least: 0.0,
            last: None,
            capped: None,
        }
    }

    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    /// The first device was good, and took so long.
    pub(super) fn begin(&mut self, latency: Duration, now: Instant) {
        *self = Self::new();
        self.latency = latency.as_secs_f64().max(1e-6);
        self.least = self.latency;
        let mut limit = SECOND;
        while limit > 1 && !self.is_bearable(limit) {
            limit /= 2;
        }
        self.last = Some(now);
        self.down.postpone(now);
        self.set(limit, Phase::Ramp { times: limit, before: 1.0 / self.latency }, now);
    }

    /// No more than this many for now: the server had too much.
    pub(super) fn cap(&mut self, most: usize, now: Instant) {
        let from = match self.phase {
            Phase::Probe { from, .. } => from.min(self.limit),
            _ => self.limit,
        };
        let before = self.capped.replace(now);
        if before.is_some_and(|before| now.saturating_duration_since(before) < FORGOTTEN) {
            self.up.fail(now);
        } else {
            self.up.succeed(now);
        }
        self.set(from.min(most).max(1), Phase::Hold { rate: None }, now);
    }

    /// A device that began at `started` is done.
    pub(super) fn good(&mut self, started: Instant, now: Instant) {
        let silent = self.last.replace(now).map(|last| now.saturating_duration_since(last));
        if silent.is_some_and(|silent| silent > Duration::from_secs_f64(self.latency * 1.5) + SILENCE) {
            self.measured.restart(now);
        }
        let took = now.saturating_duration_since(started);
        if self.measured.is_of_this_limit(started) {
            self.latency += (took.as_secs_f64() - self.latency) / 16.0;
            self.least = self.least.min(self.latency);
        }
        self.measured.count(started, now, took);
        match self.phase {
            Phase::Ramp { times, before } => self.climb(times, before, now),
            Phase::Hold { rate } => self.hold(rate, now),
            Phase::Probe { from, rate } => self.compare(from, rate, now),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a few hundred at most")]
    fn climb(&mut self, times: usize, before: f64, now: Instant) {
        let Some(estimate) = self.measured.estimate(self.limit) else { return };
        let seen = estimate / before / times as f64;
        let times = if seen >= FREE { 4 } else { 2 };
        let next = self.limit.saturating_mul(times).min(MAX);
        if seen >= STEEP && next > self.limit && self.is_bearable(next) {
            self.set(next, Phase::Ramp { times: next / self.limit, before: estimate }, now);
        } else {
            self.set(self.limit, Phase::Hold { rate: None }, now);
        }
    }

    fn hold(&mut self, known: Option<f64>, now: Instant) {
        let Some(rate) = self.measured.rate(self.limit, now) else { return };
        let rate = known.map_or(rate, |known| f64::midpoint(known, rate));
        let up = self.limit.saturating_mul(2);
        if self.is_enough(self.limit / 2, rate) && self.down.is_due(now) {
            self.set(self.limit / 2, Phase::Probe { from: self.limit, rate }, now);
        } else if self.is_bearable(up) && self.up.is_due(now) {
            self.set(up, Phase::Probe { from: self.limit, rate }, now);
        } else {
            self.set(self.limit, Phase::Hold { rate: Some(rate) }, now);
        }
    }

    fn compare(&mut self, from: usize, before: f64, now: Instant) {
        let Some(rate) = self.measured.rate(self.limit, now) else { return };
        let is_up = self.limit > from;
        let attempts = if is_up { &mut self.up } else { &mut self.down };
        if rate >= before * if is_up { MORE } else { AS_MUCH } {
            attempts.succeed(now);
            return self.set(self.limit, Phase::Hold { rate: Some(rate) }, now);
        }
        let next = self.limit.saturating_mul(2);
        if is_up && rate >= before * HARDLY_LESS && self.is_bearable(next) {
            return self.set(next, self.phase, now);
        }
        let attempts = if is_up { &mut self.up } else { &mut self.down };
        attempts.fail(now);
        self.set(from, Phase::Hold { rate: Some(before) }, now);
    }

    /// Whether so many at once can give this many devices a second, where each takes as short as it can.
    #[expect(clippy::cast_precision_loss, reason = "a few hundred at most")]
    fn is_enough(&self, limit: usize, rate: f64) -> bool {
        limit > 0 && (limit as f64) >= rate * self.least
    }

    /// Whether devices stay quick enough if so many at once give no more devices a second.
    #[expect(clippy::cast_precision_loss, reason = "a few hundred at most")]
    fn is_bearable(&self, limit: usize) -> bool {
        let slower = limit as f64 / self.limit as f64;
        limit <= MAX && self.latency * slower <= PATIENCE.as_secs_f64()
    }

    fn set(&mut self, limit: usize, phase: Phase, now: Instant) {
        if limit == self.limit {
            self.measured.begin(now);
        } else {
            self.measured.restart(now);
        }
        self.limit = limit;
        self.phase = phase;
    }
}

/// When a larger or a smaller number is tried again.
#[derive(Debug)]
struct Attempts {
    due: Option<Instant>,
    wait: Duration,
    first: Duration,
    longest: Duration,
}

impl Attempts {
    const fn new(first: Duration, longest: Duration) -> Self {
        Self { due: None, wait: first, first, longest }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| now >= due)
    }

    fn postpone(&mut self, now: Instant) {
        self.due = Some(now + self.wait);
    }

    fn succeed(&mut self, now: Instant) {
        self.wait = self.first;
        self.due = Some(now);
    }

    fn fail(&mut self, now: Instant) {
        self.postpone(now);
        self.wait = self.wait.saturating_mul(2).min(self.longest);
    }
}

/// What was measured at one number of devices at once.
#[derive(Debug)]
struct Measured {
    /// Devices that began before belong to another number, or to a stall.
    since: Option<Instant>,
    /// Those that began after it: how many, and how long they took together.
    samples: usize,
    took: Duration,
    /// The end of the device from which on devices are counted, and how many.
    from: Option<Instant>,
    count: usize,
}

impl Measured {
    const fn new() -> Self {
        Self { since: None, samples: 0, took: Duration::ZERO, from: None, count: 0 }
    }

    /// Begins anew with what begins from now on.
    fn restart(&mut self, now: Instant) {
        *self = Self { since: Some(now), ..Self::new() };
    }

    /// Begins another measurement at the same number: a device just ended.
    fn begin(&mut self, now: Instant) {
        *self = Self { since: self.since, from: self.from.map(|_| now), ..Self::new() };
    }

    fn is_of_this_limit(&self, started: Instant) -> bool {
        self.since.is_none_or(|since| started >= since)
    }

    fn count(&mut self, started: Instant, now: Instant, took: Duration) {
        if self.from.is_some() {
            self.count += 1;
        }
        if self.is_of_this_limit(started) {
            self.samples += 1;
            self.took += took;
            self.from.get_or_insert(now);
        }
    }

    /// Devices a second after a few devices, as each takes so long and so many are in work (Little's law). Too high
    /// where they queue, because the first ones queued less.
    fn estimate(&self, limit: usize) -> Option<f64> {
        if self.samples < limit.div_ceil(2) {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "a few hundred at most")]
        let in_work = (limit * self.samples) as f64;
        Some(in_work / self.took.as_secs_f64().max(1e-6))
    }

    /// Devices a second, after whole rounds: what began together ends together.
    fn rate(&self, limit: usize, now: Instant) -> Option<f64> {
        let time = now.saturating_duration_since(self.from?);
        if time < LEAST_TIME || self.count < LEAST_COUNT || !self.count.is_multiple_of(limit) {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let count = self.count as f64;
        Some(count / time.as_secs_f64())
    }
}
