//! What the command says, word for word: each help, each result and each error, compared with `snapshots/`.
//!
//! `SNAPSHOTS=overwrite cargo test --test golden` writes them anew; the difference is what a reviewer reads.

#![cfg(feature = "cli")]
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]
#![cfg_attr(not(unix), allow(dead_code, reason = "paths and signals are Unix's in all but the help"))]

mod help;
mod redactions;
mod reference;
mod snapshot;

#[cfg(unix)]
mod account;
#[cfg(unix)]
#[path = "../support/broker.rs"]
mod broker;
#[cfg(unix)]
mod chain;
#[cfg(unix)]
mod coverage;
#[cfg(unix)]
mod errors;
#[cfg(unix)]
mod firmware;
#[cfg(all(unix, feature = "fleet"))]
mod ledgers;
#[cfg(all(unix, feature = "fleet"))]
mod manifests;
#[cfg(unix)]
mod place;
#[cfg(unix)]
mod results;
#[cfg(unix)]
mod rotate;
#[cfg(target_os = "linux")]
mod session;

#[cfg(unix)]
#[path = "../support/web.rs"]
mod web;

#[path = "../support/mod.rs"]
mod support;
