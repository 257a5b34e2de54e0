//! `tbprov certs csr`

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::super::context::Context;
use super::super::key_password::KeyPasswordArgs;
use super::super::shell::{operand, quoted, quoted_path};
use super::NewCertificateArgs;
use super::output_files::PairFiles;

use tbprov::flow::new_request;
use tbprov::keys::{Exportable as _, KeyType};
use tbprov::text::shown_path;
use tbprov::{DeviceName, Error, ErrorCode, Result, Step};

/// Make a device's key and a request (key.pem, request.pem, PKCS#10), for an authority that is elsewhere to sign.
#[derive(Debug, Args)]
pub(in crate::cli) struct CsrArgs {
    /// The device's name, which becomes the common name.
    #[arg(long, env = "TBPROV_DEVICE_NAME", value_name = "NAME")]
    name: String,
    #[command(flatten)]
    new: NewCertificateArgs,
    #[command(flatten)]
    password: KeyPasswordArgs,
    /// Encrypt the key with a password: asked for, in TBPROV_KEY_PASSWORD, or by --key-password-file.
    #[arg(long)]
    encrypt_key: bool,
}

impl CsrArgs {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<ExitCode> {
        let Some(name) = DeviceName::parse(&self.name)? else {
            return Err(Error::new(ErrorCode::UsageInvalid, "the device name is empty"));
        };
        let files = PairFiles::new(&self.new.out, "key.pem", "request.pem")?;
        let password = if self.encrypt_key { Some(self.password.new_password(context).await?) } else { None };
        context.progress.begin(Step::Identity);
        let (key, request) = new_request(name.as_str(), self.new.key_type, &context.progress).await?;
        let key = match &password {
            Some(password) => key.to_encrypted_pem(password)?,
            None => key.to_pem(),
        };
        context.progress.begin(Step::Stage);
        files.write(&key, &request)?;
        let result = CsrResult {
            key: files.key,
            request: files.certificate,
            key_type: self.new.key_type,
            encrypted: password.is_some(),
            pem: request,
        };
        context.output.result("certs csr", &result);
        context.output.note(&result.advice(name.as_str()));
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Serialize)]
struct CsrResult {
    key: PathBuf,
    request: PathBuf,
    key_type: KeyType,
    encrypted: bool,
    pem: String,
}

impl CsrResult {
    fn advice(&self, name: &str) -> String {
        let (key, request) = (quoted_path(&self.key), quoted_path(&self.request));
        let (value, last) = (quoted(name), operand(name));
        format!(
            "\nHave an authority sign the request. With OpenSSL 3 that is, for example:\n  \
             openssl x509 -req -in {request} -CA ca.pem -CAkey ca_key.pem -CAcreateserial -copy_extensions copy -days 365 -out signed.pem\n\
             Then let tbprov register the device:\n  \
             tbprov provision --device-name={value} --cert signed.pem --key {key}\n\
             or, where it has been registered by hand:\n  \
             tbprov devices add --cert signed.pem --key {key} --host HOST {last}"
        )
    }
}

impl fmt::Display for CsrResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encrypted = if self.encrypted { ", encrypted" } else { "" };
        writeln!(formatter, "key             {} ({}{encrypted})", shown_path(&self.key), self.key_type)?;
        writeln!(formatter, "request         {}", shown_path(&self.request))
    }
}
