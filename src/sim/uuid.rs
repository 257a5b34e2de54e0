//! The ids of ThingsBoard's entities: UUIDs of version 1, which hold the time at which the entity was made.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// From the beginning of the Gregorian calendar, where these UUIDs begin, to 1970, in steps of 100 ns.
const TO_1970: u64 = 0x01b2_1dd2_1381_4000;

/// Steps of 100 ns in a millisecond.
const STEPS: u64 = 10_000;

/// The length of the text.
const TEXT: usize = 36;

/// An id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(super) struct Uuid(u128);

impl Uuid {
    /// What stands for no entity (`EntityId.NULL_UUID`).
    pub(super) const NULL: Self = Self(0x1381_4000_1dd2_11b2_8080_8080_8080_8080);

    /// When the entity was made: milliseconds since 1970 (`Uuids.unixTimestamp`).
    pub(super) fn created(self) -> i64 {
        let high = u64::try_from(self.0 >> 64).unwrap_or_default();
        let steps = (high >> 32) | ((high >> 16 & 0xffff) << 32) | ((high & 0x0fff) << 48);
        i64::try_from(steps.saturating_sub(TO_1970) / STEPS).unwrap_or(i64::MAX)
    }

    /// The id of what is made with this entity: a device's credentials.
    pub(super) const fn sibling(self) -> Self {
        self.relative(1)
    }

    /// One of the ids that are made at the same time, for numbers from 1 on.
    pub(super) const fn relative(self, number: u8) -> Self {
        Self(self.0 ^ number as u128)
    }
}

/// Makes ids, each of a time of its own.
#[derive(Debug)]
pub(super) struct Ids {
    /// The last time that was used, in steps of 100 ns.
    last: u64,
    /// Clock sequence and node: of this run alone.
    node: u64,
}

impl Default for Ids {
    fn default() -> Self {
        let mut random = [0; 8];
        // Without random numbers the ids are still of a time of their own.
        let _ = aws_lc_rs::rand::fill(&mut random);
        // The variant of RFC 9562, a multicast address as of no network card, and a last bit that a sibling changes.
        let node = u64::from_be_bytes(random) & 0x3fff_feff_ffff_fffe | 0x8000_0100_0000_0000;
        Self { last: 0, node }
    }
}

impl Ids {
    /// The next id.
    pub(super) fn next(&mut self) -> Uuid {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() / 100;
        let now = u64::try_from(since).unwrap_or_default().saturating_add(TO_1970);
        self.last = now.max(self.last + 1);
        let steps = self.last;
        let high = steps << 32 | (steps >> 32 & 0xffff) << 16 | 0x1000 | steps >> 48 & 0x0fff;
        Uuid(u128::from(high) << 64 | u128::from(self.node))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |shift: u32, mask: u128| self.0 >> shift & mask;
        write!(
            formatter,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            part(96, 0xffff_ffff),
            part(80, 0xffff),
            part(64, 0xffff),
            part(48, 0xffff),
            part(0, 0xffff_ffff_ffff)
        )
    }
}

impl FromStr for Uuid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_dash = |at| matches!(at, 8 | 13 | 18 | 23);
        let has_form = text.len() == TEXT
            && text
                .bytes()
                .enumerate()
                .all(|(at, byte)| if is_dash(at) { byte == b'-' } else { byte.is_ascii_hexdigit() });
        let bad = || format!("Invalid UUID string: {text}");
        if !has_form {
            return Err(bad());
        }
        u128::from_str_radix(&text.replace('-', ""), 16).map(Self).map_err(|_| bad())
    }
}

impl From<Uuid> for String {
    fn from(id: Uuid) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for Uuid {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_holds_the_time_of_its_entity_as_at_real_servers() {
        let id: Uuid = "c4e961c0-e92f-11f1-8518-f7fb1a84b5b8".parse().unwrap();
        assert_eq!(id.created(), 1_795_652_680_156);
        assert_eq!(id.to_string(), "c4e961c0-e92f-11f1-8518-f7fb1a84b5b8");
        assert_eq!(Uuid::NULL.to_string(), "13814000-1dd2-11b2-8080-808080808080");
        assert_eq!(Uuid::NULL.created(), 0);
    }

    #[test]
    fn ids_differ_and_their_siblings_too() {
        let mut ids = Ids::default();
        let made: std::collections::HashSet<_> = (0..1000)
            .flat_map(|_| {
                let id = ids.next();
                [id, id.sibling()]
            })
            .collect();
        assert_eq!(made.len(), 2000);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        assert!(now.abs_diff(u128::try_from(ids.next().created()).unwrap()) < 10_000);
        let text = ids.next().to_string();
        assert_eq!((&text[14..15], text.parse::<Uuid>().unwrap().to_string()), ("1", text.clone()));
    }

    #[test]
    fn what_is_no_id_is_told_as_java_does() {
        for text in
            ["nope", "", "13814000-1dd2-11b2-8080-80808080808g", "13814000-1dd2-11b2-8080-8080808080800"]
        {
            assert_eq!(text.parse::<Uuid>().unwrap_err(), format!("Invalid UUID string: {text}"));
        }
    }
}
