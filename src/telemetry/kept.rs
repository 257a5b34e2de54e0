//! Messages that were taken from the source and are not acknowledged: their order, and which are in flight.

use std::collections::{BTreeMap, HashMap, VecDeque};

use tokio::time::Instant;

use super::message::{Key, Message};

/// The key of the attributes, which come before all readings.
pub(super) const ATTRIBUTES: Key = (0, 0);

/// Everything taken and not acknowledged.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// In the order of the source.
    messages: BTreeMap<Key, Message>,
    /// The messages that must still be sent, and those in flight on this connection.
    to_send: VecDeque<Key>,
    in_flight: HashMap<u16, Key>,
    /// When each message was sent, the oldest first. Some may be acknowledged already.
    departures: VecDeque<(u16, Instant)>,
    /// Readings that were numbered.
    readings: u64,
}

impl Kept {
    /// Keeps the attributes.
    pub(super) fn add_attributes(&mut self, message: Message) {
        self.messages.insert(ATTRIBUTES, message);
    }

    /// Keeps the messages of one reading, or one message of several.
    pub(super) fn add(&mut self, messages: Vec<Message>) {
        let first = self.readings + 1;
        self.readings += match &messages[..] {
            [several] => several.carried.len() as u64,
            _ => 1,
        };
        for (part, message) in (0..).zip(messages) {
            self.messages.insert((first, part), message);
            self.to_send.push_back((first, part));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn get(&self, key: Key) -> Option<&Message> {
        self.messages.get(&key)
    }

    /// The next one to leave.
    pub(super) fn next(&self) -> Option<(Key, &Message)> {
        let key = *self.to_send.front()?;
        Some((key, self.messages.get(&key)?))
    }

    /// It left, under this packet id.
    pub(super) fn sent(&mut self, packet_id: u16, now: Instant) {
        if let Some(key) = self.to_send.pop_front() {
            self.in_flight.insert(packet_id, key);
            self.departures.push_back((packet_id, now));
        }
    }

    /// When the message left that has been on its way for the longest time.
    pub(super) fn oldest_departure(&mut self) -> Option<Instant> {
        while let Some((packet_id, left)) = self.departures.front() {
            if self.in_flight.contains_key(packet_id) {
                return Some(*left);
            }
            self.departures.pop_front();
        }
        None
    }

    /// When the message with this packet id left.
    pub(super) fn left_at(&self, packet_id: u16) -> Option<Instant> {
        let mut latest_first = self.departures.iter().rev();
        latest_first.find(|(left, _)| *left == packet_id).map(|(_, at)| *at)
    }

    /// The message with this packet id is acknowledged.
    pub(super) fn acknowledged(&mut self, packet_id: u16) -> Option<(Key, Message)> {
        self.messages.remove_entry(&self.in_flight.remove(&packet_id)?)
    }

    /// The connection was lost: every message must be sent again.
    pub(super) fn start_over(&mut self) {
        self.in_flight.clear();
        self.departures.clear();
        self.to_send = self.messages.keys().copied().collect();
    }

    /// The message that is in flight alone.
    pub(super) fn alone(&self) -> Option<Key> {
        let mut keys = self.in_flight.values();
        keys.next().copied().filter(|_| keys.next().is_none())
    }

    /// The kept messages of a reading: several parts if it did not fit into one message.
    pub(super) fn parts(&self, (number, _): Key) -> impl Iterator<Item = &Message> {
        self.messages.range((number, 0)..=(number, u32::MAX)).map(|(_, message)| message)
    }

    /// Splits a message into one message per reading. False if it has only one reading.
    pub(super) fn split(&mut self, key: Key) -> bool {
        if self.messages.get(&key).is_none_or(|message| message.carried.len() <= 1) {
            return false;
        }
        let place = self.to_send.iter().position(|waiting| *waiting == key);
        let alone = self.messages.remove(&key).map(Message::split).unwrap_or_default();
        for (offset, message) in alone.into_iter().enumerate() {
            let key = (key.0 + offset as u64, 0);
            self.messages.insert(key, message);
            if let Some(place) = place.filter(|_| offset > 0) {
                self.to_send.insert(place + offset, key);
            }
        }
        true
    }

    /// Removes all parts of a reading, so that it is not sent.
    pub(super) fn leave_out(&mut self, (number, _): Key) {
        self.messages.retain(|key, _| key.0 != number);
        self.to_send.retain(|key| key.0 != number);
    }

    /// Removes everything after a reading, and returns how many readings that were.
    pub(super) fn leave_out_after(&mut self, (number, _): Key) -> u64 {
        self.to_send.retain(|key| key.0 <= number);
        let mut after = self.messages.split_off(&(number + 1, 0));
        let first_parts = after.extract_if(.., |key, _| key.1 == 0);
        first_parts.map(|(_, message)| message.carried.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{Array, Outgoing, Part};
    use super::*;

    fn reading(line: u64) -> Outgoing {
        let text = format!("{{\"a\":{line}}}").into();
        let parts = vec![Part { text, points: 1, time: None }];
        Outgoing { line, parts, is_array: false, is_timed: true, unchanged: None, shown: None }
    }

    fn together(lines: &[u64]) -> Message {
        let mut array = Array::new();
        lines.iter().for_each(|line| array.push(&reading(*line), 0..1));
        array.into_message()
    }

    fn order(kept: &mut Kept) -> Vec<u64> {
        kept.start_over();
        let mut lines = Vec::new();
        while let Some((_, message)) = kept.next() {
            lines.push(message.carried[0].line);
            kept.sent(u16::try_from(lines.len()).unwrap(), Instant::now());
        }
        lines
    }

    #[test]
    fn what_is_not_acknowledged_leaves_again_in_its_order() {
        let mut kept = Kept::default();
        for line in 1..=4 {
            kept.add(reading(line).messages(100).unwrap());
        }
        assert_eq!(order(&mut kept), [1, 2, 3, 4]);
        assert_eq!(kept.acknowledged(3).unwrap().1.carried[0].line, 3);
        assert!(kept.acknowledged(3).is_none(), "a repeated one");
        assert_eq!(order(&mut kept), [1, 2, 4]);
        assert_eq!(kept.alone(), None);
    }

    #[test]
    fn readings_that_went_together_go_alone_where_they_were() {
        let mut kept = Kept::default();
        kept.add(vec![together(&[1, 2, 3])]);
        kept.add(vec![together(&[4, 5])]);
        let (key, _) = kept.next().unwrap();
        assert!(kept.split(key));
        assert!(!kept.split(key), "it is alone now");
        let mut lines = Vec::new();
        while let Some((_, message)) = kept.next() {
            lines.push(message.carried.len());
            kept.sent(u16::try_from(lines.len()).unwrap(), Instant::now());
        }
        assert_eq!(lines, [1, 1, 1, 2]);
        kept.leave_out((2, 0));
        assert_eq!(order(&mut kept), [1, 3, 4]);
        assert_eq!(kept.leave_out_after((2, 0)), 3);
        assert_eq!(order(&mut kept), [1]);
    }

    #[test]
    fn a_reading_in_parts_is_whole_once_none_is_left() {
        let mut kept = Kept::default();
        kept.add(vec![together(&[1]), together(&[1])]);
        kept.add(vec![together(&[2])]);
        kept.start_over();
        (1..=3).for_each(|packet_id| kept.sent(packet_id, Instant::now()));
        assert!(kept.oldest_departure().is_some());
        let (key, _) = kept.acknowledged(2).unwrap();
        assert_eq!(kept.parts(key).count(), 1);
        let (key, _) = kept.acknowledged(1).unwrap();
        assert_eq!(kept.parts(key).count(), 0);
        assert_eq!(kept.alone(), Some((2, 0)));
        kept.acknowledged(3).unwrap();
        assert_eq!(kept.oldest_departure(), None);
    }
}
