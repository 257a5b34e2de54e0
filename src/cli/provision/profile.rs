//! The device profile's provision key and secret.

use std::path::{Path, PathBuf};

use clap::Args;

use super::super::context::Context;
use super::super::secret_file::{self, clap_secret};
use super::questions::{KEY, SECRET};
use tbprov::{Error, ErrorCode, Result, Secret};

/// The variables that hold them. Not read by clap, to which a variable beside a flag of another kind would be a
/// conflict.
const KEY_VARIABLE: &str = "TBPROV_PROVISION_KEY";
const SECRET_VARIABLE: &str = "TBPROV_PROVISION_SECRET";

/// How the device profile is named.
#[derive(Debug, Args)]
pub(super) struct ProfileArgs {
    /// The provision key of the device profile. [env: TBPROV_PROVISION_KEY]
    #[arg(long, value_name = "KEY")]
    provision_key: Option<String>,
    /// The provision secret. Others can see a flag in the process list: better the variable, or the file.
    /// [env: TBPROV_PROVISION_SECRET]
    #[arg(long, value_name = "SECRET", value_parser = clap_secret, conflicts_with = "provision_secret_file")]
    provision_secret: Option<Secret>,
    /// A file with the provision secret; '-' is stdin.
    #[arg(long, value_name = "FILE")]
    provision_secret_file: Option<PathBuf>,
}

impl ProfileArgs {
    /// Whether the secret comes from stdin.
    pub(super) fn reads_stdin(&self) -> bool {
        self.provision_secret_file.as_deref() == Some(Path::new("-"))
    }

    /// Says that the variable or the configuration names a profile that is not asked.
    pub(super) fn is_ignored(&self, context: &Context) {
        let config = &context.config;
        let names_key = variable(KEY_VARIABLE).is_some() || config.provision_key.is_some();
        let names_secret = variable(SECRET_VARIABLE).is_some()
            || config.provision_secret.is_some()
            || config.provision_secret_file.is_some();
        if names_key || names_secret {
            context.progress.warn(
                "the provision key and secret are not used: the device is registered by its certificate at connect",
            );
        }
        if config.gateway {
            context.progress.warn("'gateway' is not used: a device that registers at connect is none");
        }
    }

    pub(super) async fn key(&self, context: &Context) -> Result<String> {
        let named = self.provision_key.clone().or_else(|| variable(KEY_VARIABLE));
        match named.as_ref().or(context.config.provision_key.as_ref()) {
            Some(key) => not_blank(key),
            None => KEY.ask(context, None, not_blank).await,
        }
    }

    pub(super) async fn secret(&self, context: &Context) -> Result<Secret> {
        let config = &context.config;
        let what = "the provision secret";
        let secret = if let Some(secret) = &self.provision_secret {
            secret.clone()
        } else if let Some(path) = &self.provision_secret_file {
            secret_file::read(context, path, what).await?
        } else if let Some(secret) =
            variable(SECRET_VARIABLE).map(Secret::new).or_else(|| config.provision_secret.clone())
        {
            secret
        } else if let Some(path) = &config.provision_secret_file {
            secret_file::read(context, path, what).await?
        } else {
            SECRET.ask_hidden(context, false).await?
        };
        if secret.expose().chars().any(char::is_control) {
            return Err(Error::new(
                ErrorCode::UsageInvalid,
                "the provision secret holds a control character",
            ));
        }
        if secret.expose().trim().is_empty() {
            return Err(Error::new(ErrorCode::UsageInvalid, "the provision secret is empty"));
        }
        Ok(secret)
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn not_blank(text: &str) -> Result<String> {
    match text.trim() {
        "" => Err(Error::new(ErrorCode::UsageInvalid, "the provision key is empty")),
        key => Ok(key.to_owned()),
    }
}
