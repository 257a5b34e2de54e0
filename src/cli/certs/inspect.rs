//! `tbprov certs inspect`

use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustls_pki_types::CertificateDer;
use serde::Serialize;

use super::super::context::Context;
use super::super::new_file::refuse_existing;
use super::super::server_args::{ProxyArgs, parse_port, parse_timeout};
use tbprov::dial::Dialer;
use tbprov::error::Hint;
use tbprov::files::{self, Access};
use tbprov::flow::{DEFAULT_PORT, DEFAULT_TIMEOUT};
use tbprov::identity::{Certificate, PublicKeyKind, read_each, sha256_hex};
use tbprov::keys::pem;
use tbprov::server::{Host, Server};
use tbprov::text::shown_path;
use tbprov::tls::{SOON, Trust, TrustSource};
use tbprov::{Error, ErrorCode, Result, Step};

/// Show what is in a certificate file, or what a server presents.
#[derive(Debug, Args)]
pub(in crate::cli) struct InspectArgs {
    /// A PEM file, or HOST:PORT.
    #[arg(value_name = "FILE|HOST:PORT")]
    what: String,
    /// Save the server's certificate from HOST:PORT in this file, for --server-cert. Compare its SHA-256 with the server's
    /// administrator first: nothing has proved yet that this is the right server.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// How long each step may take, such as 15s or 1m [default: 15s].
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout)]
    timeout: Option<Duration>,
    #[command(flatten)]
    proxy: ProxyArgs,
}

impl InspectArgs {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<ExitCode> {
        self.save.as_deref().map_or(Ok(()), refuse_existing)?;
        let (chain, server) = match self.server() {
            Some((host, port)) => {
                let presented =
                    self.dialer(context, host, port)?.peer_certificates(&context.progress).await?;
                let seen = Seen { tls: presented.tls_version, proved: presented.is_proved };
                (presented.chain, Some(seen))
            }
            None if self.save.is_some() => {
                let message = format!("--save keeps what a server presents, and {} is a file", self.what);
                return Err(Error::new(ErrorCode::UsageConflict, message));
            }
            None => (self.read_file()?, None),
        };
        if let Some(save) = &self.save {
            keep(context, save, chain.first(), &self.what)?;
        }
        let certificates = chain.into_iter().map(|der| Shown::new(der, &self.what)).collect();
        let result = InspectResult { origin: self.what, server, certificates, saved: self.save };
        context.output.result("certs inspect", &result);
        Ok(ExitCode::SUCCESS)
    }

    /// Host and port, where that is what was given: a colon stands in paths too.
    fn server(&self) -> Option<(&str, &str)> {
        let (host, port) = self.what.rsplit_once(':')?;
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let is_address = self.what.parse::<Ipv6Addr>().is_ok();
        (is_number && !is_address && !Path::new(&self.what).exists()).then_some((host, port))
    }

    fn read_file(&self) -> Result<Vec<CertificateDer<'static>>> {
        let path = Path::new(&self.what);
        let text = pem::read_file(path).map_err(|error| match self.what.parse::<Host>() {
            Ok(host) if error.code == ErrorCode::FileNotFound => {
                error.hint(Hint::AsServer(host.with_port(DEFAULT_PORT).to_string()))
            }
            _ => error,
        })?;
        read_each(&text, &self.what).map_err(|error| error.about_file(path))
    }

    fn dialer(&self, context: &Context, host: &str, port: &str) -> Result<Dialer> {
        // What the server presents is shown, not believed: there is nothing to trust.
        let trust = Trust::from_certificates(Vec::new(), TrustSource::System, false);
        let timeout = self.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let server = Server { host: host.parse()?, port: parse_port(port)?, trust: Arc::new(trust) };
        Ok(Dialer::new(server, timeout).through(self.proxy.proxy(context)?))
    }
}

