//! The password of an encrypted private key.

use std::path::{Path, PathBuf};

use clap::Args;

use super::context::Context;
use super::prompt::Question;
use super::secret_file;
use super::values::{Given, Source, variable};
use tbprov::error::Hint;
use tbprov::{Error, Result, Secret};

/// Where the password comes from.
#[derive(Debug, Args)]
pub(super) struct KeyPasswordArgs {
    /// The password of an encrypted private key is the first line of this file; - is stdin. Without it,
    /// TBPROV_KEY_PASSWORD has it, or it is asked for.
    #[arg(long, value_name = "FILE")]
    key_password_file: Option<PathBuf>,
}

const VARIABLE: &str = "TBPROV_KEY_PASSWORD";

const PASSWORD: Question = Question {
    text: "Password of the private key",
    otherwise: "--key-password-file FILE (- is stdin), TBPROV_KEY_PASSWORD, or at a terminal",
};

const NEW_PASSWORD: Question = Question {
    text: "Password of the key",
    otherwise: "--key-password-file FILE, TBPROV_KEY_PASSWORD, or leave out --encrypt-key",
};

impl KeyPasswordArgs {
    /// Whether the password is to come from stdin.
    pub(super) fn reads_stdin(&self) -> bool {
        self.key_password_file.as_deref() == Some(Path::new("-"))
    }

    /// The password of a private key, where `encrypted` says that there is one.
    pub(super) async fn password(&self, context: &Context, encrypted: Error) -> Result<Secret> {
        match self.given(context).await? {
            Some(given) => Ok(given.value),
            None if context.may_ask => PASSWORD.ask_hidden(context, false).await,
            None => Err(encrypted.hint(Hint::KeyPassword)),
        }
    }

    /// The password for a new key, which is typed twice.
    pub(super) async fn new_password(&self, context: &Context) -> Result<Secret> {
        let Given { source, value } = match self.given(context).await? {
            Some(given) => given,
            None => {
                let source = Source::Other("the password of the key".to_owned());
                Given { source, value: NEW_PASSWORD.ask_hidden(context, true).await? }
            }
        };
        if value.expose().is_empty() { Err(source.is_empty()) } else { Ok(value) }
    }

    /// By file, else by variable.
    async fn given(&self, context: &Context) -> Result<Option<Given<Secret>>> {
        if let Some(file) = &self.key_password_file {
            let value = secret_file::read(context, file, "the password of the key").await?;
            return Ok(Some(Given { source: Source::flag("--key-password-file"), value }));
        }
        Ok(variable(VARIABLE)?.map(|Given { source, value }| Given { source, value: Secret::new(value) }))
    }
}
