//! `tbprov connect`

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::server_args::{TrustArgs, clap_host, clap_port, host_if_named, port_or_default};
use super::telemetry_args::{TelemetryArgs, TelemetryResult, exit_code};
use tbprov::dial::Dialer;
use tbprov::error::Hint;
use tbprov::event::Event;
use tbprov::flow;
use tbprov::flow::verify;
use tbprov::identity::{Credentials, X509Identity};
use tbprov::ledger::folder::Device;
use tbprov::server::Host;
use tbprov::telemetry::{self, Report};
use tbprov::{Error, ErrorCode, Result, State};

/// Connect with a saved identity over mutual TLS, and send telemetry.
#[derive(Debug, Args)]
pub(super) struct ConnectArgs {
    /// The device; may be left out where the store has one.
    #[arg(conflicts_with_all = ["cert", "key"])]
    device: Option<String>,
    /// Another server than the device's own.
    #[arg(long, value_name = "HOST", value_parser = clap_host)]
    host: Option<Host>,
    /// Another port than the device's own.
    #[arg(long, value_name = "PORT", value_parser = clap_port)]
    port: Option<u16>,
    #[command(flatten)]
    trust: TrustArgs,
    /// Connect with this certificate, which need not be in the store; needs --key and --host.
    #[arg(long, value_name = "FILE", requires = "key", help_heading = "Identity")]
    cert: Option<PathBuf>,
    /// The key of --cert.
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = "Identity")]
    key: Option<PathBuf>,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

impl ConnectArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        let telemetry = self.telemetry.plan()?;
        let mut subject = self.subject(context)?;
        let report = match &telemetry {
            None => {
                let proof = verify::connect(&subject.dialer, &subject.credentials, &context.progress);
                subject.tls = Some(context.interruptible(proof).await?.tls_version);
                None
            }
            Some(plan) => {
                let Subject { dialer, credentials, .. } = &subject;
                let report =
                    telemetry::run(dialer, credentials, plan, &context.interrupt, &context.progress).await?;
                subject.tls = Some(report.tls_version);
                Some(report)
            }
        };
        subject.now_proved(context, report);
        context.output.result("connect", &ConnectResult::new(&subject, report));
        Ok(exit_code(telemetry.as_ref(), report))
    }

    fn subject(&self, context: &Context) -> Result<Subject> {
        if let (Some(certificate), Some(key)) = (&self.cert, &self.key) {
            return self.for_files(context, certificate, key);
        }
        let device = match &self.device {
            Some(name) => context.store.open(name)?,
            None => context.store.only()?,
        };
        let credentials = device.credentials()?;
        if let Some(identity) = credentials.x509() {
            identity.leaf.check_dates(&device.directory.display().to_string())?;
        }
        if device.record.state != State::Proved {
            let message = format!(
                "'{}' is {}, not proved: run 'tbprov provision' again to finish it",
                device.shown_name(),
                device.record.state.as_str()
            );
            context.progress.event(&Event::Warning { message });
        }
        let dialer = self.trust.dialer_for(context, &device, self.host.clone(), self.port)?;
        Ok(Subject { device: Some(device), dialer, credentials, tls: None })
    }

    fn for_files(
        &self,
        context: &Context,
        certificate: &std::path::Path,
        key: &std::path::Path,
    ) -> Result<Subject> {
        let identity = X509Identity::read(certificate, key)?;
        identity.leaf.check_dates(&certificate.display().to_string())?;
        let Some(host) = host_if_named(self.host.as_ref(), context)? else {
            return Err(Error::new(ErrorCode::UsageMissing, "--cert needs to know the server")
                .hint(Hint::ServerOfFiles));
        };
        let dialer = self.trust.dialer(context, host, port_or_default(self.port, context))?;
        Ok(Subject { device: None, dialer, credentials: Credentials::X509(identity), tls: None })
    }
}

/// Who connects where.
struct Subject {
    device: Option<Device>,
    dialer: Dialer,
    credentials: Credentials,
    tls: Option<&'static str>,
}

impl Subject {
    /// A connect is a proof: an identity whose provisioning was cut short is finished by it.
    fn now_proved(&mut self, context: &Context, report: Option<Report>) {
        let Some(device) = &mut self.device else { return };
        let elsewhere = !self.dialer.server.is_at(&device.record.host, device.record.port);
        if !elsewhere && report.is_none_or(|report| report.acknowledged > 0) {
            flow::record_proof(&context.store, device, &self.dialer, &context.progress);
        }
    }
}

/// The result of `connect`. Documented in `docs/protocol.md`.
#[derive(Serialize)]
struct ConnectResult {
    outcome: &'static str,
    device: Option<String>,
    credentials_id: Option<String>,
    server: ServerResult,
    telemetry: TelemetryResult,
}

#[derive(Serialize)]
struct ServerResult {
    host: Host,
    port: u16,
    tls: Option<&'static str>,
}

impl ConnectResult {
    fn new(subject: &Subject, report: Option<Report>) -> Self {
        Self {
            outcome: if report.is_some_and(|report| report.interrupted) {
                "interrupted"
            } else {
                "connected"
            },
            device: subject.device.as_ref().map(Device::shown_name),
            credentials_id: subject.credentials.x509().map(|identity| identity.leaf.credentials_id()),
            server: ServerResult {
                host: subject.dialer.server.host.clone(),
                port: subject.dialer.server.port,
                tls: subject.tls,
            },
            telemetry: TelemetryResult::from(report),
        }
    }
}

impl fmt::Display for ConnectResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = self.device.as_deref().unwrap_or("the certificate");
        let server = self.server.host.with_port(self.server.port);
        writeln!(formatter, "{device}: {} at {server}", self.outcome)?;
        if self.telemetry.is_any() {
            writeln!(formatter, "telemetry: {}", self.telemetry)?;
        }
        Ok(())
    }
}
