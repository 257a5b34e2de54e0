//! What a run does, and in which order.

mod identity;
mod plan;
mod provision;
pub mod verify;

pub use identity::{NewIdentity, new_identity};
pub use plan::*;
pub use provision::{Outcome, Provisioned, Timings, provision, record_proof};