/// Writes the server's own certificate, and warns where it will not be of use for long.
fn keep(context: &Context, file: &Path, leaf: Option<&CertificateDer<'static>>, origin: &str) -> Result<()> {
    let leaf = Certificate::from_der(leaf.cloned().unwrap_or_else(|| Vec::new().into()), origin)?;
    context.progress.begin(Step::Stage);
    files::write_new(file, leaf.to_pem().as_bytes(), Access::Everybody)?;
    let left = leaf.validity.not_after - tbprov::clock::now();
    if left < SOON {
        let (end, days) = (leaf.validity.not_after.date(), left.whole_days());
        context.progress.warn(match days {
            ..0 => format!("the certificate that was kept expired on {end}"),
            _ => format!(
                "the certificate that was kept ends on {end}, in {days} days: devices that believe it alone refuse the server from then on"
            ),
        });
    }
    Ok(())
}

#[derive(Serialize)]
struct InspectResult {
    origin: String,
    #[serde(flatten)]
    server: Option<Seen>,
    certificates: Vec<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    saved: Option<PathBuf>,
}

/// What is known of a server besides its certificates.
#[derive(Serialize)]
struct Seen {
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<&'static str>,
    /// Whether it proved that it has the key of its first certificate.
    proved: bool,
}

/// A certificate, whether it can be read or not.
#[derive(Serialize)]
#[serde(untagged)]
enum Shown {
    Readable(Box<Summary>),
    Unreadable { unreadable: String, sha256: String },
}

impl Shown {
    fn new(der: CertificateDer<'static>, origin: &str) -> Self {
        let sha256 = sha256_hex(&der);
        match Certificate::from_der(der, origin) {
            Ok(certificate) => Self::Readable(Box::new(Summary::new(&certificate))),
            Err(error) => Self::Unreadable { unreadable: error.message, sha256 },
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Readable(summary) => summary.fmt(formatter),
            Self::Unreadable { unreadable, sha256 } => {
                writeln!(formatter, "not readable    {unreadable}")?;
                writeln!(formatter, "SHA-256         {sha256}")
            }
        }
    }
}

#[derive(Serialize)]
struct Summary {
    subject: String,
    issuer: String,
    names: Vec<String>,
    #[serde(with = "time::serde::rfc3339")]
    not_before: time::OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    not_after: time::OffsetDateTime,
    valid_now: bool,
    key: PublicKeyKind,
    serial: String,
    version: u32,
    is_ca: bool,
    sha256: String,
    credentials_id: String,
}

impl Summary {
    fn new(certificate: &Certificate) -> Self {
        Self {
            subject: certificate.subject.clone(),
            issuer: certificate.issuer.clone(),
            names: certificate.names.clone(),
            not_before: certificate.validity.not_before,
            not_after: certificate.validity.not_after,
            valid_now: certificate.validity.contains(tbprov::clock::now()),
            key: certificate.key.clone(),
            serial: certificate.serial.clone(),
            version: certificate.version,
            is_ca: certificate.is_ca,
            sha256: certificate.sha256(),
            credentials_id: certificate.credentials_id(),
        }
    }
}

impl fmt::Display for InspectResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, certificate) in self.certificates.iter().enumerate() {
            if index > 0 {
                writeln!(formatter)?;
            }
            write!(formatter, "{certificate}")?;
        }
        if self.server.as_ref().is_some_and(|server| !server.proved) {
            writeln!(
                formatter,
                "\nnot proved: the server did not show, in a way that can be verified, that it has the key of the first one"
            )?;
        }
        if let Some(saved) = &self.saved {
            writeln!(formatter, "\nsaved the first one in {}", shown_path(saved))?;
            writeln!(
                formatter,
                "Compare its SHA-256 with the server's administrator before you trust it with --server-cert."
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = if self.names.is_empty() { "none".to_owned() } else { self.names.join(", ") };
        let authority = if self.is_ca { ", may sign others" } else { "" };
        let now = if self.valid_now { "" } else { " (not now!)" };
        writeln!(formatter, "subject         {}", self.subject)?;
        writeln!(formatter, "issuer          {}", self.issuer)?;
        writeln!(formatter, "names           {names}")?;
        writeln!(formatter, "valid           {} to {}{now}", self.not_before.date(), self.not_after.date())?;
        writeln!(formatter, "key             {}", self.key)?;
        writeln!(formatter, "version         {}{authority}", self.version)?;
        writeln!(formatter, "serial          {}", self.serial)?;
        writeln!(formatter, "SHA-256         {}", self.sha256)?;
        writeln!(formatter, "credentialsId   {}", self.credentials_id)
    }
}
