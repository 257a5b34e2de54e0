//! `tbprov provision`

use std::fmt;
use std::io::Read as _;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::context::Context;
use super::prompt::Question;
use super::server_args::{TrustArgs, clap_host, clap_port, parse_host, parse_port};
use super::telemetry_args::{TelemetryArgs, TelemetryResult};
use tbprov::identity::{CredentialsType, KeyType, X509Identity};
use tbprov::pipeline::{self, Provisioned};
use tbprov::plan::{
    DEFAULT_DAYS, DEFAULT_HOST, DEFAULT_KEY_TYPE, DEFAULT_PORT, DeviceName, IdentityPlan, ProvisionPlan,
};
use tbprov::tls::TrustSource;
use tbprov::{Error, ErrorCode, Result, Secret, Step};

/// Give a device its identity: make a key and a certificate, register them, prove them.
///
/// Asks for what is missing. Safe to repeat: a rerun goes on where an earlier one stopped, and on a device that
/// is done it only verifies.
#[derive(Debug, Args)]
pub(super) struct ProvisionArgs {
    /// The server.
    #[arg(long, env = "TBPROV_HOST", value_name = "HOST", value_parser = clap_host)]
    host: Option<String>,
    /// Its port of MQTT over TLS [default: 8883].
    #[arg(long, env = "TBPROV_PORT", value_name = "PORT", value_parser = clap_port)]
    port: Option<u16>,
    /// The provision key of the device profile.
    #[arg(long, env = "TBPROV_PROVISION_KEY", value_name = "KEY")]
    provision_key: Option<String>,
    /// The provision secret. Others can see a flag in the process list: better the variable, or the file.
    /// [env: TBPROV_PROVISION_SECRET]
    #[arg(long, value_name = "SECRET", conflicts_with = "provision_secret_file")]
    provision_secret: Option<String>,
    /// A file with the provision secret; '-' is stdin.
    #[arg(long, value_name = "FILE")]
    provision_secret_file: Option<PathBuf>,
    /// The device's name; an empty one lets the server make one up, and the server never tells it.
    #[arg(long, env = "TBPROV_DEVICE_NAME", value_name = "NAME")]
    device_name: Option<String>,
    #[command(flatten)]
    trust: TrustArgs,
    /// The key's type: ec-p256, ec-p384, ed25519, rsa-2048, rsa-3072 or rsa-4096 [default: ec-p256].
    #[arg(long, value_name = "TYPE", help_heading = "Identity")]
    key_type: Option<KeyType>,
    /// Days that the certificate is valid [default: 3650].
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Identity")]
    days: Option<u32>,
    /// Use this certificate instead of a new one; needs --key.
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with_all = ["key_type", "days"], help_heading = "Identity")]
    cert: Option<PathBuf>,
    /// The key of --cert.
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = "Identity")]
    key: Option<PathBuf>,
    /// What to register: x509, access-token or mqtt-basic [default: x509].
    #[arg(long, value_name = "TYPE", help_heading = "Identity")]
    credentials_type: Option<CredentialsType>,
    /// The device is a gateway (ThingsBoard 3.8 and later).
    #[arg(long, help_heading = "Identity")]
    gateway: bool,
    /// Do not connect with the new identity. The device stays 'accepted', not 'proved'.
    #[arg(long)]
    no_verify_connect: bool,
    /// Show what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

