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

mod account;
mod adoption;
mod arguments;
mod authorities;
#[path = "../support/broker.rs"]
mod broker;
mod chain;
mod confirm;
mod documentation;
mod endings;
mod faults;
mod files;
mod firmware;
#[cfg(feature = "fleet")]
mod fleet_import;
#[cfg(all(feature = "fleet", unix))]
mod fleet_kills;
#[cfg(feature = "fleet")]
mod fleet_run;
#[cfg(feature = "fleet")]
mod fleet_views;
mod folder;
mod given;
mod hosts;
#[cfg(feature = "fleet")]
mod in_ledger;
mod kinds;
mod limits;
mod output;
mod pasted;
mod profiles;
mod proof;
mod proxies;
#[path = "../support/proxy.rs"]
mod proxy;
mod readings;
mod refusals;
mod remove;
mod renewal;
mod reruns;
mod rotate;
mod rotate_account;
mod rotated;
mod secrets;
mod server_device;
mod server_register;
mod servers;
mod simulator;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod telemetry;
mod trust;
#[path = "../support/web.rs"]
mod web;
mod wishes;
