//! A message on its way: one reading, several, or a part of one.

use std::ops::Range;

use bytes::{BufMut as _, Bytes, BytesMut};

/// A reading's number, counted from 1 in the order of the source, and which of its messages it is.
pub(super) type Key = (u64, u32);

/// One PUBLISH.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) payload: Bytes,
    /// Data points in it.
    pub(super) points: u32,
    pub(super) carried: Vec<Carried>,
}

/// A reading, or a part of one, in a message.
#[derive(Debug, Clone)]
pub(super) struct Carried {
    /// Where it stands in its source.
    pub(super) line: u64,
    /// Its elements within the payload.
    elements: Range<usize>,
    is_array: bool,
    points: u32,
    /// The times that were given to it.
    pub(super) times: Vec<i64>,
    /// What the source gave, where that is worth showing.
    pub(super) shown: Option<Bytes>,
}

impl Message {
    /// One reading, as it is.
    fn whole(reading: &Outgoing, payload: Bytes) -> Self {
        let carried = reading.carried(&reading.parts, 0..payload.len(), true);
        Self { payload, points: reading.points(), carried: vec![carried] }
    }

    /// The last of the times that were given to its readings.
    pub(super) fn last_time(&self) -> Option<i64> {
        self.carried.iter().filter_map(|carried| carried.times.last()).max().copied()
    }

    /// The same readings, a message each.
    pub(super) fn split(self) -> Vec<Self> {
        if self.carried.len() == 1 {
            return vec![self];
        }
        let payload = self.payload;
        let alone = |carried: Carried| {
            let text = payload.slice(carried.elements.clone());
            let payload = if carried.is_array { [b"[", &text[..], b"]"].concat().into() } else { text };
            Self { payload, points: carried.points, carried: vec![carried] }
        };
        self.carried.into_iter().map(alone).collect()
    }
}

/// A reading that is ready to leave.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) line: u64,
    /// Its elements: one, or those of an array.
    pub(super) parts: Vec<Part>,
    pub(super) is_array: bool,
    /// Whether it has a time, so that it can be in one message with others.
    pub(super) is_timed: bool,
    /// The whole of it, where nothing was added.
    pub(super) unchanged: Option<Bytes>,
    /// What the source gave, where that is worth showing.
    pub(super) shown: Option<Bytes>,
}

/// An element of a reading.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) text: Bytes,
    pub(super) points: u32,
    /// The time that was given to it.
    pub(super) time: Option<i64>,
}

impl Outgoing {
    /// One message, or several for a long array. `None` if a part is larger than `largest` bytes.
    pub(super) fn messages(self, largest: usize) -> Option<Vec<Message>> {
        let whole = self
            .unchanged
            .clone()
            .or_else(|| Some(self.parts.first()?.text.clone()).filter(|_| !self.is_array));
        if let Some(payload) = whole.filter(|whole| whole.len() <= largest) {
            return Some(vec![Message::whole(&self, payload)]);
        }
        if !self.is_array || self.parts.is_empty() {
            return None;
        }
        let (mut messages, mut from) = (Vec::new(), 0);
        while from < self.parts.len() {
            let to = from + self.fitting(from, largest);
            if to == from {
                return None;
            }
            let mut array = Array::new();
            array.push(&self, from..to);
            messages.push(array.into_message());
            from = to;
        }
        Some(messages)
    }

    /// How many of its parts, from this one on, fit into an array of so many bytes.
    fn fitting(&self, from: usize, largest: usize) -> usize {
        let mut size = "[".len();
        let fits = |part: &&Part| {
            size += part.text.len() + ",".len();
            size <= largest
        };
        self.parts[from..].iter().take_while(fits).count()
    }

    pub(super) fn points(&self) -> u32 {
        self.parts.iter().map(|part| part.points).sum()
    }

    fn carried(&self, parts: &[Part], elements: Range<usize>, is_last: bool) -> Carried {
        Carried {
            line: self.line,
            elements,
            is_array: self.is_array,
            points: parts.iter().map(|part| part.points).sum(),
            times: parts.iter().filter_map(|part| part.time).collect(),
            shown: self.shown.clone().filter(|_| is_last),
        }
    }
}

