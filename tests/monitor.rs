//! `tbprov firmware monitor` on a pseudo-terminal. On Linux alone: macOS lets no pseudo-terminal have a speed.

#![cfg(all(target_os = "linux", feature = "cli"))]
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, ioctl_tiocnxcl, tcgetattr, tcsetattr};
use support::terminal::Terminal;
use support::*;

/// The board's side of a serial line.
struct Board {
    line: File,
    /// Open, so that what is said before anybody listens is kept.
    port: File,
    path: String,
}

impl Board {
    fn new() -> Self {
        let line = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&line).unwrap();
        unlockpt(&line).unwrap();
        let path = ptsname(&line, Vec::new()).unwrap().into_string().unwrap();
        let no_terminal_of_ours = i32::try_from(rustix::fs::OFlags::NOCTTY.bits()).unwrap();
        let port = OpenOptions::new().read(true).write(true).custom_flags(no_terminal_of_ours).open(&path);
        let port = port.unwrap();
        // As a serial line: nothing is echoed or changed on its way.
        let mut modes = tcgetattr(&port).unwrap();
        modes.make_raw();
        tcsetattr(&port, OptionalActions::Now, &modes).unwrap();
        Self { line: line.into(), port, path }
    }

    fn path(&self) -> String {
        self.path.clone()
    }

    /// A serial port is free again when it is closed; this one is kept open.
    fn free(&self) {
        ioctl_tiocnxcl(&self.port).unwrap();
    }

    fn says(&mut self, text: &[u8]) {
        self.free();
        self.line.write_all(text).unwrap();
    }

    fn hears(&mut self, wanted: &[u8]) {
        let mut heard = vec![0; wanted.len()];
        self.line.read_exact(&mut heard).unwrap();
        assert_eq!(heard, wanted);
    }
}

/// `monitor` of this board until something ends it.
fn monitor<'a>(board: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    [&["firmware", "monitor", "--port", board], arguments].concat()
}

#[test]
fn the_awaited_line_ends_it() {
    let (mut board, sandbox) = (Board::new(), Sandbox::new());
    board.says(b"I (31) boot: tbprov firmware\r\nCONNACK 0\r\nafter\r\n");
    let path = board.path();
    let ended = run(&mut sandbox.tbprov(&monitor(&path, &["--until", "CONNACK [0-5]", "--timeout", "30s"])));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout, "I (31) boot: tbprov firmware\nCONNACK 0\n");
    board.says(b"one\nCONNACK 5");
    let arguments = monitor(&path, &["--json", "--until", "^CONNACK 5$", "--timeout", "1s"]);
    let result = run(&mut sandbox.tbprov(&arguments)).done();
    assert_eq!(
        (&result["outcome"], &result["matched"]),
        (&"matched".into(), &"CONNACK 5".into()),
        "{result}"
    );
    assert!(result["lines"].as_u64().unwrap() >= 2, "{result}");
}

#[test]
fn a_line_that_does_not_come_in_time_is_a_failure() {
    let (mut board, sandbox) = (Board::new(), Sandbox::new());
    let path = board.path();
    let silent = monitor(&path, &["--json", "--until", "CONNACK", "--timeout", "200ms"]);
    let error = run(&mut sandbox.tbprov(&silent)).failed(7, "firmware/monitor");
    assert!(error["help"].as_str().unwrap().contains("nothing came"), "{error}");
    board.says(b"no such line\n");
    let error = run(&mut sandbox.tbprov(&silent)).failed(7, "firmware/monitor");
    assert!(error["message"].as_str().unwrap().contains("'CONNACK' in time; 1 came"), "{error}");
    board.free();
    let only_watched = monitor(&path, &["--json", "--timeout", "100ms"]);
    assert_eq!(run(&mut sandbox.tbprov(&only_watched)).done()["outcome"], "timed-out");
}

#[test]
fn the_log_has_every_line_with_its_time_and_overwrites_nothing() {
    let (mut board, sandbox) = (Board::new(), Sandbox::new());
    board.says(b"first\nend\n");
    let path = board.path();
    let arguments = monitor(&path, &["--json", "--until", "end", "--log", "board.log"]);
    let result = run(&mut sandbox.tbprov(&arguments)).done();
    assert_eq!(result["log"], "board.log");
    let log = sandbox.read("board.log");
    let lines: Vec<_> = log.lines().map(|line| line.split_once("Z ").unwrap()).collect();
    assert_eq!(lines.iter().map(|(_, line)| *line).collect::<Vec<_>>(), ["first", "end"]);
    assert_eq!(lines[0].0.len(), "2026-11-22T03:12:23.123".len(), "{log}");
    run(&mut sandbox.tbprov(&arguments)).failed(5, "file/exists");
    assert_eq!(sandbox.read("board.log"), log);
    sandbox.write("key.pem", "a key");
    std::os::unix::fs::symlink(sandbox.path("key.pem"), sandbox.path("link.log")).unwrap();
    let arguments = monitor(&path, &["--json", "--until", "end", "--log", "link.log"]);
    run(&mut sandbox.tbprov(&arguments)).failed(5, "file/exists");
    assert_eq!(sandbox.read("key.pem"), "a key");
}

