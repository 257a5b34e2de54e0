//! MQTT 3.1.1 over TLS. Every wait has a deadline, and every end of a connection becomes an
//! [`Error`](crate::Error) that says what to do.

mod failure;
mod session;
mod wire;

pub use session::{IN_FLIGHT, Incoming, Login, Session};

/// The largest MQTT remaining length that ThingsBoard accepts or sends, in bytes: the default of
/// `NETTY_MAX_PAYLOAD_SIZE` in thingsboard.yml.
pub const LARGEST_PACKET: usize = 65_536;
