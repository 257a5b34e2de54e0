//! `tbprov server register`

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::super::account_args::AccountArgs;
use super::super::context::Context;
use super::super::prompt::Confirmation;
use super::super::registration::{HOST, PROVISION_KEY};
use super::super::results::ServerResult;
use super::super::server_args::{
    TrustArgs, clap_host, clap_port, host_if_named, parse_host, port_or_default,
};
use super::super::values::variable;
use tbprov::dial::Dialer;
use tbprov::flow::{self, Before, DEFAULT_HOST, IdentityPlan, Prover, RegisterPlan, Registered};
use tbprov::identity::{Validity, sha256_hex};
use tbprov::keys::KeyType;
use tbprov::ledger::{Entry, Subject};
use tbprov::rest::{Account, Device, DeviceCredentials, DeviceProfile};
use tbprov::server::Host;
use tbprov::text::{escaped, shown, shown_path};
use tbprov::{DeviceName, Error, ErrorCode, Result, State};

/// Register a device by the account: its certificate becomes the credentials of the server's device.
///
/// Makes the device where the server has none, and a new key and certificate where the store has none. So this is also the
/// way back after a lost key, or after the server's answer FAILURE. You can repeat the command.
#[derive(Debug, Args)]
pub(in crate::cli) struct RegisterArgs {
    /// The device's name, in the store and at the server.
    name: String,
    /// The device profile of a device that is made [default: the one of the provision key, else the tenant's default].
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Do not ask before other credentials of the server's device are replaced.
    #[arg(long, short)]
    yes: bool,
    /// The MQTT server that the device connects to [default: what the store says].
    #[arg(long, env = "TBPROV_HOST", value_name = "HOST", value_parser = clap_host, help_heading = "Server")]
    host: Option<Host>,
    /// Its port of MQTT over TLS [default: what the store says, else 8883].
    #[arg(long, env = "TBPROV_PORT", value_name = "PORT", value_parser = clap_port, help_heading = "Server")]
    port: Option<u16>,
    #[command(flatten)]
    trust: TrustArgs,
    /// A new key's type: ec-p256, ec-p384, ed25519, rsa-2048, rsa-3072 or rsa-4096 [default: ec-p256].
    #[arg(long, value_name = "TYPE", help_heading = "Identity")]
    key_type: Option<KeyType>,
    /// Days that a new certificate is valid [default: 3650].
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Identity")]
    days: Option<u32>,
    #[command(flatten)]
    account: AccountArgs,
}

