//! `tbprov devices remove`

use std::fmt;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::super::context::Context;
use super::super::prompt::Confirmation;
use tbprov::flow;
use tbprov::server::Host;
use tbprov::text::shown_path;
use tbprov::{Error, ErrorCode, Result, Step};

/// Take a device out of the store. Its folder is kept in .removed, and the server still knows the device.
#[derive(Debug, Args)]
pub(in crate::cli) struct RemoveArgs {
    /// The device.
    name: String,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

impl RemoveArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        let device = context.device(Some(&self.name)).await?;
        let server = device.record.host.with_port(device.record.port).to_string();
        let question = format!(
            "Take '{}' ({}, of {server}) out of {}?",
            device.shown_name(),
            device.record.state().as_str(),
            shown_path(&context.store)
        );
        if !self.yes && !(Confirmation { text: question, otherwise: "--yes" }).ask(context).await? {
            return Err(Error::new(ErrorCode::Interrupted, "nothing was removed"));
        }
        context.progress.begin(Step::Stage);
        let moved_to = flow::remove(&device, &*context.ledger).await?;
        let result = RemoveResult {
            device: device.shown_name().to_owned(),
            credentials_id: device.record.identity.credentials_id.clone(),
            moved_to,
            host: device.record.host.clone(),
            port: device.record.port,
            known_to_server: device.record.state() != tbprov::State::Staged,
        };
        context.output.result("devices remove", &result);
        Ok(ExitCode::SUCCESS)
    }
}

/// The result of `devices remove`. Documented in `docs/protocol.md`.
#[derive(Serialize)]
struct RemoveResult {
    device: String,
    credentials_id: Option<String>,
    moved_to: String,
    host: Host,
    port: u16,
    /// Whether the server may still have the device.
    known_to_server: bool,
}

impl fmt::Display for RemoveResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{} was moved to {}", self.device, self.moved_to)?;
        if self.known_to_server {
            let server = self.host.with_port(self.port);
            writeln!(formatter, "{server} still knows it: delete it there too, or its name stays taken")?;
        }
        Ok(())
    }
}
