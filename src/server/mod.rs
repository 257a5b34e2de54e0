//! A server: its host and port, and what authenticates it. What is spoken with it is the matter of others.

mod host;

use std::fmt;
use std::sync::Arc;

pub use host::{Host, HostAndPort};

use crate::tls::Trust;

/// A server, and how to believe it.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its name or address.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// What authenticates it.
    pub trust: Arc<Trust>,
}

impl Server {
    /// Whether both are the same host and port.
    pub fn is_at(&self, host: &Host, port: u16) -> bool {
        self.host == *host && self.port == port
    }
}

impl fmt::Display for Server {
    /// `host:port`, an IPv6 address in brackets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.with_port(self.port).fmt(formatter)
    }
}
