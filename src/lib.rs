//! Gives IoT devices an X.509 identity in ThingsBoard. (Expanded below.)

pub mod doctor;
pub mod error;
pub mod event;
pub mod exchange;
pub mod identity;
pub mod mqtt;
pub mod pipeline;
pub mod plan;
pub mod secret;
pub mod state;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod verify;

pub use error::{Error, ErrorCode, ErrorKind, Result, Step};
pub use secret::Secret;
pub use state::State;
