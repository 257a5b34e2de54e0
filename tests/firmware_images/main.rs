//! Images for the chips, really built, and identity partitions, both against Espressif's own tools.
//!
//! They take minutes, a compiler for the chips and Python with `esptool` and `esp-idf-nvs-partition-gen`
//! (`TBPROV_PYTHON`, else `python3`). What is missing is told in one line, and is a failure where
//! `TBPROV_REQUIRE_FIRMWARE` is set; the builds run only then. With the value `all` they are of every RISC-V chip.

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
mod images;
mod nvs;
#[path = "../support/mod.rs"]
mod support;

use std::process::Command;

use builder::{is_all_required, is_required};
use support::*;

/// The Python that has `module`.
fn python_with(module: &str) -> Option<String> {
    let python = std::env::var("TBPROV_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let import = Command::new(&python).args(["-c", &format!("import {module}")]).output();
    let found = import.is_ok_and(|import| import.status.success());
    if !found {
        assert!(!is_required(), "{python} has no {module}");
        println!("skipped: {python} has no {module}");
    }
    found.then_some(python)
}

/// Runs a foreign program, which must succeed; what it said on both streams.
#[track_caller]
fn say(sandbox: &Sandbox, program: &str, arguments: &[&str]) -> String {
    let ended = run(sandbox.command(program).args(arguments));
    assert_eq!(ended.code, Some(0), "{program} {arguments:?}: {ended:?}");
    ended.stdout + &ended.stderr
}
