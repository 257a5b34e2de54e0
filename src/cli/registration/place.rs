//! The server where devices are registered.

use std::num::NonZeroU16;

use clap::Args;

use super::super::context::Context;
use super::super::server_args::{clap_host, clap_port, host_if_named, parse_host, parse_port};
use super::questions::{HOST, PORT};
use tbprov::Result;
use tbprov::flow::{DEFAULT_HOST, DEFAULT_PORT};
use tbprov::server::Host;

/// Where the server is. What is missing is asked for.
#[derive(Debug, Args)]
pub(in crate::cli) struct PlaceArgs {
    /// The server.
    #[arg(long, env = "TBPROV_HOST", value_name = "HOST", value_parser = clap_host)]
    host: Option<Host>,
    /// Its port of MQTT over TLS [default: 8883].
    #[arg(long, env = "TBPROV_PORT", value_name = "PORT", value_parser = clap_port)]
    port: Option<u16>,
}

impl PlaceArgs {
    pub(in crate::cli) async fn host(&self, context: &Context) -> Result<Host> {
        match host_if_named(self.host.as_ref(), context)? {
            Some(host) => Ok(host),
            None => HOST.ask_like(context, DEFAULT_HOST, parse_host).await,
        }
    }

    pub(in crate::cli) async fn port(&self, context: &Context) -> Result<u16> {
        match self.port.or(context.config.port.map(NonZeroU16::get)) {
            Some(port) => Ok(port),
            None if context.may_ask => PORT.ask(context, Some(&DEFAULT_PORT.to_string()), parse_port).await,
            None => Ok(DEFAULT_PORT),
        }
    }
}
