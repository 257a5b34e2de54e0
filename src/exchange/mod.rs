//! The provisioning conversation: one request, one answer, over one connection without a client certificate.

mod message;
mod run;

pub use message::{Answer, ProvisionRequest, Status, Value};
pub(crate) use message::malformed;
pub use run::{Outcome, run};
