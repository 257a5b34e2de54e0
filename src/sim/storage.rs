//! What a device has in ThingsBoard's store of time series: one value for each key and millisecond.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use serde::Serialize;

use super::telemetry::Reading;
use super::value;

/// UTF-16 units of the longest key that is stored.
const LONGEST_KEY: usize = 255;

/// The last millisecond of the year 2099, the latest time that was seen to be stored.
const LATEST: i64 = 4_102_444_799_999;

/// How many times of one key are remembered.
const REMEMBERED_OF_A_KEY: usize = 100_000;

/// How many times of all keys of a device are remembered: 8 MB.
const REMEMBERED: usize = 1_000_000;

/// How many keys of a device are remembered.
const MOST_KEYS: usize = 10_000;

/// How many values of a device are kept where the REST API is on, and how many bytes of them: the oldest make place.
const MOST_VALUES: usize = 10_000;
const MOST_BYTES: usize = 1_000_000;

/// Which values are kept, and not only counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    Nothing,
    /// Of the newest times, as many as the bounds allow.
    Newest,
    All,
}

/// One stored value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredValue {
    /// Milliseconds since 1970.
    pub ts: i64,
    /// The key.
    pub key: String,
    /// The value as text, as ThingsBoard's REST API shows it: a number without quotes, an object as JSON.
    pub value: String,
}

/// The values of one device. They are counted and not kept, but for where a test wants to see them.
#[derive(Debug, Default)]
pub(super) struct Store {
    keys: HashMap<Box<str>, Times>,
    /// How many times are remembered, of all keys.
    remembered: usize,
    stored: u64,
    is_lower_bound: bool,
    /// As JSON.
    values: BTreeMap<(i64, Box<str>), Box<str>>,
    /// Of keys and values together.
    bytes: usize,
}

impl Store {
    /// Stores readings; how many values are new. Readings that the database refuses are dropped, each as a whole.
    pub(super) fn add(&mut self, readings: &[Reading<'_>], keep: Keep) -> u64 {
        let before = self.stored;
        for reading in readings {
            let Some(ts) = reading.ts.filter(|ts| *ts <= LATEST) else { continue };
            if !reading.values.iter().all(|(key, _)| is_storable(key)) {
                continue;
            }
            for (key, value) in &reading.values {
                self.count(key, ts);
                if keep != Keep::Nothing {
                    self.keep(ts, key, value::stored_json(value));
                }
            }
        }
        while keep == Keep::Newest && (self.values.len() > MOST_VALUES || self.bytes > MOST_BYTES) {
            let Some(((_, key), value)) = self.values.pop_first() else { break };
            self.bytes -= key.len() + value.len();
        }
        self.stored - before
    }

    fn keep(&mut self, ts: i64, key: &str, value: String) {
        self.bytes += key.len() + value.len();
        if let Some(before) = self.values.insert((ts, key.into()), value.into()) {
            self.bytes -= key.len() + before.len();
        }
    }

    fn count(&mut self, key: &str, ts: i64) {
        let is_full = self.keys.len() >= MOST_KEYS;
        let times = match self.keys.get_mut(key) {
            Some(times) => times,
            None if is_full => {
                self.is_lower_bound = true;
                return;
            }
            None => self.keys.entry(key.into()).or_default(),
        };
        let before = times.remembered.len();
        let may_grow = before < REMEMBERED_OF_A_KEY && self.remembered < REMEMBERED;
        match times.add(ts, may_grow) {
            Some(is_new) => self.stored += u64::from(is_new),
            None => self.is_lower_bound = true,
        }
        self.remembered = self.remembered + times.remembered.len() - before;
    }

    /// How many values are in the store.
    pub(super) fn stored(&self) -> u64 {
        self.stored
    }

    /// Whether there may be more: something was too old, or of too many keys, to tell.
    pub(super) fn is_lower_bound(&self) -> bool {
        self.is_lower_bound
    }

    /// The values that were kept, in order of time, then key.
    pub(super) fn values(&self) -> Vec<StoredValue> {
        let mut all = Vec::with_capacity(self.values.len());
        for ((ts, key), value) in &self.values {
            all.push(StoredValue { ts: *ts, key: key.to_string(), value: as_text(value) });
        }
        all
    }

    /// The names of the keys of which values are kept.
    pub(super) fn keys(&self) -> BTreeSet<&str> {
        self.values.keys().map(|(_, key)| key.as_ref()).collect()
    }

    /// The value of the latest time of a key, as JSON.
    pub(super) fn latest(&self, key: &str) -> Option<(i64, &str)> {
        let mut newest = self.values.iter().rev();
        newest.find(|((_, name), _)| name.as_ref() == key).map(|((ts, _), value)| (*ts, value.as_ref()))
    }

    /// The values of a key from one time to before another, as JSON, in order of time.
    pub(super) fn range<'a>(
        &'a self,
        key: &'a str,
        from: i64,
        to: i64,
    ) -> impl DoubleEndedIterator<Item = (i64, &'a str)> {
        let within = (from < to).then(|| self.values.range((from, Box::default())..(to, Box::default())));
        let of_key = within.into_iter().flatten().filter(move |((_, name), _)| name.as_ref() == key);
        of_key.map(|((ts, _), value)| (*ts, value.as_ref()))
    }
}

/// A kept value as text: JSON text without its quotes.
pub(super) fn as_text(json: &str) -> String {
    match json.starts_with('"') {
        true => serde_json::from_str(json).unwrap_or_else(|_| json.to_owned()),
        false => json.to_owned(),
    }
}

/// ThingsBoard validates all keys of a reading before it stores any of them (`KvUtils.validate`).
fn is_storable(key: &str) -> bool {
    let is_short = key.len() <= LONGEST_KEY || key.encode_utf16().count() <= LONGEST_KEY;
    is_short && !key.contains('\0') && !key.trim().is_empty()
}

