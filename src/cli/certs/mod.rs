//! `tbprov certs`

mod authority;
mod generate;
mod inspect;
mod output_files;
mod request;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::context::Context;
use super::key_file::KeyFileArgs;
use tbprov::Result;
use tbprov::flow::DEFAULT_KEY_TYPE;
use tbprov::identity::{Profile, X509Identity, check_issuer};
use tbprov::keys::KeyType;
use tbprov::text::shown_path;

/// Make keys and certificates for a device, a server or an authority; show those of a file or of HOST:PORT.
#[derive(Debug, Subcommand)]
pub(super) enum CertsCommand {
    Gen(generate::GenArgs),
    Server(server::ServerArgs),
    Ca(authority::CaArgs),
    Csr(request::CsrArgs),
    Inspect(inspect::InspectArgs),
}

impl CertsCommand {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Gen(_) => "certs gen",
            Self::Server(_) => "certs server",
            Self::Ca(_) => "certs ca",
            Self::Csr(_) => "certs csr",
            Self::Inspect(_) => "certs inspect",
        }
    }

    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Gen(args) => args.run(context).await,
            Self::Server(args) => args.run(context).await,
            Self::Ca(args) => args.run(context).await,
            Self::Csr(args) => args.run(context).await,
            Self::Inspect(args) => args.run(context).await,
        }
    }
}

/// What every new key and certificate has.
#[derive(Debug, Args)]
struct NewCertificateArgs {
    /// The key's type: ec-p256, ec-p384, ed25519, rsa-2048, rsa-3072 or rsa-4096.
    #[arg(long, value_name = "TYPE", default_value_t = DEFAULT_KEY_TYPE)]
    key_type: KeyType,
    /// The folder to write to.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

/// Who signs.
#[derive(Debug, Args)]
struct SignerArgs {
    /// Sign with this authority instead of self-signing; needs --ca-key.
    #[arg(long, value_name = "FILE", requires = "ca_key")]
    ca_cert: Option<PathBuf>,
    /// The authority's key.
    #[arg(long, value_name = "FILE", requires = "ca_cert")]
    ca_key: Option<PathBuf>,
    #[command(flatten)]
    key_file: KeyFileArgs,
}

impl SignerArgs {
    /// The authority, if there is one, which has to be able to sign what is for `profile`.
    async fn authority(&self, context: &Context, profile: &Profile) -> Result<Option<X509Identity>> {
        match (&self.ca_cert, &self.ca_key) {
            (Some(certificate), Some(key)) => {
                let authority = self.key_file.read_pair(context, certificate, key).await?;
                authority.leaf.check_dates(&shown_path(certificate))?;
                let authority = authority.into();
                check_issuer(&authority, profile)?;
                Ok(Some(authority))
            }
            _ => Ok(None),
        }
    }
}
