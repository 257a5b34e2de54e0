//! What several results have in common.

use serde::Serialize;

use tbprov::server::{Host, Server};

/// The server in a result.
#[derive(Debug, Serialize)]
pub(super) struct ServerResult {
    pub(super) host: Host,
    pub(super) port: u16,
}

impl ServerResult {
    pub(super) fn new(server: &Server) -> Self {
        Self { host: server.host.clone(), port: server.port }
    }
}
