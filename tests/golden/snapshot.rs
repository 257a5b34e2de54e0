//! One file of `snapshots/`: its cases, each with the command line, the exit code, stdout and stderr.

use std::path::{Path, PathBuf};

use snapbox::assert::DEFAULT_ACTION_ENV;
use snapbox::{Assert, Data};

use crate::redactions::redact;
use crate::support::{Ran, Sandbox};

/// Wide enough for a line of JSON; a longer one is shown member by member.
const WIDTH: usize = 110;

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/snapshots")
}

/// Fails where `text` is not what `file` holds, or writes it there with `SNAPSHOTS=overwrite`.
#[track_caller]
pub(crate) fn same_as_file(text: &str, file: &Path) {
    let expected = Data::read_from(file, None).raw();
    Assert::new().action_env(DEFAULT_ACTION_ENV).eq(Data::text(text).raw(), expected);
}

pub(crate) struct Snapshot {
    file: PathBuf,
    text: String,
}

impl Snapshot {
    /// The snapshot `name.txt`.
    pub(crate) fn new(name: &str) -> Self {
        Self { file: folder().join(format!("{name}.txt")), text: String::new() }
    }

    /// Begins a case.
    pub(crate) fn case(&mut self, title: &str) -> &mut Self {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(&format!("# {title}\n"));
        self
    }

    /// Adds how `line` ended, that was run in `sandbox`.
    pub(crate) fn add(&mut self, sandbox: &Sandbox, line: &str, ran: &Ran) {
        let root = sandbox.path("");
        let shown = |text: &str| redact(text, &root);
        self.add_as_is(line, &Ran { stdout: shown(&ran.stdout), stderr: shown(&ran.stderr), ..*ran });
    }

    pub(crate) fn add_as_is(&mut self, line: &str, ran: &Ran) {
        self.text.push_str(&format!("\n$ tbprov {line}\n"));
        self.text.push_str(&format!(
            "exit code {}\n",
            ran.code.map_or("none".to_owned(), |code| code.to_string())
        ));
        for (name, said) in [("stdout", &ran.stdout), ("stderr", &ran.stderr)] {
            if said.is_empty() {
                continue;
            }
            self.text.push_str(&format!("[{name}]\n"));
            for line in said.lines() {
                self.text.push_str(&readable(line, 0));
                self.text.push('\n');
            }
        }
    }

    #[track_caller]
    pub(crate) fn check(&self) {
        same_as_file(&self.text, &self.file);
    }
}

/// JSON that is too long for a line, member by member; anything else as it is.
fn readable(text: &str, indent: usize) -> String {
    let long = text.chars().count() + indent > WIDTH;
    let parts = [('{', '}'), ('[', ']')].into_iter().find_map(|(open, close)| {
        let inner = text.strip_prefix(open)?.strip_suffix(close)?;
        inner.starts_with(['"', '{', '[']).then_some((open, close, inner))
    });
    let Some((open, close, inner)) = parts.filter(|_| long) else { return text.to_owned() };
    let margin = " ".repeat(indent + 2);
    let members: Vec<_> = members(inner)
        .into_iter()
        .map(|member| format!("{margin}{}", of_member(member, indent + 2)))
        .collect();
    format!("{open}\n{}\n{}{close}", members.join(",\n"), " ".repeat(indent))
}

/// `"name":value` or a bare value.
fn of_member(text: &str, indent: usize) -> String {
    match text.split_once("\":") {
        Some((name, value)) if text.starts_with('"') => {
            format!("{name}\": {}", readable(value, indent))
        }
        _ => readable(text, indent),
    }
}

/// The parts between the commas of the outermost level.
fn members(text: &str) -> Vec<&str> {
    let (mut depth, mut quoted, mut escaped, mut begin) = (0_u32, false, false, 0);
    let mut found = Vec::new();
    for (place, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => depth = depth.saturating_sub(1),
            ',' if !quoted && depth == 0 => {
                found.push(&text[begin..place]);
                begin = place + 1;
            }
            _ => {}
        }
    }
    found.push(&text[begin..]);
    found
}
