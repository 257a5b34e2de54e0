//! The machine formats: results, failures and events. Documented in `docs/protocol.md`.

use serde::Serialize;
use serde_json::{Value, json};

use super::Output;
use tbprov::event::{Event, Observer};
use tbprov::{DeviceId, Error};

/// The `schema` of every result.
const SCHEMA: &str = "tbprov/1";

#[derive(Serialize)]
struct Envelope<'a, R> {
    schema: &'static str,
    command: &'a str,
    #[serde(flatten)]
    result: &'a R,
}

pub(super) fn result<R: Serialize>(command: &str, result: &R) -> String {
    line(&Envelope { schema: SCHEMA, command, result })
}

pub(super) fn error(command: &str, error: &Error, help: &str) -> String {
    let mut failure = json!({
        "error": {
            "code": error.code.as_str(),
            "step": error.step(),
            "message": error.message,
            "help": help,
        },
        "exit_code": error.exit_code(),
    });
    if let Some(faults) = &error.faults {
        failure["error"]["faults"] = json!(faults.first());
        failure["error"]["more_faults"] = json!(faults.more());
    }
    result(command, &failure)
}

pub(super) fn line<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| Value::String(error.to_string()).to_string())
}

#[cfg(feature = "fleet")]
#[derive(Serialize)]
struct Named<'a, T> {
    event: &'static str,
    #[serde(flatten)]
    members: &'a T,
}

/// One line of an event that the command itself tells.
#[cfg(feature = "fleet")]
pub(super) fn event<T: Serialize>(event: &'static str, members: &T) -> String {
    line(&Named { event, members })
}

/// Writes each event as one line.
pub(super) struct Events(Output);

impl Events {
    pub(super) const fn new(output: Output) -> Self {
        Self(output)
    }
}

/// An event, and the device that it is about.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    event: &'a Event,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a DeviceId>,
}

impl Observer for Events {
    fn event(&self, device: Option<&DeviceId>, event: &Event) {
        self.0.data(&line(&Line { event, device }));
    }
}
