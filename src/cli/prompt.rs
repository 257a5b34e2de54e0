//! The conversation: each question with its default, checked at once. Asked on a thread of its own, so that
//! Ctrl-C ends it.

use dialoguer::{Confirm, Input, Password};

use super::context::Context;
use tbprov::error::Hint;
use tbprov::{Error, ErrorCode, Result, Secret, blocking};

/// A question, and how to answer it without a terminal.
pub(super) struct Question {
    pub(super) text: &'static str,
    /// For example `--host HOST, TBPROV_HOST or host = "…" in tbprov.toml`.
    pub(super) otherwise: &'static str,
}

impl Question {
    fn cannot_be_asked(&self) -> Error {
        let message = format!("{} is needed, and there is no terminal to ask on", self.text);
        Error::new(ErrorCode::UsageMissing, message).hint(Hint::GiveBy(self.otherwise))
    }

    /// Asks for a line; an empty one means `default`, and is refused where there is none.
    pub(super) async fn ask<T: Send + 'static>(
        self,
        context: &Context,
        default: Option<&str>,
        parse: fn(&str) -> Result<T>,
    ) -> Result<T> {
        if !context.may_ask {
            return Err(self.cannot_be_asked());
        }
        let default = default.map(str::to_owned);
        let answer = in_background(context, move || {
            let mut input = Input::<String>::new().with_prompt(self.text);
            if let Some(default) = default {
                let shown = !default.is_empty();
                input = input.allow_empty(!shown).default(default).show_default(shown);
            }
            input
                .validate_with(|text: &String| parse(text).map(|_| ()).map_err(|error| error.message))
                .interact_text()
        })
        .await?;
        parse(&answer)
    }

    /// Asks for something that is not shown while it is typed.
    pub(super) async fn ask_hidden(self, context: &Context, twice: bool) -> Result<Secret> {
        if !context.may_ask {
            return Err(self.cannot_be_asked());
        }
        let answer = in_background(context, move || {
            let mut password = Password::new().with_prompt(self.text);
            if twice {
                password = password.with_confirmation("Once more", "They differ");
            }
            password.interact()
        })
        .await?;
        Ok(Secret::new(answer))
    }
}

/// A question that is answered with yes or no.
pub(super) struct Confirmation {
    pub(super) text: String,
    /// The flag that answers it without a terminal.
    pub(super) otherwise: &'static str,
}

impl Confirmation {
    pub(super) async fn ask(self, context: &Context) -> Result<bool> {
        if !context.may_ask {
            let message = "a confirmation is needed, and there is no terminal to ask on";
            return Err(Error::new(ErrorCode::UsageMissing, message).hint(Hint::GiveBy(self.otherwise)));
        }
        in_background(context, move || Confirm::new().with_prompt(self.text).default(false).interact()).await
    }
}

async fn in_background<T: Send + 'static>(
    context: &Context,
    ask: impl FnOnce() -> dialoguer::Result<T> + Send + 'static,
) -> Result<T> {
    let asked = context.interruptible(blocking(move || Ok(ask()))).await?;
    asked.map_err(|dialoguer::Error::IO(error)| match error.kind() {
        std::io::ErrorKind::Interrupted => Error::interrupted(),
        _ => {
            let message = format!("the terminal cannot be read: {error}");
            Error::new(ErrorCode::UsageMissing, message).source(error)
        }
    })
}
