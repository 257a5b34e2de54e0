//! The credentials of a new device.

use super::identity::{NewIdentity, new_identity};
use super::plan::{DEFAULT_DAYS, DEFAULT_KEY_TYPE, IdentityPlan, ProvisionPlan, RegistrationPlan};
use super::prove::SECRET_LENGTH;
use crate::error::Result;
use crate::event::Progress;
use crate::identity::{BasicCredentials, Credentials, Profile, SoftwareIdentity, X509Identity};
use crate::keys::{Exportable as _, Stored};
use crate::ledger::Kept;
use crate::secret::Secret;

/// New credentials, as they are kept and as they are used.
pub(super) struct Fresh {
    pub(super) kept: Kept,
    pub(super) credentials: Credentials,
}

impl Fresh {
    /// A token or basic credentials that the server gave.
    pub(super) fn of_the_server(credentials: Credentials) -> Option<Self> {
        let kept = match &credentials {
            Credentials::AccessToken(token) => Kept::AccessToken(token.clone()),
            Credentials::MqttBasic(basic) => Kept::MqttBasic(basic.clone()),
            Credentials::X509(_) => return None,
        };
        Some(Self { kept, credentials })
    }
}

impl From<SoftwareIdentity> for Fresh {
    fn from(identity: SoftwareIdentity) -> Self {
        let chain = std::iter::once(&identity.leaf).chain(&identity.intermediates).cloned().collect();
        let kept = Kept::X509 { chain, key: Stored::Bytes(identity.key.to_pem()) };
        Self { kept, credentials: Credentials::X509(X509Identity::from(identity)) }
    }
}

/// Makes what the plan asks for, for a device called `name`.
pub(super) async fn make(plan: &ProvisionPlan, name: &str, progress: &Progress) -> Result<Fresh> {
    match &plan.registration {
        RegistrationPlan::ByRequest { .. } => of_its_own(&plan.identity, name, progress).await,
        RegistrationPlan::AtConnect { issuer, common_name } => {
            made(&plan.identity, common_name, Some(issuer), progress).await
        }
    }
}

/// Makes an identity that no authority issues.
pub(super) async fn of_its_own(plan: &IdentityPlan, name: &str, progress: &Progress) -> Result<Fresh> {
    made(plan, name, None, progress).await
}

async fn made(
    plan: &IdentityPlan,
    name: &str,
    issuer: Option<&X509Identity>,
    progress: &Progress,
) -> Result<Fresh> {
    match plan {
        IdentityPlan::Given(identity) => Ok(Fresh::from((**identity).clone())),
        IdentityPlan::AccessToken => {
            let token = Secret::random(SECRET_LENGTH)?;
            Ok(Fresh { kept: Kept::AccessToken(token.clone()), credentials: Credentials::AccessToken(token) })
        }
        IdentityPlan::MqttBasic => {
            let basic = BasicCredentials {
                client_id: Secret::random(SECRET_LENGTH)?.expose().to_owned(),
                user_name: Secret::random(SECRET_LENGTH)?.expose().to_owned(),
                password: Secret::random(SECRET_LENGTH)?,
            };
            Ok(Fresh { kept: Kept::MqttBasic(basic.clone()), credentials: Credentials::MqttBasic(basic) })
        }
        IdentityPlan::Generate { key_type, days } => {
            let wanted = NewIdentity {
                name,
                profile: &Profile::Device,
                days: days.unwrap_or(DEFAULT_DAYS),
                key_type: key_type.unwrap_or(DEFAULT_KEY_TYPE),
                issuer,
            };
            Ok(Fresh::from(new_identity(&wanted, progress).await?))
        }
    }
}
