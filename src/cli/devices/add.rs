//! `tbprov devices add`

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::super::context::Context;
use super::super::key_file::KeyFileArgs;
use super::super::server_args::{TrustArgs, clap_host, clap_port, host_if_named, port_or_default};
use super::show::ShowResult;
use tbprov::error::Hint;
use tbprov::flow::{self, AdoptPlan, Prover};
use tbprov::server::Host;
use tbprov::text::shown_path;
use tbprov::{DeviceName, Error, ErrorCode, Result};

/// Add a key and a certificate that were made elsewhere, for example after pasting the certificate in
/// ThingsBoard's web form.
#[derive(Debug, Args)]
pub(in crate::cli) struct AddArgs {
    /// The device's name.
    name: String,
    /// Its certificate, PEM, with any above it.
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    key_file: KeyFileArgs,
    /// The server that knows it.
    #[arg(long, env = "TBPROV_HOST", value_name = "HOST", value_parser = clap_host)]
    host: Option<Host>,
    /// The server's port of MQTT over TLS [default: 8883].
    #[arg(long, env = "TBPROV_PORT", value_name = "PORT", value_parser = clap_port)]
    port: Option<u16>,
    #[command(flatten)]
    trust: TrustArgs,
    /// Do not connect first. The device is then 'accepted', not 'proved'.
    #[arg(long, help_heading = "Options")]
    no_verify_connect: bool,
}

impl AddArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        let plan = self.plan(context).await?;
        let Some(host) = host_if_named(self.host.as_ref(), context)? else {
            return Err(Error::new(ErrorCode::UsageMissing, "the server is needed").hint(Hint::GiveHost));
        };
        let dialer = self.trust.dialer(context, host, port_or_default(self.port, context))?;
        let prover = Prover::new(Arc::new(dialer));
        let device = flow::adopt(&plan, context.run(&prover)).await?;
        context.output.result("devices add", &ShowResult::new(device)?);
        Ok(ExitCode::SUCCESS)
    }

    async fn plan(&self, context: &Context) -> Result<AdoptPlan> {
        let Some(device_name) = DeviceName::parse(&self.name)? else {
            return Err(Error::new(ErrorCode::UsageInvalid, "the device name is empty"));
        };
        let identity = self.key_file.read_pair_to_keep(context, &self.cert, &self.key).await?;
        identity.leaf.check_dates(&shown_path(&self.cert))?;
        Ok(AdoptPlan { device_name, identity, verify_connect: !self.no_verify_connect })
    }
}
