//! The provisioning conversation: a request and its answer, over a connection without a client certificate.

mod message;
mod run;
mod sessions;

pub(crate) use message::malformed;
pub use message::{Answer, ProvisionRequest, Status, Value};
pub use run::{Reply, run};
pub use sessions::Sessions;
