//! What a device has published as its attributes, and the answer when it asks for them.

use std::collections::BTreeMap;

use super::device::RegisteredDevice;
use super::lenient_json::{Json, read, write_text};
use super::value;

/// How many attributes of a device are kept.
const MOST: usize = 1_000;

/// Attributes of a device: of each the last value, as JSON, and when it came, in milliseconds since 1970.
#[derive(Debug, Default)]
pub(super) struct Attributes(BTreeMap<Box<str>, (i64, Box<str>)>);

impl Attributes {
    /// Keeps the attributes of a message that was accepted. One that is null changes nothing.
    pub(super) fn add(&mut self, payload: &str, arrived: i64) {
        let Some(Json::Object(members)) = read(payload) else { return };
        for (name, value) in members.iter().filter(|(_, value)| *value != Json::Null) {
            if self.0.len() < MOST || self.0.contains_key(name.as_ref()) {
                self.0.insert(name.as_ref().into(), (arrived, value::stored_json(value).into()));
            }
        }
    }

    /// Each with its name, the time when it came, and its value as JSON.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, i64, &str)> {
        self.0.iter().map(|(name, (arrived, value))| (name.as_ref(), *arrived, value.as_ref()))
    }

    /// Those with these names, or all, as one JSON object. ThingsBoard leaves out an empty one.
    pub(super) fn answer(&self, wanted: Wanted<'_>) -> Vec<u8> {
        let is_wanted = |name: &str| match &wanted {
            Wanted::All => true,
            Wanted::Names(names) => names.contains(&name),
        };
        let mut text = String::new();
        for (name, _, value) in self.iter().filter(|(name, ..)| is_wanted(name)) {
            text.push_str(if text.is_empty() { "" } else { "," });
            write_text(name, &mut text);
            text.push(':');
            text.push_str(value);
        }
        if text.is_empty() { b"{}".to_vec() } else { format!(r#"{{"client":{{{text}}}}}"#).into_bytes() }
    }
}

/// Which attributes a device asks for.
#[derive(Debug)]
pub(super) enum Wanted<'a> {
    All,
    Names(Vec<&'a str>),
}

/// The answer to a request for attributes: those that the device has published, since nobody else gives it any.
/// Nothing when the request cannot be decoded (`JsonMqttAdaptor.processGetAttributeRequestMsg`).
pub(super) fn answer(device: &RegisteredDevice, payload: &str) -> Option<Vec<u8>> {
    let Some(Json::Object(members)) = read(payload) else { return None };
    let mut keys = None;
    let mut shared = false;
    for (name, value) in &members {
        let text = match (name.as_ref(), value) {
            ("clientKeys" | "sharedKeys", Json::Text(text)) => text.as_ref(),
            ("clientKeys" | "sharedKeys", Json::Number(number)) => number,
            ("clientKeys" | "sharedKeys", _) => return None,
            _ => continue,
        };
        match name.as_ref() {
            "clientKeys" => keys = Some(text.split(',').collect()),
            _ => shared = true,
        }
    }
    let wanted = match keys {
        Some(names) => Wanted::Names(names),
        None if shared => Wanted::Names(Vec::new()),
        None => Wanted::All,
    };
    Some(device.attributes_answer(wanted))
}

#[cfg(test)]
mod tests {
    use super::super::credentials::HeldCredentials;
    use super::*;
    use crate::secret::Secret;

    fn asked(request: &str) -> Option<String> {
        let held = HeldCredentials::Token(Secret::new("T"));
        let device = RegisteredDevice::new("d".to_owned(), held, false, true);
        device.record_attributes(r#"{"b":"x","a":1,"n":null,"t":"007","o":{"z":[1,"y"]}}"#, 1);
        device.record_attributes(r#"{"a":2.50}"#, 2);
        answer(&device, request).map(|answer| String::from_utf8(answer).unwrap())
    }

    #[test]
    fn a_device_is_told_what_it_has_published() {
        let all = r#"{"client":{"a":2.5,"b":"x","o":{"z":[1,"y"]},"t":7}}"#;
        for (request, answer) in [
            ("{}", all),
            (r#"{"a":1}"#, all),
            (r#"{"clientKeys":"a,b"}"#, r#"{"client":{"a":2.5,"b":"x"}}"#),
            (r#"{"clientKeys":"b,none","sharedKeys":"s"}"#, r#"{"client":{"b":"x"}}"#),
            (r#"{"clientKeys":"none"}"#, "{}"),
            (r#"{"sharedKeys":"s"}"#, "{}"),
        ] {
            assert_eq!(asked(request).as_deref(), Some(answer), "{request}");
        }
        for request in ["", "[]", "7", r#"{"clientKeys":null}"#, r#"{"sharedKeys":{}}"#] {
            assert_eq!(asked(request), None, "{request}");
        }
    }
}
