//! The firmware, built for QEMU's `virt` board, against the simulator, against mosquitto and against servers that
//! misbehave.
//!
//! Needs a compiler for the board and QEMU, and minutes: run where `TBPROV_REQUIRE_FIRMWARE` is set, else skipped.

#![cfg(feature = "cli")]
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

#[path = "../support/builder.rs"]
mod builder;
mod faults;
mod identity;
mod mosquitto;
#[cfg(unix)]
mod scripts;
mod soak;
#[path = "../support/mod.rs"]
mod support;
mod telemetry;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use support::*;

/// The firmware for the emulated board, built once, where it is asked for.
fn firmware() -> Option<&'static Path> {
    static ELF: OnceLock<PathBuf> = OnceLock::new();
    if !builder::is_required() {
        println!("skipped: TBPROV_REQUIRE_FIRMWARE is not set");
        return None;
    }
    Some(ELF.get_or_init(build))
}

fn build() -> PathBuf {
    let sandbox = Sandbox::new();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware");
    let mut command = sandbox.tbprov(&["firmware", "build", "--json", "--board", "virt"]);
    // The home of the sandbox has neither rustup nor the registry's cache.
    command.env("HOME", std::env::var_os("HOME").unwrap_or_default());
    let built = run(command.arg("--firmware-dir").arg(sources)).done();
    PathBuf::from(built["elf"].as_str().unwrap())
}

/// `tbprov firmware emulate` of a device of the sandbox, with events.
fn emulate(sandbox: &Sandbox, elf: &Path, arguments: &[&str]) -> Command {
    let mut command = sandbox.tbprov(&["firmware", "emulate", "--events", "--device", "sensor"]);
    command.arg("--elf").arg(elf).args(arguments);
    command
}

/// The firmware's log, line by line, of a command that told events.
fn log(ended: &Ran) -> Vec<String> {
    let events = ended.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    events.filter_map(|event| event["line"].as_str().map(str::to_owned)).collect()
}
