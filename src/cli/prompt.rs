//! The conversation: each question with its default, checked at once. Asked on a thread of its own, so that
//! Ctrl-C ends it.

use std::fmt;
use std::io;

use dialoguer::theme::{SimpleTheme, Theme as _};
use zeroize::Zeroizing;

use super::context::Context;
use super::editor::read_line;
use super::values::Source;
use tbprov::error::Hint;
use tbprov::text::shown;
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
        let shown = default.filter(|default| !default.is_empty());
        let prompt = themed(|theme, to| theme.format_input_prompt(to, self.text, shown));
        self.ask_by(context, prompt, default.map(str::to_owned), parse).await
    }

    /// Asks for a line that has no default, and shows an example.
    pub(super) async fn ask_like<T: Send + 'static>(
        self,
        context: &Context,
        example: &str,
        parse: fn(&str) -> Result<T>,
    ) -> Result<T> {
        let text = format!("{} (such as {example})", self.text);
        let prompt = themed(|theme, to| theme.format_input_prompt(to, &text, None));
        self.ask_by(context, prompt, None, parse).await
    }

    async fn ask_by<T: Send + 'static>(
        self,
        context: &Context,
        prompt: String,
        default: Option<String>,
        parse: fn(&str) -> Result<T>,
    ) -> Result<T> {
        if !context.may_ask {
            return Err(self.cannot_be_asked());
        }
        in_background(context, move || {
            loop {
                let line = read_line(&prompt, false)?;
                match answer(&line, default.as_deref(), parse) {
                    Ok(value) => return Ok(value),
                    Err(error) => refuse(&error)?,
                }
            }
        })
        .await
    }

    /// Asks for something that is not shown while it is typed.
    pub(super) async fn ask_hidden(self, context: &Context, twice: bool) -> Result<Secret> {
        if !context.may_ask {
            return Err(self.cannot_be_asked());
        }
        in_background(context, move || {
            loop {
                let secret = read_line(&format!("{}: ", self.text), true)?;
                if !twice || read_line("Once more: ", true)? == secret {
                    return Ok(Secret::from(secret));
                }
                refuse(&Error::new(ErrorCode::UsageInvalid, "They differ"))?;
            }
        })
        .await
    }
}

/// What was typed, or what its absence means.
fn answer<T>(line: &Zeroizing<String>, default: Option<&str>, parse: fn(&str) -> Result<T>) -> Result<T> {
    let source = Source::Other("the answer".to_owned());
    match (line.trim(), default) {
        ("", Some(default)) => parse(default),
        ("", None) => Err(source.is_empty()),
        _ => source.check(line).and_then(|()| parse(line)),
    }
}

fn refuse(error: &Error) -> io::Result<()> {
    let text = shown(&error.message);
    console::Term::stderr().write_line(&themed(|theme, to| theme.format_error(to, &text)))
}

/// What dialoguer shows. The line itself is read here: dialoguer takes no notice of Ctrl-D and Esc.
fn themed(format: impl Fn(&SimpleTheme, &mut dyn fmt::Write) -> fmt::Result) -> String {
    let mut text = String::new();
    // Writing to a string never fails.
    let _ = format(&SimpleTheme, &mut text);
    text
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
        in_background(context, move || {
            loop {
                let text = tbprov::text::escaped(&self.text);
                let prompt = themed(|theme, to| theme.format_confirm_prompt(to, &text, Some(false)));
                match read_line(&prompt, false)?.trim().to_lowercase().as_str() {
                    "y" | "yes" => return Ok(true),
                    "" | "n" | "no" => return Ok(false),
                    _ => refuse(&Error::new(ErrorCode::UsageInvalid, "answer y or n"))?,
                }
            }
        })
        .await
    }
}

async fn in_background<T: Send + 'static>(
    context: &Context,
    ask: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let asked = context.interruptible(blocking(move || Ok(ask()))).await?;
    asked.map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted => Error::interrupted(),
        _ => {
            let message = format!("the terminal cannot be read: {error}");
            Error::new(ErrorCode::UsageMissing, message).source(error)
        }
    })
}
