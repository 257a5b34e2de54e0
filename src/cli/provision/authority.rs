//! Registration at connect: the authority that issues the device's certificate.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::super::authority_file::read_authority;
use super::super::context::Context;
use super::super::key_file::KeyFileArgs;
use tbprov::error::Hint;
use tbprov::flow::RegistrationPlan;
use tbprov::identity::{CredentialsType, LONGEST_COMMON_NAME, X509Identity};
use tbprov::{DeviceName, Error, ErrorCode, Result};

/// Who issues the device's certificate, for a device profile with the strategy X.509 certificate chain.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registration at connect")]
pub(super) struct AuthorityArgs {
    /// The authority of a device profile with the strategy 'X.509 certificate chain' (ThingsBoard 3.5 and later): it
    /// issues the device's certificate, and the connect registers the device; needs --ca-key.
    #[arg(
        long,
        value_name = "FILE",
        requires = "ca_key",
        conflicts_with_all = [
            "provision_key", "provision_secret", "provision_secret_file", "cert", "gateway", "no_verify_connect",
        ]
    )]
    ca_cert: Option<PathBuf>,
    /// The authority's key.
    #[arg(long, value_name = "FILE", requires = "ca_cert")]
    ca_key: Option<PathBuf>,
    /// The common name of the certificate, out of which the profile's pattern takes the device's name [default: the
    /// device's name].
    #[arg(long, value_name = "NAME", requires = "ca_cert")]
    common_name: Option<String>,
}

impl AuthorityArgs {
    /// Whether an authority was named.
    pub(super) const fn is_named(&self) -> bool {
        self.ca_cert.is_some()
    }

    /// How to give the device's name: only a request lets the server make one up.
    pub(super) const fn hint_of_name(&self) -> Hint {
        if self.is_named() {
            Hint::GiveBy("--device-name NAME, TBPROV_DEVICE_NAME, or device-name = \"…\" in tbprov.toml")
        } else {
            Hint::GiveDeviceName
        }
    }

    /// The authority, if one was named.
    pub(super) async fn read(
        &self,
        context: &Context,
        key_file: &KeyFileArgs,
        credentials_type: CredentialsType,
    ) -> Result<Option<X509Identity>> {
        let (Some(certificate), Some(key)) = (&self.ca_cert, &self.ca_key) else { return Ok(None) };
        if credentials_type != CredentialsType::X509 {
            let message = format!("an authority issues certificates, and {credentials_type} is none");
            return Err(Error::new(ErrorCode::UsageConflict, message));
        }
        read_authority(context, key_file, certificate, key).await.map(Some)
    }

    /// How the device called `name` is registered.
    pub(super) fn registration(
        &self,
        context: &Context,
        issuer: X509Identity,
        name: Option<&DeviceName>,
    ) -> Result<RegistrationPlan> {
        let Some(name) = name else {
            let message = "a device that registers at connect needs a name: the store keeps it under that";
            return Err(Error::new(ErrorCode::UsageMissing, message).hint(self.hint_of_name()));
        };
        let common_name = self.common_name.as_deref().unwrap_or(name.as_str()).trim().to_owned();
        let invalid = |why: &str| {
            Err(Error::new(ErrorCode::UsageInvalid, format!("the common name {why}"))
                .hint(Hint::GiveCommonName))
        };
        if common_name.is_empty() {
            return invalid("is empty");
        }
        if common_name.chars().any(char::is_control) {
            return invalid("holds a control character");
        }
        if common_name.chars().nth(LONGEST_COMMON_NAME).is_some() {
            return invalid("is longer than the 64 characters that X.509 allows");
        }
        if is_escaped(&common_name) {
            context.progress.warn(format!(
                "the server puts backslashes before some characters of the common name '{common_name}' when it makes the device's name"
            ));
        }
        Ok(RegistrationPlan::AtConnect { issuer: Arc::new(issuer), common_name })
    }
}

/// Whether ThingsBoard writes the name with backslashes (`IETFUtils.valueToString` of Bouncy Castle 1.72).
fn is_escaped(common_name: &str) -> bool {
    common_name.starts_with('#') || common_name.contains([',', '+', '"', '\\', '<', '>', ';', '='])
}
