//! A terminal in which `tbprov` runs, as a person has it.

use std::fs::File;
use std::process::{Command, Stdio};

use rexpect::reader::Options;
use rexpect::session::{PtySession, spawn_with_options};
use rustix::termios::{LocalModes, tcgetattr};

use super::{PATIENCE, Sandbox, until};

/// Runs a command, and tells then the terminal's modes and the exit code.
const SCRIPT: &str = r#"stty sane; trap : INT; "$0" "$@"; code=$?; stty -a; echo "ended with $code""#;

/// A terminal in which one command runs.
pub(crate) struct Terminal {
    pub(crate) session: PtySession,
    pub(crate) master: File,
    /// All that was shown so far.
    shown: String,
}

impl Terminal {
    pub(crate) fn run(sandbox: &Sandbox, arguments: &[&str]) -> Self {
        Self::run_with(sandbox, arguments, &[], true)
    }

    pub(crate) fn run_with(sandbox: &Sandbox, arguments: &[&str], env: &[(&str, &str)], strip: bool) -> Self {
        let mut command = sandbox.command("sh");
        command.args(["-c", SCRIPT, env!("CARGO_BIN_EXE_tbprov")]).args(arguments);
        command.env("TERM", "xterm").envs(env.iter().copied());
        Self::begin(command, strip)
    }

    /// A shell that waits for commands, in a terminal of this many rows and columns. What it shows is kept as it comes.
    pub(crate) fn shell(sandbox: &Sandbox, env: &[(&str, &str)], (rows, columns): (u16, u16)) -> Self {
        let mut command = sandbox.command("sh");
        command.args(["-c", &format!("stty sane rows {rows} cols {columns}; exec sh -i")]);
        command.env("TERM", "xterm").env_remove("ENV").envs(env.iter().copied());
        Self::begin(command, false)
    }

    fn begin(mut command: Command, strip: bool) -> Self {
        command.stdin(Stdio::inherit());
        let patience = u64::try_from(PATIENCE.as_millis()).ok();
        let options = Options::new().timeout_ms(patience).strip_ansi_escape_codes(strip);
        let session = spawn_with_options(command, options).unwrap();
        let master = session.process().get_file_handle().unwrap();
        Self { session, master, shown: String::new() }
    }

    /// Reads on until `text` is shown.
    #[track_caller]
    pub(crate) fn see(&mut self, text: &str) {
        match self.session.exp_string(text) {
            Ok(before) => self.shown.push_str(&(before + text)),
            Err(error) => panic!("{text} is not shown: {error}; before: {}", self.shown),
        }
    }

    /// All that was shown so far, as text: each byte was read as a character.
    pub(crate) fn shown(&self) -> String {
        let bytes = self.shown.chars().map(|byte| u8::try_from(u32::from(byte)).unwrap()).collect();
        String::from_utf8(bytes).unwrap()
    }

    /// Ends the [shell](Self::shell), which ignores the signal that would end it.
    pub(crate) fn leave_shell(&mut self) {
        self.answer("exit");
        self.session.exp_eof().unwrap();
    }

    pub(crate) fn answer(&mut self, line: &str) {
        self.session.send(&format!("{line}\r")).unwrap();
        self.session.flush().unwrap();
    }

    /// Types what must not be shown, once the terminal does not show it.
    pub(crate) fn answer_hidden(&mut self, line: &str) {
        self.wait_until_hidden();
        self.answer(line);
    }

    pub(crate) fn wait_until_hidden(&self) {
        until("the terminal to hide what is typed", || {
            let modes = tcgetattr(&self.master).unwrap().local_modes;
            !modes.contains(LocalModes::ECHO)
        });
    }

    pub(crate) fn press_control_c(&mut self) {
        self.press("\u{3}");
    }

    /// Types without Enter.
    pub(crate) fn press(&mut self, keys: &str) {
        self.session.send(keys).unwrap();
        self.session.flush().unwrap();
    }

    /// Waits for the end, with this exit code, in a terminal that is as it was.
    #[track_caller]
    pub(crate) fn end(mut self, code: i32) -> String {
        self.see(&format!("ended with {code}"));
        self.shown.push_str(&self.session.exp_eof().unwrap());
        let modes: Vec<_> = self.shown.split_whitespace().map(|word| word.trim_end_matches(';')).collect();
        for mode in ["echo", "icanon", "isig", "icrnl", "opost"] {
            assert!(modes.contains(&mode), "the terminal has lost {mode}: {}", self.shown);
        }
        self.shown
    }
}