impl ProvisionArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        let dry_run = self.dry_run;
        let plan = self.plan(context).await?;
        if dry_run {
            context.output.result("provision", &DryRun::new(&plan));
            return Ok(ExitCode::SUCCESS);
        }
        let provisioned = pipeline::provision(&plan, &context.interrupt, &*context.observer).await?;
        let interrupted = provisioned.telemetry.is_some_and(|report| report.interrupted);
        context.output.result("provision", &ProvisionResult::new(&provisioned));
        Ok(if interrupted {
            ExitCode::from(ErrorCode::Interrupted.kind().exit_code())
        } else {
            ExitCode::SUCCESS
        })
    }

    /// Flags, environment, file and prompts, in the order of the questions.
    async fn plan(self, context: &Context) -> Result<ProvisionPlan> {
        let config = &context.config;
        // What can be wrong without asking anybody comes first.
        let telemetry = self.telemetry.plan()?;
        let identity = self.identity(context)?;
        let trust = self.trust.trust(context)?;
        let timeout = self.trust.timeout(context)?;
        let given = self.host.clone().or_else(|| config.host.clone());
        let host = match given {
            Some(host) => parse_host(&host)?,
            None => HOST.ask(context, Some(DEFAULT_HOST), parse_host).await?,
        };
        let port = match self.port.or(config.port.map(NonZeroU16::get)) {
            Some(port) => port,
            None if context.may_ask => PORT.ask(context, Some(&DEFAULT_PORT.to_string()), parse_port).await?,
            None => DEFAULT_PORT,
        };
        let provision_key = match self.provision_key.clone().or_else(|| config.provision_key.clone()) {
            Some(key) => not_blank(&key)?,
            None => KEY.ask(context, None, not_blank).await?,
        };
        let provision_secret = self.secret(context).await?;
        let device_name = match self.device_name.as_ref().or(config.device_name.as_ref()) {
            Some(name) => DeviceName::parse(name)?,
            None if context.may_ask => NAME.ask(context, Some(""), DeviceName::parse).await?,
            None => return Err(no_name()),
        };
        let target = tbprov::mqtt::Target { host, port, trust: trust.into(), timeout };
        Ok(ProvisionPlan {
            target,
            provision_key,
            provision_secret,
            device_name,
            identity,
            gateway: self.gateway || config.gateway,
            verify_connect: !self.no_verify_connect,
            telemetry,
            store: context.store.clone(),
        })
    }

    fn identity(&self, context: &Context) -> Result<IdentityPlan> {
        let config = &context.config;
        let credentials_type = self.credentials_type.or(config.credentials_type).unwrap_or_default();
        if let (Some(certificate), Some(key)) = (&self.cert, &self.key) {
            let identity = X509Identity::read(certificate, key)?;
            identity.leaf.check_dates(&certificate.display().to_string())?;
            if credentials_type == CredentialsType::X509 {
                return Ok(IdentityPlan::Existing(Box::new(identity)));
            }
            let message = format!("--cert and --key do not go with --credentials-type {credentials_type}");
            return Err(Error::new(ErrorCode::UsageConflict, Step::Plan, message));
        }
        Ok(match credentials_type {
            CredentialsType::X509 => IdentityPlan::Generate {
                key_type: self.key_type.or(config.key_type),
                days: self.days.or(config.days.map(NonZeroU32::get)).unwrap_or(DEFAULT_DAYS),
            },
            CredentialsType::AccessToken => IdentityPlan::AccessToken,
            CredentialsType::MqttBasic => IdentityPlan::MqttBasic,
        })
    }

    async fn secret(&self, context: &Context) -> Result<Secret> {
        let config = &context.config;
        let file = self.provision_secret_file.as_deref();
        // Not by clap, to which the variable and the file's flag would be a conflict: a flag comes first.
        let variable = || std::env::var("TBPROV_PROVISION_SECRET").ok().map(Secret::new);
        let secret = if let Some(secret) = &self.provision_secret {
            Secret::new(secret.clone())
        } else if let Some(path) = file {
            read_secret(path)?
        } else if let Some(secret) = variable().or_else(|| config.provision_secret.clone()) {
            secret
        } else if let Some(path) = &config.provision_secret_file {
            read_secret(path)?
        } else {
            SECRET.ask_hidden(context, false).await?
        };
        if secret.expose().trim().is_empty() {
            return Err(Error::new(ErrorCode::UsageInvalid, Step::Plan, "the provision secret is empty"));
        }
        Ok(secret)
    }
}

const HOST: Question = Question {
    text: "ThingsBoard host",
    otherwise: "--host HOST, TBPROV_HOST, or host = \"…\" in tbprov.toml",
};
const PORT: Question =
    Question { text: "TLS port", otherwise: "--port PORT, TBPROV_PORT, or port = … in tbprov.toml" };
const KEY: Question = Question {
    text: "Provision key",
    otherwise: "--provision-key KEY, TBPROV_PROVISION_KEY, or provision-key = \"…\" in tbprov.toml",
};
const SECRET: Question = Question {
    text: "Provision secret",
    otherwise: "--provision-secret-file FILE ('-' is stdin), TBPROV_PROVISION_SECRET, or provision-secret = \"…\" in tbprov.toml",
};
const NAME: Question = Question {
    text: "Device name (empty: the server makes one up)",
    otherwise: "--device-name NAME, TBPROV_DEVICE_NAME, or device-name = \"…\" in tbprov.toml",
};

fn no_name() -> Error {
    Error::new(ErrorCode::UsageMissing, Step::Plan, "a device name is needed, and there is no terminal to ask on").help(
        "give it with --device-name NAME, TBPROV_DEVICE_NAME, or device-name = \"…\" in tbprov.toml; --device-name '' lets the server make one up",
    )
}

fn not_blank(text: &str) -> Result<String> {
    match text.trim() {
        "" => Err(Error::new(ErrorCode::UsageInvalid, Step::Plan, "the provision key is empty")),
        key => Ok(key.to_owned()),
    }
}

/// One line of text; the line end is not part of it.
fn read_secret(path: &Path) -> Result<Secret> {
    let failed = |error: std::io::Error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound {
            ErrorCode::FileNotFound
        } else {
            ErrorCode::FileIo
        };
        Error::new(
            code,
            Step::Plan,
            format!("cannot read the provision secret from {}: {error}", path.display()),
        )
        .source(error)
    };
    let mut text = zeroize::Zeroizing::new(String::new());
    if path == Path::new("-") {
        std::io::stdin().lock().take(4096).read_to_string(&mut text).map_err(failed)?;
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(4096).read_to_string(&mut text))
            .map_err(failed)?;
    }
    Ok(Secret::new(text.trim_end_matches(['\r', '\n']).trim_start_matches('\u{feff}')))
}

