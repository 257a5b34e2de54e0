//! What the simulated server knows: its devices, by name, by id and by credentialsId, and its device profiles.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::config::Config;
use super::credentials::{HeldCredentials, basic_id, id_key};
use super::device::{DeviceSummary, RegisteredDevice};
use super::profile::DeviceProfile;
use super::profiles::Profiles;
use super::state::{self, Line, StoredAccount};
use super::uuid::{Ids, Uuid};
use crate::error::{Error, ErrorCode, Result};
use crate::files::lock::FileLock;
use crate::identity::BasicCredentials;

/// Why a device could not be created: what ThingsBoard says in its log and never to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotCreated {
    NameTaken,
    CredentialsTaken,
    /// It was deleted meanwhile.
    Deleted,
    /// The state file could not be written.
    NotSaved(String),
}

impl NotCreated {
    pub(super) fn reason(&self) -> String {
        match self {
            Self::NameTaken => "a device with this name exists".to_owned(),
            Self::CredentialsTaken => "a device with these credentials exists".to_owned(),
            Self::Deleted => "the device was deleted".to_owned(),
            Self::NotSaved(why) => why.clone(),
        }
    }
}

/// All devices and device profiles, and the state file if there is one.
#[derive(Debug)]
pub(super) struct Registry {
    pub(super) profiles: Profiles,
    ids: Ids,
    by_uuid: HashMap<Uuid, Arc<RegisteredDevice>>,
    account: Option<StoredAccount>,
    by_name: BTreeMap<Arc<str>, Arc<RegisteredDevice>>,
    /// By [`id_key`] of the credentialsId.
    by_id: HashMap<[u8; 32], Arc<RegisteredDevice>>,
    state: Option<PathBuf>,
    /// Nobody else writes the state file as long as this does.
    _lock: Option<FileLock>,
}

impl Registry {
    /// The profiles of `config` alone, in memory alone.
    pub(super) fn new(config: &Config) -> Self {
        let mut ids = Ids::default();
        let profiles = Profiles::new(&mut ids, config);
        Self {
            profiles,
            ids,
            by_uuid: HashMap::new(),
            account: None,
            by_name: BTreeMap::new(),
            by_id: HashMap::new(),
            state: None,
            _lock: None,
        }
    }

    /// What the state file of `config` holds, and what `config` adds: its device profile, and the pre-provisioned
    /// devices that are not in the file yet.
    pub(super) fn open(config: &Config) -> Result<Self> {
        let state = config.state.clone();
        let mut registry =
            Self { _lock: state.as_deref().map(FileLock::of).transpose()?, ..Self::new(config) };
        if let Some(path) = &state {
            registry.load(path, config)?;
        }
        registry.add_pre_provisioned(config)?;
        if let Some(path) = &state {
            state::save(path, registry.lines())?;
        }
        registry.state = state;
        Ok(registry)
    }

    fn load(&mut self, path: &Path, config: &Config) -> Result<()> {
        let corrupt = |why: &str| {
            let shown = crate::text::shown_path(path);
            let message = format!("{shown} is not a state file of the simulator: {why}");
            Error::new(ErrorCode::StoreCorrupt, message)
        };
        let stored = state::load(path)?;
        self.profiles.restore(stored.profiles, config)?;
        self.account = stored.account;
        let (default, own) = (self.profiles.default().id, self.profiles.own().id);
        for device in stored.devices {
            let device = RegisteredDevice::restored(device, default, own);
            if self.profiles.get(device.profile).is_none() {
                return Err(corrupt("a device has a profile that is not there"));
            }
            self.add(device).map_err(|why| corrupt(&why.reason()))?;
        }
        Ok(())
    }

    fn add_pre_provisioned(&mut self, config: &Config) -> Result<()> {
        let (default, own) = (self.profiles.default().id, self.profiles.own().id);
        for wanted in &config.pre_provisioned {
            if self.by_name.contains_key(wanted.name.as_str()) {
                continue;
            }
            let credentials = wanted.credentials.clone().map_or_else(HeldCredentials::random_token, Ok)?;
            let profile = if wanted.is_of_other_profile { default } else { own };
            let device = RegisteredDevice::new(wanted.name.as_str(), credentials, false, false);
            self.add(device.of_profile(profile)).map_err(|why| {
                let message = format!("the pre-provisioned device '{}' cannot be added", wanted.name);
                Error::new(ErrorCode::UsageInvalid, format!("{message}: {}", why.reason()))
            })?;
        }
        Ok(())
    }

