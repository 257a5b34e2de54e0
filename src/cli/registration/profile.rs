//! The device profile's provision key and secret.

use std::path::{Path, PathBuf};

use clap::Args;

use super::super::context::Context;
use super::super::secret_file::{self, clap_secret};
use super::super::values::{Given, Source, variable};
use super::questions::{KEY, SECRET};
use tbprov::{Result, Secret};

/// The variables that hold them. Not read by clap, to which a variable beside a flag of another kind would be a
/// conflict.
pub(in crate::cli) const KEY_VARIABLE: &str = "TBPROV_PROVISION_KEY";
const SECRET_VARIABLE: &str = "TBPROV_PROVISION_SECRET";

/// How the device profile is named.
#[derive(Debug, Args)]
pub(in crate::cli) struct ProfileArgs {
    /// The provision key of the device profile. [env: TBPROV_PROVISION_KEY]
    #[arg(long, value_name = "KEY")]
    provision_key: Option<String>,
    /// The provision secret. Other users can see a flag in the process list. Use the variable or the file
    /// instead.
    /// [env: TBPROV_PROVISION_SECRET]
    #[arg(long, value_name = "SECRET", value_parser = clap_secret, conflicts_with = "provision_secret_file")]
    provision_secret: Option<Secret>,
    /// A file with the provision secret; '-' is stdin.
    #[arg(long, value_name = "FILE")]
    provision_secret_file: Option<PathBuf>,
}

impl ProfileArgs {
    /// Whether the secret comes from stdin.
    pub(in crate::cli) fn reads_stdin(&self) -> bool {
        self.provision_secret_file.as_deref() == Some(Path::new("-"))
    }

    /// Says that the variable or the configuration names a profile that is not asked.
    pub(in crate::cli) fn is_ignored(&self, context: &Context) {
        let config = &context.config;
        let is_set = |name: &str| std::env::var_os(name).is_some();
        let names_key = is_set(KEY_VARIABLE) || config.provision_key.is_some();
        let names_secret = is_set(SECRET_VARIABLE)
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

    /// The provision key, without blanks around it; what is odd about it is added to `doubts`.
    pub(in crate::cli) async fn key(&self, context: &Context, doubts: &mut Vec<String>) -> Result<String> {
        let named = match &self.provision_key {
            Some(key) => Some(Given { source: Source::flag("--provision-key"), value: key.clone() }),
            None => variable(KEY_VARIABLE)?,
        };
        let of_file = || {
            let key = context.config.provision_key.clone();
            key.map(|value| Given { source: Source::Line("provision-key"), value })
        };
        let Some(Given { source, value }) = named.or_else(of_file) else {
            return KEY
                .ask(context, None, |answer| key_of(&Source::Other("the answer".to_owned()), answer))
                .await;
        };
        doubts.extend(source.doubt(&value));
        key_of(&source, &value)
    }

    /// The provision secret, as it is; what is odd about it is a warning, and added to `doubts`.
    pub(in crate::cli) async fn secret(&self, context: &Context, doubts: &mut Vec<String>) -> Result<Secret> {
        let Given { source, value } = self.given_secret(context).await?;
        source.check_seen(value.expose())?;
        if value.expose().trim().is_empty() {
            return Err(source.is_empty());
        }
        if let Some(doubt) = source.doubt(value.expose()) {
            context.progress.warn(doubt.clone());
            doubts.push(doubt);
        }
        Ok(value)
    }

    async fn given_secret(&self, context: &Context) -> Result<Given<Secret>> {
        let config = &context.config;
        let what = "the provision secret";
        if let Some(secret) = &self.provision_secret {
            return Ok(Given { source: Source::flag("--provision-secret"), value: secret.clone() });
        }
        if let Some(path) = &self.provision_secret_file {
            let source = Source::Other("the file of --provision-secret-file".to_owned());
            return Ok(Given { source, value: secret_file::read(context, path, what).await? });
        }
        if let Some(Given { source, value }) = variable(SECRET_VARIABLE)? {
            return Ok(Given { source, value: Secret::new(value) });
        }
        if let Some(secret) = &config.provision_secret {
            return Ok(Given { source: Source::Line("provision-secret"), value: secret.clone() });
        }
        if let Some(path) = &config.provision_secret_file {
            let source = Source::Other("the file of 'provision-secret-file' in tbprov.toml".to_owned());
            return Ok(Given { source, value: secret_file::read(context, path, what).await? });
        }
        let value = SECRET.ask_hidden(context, false).await?;
        Ok(Given { source: Source::Other("the answer".to_owned()), value })
    }
}

fn key_of(source: &Source, text: &str) -> Result<String> {
    source.check_seen(text)?;
    match text.trim() {
        "" => Err(source.is_empty()),
        key => Ok(key.to_owned()),
    }
}
