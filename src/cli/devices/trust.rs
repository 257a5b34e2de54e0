//! `tbprov devices trust`

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::super::advice;
use super::super::context::Context;
use super::super::server_args::{ProxyArgs, clap_host, clap_port, parse_timeout};
use tbprov::dial::Dialer;
use tbprov::error::{EXIT_PARTLY, Hint};
use tbprov::flow::{self, DEFAULT_TIMEOUT, TrustPlan};
use tbprov::identity::Certificate;
use tbprov::ledger::Entry;
use tbprov::server::{Host, Server};
use tbprov::tls::Trust;
use tbprov::{Error, ErrorCode, Result, Step};

/// Change what authenticates a device's server, for a server whose certificate is renewed. The old and the new
/// certificate can be believed side by side.
#[derive(Debug, Args)]
pub(in crate::cli) struct TrustArgs {
    /// The device.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    name: Option<String>,
    /// Every device of the store. With several servers, --host says which.
    #[arg(long)]
    all: bool,
    /// Believe the certificates of this PEM file too. A device that believes the system's roots then believes the file
    /// alone.
    #[arg(long, value_name = "FILE", required_unless_present = "remove_old")]
    add: Option<PathBuf>,
    /// Stop believing the others: those before --add, else those by which the server is not authenticated now.
    #[arg(long)]
    remove_old: bool,
    /// Do not connect first: the server does not have the new certificate yet.
    #[arg(long, requires = "add", conflicts_with = "remove_old")]
    untried: bool,
    /// With --all: the devices of this server alone.
    #[arg(long, value_name = "HOST", value_parser = clap_host, requires = "all", conflicts_with = "name")]
    host: Option<Host>,
    /// With --all: the devices of this port alone.
    #[arg(long, value_name = "PORT", value_parser = clap_port, requires = "all", conflicts_with = "name")]
    port: Option<u16>,
    #[command(flatten)]
    proxy: ProxyArgs,
    /// How long each step may take, such as 15s or 1m [default: 15s].
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout)]
    timeout: Option<Duration>,
}

impl TrustArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        let add = self.add.as_deref().map(|file| Trust::from_file(file, false)).transpose()?;
        let plan = TrustPlan { add, remove_old: self.remove_old, prove: !self.untried };
        let Some(name) = self.name.as_deref() else { return self.run_all(&plan, context).await };
        let device = context.device(Some(name)).await?;
        let row = context.interruptible(self.change(&plan, device, context)).await?;
        context.output.result("devices trust", &TrustResult { devices: vec![row] });
        Ok(ExitCode::SUCCESS)
    }

    /// Changes one device after the other. Each fails for itself, and the others go on, until the user ends it.
    async fn run_all(&self, plan: &TrustPlan, context: &Context) -> Result<ExitCode> {
        self.proxy.proxy(context)?;
        let (devices, mut rows) = self.selected(context).await?;
        let mut first_error = None;
        let mut changed = 0;
        for device in devices {
            let name = device.shown_name().to_owned();
            match context.interruptible(self.change(plan, device, context)).await {
                Ok(row) => {
                    changed += 1;
                    rows.push(row);
                }
                Err(error) => {
                    rows.push(Row::failed(name, &error));
                    first_error.get_or_insert(error.exit_code());
                }
            }
            if context.interrupt.is_cancelled() {
                first_error = Some(ErrorCode::Interrupted.kind().exit_code());
                changed = 0;
                break;
            }
        }
        let is_whole = rows.iter().all(|row| row.error.is_none());
        context.output.result("devices trust", &TrustResult { devices: rows });
        Ok(match first_error {
            Some(code) if changed == 0 => ExitCode::from(code),
            _ if is_whole => ExitCode::SUCCESS,
            _ => ExitCode::from(EXIT_PARTLY),
        })
    }

    /// The devices of one server, for a certificate is one server's; and those of the store that cannot be read.
    async fn selected(&self, context: &Context) -> Result<(Vec<Entry>, Vec<Row>)> {
        let (mut devices, mut unreadable) = (Vec::new(), Vec::new());
        for (id, device) in context.ledger.list().await? {
            match device {
                Ok(device) if self.is_of_the_server(&device) => devices.push(device),
                Ok(_) => {}
                Err(error) => unreadable.push(Row::failed(id.to_string(), &error)),
            }
        }
        let Some(first) = devices.first() else {
            let of_it = if self.host.is_some() || self.port.is_some() { " of this server" } else { "" };
            let message = format!("{} has no device{of_it}", context.ledger.shown());
            return Err(Error::new(ErrorCode::StoreNotFound, message));
        };
        let (host, port) = (first.record.host.clone(), first.record.port);
        if devices.iter().any(|device| device.record.host != host || device.record.port != port) {
            let message = "the store has devices of several servers";
            return Err(Error::new(ErrorCode::UsageMissing, message).hint(Hint::NameServer));
        }
        Ok((devices, unreadable))
    }

    fn is_of_the_server(&self, device: &Entry) -> bool {
        let record = &device.record;
        self.host.as_ref().is_none_or(|host| *host == record.host)
            && self.port.is_none_or(|port| port == record.port)
    }

    async fn change(&self, plan: &TrustPlan, device: Entry, context: &Context) -> Result<Row> {
        let progress = context.progress.about(device.id.clone());
        let trust = Arc::new(context.ledger.trust(&device).await?);
        let server = Server { host: device.record.host.clone(), port: device.record.port, trust };
        let timeout = self.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let dialer = Dialer::new(server, timeout).through(self.proxy.proxy(context)?);
        progress.begin(Step::Plan);
        let believed = flow::believe(plan, &device, &dialer, &*context.ledger, &progress).await?;
        Ok(Row {
            device: believed.entry.shown_name().to_owned(),
            server: Some(dialer.server.to_string()),
            certificates: believed.certificates.iter().map(Believed::new).collect(),
            removed: believed.removed.iter().map(Believed::new).collect(),
            proved: plan.prove,
            on_a_board: believed.entry.record.identity.flashed.is_some(),
            error: None,
        })
    }
}

