//! The run over what is due: claims, retries, what stops it. What happens to one device, and in which order, is
//! [`flow::provision`](crate::flow::provision)'s alone.

mod breaker;
mod engine;
mod failure;
mod plan;
mod report;
mod work;

pub use engine::run;
pub use plan::{DEFAULT_PATIENCE, FleetPlan, Registration};
pub use report::{End, Report};
pub use work::Fleet;
