//! What this machine has to build, emulate and flash the firmware. Nothing of the current folder is run or obeyed.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::board::Board;
use super::emulator::QEMU;
use super::program::without_our_variables;
use super::serial::{self, SerialPort};
use super::sources::Sources;
use super::toolchain::{Machine, Toolchain};
use crate::blocking;
use crate::error::{Error, ErrorCode, Result};

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The compiler of some boards.
    Toolchain,
    /// QEMU.
    Emulator,
    /// A serial port.
    Port,
}

/// Whether it can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usable {
    /// It can.
    Yes,
    /// It is there, and something is wrong with it.
    Doubtful,
    /// It is not there.
    Missing,
}

/// One thing that is there or is not.
#[derive(Debug)]
pub struct Finding {
    /// What it is.
    pub subject: Subject,
    /// Whether it can be used.
    pub usable: Usable,
    /// What was seen, in words.
    pub detail: String,
    /// What is wrong, where something can be done about it.
    pub error: Option<Error>,
}

/// What is looked at, where the machine alone does not tell.
#[derive(Debug, Clone, Default)]
pub struct Named {
    /// The sources that the user has named: rustup may have been told to use another compiler in their folder.
    pub sources: Option<PathBuf>,
    /// QEMU's program.
    pub qemu: Option<PathBuf>,
}

/// Looks at everything. Opens no port, which would restart a board.
///
/// # Errors
/// `internal/bug`.
pub async fn look(named: Named) -> Result<Vec<Finding>> {
    blocking(move || {
        let machine = Machine::from_environment();
        let sources = named.sources.as_deref().and_then(|sources| Sources::find(Some(sources)).ok());
        let directory = sources.as_ref().map_or_else(neutral_folder, |found| found.directory().to_owned());
        let mut findings = toolchains(&machine, &directory);
        findings.push(emulator(named.qemu.or_else(|| machine.program(QEMU))));
        findings.extend(ports());
        Ok(findings)
    })
    .await
}

/// A folder where nobody else's file tells rustup what to run: it looks for `rust-toolchain.toml` in the current folder
/// and in those above.
fn neutral_folder() -> PathBuf {
    let of_system = if cfg!(windows) { std::env::var_os("SystemRoot") } else { None };
    of_system.map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

/// One finding for all boards that need the same compiler.
fn toolchains(machine: &Machine, directory: &Path) -> Vec<Finding> {
    let mut compilers = Vec::new();
    for name in Board::all().map(compiler) {
        if !compilers.contains(&name) {
            compilers.push(name);
        }
    }
    compilers.into_iter().filter_map(|name| toolchain(name, machine, directory)).collect()
}

/// What tells boards apart that need different compilers.
const fn compiler(board: Board) -> &'static str {
    if board.is_xtensa() { "xtensa" } else { board.target() }
}

fn toolchain(name: &str, machine: &Machine, directory: &Path) -> Option<Finding> {
    let boards: Vec<_> = Board::all().filter(|board| compiler(*board) == name).collect();
    let names: Vec<_> = boards.iter().map(|board| board.name()).collect();
    let names = names.join(", ");
    let found = Toolchain::find(*boards.first()?, machine, directory);
    Some(match found {
        Ok(found) => usable(Subject::Toolchain, format!("{names}: {}", found.describe())),
        Err(error) => Finding {
            subject: Subject::Toolchain,
            usable: Usable::Missing,
            detail: format!("{names}: no compiler"),
            error: Some(error),
        },
    })
}

fn emulator(program: Option<PathBuf>) -> Finding {
    let Some(program) = program else {
        let detail = format!("no {QEMU}");
        let error = Some(Error::new(ErrorCode::FirmwareEmulator, detail.clone()));
        return Finding { subject: Subject::Emulator, usable: Usable::Missing, detail, error };
    };
    let mut command = Command::new(&program);
    let output = without_our_variables(command.arg("--version")).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    match text.lines().next() {
        Some(version) => {
            usable(Subject::Emulator, format!("{version} ({})", crate::text::shown_path(program)))
        }
        None => {
            let detail = format!("{} does not tell its version", crate::text::shown_path(program));
            Finding { subject: Subject::Emulator, usable: Usable::Doubtful, detail, error: None }
        }
    }
}

fn ports() -> Vec<Finding> {
    let (usable, detail) = match serial::ports() {
        Ok(ports) if ports.is_empty() => (Usable::Missing, "no serial port, so no board".to_owned()),
        Ok(ports) => return ports.iter().map(port).collect(),
        Err(error) => (Usable::Doubtful, error.message),
    };
    vec![Finding { subject: Subject::Port, usable, detail, error: None }]
}

fn port(port: &SerialPort) -> Finding {
    if let Some(error) = serial::not_allowed(&port.path) {
        let detail = error.message.clone();
        return Finding { subject: Subject::Port, usable: Usable::Doubtful, detail, error: Some(error) };
    }
    let looks = if port.looks_like_a_board() { "may be" } else { "does not look like" };
    usable(Subject::Port, format!("{port} {looks} a board"))
}

fn usable(subject: Subject, detail: String) -> Finding {
    Finding { subject, usable: Usable::Yes, detail, error: None }
}
