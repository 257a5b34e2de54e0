//! The sessions of the documents, recorded from real ones on a terminal: as text, and one of them as an image.
//!
//! `docs/session/record` writes them anew.

mod image;

use std::num::NonZero;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::Value;
use vt100::Parser;

use crate::snapshot::same_as_file;
use crate::support::terminal::Terminal;
use crate::support::{NAME, Running, Sandbox, Server, run};

/// Rows for all of a session, and columns for its longest line.
const SIZE: (u16, u16) = (48, 82);

/// What the shell shows before a command, in blue. A blank line is above it.
const PROMPT: &str = "\x1b[1;34m$\x1b[0m ";

/// What differs from run to run, and what the recording has in its place. The values are those of a real run.
const MADE_UP: &[(&str, &str)] = &[
    (r"\b[0-9a-f]{64}\b", "3a38987c318c106104273d9946d1c1a4a2792ffce2d1fc53068eac5a2958ddec"),
    (r"(valid until +)\d{4}-\d\d-\d\d", "${1}2036-11-19"),
    (r"demo-[a-z0-9]{6}\b", "demo-9ckyra"),
    (r"(server runs on localhost:)\d+", "${1}36751"),
];

fn steady(text: &str) -> String {
    MADE_UP.iter().fold(text.to_owned(), |text, (pattern, steady)| {
        Regex::new(pattern).unwrap().replace_all(&text, *steady).into_owned()
    })
}

/// A folder in which the shell finds `tbprov`, and a terminal with that shell.
fn shell(sandbox: &Sandbox) -> Terminal {
    let folder = Path::new(env!("CARGO_BIN_EXE_tbprov")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let prompt = format!("\n{PROMPT}");
    let mut terminal = Terminal::shell(sandbox, &[("PATH", &path), ("PS1", &prompt)], SIZE);
    terminal.see(PROMPT);
    terminal
}

/// Types a command; `after` answers its questions.
fn type_command(terminal: &mut Terminal, line: &str, after: impl FnOnce(&mut Terminal)) {
    terminal.answer(line);
    after(terminal);
    terminal.see(PROMPT);
}

/// Ends the shell. Returns all that was shown from the first prompt on, without the one that waits for one more command.
fn end(mut terminal: Terminal) -> String {
    let shown = terminal.shown();
    terminal.leave_shell();
    let shown = shown.trim_start().strip_suffix(PROMPT).unwrap();
    steady(shown.trim_end())
}

fn screen(shown: &str) -> Parser {
    let [rows, columns] = [SIZE.0, SIZE.1].map(|size| NonZero::new(size).unwrap());
    let mut parser = Parser::new(rows, columns, 0);
    parser.process(shown.as_bytes());
    parser
}

fn text(screen: &Parser) -> String {
    screen.screen().contents().trim().lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// A simulator as a process of its own, which makes up a provision key and secret.
struct Simulator {
    ready: Value,
    /// What it says at its start, up to the commands for another terminal.
    said: String,
    _running: Running,
}

impl Simulator {
    fn start(sandbox: &Sandbox) -> Self {
        let arguments = ["sim", "--port", "0", "--ready-file", "ready.json"];
        let mut running = Running::start(&mut sandbox.tbprov(&arguments));
        let mut said = String::new();
        while let Some(line) = running.line().filter(|line| line != "\n") {
            said.push_str(&line);
        }
        let ready = serde_json::from_str(&sandbox.read("ready.json")).unwrap();
        Self { ready, said, _running: running }
    }

    fn text(&self, member: &str) -> String {
        match &self.ready[member] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// `text` as if this simulator were the one that the README starts.
    fn as_in_the_readme(&self, text: &str, sandbox: &Sandbox) -> String {
        text.replace(&self.text("port"), "8883")
            .replace(&self.text("provision_key"), "LQfFoSZuDVwxpmbXogEK")
            .replace(&self.text("provision_secret"), "nA1MfqFPLRM4Nemynw7R")
            .replace(sandbox.path("").canonicalize().unwrap().to_str().unwrap(), "/home/ada/try")
    }
}

fn provision(terminal: &mut Terminal, simulator: &Simulator) {
    let answers = [
        ("ThingsBoard host", "localhost".to_owned()),
        ("TLS port", simulator.text("port")),
        ("Provision key", simulator.text("provision_key")),
        ("Provision secret", simulator.text("provision_secret")),
        ("Device name", NAME.to_owned()),
    ];
    type_command(terminal, "tbprov provision --server-cert tbprov-sim/server.pem", |terminal| {
        for (question, answer) in answers {
            terminal.see(question);
            // What is typed before tbprov reads it would be shown twice.
            terminal.answer_hidden(&answer);
        }
    });
}

fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/session").join(name)
}

const READMES: [&str; 2] = ["README.md", "README.zh-CN.md"];

const FIRST_STEPS: [&str; 2] = ["docs/first-steps.md", "docs/first-steps.zh-CN.md"];

#[track_caller]
fn is_in(documents: [&str; 2], text: &str) {
    for document in documents {
        let content = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document)).unwrap();
        assert!(
            content.contains(&format!("```text\n{text}```\n")),
            "{document} has not this session:\n{text}"
        );
    }
}

#[test]
fn a_device_from_the_questions_to_its_readings() {
    let sandbox = Sandbox::new();
    let simulator = Simulator::start(&sandbox);
    let mut terminal = shell(&sandbox);
    provision(&mut terminal, &simulator);
    type_command(&mut terminal, "tbprov connect --send-telemetry --count 3 --interval 1s", |_| {});
    let screen = screen(&simulator.as_in_the_readme(&end(terminal), &sandbox));
    same_as_file(&image::of(screen.screen()), &kept("session.svg"));
    same_as_file(&text(&screen), &kept("session.txt"));
    is_in(READMES, &text(&screen));
    is_in(READMES, &format!("$ tbprov sim\n{}", simulator.as_in_the_readme(&simulator.said, &sandbox)));
}

#[test]
fn the_demonstration() {
    let sandbox = Sandbox::new();
    let mut terminal = shell(&sandbox);
    type_command(&mut terminal, "tbprov demo", |_| {});
    let text = text(&screen(&end(terminal)));
    same_as_file(&text, &kept("demo.txt"));
    is_in(READMES, &text);
}

#[test]
fn a_failure_of_the_first_steps() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    let mut command = sandbox.tbprov_for(&server, &["provision", "--device-name", NAME]);
    let stderr = run(command.env("TBPROV_PROVISION_SECRET", "another")).stderr;
    is_in(FIRST_STEPS, &stderr[stderr.find("error[").unwrap()..]);
}

#[test]
fn tbprov_alone_says_what_to_begin_with() {
    let sandbox = Sandbox::new();
    let mut terminal = shell(&sandbox);
    type_command(&mut terminal, "tbprov", |_| {});
    type_command(&mut terminal, "tbprov >stdout; echo \"exit code $?\"", |_| {});
    let text = text(&screen(&end(terminal)));
    assert_eq!(sandbox.read("stdout"), "");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    same_as_file(&text, &crate::snapshot::folder().join("first-words.txt"));
}