    fn lines(&self) -> impl Iterator<Item = Line> {
        let own = self.profiles.own().id;
        let account = self.account.clone().map(Line::Account);
        let profiles = self.profiles.iter().map(|profile| Line::Profile(profile.stored()));
        let devices = self.by_name.values().map(move |device| Line::Device(device.stored(own)));
        account.into_iter().chain(profiles).chain(devices)
    }

    /// What opened the REST API at the last run.
    pub(super) fn account(&self) -> Option<&StoredAccount> {
        self.account.as_ref()
    }

    /// Keeps what opens the REST API.
    pub(super) fn set_account(&mut self, account: StoredAccount) -> Result<()> {
        if self.account.as_ref() != Some(&account) {
            self.write(&Line::Account(account.clone()))?;
            self.account = Some(account);
        }
        Ok(())
    }

    /// The id of what is made next.
    pub(super) fn next_id(&mut self) -> Uuid {
        self.ids.next()
    }

    /// Creates a device, on disk too. Nothing has changed when it fails, as in ThingsBoard's transaction
    /// (`DeviceServiceImpl.saveDevice`).
    pub(super) fn create(&mut self, device: RegisteredDevice) -> Result<Arc<RegisteredDevice>, NotCreated> {
        let device = self.add(device)?;
        if let Err(error) = self.save(&device) {
            self.remove(&device);
            return Err(NotCreated::NotSaved(error.message));
        }
        Ok(device)
    }

    /// Gives a device other credentials, on disk too. Nothing has changed when it fails.
    pub(super) fn replace(
        &mut self,
        device: &RegisteredDevice,
        credentials: HeldCredentials,
    ) -> Result<Arc<RegisteredDevice>, NotCreated> {
        self.change(device, device.with_credentials(credentials))
    }

    /// Puts `changed` in the place of `device`, on disk too. Nothing has changed when it fails.
    pub(super) fn change(
        &mut self,
        device: &RegisteredDevice,
        changed: RegisteredDevice,
    ) -> Result<Arc<RegisteredDevice>, NotCreated> {
        let Some(known) = self.by_uuid.get(&device.id).cloned() else { return Err(NotCreated::Deleted) };
        let is_renamed = known.name != changed.name;
        if is_renamed && self.by_name.contains_key(&changed.name) {
            return Err(NotCreated::NameTaken);
        }
        self.remove(&known);
        // The line of another name leaves the one of the old name in the file.
        let before = if is_renamed { self.write(&Line::Removed(known.name.to_string())) } else { Ok(()) };
        let created = match before {
            Ok(()) => self.create(changed),
            Err(error) => Err(NotCreated::NotSaved(error.message)),
        };
        if created.is_err() {
            let known = self.insert(known);
            let _ = if is_renamed { self.save(&known) } else { Ok(()) };
        }
        created
    }

    /// Deletes a device, on disk too.
    pub(super) fn delete(&mut self, device: &RegisteredDevice) -> Result<()> {
        self.write(&Line::Removed(device.name.to_string()))?;
        self.remove(device);
        Ok(())
    }

    /// Adds a device profile, or puts it in the place of the one of its id, on disk too.
    pub(super) fn save_profile(&mut self, profile: DeviceProfile) -> Result<Arc<DeviceProfile>> {
        self.write(&Line::Profile(profile.stored()))?;
        Ok(self.profiles.insert(profile))
    }

    /// Deletes a device profile, on disk too.
    pub(super) fn delete_profile(&mut self, id: Uuid) -> Result<()> {
        self.write(&Line::RemovedProfile(id))?;
        self.profiles.remove(id);
        Ok(())
    }

    /// Notes that a pre-provisioned device was provisioned.
    pub(super) fn mark_provisioned(&self, device: &RegisteredDevice) -> Result<()> {
        if device.provisioned.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        self.save(device).inspect_err(|_| device.provisioned.store(false, Ordering::Relaxed))
    }

    pub(super) fn named(&self, name: &str) -> Option<Arc<RegisteredDevice>> {
        self.by_name.get(name).cloned()
    }

