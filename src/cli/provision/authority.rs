//! Registration at connect: the authority that issues the device's certificate, and the certificate's name.

use std::sync::Arc;

use clap::Args;

use super::super::context::Context;
use super::super::key_file::KeyFileArgs;
use super::super::registration::IssuerArgs;
use tbprov::error::Hint;
use tbprov::flow::RegistrationPlan;
use tbprov::identity::{CredentialsType, X509Identity};
use tbprov::{DeviceName, Error, ErrorCode, Result};

#[derive(Debug, Args)]
#[command(next_help_heading = "Registration at connect")]
pub(super) struct AuthorityArgs {
    #[command(flatten)]
    issuer: IssuerArgs,
    /// The common name of the certificate, out of which the profile's pattern takes the device's name [default: the
    /// device's name].
    #[arg(long, value_name = "NAME", requires = "ca_cert")]
    common_name: Option<String>,
}

impl AuthorityArgs {
    /// Whether an authority was named.
    pub(super) const fn is_named(&self) -> bool {
        self.issuer.is_named()
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
        if self.is_named() && credentials_type != CredentialsType::X509 {
            let message = format!("an authority issues certificates, and {credentials_type} is none");
            return Err(Error::new(ErrorCode::UsageConflict, message));
        }
        self.issuer.read(context, key_file).await
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
        let common_name = self.common_name.as_deref().unwrap_or(name.as_str());
        let registration = RegistrationPlan::at_connect(Arc::new(issuer), common_name)?;
        if let Some(remark) = registration.remark() {
            context.progress.warn(remark);
        }
        Ok(registration)
    }
}
