//! A board that is a program: esp32-mock-bootloader behind a pseudo-terminal, its flash in the file `flash.bin`.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use super::Sandbox;

fn python() -> Command {
    Command::new(std::env::var_os("TBPROV_PYTHON").unwrap_or_else(|| "python3".into()))
}

/// Whether the mock is there.
fn has_mock() -> bool {
    let probe = python().args(["-c", "import esp32_mock_bootloader"]).stderr(Stdio::null()).status();
    let found = probe.is_ok_and(|status| status.success());
    if !found {
        assert!(std::env::var_os("TBPROV_REQUIRE_PEERS").is_none(), "esp32-mock-bootloader is not installed");
        println!("skipped: esp32-mock-bootloader is not installed");
    }
    found
}

/// A board at `port` in the sandbox. It ends when it is dropped.
pub(crate) struct Board {
    program: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Board {
    /// A board with these faults, if there can be one.
    pub(crate) fn start(sandbox: &Sandbox, faults: &[&str]) -> Option<Self> {
        if !has_mock() {
            return None;
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/board.py");
        let mut command = python();
        command.arg(script).args(["--flash", "flash.bin", "--port", "port"]).args(faults);
        command.current_dir(sandbox.path(".")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = command.spawn().unwrap();
        let lines = BufReader::new(program.stdout.take().unwrap());
        let mut board = Self { program, lines };
        board.is_ready();
        Some(board)
    }

    /// Waits until it is plugged in.
    pub(crate) fn is_ready(&mut self) {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        drop(self.program.stdin.take());
        let _ = self.program.wait();
    }
}

/// All that the board's flash holds.
pub(crate) fn flash_of(sandbox: &Sandbox) -> Vec<u8> {
    std::fs::read(sandbox.path("flash.bin")).unwrap()
}
