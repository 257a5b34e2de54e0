//! Manifests with one JSON object on each line.

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::io;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::column::{self, Column};
use super::draft::{self, Draft};
use super::lines::{Lines, NOT_UTF8, Taken};
use crate::ledger::roster::{Fault, Line};

/// Gives the rows of objects.
pub(super) struct Objects {
    lines: Lines,
    line: Vec<u8>,
}

impl Objects {
    pub(super) const fn new(lines: Lines) -> Self {
        Self { lines, line: Vec::new() }
    }

    /// Adds the next row to `found`, or what is wrong with it. False at the end.
    pub(super) fn next(&mut self, found: &mut VecDeque<Line>) -> io::Result<bool> {
        let taken = self.lines.next(&mut self.line)?;
        let line = self.lines.number();
        let mut refuse = |why: String| found.push_back(Err(Fault { line, column: None, why }));
        match (taken, std::str::from_utf8(&self.line)) {
            (Taken::End, _) => return Ok(false),
            (Taken::TooLong, _) => refuse("is longer than 64 KiB".to_owned()),
            (Taken::Line, Err(_)) => refuse(NOT_UTF8.to_owned()),
            (Taken::Line, Ok(text)) if text.trim().is_empty() => {}
            (Taken::Line, Ok(text)) => match members(text.trim()) {
                Ok(members) => row(members, line, found),
                Err(why) => refuse(why),
            },
        }
        Ok(true)
    }
}

/// The members of an object in their order, each with its value as JSON.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// The parser's own words may quote what stands there.
fn members(object: &str) -> Result<Members<'_>, String> {
    serde_json::from_str(object)
        .map_err(|error| format!("is no JSON object (at character {})", error.column()))
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some((Key(key), value)) = map.next_entry()? {
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Adds the row, or all that is wrong with it.
fn row(members: Members<'_>, line: u64, found: &mut VecDeque<Line>) {
    let mut row = Row { line, draft: Draft::default(), seen: HashSet::new(), faults: Vec::new() };
    for (key, value) in members.0 {
        row.member(&key, value);
    }
    if row.faults.is_empty() {
        found.push_back(row.draft.finish(line).map(|row| (line, row)));
    } else {
        found.extend(row.faults.into_iter().map(Err));
    }
}

/// A row while its members come.
struct Row {
    line: u64,
    draft: Draft,
    seen: HashSet<Column>,
    faults: Vec<Fault>,
}

impl Row {
    /// Takes a member, or the members of the object `client` or `x`.
    fn member(&mut self, key: &str, value: &RawValue) {
        let prefix = key.trim();
        let is_group = ["client", "x"].iter().any(|group| prefix.eq_ignore_ascii_case(group));
        match members(value.get()) {
            Ok(inner) if is_group => {
                for (key, value) in inner.0 {
                    self.cell(&format!("{prefix}.{key}"), value);
                }
            }
            _ => self.cell(key, value),
        }
    }

    fn cell(&mut self, key: &str, value: &RawValue) {
        let column = match Column::parse(key) {
            Ok(column) => column,
            Err(why) => {
                return self.refuse(column::shown(key), why.why());
            }
        };
        let taken = if self.seen.insert(column.clone()) {
            set(&mut self.draft, &column, value)
        } else {
            Err("is there twice".to_owned())
        };
        if let Err(why) = taken {
            self.refuse(Some(column.shown().into_owned()), why);
        }
    }

    fn refuse(&mut self, column: Option<String>, why: String) {
        self.faults.push(Fault { line: self.line, column, why });
    }
}

/// Takes a value as its column needs it. `null` says nothing, as an empty cell does.
fn set(draft: &mut Draft, column: &Column, raw: &RawValue) -> Result<(), String> {
    let value: Value = serde_json::from_str(raw.get()).map_err(|_| "is no value of JSON".to_owned())?;
    let wants_text = || "has to be text, in quotes".to_owned();
    match (column, value) {
        (_, Value::Null) => Ok(()),
        (Column::Client(key), value) => {
            draft::check_cell(raw.get())?;
            if let Value::String(text) = &value {
                draft::check_cell(text)?;
            }
            draft.attribute(key, value, raw.get().len())
        }
        (column, Value::String(text)) => draft.set(column, &text),
        (Column::Days | Column::Extra(_) | Column::Gateway, Value::Number(_))
        | (Column::Gateway | Column::Extra(_), Value::Bool(_)) => draft.set(column, raw.get()),
        (Column::Days, _) => Err("has to be a number".to_owned()),
        (Column::Gateway, _) => Err("has to be true or false".to_owned()),
        _ => Err(wants_text()),
    }
}
