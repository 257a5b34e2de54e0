//! Finds a compiler for a board among those that the machine has, or the one command that is missing.
//!
//! | machine | what is taken |
//! |---|---|
//! | a compiler with the target's library, as `rustup target add` installs it | it |
//! | a compiler with the sources of the library, as Debian's packages install them | it; the library is built too |
//! | for Xtensa: the toolchain `esp`, as espup installs it | it; the library is built too |
//!
//! Rust's own way to say so, `RUSTC` and `CARGO`, comes before what the PATH has, and that before rustup's other
//! toolchains.

mod compiler;
mod machine;

use std::path::{Path, PathBuf};

use compiler::Compiler;
pub use machine::Machine;
pub(super) use machine::linker_variable;

use super::board::Board;
use crate::error::{Error, ErrorCode, Hint, Result};

const THEN: &str = crate::text::between_commands(cfg!(windows));

/// The oldest compiler that the firmware can be built with.
pub const OLDEST: (u32, u32) = (1, 95);

/// Where the target's library comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Library {
    /// It is installed.
    Installed,
    /// It is built from its sources, with the firmware.
    FromSources,
}

/// What builds the firmware for one board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// The compiler.
    pub rustc: PathBuf,
    /// The cargo that runs it.
    pub cargo: PathBuf,
    /// The folder that the compiler's own files are in.
    pub sysroot: PathBuf,
    /// The compiler's version, such as `1.96.0`.
    pub version: String,
    /// Where the target's library comes from.
    pub library: Library,
    /// The linker, where it is not the compiler's own.
    pub linker: Option<PathBuf>,
    /// A folder with more programs that the compiler needs.
    pub tools: Option<PathBuf>,
}

impl Toolchain {
    /// The toolchain for `board` on this `machine`, for sources in `directory`: rustup may have been told to use
    /// another compiler there.
    ///
    /// # Errors
    /// `firmware/toolchain`, whose help is the one command that is missing.
    pub fn find(board: Board, machine: &Machine, directory: &Path) -> Result<Self> {
        let target = board.target();
        let compilers = machine.compilers(board, directory);
        let recent = || compilers.iter().filter(|compiler| compiler.is_recent());
        let installed = recent().find(|compiler| compiler.has_library(target));
        let usable = installed.or_else(|| recent().find(|compiler| compiler.has_sources()));
        let Some(compiler) = usable else {
            return Err(Error::new(ErrorCode::FirmwareToolchain, why(board, &compilers))
                .hint(Hint::Install(missing(board, machine, &compilers))));
        };
        let Some(cargo) = machine.cargo_for(compiler, directory) else {
            let message = format!("there is no cargo for {}", crate::text::shown_path(&compiler.rustc));
            return Err(Error::new(ErrorCode::FirmwareToolchain, message)
                .hint(Hint::Install(first_install(machine, target))));
        };
        Ok(Self {
            cargo,
            rustc: compiler.rustc.clone(),
            sysroot: compiler.sysroot.clone(),
            version: compiler.version.clone(),
            library: if installed.is_some() { Library::Installed } else { Library::FromSources },
            linker: linker(board, machine, compiler)?,
            tools: if board.is_xtensa() { machine.xtensa_tools() } else { None },
        })
    }

    /// One line about it, for people.
    pub fn describe(&self) -> String {
        let library = match self.library {
            Library::Installed => "with the target's library",
            Library::FromSources => "with the library's sources",
        };
        format!("rustc {} ({}), {library}", self.version, crate::text::shown_path(&self.rustc))
    }
}

/// The linker to name, if any: the RISC-V targets want `rust-lld`, which not every compiler comes with.
fn linker(board: Board, machine: &Machine, compiler: &Compiler) -> Result<Option<PathBuf>> {
    if board.is_xtensa() || machine.names_linker(board) || compiler.has_linker() {
        return Ok(None);
    }
    machine.linker().map(Some).ok_or_else(|| {
        let message =
            format!("{} comes without the linker rust-lld", crate::text::shown_path(&compiler.rustc));
        let help = if machine.is_debian() {
            "run: sudo apt-get install lld"
        } else if cfg!(target_os = "macos") {
            "run: brew install lld"
        } else {
            "install LLVM's linker lld, so that ld.lld is in the PATH"
        };
        Error::new(ErrorCode::FirmwareToolchain, message).hint(Hint::Install(help.to_owned()))
    })
}

fn why(board: Board, compilers: &[Compiler]) -> String {
    let target = board.target();
    let none = format!("no compiler for {board} ({target})");
    if board.is_xtensa() && compilers.is_empty() {
        return format!("{none}: Espressif's toolchain 'esp' is not there");
    }
    let reasons: Vec<String> = compilers.iter().map(Compiler::lacks).collect();
    match reasons.is_empty() {
        true => format!("{none}: there is no rustc"),
        false => format!("{none}: {}", reasons.join("; ")),
    }
}

/// The one command that is missing.
fn missing(board: Board, machine: &Machine, compilers: &[Compiler]) -> String {
    let target = board.target();
    if board.is_xtensa() {
        return format!("run: cargo install espup --locked{THEN}espup install");
    }
    if !machine.has_rustup() {
        return first_install(machine, target);
    }
    match compilers.iter().any(Compiler::is_recent) {
        true => format!("run: rustup target add {target}"),
        false => {
            format!("run: rustup update stable{THEN}rustup default stable{THEN}rustup target add {target}")
        }
    }
}

fn first_install(machine: &Machine, target: &str) -> String {
    if machine.is_debian() {
        return "run: sudo apt-get install rustc-web cargo-web rust-web-src lld".to_owned();
    }
    format!("install Rust with rustup (https://rustup.rs), then run: rustup target add {target}")
}

#[cfg(all(test, unix))]
mod tests;
