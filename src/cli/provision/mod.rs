//! `tbprov provision`

mod authority;
mod cause;
mod result;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::account_args::AccountArgs;
use super::context::Context;
use super::key_file::KeyFileArgs;
use super::registration::{NAME, PlaceArgs, ProfileArgs};
use super::server_args::TrustArgs;
use super::telemetry_args::{TelemetryArgs, exit_code};
use authority::AuthorityArgs;
use cause::explained;
use result::{DryRun, ProvisionResult};
use tbprov::dial::Dialer;
use tbprov::error::Hint;
use tbprov::flow::{
    self, DEFAULT_ANSWER_TIMEOUT, IdentityPlan, Prover, ProvisionPlan, RegistrationPlan, Run,
};
use tbprov::identity::{CredentialsType, Validity};
use tbprov::keys::KeyType;
use tbprov::ledger::{Entry, Subject};
use tbprov::server::{Host, Server};
use tbprov::telemetry::{Readings, TelemetryPlan};
use tbprov::text::shown_path;
use tbprov::tls::Trust;
use tbprov::{DeviceName, Error, ErrorCode, Result};

/// Give a device its identity: make a key and a certificate, register them, prove them.
///
/// Asks for missing values. You can repeat the command: it continues where an earlier run stopped. If the device is
/// done, it only verifies it.
#[derive(Debug, Args)]
pub(super) struct ProvisionArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    profile: ProfileArgs,
    /// The device's name; if it is empty, the server makes up a name, and tbprov does not learn it.
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
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with_all = ["key_type", "days", "ca_cert"], help_heading = "Identity")]
    cert: Option<PathBuf>,
    /// The key of --cert.
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = "Identity")]
    key: Option<PathBuf>,
    #[command(flatten)]
    authority: AuthorityArgs,
    #[command(flatten)]
    key_file: KeyFileArgs,
    /// What to register: x509, access-token or mqtt-basic [default: x509].
    #[arg(long, value_name = "TYPE", help_heading = "Identity")]
    credentials_type: Option<CredentialsType>,
    /// The device is a gateway (ThingsBoard 3.8 and later).
    #[arg(long, help_heading = "Identity")]
    gateway: bool,
    /// Do not connect with the new identity. The device stays 'accepted', not 'proved'.
    #[arg(long, conflicts_with = "ca_cert", help_heading = "Identity")]
    no_verify_connect: bool,
    /// Show what would be done, and do nothing.
    #[arg(long, help_heading = "Options")]
    dry_run: bool,
    #[command(flatten)]
    telemetry: TelemetryArgs,
    #[command(flatten)]
    account: AccountArgs,
}

