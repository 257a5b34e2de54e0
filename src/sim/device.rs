//! A device of the simulated server, and what it has sent.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::credentials::HeldCredentials;
use super::state::StoredDevice;
use crate::identity::CredentialsType;

/// How much of the last telemetry message is kept, in bytes.
const LONGEST_KEPT: usize = 4096;

/// What [`Simulator::devices`](super::Simulator::devices) tells of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceSummary {
    /// Its name.
    pub name: String,
    /// The kind of its credentials.
    pub credentials_type: CredentialsType,
    /// Its credentialsId; only for X.509, since that of a token is the token.
    pub credentials_id: Option<String>,
    /// Whether it was created, or answered for, by a provision request.
    pub provisioned: bool,
    /// Whether it was provisioned with `gateway: true`.
    pub gateway: bool,
    /// How many telemetry messages were accepted since the simulator started.
    pub telemetry: u64,
    /// How many attributes messages were accepted since the simulator started.
    pub attributes: u64,
    /// The last telemetry message, its first 4 KiB.
    pub last_telemetry: Option<String>,
}

/// A device. Shared between the registry and the session that it has.
#[derive(Debug)]
pub(super) struct RegisteredDevice {
    pub(super) name: String,
    pub(super) credentials: HeldCredentials,
    pub(super) gateway: bool,
    /// Whether it belongs to another device profile than the one that provisions.
    pub(super) is_of_other_profile: bool,
    /// Kept apart from the registry's lock: the answer of a pre-provisioned device depends on it.
    pub(super) provisioned: AtomicBool,
    /// Outlives the credentials.
    received: Arc<Received>,
}

/// What a device has sent since the simulator started.
#[derive(Debug, Default)]
struct Received {
    telemetry: AtomicU64,
    attributes: AtomicU64,
    last_telemetry: Mutex<Option<String>>,
}

impl RegisteredDevice {
    pub(super) fn new(name: String, credentials: HeldCredentials, gateway: bool, provisioned: bool) -> Self {
        Self {
            name,
            credentials,
            gateway,
            is_of_other_profile: false,
            provisioned: AtomicBool::new(provisioned),
            received: Arc::default(),
        }
    }

    /// The same device in another device profile, or in the one that provisions.
    pub(super) fn of_other_profile(self, is_of_other_profile: bool) -> Self {
        Self { is_of_other_profile, ..self }
    }

    /// The same device with other credentials.
    pub(super) fn with_credentials(&self, credentials: HeldCredentials) -> Self {
        Self {
            name: self.name.clone(),
            credentials,
            gateway: self.gateway,
            is_of_other_profile: self.is_of_other_profile,
            provisioned: AtomicBool::new(self.provisioned.load(Ordering::Relaxed)),
            received: Arc::clone(&self.received),
        }
    }

    pub(super) fn restored(stored: StoredDevice) -> Self {
        let device = Self::new(stored.name, stored.credentials.into(), stored.gateway, stored.provisioned);
        device.of_other_profile(stored.other_profile)
    }

    pub(super) fn stored(&self) -> StoredDevice {
        StoredDevice {
            name: self.name.clone(),
            credentials: self.credentials.stored(),
            gateway: self.gateway,
            other_profile: self.is_of_other_profile,
            provisioned: self.provisioned.load(Ordering::Relaxed),
        }
    }

    /// Counts one telemetry message and keeps its beginning, in the memory of the one before.
    pub(super) fn record_telemetry(&self, payload: &str) {
        self.received.telemetry.fetch_add(1, Ordering::Relaxed);
        let kept = &payload[..payload.floor_char_boundary(LONGEST_KEPT)];
        let mut last = self.received.last_telemetry.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last.get_or_insert_default();
        last.clear();
        last.push_str(kept);
    }

    pub(super) fn record_attributes(&self) {
        self.received.attributes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn summary(&self) -> DeviceSummary {
        DeviceSummary {
            name: self.name.clone(),
            credentials_type: self.credentials.credentials_type(),
            credentials_id: self.credentials.public_id(),
            provisioned: self.provisioned.load(Ordering::Relaxed),
            gateway: self.gateway,
            telemetry: self.received.telemetry.load(Ordering::Relaxed),
            attributes: self.received.attributes.load(Ordering::Relaxed),
            last_telemetry: self
                .received
                .last_telemetry
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }
}
