//! The flags that name a server and how to believe it.

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::advice;
use super::context::Context;
use tbprov::dial::Dialer;
use tbprov::event::Event;
use tbprov::flow::{DEFAULT_PORT, DEFAULT_TIMEOUT};
use tbprov::ledger::Entry;
use tbprov::server::{Host, Server};
use tbprov::tls::Trust;
use tbprov::{Error, ErrorCode, Result};

/// The server certificate's file in the examples of ThingsBoard's documentation.
const CUSTOMARY_SERVER_CERT: &str = "./mqttserver.pub.pem";

/// How to believe the server, and how long to wait for it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub(super) struct TrustArgs {
    #[command(flatten)]
    pub(super) belief: BeliefArgs,
    /// How long each step may take, such as 15s or 1m [default: 15s].
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout)]
    pub(super) timeout: Option<Duration>,
}

/// How to believe the server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub(super) struct BeliefArgs {
    /// Certificates to believe, PEM: each is a pin, and an authority a trust anchor too [default: ./mqttserver.pub.pem where it
    /// exists, else the system's roots].
    #[arg(long, env = "TBPROV_SERVER_CERT", value_name = "FILE")]
    pub(super) server_cert: Option<PathBuf>,
    /// Do not compare the server's name. Its certificate is checked all the same; with an authority in the file,
    /// any certificate of that authority is then accepted.
    #[arg(long)]
    pub(super) skip_name_check: bool,
}

impl BeliefArgs {
    /// By flag, variable, file, custom, else the system.
    pub(super) fn trust(&self, context: &Context) -> Result<Trust> {
        self.named(context)?.map_or_else(|| self.customary(context), Ok)
    }

    /// What flag, variable or file name, if they do.
    pub(super) fn named(&self, context: &Context) -> Result<Option<Trust>> {
        let path = self.server_cert.as_deref().or(context.config.server_cert.as_deref());
        path.map(|path| Trust::from_file(path, self.skips_name_check(context))).transpose()
    }

    /// What is believed when nothing is named.
    pub(super) fn customary(&self, context: &Context) -> Result<Trust> {
        let customary = Path::new(CUSTOMARY_SERVER_CERT);
        let skip = self.skips_name_check(context);
        if !customary.exists() {
            return Trust::system(skip);
        }
        let trust = Trust::from_file(customary, skip)?;
        let file = customary.to_owned();
        context.progress.event(&Event::FileFound { purpose: "server-cert", file });
        Ok(trust)
    }

    /// The server of a device of the store, believed as the device does unless a certificate is named.
    pub(super) async fn dialer_for(
        &self,
        context: &Context,
        device: &Entry,
        host: Option<Host>,
        port: Option<u16>,
    ) -> Result<Dialer> {
        let record = &device.record;
        let (host, port) = (host.unwrap_or_else(|| record.host.clone()), port.unwrap_or(record.port));
        let is_its_own = host == record.host && port == record.port;
        let mut trust = match &self.server_cert {
            // What a record believes is for its own server alone.
            None if is_its_own => context.ledger.trust(device).await?,
            _ => self.trust(context)?,
        };
        trust.skip_name_check |= self.skip_name_check;
        Ok(Dialer::new(Server { host, port, trust: Arc::new(trust) }, DEFAULT_TIMEOUT))
    }

    pub(super) const fn skips_name_check(&self, context: &Context) -> bool {
        self.skip_name_check || context.config.skip_name_check
    }
}

impl TrustArgs {
    /// See [`BeliefArgs::dialer_for`].
    pub(super) async fn dialer_for(
        &self,
        context: &Context,
        device: &Entry,
        host: Option<Host>,
        port: Option<u16>,
    ) -> Result<Dialer> {
        let timeout = self.timeout(context)?;
        let dialer = self.belief.dialer_for(context, device, host, port).await?;
        Ok(Dialer::new(dialer.server, timeout))
    }

    pub(super) fn timeout(&self, context: &Context) -> Result<Duration> {
        match (self.timeout, &context.config.timeout) {
            (Some(timeout), _) => Ok(timeout),
            (None, Some(text)) => parse_timeout(text).map_err(|why| {
                Error::new(ErrorCode::ConfigInvalid, format!("the configuration's timeout is {why}"))
            }),
            (None, None) => Ok(DEFAULT_TIMEOUT),
        }
    }

    /// The server at `host` and `port`.
    pub(super) fn dialer(&self, context: &Context, host: Host, port: u16) -> Result<Dialer> {
        let server = Server { host, port, trust: Arc::new(self.belief.trust(context)?) };
        Ok(Dialer::new(server, self.timeout(context)?))
    }
}

/// The host by flag (or variable) or file; the file's is checked as the flag's was.
pub(super) fn host_if_named(flag: Option<&Host>, context: &Context) -> Result<Option<Host>> {
    match (flag, &context.config.host) {
        (Some(host), _) => Ok(Some(host.clone())),
        (None, Some(host)) => parse_host(host).map(Some),
        (None, None) => Ok(None),
    }
}

/// The port by flag, file, or default.
pub(super) fn port_or_default(flag: Option<u16>, context: &Context) -> u16 {
    flag.or(context.config.port.map(NonZeroU16::get)).unwrap_or(DEFAULT_PORT)
}

/// A host: a name or an address, without scheme, port or path.
pub(super) fn parse_host(text: &str) -> Result<Host> {
    text.parse()
}

/// A TCP port.
pub(super) fn parse_port(text: &str) -> Result<u16> {
    match text.trim().parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(Error::new(ErrorCode::UsageInvalid, format!("'{text}' is no port (1 to 65535)"))),
    }
}

/// For clap, which wants a plain message.
pub(super) fn clap_host(text: &str) -> Result<Host, String> {
    parse_host(text).map_err(|error| format!("{}; {}", error.message, advice::help(&error)))
}

/// For clap.
pub(super) fn clap_port(text: &str) -> Result<u16, String> {
    parse_port(text).map_err(|error| error.message)
}

pub(super) fn parse_timeout(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        timeout if timeout.is_zero() => Err("zero: nothing could ever answer".to_owned()),
        timeout if timeout > Duration::from_secs(3600) => Err("longer than an hour".to_owned()),
        timeout => Ok(timeout),
    }
}

/// A duration such as `500ms`, `15s` or `1m`; a bare number is seconds.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    match text.trim().parse::<u32>() {
        Ok(seconds) => Ok(Duration::from_secs(u64::from(seconds))),
        Err(_) => humantime::parse_duration(text.trim())
            .map_err(|_| format!("'{text}', not a duration such as 500ms, 15s or 1m")),
    }
}
