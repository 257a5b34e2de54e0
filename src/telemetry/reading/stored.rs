//! What ThingsBoard is to store of a payload.

use serde_json::value::RawValue;

use super::super::remark::Remarks;
use super::{Members, value};

/// Values of one time.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::telemetry) struct Moment {
    /// Milliseconds since 1970; nothing where the server gives the time at which they arrive.
    pub(in crate::telemetry) ts: Option<i64>,
    /// Keys, and values as JSON. A key may be there twice: then the last one counts, which may be `null`.
    pub(in crate::telemetry) values: Vec<(String, String)>,
}

/// The members of a JSON object in their order, each with its value as JSON.
pub(in crate::telemetry) fn members(json: &str) -> Option<Vec<(String, &str)>> {
    let members = Members::of(json).ok()?;
    Some(members.0.into_iter().map(|member| (member.key.into_owned(), member.value)).collect())
}

/// The values of a payload that was checked before, in their order.
pub(in crate::telemetry) fn moments(payload: &[u8]) -> Vec<Moment> {
    let Ok(json) = std::str::from_utf8(payload) else { return Vec::new() };
    if !json.starts_with('[') {
        return moment(json).into_iter().collect();
    }
    let members: Vec<&RawValue> = serde_json::from_str(json).unwrap_or_default();
    members.into_iter().filter_map(|member| moment(member.get())).collect()
}

fn moment(json: &str) -> Option<Moment> {
    let members = Members::of(json).ok()?;
    let (ts, values) = match (members.only("ts"), members.only("values")) {
        (Ok(Some(ts)), Ok(Some(values))) => {
            (Some(value::check_time(ts, &mut Remarks::default()).ok()?), self::members(values)?)
        }
        _ => (None, self::members(json)?),
    };
    let values = values.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
    Some(Moment { ts, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_element_has_its_time_and_its_values() {
        let of = |payload: &str| {
            let of_one = |moment: Moment| {
                let values = moment.values.iter().map(|(key, json)| format!("{key}={json}"));
                (moment.ts, values.collect::<Vec<_>>().join(" "))
            };
            moments(payload.as_bytes()).into_iter().map(of_one).collect::<Vec<_>>()
        };
        let one = |ts, values: &str| vec![(ts, values.to_owned())];
        assert_eq!(
            of(r#"{"ts":7,"values":{"a":1,"a":null,"\u0062":"x"}}"#),
            one(Some(7), "a=1 a=null b=\"x\"")
        );
        assert_eq!(of(r#"{"ts":"1700000000000","values":{"a":1}}"#), one(Some(1_700_000_000_000), "a=1"));
        assert_eq!(of(r#"{"ts":1.7000000000009e12,"values":{"a":1}}"#), one(Some(1_700_000_000_000), "a=1"));
        // Sent as it is, it is one value.
        assert_eq!(of(r#"{"values":{"a":1}}"#), one(None, r#"values={"a":1}"#));
        assert_eq!(
            of(r#"[{"a":1},{"ts":5,"values":{"b":[1, 2]}}]"#),
            [(None, "a=1".to_owned()), (Some(5), "b=[1, 2]".to_owned())]
        );
    }
}
