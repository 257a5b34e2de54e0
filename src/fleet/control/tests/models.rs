//! Servers in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::super::{Control, Jobs, Signal};

/// How a server answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Model {
    /// So many devices are worked on at once, each so long.
    workers: usize,
    service: Duration,
    /// What the network and the client add.
    latency: Duration,
    /// Answers leave on these steps.
    step: Duration,
    /// Nothing is worked on for so long, every so often.
    stall: Option<(Duration, Duration)>,
    /// So many are admitted a second; those above get CONNACK 3.
    admitted: Option<f64>,
    /// How many fit into that bucket.
    bucket: f64,
    /// One in so many breaks.
    breaks: Option<u64>,
    /// Devices a second at so many at once, in place of the workers.
    curve: Option<&'static [(f64, f64)]>,
    /// The one of this number, and those after it for 60 s, are blocked.
    blocked: Option<u64>,
}

/// Devices a second that ThingsBoard 4.3.1.3 made on two cores.
const CURVE: &[(f64, f64)] = &[(1.0, 23.0), (4.0, 64.0), (16.0, 109.0), (64.0, 101.0), (256.0, 121.0)];

/// After which time a request that waits is closed upon.
const GIVES_UP: Duration = Duration::from_secs(10);

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

impl Model {
    const fn new(workers: usize, service: Duration, latency: Duration) -> Self {
        Self {
            workers,
            service,
            latency,
            step: Duration::ZERO,
            stall: None,
            admitted: None,
            bucket: 0.0,
            breaks: None,
            curve: None,
            blocked: None,
        }
    }

    pub(super) fn all() -> Vec<(&'static str, Self)> {
        let near = Self::new(2, ms(2), ms(3));
        let far = Self::new(2, ms(2), ms(350));
        let real = Self { step: ms(25), ..Self::new(4, ms(35), ms(15)) };
        let limited = Self { admitted: Some(50.0), bucket: 50.0, ..near };
        let stall = Some((Duration::from_secs(10), Duration::from_secs(2)));
        vec![
            ("near", near),
            ("far", far),
            ("far and slow", Self::new(8, ms(20), ms(350))),
            ("one at a time", Self::new(1, ms(20), ms(15))),
            ("one at a time, slow", Self::new(1, ms(200), ms(15))),
            ("stalls", Self { stall, ..near }),
            ("stalls, far", Self { stall, ..far }),
            ("stalls, real", Self { stall, ..real }),
            (
                "stalls for 12 s",
                Self { stall: Some((Duration::from_secs(60), Duration::from_secs(12))), ..real },
            ),
            ("limited", limited),
            ("limited, far", Self { latency: ms(350), ..limited }),
            ("limited by the minute", Self { admitted: Some(50.0), bucket: 3000.0, ..near }),
            ("limited, slow", Self { admitted: Some(5.0), bucket: 10.0, ..near }),
            ("breaks", Self { breaks: Some(50), ..near }),
            ("real", real),
            ("curve", Self { curve: Some(CURVE), ..Self::new(1, ms(10), ms(1)) }),
            ("blocked", Self { blocked: Some(500), ..near }),
        ]
    }

    /// Whether one device takes so long that a short run is mostly its beginning.
    pub(super) fn is_far(&self) -> bool {
        self.latency >= ms(350)
    }

    /// Whether only a long run shows what the number does.
    pub(super) fn is_best_seen_late(&self) -> bool {
        let stalls_rarely = self.stall.is_some_and(|(every, _)| every > Duration::from_secs(10));
        self.is_far() || stalls_rarely || self.curve.is_some() || self.workers == 4
    }

    /// Devices a second with so many at once: between the points of the curve, on straight lines over the logarithm.
    #[expect(clippy::cast_precision_loss, reason = "a few hundred at most")]
    fn per_second(curve: &[(f64, f64)], at_once: usize) -> f64 {
        let at = (at_once as f64).clamp(1.0, 256.0);
        let between = |pair: &[(f64, f64)]| match pair {
            [(low, slow), (high, fast)] if at <= *high => {
                Some(slow + (fast - slow) * (at / low).log2() / (high / low).log2())
            }
            _ => None,
        };
        curve.windows(2).find_map(between).unwrap_or(1.0)
    }
}

