//! What a run does with every device, and what a row changes of it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::super::control::Jobs;
use super::super::rate::Rate;
use crate::error::{Error, ErrorCode, Result};
use crate::flow::{IdentityPlan, ProvisionPlan, RegistrationPlan};
use crate::identity::X509Identity;
use crate::keys::KeyType;
use crate::ledger::roster::{Claim, RowState};
use crate::secret::Secret;
use crate::telemetry::{Readings, TelemetryPlan};

/// How long the server may be away before a run gives up.
pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(300);

/// How the server learns of the devices.
#[derive(Debug, Clone)]
pub enum Registration {
    /// By a provision request each.
    ByRequest {
        /// The device profile's provision key.
        provision_key: String,
        /// The device profile's provision secret.
        provision_secret: Secret,
        /// Whether all are gateways; a row may say it of one.
        gateway: bool,
    },
    /// By the connect with a certificate that this authority of the device profile issued. Its common name is the device's
    /// name.
    AtConnect(Arc<X509Identity>),
}

/// A run. Server and ledger are those of the [`Fleet`](super::Fleet).
#[derive(Debug, Clone)]
pub struct FleetPlan {
    /// How the server learns of the devices.
    pub registration: Registration,
    /// The type of new keys, where a row does not say it.
    pub key_type: Option<KeyType>,
    /// Days that new certificates are valid, where a row does not say it.
    pub days: Option<u32>,
    /// How long the answer to a request may take.
    pub answer_timeout: Duration,
    /// How many devices at once.
    pub jobs: Jobs,
    /// How many devices in a time, at the most.
    pub rate: Option<Rate>,
    /// How many rows come to their end, at the most.
    pub limit: Option<u64>,
    /// How long to go on while the server takes nothing.
    pub give_up_after: Duration,
    /// Whether the observer hears each step of each device.
    pub tells_steps: bool,
}

impl FleetPlan {
    /// What is done with the device of this row.
    pub(super) fn device(&self, claim: &Claim) -> Result<ProvisionPlan> {
        let row = &claim.row;
        let registration = match &self.registration {
            Registration::ByRequest { provision_key, provision_secret, gateway } => {
                RegistrationPlan::ByRequest {
                    provision_key: provision_key.clone(),
                    provision_secret: provision_secret.clone(),
                    gateway: *gateway || row.gateway,
                }
            }
            Registration::AtConnect(_) if row.gateway => {
                let message = "a device that registers at connect is no gateway, and its row says it is one";
                return Err(Error::new(ErrorCode::UsageConflict, message));
            }
            Registration::AtConnect(issuer) => {
                RegistrationPlan::at_connect(Arc::clone(issuer), row.name.as_str())?
            }
        };
        // An identity that is there already is as it was made.
        let is_new = claim.state == RowState::Queued;
        let identity = IdentityPlan::Generate {
            key_type: row.key_type.or(self.key_type).filter(|_| is_new),
            days: row.days.or(self.days).filter(|_| is_new),
        };
        Ok(ProvisionPlan {
            device_name: Some(row.name.clone()),
            registration,
            identity,
            verify_connect: true,
            answer_timeout: self.answer_timeout,
            telemetry: attributes(claim),
        })
    }
}

/// The row's client attributes, which are sent with the new identity, and nothing else.
fn attributes(claim: &Claim) -> Option<TelemetryPlan> {
    if claim.row.is_done_when_proved() {
        return None;
    }
    Some(TelemetryPlan {
        attributes: Some(Value::Object(claim.row.fields.client.clone()).to_string()),
        ..TelemetryPlan::new(Readings::Samples, Some(0), Duration::ZERO)
    })
}
