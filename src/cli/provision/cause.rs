//! Which of the causes of FAILURE it is, as far as an account can tell. ThingsBoard has one answer for all of them.

use super::super::account_args::AccountArgs;
use super::super::context::Context;
use tbprov::dial::Dialer;
use tbprov::error::Hint;
use tbprov::flow::{ProvisionPlan, RegistrationPlan};
use tbprov::ledger::Subject;
use tbprov::rest::{Account, Device, DeviceProfile, Strategy};
use tbprov::text::shown;
use tbprov::{DeviceName, Error, ErrorCode, Result};

/// The failure, with its cause where an account is at hand. What the account cannot tell is a warning.
pub(super) async fn explained(
    error: Error,
    context: &Context,
    account: &AccountArgs,
    plan: &ProvisionPlan,
    dialer: &Dialer,
) -> Error {
    let Some(name) = plan.device_name.as_ref().filter(|_| error.code == ErrorCode::ServerFailure) else {
        return error;
    };
    let asked = async {
        let account = account.account(context, dialer.timeout, dialer.proxy.clone(), false).await?;
        match account {
            Some(account) => Cause::find(&account, context, plan, name).await.map(Some),
            None => Ok(None),
        }
    };
    match context.interruptible(asked).await {
        Ok(Some(cause)) => cause.added_to(error),
        Ok(None) => error,
        Err(failed) => {
            context.progress.warn(format!("the account does not tell the cause: {}", failed.message));
            error
        }
    }
}

/// What an account tells.
struct Cause {
    text: String,
    hint: Option<Hint>,
}

impl Cause {
    async fn find(
        account: &Account,
        context: &Context,
        plan: &ProvisionPlan,
        name: &DeviceName,
    ) -> Result<Self> {
        let device = account.device(name.as_str(), &context.progress).await?;
        match device {
            Some(device) => Self::taken(account, context, device).await,
            None => Self::free(account, context, plan, name).await,
        }
    }

    async fn taken(account: &Account, context: &Context, device: Device) -> Result<Self> {
        let progress = &context.progress;
        let held = account.credentials(&device, progress).await?;
        let profile = account.profile_with_id(device.profile_id(), progress).await?;
        let profile = profile.map(|profile| shown(profile.name())).unwrap_or_default();
        let entry = context.ledger.find(Subject::Named(&device.name)).await?;
        let id = entry.as_ref().and_then(|entry| entry.record.identity.credentials_id.as_deref());
        let what = match held.credentials_id() {
            Some(there) if Some(there) == id => "with this store's certificate".to_owned(),
            Some(there) => format!("with another certificate (credentialsId {})", shown(there)),
            None => format!("with credentials of type {}", shown(held.credentials_type())),
        };
        let text = format!("the name is taken, by a device of the profile '{profile}' {what}");
        Ok(Self { text, hint: Some(Hint::RegisterAtServer(device.name)) })
    }

    async fn free(
        account: &Account,
        context: &Context,
        plan: &ProvisionPlan,
        name: &DeviceName,
    ) -> Result<Self> {
        let profiles = account.profiles(&context.progress).await?;
        let key = match &plan.registration {
            RegistrationPlan::ByRequest { provision_key, .. } => Some(provision_key.as_str()),
            RegistrationPlan::AtConnect { .. } => None,
        };
        let profile = profiles.iter().find(|profile| profile.provision_key() == key && key.is_some());
        let register = Hint::RegisterAtServer(name.as_str().to_owned());
        if let Some(profile) = profile.filter(|profile| profile.strategy() == Some(Strategy::PreProvisioned))
        {
            let text = format!(
                "the profile '{}' takes only devices that are there already, and no device has this name",
                shown(DeviceProfile::name(profile))
            );
            return Ok(Self { text, hint: Some(register) });
        }
        let text = "no device has this name; so the name is not allowed, the certificate is another device's, or the tenant's limit of devices is reached".to_owned();
        Ok(Self { text, hint: None })
    }

    fn added_to(self, mut error: Error) -> Error {
        error.message = format!("{}; the account says: {}", error.message, self.text);
        match self.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}
