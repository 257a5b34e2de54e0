//! MQTT 3.1.1 over TLS: the only user of the MQTT client crate. Every wait has a deadline, and every end of
//! a connection becomes an [`Error`](crate::Error) that says what to do.

mod connack;
mod dial;
mod failure;
mod session;

pub use dial::{Link, dial, open_tcp, peer_certificates, resolve, start_tls};
pub use session::{IN_FLIGHT, Incoming, Login, Session};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::tls::Trust;

/// The largest MQTT remaining length that ThingsBoard accepts or sends, in bytes: the default of
/// `NETTY_MAX_PAYLOAD_SIZE` in thingsboard.yml.
pub const LARGEST_PACKET: usize = 65_536;

/// A server and how to believe it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Host name or IP address.
    pub host: String,
    /// The port of MQTT over TLS.
    pub port: u16,
    /// What authenticates the server.
    pub trust: Arc<Trust>,
    /// How long each step may take.
    pub timeout: Duration,
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(formatter, "[{}]:{}", self.host.trim_matches(['[', ']']), self.port);
        }
        write!(formatter, "{}:{}", self.host, self.port)
    }
}
