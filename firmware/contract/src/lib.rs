//! What the `tbprov` tool on the host and the firmware on the chip agree on, each fact once: how an identity is
//! laid out in its flash partition, the telemetry that is sent by default, and the lines of the firmware's log
//! that the tool understands.
#![no_std]

extern crate alloc;

pub mod identity;
pub mod partition;
pub mod report;
pub mod telemetry;
pub mod virt;

pub use identity::{Identity, Wifi};
