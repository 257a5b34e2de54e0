//! The decision, on machines made of folders and of scripts that answer as compilers do.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::firmware::Chip;

const HOST: &str = "x86_64-unknown-linux-gnu";
const C3: &str = "riscv32imc-unknown-none-elf";

/// A folder that holds a whole machine.
struct Fake(tempfile::TempDir);

impl Fake {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn folder(&self, name: &str) -> &Self {
        fs::create_dir_all(self.path(name)).unwrap();
        self
    }

    /// Put in place by another process: a file that this one had open for writing cannot be run while another
    /// test's child still has it.
    #[allow(clippy::disallowed_methods, reason = "a test's own file")]
    fn program(&self, name: &str, script: &str) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = self.path("script");
        fs::write(&text, format!("#!/bin/sh\n{script}\n")).unwrap();
        let installed = Command::new("install").args(["-m", "755"]).args([&text, &path]).status().unwrap();
        assert!(installed.success());
        self
    }

    /// `bin/rustc` and `bin/cargo` in `sysroot`.
    fn compiler(&self, sysroot: &str, version: &str) -> &Self {
        let root = self.path(sysroot).display().to_string();
        let answer = format!(
            "case \"$1\" in -vV) printf 'rustc {version}\\nhost: {HOST}\\nrelease: {version}\\n';; *) echo {root};; esac"
        );
        self.program(&format!("{sysroot}/bin/rustc"), &answer);
        self.program(&format!("{sysroot}/bin/cargo"), &format!("echo 'cargo {version} (x)'"))
    }

    fn library(&self, sysroot: &str) -> &Self {
        self.folder(&format!("{sysroot}/lib/rustlib/{C3}/lib"))
    }

    fn sources(&self, sysroot: &str) -> &Self {
        self.folder(&format!("{sysroot}/lib/rustlib/src/rust/library/core"))
    }

    fn linker(&self, sysroot: &str) -> &Self {
        self.program(&format!("{sysroot}/lib/rustlib/{HOST}/bin/rust-lld"), "")
    }

    fn machine(&self, path: &[&str], is_debian: bool) -> Machine {
        let path: Vec<_> = path.iter().map(|folder| self.path(folder)).collect();
        let path: Vec<&Path> = path.iter().map(PathBuf::as_path).collect();
        Machine::of(&path, Some(&self.path("rustup")), is_debian)
    }

    fn find(&self, board: impl Into<Board>, path: &[&str], is_debian: bool) -> Result<Toolchain> {
        Toolchain::find(board.into(), &self.machine(path, is_debian), self.0.path())
    }

    #[track_caller]
    fn help(&self, board: impl Into<Board>, path: &[&str], is_debian: bool) -> String {
        let error = self.find(board, path, is_debian).unwrap_err();
        assert_eq!(error.code, ErrorCode::FirmwareToolchain);
        match error.hint {
            Some(Hint::Install(help)) => help,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_installed_target_is_taken_before_sources() {
    let fake = Fake::new();
    fake.compiler("a", "1.96.0").sources("a").linker("a");
    fake.compiler("b", "1.95.0").library("b").linker("b");
    let found = fake.find(Chip::Esp32C3, &["a/bin", "b/bin"], false).unwrap();
    assert_eq!((found.rustc, found.library), (fake.path("b/bin/rustc"), Library::Installed));
    assert_eq!(found.cargo, fake.path("b/bin/cargo"));
    assert_eq!(found.linker, None);
}

#[test]
fn another_target_of_the_same_compiler_is_not_installed() {
    let fake = Fake::new();
    fake.compiler("a", "1.96.0").library("a").linker("a").program("tools/rustup", "");
    let help = fake.help(Chip::Esp32C6, &["a/bin", "tools"], false);
    assert_eq!(help, "run: rustup target add riscv32imac-unknown-none-elf");
}

#[test]
fn sources_without_their_own_linker_borrow_one() {
    let fake = Fake::new();
    fake.compiler("usr", "1.96.0").sources("usr").compiler("rustup/toolchains/stable", "1.95.0");
    fake.linker("rustup/toolchains/stable");
    let found = fake.find(Board::Virt, &["rustup/toolchains/stable/bin", "usr/bin"], true).unwrap();
    assert_eq!((found.rustc, found.library), (fake.path("usr/bin/rustc"), Library::FromSources));
    assert_eq!(found.cargo, fake.path("usr/bin/cargo"));
    let lld = fake.path(&format!("rustup/toolchains/stable/lib/rustlib/{HOST}/bin/rust-lld"));
    assert_eq!(found.linker, Some(lld));
}

#[test]
fn debians_linker_serves_as_well_and_is_asked_for() {
    let fake = Fake::new();
    fake.compiler("usr", "1.96.0").sources("usr");
    assert_eq!(fake.help(Chip::Esp32C3, &["usr/bin"], true), "run: sudo apt-get install lld");
    fake.program("usr/bin/ld.lld", "");
    let found = fake.find(Chip::Esp32C3, &["usr/bin"], true).unwrap();
    assert_eq!(found.linker, Some(fake.path("usr/bin/ld.lld")));
}

#[test]
fn a_toolchain_of_rustup_that_is_not_the_default_is_found() {
    let fake = Fake::new();
    fake.compiler("rustup/toolchains/nightly", "1.97.0-nightly").library("rustup/toolchains/nightly");
    fake.linker("rustup/toolchains/nightly").compiler("rustup/toolchains/stable", "1.95.0");
    let found = fake.find(Chip::Esp32C2, &["rustup/toolchains/stable/bin"], false).unwrap();
    assert_eq!(found.version, "1.97.0-nightly");
}

#[test]
fn what_is_missing_is_one_command() {
    let fake = Fake::new();
    assert_eq!(
        fake.help(Chip::Esp32C3, &["nowhere"], true),
        "run: sudo apt-get install rustc-web cargo-web rust-web-src lld"
    );
    assert!(fake.help(Chip::Esp32C3, &["nowhere"], false).contains("rustup.rs"));
    fake.compiler("old", "1.85.0").sources("old").library("old");
    let error = fake.find(Chip::Esp32C3, &["old/bin"], true).unwrap_err();
    assert!(error.message.contains("older than 1.95"), "{}", error.message);
    fake.program("tools/rustup", "");
    assert!(fake.help(Chip::Esp32C3, &["old/bin", "tools"], true).starts_with("run: rustup update"));
    fake.compiler("new", "1.95.0");
    assert_eq!(
        fake.help(Chip::Esp32C3, &["new/bin", "tools"], true),
        "run: rustup target add riscv32imc-unknown-none-elf"
    );
}

#[test]
fn xtensa_needs_espressifs_own() {
    let fake = Fake::new();
    fake.compiler("usr", "1.96.0").sources("usr").linker("usr");
    assert!(fake.help(Chip::Esp32S3, &["usr/bin"], true).contains("espup install"));
    fake.compiler("rustup/toolchains/esp", "1.95.0-nightly").sources("rustup/toolchains/esp");
    fake.folder("rustup/toolchains/esp/xtensa-esp-elf/esp-15/xtensa-esp-elf/bin");
    let found = fake.find(Chip::Esp32, &["usr/bin"], true).unwrap();
    assert_eq!(found.rustc, fake.path("rustup/toolchains/esp/bin/rustc"));
    assert!(found.tools.is_some());
    // It knows RISC-V too, but is not taken for it.
    assert_eq!(fake.find(Chip::Esp32C3, &["usr/bin"], true).unwrap().rustc, fake.path("usr/bin/rustc"));
}

#[test]
fn what_does_not_run_is_no_compiler() {
    let fake = Fake::new();
    fake.program("bin/rustc", "exit 1");
    let error = fake.find(Chip::Esp32C3, &["bin"], true).unwrap_err();
    assert!(error.message.ends_with("there is no rustc"), "{}", error.message);
}
