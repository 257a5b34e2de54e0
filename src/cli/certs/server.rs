//! `tbprov certs server`

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::super::context::Context;
use super::super::server_args::clap_host;
use super::super::shell::quoted_path;
use super::output_files::PairFiles;
use super::{NewCertificateArgs, SignerArgs};
use tbprov::flow::{NewIdentity, new_identity};
use tbprov::identity::Profile;
use tbprov::keys::Exportable as _;
use tbprov::text::shown_path;
use tbprov::{Result, Step};

/// Make ThingsBoard's own key and certificate (server_key.pem, server.pem), and print the lines for
/// thingsboard.conf.
#[derive(Debug, Args)]
pub(in crate::cli) struct ServerArgs {
    /// The names and addresses that devices connect to; the first one becomes the common name.
    #[arg(long, value_name = "NAME|IP", required = true, num_args = 1.., value_parser = host_or_wildcard)]
    host: Vec<String>,
    /// Days that the certificate is valid.
    #[arg(long, value_name = "DAYS", default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..))]
    days: u32,
    #[command(flatten)]
    new: NewCertificateArgs,
    #[command(flatten)]
    signer: SignerArgs,
}

fn host_or_wildcard(text: &str) -> Result<String, String> {
    match text.strip_prefix("*.") {
        Some(parent) => clap_host(parent).map(|parent| format!("*.{parent}")),
        None => clap_host(text).map(|host| host.to_string()),
    }
}

impl ServerArgs {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<ExitCode> {
        let files = PairFiles::new(&self.new.out, "server_key.pem", "server.pem")?;
        let profile = Profile::Server(self.host.clone());
        let authority = self.signer.authority(context, &profile).await?;
        let name = self.host.first().cloned().unwrap_or_default();
        let wanted = NewIdentity {
            name: &name,
            profile: &profile,
            days: self.days,
            key_type: self.new.key_type,
            issuer: authority.as_ref(),
        };
        context.progress.begin(Step::Identity);
        let made = new_identity(&wanted, &context.progress).await?;
        context.progress.begin(Step::Stage);
        files.write(&made.key.to_pem(), &made.chain_pem())?;
        let result = ServerResult {
            key: files.key,
            certificate: files.certificate,
            names: self.host,
            not_after: made.leaf.validity.not_after,
            sha256: made.leaf.sha256(),
        };
        context.output.result("certs server", &result);
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Serialize)]
struct ServerResult {
    key: PathBuf,
    certificate: PathBuf,
    names: Vec<String>,
    #[serde(with = "time::serde::rfc3339")]
    not_after: time::OffsetDateTime,
    sha256: String,
}

impl fmt::Display for ServerResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "# {} and {}, for {}",
            shown_path(&self.certificate),
            shown_path(&self.key),
            self.names.join(", ")
        )?;
        writeln!(formatter, "# valid until {}, SHA-256 {}", self.not_after.date(), self.sha256)?;
        writeln!(
            formatter,
            "# Copy both files to ThingsBoard's conf folder, readable by its user, and add to thingsboard.conf:"
        )?;
        writeln!(formatter, "export MQTT_SSL_ENABLED=true")?;
        writeln!(formatter, "export MQTT_SSL_CREDENTIALS_TYPE=PEM")?;
        writeln!(formatter, "export MQTT_SSL_PEM_CERT=server.pem")?;
        writeln!(formatter, "export MQTT_SSL_PEM_KEY=server_key.pem")?;
        writeln!(formatter, "export MQTT_SSL_PEM_KEY_PASSWORD=")?;
        writeln!(
            formatter,
            "# Devices trust it with: tbprov provision --server-cert {}",
            quoted_path(&self.certificate)
        )
    }
}