/// A run of the fleet against a server, as events in time.
pub(super) struct World {
    model: Model,
    control: Control,
    begin: Instant,
    now: Instant,
    /// When each worker is free.
    workers: BinaryHeap<Reverse<Instant>>,
    /// End, beginning, outcome.
    in_work: BinaryHeap<Reverse<(Instant, Instant, u8)>>,
    tokens: f64,
    filled: Instant,
    begun: u64,
    blocked_until: Option<Instant>,
    chance: u64,
    /// Attempts that failed.
    pub(super) failed: usize,
}

const SIGNALS: [Signal; 4] = [Signal::Good, Signal::Overloaded, Signal::Limited, Signal::Blocked];

impl World {
    pub(super) fn new(jobs: Jobs, model: Model) -> Self {
        let begin = Instant::now();
        Self {
            model,
            control: Control::new(jobs),
            begin,
            now: begin,
            workers: (0..model.workers).map(|_| Reverse(begin)).collect(),
            in_work: BinaryHeap::new(),
            tokens: model.bucket,
            filled: begin,
            begun: 0,
            blocked_until: None,
            chance: 0x5EED,
            failed: 0,
        }
    }

    /// How long it takes until so many devices are good.
    pub(super) fn run(&mut self, devices: usize) -> Duration {
        let mut left = devices;
        while left > 0 {
            let is_paused = self.control.paused_until().is_some_and(|until| until > self.now);
            if !is_paused && self.in_work.len() < self.control.limit().min(left) {
                self.start();
                continue;
            }
            match self.in_work.pop() {
                Some(Reverse((end, started, outcome))) => {
                    self.now = self.now.max(end);
                    let signal = SIGNALS[usize::from(outcome)];
                    self.control.finished(started, self.now, signal);
                    if signal == Signal::Good { left -= 1 } else { self.failed += 1 }
                }
                None => self.now = self.control.paused_until().unwrap(),
            }
        }
        self.now - self.begin
    }

    fn start(&mut self) {
        self.begun += 1;
        let (end, outcome) = self.outcome();
        self.in_work.push(Reverse((end, self.now, outcome)));
    }

    fn outcome(&mut self) -> (Instant, u8) {
        let (now, model) = (self.now, self.model);
        if model.blocked == Some(self.begun) {
            self.blocked_until = Some(now + Duration::from_secs(60));
        }
        if self.blocked_until.is_some_and(|until| until > now) {
            return (now + ms(1), 3);
        }
        if model.breaks.is_some_and(|breaks| self.begun.is_multiple_of(breaks)) {
            return (now + model.latency, 1);
        }
        if !self.is_admitted() {
            return (now + model.latency, 2);
        }
        let done = self.done();
        if done > now + GIVES_UP {
            return (now + GIVES_UP, 1);
        }
        let waited = done - now;
        let stepped = if model.step.is_zero() {
            waited
        } else {
            let steps = waited.as_micros().div_ceil(model.step.as_micros()).max(2);
            model.step * u32::try_from(steps).unwrap()
        };
        (now + stepped + model.latency, 0)
    }

    /// When the next free worker is done with it.
    fn done(&mut self) -> Instant {
        let Reverse(free) = self.workers.pop().unwrap();
        let begin = self.past_stalls(free.max(self.now));
        let service = match self.model.curve {
            Some(curve) => Duration::from_secs_f64(1.0 / Model::per_second(curve, self.in_work.len() + 1)),
            None => self.model.service.mul_f64(0.8 + 0.4 * self.random()),
        };
        let done = self.past_stalls(begin + service);
        self.workers.push(Reverse(done));
        done
    }

    fn past_stalls(&self, at: Instant) -> Instant {
        let Some((every, lasts)) = self.model.stall else { return at };
        let passed = (at - self.begin).as_nanos() % every.as_nanos();
        let stalled = every.as_nanos() - lasts.as_nanos();
        if passed < stalled {
            return at;
        }
        at + Duration::from_nanos(u64::try_from(every.as_nanos() - passed).unwrap())
    }

    fn is_admitted(&mut self) -> bool {
        let Some(admitted) = self.model.admitted else { return true };
        let passed = self.now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = self.filled.max(self.now);
        self.tokens = (self.tokens + passed * admitted).min(self.model.bucket);
        let is_admitted = self.tokens >= 1.0;
        if is_admitted {
            self.tokens -= 1.0;
        }
        is_admitted
    }

    #[expect(clippy::cast_precision_loss, reason = "53 bits are enough")]
    fn random(&mut self) -> f64 {
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.chance >> 33) as f64 / (1_u64 << 31) as f64
    }
}
