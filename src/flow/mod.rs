//! What a run does, and in which order.

mod plan;
mod provision;
pub mod verify;

pub use plan::*;
pub use provision::{Outcome, Provisioned, Timings, provision, record_proof};
