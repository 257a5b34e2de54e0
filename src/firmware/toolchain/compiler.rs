//! One `rustc`, and what it comes with.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::OLDEST;
use crate::firmware::program::without_our_variables;

/// A compiler that answered.
#[derive(Debug)]
pub(super) struct Compiler {
    pub(super) rustc: PathBuf,
    pub(super) version: String,
    pub(super) sysroot: PathBuf,
    host: String,
}

impl Compiler {
    /// What `rustc` says of itself when it is run in `directory`; nothing where it does not run.
    pub(super) fn ask(rustc: &Path, directory: &Path) -> Option<Self> {
        let about = output(rustc, &["-vV"], directory)?;
        let field = |name: &str| about.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let sysroot = output(rustc, &["--print", "sysroot"], directory)?;
        Some(Self {
            rustc: rustc.to_owned(),
            version: field("release: ")?,
            host: field("host: ")?,
            sysroot: sysroot.trim_end().into(),
        })
    }

    pub(super) fn is_recent(&self) -> bool {
        minor_version(&self.version).is_some_and(|version| version >= OLDEST)
    }

    /// Whether the library for `target` is installed.
    pub(super) fn has_library(&self, target: &str) -> bool {
        self.rustlib().join(target).join("lib").is_dir()
    }

    /// Whether the library's sources are installed.
    pub(super) fn has_sources(&self) -> bool {
        self.rustlib().join("src/rust/library/core").is_dir()
    }

    /// Whether it comes with the linker of the RISC-V targets.
    pub(super) fn has_linker(&self) -> bool {
        linker_in(&self.sysroot, &self.host).is_some()
    }

    /// Why it cannot build the firmware.
    pub(super) fn lacks(&self) -> String {
        let what = if self.is_recent() {
            "has neither the target's library nor the library's sources".to_owned()
        } else {
            format!("is older than {}.{}", OLDEST.0, OLDEST.1)
        };
        format!("rustc {} ({}) {what}", self.version, crate::text::shown_path(&self.sysroot))
    }

    fn rustlib(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib")
    }
}

/// The `rust-lld` of a toolchain.
pub(super) fn linker_in(sysroot: &Path, host: &str) -> Option<PathBuf> {
    let path = sysroot.join("lib/rustlib").join(host).join("bin").join(program("rust-lld"));
    path.is_file().then_some(path)
}

/// The first two numbers of a version.
pub(super) fn minor_version(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// What a program prints, if it ends well.
pub(super) fn output(program: &Path, arguments: &[&str], directory: &Path) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).stdin(Stdio::null()).stderr(Stdio::null());
    let output =
        without_our_variables(&mut command).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// A program's file name on this system.
pub(super) fn program(name: &str) -> String {
    format!("{name}{}", std::env::consts::EXE_SUFFIX)
}
