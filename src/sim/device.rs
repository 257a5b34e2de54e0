//! A device of the simulated server, and what it has sent.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::attributes::{Attributes, Wanted};
use super::credentials::HeldCredentials;
use super::limit::Meter;
use super::state::{StoredDevice, first_versions};
use super::storage::{Keep, Store, StoredValue};
use super::telemetry::Reading;
use super::uuid::Uuid;
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
    /// How many values (one a key and millisecond) the store holds, of those sent since the simulator started.
    pub stored: u64,
    /// Whether the store may hold more: some came too late, or of too many keys, to be counted.
    pub stored_is_lower_bound: bool,
    /// How many attributes messages were accepted since the simulator started.
    pub attributes: u64,
    /// The last telemetry message, its first 4 KiB.
    pub last_telemetry: Option<String>,
}

/// A device. Shared between the registry and the session that it has.
#[derive(Debug)]
pub(super) struct RegisteredDevice {
    pub(super) name: Arc<str>,
    pub(super) credentials: HeldCredentials,
    pub(super) gateway: bool,
    /// Given by the registry that it is added to.
    pub(super) id: Uuid,
    /// Its device profile.
    pub(super) profile: Uuid,
    /// Of the device and of its credentials: counted from 1 (`HasVersion`).
    pub(super) versions: [u32; 2],
    pub(super) label: Option<Box<str>>,
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
    activity: Times,
    /// Nothing before the first message: most devices of a large simulator never send any.
    kept: Mutex<Option<Box<Kept>>>,
}

/// When a device last did something, in milliseconds since 1970; known where the REST API is on. 0 is never.
#[derive(Debug, Default)]
struct Times {
    connected: AtomicI64,
    disconnected: AtomicI64,
    active: AtomicI64,
}

/// When a device last did something, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Activity {
    pub(super) connected: Option<i64>,
    pub(super) disconnected: Option<i64>,
    /// Sent something, or connected.
    pub(super) active: Option<i64>,
}

/// What a device does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Doing {
    Connecting,
    Disconnecting,
    Sending,
}

/// What is kept of it.
#[derive(Debug, Default)]
pub(super) struct Kept {
    last_telemetry: Option<String>,
    pub(super) store: Store,
    pub(super) attributes: Attributes,
    /// Set over REST.
    pub(super) server_attributes: Attributes,
    /// What the device may send yet. Nothing where nothing is limited.
    meter: Option<Meter>,
}

impl RegisteredDevice {
    pub(super) fn new(
        name: impl Into<Arc<str>>,
        credentials: HeldCredentials,
        gateway: bool,
        provisioned: bool,
    ) -> Self {
        Self {
            name: name.into(),
            credentials,
            gateway,
            id: Uuid::default(),
            profile: Uuid::default(),
            versions: first_versions(),
            label: None,
            provisioned: AtomicBool::new(provisioned),
            received: Arc::default(),
        }
    }

    /// The same device in this device profile.
    pub(super) fn of_profile(self, profile: Uuid) -> Self {
        Self { profile, ..self }
    }

    /// The same device with this label.
    pub(super) fn labelled(self, label: Option<Box<str>>) -> Self {
        Self { label, ..self }
    }

    /// The same device, to be changed: what it has sent stays with it.
    pub(super) fn copy(&self) -> Self {
        Self {
            name: Arc::clone(&self.name),
            credentials: self.credentials.clone(),
            gateway: self.gateway,
            id: self.id,
            profile: self.profile,
            versions: self.versions,
            label: self.label.clone(),
            provisioned: AtomicBool::new(self.provisioned.load(Ordering::Relaxed)),
            received: Arc::clone(&self.received),
        }
    }

    /// The same device with other credentials.
    pub(super) fn with_credentials(&self, credentials: HeldCredentials) -> Self {
        let [device, version] = self.versions;
        Self { credentials, versions: [device, version.saturating_add(1)], ..self.copy() }
    }

    /// The device that was `stored`, where these are ThingsBoard's own profile and the simulator's.
    pub(super) fn restored(stored: StoredDevice, default: Uuid, own: Uuid) -> Self {
        let profile = stored.profile.unwrap_or(if stored.other_profile { default } else { own });
        Self {
            id: stored.id.unwrap_or_default(),
            versions: stored.versions,
            label: stored.label,
            ..Self::new(stored.name, stored.credentials.into(), stored.gateway, stored.provisioned)
                .of_profile(profile)
        }
    }

