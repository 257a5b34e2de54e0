//! `tbprov provision`

mod questions;
mod result;

use std::num::{NonZeroU16, NonZeroU32};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::context::Context;
use super::secret_file;
use super::server_args::{TrustArgs, clap_host, clap_port, host_if_named, parse_host, parse_port};
use super::telemetry_args::{TelemetryArgs, exit_code};
use questions::{HOST, KEY, NAME, PORT, SECRET};
use result::{DryRun, ProvisionResult};
use tbprov::DeviceName;
use tbprov::dial::Dialer;
use tbprov::error::Hint;
use tbprov::event::Event;
use tbprov::flow;
use tbprov::flow::{DEFAULT_DAYS, DEFAULT_HOST, DEFAULT_PORT, IdentityPlan, ProvisionPlan};
use tbprov::identity::{CredentialsType, SoftwareIdentity};
use tbprov::keys::KeyType;
use tbprov::server::{Host, Server};
use tbprov::telemetry::{Readings, TelemetryPlan};
use tbprov::tls::{Trust, TrustSource};
use tbprov::{Error, ErrorCode, Result, Secret};

/// Give a device its identity: make a key and a certificate, register them, prove them.
///
/// Asks for what is missing. Safe to repeat: a rerun goes on where an earlier one stopped, and on a device that
/// is done it only verifies.
#[derive(Debug, Args)]
pub(super) struct ProvisionArgs {
    /// The server.
    #[arg(long, env = "TBPROV_HOST", value_name = "HOST", value_parser = clap_host)]
    host: Option<Host>,
    /// Its port of MQTT over TLS [default: 8883].
    #[arg(long, env = "TBPROV_PORT", value_name = "PORT", value_parser = clap_port)]
    port: Option<u16>,
    /// The provision key of the device profile.
    #[arg(long, env = "TBPROV_PROVISION_KEY", hide_env_values = true, value_name = "KEY")]
    provision_key: Option<String>,
    /// The provision secret. Others can see a flag in the process list: better the variable, or the file.
    /// [env: TBPROV_PROVISION_SECRET]
    #[arg(long, value_name = "SECRET", value_parser = secret_file::clap_secret, conflicts_with = "provision_secret_file")]
    provision_secret: Option<Secret>,
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
    #[arg(long, help_heading = "Identity")]
    no_verify_connect: bool,
    /// Show what would be done, and do nothing.
    #[arg(long, help_heading = "Options")]
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
        let provisioned = flow::provision(&plan, &context.interrupt, &context.progress).await?;
        context.output.result("provision", &ProvisionResult::new(&provisioned));
        Ok(exit_code(plan.telemetry.as_ref(), provisioned.telemetry))
    }

    /// Flags, environment, file and prompts, in the order of the questions.
    async fn plan(self, context: &Context) -> Result<ProvisionPlan> {
        let config = &context.config;
        // What can be wrong without asking anybody comes first.
        let telemetry = self.telemetry.plan()?;
        self.one_reader_of_stdin(telemetry.as_ref())?;
        let identity = self.identity(context)?;
        let named_trust = self.trust.belief.named(context)?;
        let timeout = self.trust.timeout(context)?;
        let host = self.host(context).await?;
        let port = self.port(context).await?;
        let provision_key = self.provision_key(context).await?;
        let provision_secret = self.secret(context).await?;
        let device_name = self.device_name(context).await?;
        let trust = match named_trust {
            Some(trust) => trust,
            None => self.saved_trust(context, device_name.as_ref())?,
        };
        let server = Server { host, port, trust: trust.into() };
        let dialer = Arc::new(Dialer::new(server, timeout));
        Ok(ProvisionPlan {
            dialer,
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

    fn one_reader_of_stdin(&self, telemetry: Option<&TelemetryPlan>) -> Result<()> {
        let secret = self.provision_secret_file.as_deref() == Some(Path::new("-"));
        if !(secret && telemetry.is_some_and(|telemetry| telemetry.readings == Readings::Stdin)) {
            return Ok(());
        }
        let message = "stdin cannot give both the provision secret and the telemetry";
        Err(Error::new(ErrorCode::UsageConflict, message).hint(Hint::TwoReadersOfStdin))
    }

    async fn host(&self, context: &Context) -> Result<Host> {
        match host_if_named(self.host.as_ref(), context)? {
            Some(host) => Ok(host),
            None => HOST.ask(context, Some(DEFAULT_HOST), parse_host).await,
        }
    }

    async fn port(&self, context: &Context) -> Result<u16> {
        match self.port.or(context.config.port.map(NonZeroU16::get)) {
            Some(port) => Ok(port),
            None if context.may_ask => PORT.ask(context, Some(&DEFAULT_PORT.to_string()), parse_port).await,
            None => Ok(DEFAULT_PORT),
        }
    }

    async fn provision_key(&self, context: &Context) -> Result<String> {
        match self.provision_key.as_ref().or(context.config.provision_key.as_ref()) {
            Some(key) => not_blank(key),
            None => KEY.ask(context, None, not_blank).await,
        }
    }

    async fn device_name(&self, context: &Context) -> Result<Option<DeviceName>> {
        let name = match self.device_name.as_ref().or(context.config.device_name.as_ref()) {
            Some(name) => DeviceName::parse(name)?,
            None if context.may_ask => return NAME.ask(context, Some(""), DeviceName::parse).await,
            None => return Err(no_name()),
        };
        if name.is_none() {
            let message = "the device name is empty: the server makes one up, and never tells it".to_owned();
            context.progress.event(&Event::Warning { message });
        }
        Ok(name)
    }

    /// A rerun believes what the earlier run did, unless another certificate is named.
    fn saved_trust(&self, context: &Context, name: Option<&DeviceName>) -> Result<Trust> {
        let saved = name.map(|name| context.store.find(name.as_str())).transpose()?.flatten();
        match saved.map(|device| device.trust()).transpose()? {
            Some(mut trust) if trust.source != TrustSource::System => {
                trust.skip_name_check |= self.trust.belief.skips_name_check(context);
                Ok(trust)
            }
            _ => self.trust.belief.customary(context),
        }
    }

    fn identity(&self, context: &Context) -> Result<IdentityPlan> {
        let config = &context.config;
        let credentials_type = self.credentials_type.or(config.credentials_type).unwrap_or_default();
        if let (Some(certificate), Some(key)) = (&self.cert, &self.key) {
            let identity = SoftwareIdentity::read(certificate, key)?;
            identity.leaf.check_dates(&certificate.display().to_string())?;
            if credentials_type == CredentialsType::X509 {
                return Ok(IdentityPlan::Existing(Box::new(identity)));
            }
            let message = format!("--cert and --key do not go with --credentials-type {credentials_type}");
            return Err(Error::new(ErrorCode::UsageConflict, message));
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
            secret.clone()
        } else if let Some(path) = file {
            secret_file::read(context, path, "the provision secret").await?
        } else if let Some(secret) = variable().or_else(|| config.provision_secret.clone()) {
            secret
        } else if let Some(path) = &config.provision_secret_file {
            secret_file::read(context, path, "the provision secret").await?
        } else {
            SECRET.ask_hidden(context, false).await?
        };
        if secret.expose().chars().any(char::is_control) {
            let message = "the provision secret holds a control character";
            return Err(Error::new(ErrorCode::UsageInvalid, message));
        }
        if secret.expose().trim().is_empty() {
            return Err(Error::new(ErrorCode::UsageInvalid, "the provision secret is empty"));
        }
        Ok(secret)
    }
}

fn no_name() -> Error {
    Error::new(ErrorCode::UsageMissing, "a device name is needed, and there is no terminal to ask on")
        .hint(Hint::GiveDeviceName)
}

fn not_blank(text: &str) -> Result<String> {
    match text.trim() {
        "" => Err(Error::new(ErrorCode::UsageInvalid, "the provision key is empty")),
        key => Ok(key.to_owned()),
    }
}
