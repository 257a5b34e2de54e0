//! One reading: what ThingsBoard would read in it, and whether it would store all of it.
//!
//! ThingsBoard acknowledges much that it does not store, and its parser is lenient where its storage is not. What
//! is here was observed at ThingsBoard 3.2.2, 3.4.4, 3.6.4, 3.8.1, 4.0.2 and 4.3.1.

pub(super) mod stored;
mod unreadable;
pub(super) mod value;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::remark::{Remark, Remarks};
use crate::text;

/// Levels of objects and arrays, at the most. Servers and what reads from them give up at some depth of their own.
const DEEPEST: usize = 100;
/// UTF-16 units of a key, at the most.
const LONGEST_KEY: usize = 255;
/// How much of a key an error shows, in characters.
const SHOWN_KEY: usize = 40;
/// Members up to which each is compared with each; above, a map is faster.
const FEW: usize = 16;

/// One reading, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    text: Bytes,
    is_array: bool,
    elements: Vec<Element>,
}

/// Values of one moment: the reading itself, or a member of its array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    /// Values that will be stored: ThingsBoard's data points.
    pub(super) points: u32,
    has_time: bool,
    /// Where in the text it is: all of it when it has a time of its own, else its values.
    place: Range<usize>,
}

impl Element {
    /// Whether it has a `ts` of its own.
    pub(super) const fn has_time(&self) -> bool {
        self.has_time
    }
}

impl Reading {
    /// Checks `text`, which has neither blanks nor a line end around it. On success also what deserves a warning.
    ///
    /// # Errors
    /// Why ThingsBoard would not store all of it: a clause that follows "line 4 of FILE is not telemetry: ".
    pub(super) fn parse(text: Bytes) -> Result<(Self, Remarks), String> {
        let json = unreadable::utf8(&text).map_err(|why| format!("it {why}"))?;
        let mut remarks = Remarks::default();
        let is_array = json.starts_with('[');
        let elements = if is_deeper_than(DEEPEST, json.as_bytes()) {
            Err(format!("it is nested more than {DEEPEST} levels deep"))
        } else if is_array {
            array(json, &mut remarks)
        } else {
            element(json, json, &mut remarks).map(|element| vec![element]).map_err(|why| format!("it {why}"))
        }?;
        Ok((Self { text, is_array, elements }, remarks))
    }

    /// The text, as the source gave it.
    pub(super) const fn text(&self) -> &Bytes {
        &self.text
    }

    /// Whether it is an array of elements.
    pub(super) const fn is_array(&self) -> bool {
        self.is_array
    }

    /// The members of the array; for an object that one. Never empty.
    pub(super) fn elements(&self) -> &[Element] {
        &self.elements
    }

    /// Element `index` as it is sent: `{"ts":TIME,"values":VALUES}` with the values byte for byte. Without `time`
    /// the values alone. An element with a time of its own is its text byte for byte.
    ///
    /// # Panics
    /// When there is no element `index`.
    pub(super) fn element(&self, index: usize, time: Option<i64>) -> Bytes {
        let element = &self.elements[index];
        let text = self.text.slice(element.place.clone());
        match time {
            Some(time) if !element.has_time => {
                [format!("{{\"ts\":{time},\"values\":").as_bytes(), &text, b"}"].concat().into()
            }
            _ => text,
        }
    }
}

fn array(json: &str, remarks: &mut Remarks) -> Result<Vec<Element>, String> {
    let members: Vec<&RawValue> =
        serde_json::from_str(json).map_err(|error| format!("it {}", unreadable::not_json(json, &error)))?;
    if members.is_empty() {
        return Err("it is an empty array".to_owned());
    }
    let elements = members.into_iter().enumerate().map(|(index, member)| {
        element(json, member.get(), remarks)
            .map_err(|why| format!("element {} of the array {why}", index + 1))
    });
    elements.collect()
}