#[derive(Serialize)]
struct ServerResult {
    host: String,
    port: u16,
    tls: Option<&'static str>,
}

#[derive(Serialize)]
struct Verified {
    answer: bool,
    mutual_tls: bool,
}

#[derive(Serialize)]
struct TimingsResult {
    key: f64,
    exchange: f64,
    verify: f64,
}

/// The result of `provision`. Documented in `docs/protocol.md`.
#[derive(Serialize)]
pub(super) struct ProvisionResult {
    outcome: &'static str,
    device: String,
    credentials_id: Option<String>,
    directory: PathBuf,
    server: ServerResult,
    key_type: Option<KeyType>,
    #[serde(with = "time::serde::rfc3339::option")]
    not_after: Option<time::OffsetDateTime>,
    verified: Verified,
    telemetry: TelemetryResult,
    timings_ms: TimingsResult,
}

impl ProvisionResult {
    pub(super) fn new(done: &Provisioned) -> Self {
        let record = &done.device.record;
        let milliseconds = |duration: std::time::Duration| (duration.as_secs_f64() * 1e5).round() / 1e2;
        Self {
            outcome: done.outcome.as_str(),
            device: done.device.shown_name(),
            credentials_id: record.credentials_id.clone(),
            directory: done.device.directory.clone(),
            server: ServerResult {
                host: record.host.clone(),
                port: record.port,
                tls: done.proof.map(|proof| proof.tls_version),
            },
            key_type: record.key_type,
            not_after: record.not_after,
            verified: Verified { answer: done.answer_verified, mutual_tls: done.proof.is_some() },
            telemetry: TelemetryResult::from(done.telemetry),
            timings_ms: TimingsResult {
                key: milliseconds(done.timings.key),
                exchange: milliseconds(done.timings.exchange),
                verify: milliseconds(done.timings.verify),
            },
        }
    }
}

impl fmt::Display for ProvisionResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "device          {} ({})", self.device, self.outcome)?;
        if let Some(id) = &self.credentials_id {
            writeln!(formatter, "credentialsId   {id}")?;
        }
        writeln!(
            formatter,
            "server          {}:{} {}",
            self.server.host,
            self.server.port,
            self.server.tls.unwrap_or_default()
        )?;
        if let Some(end) = self.not_after {
            writeln!(formatter, "valid until     {}", end.date())?;
        }
        writeln!(formatter, "saved in        {}", self.directory.display())?;
        if self.telemetry.is_any() {
            writeln!(formatter, "telemetry       {}", self.telemetry)?;
        }
        if !self.verified.mutual_tls {
            writeln!(formatter, "not proved yet  run the same command without --no-verify-connect")?;
        }
        Ok(())
    }
}

/// What `--dry-run` prints: the whole plan but the secret.
#[derive(Serialize)]
struct DryRun {
    dry_run: serde_json::Value,
}

impl DryRun {
    fn new(plan: &ProvisionPlan) -> Self {
        let identity = match &plan.identity {
            IdentityPlan::Generate { key_type, days } => {
                json!({"generate": {"key_type": key_type.unwrap_or(DEFAULT_KEY_TYPE), "days": days}})
            }
            IdentityPlan::Existing(identity) => {
                json!({"existing": {"credentials_id": identity.leaf.credentials_id()}})
            }
            IdentityPlan::AccessToken => json!({"generate": "access-token"}),
            IdentityPlan::MqttBasic => json!({"generate": "mqtt-basic"}),
        };
        let trust = match &plan.target.trust.source {
            TrustSource::File(path) => json!({"file": path}),
            TrustSource::System => json!("system"),
        };
        Self {
            dry_run: json!({
                "host": plan.target.host,
                "port": plan.target.port,
                "trust": trust,
                "skip_name_check": plan.target.trust.skip_name_check,
                "timeout_s": plan.target.timeout.as_secs_f64(),
                "provision_key": plan.provision_key,
                "provision_secret": "[hidden]",
                "device": plan.device_name.as_ref().map(DeviceName::as_str),
                "credentials_type": plan.identity.credentials_type(),
                "identity": identity,
                "gateway": plan.gateway,
                "verify_connect": plan.verify_connect,
                "send_telemetry": plan.telemetry.is_some(),
                "store": plan.store.root(),
            }),
        }
    }
}

impl fmt::Display for DryRun {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "nothing was done; this is what would be:")?;
        let Some(members) = self.dry_run.as_object() else { return Ok(()) };
        for (name, value) in members {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            writeln!(formatter, "  {name:<16} {value}")?;
        }
        Ok(())
    }
}
