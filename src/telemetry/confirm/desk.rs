//! Where the sending leaves what was acknowledged, and where it learns how far the confirming is.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Messages that may wait for their confirmation, and readings in them: until then nothing more is taken from the source.
const MOST_MESSAGES: usize = 256;
const MOST_READINGS: usize = 4096;

/// A message whose PUBACK came.
#[derive(Debug)]
pub(in crate::telemetry) struct Acknowledged {
    /// The number of its first reading: that of all messages of a reading that did not fit into one.
    pub(in crate::telemetry) number: u64,
    /// How many readings it made whole.
    pub(in crate::telemetry) whole: u64,
    /// When it was sent last.
    pub(in crate::telemetry) left: Instant,
    /// Its readings: the line of each, and what was sent of it.
    pub(in crate::telemetry) readings: Vec<(u64, Bytes)>,
}

/// How long it took from sending until the server showed it, over all messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The shortest time.
    pub min: Duration,
    /// The one in the middle.
    pub median: Duration,
    /// The longest time.
    pub max: Duration,
}

/// Between the sending and the confirming, which are parts of one task.
#[derive(Debug, Default)]
pub(in crate::telemetry) struct Desk {
    state: Mutex<State>,
    /// Told by the sending, and told by the confirming.
    arrived: Notify,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    new: Vec<Acknowledged>,
    /// Messages and readings that are not confirmed.
    messages: usize,
    readings: usize,
    is_closed: bool,
    has_failed: bool,
    confirmed: u64,
    /// How many messages took so many milliseconds.
    seen: BTreeMap<u64, u64>,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a message to be confirmed.
    pub(in crate::telemetry) fn add(&self, message: Acknowledged) {
        let mut state = self.state();
        state.messages += 1;
        state.readings += message.readings.len();
        state.new.push(message);
        self.arrived.notify_one();
    }

    /// No more will come.
    pub(in crate::telemetry) fn close(&self) {
        self.state().is_closed = true;
        self.arrived.notify_one();
    }

    /// Whether more may be taken from the source.
    pub(in crate::telemetry) fn has_room(&self) -> bool {
        let state = self.state();
        state.messages < MOST_MESSAGES && state.readings < MOST_READINGS
    }

    /// Whether everything is confirmed.
    pub(in crate::telemetry) fn is_clear(&self) -> bool {
        self.state().messages == 0
    }

    /// Whether nothing is confirmed any more.
    pub(in crate::telemetry) fn has_failed(&self) -> bool {
        self.state().has_failed
    }

    /// Waits until the confirming has gone on.
    pub(in crate::telemetry) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Readings that were confirmed.
    pub(in crate::telemetry) fn confirmed(&self) -> u64 {
        self.state().confirmed
    }

    /// How long it took; nothing before the first one.
    pub(in crate::telemetry) fn seen(&self) -> Option<Seen> {
        let state = self.state();
        let count: u64 = state.seen.values().sum();
        let mut before = 0;
        let mut in_the_middle = state.seen.iter().skip_while(|(_, of_these)| {
            before += **of_these;
            before * 2 < count
        });
        let of = |(milliseconds, _): (&u64, &u64)| Duration::from_millis(*milliseconds);
        Some(Seen {
            min: state.seen.first_key_value().map(of)?,
            median: in_the_middle.next().map(of)?,
            max: state.seen.last_key_value().map(of)?,
        })
    }

    /// What came since this was asked.
    pub(super) fn take(&self) -> Vec<Acknowledged> {
        std::mem::take(&mut self.state().new)
    }

    /// Whether nothing will come any more.
    pub(super) fn is_over(&self) -> bool {
        let state = self.state();
        state.is_closed && state.new.is_empty()
    }

    /// Waits until something comes, or nothing will.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// A message of so many readings, which made so many whole, was seen on the server.
    pub(super) fn confirm(&self, readings: usize, whole: u64, took: Duration) -> u64 {
        let mut state = self.state();
        state.messages = state.messages.saturating_sub(1);
        state.readings = state.readings.saturating_sub(readings);
        state.confirmed += whole;
        *state.seen.entry(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)).or_default() += 1;
        self.changed.notify_one();
        state.confirmed
    }

    /// Nothing is confirmed any more.
    pub(super) fn fail(&self) {
        self.state().has_failed = true;
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_the_least_the_middle_and_the_most() {
        let desk = Desk::default();
        assert_eq!(desk.seen(), None);
        let of = |[min, median, max]: [u64; 3]| {
            let [min, median, max] = [min, median, max].map(Duration::from_millis);
            Some(Seen { min, median, max })
        };
        for (took, expected) in
            [(7, [7, 7, 7]), (3, [3, 3, 7]), (9, [3, 7, 9]), (9, [3, 7, 9]), (9, [3, 9, 9])]
        {
            desk.confirm(1, 1, Duration::from_millis(took));
            assert_eq!(desk.seen(), of(expected), "{took}");
        }
        assert_eq!(desk.confirmed(), 5);
    }

    #[test]
    fn what_is_not_confirmed_is_bounded() {
        let desk = Desk::default();
        let message = |readings| Acknowledged {
            number: 1,
            whole: 1,
            left: Instant::now(),
            readings: vec![(1, Bytes::new()); readings],
        };
        (0..MOST_MESSAGES).for_each(|_| desk.add(message(1)));
        assert!(!desk.has_room() && !desk.is_clear());
        desk.confirm(1, 1, Duration::ZERO);
        assert!(desk.has_room());
        desk.add(message(MOST_READINGS));
        assert!(!desk.has_room(), "a few large ones");
    }
}
