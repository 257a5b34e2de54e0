//! The device profiles of the tenant, by id and by provision key.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::Config;
use super::profile::{DeviceProfile, Provisioning};
use super::state::{ProfileKind, StoredProfile};
use super::uuid::{Ids, Uuid};
use crate::error::{Error, ErrorCode, Result};

/// All device profiles: ThingsBoard's own, the one that the simulator is started with, and those made over REST.
#[derive(Debug)]
pub(super) struct Profiles {
    by_id: BTreeMap<Uuid, Arc<DeviceProfile>>,
    default: Arc<DeviceProfile>,
    own: Arc<DeviceProfile>,
}

impl Profiles {
    /// ThingsBoard's own profile and that of `config`.
    pub(super) fn new(ids: &mut Ids, config: &Config) -> Self {
        let default = Arc::new(DeviceProfile::default_of(ids.next(), config.release));
        let own = Arc::new(DeviceProfile::own(ids.next(), config));
        let by_id = [&default, &own].map(|profile| (profile.id, Arc::clone(profile))).into();
        Self { by_id, default, own }
    }

    /// Adds those that were kept. ThingsBoard's own profile, and the one of `config`, get their ids back.
    ///
    /// # Errors
    /// `usage/conflict` when one that was made over REST has the provision key of `config`.
    pub(super) fn restore(&mut self, stored: Vec<StoredProfile>, config: &Config) -> Result<()> {
        for profile in stored {
            match profile.kind {
                ProfileKind::Default => {
                    self.by_id.remove(&self.default.id);
                    self.insert(DeviceProfile::default_of(profile.id, config.release));
                }
                ProfileKind::Own => {
                    self.by_id.remove(&self.own.id);
                    self.insert(DeviceProfile::own(profile.id, config));
                }
                ProfileKind::Made => {
                    self.insert(DeviceProfile::restored(profile, config.release));
                }
            }
        }
        let has_own_key =
            |profile: &&Arc<DeviceProfile>| profile.id != self.own.id && profile.key == self.own.key;
        match self.iter().find(has_own_key) {
            Some(other) => {
                let message =
                    format!("the device profile '{}' of the state file has this provision key", other.name);
                Err(Error::new(ErrorCode::UsageConflict, message))
            }
            None => Ok(()),
        }
    }

    /// Adds a profile, or puts it in the place of the one of its id.
    pub(super) fn insert(&mut self, profile: DeviceProfile) -> Arc<DeviceProfile> {
        let profile = Arc::new(profile);
        self.by_id.insert(profile.id, Arc::clone(&profile));
        match profile.kind {
            ProfileKind::Default => self.default = Arc::clone(&profile),
            ProfileKind::Own => self.own = Arc::clone(&profile),
            ProfileKind::Made => {}
        }
        profile
    }

    pub(super) fn remove(&mut self, id: Uuid) {
        self.by_id.remove(&id);
    }

    /// ThingsBoard's own.
    pub(super) fn default(&self) -> &Arc<DeviceProfile> {
        &self.default
    }

    /// The one that the simulator is started with.
    pub(super) fn own(&self) -> &Arc<DeviceProfile> {
        &self.own
    }

    pub(super) fn get(&self, id: Uuid) -> Option<&Arc<DeviceProfile>> {
        self.by_id.get(&id)
    }

    /// From the oldest to the newest.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<DeviceProfile>> {
        self.by_id.values()
    }

    pub(super) fn named(&self, name: &str) -> Option<&Arc<DeviceProfile>> {
        self.iter().find(|profile| profile.name == name)
    }

    /// The one with this provision key.
    pub(super) fn with_key(&self, key: &str) -> Option<&Arc<DeviceProfile>> {
        self.iter().find(|profile| profile.key.as_deref() == Some(key))
    }

    /// Whether a connect may register a device.
    pub(super) fn have_chain(&self) -> bool {
        self.iter().any(|profile| matches!(profile.provisioning, Provisioning::Chain { .. }))
    }
}