impl RegisterArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        let ready = context.interruptible(self.prepare(context)).await?;
        let Ready { account, plan, dialer, profile_by } = ready;
        let prover = Prover::new(Arc::new(dialer));
        let registered = flow::register(&plan, &account, context.run(&prover)).await?;
        let profile = account.profile_with_id(registered.device.profile_id(), &context.progress);
        // The device is registered, whatever becomes of its profile's name.
        let profile = context.interruptible(profile).await.ok().flatten();
        let result = RegisterResult::new(&account, &registered, profile, profile_by);
        context.output.result("server register", &result);
        Ok(ExitCode::SUCCESS)
    }

    async fn prepare(&self, context: &Context) -> Result<Ready> {
        let Some(device_name) = DeviceName::parse(&self.name)? else {
            return Err(Error::new(ErrorCode::UsageInvalid, "the device's name is empty"));
        };
        let days = self.days.or(context.config.days.map(NonZeroU32::get));
        days.map_or(Ok(()), Validity::check_days)?;
        let name = device_name.as_str();
        let entry = context.ledger.find(Subject::Named(name)).await?;
        let dialer = self.dialer(context, entry.as_ref()).await?;
        let account =
            self.account.needed(context, self.trust.timeout(context)?, dialer.proxy.clone()).await?;
        let (mut replaces, mut profile, mut profile_by) = (None, None, None);
        match account.device(name, &context.progress).await? {
            Some(device) => {
                if self.profile.is_some() {
                    let message =
                        "--profile is not used: the server has the device, and it keeps its profile";
                    context.progress.warn(message);
                }
                replaces = self.agreed(context, &account, &device, entry.as_ref()).await?;
            }
            None => {
                let (found, by) = self.profile(context, &account, entry.as_ref()).await?;
                (profile, profile_by) = (found, Some(by));
            }
        }
        let key_type = self.key_type.or(context.config.key_type);
        let identity = IdentityPlan::Generate { key_type, days };
        let plan = RegisterPlan { device_name, identity, profile, replaces };
        Ok(Ready { account, plan, dialer, profile_by })
    }

    /// The MQTT server: the store's for a device of the store, unless another one is named.
    async fn dialer(&self, context: &Context, entry: Option<&Entry>) -> Result<Dialer> {
        if let Some(entry) = entry {
            return self.trust.dialer_for(context, entry, self.host.clone(), self.port).await;
        }
        let host = match host_if_named(self.host.as_ref(), context)? {
            Some(host) => host,
            None => HOST.ask_like(context, DEFAULT_HOST, parse_host).await?,
        };
        self.trust.dialer(context, host, port_or_default(self.port, context))
    }

    /// The credentials of the server's device that may be replaced; nothing where they are the store's already.
    async fn agreed(
        &self,
        context: &Context,
        account: &Account,
        device: &Device,
        entry: Option<&Entry>,
    ) -> Result<Option<DeviceCredentials>> {
        let held = account.credentials(device, &context.progress).await?;
        let id = entry.and_then(|entry| entry.record.identity.credentials_id.as_deref());
        if id.is_some() && held.credentials_id() == id {
            return Ok(None);
        }
        if self.yes || is_begun(context, account, device, &held, entry).await? {
            return Ok(Some(held));
        }
        let name = shown(&device.name);
        let what = match held.credentials_id() {
            Some(id) => format!("another certificate (credentialsId {})", shown(id)),
            None => format!("credentials of type {}", shown(held.credentials_type())),
        };
        let text = format!(
            "'{name}' at {} has {what}. Replace them by the store's certificate? Whoever uses them is cut off at once.",
            account.url()
        );
        if (Confirmation { text, otherwise: "--yes" }).ask(context).await? {
            return Ok(Some(held));
        }
        Err(Error::new(ErrorCode::Interrupted, "nothing was changed"))
    }

    /// The profile of a device that is made, and what has chosen it.
    async fn profile(
        &self,
        context: &Context,
        account: &Account,
        entry: Option<&Entry>,
    ) -> Result<(Option<DeviceProfile>, ChosenBy)> {
        let progress = &context.progress;
        if let Some(name) = &self.profile {
            let Some(found) = account.profile(name, progress).await? else {
                let message = format!("{} has no device profile '{}'", account.url(), shown(name));
                return Err(Error::new(ErrorCode::RestNotFound, message));
            };
            return Ok((Some(found), ChosenBy::Name));
        }
        let key = match variable(PROVISION_KEY)? {
            Some(given) => Some(given.value),
            None => context.config.provision_key.clone(),
        };
        let recorded = entry.and_then(|entry| entry.record.wishes.provision_key_sha256.clone());
        let wanted = recorded.or_else(|| key.map(|key| sha256_hex(key.trim().as_bytes())));
        let profiles = account.profiles(progress).await?;
        let has_key = |profile: &&DeviceProfile| {
            let key = profile.provision_key().map(|key| sha256_hex(key.as_bytes()));
            key.is_some() && key == wanted
        };
        if let Some(found) = profiles.iter().find(has_key) {
            return Ok((Some(found.clone()), ChosenBy::ProvisionKey));
        }
        if wanted.is_some() {
            progress.warn("no device profile has the provision key: the tenant's default profile is taken");
        }
        Ok((profiles.into_iter().find(DeviceProfile::is_default), ChosenBy::Default))
    }
}

