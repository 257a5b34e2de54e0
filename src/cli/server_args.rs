//! The flags that name a server and how to believe it.

use std::convert::Infallible;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::advice;
use super::context::Context;
use tbprov::dial::{Dialer, Proxy};
use tbprov::event::Event;
use tbprov::flow::{self, DEFAULT_PORT, DEFAULT_TIMEOUT, Prover};
use tbprov::ledger::Entry;
use tbprov::server::{Host, Server};
use tbprov::text::shown;
use tbprov::tls::Trust;
use tbprov::{Error, ErrorCode, Result, Secret};

/// The variable of the proxy.
const PROXY: &str = "TBPROV_PROXY";

/// The server certificate's file in the examples of ThingsBoard's documentation.
const CUSTOMARY_SERVER_CERT: &str = "./mqttserver.pub.pem";

/// How to believe the server, and how long to wait for it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub(super) struct TrustArgs {
    #[command(flatten)]
    pub(super) belief: BeliefArgs,
    /// How long each step may take, such as 15s or 1m [default: 15s; 21s for the answer to a provision request].
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout)]
    pub(super) timeout: Option<Duration>,
    #[command(flatten)]
    pub(super) proxy: ProxyArgs,
}

/// What connections go through.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub(super) struct ProxyArgs {
    /// Connect through this proxy: http://[user:password@]host:port (HTTP CONNECT) or
    /// socks5h://[user:password@]host:port (SOCKS5); an empty one is none. The proxy resolves the server's name.
    #[arg(long, env = PROXY, hide_env_values = true, value_name = "URL", value_parser = secret)]
    proxy: Option<Secret>,
}

impl ProxyArgs {
    /// By flag, variable or file; an empty one is none.
    pub(super) fn proxy(&self, context: &Context) -> Result<Option<Proxy>> {
        let (url, source, code) = match (&self.proxy, &context.config.proxy) {
            (Some(url), _) => (url, given_by(url), ErrorCode::UsageInvalid),
            (None, Some(url)) => (url, "the configuration", ErrorCode::ConfigInvalid),
            (None, None) => return Ok(None),
        };
        if url.expose().trim().is_empty() {
            return Ok(None);
        }
        url.expose().parse().map(Some).map_err(|mut error: Error| {
            error.message = format!("{source}: {}", error.message);
            error.code = code;
            error
        })
    }
}

/// clap does not tell flag and variable apart.
fn given_by(url: &Secret) -> &'static str {
    if std::env::var(PROXY).is_ok_and(|text| text == url.expose()) { PROXY } else { "--proxy" }
}

/// For clap, whose messages would quote a value that is not taken.
fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}

/// How to believe the server.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server")]
pub(super) struct BeliefArgs {
    /// Trusted certificates (PEM). Each is a pin; an authority is also a trust anchor [default: ./mqttserver.pub.pem if
    /// it exists, else the system's roots].
    #[arg(long, env = "TBPROV_SERVER_CERT", value_name = "FILE")]
    pub(super) server_cert: Option<PathBuf>,
    /// Do not compare the server's name. The certificate is still checked. With an authority in the file,
    /// every certificate of that authority is then accepted.
    #[arg(long)]
    pub(super) skip_name_check: bool,
}

impl BeliefArgs {
    /// The trust from the flag, the variable or `tbprov.toml`, else from `./mqttserver.pub.pem`, else the system's roots.
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

    /// See [`flow::check_name_again`]; not where this run was told to skip it.
    pub(super) async fn check_name_again(&self, context: &Context, device: Entry, prover: &Prover) -> Entry {
        if self.skips_name_check(context) || context.interrupt.is_cancelled() {
            return device;
        }
        flow::check_name_again(device, &prover.dialer, &*context.ledger, &context.progress).await
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
        let (timeout, proxy) = (self.timeout(context)?, self.proxy.proxy(context)?);
        let dialer = self.belief.dialer_for(context, device, host, port).await?;
        Ok(Dialer::new(dialer.server, timeout).through(proxy))
    }

    /// The time of each step.
    pub(super) fn timeout(&self, context: &Context) -> Result<Duration> {
        timeout_or_default(self.timeout, context)
    }

    /// The time that flag or file name, which is that of every step.
    pub(super) fn named_timeout(&self, context: &Context) -> Result<Option<Duration>> {
        named_timeout(self.timeout, context)
    }

    /// The server at `host` and `port`.
    pub(super) fn dialer(&self, context: &Context, host: Host, port: u16) -> Result<Dialer> {
        let server = Server { host, port, trust: Arc::new(self.belief.trust(context)?) };
        Ok(Dialer::new(server, self.timeout(context)?).through(self.proxy.proxy(context)?))
    }
}

/// The time that flag or file name.
fn named_timeout(flag: Option<Duration>, context: &Context) -> Result<Option<Duration>> {
    match (flag, &context.config.timeout) {
        (Some(timeout), _) => Ok(Some(timeout)),
        (None, Some(text)) => parse_timeout(text).map(Some).map_err(|why| {
            Error::new(ErrorCode::ConfigInvalid, format!("the configuration's timeout is {why}"))
        }),
        (None, None) => Ok(None),
    }
}

/// The time of each step, by flag, file, or default.
pub(super) fn timeout_or_default(flag: Option<Duration>, context: &Context) -> Result<Duration> {
    Ok(named_timeout(flag, context)?.unwrap_or(DEFAULT_TIMEOUT))
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
        _ => Err(Error::new(ErrorCode::UsageInvalid, format!("'{}' is no port (1 to 65535)", shown(text)))),
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
            .map_err(|_| format!("'{}', not a duration such as 500ms, 15s or 1m", shown(text))),
    }
}
