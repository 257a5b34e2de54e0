//! When the tests build the firmware, and what it must not say of the machine that built it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Asks for builds of the firmware; the value `all` for every RISC-V chip and the long runs.
const REQUIRED: &str = "TBPROV_REQUIRE_FIRMWARE";

/// Whether the firmware shall be built.
pub(crate) fn is_required() -> bool {
    std::env::var_os(REQUIRED).is_some()
}

/// Whether all of it shall: every chip, and the long runs.
pub(crate) fn is_all_required() -> bool {
    std::env::var_os(REQUIRED).is_some_and(|required| required == "all")
}

/// The folders of this machine that `program`, whose sources are in `sources`, names.
pub(crate) fn folders_named_in(program: &[u8], sources: &Path) -> Vec<String> {
    let home = std::env::home_dir().unwrap();
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let mut folders = vec![home.join(""), cargo, sources.to_owned(), sources.parent().unwrap().to_owned()];
    // One of these has built it.
    for rustc in ["rustc", "/usr/bin/rustc"] {
        let library = sysroot(rustc).map(|sysroot| sysroot.join("lib/rustlib")).into_iter();
        folders.extend(
            library
                .flat_map(|library| [library.join("src/rust").canonicalize().ok(), Some(library)])
                .flatten(),
        );
    }
    let folders = folders.iter().map(|folder| folder.to_str().unwrap().to_owned());
    folders.filter(|folder| names(program, folder)).collect()
}

fn sysroot(rustc: &str) -> Option<PathBuf> {
    let answer = Command::new(rustc).args(["--print", "sysroot"]).output().ok()?;
    Some(String::from_utf8(answer.stdout).ok()?.trim_end().into())
}

/// Mbed TLS was compiled by others, on a machine of their own.
const OTHERS: &str = "/home/runner/work/mbedtls-rs";

fn names(program: &[u8], folder: &str) -> bool {
    let (folder, others) = (folder.as_bytes(), OTHERS.as_bytes());
    let mut places = program.windows(folder.len()).enumerate().filter(|(_, window)| *window == folder);
    places.any(|(at, _)| !program[at..].starts_with(others))
}
