//! Foreign implementations read what `tbprov` makes, and talk to it, where they are installed.
//!
//! A missing one is told in one line, and is a failure where `TBPROV_REQUIRE_PEERS` is set.

#![cfg(feature = "cli")]
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod certificates;
mod issuing;
mod keys;
mod kinds;
mod mosquitto;
mod proxies;
#[cfg(unix)]
mod readme;
mod server;
#[path = "../support/mod.rs"]
mod support;
mod tls;

use support::peers::*;
use support::*;

/// Every type of key that `tbprov` makes.
const KEY_TYPES: [&str; 6] = ["ec-p256", "ec-p384", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096"];

/// Runs a foreign program, which must succeed; what it said on both streams.
#[track_caller]
fn say(sandbox: &Sandbox, program: &str, arguments: &[&str]) -> String {
    let ended = run(sandbox.command(program).args(arguments));
    assert_eq!(ended.code, Some(0), "{program} {arguments:?}: {ended:?}");
    ended.stdout + &ended.stderr
}

/// Runs a foreign program, which must fail; what it said on both streams.
#[track_caller]
fn fail(sandbox: &Sandbox, program: &str, arguments: &[&str]) -> String {
    let ended = run(sandbox.command(program).args(arguments));
    assert_ne!(ended.code, Some(0), "{program} {arguments:?}: {ended:?}");
    ended.stdout + &ended.stderr
}
