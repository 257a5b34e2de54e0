//! Gives IoT devices an X.509 identity in ThingsBoard. (Expanded below.)

pub mod error;
pub mod identity;
pub mod secret;
pub mod sim;

pub use error::{Error, ErrorCode, ErrorKind, Result, Step};
pub use secret::Secret;
