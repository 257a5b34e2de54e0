//! What has to be on the server for a message to be confirmed, and what to ask the server for.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::super::reading::stored::moments;
use super::desk::Acknowledged;

/// The first pause between two looks, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Milliseconds that one question spans. A key has one value a millisecond, so as many values are asked for.
const LONGEST_SPAN: i64 = 1000;

/// Bytes of keys in one question: a server takes 8 KB of a request's head, and each byte may be three there.
const LONGEST_KEYS: usize = 2000;

/// One value that has to be there.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) line: u64,
    /// Nothing where the server gave the time.
    pub(super) ts: Option<i64>,
    pub(super) key: String,
    /// As JSON.
    pub(super) value: String,
    pub(super) is_seen: bool,
    /// What was there instead, when it was looked for: the time and the value.
    pub(super) found: Option<(i64, String)>,
}

/// A message that is not confirmed, or one that was confirmed before an earlier one.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) number: u64,
    pub(super) whole: u64,
    pub(super) readings: usize,
    pub(super) left: Instant,
    /// When it is looked for next, and when for the last time.
    pub(super) due: Instant,
    pub(super) last: Instant,
    pause: Duration,
    /// In the order of time, then of key.
    pub(super) wanted: Vec<Wanted>,
    pub(super) is_done: bool,
}

impl Pending {
    /// What is wanted of a message that has just been acknowledged. Of a key that is there twice at one time, the last
    /// value; nothing of a `null`.
    pub(super) fn of(message: Acknowledged, now: Instant, patience: Duration) -> Self {
        let mut all = BTreeMap::new();
        for (line, payload) in &message.readings {
            for moment in moments(payload) {
                for (key, value) in moment.values {
                    all.insert((moment.ts, key), (*line, value));
                }
            }
        }
        let of_one =
            |((ts, key), (line, value))| Wanted { line, ts, key, value, is_seen: false, found: None };
        let wanted: Vec<_> = all.into_iter().map(of_one).filter(|wanted| wanted.value != "null").collect();
        Self {
            number: message.number,
            whole: message.whole,
            readings: message.readings.len(),
            left: message.left,
            due: now,
            last: now + patience,
            pause: FIRST_PAUSE,
            wanted,
            is_done: false,
        }
    }

    /// The values that are still looked for.
    pub(super) fn missing(&self) -> impl Iterator<Item = &Wanted> {
        self.wanted.iter().filter(|wanted| !wanted.is_seen)
    }

    /// It is looked for again, at the latest when that is for the last time.
    pub(super) fn look_again(&mut self, now: Instant) {
        self.due = (now + self.pause).min(self.last.max(now));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// What is asked of the server: each time with its keys, and where times are close to each other, together. Places
    /// in `wanted`, of those that have a time.
    pub(super) fn questions(&self) -> Vec<Vec<usize>> {
        let mut questions: Vec<Vec<usize>> = Vec::new();
        let (mut first, mut size) = (i64::MIN, 0);
        let missing = self.wanted.iter().enumerate().filter(|(_, wanted)| !wanted.is_seen);
        for (place, wanted) in missing {
            let Some(ts) = wanted.ts else { continue };
            size += wanted.key.len() + 1;
            match questions.last_mut().filter(|_| ts.abs_diff(first) < LONGEST_SPAN as u64) {
                Some(question) if size <= LONGEST_KEYS => question.push(place),
                _ => {
                    (first, size) = (ts, wanted.key.len() + 1);
                    questions.push(vec![place]);
                }
            }
        }
        questions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(payloads: &[&str]) -> Pending {
        let readings = (1..).zip(payloads).map(|(line, text)| (line, text.to_string().into())).collect();
        let message = Acknowledged { number: 1, whole: 1, left: Instant::now(), readings };
        Pending::of(message, Instant::now(), Duration::from_secs(10))
    }

    #[test]
    fn the_last_of_a_key_and_a_time_is_wanted_and_no_null() {
        let pending = pending(&[
            r#"[{"ts":5,"values":{"a":1,"b":null}},{"ts":5,"values":{"a":2,"c":3,"c":4}}]"#,
            r#"{"ts":6,"values":{"a":1,"d":1,"d":null}}"#,
        ]);
        let wanted: Vec<_> = pending
            .wanted
            .iter()
            .map(|wanted| (wanted.line, wanted.ts.unwrap(), &*wanted.key, &*wanted.value))
            .collect();
        assert_eq!(wanted, [(1, 5, "a", "2"), (1, 5, "c", "4"), (2, 6, "a", "1")]);
    }

    #[test]
    fn times_that_are_close_are_asked_for_together() {
        let near = pending(&[
            r#"[{"ts":5,"values":{"a":1}},{"ts":6,"values":{"b":1}},{"ts":1005,"values":{"a":1}}]"#,
        ]);
        assert_eq!(near.questions(), [vec![0, 1], vec![2]]);
        let key = "k".repeat(200);
        let keys: Vec<_> = (0..30).map(|number| format!("\"{key}{number}\":1")).collect();
        let many = pending(&[&format!("{{\"ts\":5,\"values\":{{{}}}}}", keys.join(","))]);
        assert_eq!(many.questions().iter().map(Vec::len).collect::<Vec<_>>(), [9, 9, 9, 3]);
        assert!(pending(&[r#"{"a":1}"#]).questions().is_empty());
    }

    #[test]
    fn the_last_look_is_not_before_the_end() {
        let mut pending = pending(&[r#"{"ts":5,"values":{"a":1}}"#]);
        let start = Instant::now();
        while pending.due < pending.last {
            let due = pending.due;
            pending.look_again(due);
            assert!(pending.due > due && pending.due <= pending.last);
        }
        assert!(pending.last >= start + Duration::from_secs(9));
    }
}
