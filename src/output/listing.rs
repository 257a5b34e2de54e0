//! Results with an array that may be long: its items are written as they come, so that none of it is kept.

use std::fmt;
use std::io::{self, BufWriter, Write};

use serde::Serialize;

use super::{Format, Output, Stream, json};

/// A result whose array is written item by item: a line each for people; one JSON object with `--json`; an event each
/// with `--events`.
pub(crate) struct Listing {
    output: Output,
    command: &'static str,
    event: &'static str,
    /// The object that is being written, with `--json`.
    object: Option<JsonArray<BufWriter<Stream>>>,
}

impl Listing {
    /// `array` is the array's name in the object, `event` that of an item among the events.
    pub(crate) fn begin(
        output: &Output,
        command: &'static str,
        array: &'static str,
        event: &'static str,
    ) -> Self {
        let object = (output.format == Format::Json)
            .then(|| JsonArray::begin(BufWriter::new(output.stream()), command, &Nothing {}, array))
            // What cannot be written is known to `output`.
            .and_then(Result::ok);
        Self { output: output.clone(), command, event, object }
    }

    /// Writes one item. False once nobody reads stdout any more.
    pub(crate) fn item<T: Serialize + fmt::Display>(&mut self, item: &T) -> bool {
        match (self.output.format, &mut self.object) {
            (Format::Human, _) => self.output.data(&tbprov::text::escaped_lines(&item.to_string())),
            (Format::Events, _) => self.output.event(self.event, item),
            (Format::Json, Some(object)) => drop(object.item(item)),
            (Format::Json, None) => {}
        }
        !self.output.reader_gone().is_cancelled()
    }

    /// Writes what follows the array.
    pub(crate) fn end<R: Serialize + fmt::Display>(self, rest: &R) {
        match (self.output.format, self.object) {
            (Format::Json, Some(object)) => drop(object.end(rest).and_then(|mut out| out.flush())),
            (Format::Json, None) => {}
            _ => self.output.result(self.command, rest),
        }
    }
}

#[derive(Serialize)]
struct Nothing {}

/// One JSON object, the last member of its head an array.
pub(crate) struct JsonArray<W> {
    out: W,
    is_empty: bool,
}

impl<W: Write> JsonArray<W> {
    /// Writes the object up to the beginning of the array called `array`.
    pub(crate) fn begin<R: Serialize>(mut out: W, command: &str, head: &R, array: &str) -> io::Result<Self> {
        let head = json::result(command, head);
        write!(out, "{},\"{array}\":[", head.strip_suffix('}').unwrap_or(&head))?;
        Ok(Self { out, is_empty: true })
    }

    /// Writes one item of the array.
    pub(crate) fn item<T: Serialize>(&mut self, item: &T) -> io::Result<()> {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.out.write_all(b",")?;
        }
        self.out.write_all(json::line(item).as_bytes())
    }

    /// Writes the end of the array, the members of `rest` and the end of the object.
    pub(crate) fn end<R: Serialize>(mut self, rest: &R) -> io::Result<W> {
        let rest = json::line(rest);
        match rest.strip_prefix('{') {
            None | Some("}") => self.out.write_all(b"]}\n")?,
            Some(members) => writeln!(self.out, "],{members}")?,
        }
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn written(items: &[u8], rest: &Value) -> Value {
        let mut object = JsonArray::begin(Vec::new(), "fleet list", &Nothing {}, "devices").unwrap();
        for item in items {
            object.item(item).unwrap();
        }
        let text = String::from_utf8(object.end(rest).unwrap()).unwrap();
        assert_eq!(text.find('\n'), Some(text.len() - 1));
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn it_is_one_object() {
        let head =
            |devices: Value| json!({"schema": "tbprov/1", "command": "fleet list", "devices": devices});
        assert_eq!(written(&[], &json!({})), head(json!([])));
        let mut whole = head(json!([1, 2, 3]));
        whole["count"] = 3.into();
        assert_eq!(written(&[1, 2, 3], &json!({"count": 3})), whole);
    }
}