/// One array of the elements of several readings, or of a part of one.
#[derive(Debug)]
pub(super) struct Array {
    payload: BytesMut,
    points: u32,
    carried: Vec<Carried>,
}

impl Array {
    pub(super) fn new() -> Self {
        Self { payload: BytesMut::from(&b"["[..]), points: 0, carried: Vec::new() }
    }

    /// Bytes of the payload, were these added.
    pub(super) fn size_with(&self, parts: &[Part]) -> usize {
        let last = usize::from(!self.carried.is_empty());
        self.payload.len() + parts.iter().map(|part| part.text.len() + ",".len()).sum::<usize>() + last
    }

    pub(super) const fn points(&self) -> u32 {
        self.points
    }

    pub(super) const fn len(&self) -> usize {
        self.carried.len()
    }

    /// Adds these parts of a reading.
    pub(super) fn push(&mut self, reading: &Outgoing, range: Range<usize>) {
        let is_last = range.end == reading.parts.len();
        let parts = &reading.parts[range];
        if !self.carried.is_empty() {
            self.payload.put_u8(b',');
        }
        let from = self.payload.len();
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                self.payload.put_u8(b',');
            }
            self.payload.extend_from_slice(&part.text);
        }
        let carried = reading.carried(parts, from..self.payload.len(), is_last);
        self.points += carried.points;
        self.carried.push(carried);
    }

    pub(super) fn into_message(mut self) -> Message {
        self.payload.put_u8(b']');
        Message { payload: self.payload.freeze(), points: self.points, carried: self.carried }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(line: u64, elements: &[&'static str]) -> Outgoing {
        let part = |text: &&'static str| Part {
            text: Bytes::from_static(text.as_bytes()),
            points: 1,
            time: Some(7),
        };
        Outgoing {
            line,
            parts: elements.iter().map(part).collect(),
            is_array: elements.len() > 1,
            is_timed: true,
            unchanged: None,
            shown: Some(Bytes::from_static(b"as it came")),
        }
    }

    #[test]
    fn readings_go_together_and_come_apart_again() {
        let mut array = Array::new();
        array.push(&reading(1, &[r#"{"a":1}"#]), 0..1);
        let second = reading(2, &[r#"{"a":2}"#, r#"{"b":3}"#]);
        assert_eq!(array.size_with(&second.parts), r#"[{"a":1},{"a":2},{"b":3}]"#.len());
        array.push(&second, 0..2);
        assert_eq!((array.len(), array.points()), (2, 3));
        let message = array.into_message();
        assert_eq!(message.payload, r#"[{"a":1},{"a":2},{"b":3}]"#);
        assert_eq!(message.last_time(), Some(7));
        let alone: Vec<_> =
            message.split().into_iter().map(|one| (one.carried[0].line, one.payload)).collect();
        assert_eq!(alone, [(1, r#"{"a":1}"#.into()), (2, r#"[{"a":2},{"b":3}]"#.into())]);
    }

    #[test]
    fn an_array_that_is_too_long_goes_in_parts_and_an_object_does_not_go() {
        let elements = [r#"{"a":1}"#; 5];
        let messages = reading(1, &elements).messages(17).unwrap();
        let payloads: Vec<_> = messages.iter().map(|message| &message.payload[..]).collect();
        let (two, one) = (&br#"[{"a":1},{"a":1}]"#[..], &br#"[{"a":1}]"#[..]);
        assert_eq!(payloads, [two, two, one]);
        let shown: Vec<_> = messages.iter().map(|message| message.carried[0].shown.is_some()).collect();
        assert_eq!(shown, [false, false, true], "it is shown once, whole");
        assert!(reading(1, &elements).messages(8).is_none(), "not even one element fits");
        assert!(reading(1, &elements[..1]).messages(6).is_none());
        assert_eq!(reading(1, &elements[..1]).messages(7).unwrap()[0].payload, elements[0]);
    }
}
