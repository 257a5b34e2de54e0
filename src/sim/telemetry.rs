//! A telemetry message: which readings it holds (`JsonConverter.convertToTelemetryProto`).

use super::lenient_json::{Json, Members, read};
use super::release::Release;
use super::value::{Decimal, is_readable};

/// What a telemetry message holds.
#[derive(Debug, PartialEq)]
pub(super) enum Telemetry<'a> {
    Readings(Vec<Reading<'a>>),
    /// An empty array: nothing is stored, and no PUBACK ever comes (`DefaultTransportService`).
    Nothing,
    /// The connection is closed, without PUBACK.
    Undecodable,
}

/// Values of one time.
#[derive(Debug, PartialEq)]
pub(super) struct Reading<'a> {
    /// Milliseconds since 1970; nothing beyond 64 bits.
    pub(super) ts: Option<i64>,
    /// Without those that are null.
    pub(super) values: Members<'a>,
}

impl<'a> Telemetry<'a> {
    /// Reads a payload that arrived at this millisecond.
    pub(super) fn read(payload: &'a str, arrived: i64, release: Release) -> Self {
        let readings = match read(payload) {
            Some(Json::Object(members)) => reading(members, arrived, release).map(|reading| vec![reading]),
            Some(Json::Array(items)) if items.is_empty() => return Self::Nothing,
            Some(Json::Array(items)) => {
                let of_item = |item| match item {
                    Json::Object(members) => reading(members, arrived, release),
                    _ => None,
                };
                items.into_iter().map(of_item).collect()
            }
            _ => None,
        };
        readings.map_or(Self::Undecodable, Self::Readings)
    }
}

/// Plain keys and values, or `ts` and an object of `values`.
fn reading(members: Members<'_>, arrived: i64, release: Release) -> Option<Reading<'_>> {
    let place = |wanted: &str| members.iter().position(|(name, _)| name == wanted);
    let (ts, mut values) = match (place("ts"), place("values")) {
        (Some(ts), Some(values)) => (time(&members[ts].1)?, object(members, values)?),
        _ => (Some(arrived), members),
    };
    values.retain(|(_, value)| *value != Json::Null);
    values.iter().all(|(_, value)| is_readable(value, release)).then_some(Reading { ts, values })
}

fn object(mut members: Members<'_>, place: usize) -> Option<Members<'_>> {
    match members.swap_remove(place).1 {
        Json::Object(values) => Some(values),
        _ => None,
    }
}

/// `JsonElement.getAsLong`: a number is cut to whole milliseconds, text must be a whole number.
fn time(ts: &Json<'_>) -> Option<Option<i64>> {
    match ts {
        Json::Number(number) => match number.parse() {
            Ok(whole) => Some(Some(whole)),
            Err(_) => Decimal::read(number).map(|decimal| decimal.whole()),
        },
        Json::Text(text) => text.parse().ok().map(Some),
        _ => None,
    }
}

/// Whether `JsonConverter.convertToAttributesProto` takes it: an object.
pub(super) fn are_attributes(payload: &str, release: Release) -> bool {
    match read(payload) {
        Some(Json::Object(members)) => members.iter().all(|(_, value)| is_readable(value, release)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(payload: &str) -> Vec<(Option<i64>, usize)> {
        match Telemetry::read(payload, 77, Release::V4_3) {
            Telemetry::Readings(readings) => {
                readings.iter().map(|reading| (reading.ts, reading.values.len())).collect()
            }
            other => panic!("{payload}: {other:?}"),
        }
    }

    #[test]
    fn readings_are_of_their_time_or_of_the_time_of_arrival() {
        assert_eq!(times(r#"{"a":1,"b":null}"#), [(Some(77), 1)]);
        assert_eq!(times("{}"), [(Some(77), 0)]);
        assert_eq!(times(r#"{"ts":5,"values":{"a":1}}"#), [(Some(5), 1)]);
        assert_eq!(times(r#"[{"a":1},{"ts":"6","values":{}}]"#), [(Some(77), 1), (Some(6), 0)]);
        assert_eq!(times(r#"{"ts":5,"a":1}"#), [(Some(77), 2)]);
        assert_eq!(times(r#"{"values":{"a":1}}"#), [(Some(77), 1)]);
        assert_eq!(times(r#"{"ts":5.9,"values":{}}"#), [(Some(5), 0)]);
        assert_eq!(times(r#"{"ts":99999999999999999999,"values":{}}"#), [(None, 0)]);
        assert_eq!(times("{ts:007,values:{}}"), [(Some(7), 0)]);
    }

    #[test]
    fn what_cannot_be_decoded_closes() {
        let read = |payload| Telemetry::read(payload, 77, Release::V4_3);
        assert_eq!(read("[]"), Telemetry::Nothing);
        for payload in [
            "",
            "7",
            "null",
            "hello",
            "{",
            "[1]",
            "[[]]",
            "[null]",
            r#"[{"a":1},]"#,
            r#"{"ts":"x","values":{}}"#,
            r#"{"ts":null,"values":{}}"#,
            r#"{"ts":true,"values":{}}"#,
            r#"{"ts":"5.5","values":{}}"#,
            r#"{"ts":{},"values":{}}"#,
            r#"{"ts":1,"values":2}"#,
            r#"{"ts":1,"values":[]}"#,
            r#"{"ts":1,"values":null}"#,
        ] {
            assert_eq!(read(payload), Telemetry::Undecodable, "{payload}");
        }
    }

    #[test]
    fn attributes_are_an_object() {
        assert!(are_attributes("{'a':1}", Release::V3_2));
        assert!(!are_attributes(r#"[{"a":1}]"#, Release::V4_3));
        assert!(!are_attributes(r#"{"a":99999999999999999999}"#, Release::V3_2));
    }
}
