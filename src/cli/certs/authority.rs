//! `tbprov certs ca`

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::super::context::Context;
use super::super::shell::quoted_path;
use super::NewCertificateArgs;
use super::output_files::PairFiles;

use tbprov::flow::{DEFAULT_DAYS, NewIdentity, new_identity};
use tbprov::identity::Profile;
use tbprov::keys::Exportable as _;
use tbprov::text::shown_path;
use tbprov::{DeviceName, Error, ErrorCode, Result, Step};

/// Make an authority (ca_key.pem, ca.pem) that signs devices or servers: for ThingsBoard's X.509 certificate
/// chain strategy, or for a server whose certificate changes.
#[derive(Debug, Args)]
pub(in crate::cli) struct CaArgs {
    /// The authority's name.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Days that the certificate is valid.
    #[arg(long, value_name = "DAYS", default_value_t = 2 * DEFAULT_DAYS, value_parser = clap::value_parser!(u32).range(1..))]
    days: u32,
    #[command(flatten)]
    new: NewCertificateArgs,
}

impl CaArgs {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<ExitCode> {
        // The same rules as for a device's name: X.509 and the terminal want them too.
        let Some(name) = DeviceName::parse(&self.name)? else {
            return Err(Error::new(ErrorCode::UsageInvalid, "the authority's name is empty"));
        };
        let files = PairFiles::new(&self.new.out, "ca_key.pem", "ca.pem")?;
        let wanted = NewIdentity {
            name: name.as_str(),
            profile: &Profile::Authority,
            days: self.days,
            key_type: self.new.key_type,
            issuer: None,
        };
        context.progress.begin(Step::Identity);
        let made = new_identity(&wanted, &context.progress).await?;
        context.progress.begin(Step::Stage);
        files.write(&made.key.to_pem(), &made.chain_pem())?;
        let result = CaResult {
            key: files.key,
            certificate: files.certificate,
            subject: made.leaf.subject.clone(),
            not_after: made.leaf.validity.not_after,
            sha256: made.leaf.sha256(),
            provision_key: made.leaf.credentials_id(),
        };
        context.output.result("certs ca", &result);
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Serialize)]
struct CaResult {
    key: PathBuf,
    certificate: PathBuf,
    subject: String,
    #[serde(with = "time::serde::rfc3339")]
    not_after: time::OffsetDateTime,
    sha256: String,
    /// What ThingsBoard shows as the provision key of a chain profile with this authority.
    provision_key: String,
}

impl fmt::Display for CaResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "key             {}", shown_path(&self.key))?;
        writeln!(formatter, "certificate     {}", shown_path(&self.certificate))?;
        writeln!(formatter, "subject         {}", self.subject)?;
        writeln!(formatter, "valid until     {}", self.not_after.date())?;
        writeln!(formatter, "SHA-256         {}", self.sha256)?;
        writeln!(formatter, "chain profile   {} (its provision key in ThingsBoard)", self.provision_key)?;
        writeln!(
            formatter,
            "sign a device   tbprov certs gen --name NAME --ca-cert {} --ca-key {}",
            quoted_path(&self.certificate),
            quoted_path(&self.key)
        )
    }
}
