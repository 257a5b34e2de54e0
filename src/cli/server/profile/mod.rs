//! `tbprov server profile`

mod change;
mod create;
mod shown;
mod written;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::super::context::Context;
use super::ApiArgs;
use shown::{ListResult, ProfileResult, Shown};
use tbprov::rest::{Account, DeviceProfile};
use tbprov::text::shown;
use tbprov::{Error, ErrorCode, Result};
use written::ConfigFile;

/// Characters of a provision key and of a secret, as ThingsBoard's own web page makes them.
const LENGTH: usize = 20;

/// Manage device profiles: how devices of a kind are registered, and with which provision key and secret.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ProfileCommand {
    /// List every device profile: strategy and provision key.
    List(ListArgs),
    Show(ShowArgs),
    Create(create::CreateArgs),
    NewSecret(change::NewSecretArgs),
    Disable(change::DisableArgs),
}

impl ProfileCommand {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::List(_) => "server profile list",
            Self::Show(_) => "server profile show",
            Self::Create(_) => "server profile create",
            Self::NewSecret(_) => "server profile new-secret",
            Self::Disable(_) => "server profile disable",
        }
    }

    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::List(args) => args.run(context).await,
            Self::Show(args) => args.run(context).await,
            Self::Create(args) => args.run(context).await,
            Self::NewSecret(args) => args.run(context).await,
            Self::Disable(args) => args.run(context).await,
        }
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    api: ApiArgs,
}

impl ListArgs {
    async fn run(self, context: &Context) -> Result<ExitCode> {
        let account = self.api.account(context).await?;
        let profiles = account.profiles(&context.progress).await?;
        let profiles = profiles.iter().map(Shown::new).collect();
        let api_url = account.url().to_string();
        context.output.result("server profile list", &ListResult { api_url, profiles });
        Ok(ExitCode::SUCCESS)
    }
}

/// Where the provision key and secret are written.
#[derive(Debug, Args)]
struct WriteArgs {
    /// Write the provision key and the name of a file with the provision secret to this tbprov.toml, where 'tbprov
    /// provision' finds them. Its other lines stay. The secret goes to a new file beside it that only you can read.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

impl WriteArgs {
    /// The file, read and found fit for this key, before anything is changed.
    fn prepared(&self, key: &str) -> Result<Option<ConfigFile>> {
        self.write.as_deref().map(|path| ConfigFile::prepare(path, key)).transpose()
    }
}

/// Show a device profile: strategy, provision key, and what is wrong with it. The secret is written, and never shown.
#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// The device profile's name.
    name: String,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    api: ApiArgs,
}

impl ShowArgs {
    async fn run(self, context: &Context) -> Result<ExitCode> {
        let account = self.api.account(context).await?;
        let profile = existing(&account, &self.name, context).await?;
        let written = match (&self.write.write, request_secret(&profile)) {
            (None, _) => None,
            (Some(_), Some((key, secret))) => {
                self.write.prepared(&key)?.map(|file| file.write(&secret)).transpose()?
            }
            (Some(_), None) => {
                let message =
                    format!("the device profile '{}' has no provision key and secret", shown(&self.name));
                return Err(Error::new(ErrorCode::UsageConflict, message));
            }
        };
        let result = ProfileResult::new("shown", &account, &profile, written);
        context.output.result("server profile show", &result);
        Ok(ExitCode::SUCCESS)
    }
}

/// A failure after which the server may have saved the profile all the same: key and secret can be read there.
fn may_be_made(error: Error) -> Error {
    use ErrorCode::{NetworkClosed, NetworkTimeout, RestNotThingsBoard, RestServerError, VerifyNotStored};
    let is_open = matches!(
        error.code,
        NetworkClosed | NetworkTimeout | RestNotThingsBoard | RestServerError | VerifyNotStored
    );
    if is_open { error.hint(tbprov::error::Hint::ShowProfile) } else { error }
}

/// What a provision request of this profile needs; a chain's secret is a certificate.
fn request_secret(profile: &DeviceProfile) -> Option<(String, tbprov::Secret)> {
    use tbprov::rest::Strategy::{Create, PreProvisioned};
    if !matches!(profile.strategy(), Some(Create | PreProvisioned)) {
        return None;
    }
    Some((profile.provision_key()?.to_owned(), profile.provision_secret()?))
}

/// The device profile of this name, which has to be there.
async fn existing(account: &Account, name: &str, context: &Context) -> Result<DeviceProfile> {
    account.profile(name, &context.progress).await?.ok_or_else(|| {
        let message = format!("{} has no device profile '{}'", account.url(), shown(name));
        Error::new(ErrorCode::RestNotFound, message).hint(tbprov::error::Hint::ListProfiles)
    })
}
