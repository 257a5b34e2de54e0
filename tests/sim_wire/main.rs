//! The simulator from outside: bytes on sockets, release by release, fault by fault.

#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod answers;
mod chain;
mod client;
mod devices;
mod faults;
mod http;
mod limits;
mod peers;
mod provisioning;
mod rest;
mod rest_answers;
mod rest_faults;
mod slow;
mod stores;
mod tls;
