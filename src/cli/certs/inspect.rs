//! `tbprov certs inspect`

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::super::context::Context;
use super::super::new_file::refuse_existing;
use super::super::server_args::{parse_port, parse_timeout};
use tbprov::dial::Dialer;
use tbprov::files::{self, Access};
use tbprov::flow::DEFAULT_TIMEOUT;
use tbprov::identity::{Certificate, PublicKeyKind, read_certificates};
use tbprov::keys::pem;
use tbprov::server::Server;
use tbprov::tls::{Trust, TrustSource};
use tbprov::{Error, ErrorCode, Result, Step};

/// Show what is in a certificate file, or what a server presents.
#[derive(Debug, Args)]
pub(in crate::cli) struct InspectArgs {
    /// A PEM file, or HOST:PORT.
    #[arg(value_name = "FILE|HOST:PORT")]
    what: String,
    /// Keep what HOST:PORT presents in this file, for --server-cert. Compare its SHA-256 with the server's
    /// administrator first: nothing has proved yet that this is the right server.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// How long each step may take, such as 15s or 1m [default: 15s].
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout)]
    timeout: Option<Duration>,
}

impl InspectArgs {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<ExitCode> {
        let path = Path::new(&self.what);
        self.save.as_deref().map_or(Ok(()), refuse_existing)?;
        let (certificates, tls) = match self.what.rsplit_once(':') {
            Some((host, port)) if !path.exists() => {
                let (chain, tls) = self.dialer(host, port)?.peer_certificates(&context.progress).await?;
                (chain, Some(tls))
            }
            _ if self.save.is_some() => {
                let message = format!("--save keeps what a server presents, and {} is a file", self.what);
                return Err(Error::new(ErrorCode::UsageConflict, message));
            }
            _ => (read_certificates(&pem::read_file(path)?, &self.what)?, None),
        };
        let result = InspectResult {
            origin: self.what,
            tls,
            certificates: certificates.iter().map(Summary::new).collect(),
            saved: self.save,
        };
        if let Some(save) = &result.saved {
            let leaf = certificates.first().map(Certificate::to_pem).unwrap_or_default();
            context.progress.begin(Step::Stage);
            files::write_new(save, leaf.as_bytes(), Access::Everybody)?;
        }
        context.output.result("certs inspect", &result);
        Ok(ExitCode::SUCCESS)
    }

    fn dialer(&self, host: &str, port: &str) -> Result<Dialer> {
        // What the server presents is shown, not believed: there is nothing to trust.
        let trust = Trust::from_certificates(Vec::new(), TrustSource::System, false);
        let timeout = self.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let server = Server { host: host.parse()?, port: parse_port(port)?, trust: Arc::new(trust) };
        Ok(Dialer::new(server, timeout))
    }
}

#[derive(Serialize)]
struct InspectResult {
    origin: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<&'static str>,
    certificates: Vec<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    saved: Option<PathBuf>,
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
        if let Some(saved) = &self.saved {
            writeln!(formatter, "\nsaved the first one in {}", saved.display())?;
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
