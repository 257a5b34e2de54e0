//! How many devices are worked on at once, and when nothing is begun. Pure: the caller passes the time.
//!
//! The first device of a run is alone, so that a wrong provision key shows once and not many times. After it a
//! `Search` looks for the number that gives the most devices a second. A server that cannot keep up lowers that
//! number, and each sign of it makes a pause:
//!
//! | signal | pause | number |
//! |---|---|---|
//! | [`Signal::Overloaded`], more than now and then | 1 s, doubled each time nothing was good in between, at most 60 s | halved |
//! | [`Signal::Limited`] | the same | at most a quarter of what was good since the last time |
//! | [`Signal::Blocked`] | 65 s | as at the beginning of a run |

mod search;
#[cfg(test)]
mod tests;

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::{Duration, Instant};

use self::search::Search;

/// The most devices that are worked on at once where the number is found by itself.
pub const MAX: usize = 256;

/// How long nothing is begun when the server blocks this address. ThingsBoard counts 60 s from the last login
/// (`DefaultTransportRateLimitService.checkAddress`).
const BLOCKED: Duration = Duration::from_secs(65);

/// The first pause, and the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// So many good devices make up for one that met an overload. Two such make a pause, or more where many are in work.
const GOOD_FOR_ONE: usize = 8;

/// How many devices are worked on at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Jobs {
    /// As many as give the most devices a second, at most [`MAX`].
    #[default]
    Auto,
    /// So many.
    Fixed(NonZeroUsize),
}

impl fmt::Display for Jobs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Fixed(jobs) => jobs.fmt(formatter),
        }
    }
}

impl FromStr for Jobs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        text.parse()
            .map(Self::Fixed)
            .map_err(|_| format!("'{text}' is neither 'auto' nor a number from 1 on"))
    }
}

/// What the end of one device's work says about the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// The device is done.
    Good,
    /// The server said no, to this device. It says nothing about its load.
    Refused,
    /// No answer in time, or closed where an answer was due.
    Overloaded,
    /// CONNACK 3: a rate limit.
    Limited,
    /// Closed before TLS, where TLS worked before: ThingsBoard drops this address for a time.
    Blocked,
}

/// Decides how many devices are worked on at once. The caller begins another one while fewer than [`Control::limit`]
/// are in work and [`Control::paused_until`] is over, and tells how each of them ended.
#[derive(Debug)]
pub struct Control {
    jobs: Jobs,
    search: Search,
    /// Nothing was good since the beginning, or since a block.
    is_alone: bool,
    paused_until: Option<Instant>,
    /// The last time that a signal made a pause. What began before says nothing new.
    reacted: Option<Instant>,
    /// How often that was, with nothing good in between.
    in_a_row: u32,
    /// What was good since then.
    good: usize,
    /// Grows with each overload, and shrinks with each good device.
    strain: usize,
}

impl Control {
    /// Nothing has been begun.
    pub fn new(jobs: Jobs) -> Self {
        Self {
            jobs,
            search: Search::new(),
            is_alone: true,
            paused_until: None,
            reacted: None,
            in_a_row: 0,
            good: 0,
            strain: 0,
        }
    }

    /// How many devices may be in work at once, from 1 on.
    pub fn limit(&self) -> usize {
        match self.jobs {
            _ if self.is_alone => 1,
            Jobs::Auto => self.search.limit(),
            Jobs::Fixed(jobs) => jobs.get(),
        }
    }

    /// Until when no device is begun. It may be over already.
    pub fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// The work on a device that began at `started` ended now.
    pub fn finished(&mut self, started: Instant, now: Instant, signal: Signal) {
        let is_news = self.reacted.is_none_or(|reacted| started >= reacted);
        match signal {
            Signal::Good => self.was_good(started, now),
            Signal::Refused => {}
            _ if !is_news => {}
            Signal::Overloaded => self.was_overloaded(now),
            Signal::Limited => {
                self.search.cap(self.good.div_ceil(4), now);
                self.pause(now);
            }
            Signal::Blocked => {
                self.react(now);
                self.is_alone = true;
                self.paused_until = Some(now + BLOCKED);
            }
        }
    }

    fn was_good(&mut self, started: Instant, now: Instant) {
        self.good = self.good.saturating_add(1);
        self.strain = self.strain.saturating_sub(1);
        self.in_a_row = 0;
        if self.is_alone {
            self.is_alone = false;
            self.search.begin(now.saturating_duration_since(started), now);
        } else {
            self.search.good(started, now);
        }
    }

    /// A connection that breaks now and then is no overload.
    fn was_overloaded(&mut self, now: Instant) {
        self.strain += GOOD_FOR_ONE;
        if self.strain >= self.limit().max(2 * GOOD_FOR_ONE) {
            self.search.cap(self.limit() / 2, now);
            self.pause(now);
        }
    }

    fn pause(&mut self, now: Instant) {
        let doubled = PAUSE.saturating_mul(2_u32.saturating_pow(self.in_a_row));
        self.react(now);
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.paused_until = Some(now + doubled.min(LONGEST_PAUSE));
    }

    fn react(&mut self, now: Instant) {
        self.reacted = Some(now);
        self.good = 0;
        self.strain = 0;
    }
}