    pub(super) fn device(&self, id: Uuid) -> Option<Arc<RegisteredDevice>> {
        self.by_uuid.get(&id).cloned()
    }

    /// By name.
    pub(super) fn devices(&self) -> impl Iterator<Item = &Arc<RegisteredDevice>> {
        self.by_name.values()
    }

    /// Whether the device may connect over MQTT (`DefaultTransportService.doProcess`).
    pub(super) fn takes_mqtt(&self, device: &RegisteredDevice) -> bool {
        self.profiles.get(device.profile).is_none_or(|profile| profile.takes_mqtt)
    }

    /// Whether the device still has these credentials.
    pub(super) fn still_has(&self, device: &RegisteredDevice) -> bool {
        self.by_uuid.get(&device.id).is_some_and(|known| known.credentials == device.credentials)
    }

    /// The device that a certificate of this credentialsId belongs to.
    pub(super) fn with_certificate(&self, credentials_id: &str) -> Option<Arc<RegisteredDevice>> {
        let device = self.by_id.get(&id_key(credentials_id))?;
        matches!(device.credentials, HeldCredentials::Certificate(_)).then(|| Arc::clone(device))
    }

    /// The device that logs in with this client id, user name and password, looked up in the order of
    /// `DefaultTransportApiService.validateCredentials`: basic credentials of client and user, then the
    /// user name as a token or as basic credentials without a client id; with `ignores_user`, the client id alone.
    pub(super) fn login(
        &self,
        client_id: &str,
        user_name: &str,
        password: &str,
        ignores_user: bool,
    ) -> Option<Arc<RegisteredDevice>> {
        let accepts = |device: &&Arc<RegisteredDevice>| match &device.credentials {
            HeldCredentials::Basic(basic) => matches_basic(basic, client_id, user_name, password),
            HeldCredentials::Token(token) => token.expose() == user_name,
            HeldCredentials::Certificate(_) => false,
        };
        let held = |id: &str| self.by_id.get(&id_key(id)).filter(accepts);
        let by_client = held(&basic_id(client_id, user_name)).or_else(|| held(user_name));
        let by_client_alone = || if ignores_user { held(&basic_id(client_id, "")) } else { None };
        by_client.or_else(by_client_alone).cloned()
    }

    pub(super) fn summaries(&self) -> Vec<DeviceSummary> {
        self.by_name.values().map(|device| device.summary()).collect()
    }

    fn add(&mut self, mut device: RegisteredDevice) -> Result<Arc<RegisteredDevice>, NotCreated> {
        let id = id_key(&device.credentials.lookup_id());
        if self.by_name.contains_key(&device.name) {
            return Err(NotCreated::NameTaken);
        }
        if self.by_id.contains_key(&id) {
            return Err(NotCreated::CredentialsTaken);
        }
        if device.id == Uuid::default() {
            device.id = self.ids.next();
        }
        if device.profile == Uuid::default() {
            device.profile = self.profiles.own().id;
        }
        Ok(self.insert(Arc::new(device)))
    }

    fn insert(&mut self, device: Arc<RegisteredDevice>) -> Arc<RegisteredDevice> {
        self.by_name.insert(Arc::clone(&device.name), Arc::clone(&device));
        self.by_uuid.insert(device.id, Arc::clone(&device));
        self.by_id.insert(id_key(&device.credentials.lookup_id()), Arc::clone(&device));
        device
    }

    fn remove(&mut self, device: &RegisteredDevice) {
        self.by_name.remove(&device.name);
        self.by_uuid.remove(&device.id);
        self.by_id.remove(&id_key(&device.credentials.lookup_id()));
    }

    fn save(&self, device: &RegisteredDevice) -> Result<()> {
        self.write(&Line::Device(device.stored(self.profiles.own().id)))
    }

    fn write(&self, line: &Line) -> Result<()> {
        self.state.as_deref().map_or(Ok(()), |path| state::add(path, line))
    }
}

