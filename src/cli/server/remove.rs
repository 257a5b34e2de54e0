//! `tbprov server remove`

use std::fmt;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::super::context::Context;
use super::super::prompt::Confirmation;
use super::super::shell::stored_device;
use super::device::in_store;
use super::{ApiArgs, name_of, no_device};
use tbprov::text::shown;
use tbprov::{Error, ErrorCode, Result};

/// Delete a device at the server, with its telemetry. The store still has its identity.
#[derive(Debug, Args)]
pub(in crate::cli) struct RemoveArgs {
    /// The device's name at the server.
    name: String,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl RemoveArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        let name = name_of(&self.name)?;
        let account = self.api.account(context).await?;
        let progress = &context.progress;
        let entry = in_store(context, name).await?;
        let Some(device) = account.device(name, progress).await? else {
            return Err(no_device(&account, name, context, entry.as_ref()));
        };
        let question = format!(
            "Delete '{}' at {}, with its telemetry? What connects as it is cut off.",
            shown(name),
            account.url()
        );
        if !self.yes && !(Confirmation { text: question, otherwise: "--yes" }).ask(context).await? {
            return Err(Error::new(ErrorCode::Interrupted, "nothing was removed"));
        }
        account.remove_device(&device, progress).await?;
        if account.device(name, progress).await?.is_some() {
            let message = format!("{} has '{}' still, after it was deleted", account.url(), shown(name));
            return Err(Error::new(ErrorCode::VerifyNotStored, message));
        }
        let result = RemoveResult {
            api_url: account.url().to_string(),
            device: name.to_owned(),
            id: device.id().to_owned(),
            in_store: entry.is_some(),
        };
        context.output.result("server remove", &result);
        Ok(ExitCode::SUCCESS)
    }
}

/// The result of `server remove`. Documented in `docs/protocol.md`.
#[derive(Serialize)]
struct RemoveResult {
    api_url: String,
    device: String,
    id: String,
    /// Whether the store has a device of this name.
    in_store: bool,
}

impl fmt::Display for RemoveResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{} was deleted at {}", shown(&self.device), self.api_url)?;
        if self.in_store {
            let name = stored_device(&self.device);
            writeln!(
                formatter,
                "the store still has it: 'tbprov devices remove {name}' takes it out there too, 'tbprov server register {name}' brings it back"
            )?;
        }
        Ok(())
    }
}
