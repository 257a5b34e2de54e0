//! The command from outside: exit codes, error codes, steps, JSON and files, against the simulator.

#![cfg(feature = "cli")]
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod adoption;
mod arguments;
mod authorities;
#[path = "../support/broker.rs"]
mod broker;
mod chain;
mod documentation;
mod endings;
mod faults;
mod files;
mod firmware;
mod folder;
mod given;
mod hosts;
mod kinds;
mod limits;
mod output;
mod pasted;
mod proof;
mod proxies;
#[path = "../support/proxy.rs"]
mod proxy;
mod readings;
mod refusals;
mod remove;
mod renewal;
mod reruns;
mod rotated;
mod secrets;
mod servers;
mod simulator;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod telemetry;
mod trust;
mod wishes;
