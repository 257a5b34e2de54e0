//! What is installed where.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::compiler::{Compiler, linker_in, minor_version, output, program};
use crate::firmware::board::Board;

/// Where compilers are looked for.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    path: Vec<PathBuf>,
    rustc: Option<PathBuf>,
    cargo: Option<PathBuf>,
    rustup_home: Option<PathBuf>,
    /// Targets whose linker the user has named in the environment.
    named_linkers: Vec<String>,
    is_debian: bool,
}

impl Machine {
    /// This machine, as its environment tells.
    pub fn from_environment() -> Self {
        let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let rustup_home =
            variable("RUSTUP_HOME").or_else(|| env::home_dir().map(|home| home.join(".rustup")));
        let names_linker = |board: &Board| env::var_os(linker_variable(board.target())).is_some();
        let named = Board::all().filter(names_linker).map(|board| board.target().to_owned());
        Self {
            path: env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default(),
            rustc: variable("RUSTC"),
            cargo: variable("CARGO"),
            rustup_home,
            named_linkers: named.collect(),
            is_debian: cfg!(target_os = "linux") && Path::new("/etc/debian_version").is_file(),
        }
    }

    /// Every compiler that may serve `board`, the most wanted first, each once.
    pub(super) fn compilers(&self, board: Board, directory: &Path) -> Vec<Compiler> {
        let candidates: Vec<PathBuf> = if board.is_xtensa() {
            self.espressif()
                .map(|toolchain| toolchain.join("bin").join(program("rustc")))
                .into_iter()
                .collect()
        } else {
            let named = self.rustc.clone().into_iter();
            let others = self.toolchains().into_iter().filter(|path| !is_espressif(path));
            named
                .chain(self.all_in_path("rustc"))
                .chain(others.map(|path| path.join("bin").join(program("rustc"))))
                .collect()
        };
        let mut compilers: Vec<Compiler> = Vec::new();
        for rustc in candidates {
            if let Some(compiler) = Compiler::ask(&rustc, directory)
                && !compilers.iter().any(|known| known.sysroot == compiler.sysroot)
            {
                compilers.push(compiler);
            }
        }
        compilers
    }

    /// The cargo for a compiler: one of the same version where there is one, since it may build the library.
    pub(super) fn cargo_for(&self, compiler: &Compiler, directory: &Path) -> Option<PathBuf> {
        let beside = compiler.rustc.with_file_name(program("cargo"));
        let candidates = self.cargo.clone().into_iter().chain([beside]).chain(self.all_in_path("cargo"));
        let candidates: Vec<_> = candidates.filter(|path| path.is_file()).collect();
        let wanted = minor_version(&compiler.version);
        let same = |cargo: &&PathBuf| {
            let text = output(cargo, &["--version"], directory).unwrap_or_default();
            wanted.is_some() && text.split(' ').nth(1).and_then(minor_version) == wanted
        };
        candidates.iter().find(same).or_else(|| candidates.first()).cloned()
    }

    /// A linker for RISC-V that is not a compiler's own.
    pub(super) fn linker(&self) -> Option<PathBuf> {
        let rustup = || self.toolchains().iter().find_map(|sysroot| any_linker_in(sysroot));
        let in_path = |name| self.all_in_path(name).next();
        in_path("rust-lld").or_else(rustup).or_else(|| in_path("ld.lld"))
    }

    /// Whether the user has chosen the linker already.
    pub(super) fn names_linker(&self, board: Board) -> bool {
        self.named_linkers.iter().any(|target| target == board.target())
    }

    /// Where espup puts the GCC that links for Xtensa.
    pub(super) fn xtensa_tools(&self) -> Option<PathBuf> {
        let versions = self.espressif()?.join("xtensa-esp-elf");
        folders(&versions)
            .into_iter()
            .map(|version| version.join("xtensa-esp-elf/bin"))
            .find(|path| path.is_dir())
    }

    pub(super) fn has_rustup(&self) -> bool {
        self.all_in_path("rustup").next().is_some()
    }

    pub(super) const fn is_debian(&self) -> bool {
        self.is_debian
    }

    /// The first `name` in the PATH.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        self.all_in_path(name).next()
    }

    fn all_in_path(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        let name = program(name);
        self.path.iter().map(move |folder| folder.join(&name)).filter(|path| path.is_file())
    }

    /// Every toolchain of rustup, in the order of their names, the stable one first.
    fn toolchains(&self) -> Vec<PathBuf> {
        let Some(home) = &self.rustup_home else { return Vec::new() };
        let mut toolchains = folders(&home.join("toolchains"));
        toolchains.sort_by_key(|path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            (!name.starts_with("stable"), name)
        });
        toolchains
    }

    fn espressif(&self) -> Option<PathBuf> {
        self.toolchains().into_iter().find(|path| is_espressif(path))
    }
}

#[cfg(all(test, unix))]
impl Machine {
    /// A machine that has nothing but these.
    pub(super) fn of(path: &[&Path], rustup_home: Option<&Path>, is_debian: bool) -> Self {
        Self {
            path: path.iter().map(|folder| (*folder).to_owned()).collect(),
            rustup_home: rustup_home.map(Path::to_owned),
            is_debian,
            ..Self::default()
        }
    }
}

/// The variable by which cargo is told a target's linker.
pub(in crate::firmware) fn linker_variable(target: &str) -> String {
    format!("CARGO_TARGET_{}_LINKER", target.to_ascii_uppercase().replace('-', "_"))
}

fn is_espressif(toolchain: &Path) -> bool {
    toolchain.file_name().is_some_and(|name| name == "esp")
}

fn any_linker_in(sysroot: &Path) -> Option<PathBuf> {
    let hosts = folders(&sysroot.join("lib/rustlib"));
    hosts.iter().find_map(|host| linker_in(sysroot, &host.file_name()?.to_string_lossy()))
}

/// The folders in a folder, in the order of their names.
fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut folders: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}
