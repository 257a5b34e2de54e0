//! `tbprov firmware identity`

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::super::context::Context;
use super::super::ledger_args::LedgerArgs;
use super::super::new_file::refuse_existing;
use super::identity_args::IdentityArgs;
use tbprov::Result;
use tbprov::files::{self, Access};
use tbprov::server::Host;
use tbprov::text::shown_path;

/// Write a device's identity partition to a file of 24 KB, readable by its owner only: it holds the private key.
#[derive(Debug, Args)]
pub(in crate::cli) struct FirmwareIdentityArgs {
    /// The device [default: the store's only one].
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) ledger: LedgerArgs,
    /// The file to write; it must not exist.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    identity: IdentityArgs,
}

impl FirmwareIdentityArgs {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<ExitCode> {
        refuse_existing(&self.out)?;
        let device = context.device(self.device.as_deref()).await?;
        let dialer = self.identity.dialer(context, &device).await?;
        let partition = self.identity.partition(context, &device, &dialer).await?;
        files::write_new(&self.out, &partition, Access::Owner)?;
        let result = IdentityResult {
            device: device.shown_name().to_owned(),
            host: dialer.server.host,
            port: dialer.server.port,
            file: self.out,
            bytes: partition.len(),
        };
        context.output.result("firmware identity", &result);
        Ok(ExitCode::SUCCESS)
    }
}

/// The result of `firmware identity`. Documented in `docs/protocol.md`.
#[derive(Serialize)]
struct IdentityResult {
    device: String,
    host: Host,
    port: u16,
    file: PathBuf,
    bytes: usize,
}

impl fmt::Display for IdentityResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{}: the identity for {} is in {} ({} bytes, with the private key: delete it after use)",
            self.device,
            self.host.with_port(self.port),
            shown_path(&self.file),
            self.bytes
        )
    }
}