/// Each part that the server holds must be equal; what it does not hold may be anything.
fn matches_basic(basic: &BasicCredentials, client_id: &str, user_name: &str, password: &str) -> bool {
    let fits = |held: &str, given: &str| held.is_empty() || held == given;
    fits(&basic.client_id, client_id)
        && fits(&basic.user_name, user_name)
        && fits(basic.password.expose(), password)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::sim::config::PreProvisioned;

    impl Registry {
        /// Without devices, in memory.
        pub(in crate::sim) fn of_test() -> Self {
            Self::new(&Config::new("k", Secret::new("s")))
        }
    }

    fn keeping(path: &Path) -> Config {
        Config { state: Some(path.to_owned()), ..Config::new("k", Secret::new("s")) }
    }

    fn token(name: &str, token: &str) -> RegisteredDevice {
        RegisteredDevice::new(name.to_owned(), HeldCredentials::Token(Secret::new(token)), false, true)
    }

    fn basic(name: &str, client_id: &str, user_name: &str, password: &str) -> RegisteredDevice {
        let basic = BasicCredentials {
            client_id: client_id.to_owned(),
            user_name: user_name.to_owned(),
            password: Secret::new(password),
        };
        RegisteredDevice::new(name.to_owned(), HeldCredentials::Basic(basic), false, true)
    }

    #[test]
    fn names_and_credentials_are_unique() {
        let mut registry = Registry::of_test();
        registry.create(token("a", "1")).unwrap();
        assert_eq!(registry.create(token("a", "2")).err(), Some(NotCreated::NameTaken));
        assert_eq!(registry.create(token("b", "1")).err(), Some(NotCreated::CredentialsTaken));
        assert!(registry.named("b").is_none());
    }

    #[test]
    fn tokens_and_basic_credentials_log_in() {
        let mut registry = Registry::of_test();
        registry.create(token("token", "T")).unwrap();
        registry.create(basic("all", "client", "user", "pass")).unwrap();
        registry.create(basic("client", "only", "", "")).unwrap();
        registry.create(basic("user", "", "someone", "word")).unwrap();
        let who = |client, user, password| {
            registry.login(client, user, password, false).map(|device| device.name.to_string())
        };
        assert_eq!(who("x", "T", "").as_deref(), Some("token"));
        assert_eq!(who("x", "T", "whatever").as_deref(), Some("token"));
        assert_eq!(who("client", "user", "pass").as_deref(), Some("all"));
        assert_eq!(who("client", "user", "no"), None);
        assert_eq!(who("other", "user", "pass"), None);
        assert_eq!(who("only", "", "").as_deref(), Some("client"));
        assert_eq!(who("any", "someone", "word").as_deref(), Some("user"));
        assert_eq!(who("any", "someone", "no"), None);
        assert_eq!(who("", "", ""), None);
        assert_eq!(who("only", "anybody", "whatever"), None);
        let found = registry.login("only", "anybody", "whatever", true);
        assert_eq!(&*found.unwrap().name, "client");
    }

    /// Windows removes no folder whose lock is held.
    #[cfg(unix)]
    #[test]
    fn what_cannot_be_saved_is_not_created() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let mut registry = Registry::open(&keeping(&path)).unwrap();
        drop(folder);
        assert!(matches!(registry.create(token("a", "1")), Err(NotCreated::NotSaved(_))));
        assert!(registry.summaries().is_empty());
    }

    /// However many devices there are, one more costs one line.
    #[cfg(unix)]
    #[test]
    fn a_device_more_leaves_what_is_in_the_state_file() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let mut registry = Registry::open(&keeping(&path)).unwrap();
        let file = || std::fs::metadata(&path).map(|known| (known.ino(), known.len())).unwrap();
        let mut before = file();
        for number in ["1", "2", "3"] {
            registry.create(token(number, number)).unwrap();
            let after = file();
            assert_eq!(after.0, before.0);
            assert!((1..200).contains(&(after.1 - before.1)), "{before:?} {after:?}");
            before = after;
        }
        drop(registry);
        assert_eq!(Registry::open(&keeping(&path)).unwrap().summaries().len(), 3);
    }

    #[test]
    fn the_state_file_wins_over_the_pre_provisioned_device_of_the_same_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let held = || {
            let pre_provisioned = vec![PreProvisioned::new("a")];
            let registry = Registry::open(&Config { pre_provisioned, ..keeping(&path) }).unwrap();
            registry.named("a").unwrap().credentials.clone()
        };
        assert_eq!(held(), held());
    }
}