/// Checks one element, which is part of `json`. The error is what follows "it" or "element 2 of the array".
fn element(json: &str, text: &str, remarks: &mut Remarks) -> Result<Element, String> {
    if !text.starts_with('{') {
        return Err(unreadable::no_object(text));
    }
    let members = Members::of(text)?;
    let ts = members.only("ts")?;
    let values = members.only("values")?;
    if values.is_some_and(|values| !values.starts_with('{')) {
        return Err("has a 'values' that is no object".to_owned());
    }
    let (points, part) = match (ts, values) {
        (None, None) => (members.points(remarks)?, text),
        (None, Some(values)) => {
            if let Some(other) = members.0.iter().find(|member| member.key != "values") {
                return Err(format!("has 'values' and {}, but no 'ts'", other.shown_key()));
            }
            remarks.add(Remark::ValuesWithoutTime);
            (Members::of(values)?.points(remarks)?, values)
        }
        (Some(_), None) => return Err("has 'ts' without 'values'".to_owned()),
        (Some(ts), Some(values)) => {
            value::check_time(ts, remarks)?;
            if members.0.len() > 2 {
                remarks.add(Remark::MoreBesideValues);
            }
            (Members::of(values)?.points(remarks)?, text)
        }
    };
    Ok(Element { points, has_time: ts.is_some(), place: place_in(json, part) })
}

/// Where `part`, which is part of `whole`, lies in it.
fn place_in(whole: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

/// The members of a JSON object, in their order.
struct Members<'a>(Vec<Member<'a>>);

struct Member<'a> {
    key: Cow<'a, str>,
    /// JSON.
    value: &'a str,
}

impl<'a> Members<'a> {
    fn of(object: &'a str) -> Result<Self, String> {
        serde_json::from_str(object).map_err(|error| unreadable::not_json(object, &error))
    }

    /// The value of `key`, which must not be there twice.
    fn only(&self, key: &str) -> Result<Option<&'a str>, String> {
        let mut values = self.0.iter().filter(|member| member.key == key).map(|member| member.value);
        let first = values.next();
        if values.next().is_some() {
            return Err(format!("has '{key}' twice"));
        }
        Ok(first)
    }

    /// Checks keys and values, and counts what will be stored.
    fn points(&self, remarks: &mut Remarks) -> Result<u32, String> {
        let mut points = 0;
        let mut last_of = None;
        if self.0.len() > FEW {
            let indexed = self.0.iter().enumerate();
            last_of = Some(indexed.map(|(index, member)| (&*member.key, index)).collect::<HashMap<_, _>>());
        }
        for (index, member) in self.0.iter().enumerate() {
            check_key(&member.key)?;
            let is_replaced = match &last_of {
                Some(last_of) => last_of.get(&*member.key) != Some(&index),
                None => self.0[index + 1..].iter().any(|later| later.key == member.key),
            };
            if is_replaced {
                remarks.add(Remark::RepeatedKey);
            } else if value::check(member.value, remarks)
                .map_err(|why| format!("has {why} as {}", member.shown_key()))?
            {
                points += 1;
            }
        }
        if points == 0 {
            return Err("has no value that ThingsBoard would store".to_owned());
        }
        Ok(points)
    }
}

impl Member<'_> {
    fn shown_key(&self) -> String {
        format!("'{}'", text::one_line(&self.key, SHOWN_KEY))
    }
}

/// Refuses keys that ThingsBoard acknowledges and does not store. The error is a predicate.
pub(crate) fn check_key(key: &str) -> Result<(), String> {
    // Java's white space has these four separators beside Unicode's.
    let is_blank = |character: char| character.is_whitespace() || matches!(character, '\u{1C}'..='\u{1F}');
    if key.chars().all(is_blank) {
        return Err("has a blank key".to_owned());
    }
    if key.contains('\0') {
        return Err("has a key with a NUL character".to_owned());
    }
    // No text has more UTF-16 units than bytes.
    if key.len() > LONGEST_KEY {
        let units = key.encode_utf16().count();
        if units > LONGEST_KEY {
            return Err(format!(
                "has a key of {units} characters, and ThingsBoard stores up to {LONGEST_KEY}"
            ));
        }
    }
    Ok(())
}

/// A key, which is copied only when something in it is escaped.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some((Key(key), value)) = map.next_entry::<_, &RawValue>()? {
                    members.push(Member { key, value: value.get() });
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Whether brackets outside of strings are open more than `levels` deep at any place.
fn is_deeper_than(levels: usize, json: &[u8]) -> bool {
    let is_opening = |byte: &u8| matches!(byte, b'[' | b'{');
    // Most readings have few brackets, and counting them is much faster than following them.
    if json.iter().filter(|byte| is_opening(byte)).count() <= levels {
        return false;
    }
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                if depth > levels {
                    return true;
                }
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests;
