//! `tbprov server profile new-secret` and `disable`

use std::process::ExitCode;

use clap::Args;

use super::super::super::context::Context;
use super::super::super::prompt::Confirmation;
use super::super::ApiArgs;
use super::shown::ProfileResult;
use super::{LENGTH, WriteArgs, existing, may_be_made, request_secret};
use tbprov::error::Hint;
use tbprov::rest::{Provisioning, Strategy};
use tbprov::text::shown;
use tbprov::{Error, ErrorCode, Result, Secret};

/// Give a device profile a new provision secret. The old one is refused from then on; devices that are registered go on.
#[derive(Debug, Args)]
pub(in crate::cli) struct NewSecretArgs {
    /// The device profile's name.
    name: String,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    api: ApiArgs,
}

impl NewSecretArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        let account = self.api.account(context).await?;
        let profile = existing(&account, &self.name, context).await?;
        let Some((key, _)) = request_secret(&profile) else {
            let message = format!(
                "the device profile '{}' registers no devices by a provision key and secret",
                shown(&self.name)
            );
            return Err(Error::new(ErrorCode::UsageConflict, message));
        };
        let file = self.write.prepared(&key)?;
        let secret = Secret::random(LENGTH)?;
        let pre_provisioned = profile.strategy() == Some(Strategy::PreProvisioned);
        let provisioning = Provisioning::Request { pre_provisioned, key, secret: secret.clone() };
        let changed = account.change_profile(&profile, &provisioning, &context.progress).await;
        let profile = changed.map_err(may_be_made)?;
        let written = file.map(|file| file.write(&secret)).transpose();
        let written = written.map_err(|error| error.hint(Hint::ShowProfile))?;
        let result = ProfileResult::new("changed", &account, &profile, written);
        context.output.result("server profile new-secret", &result);
        Ok(ExitCode::SUCCESS)
    }
}

/// Let a device profile register no more devices. Those that are registered go on. Its key and secret are gone then.
#[derive(Debug, Args)]
pub(in crate::cli) struct DisableArgs {
    /// The device profile's name.
    name: String,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl DisableArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        let account = self.api.account(context).await?;
        let profile = existing(&account, &self.name, context).await?;
        let text = format!(
            "Let '{}' at {} register no more devices? Its provision key and secret are gone then.",
            self.name,
            account.url()
        );
        if !self.yes && !(Confirmation { text, otherwise: "--yes" }).ask(context).await? {
            return Err(Error::new(ErrorCode::Interrupted, "nothing was changed"));
        }
        let profile = account.change_profile(&profile, &Provisioning::Disabled, &context.progress).await?;
        let result = ProfileResult::new("disabled", &account, &profile, None);
        context.output.result("server profile disable", &result);
        Ok(ExitCode::SUCCESS)
    }
}
