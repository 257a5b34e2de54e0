//! `tbprov server`: what an administrator of ThingsBoard does, by an account at its REST API.

mod check;
mod device;
mod profile;
mod register;
mod remove;
mod telemetry;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::account_args::AccountArgs;
use super::context::Context;
use super::server_args::{ProxyArgs, parse_timeout, timeout_or_default};
use tbprov::error::Hint;
use tbprov::ledger::Entry;
use tbprov::rest::Account;
use tbprov::text::{shown, shown_path};
use tbprov::{Error, ErrorCode, Result};

/// Administer ThingsBoard with an account: device profiles, devices and their credentials, telemetry.
#[derive(Debug, Subcommand)]
pub(super) enum ServerCommand {
    Check(check::CheckArgs),
    Device(device::DeviceArgs),
    Telemetry(telemetry::TelemetryArgs),
    Register(register::RegisterArgs),
    Remove(remove::RemoveArgs),
    #[command(subcommand)]
    Profile(profile::ProfileCommand),
}

impl ServerCommand {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Check(_) => "server check",
            Self::Device(_) => "server device",
            Self::Telemetry(_) => "server telemetry",
            Self::Register(_) => "server register",
            Self::Remove(_) => "server remove",
            Self::Profile(command) => command.name(),
        }
    }

    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Check(args) => context.interruptible(args.run(context)).await,
            Self::Device(args) => context.interruptible(args.run(context)).await,
            // An interrupt ends what is followed well.
            Self::Telemetry(args) => args.run(context).await,
            Self::Register(args) => args.run(context).await,
            Self::Remove(args) => context.interruptible(args.run(context)).await,
            Self::Profile(command) => context.interruptible(command.run(context)).await,
        }
    }
}

/// The account, and how to reach its server.
#[derive(Debug, Args)]
struct ApiArgs {
    #[command(flatten)]
    account: AccountArgs,
    /// How long each step may take, such as 15s or 1m [default: 15s].
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout, help_heading = "Account")]
    timeout: Option<Duration>,
    #[command(flatten)]
    proxy: ProxyArgs,
}

impl ApiArgs {
    /// The account, which has to be named.
    async fn account(&self, context: &Context) -> Result<Account> {
        let timeout = timeout_or_default(self.timeout, context)?;
        self.account.needed(context, timeout, self.proxy.proxy(context)?).await
    }
}

/// The name of a device at the server, which takes what [`DeviceName`](tbprov::DeviceName) does not, and no empty one.
fn name_of(given: &str) -> Result<&str> {
    match given.trim() {
        "" => Err(Error::new(ErrorCode::UsageInvalid, "the device's name is empty")),
        name => Ok(name),
    }
}

/// The server has no such device. Where the store has one, an account can register it.
fn no_device(account: &Account, name: &str, context: &Context, in_store: Option<&Entry>) -> Error {
    let url = account.url();
    match in_store {
        Some(entry) => {
            let (name, state, place) = (shown(name), entry.record.state().as_str(), entry.place());
            let message = format!("{url} has no device '{name}'; the store has one ({state}), in {place}");
            Error::new(ErrorCode::RestNotFound, message)
                .hint(Hint::RegisterAtServer(entry.shown_name().to_owned()))
        }
        None => {
            let (name, store) = (shown(name), shown_path(&context.store));
            let message = format!("neither {url} nor the store {store} has a device '{name}'");
            Error::new(ErrorCode::RestNotFound, message)
        }
    }
}

/// A time in milliseconds since 1970, as RFC 3339 has it; nothing for one that it cannot write.
fn moment(milliseconds: i64) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000).ok()?;
    (0..=9999).contains(&time.year()).then(|| time.format(&Rfc3339).ok()).flatten()
}
