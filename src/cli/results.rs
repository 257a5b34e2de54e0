//! What several results have in common.

use std::time::Duration;

use serde::{Serialize, Serializer};
use tbprov::server::{Host, Server};

/// A server, and how it was reached.
#[derive(Debug, Serialize)]
pub(super) struct ServerResult {
    pub(super) host: Host,
    pub(super) port: u16,
    /// `TLSv1.2` or `TLSv1.3`; null where there was no connection.
    pub(super) tls: Option<&'static str>,
}

impl ServerResult {
    pub(super) fn new(server: &Server, tls: Option<&'static str>) -> Self {
        Self { host: server.host.clone(), port: server.port, tls }
    }
}

/// A duration in milliseconds, with two decimals.
pub(super) fn milliseconds<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((value.as_secs_f64() * 1e5).round() / 1e2)
}
