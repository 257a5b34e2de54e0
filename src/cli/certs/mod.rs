//! `tbprov certs`

mod authority;
mod generate;
mod inspect;
mod output_files;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};

use super::context::Context;
use super::key_file::KeyFileArgs;
use tbprov::event::Event;
use tbprov::flow::DEFAULT_KEY_TYPE;
use tbprov::identity::{Certificate, Issuer, Profile, Validity, X509Identity};
use tbprov::keys::{KeyType, SoftwareKey};
use tbprov::{Error, ErrorCode, Result, Step};

/// Keys and certificates: a device's, a server's, an authority's; what is in a file or behind HOST:PORT.
#[derive(Debug, Subcommand)]
pub(super) enum CertsCommand {
    Gen(generate::GenArgs),
    Server(server::ServerArgs),
    Ca(authority::CaArgs),
    Inspect(inspect::InspectArgs),
}

impl CertsCommand {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Gen(_) => "certs gen",
            Self::Server(_) => "certs server",
            Self::Ca(_) => "certs ca",
            Self::Inspect(_) => "certs inspect",
        }
    }

    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Gen(args) => args.run(context).await,
            Self::Server(args) => args.run(context).await,
            Self::Ca(args) => args.run(context).await,
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
    /// The authority, if there is one.
    fn authority(&self, context: &Context) -> Result<Option<X509Identity>> {
        match (&self.ca_cert, &self.ca_key) {
            (Some(certificate), Some(key)) => {
                let authority = self.key_file.read_pair(context, certificate, key)?;
                authority.leaf.check_dates(&certificate.display().to_string())?;
                Ok(Some(authority))
            }
            _ => Ok(None),
        }
    }
}

/// A new key and its certificate, with the authority's behind it where one signed.
struct Made {
    key: Arc<SoftwareKey>,
    leaf: Certificate,
    above: Vec<Certificate>,
}

impl Made {
    /// The certificate and those above it, PEM.
    fn chain_pem(&self) -> String {
        std::iter::once(&self.leaf).chain(&self.above).map(Certificate::to_pem).collect()
    }
}

/// Makes a key on a thread of its own, so that Ctrl-C ends the wait for a large RSA key, and its certificate.
async fn make(
    context: &Context,
    name: &str,
    profile: &Profile,
    days: u32,
    key_type: KeyType,
    authority: Option<X509Identity>,
) -> Result<Made> {
    context.progress.begin(Step::Identity);
    context.progress.event(&Event::Started { step: Step::Identity, what: format!("a new {key_type} key") });
    let key = tokio::task::spawn_blocking(move || SoftwareKey::generate(key_type))
        .await
        .map_err(|error| Error::new(ErrorCode::Bug, "making the key failed").source(error))??;
    context.progress.event(&Event::IdentityCreated { key_type });
    if Certificate::cuts_common_name(name) {
        let message = format!("the common name is cut to the 64 characters that X.509 allows: {name}");
        context.progress.event(&Event::Warning { message });
    }
    let validity = Validity::days(days);
    let Some(authority) = authority else {
        let leaf = Certificate::self_signed(name, profile, validity, &key)?;
        return Ok(Made { key: Arc::new(key), leaf, above: Vec::new() });
    };
    let issuer = Issuer { certificate: &authority.leaf, key: &*authority.key };
    let leaf = Certificate::signed_by(&issuer, name, profile, validity, &key)?;
    let above = std::iter::once(authority.leaf).chain(authority.intermediates).collect();
    Ok(Made { key: Arc::new(key), leaf, above })
}
