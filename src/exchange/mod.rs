//! The provisioning conversation: one request, one answer, over one connection without a client certificate.

mod message;
mod run;

pub(crate) use message::malformed;
pub use message::{Answer, ProvisionRequest, Status, Value};
pub use run::{Reply, run};
