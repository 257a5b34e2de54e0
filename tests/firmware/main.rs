//! The firmware, built for QEMU's `virt` board, against the simulator, against mosquitto and against servers that
//! misbehave.
//!
//! Needs a compiler for the board and QEMU. Where one is missing it is told in one line, and is a failure where
//! `TBPROV_REQUIRE_FIRMWARE` is set.

#![cfg(feature = "cli")]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod faults;
mod identity;
mod mosquitto;
mod soak;
#[path = "../support/mod.rs"]
mod support;
mod telemetry;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use support::*;

/// The firmware for the emulated board, built once, if it can be built and emulated here.
fn firmware() -> Option<&'static Path> {
    static ELF: OnceLock<Option<PathBuf>> = OnceLock::new();
    ELF.get_or_init(|| peers_of_firmware().then(build).flatten()).as_deref()
}

fn is_required() -> bool {
    std::env::var_os("TBPROV_REQUIRE_FIRMWARE").is_some()
}

fn peers_of_firmware() -> bool {
    let found = Command::new("qemu-system-riscv32").arg("--version").output().is_ok();
    assert!(found || !is_required(), "QEMU is not installed");
    if !found {
        println!("skipped: qemu-system-riscv32 is not installed");
    }
    found
}

fn build() -> Option<PathBuf> {
    let sandbox = Sandbox::new();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware");
    let mut command = sandbox.tbprov(&["firmware", "build", "--json", "--board", "virt"]);
    // The home of the sandbox has neither rustup nor the registry's cache.
    command.env("HOME", std::env::var_os("HOME").unwrap_or_default());
    let built = run(command.arg("--firmware-dir").arg(sources));
    if built.code != Some(0) && built.json()["error"]["code"] == "firmware/toolchain" && !is_required() {
        println!("skipped: {}", built.json()["error"]["message"]);
        return None;
    }
    Some(PathBuf::from(built.succeeded()["elf"].as_str().unwrap()))
}

/// `tbprov firmware emulate` of a device of the sandbox, with events.
fn emulate(sandbox: &Sandbox, elf: &Path, arguments: &[&str]) -> Command {
    let mut command = sandbox.tbprov(&["firmware", "emulate", "--events", "--device", "sensor"]);
    command.arg("--elf").arg(elf).args(arguments);
    command
}

/// The firmware's log, line by line, of a command that told events.
fn log(ended: &Ended) -> Vec<String> {
    let events = ended.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    events.filter_map(|event| event["line"].as_str().map(str::to_owned)).collect()
}
