//! `tbprov certs gen`

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::super::context::Context;
use super::super::shell::{operand, quoted_path};
use super::output_files::PairFiles;
use super::{NewCertificateArgs, SignerArgs};

use tbprov::flow::{DEFAULT_DAYS, NewIdentity, new_identity};
use tbprov::identity::{Profile, SoftwareIdentity};
use tbprov::keys::{Exportable as _, KeyType, Signer as _};
use tbprov::text::shown_path;
use tbprov::{DeviceName, Error, ErrorCode, Result, Step};

/// Make a device's key and certificate (key.pem, cert.pem), and say what to paste in ThingsBoard's web form.
#[derive(Debug, Args)]
pub(in crate::cli) struct GenArgs {
    /// The device's name, which becomes the common name.
    #[arg(long, env = "TBPROV_DEVICE_NAME", value_name = "NAME")]
    name: String,
    /// Days that the certificate is valid.
    #[arg(long, value_name = "DAYS", default_value_t = DEFAULT_DAYS, value_parser = clap::value_parser!(u32).range(1..))]
    days: u32,
    #[command(flatten)]
    new: NewCertificateArgs,
    #[command(flatten)]
    signer: SignerArgs,
    /// Encrypt the key with a password: asked for, in TBPROV_KEY_PASSWORD, or by --key-password-file.
    #[arg(long)]
    encrypt_key: bool,
}

impl GenArgs {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<ExitCode> {
        let Some(name) = DeviceName::parse(&self.name)? else {
            return Err(Error::new(ErrorCode::UsageInvalid, "the device name is empty"));
        };
        let files = PairFiles::new(&self.new.out, "key.pem", "cert.pem")?;
        let authority = self.signer.authority(context, &Profile::Device).await?;
        let password = if self.encrypt_key {
            Some(self.signer.key_file.password.new_password(context).await?)
        } else {
            None
        };
        let wanted = NewIdentity {
            name: name.as_str(),
            profile: &Profile::Device,
            days: self.days,
            key_type: self.new.key_type,
            issuer: authority.as_ref(),
        };
        context.progress.begin(Step::Identity);
        let made = new_identity(&wanted, &context.progress).await?;
        let key = match &password {
            Some(password) => made.key.to_encrypted_pem(password)?,
            None => made.key.to_pem(),
        };
        context.progress.begin(Step::Stage);
        files.write(&key, &made.chain_pem())?;
        let result = GenResult::new(name.as_str(), &made, files, password.is_some());
        context.output.result("certs gen", &result);
        context.output.note(&result.advice());
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Serialize)]
struct GenResult {
    #[serde(skip)]
    name: String,
    key: PathBuf,
    certificate: PathBuf,
    key_type: KeyType,
    encrypted: bool,
    subject: String,
    #[serde(with = "time::serde::rfc3339")]
    not_after: time::OffsetDateTime,
    sha256: String,
    credentials_id: String,
    pem: String,
}

impl GenResult {
    fn new(name: &str, made: &SoftwareIdentity, files: PairFiles, encrypted: bool) -> Self {
        let leaf = &made.leaf;
        Self {
            name: name.to_owned(),
            key: files.key,
            certificate: files.certificate,
            key_type: made.key.key_type(),
            encrypted,
            subject: leaf.subject.clone(),
            not_after: leaf.validity.not_after,
            sha256: leaf.sha256(),
            credentials_id: leaf.credentials_id(),
            pem: leaf.to_pem(),
        }
    }

    fn advice(&self) -> String {
        format!(
            "\nTo register it by hand: ThingsBoard > Devices > your device > Manage credentials > X.509 Certificate, paste\n\n{}\n\
             and save; ThingsBoard then shows the credentialsId above. Afterwards:\n  \
             tbprov devices add --cert {} --key {} --host HOST {}",
            self.pem,
            quoted_path(&self.certificate),
            quoted_path(&self.key),
            operand(&self.name)
        )
    }
}

impl fmt::Display for GenResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "key             {} ({}{})",
            shown_path(&self.key),
            self.key_type,
            if self.encrypted { ", encrypted" } else { "" }
        )?;
        writeln!(formatter, "certificate     {}", shown_path(&self.certificate))?;
        writeln!(formatter, "subject         {}", self.subject)?;
        writeln!(formatter, "valid until     {}", self.not_after.date())?;
        writeln!(formatter, "SHA-256         {}", self.sha256)?;
        writeln!(formatter, "credentialsId   {}", self.credentials_id)
    }
}