impl ProvisionArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        let dry_run = self.dry_run;
        let belief = self.trust.belief.clone();
        let account = self.account.clone();
        let mut doubts = Vec::new();
        let (plan, dialer) = self.plan(context, &mut doubts).await?;
        if dry_run {
            context.output.result("provision", &DryRun::new(&plan, &dialer, &context.store));
            return Ok(ExitCode::SUCCESS);
        }
        let prover = Prover::new(Arc::new(dialer));
        let stop_telemetry = &context.interrupt_or_unread();
        let provisioned = flow::provision(&plan, Run { stop_telemetry, ..context.run(&prover) }).await;
        let mut provisioned = match provisioned {
            Ok(provisioned) => provisioned,
            Err(error) if error.code == ErrorCode::ServerNotFound && !doubts.is_empty() => {
                return Err(error.hint(Hint::Doubtful(doubts)));
            }
            Err(error) => return Err(explained(error, context, &account, &plan, &prover.dialer).await),
        };
        provisioned.entry = belief.check_name_again(context, provisioned.entry, &prover).await;
        context.output.result("provision", &ProvisionResult::new(&plan, &provisioned));
        Ok(exit_code(plan.telemetry.as_ref(), provisioned.telemetry))
    }

    /// Flags, environment, file and prompts, in the order of the questions.
    async fn plan(self, context: &Context, doubts: &mut Vec<String>) -> Result<(ProvisionPlan, Dialer)> {
        // What can be wrong without asking anybody comes first.
        let telemetry = self.telemetry.plan()?;
        self.one_reader_of_stdin(telemetry.as_ref())?;
        let identity = self.identity(context).await?;
        let authority = self.authority.read(context, &self.key_file, identity.credentials_type()).await?;
        let named_trust = self.trust.belief.named(context)?;
        let timeout = self.trust.timeout(context)?;
        let answer_timeout = self.trust.named_timeout(context)?.unwrap_or(DEFAULT_ANSWER_TIMEOUT);
        let proxy = self.trust.proxy.proxy(context)?;
        let host = self.place.host(context).await?;
        let port = self.place.port(context).await?;
        let (device_name, registration) = match authority {
            None => {
                let provision_key = self.profile.key(context, doubts).await?;
                let provision_secret = self.profile.secret(context, doubts).await?;
                let gateway = self.gateway || context.config.gateway;
                let registration = RegistrationPlan::ByRequest { provision_key, provision_secret, gateway };
                (self.device_name(context).await?, registration)
            }
            Some(issuer) => {
                self.profile.is_ignored(context);
                let name = self.device_name(context).await?;
                let registration = self.authority.registration(context, issuer, name.as_ref())?;
                (name, registration)
            }
        };
        let trust = match named_trust {
            Some(trust) => trust,
            None => {
                let slot = registration.slot(&host, port);
                let subject = flow::subject(device_name.as_ref(), slot.as_ref());
                self.saved_trust(context, subject, &host, port).await?
            }
        };
        if let Some(end) = trust.ends_soon(tbprov::clock::now()) {
            context.progress.warn(end);
        }
        let dialer = Dialer::new(Server { host, port, trust: trust.into() }, timeout).through(proxy);
        let name = device_name.as_ref().map(DeviceName::as_str);
        let telemetry = self.telemetry.confirmed(context, telemetry, name, &self.account, &dialer).await?;
        let verify_connect = !self.no_verify_connect;
        let plan =
            ProvisionPlan { device_name, registration, identity, verify_connect, answer_timeout, telemetry };
        Ok((plan, dialer))
    }

    fn one_reader_of_stdin(&self, telemetry: Option<&TelemetryPlan>) -> Result<()> {
        let readers: Vec<&str> = [
            (self.profile.reads_stdin(), "the provision secret"),
            (self.key_file.password.reads_stdin(), "the password of the key"),
            (self.account.reads_stdin(), "the secret of the account"),
            (telemetry.is_some_and(|telemetry| telemetry.readings == Readings::Stdin), "the telemetry"),
        ]
        .into_iter()
        .filter_map(|(reads, what)| reads.then_some(what))
        .collect();
        let [one, other, ..] = readers.as_slice() else { return Ok(()) };
        let message = format!("stdin cannot give both {one} and {other}");
        Err(Error::new(ErrorCode::UsageConflict, message).hint(Hint::TwoReadersOfStdin))
    }

    async fn device_name(&self, context: &Context) -> Result<Option<DeviceName>> {
        let name = match self.device_name.as_ref().or(context.config.device_name.as_ref()) {
            Some(name) => DeviceName::parse(name)?,
            None if context.may_ask => return NAME.ask(context, Some(""), DeviceName::parse).await,
            None => return Err(self.no_name()),
        };
        if name.is_none() && !self.authority.is_named() {
            context.progress.warn("the device name is empty: the server makes one up, and never tells it");
        }
        Ok(name)
    }

    /// A rerun believes what the earlier run did, for the same server and unless another certificate is named.
    async fn saved_trust(
        &self,
        context: &Context,
        subject: Option<Subject<'_>>,
        host: &Host,
        port: u16,
    ) -> Result<Trust> {
        let saved = match subject {
            Some(subject) => context.ledger.find(subject).await?,
            None => None,
        };
        let is_same = |entry: &Entry| entry.record.host == *host && entry.record.port == port;
        if let Some(entry) = saved.filter(|entry| is_same(entry) && entry.record.server_pem) {
            let mut trust = context.ledger.trust(&entry).await?;
            trust.skip_name_check |= self.trust.belief.skips_name_check(context);
            return Ok(trust);
        }
        self.trust.belief.customary(context)
    }

    async fn identity(&self, context: &Context) -> Result<IdentityPlan> {
        let config = &context.config;
        let credentials_type = self.credentials_type.or(config.credentials_type).unwrap_or_default();
        if let (Some(certificate), Some(key)) = (&self.cert, &self.key) {
            let identity = self.key_file.read_pair_to_keep(context, certificate, key).await?;
            identity.leaf.check_dates(&shown_path(certificate))?;
            if credentials_type == CredentialsType::X509 {
                return Ok(IdentityPlan::Given(Box::new(identity)));
            }
            let message = format!("--cert and --key do not go with --credentials-type {credentials_type}");
            return Err(Error::new(ErrorCode::UsageConflict, message));
        }
        Ok(match credentials_type {
            CredentialsType::X509 => {
                let days = self.days.or(config.days.map(NonZeroU32::get));
                days.map_or(Ok(()), Validity::check_days)?;
                IdentityPlan::Generate { key_type: self.key_type.or(config.key_type), days }
            }
            CredentialsType::AccessToken => IdentityPlan::AccessToken,
            CredentialsType::MqttBasic => IdentityPlan::MqttBasic,
        })
    }

    fn no_name(&self) -> Error {
        let message = "a device name is needed, and there is no terminal to ask on";
        Error::new(ErrorCode::UsageMissing, message).hint(self.authority.hint_of_name())
    }
}
