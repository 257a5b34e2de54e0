//! How PUBACKs leave: at once and in order, or as a fault wants it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

/// The PUBACKs of one connection that have not been written yet.
#[derive(Debug, Default)]
pub(super) struct Pubacks {
    /// How much later each leaves.
    late: Option<Duration>,
    /// Whether those that leave together do so in reverse order.
    shuffled: bool,
    /// Whether each leaves twice.
    twice: bool,
    /// Packet identifiers, and when they are due.
    waiting: VecDeque<(Instant, u16)>,
}

impl Pubacks {
    pub(super) fn new(late: Option<Duration>, shuffled: bool, twice: bool) -> Self {
        Self { late, shuffled, twice, waiting: VecDeque::new() }
    }

    /// Takes the PUBACK of a message; without a fault, it is written to `outgoing`.
    pub(super) fn add(&mut self, packet_id: u16, outgoing: &mut BytesMut) {
        if self.late.is_none() && !self.shuffled {
            return self.write(packet_id, outgoing);
        }
        let due = Instant::now() + self.late.unwrap_or_default();
        self.waiting.push_back((due, packet_id));
    }

    /// Writes those that are due.
    pub(super) fn release(&mut self, outgoing: &mut BytesMut) {
        if self.waiting.is_empty() {
            return;
        }
        let now = Instant::now();
        let due = self.waiting.partition_point(|(due, _)| *due <= now);
        let mut packet_ids: Vec<_> = self.waiting.drain(..due).map(|(_, packet_id)| packet_id).collect();
        if self.shuffled {
            packet_ids.reverse();
        }
        for packet_id in packet_ids {
            self.write(packet_id, outgoing);
        }
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.front().map(|(due, _)| *due)
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn forget(&mut self) {
        self.waiting.clear();
    }

    fn write(&self, packet_id: u16, outgoing: &mut BytesMut) {
        let [high, low] = packet_id.to_be_bytes();
        for _ in 0..=u8::from(self.twice) {
            outgoing.extend_from_slice(&[0x40, 2, high, low]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The packet identifiers that three messages leave behind at once, and how many wait.
    fn after_three(mut pubacks: Pubacks) -> (Vec<u8>, usize) {
        let mut outgoing = BytesMut::new();
        (1..=3).for_each(|id| pubacks.add(id, &mut outgoing));
        pubacks.release(&mut outgoing);
        (outgoing.chunks(4).map(|packet| packet[3]).collect(), pubacks.waiting())
    }

    #[test]
    fn they_leave_as_the_faults_want_it() {
        let plain = Pubacks::default;
        assert_eq!(after_three(plain()), (vec![1, 2, 3], 0));
        assert_eq!(after_three(Pubacks { shuffled: true, ..plain() }), (vec![3, 2, 1], 0));
        assert_eq!(after_three(Pubacks { twice: true, ..plain() }), (vec![1, 1, 2, 2, 3, 3], 0));
        let both = Pubacks { shuffled: true, twice: true, ..plain() };
        assert_eq!(after_three(both), (vec![3, 3, 2, 2, 1, 1], 0));
        let late = Pubacks { late: Some(Duration::from_secs(60)), ..plain() };
        assert_eq!(after_three(late), (Vec::new(), 3));
    }
}