/// The result of `devices trust`. Documented in `docs/protocol.md`.
#[derive(Serialize)]
struct TrustResult {
    devices: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    device: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    certificates: Vec<Believed>,
    removed: Vec<Believed>,
    /// Whether a connection was authenticated by what is new.
    proved: bool,
    /// Whether a board has the device's identity, and with it what it believed before.
    on_a_board: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<RowError>,
}

#[derive(Serialize)]
struct RowError {
    code: &'static str,
    message: String,
    help: String,
}

#[derive(Serialize)]
struct Believed {
    subject: String,
    #[serde(with = "time::serde::rfc3339")]
    not_after: time::OffsetDateTime,
    sha256: String,
}

impl Believed {
    fn new(certificate: &Certificate) -> Self {
        Self {
            subject: certificate.subject.clone(),
            not_after: certificate.validity.not_after,
            sha256: certificate.sha256(),
        }
    }
}

impl Row {
    fn failed(device: String, error: &Error) -> Self {
        let help = advice::help(error).into_owned();
        let error = RowError { code: error.code.as_str(), message: error.message.clone(), help };
        Self {
            device,
            server: None,
            certificates: Vec::new(),
            removed: Vec::new(),
            proved: false,
            on_a_board: false,
            error: Some(error),
        }
    }
}

impl fmt::Display for TrustResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Row { device, server, certificates, removed, proved, on_a_board, error } in &self.devices {
            if let Some(RowError { code, message, help }) = error {
                writeln!(formatter, "{device}: not changed ({code}): {message}\n  help: {help}")?;
                continue;
            }
            let how = if *proved { "proved by a connection" } else { "not tried" };
            let server = server.as_deref().unwrap_or_default();
            writeln!(formatter, "{device} believes of {server} ({how}):")?;
            for Believed { subject, not_after, sha256 } in certificates {
                writeln!(formatter, "  {subject}, until {}, SHA-256 {sha256}", not_after.date())?;
            }
            for Believed { subject, not_after, sha256 } in removed {
                writeln!(formatter, "  no longer: {subject}, until {}, SHA-256 {sha256}", not_after.date())?;
            }
            if *on_a_board {
                writeln!(
                    formatter,
                    "  its board still believes what was flashed: 'tbprov firmware flash --identity-only' renews that"
                )?;
            }
        }
        Ok(())
    }
}
