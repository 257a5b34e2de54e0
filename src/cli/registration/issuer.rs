//! Registration at connect: the authority that issues the devices' certificates.

use std::path::PathBuf;

use clap::Args;

use super::super::authority_file::read_authority;
use super::super::context::Context;
use super::super::key_file::KeyFileArgs;
use tbprov::Result;
use tbprov::identity::X509Identity;

/// Who issues certificates, for a device profile with the strategy X.509 certificate chain.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registration at connect")]
pub(in crate::cli) struct IssuerArgs {
    /// The authority of a device profile with the strategy 'X.509 certificate chain' (ThingsBoard 3.5 and later): it
    /// issues the device's certificate, and the connect registers the device; needs --ca-key.
    #[arg(
        long,
        value_name = "FILE",
        requires = "ca_key",
        conflicts_with_all = ["provision_key", "provision_secret", "provision_secret_file", "gateway"]
    )]
    ca_cert: Option<PathBuf>,
    /// The authority's key.
    #[arg(long, value_name = "FILE", requires = "ca_cert")]
    ca_key: Option<PathBuf>,
}

impl IssuerArgs {
    /// Whether an authority was named.
    pub(in crate::cli) const fn is_named(&self) -> bool {
        self.ca_cert.is_some()
    }

    /// The authority, if one was named.
    pub(in crate::cli) async fn read(
        &self,
        context: &Context,
        key_file: &KeyFileArgs,
    ) -> Result<Option<X509Identity>> {
        let (Some(certificate), Some(key)) = (&self.ca_cert, &self.ca_key) else { return Ok(None) };
        read_authority(context, key_file, certificate, key).await.map(Some)
    }
}