    /// What is kept of it, where this is the profile that the simulator is started with.
    pub(super) fn stored(&self, own: Uuid) -> StoredDevice {
        StoredDevice {
            name: self.name.to_string(),
            credentials: self.credentials.stored(),
            gateway: self.gateway,
            other_profile: false,
            provisioned: self.provisioned.load(Ordering::Relaxed),
            id: Some(self.id),
            profile: Some(self.profile).filter(|profile| *profile != own),
            versions: self.versions,
            label: self.label.clone(),
        }
    }

    /// Counts one telemetry message and keeps its beginning, in the memory of the one before.
    pub(super) fn record_telemetry(&self, payload: &str) {
        self.received.telemetry.fetch_add(1, Ordering::Relaxed);
        let kept = &payload[..payload.floor_char_boundary(LONGEST_KEPT)];
        self.received.with(|all| {
            let last = all.last_telemetry.get_or_insert_default();
            last.clear();
            last.push_str(kept);
        });
    }

    /// Stores readings; how many values are new.
    pub(super) fn store(&self, readings: &[Reading<'_>], keep: Keep) -> u64 {
        self.received.with(|all| all.store.add(readings, keep))
    }

    /// The values that were kept.
    pub(super) fn values(&self) -> Vec<StoredValue> {
        lock(&self.received.kept).as_ref().map(|all| all.store.values()).unwrap_or_default()
    }

    /// What the device may send yet; `full` makes it at the first use.
    pub(super) fn metered<T>(&self, full: impl FnOnce() -> Meter, take: impl FnOnce(&mut Meter) -> T) -> T {
        self.received.with(|all| take(all.meter.get_or_insert_with(full)))
    }

    /// Whether it was created, or answered for, by provisioning.
    pub(super) fn is_provisioned(&self) -> bool {
        self.provisioned.load(Ordering::Relaxed)
    }

    /// Counts one message of attributes, and keeps them.
    pub(super) fn record_attributes(&self, payload: &str, arrived: i64) {
        self.received.attributes.fetch_add(1, Ordering::Relaxed);
        self.received.with(|all| all.attributes.add(payload, arrived));
    }

    /// Keeps attributes that somebody else gives it.
    pub(super) fn set_server_attributes(&self, payload: &str, arrived: i64) {
        self.received.with(|all| all.server_attributes.add(payload, arrived));
    }

    /// What is kept of what the device has sent, if anything is.
    pub(super) fn kept<T>(&self, look: impl FnOnce(Option<&Kept>) -> T) -> T {
        look(lock(&self.received.kept).as_deref())
    }

    /// Notes that the device does something at this millisecond.
    pub(super) fn note(&self, what: Doing, at: i64) {
        let Times { connected, disconnected, active } = &self.received.activity;
        let time = match what {
            Doing::Connecting => connected,
            Doing::Disconnecting => disconnected,
            Doing::Sending => active,
        };
        time.store(at, Ordering::Relaxed);
    }

    /// When it last did something.
    pub(super) fn activity(&self) -> Activity {
        let Times { connected, disconnected, active } = &self.received.activity;
        let read = |time: &AtomicI64| Some(time.load(Ordering::Relaxed)).filter(|at| *at != 0);
        Activity { connected: read(connected), disconnected: read(disconnected), active: read(active) }
    }

    /// The answer to a request for these attributes.
    pub(super) fn attributes_answer(&self, wanted: Wanted<'_>) -> Vec<u8> {
        self.received.with(|all| all.attributes.answer(wanted))
    }

    pub(super) fn summary(&self) -> DeviceSummary {
        let kept = lock(&self.received.kept);
        let store = kept.as_ref().map(|all| &all.store);
        DeviceSummary {
            name: self.name.to_string(),
            credentials_type: self.credentials.credentials_type(),
            credentials_id: self.credentials.public_id(),
            provisioned: self.provisioned.load(Ordering::Relaxed),
            gateway: self.gateway,
            telemetry: self.received.telemetry.load(Ordering::Relaxed),
            stored: store.map_or(0, Store::stored),
            stored_is_lower_bound: store.is_some_and(Store::is_lower_bound),
            attributes: self.received.attributes.load(Ordering::Relaxed),
            last_telemetry: kept.as_ref().and_then(|all| all.last_telemetry.clone()),
        }
    }
}

impl Received {
    fn with<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> T {
        work(lock(&self.kept).get_or_insert_default())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beside its name and its certificate. A simulator may have 100,000 devices, of which few send anything.
    #[test]
    fn a_device_that_sends_nothing_is_small() {
        assert!(size_of::<RegisteredDevice>() + size_of::<Received>() <= 224);
    }
}