#[test]
fn what_the_board_says_cannot_steer_the_terminal() {
    let (mut board, sandbox) = (Board::new(), Sandbox::new());
    board.says(b"\x1b[2J\x1b]0;owned\x07\x1b[0;32mgreen\x1b[0m \xff\xfe\x00 \xe2\x80\xae turned\nend\n");
    let path = board.path();
    for mode in ["--events", "--no-input"] {
        let ended = run(&mut sandbox.tbprov(&monitor(&path, &["--until", "end", mode])));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let harmless = |character: char| !character.is_control() && character != '\u{202e}';
        assert!(ended.stdout.lines().all(|line| line.chars().all(harmless)), "{ended:?}");
        assert!(ended.stdout.contains("green"), "{ended:?}");
        board.says(b"\x1b[2Jgreen\nend\n");
    }
}

#[test]
fn noise_without_an_end_is_watched_without_growing() {
    let (mut board, sandbox) = (Board::new(), Sandbox::new());
    let path = board.path();
    let arguments = monitor(&path, &["--json", "--until", "the end", "--timeout", "30s"]);
    let mut running = Running::start(&mut sandbox.tbprov(&arguments));
    for piece in 0..64_u8 {
        board.says(&[piece | 0x80; 1021]);
    }
    board.says(b"\nthe end\n");
    assert!(running.until("matched").contains("the end"));
}

#[test]
fn a_port_that_goes_away_is_said_so() {
    let (mut board, sandbox) = (Board::new(), Sandbox::new());
    let path = board.path();
    let mut running = Running::start(&mut sandbox.tbprov(&monitor(&path, &["--events"])));
    board.says(b"hello\n");
    running.until("hello");
    drop(board);
    let ended = running.end();
    let error = ended.failed(7, "firmware/monitor");
    assert!(error["message"].as_str().unwrap().contains("gone away after 1 lines"), "{error}");
}

#[test]
fn ports_that_cannot_be_used_are_said_so() {
    let sandbox = Sandbox::new();
    let error = run(&mut sandbox.tbprov(&monitor("/dev/ttyNOTHERE", &["--json"]))).failed(7, "firmware/port");
    assert!(error["message"].as_str().unwrap().contains("no port /dev/ttyNOTHERE"), "{error}");
    sandbox.write("plain", "a file");
    run(&mut sandbox.tbprov(&monitor("plain", &["--json"]))).failed(7, "firmware/port");
    let wrong = monitor("plain", &["--json", "--until", "("]);
    run(&mut sandbox.tbprov(&wrong)).failed(2, "usage/invalid-value");
}

#[test]
fn a_signal_ends_it_and_only_a_wait_was_interrupted() {
    for (arguments, code) in [(&["--events"][..], 0), (&["--events", "--until", "never"], 130)] {
        let (mut board, sandbox) = (Board::new(), Sandbox::new());
        let path = board.path();
        let mut running = Running::start(&mut sandbox.tbprov(&monitor(&path, arguments)));
        board.says(b"hello\n");
        running.until("hello");
        running.signal("INT");
        assert_eq!(running.end().code, Some(code));
    }
}

/// Only Linux tells whether `nohup` is above.
#[cfg(target_os = "linux")]
#[test]
fn a_closed_terminal_ends_it_cleanly_unless_nohup_says_otherwise() {
    let (mut board, sandbox) = (Board::new(), Sandbox::new());
    let path = board.path();
    let arguments = monitor(&path, &["--events", "--until", "end"]);
    let mut running = Running::start(&mut sandbox.tbprov(&arguments));
    board.says(b"hello\n");
    running.until("hello");
    running.signal("HUP");
    assert_eq!(running.end().code, Some(130));

    let mut command = sandbox.command("nohup");
    command.arg(env!("CARGO_BIN_EXE_tbprov")).args(&arguments);
    let mut running = Running::start(&mut command);
    board.says(b"hello again\n");
    running.until("hello again");
    running.signal("HUP");
    board.says(b"the end\n");
    assert_eq!(running.end().code, Some(0));
}

#[test]
fn a_board_that_takes_no_keys_is_heard_all_the_same() {
    let (mut board, sandbox) = (Board::new(), Sandbox::new());
    let path = board.path();
    let mut terminal = Terminal::run(&sandbox, &monitor(&path, &["--until", "never"]));
    board.says(b"what now?\r\n");
    terminal.see("what now?");
    // More than the line keeps.
    for _ in 0..20 {
        terminal.press(&"x".repeat(1000));
    }
    std::thread::sleep(Duration::from_millis(300));
    board.says(b"still here\r\n");
    terminal.see("still here");
    terminal.press("\u{1d}");
    terminal.end(0);
}

#[test]
fn keys_go_to_the_board_and_control_bracket_ends() {
    let (mut board, sandbox) = (Board::new(), Sandbox::new());
    let path = board.path();
    let mut terminal = Terminal::run(&sandbox, &monitor(&path, &["--until", "never"]));
    board.says(b"what now?\r\n");
    terminal.see("what now?");
    terminal.press("x\r");
    board.hears(b"x\r");
    let begin = Instant::now();
    terminal.press("\u{1d}");
    let shown = terminal.end(0);
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert!(!shown.contains("x\r"), "what is typed is the board's to show: {shown}");
}

#[test]
fn control_c_gives_the_terminal_back() {
    let (mut board, sandbox) = (Board::new(), Sandbox::new());
    let path = board.path();
    let mut terminal = Terminal::run(&sandbox, &monitor(&path, &["--until", "never"]));
    board.says(b"hello\r\n");
    terminal.see("hello");
    terminal.press_control_c();
    terminal.end(130);
}
