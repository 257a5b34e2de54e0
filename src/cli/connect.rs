//! `tbprov connect`

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::account_args::AccountArgs;
use super::context::Context;
use super::key_file::KeyFileArgs;
use super::ledger_args::LedgerArgs;
use super::results::ServerResult;
use super::server_args::{TrustArgs, clap_host, clap_port, host_if_named, port_or_default};
use super::shell::{quoted, quoted_path};
use super::telemetry_args::{TelemetryArgs, TelemetryResult, exit_code};
use tbprov::dial::Dialer;
use tbprov::error::Hint;
use tbprov::flow::{self, ConnectPlan, Prover, Reached, Run};
use tbprov::identity::Credentials;
use tbprov::ledger::Entry;
use tbprov::server::Host;
use tbprov::telemetry::Readings;
use tbprov::text::shown_path;
use tbprov::{Error, ErrorCode, Result, State};

/// Connect with a saved identity over mutual TLS, and send telemetry.
#[derive(Debug, Args)]
pub(super) struct ConnectArgs {
    /// The device; not needed if the store has only one.
    #[arg(conflicts_with_all = ["cert", "key"])]
    device: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) ledger: LedgerArgs,
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
    key_file: KeyFileArgs,
    #[command(flatten)]
    telemetry: TelemetryArgs,
    #[command(flatten)]
    account: AccountArgs,
}

impl ConnectArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        let (mut plan, dialer) = self.plan(context).await?;
        let name = plan.device.as_ref().and_then(|device| device.record.device.as_deref());
        plan.telemetry =
            self.telemetry.confirmed(context, plan.telemetry, name, &self.account, &dialer).await?;
        let prover = Prover::new(Arc::new(dialer));
        let stop_telemetry = &context.interrupt_or_unread();
        let reached = flow::connect(&plan, Run { stop_telemetry, ..context.run(&prover) }).await?;
        if let Some(device) = reached.device.clone() {
            self.trust.belief.check_name_again(context, device, &prover).await;
        }
        context.output.result("connect", &ConnectResult::new(&plan, &prover, &reached));
        Ok(exit_code(plan.telemetry.as_ref(), reached.telemetry))
    }

    async fn plan(&self, context: &Context) -> Result<(ConnectPlan, Dialer)> {
        let telemetry = self.telemetry.plan()?;
        if let (Some(certificate), Some(key)) = (&self.cert, &self.key) {
            if self.key_file.password.reads_stdin()
                && telemetry.as_ref().is_some_and(|telemetry| telemetry.readings == Readings::Stdin)
            {
                let message = "stdin cannot give both the password of the key and the telemetry";
                return Err(Error::new(ErrorCode::UsageConflict, message).hint(Hint::TwoReadersOfStdin));
            }
            let identity = self.key_file.read_pair(context, certificate, key).await?;
            identity.leaf.check_dates(&shown_path(certificate))?;
            let Some(host) = host_if_named(self.host.as_ref(), context)? else {
                return Err(Error::new(ErrorCode::UsageMissing, "--cert needs to know the server")
                    .hint(Hint::ServerOfFiles));
            };
            let dialer = self.trust.dialer(context, host, port_or_default(self.port, context))?;
            let credentials = Credentials::X509(identity.into());
            return Ok((ConnectPlan { device: None, credentials, telemetry }, dialer));
        }
        let device =
            context.device(self.device.as_deref()).await.map_err(|error| self.reading_meant(error))?;
        let credentials = context.credentials(&device).await?;
        if let Some(identity) = credentials.x509() {
            identity.leaf.check_dates(&device.place())?;
        }
        if device.record.state() != State::Proved {
            let (name, state) = (device.shown_name(), device.record.state().as_str());
            context.progress.warn(format!("'{name}' is {state}, not proved: {}", finish(context, &device)));
        }
        let dialer = self.trust.dialer_for(context, &device, self.host.clone(), self.port).await?;
        Ok((ConnectPlan { device: Some(device), credentials, telemetry }, dialer))
    }
}

impl ConnectArgs {
    /// A reading after `--send-telemetry` and a blank is taken for the device.
    fn reading_meant(&self, error: Error) -> Error {
        let looks_like_a_reading = |name: &str| name.starts_with(['{', '[', '@']) || name == "-";
        let is_meant =
            self.telemetry.has_no_value() && self.device.as_deref().is_some_and(looks_like_a_reading);
        if !is_meant {
            return error;
        }
        let message = "what follows --send-telemetry was taken for the name of a device";
        Error::new(ErrorCode::UsageInvalid, message).hint(Hint::TelemetryAfterEquals)
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

/// The command that finishes a device, as it can be pasted.
fn finish(context: &Context, device: &Entry) -> String {
    if let Some(ledger) = &context.ledger_file {
        return format!("finish it with: tbprov fleet run --ledger {}", quoted_path(ledger));
    }
    let record = &device.record;
    let host = quoted(&record.host.to_string());
    let name = quoted(record.device.as_deref().unwrap_or_default());
    let store = quoted_path(&context.store);
    format!(
        "finish it with: tbprov provision --store {store} --host {host} --port {} --device-name={name}",
        record.port
    )
}

impl ConnectResult {
    fn new(plan: &ConnectPlan, prover: &Prover, reached: &Reached) -> Self {
        let was_interrupted = reached.telemetry.is_some_and(|report| report.interrupted);
        Self {
            outcome: if was_interrupted { "interrupted" } else { "connected" },
            device: plan.device.as_ref().map(|device| device.shown_name().to_owned()),
            credentials_id: plan.credentials.x509().map(|identity| identity.leaf.credentials_id()),
            server: ServerResult::new(&prover.dialer.server, Some(reached.tls_version)),
            telemetry: TelemetryResult::from(reached.telemetry),
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