/// How far the server's time of a device's creation may be from this machine's of the run that made it, in milliseconds.
const LONGEST_RUN: u64 = 10 * 60 * 1000;

/// Whether an earlier run made the server's device, and ended before it had its certificate: it has a token that the server
/// made up and nobody ever used.
async fn is_begun(
    context: &Context,
    account: &Account,
    device: &Device,
    held: &DeviceCredentials,
    entry: Option<&Entry>,
) -> Result<bool> {
    let sent = entry.filter(|entry| entry.record.state() == State::Sent);
    let sent = sent.and_then(|entry| entry.record.identity.reached.sent).map(|at| at.unix_timestamp() * 1000);
    let was_made_then = sent.is_some_and(|sent| device.created_time.abs_diff(sent) < LONGEST_RUN);
    if !was_made_then || held.credentials_type() != "ACCESS_TOKEN" {
        return Ok(false);
    }
    let attributes = account.server_attributes(device, &context.progress).await?;
    let was_used = |key: &str| {
        let value =
            attributes.iter().find(|attribute| attribute.key == key).map(|attribute| &attribute.value);
        value.is_some_and(|value| value.as_i64() != Some(0))
    };
    Ok(!was_used("lastActivityTime") && !was_used("lastConnectTime"))
}

/// All that is known before anything is done.
struct Ready {
    account: Account,
    plan: RegisterPlan,
    dialer: Dialer,
    profile_by: Option<ChosenBy>,
}

/// What has chosen the profile of a device that was made.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
enum ChosenBy {
    Name,
    ProvisionKey,
    Default,
}

/// The result of `server register`. Documented in `docs/protocol.md`.
#[derive(Serialize)]
struct RegisterResult {
    outcome: &'static str,
    api_url: String,
    device: String,
    created: bool,
    profile: Option<String>,
    profile_by: Option<ChosenBy>,
    credentials_id: Option<String>,
    directory: PathBuf,
    server: ServerResult,
    key_type: Option<KeyType>,
}

impl RegisterResult {
    fn new(
        account: &Account,
        done: &Registered,
        profile: Option<DeviceProfile>,
        profile_by: Option<ChosenBy>,
    ) -> Self {
        let record = &done.entry.record;
        Self {
            outcome: match done.before {
                Before::Nothing => "created",
                Before::OtherCredentials => "replaced",
                Before::Registered => "verified",
            },
            api_url: account.url().to_string(),
            device: done.device.name.clone(),
            created: done.before == Before::Nothing,
            profile: profile.map(|profile| profile.name().to_owned()),
            profile_by: profile_by.filter(|_| done.before == Before::Nothing),
            credentials_id: record.identity.credentials_id.clone(),
            directory: done.entry.directory.clone().unwrap_or_default(),
            server: ServerResult {
                host: record.host.clone(),
                port: record.port,
                tls: Some(done.proof.tls_version),
            },
            key_type: record.identity.key_type,
        }
    }
}

impl fmt::Display for RegisterResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.outcome {
            "created" => "made, and registered with this certificate",
            "replaced" => "registered with this certificate, in place of other credentials",
            _ => "was registered with this certificate already, and is verified",
        };
        writeln!(formatter, "device          {} ({what})", escaped(&self.device))?;
        let by = match self.profile_by {
            Some(ChosenBy::ProvisionKey) => " (the one of the provision key)",
            Some(ChosenBy::Default) => " (the tenant's default)",
            Some(ChosenBy::Name) | None => "",
        };
        writeln!(formatter, "profile         {}{by}", escaped(self.profile.as_deref().unwrap_or("unknown")))?;
        writeln!(formatter, "credentialsId   {}", self.credentials_id.as_deref().unwrap_or_default())?;
        let server = self.server.host.with_port(self.server.port);
        writeln!(formatter, "server          {server} {}", self.server.tls.unwrap_or_default())?;
        writeln!(formatter, "saved in        {}", shown_path(&self.directory))
    }
}