/// The times of one key, as far as they are remembered.
#[derive(Debug, Default)]
struct Times {
    /// Ascending.
    remembered: VecDeque<i64>,
    has_forgotten: bool,
}

impl Times {
    /// Whether this time is new; nothing when it is older than all that are remembered, and some were forgotten. Where
    /// they may not grow, the oldest makes place.
    fn add(&mut self, ts: i64, may_grow: bool) -> Option<bool> {
        let place = match self.remembered.back() {
            Some(latest) if ts == *latest => return Some(false),
            Some(latest) if ts < *latest => match self.remembered.binary_search(&ts) {
                Ok(_) => return Some(false),
                Err(place) => place,
            },
            _ => self.remembered.len(),
        };
        let is_oldest = place == 0 && !self.remembered.is_empty();
        if is_oldest && (self.has_forgotten || !may_grow) {
            return None;
        }
        self.remembered.insert(place, ts);
        if !may_grow && self.remembered.len() > 1 {
            self.remembered.pop_front();
            self.has_forgotten = true;
        }
        Some(true)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::super::lenient_json::Json;
    use super::*;

    fn reading(ts: i64, keys: &[&'static str]) -> Reading<'static> {
        let value = |key: &&'static str| (Cow::Borrowed(*key), Json::Number("1"));
        Reading { ts: Some(ts), values: keys.iter().map(value).collect() }
    }

    #[test]
    fn a_key_has_one_value_a_millisecond() {
        let mut store = Store::default();
        assert_eq!(store.add(&[reading(5, &["a", "b"]), reading(6, &["a"])], Keep::All), 3);
        assert_eq!(store.add(&[reading(6, &["a"]), reading(5, &["a"]), reading(4, &["a"])], Keep::All), 1);
        assert_eq!((store.stored(), store.is_lower_bound()), (4, false));
        let values: Vec<_> = store.values().into_iter().map(|value| (value.ts, value.key)).collect();
        let expected = [(4, "a"), (5, "a"), (5, "b"), (6, "a")].map(|(ts, key)| (ts, key.to_owned()));
        assert_eq!(values, expected);
    }

    #[test]
    fn the_last_write_wins() {
        let mut store = Store::default();
        for number in ["1", "2"] {
            let values = vec![(Cow::Borrowed("a"), Json::Number(number))];
            store.add(&[Reading { ts: Some(5), values }], Keep::All);
        }
        assert_eq!(store.values(), [StoredValue { ts: 5, key: "a".to_owned(), value: "2".to_owned() }]);
    }

    #[test]
    fn what_the_database_refuses_is_dropped_with_its_reading() {
        let longest: &'static str = "k".repeat(255).leak();
        let too_long: &'static str = "k".repeat(256).leak();
        let wide: &'static str = "é".repeat(255).leak();
        let too_wide: &'static str = "😀".repeat(128).leak();
        for (keys, stored) in [
            (&[longest][..], 1),
            (&[wide], 1),
            (&[too_long], 0),
            (&[too_wide], 0),
            (&[""], 0),
            (&[" \t"], 0),
            (&["a\0b"], 0),
            (&["a", too_long], 0),
        ] {
            assert_eq!(Store::default().add(&[reading(5, keys)], Keep::Nothing), stored, "{keys:?}");
        }
        for (ts, stored) in [(LATEST, 1), (LATEST + 1, 0), (0, 1), (-1, 1)] {
            assert_eq!(Store::default().add(&[reading(ts, &["a"])], Keep::Nothing), stored, "{ts}");
        }
        assert_eq!(Store::default().add(&[Reading { ts: None, ..reading(0, &["a"]) }], Keep::Nothing), 0);
    }

    #[test]
    fn of_a_full_ring_the_oldest_is_forgotten_and_older_ones_are_not_counted() {
        let mut times = Times::default();
        assert_eq!([10, 30, 20].map(|ts| times.add(ts, true)), [Some(true); 3]);
        assert_eq!(times.add(25, false), Some(true));
        assert_eq!(times.remembered, [20, 25, 30]);
        assert_eq!([25, 20, 10, 15].map(|ts| times.add(ts, true)), [Some(false), Some(false), None, None]);
        assert_eq!(times.add(31, false), Some(true));
        assert_eq!(times.remembered, [25, 30, 31]);
    }

    #[test]
    fn counting_is_a_lower_bound_once_something_is_too_old_to_tell() {
        let mut store = Store::default();
        let most = i64::try_from(REMEMBERED_OF_A_KEY).unwrap();
        for ts in 0..=most {
            store.add(&[reading(ts, &["a"])], Keep::Nothing);
        }
        assert_eq!((store.stored(), store.is_lower_bound()), (REMEMBERED_OF_A_KEY as u64 + 1, false));
        assert_eq!(store.add(&[reading(1, &["a"])], Keep::Nothing), 0);
        assert!(!store.is_lower_bound());
        assert_eq!(store.add(&[reading(0, &["a"])], Keep::Nothing), 0);
        assert!(store.is_lower_bound());
        assert_eq!(store.remembered, REMEMBERED_OF_A_KEY);
    }

    #[test]
    fn keys_beyond_those_remembered_are_not_counted() {
        let mut store = Store::default();
        for number in 0..=MOST_KEYS {
            let key = number.to_string();
            store.add(
                &[Reading { ts: Some(1), values: vec![(Cow::Owned(key), Json::Boolean(true))] }],
                Keep::Nothing,
            );
        }
        assert_eq!((store.stored(), store.is_lower_bound()), (MOST_KEYS as u64, true));
        assert_eq!(store.add(&[reading(2, &["7"])], Keep::Nothing), 1);
    }
}
