//! What `tbprov doctor` says about the firmware: what is there to build, emulate and flash it. None of it is needed
//! by who has no board, so nothing that is missing is a failure.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::context::Context;
use crate::cli::advice;
use tbprov::ErrorCode;
use tbprov::doctor::{Check, Finding};
use tbprov::firmware::emulator::QEMU;
use tbprov::firmware::program::without_our_variables;
use tbprov::firmware::serial::{self, SerialPort};
use tbprov::firmware::toolchain::Machine;
use tbprov::firmware::{Board, Toolchain};

/// Every check, in order.
pub(in crate::cli) async fn checks(context: &Context) -> Vec<Check> {
    let named = std::env::var_os("TBPROV_FIRMWARE_DIR").map(PathBuf::from);
    let directory =
        named.or_else(|| context.config.firmware_dir.clone()).unwrap_or_else(|| "./firmware".into());
    let looked = tokio::task::spawn_blocking(move || look(&directory)).await;
    looked.unwrap_or_default()
}

/// On a thread of its own: compilers and emulators are asked, and may take their time.
fn look(directory: &Path) -> Vec<Check> {
    let machine = Machine::from_environment();
    let directory = if directory.is_dir() { directory } else { Path::new(".") };
    let mut checks = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for board in Board::ALL {
        if !seen.contains(&compiler(*board)) {
            seen.push(compiler(*board));
            checks.push(Check { name: "toolchain", finding: toolchain(*board, &machine, directory) });
        }
    }
    checks.push(Check { name: "emulator", finding: emulator(&machine) });
    checks.extend(ports().into_iter().map(|finding| Check { name: "port", finding }));
    checks
}

/// Every serial port, without opening it, which would restart a board.
fn ports() -> Vec<Finding> {
    let ports = match serial::ports() {
        Ok(ports) if ports.is_empty() => {
            return vec![Finding::Absent("no serial port, so no board".to_owned())];
        }
        Ok(ports) => ports,
        Err(error) => return vec![Finding::Warning(error.message)],
    };
    let look = |port: &SerialPort| match serial::not_allowed(&port.path) {
        Some(error) => Finding::Warning(format!("{}; {}", error.message, advice::help(&error))),
        None if port.looks_like_a_board() => Finding::Passed(format!("{port} may be a board")),
        None => Finding::Passed(format!("{port} does not look like a board")),
    };
    ports.iter().map(look).collect()
}

/// What tells boards apart that need different compilers.
const fn compiler(board: Board) -> &'static str {
    if board.is_xtensa() { "xtensa" } else { board.target() }
}

fn toolchain(board: Board, machine: &Machine, directory: &Path) -> Finding {
    let same = Board::ALL.iter().filter(|other| compiler(**other) == compiler(board));
    let boards: Vec<_> = same.map(|board| board.name()).collect();
    let boards = boards.join(", ");
    match Toolchain::find(board, machine, directory) {
        Ok(found) => Finding::Passed(format!("{boards}: {}", found.describe())),
        Err(error) => Finding::Absent(format!("{boards}: no compiler; {}", advice::help(&error))),
    }
}

fn emulator(machine: &Machine) -> Finding {
    let named = std::env::var_os("TBPROV_QEMU").map(PathBuf::from);
    let Some(program) = named.or_else(|| machine.program(QEMU)) else {
        return Finding::Absent(format!("no {QEMU}; {}", advice::general(ErrorCode::FirmwareEmulator)));
    };
    let output = without_our_variables(Command::new(&program).arg("--version")).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    match text.lines().next() {
        Some(version) => Finding::Passed(format!("{version} ({})", program.display())),
        None => Finding::Warning(format!("{} does not tell its version", program.display())),
    }
}
