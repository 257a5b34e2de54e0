//! When a message may leave: the limits that the server announced, and the pace that its closes taught.

use std::time::Duration;

use tokio::time::Instant;

use super::limits::{ANSWER_TOPIC, Limits};
use super::pace::Pace;
use crate::error::{Error, ErrorCode};
use crate::event::{Event, Progress};
use crate::mqtt::IN_FLIGHT;

/// Readings that may leave before the answer to the question for limits, and how long it is waited for.
const BEFORE_ANSWER: usize = 10;
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// Lets messages leave.
pub(super) struct Governor<'a> {
    progress: &'a Progress,
    pub(super) limits: Limits,
    pace: Pace,
    question: Question,
    /// Whether the answer is worth asking for.
    wants_answer: bool,
    /// Messages and data points that left before the limits were known, and whether the server closed meanwhile.
    unmetered: (u32, u32),
    connects: u32,
    was_closed: bool,
    waiting_since: Option<Instant>,
    told_announced: bool,
    told_learnt: bool,
    /// How many messages waited, and how long.
    pub(super) held_back: u64,
    held_back_for: Duration,
}

enum Question {
    NotAsked,
    /// So many readings may leave before this time.
    Asked {
        until: Instant,
        left: usize,
    },
    Over,
}

impl<'a> Governor<'a> {
    /// `asks` on the first connection, where that is a server's own topic and much is to be sent.
    pub(super) fn new(asks: bool, progress: &'a Progress) -> Self {
        Self {
            progress,
            limits: Limits::default(),
            pace: Pace::new(usize::from(IN_FLIGHT), Instant::now()),
            question: Question::NotAsked,
            wants_answer: asks,
            unmetered: (0, 0),
            connects: 0,
            was_closed: false,
            waiting_since: None,
            told_announced: false,
            told_learnt: false,
            held_back: 0,
            held_back_for: Duration::ZERO,
        }
    }

    /// Messages that may be in flight.
    pub(super) const fn window(&self) -> usize {
        self.pace.window()
    }

    /// A connection was made.
    pub(super) fn connected(&mut self) {
        self.connects = self.connects.saturating_add(1);
    }

    /// Whether to ask for the limits now; once a run.
    pub(super) fn asks(&mut self) -> bool {
        let asks = self.wants_answer && matches!(self.question, Question::NotAsked);
        if asks {
            self.question = Question::Asked { until: Instant::now() + ANSWER_WAIT, left: BEFORE_ANSWER };
        }
        asks
    }

    /// Takes in a message of the server: whether it is the answer.
    pub(super) fn take_in(&mut self, topic: &str, payload: &[u8]) -> bool {
        if topic != ANSWER_TOPIC || !matches!(self.question, Question::Asked { .. }) {
            return false;
        }
        self.question = Question::Over;
        let now = Instant::now();
        let Some(mut limits) = Limits::read(payload, now) else { return false };
        let (messages, points) = self.unmetered;
        limits.begin_after(messages, points, self.connects);
        if self.was_closed {
            limits.closed(now);
        }
        if let Some(window) = limits.in_flight {
            self.pace.limit_window(window);
        }
        self.limits = limits;
        true
    }

    /// When a message of so many readings and data points may leave.
    pub(super) fn ready_at(&mut self, readings: usize, points: u32, now: Instant) -> Instant {
        match self.question {
            Question::Asked { until, left } if readings > left && until > now => return until,
            _ => {}
        }
        let announced = self.limits.ready_at(points, now);
        let at = announced.max(self.pace.ready_at(now));
        if at > now && self.waiting_since.is_none() {
            self.waiting_since = Some(now);
            self.held_back += 1;
            self.tell(announced > now);
        }
        at
    }

    /// A message of so many readings and data points leaves.
    pub(super) fn sent(&mut self, readings: usize, points: u32, now: Instant) {
        if let Question::Asked { left, .. } = &mut self.question {
            *left = left.saturating_sub(readings);
        }
        if !matches!(self.question, Question::Over) {
            let (messages, before) = self.unmetered;
            self.unmetered = (messages.saturating_add(1), before.saturating_add(points));
        }
        self.limits.spend(points, now);
        self.pace.sent(now);
        self.end_wait(now);
    }

    pub(super) fn acknowledged(&mut self) {
        self.pace.acknowledged(Instant::now());
    }

    /// The connection ended by `error` with `in_flight` messages in flight. If none was in flight, or only one that is
    /// suspected to be the cause, the end says nothing about the pace.
    pub(super) fn closed(&mut self, error: &Error, in_flight: usize, has_suspect: bool) {
        let now = Instant::now();
        self.end_wait(now);
        self.limits.closed(now);
        self.was_closed = true;
        if let Question::Asked { .. } = self.question {
            self.question = Question::Over;
        }
        if error.code == ErrorCode::NetworkClosed && in_flight > 0 {
            self.wants_answer = true;
            if !has_suspect {
                self.pace.closed(now);
            }
        }
    }

    /// What closes taught was not the pace: one message was to blame.
    pub(super) fn forget_pace(&mut self) {
        self.pace = Pace::new(self.limits.in_flight.unwrap_or(usize::from(IN_FLIGHT)), Instant::now());
    }

    /// How long messages waited, one after the other.
    pub(super) fn held_back_for(&self) -> Duration {
        self.held_back_for + self.waiting_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn end_wait(&mut self, now: Instant) {
        if let Some(since) = self.waiting_since.take() {
            self.held_back_for += now.saturating_duration_since(since);
        }
    }

    /// Tells why messages wait. Each reason is told once.
    fn tell(&mut self, is_announced: bool) {
        let told = if is_announced { &mut self.told_announced } else { &mut self.told_learnt };
        if std::mem::replace(told, true) {
            return;
        }
        let reason = if is_announced {
            format!("the server announced {}: no more is sent", self.limits.shown())
        } else {
            let rate = self.pace.rate().unwrap_or_default();
            format!(
                "the server closes the connection at this pace, as at a rate limit: {rate:.0} messages a second are \
                 sent now, and more as it takes them"
            )
        };
        self.progress.event(&Event::HeldBack { reason });
    }
}
