//! The devices that the simulated server knows, by name and by credentialsId.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::config::PreProvisioned;
use super::credentials::{HeldCredentials, basic_id, id_key};
use super::device::{DeviceSummary, RegisteredDevice};
use super::state;
use crate::error::{Error, ErrorCode, Result};
use crate::files::lock::FileLock;
use crate::identity::BasicCredentials;

/// Why a device could not be created: what ThingsBoard says in its log and never to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotCreated {
    NameTaken,
    CredentialsTaken,
    /// The state file could not be written.
    NotSaved(String),
}

impl NotCreated {
    pub(super) fn reason(&self) -> String {
        match self {
            Self::NameTaken => "a device with this name exists".to_owned(),
            Self::CredentialsTaken => "a device with these credentials exists".to_owned(),
            Self::NotSaved(why) => why.clone(),
        }
    }
}

/// All devices, and the state file if there is one.
#[derive(Debug, Default)]
pub(super) struct Registry {
    by_name: BTreeMap<Arc<str>, Arc<RegisteredDevice>>,
    /// By [`id_key`] of the credentialsId.
    by_id: HashMap<[u8; 32], Arc<RegisteredDevice>>,
    state: Option<PathBuf>,
    /// Nobody else writes the state file as long as this does.
    _lock: Option<FileLock>,
}

impl Registry {
    /// The devices of the state file and the pre-provisioned ones that it does not hold yet.
    pub(super) fn open(state: Option<PathBuf>, pre_provisioned: Vec<PreProvisioned>) -> Result<Self> {
        let _lock = state.as_deref().map(FileLock::of).transpose()?;
        let mut registry = Self { _lock, ..Self::default() };
        for stored in state.as_deref().map(state::load).transpose()?.unwrap_or_default() {
            registry.add(RegisteredDevice::restored(stored)).map_err(|why| {
                let shown = crate::text::shown_path(state.as_deref().unwrap_or("".as_ref()));
                let message = format!("{shown} is not a state file of the simulator: {}", why.reason());
                Error::new(ErrorCode::StoreCorrupt, message)
            })?;
        }
        for PreProvisioned { name, credentials, is_of_other_profile } in pre_provisioned {
            if registry.by_name.contains_key(name.as_str()) {
                continue;
            }
            let credentials = credentials.map_or_else(HeldCredentials::random_token, Ok)?;
            let device = RegisteredDevice::new(name, credentials, false, false);
            let device = device.of_other_profile(is_of_other_profile);
            let message = format!("the pre-provisioned device '{}' cannot be added", device.name);
            registry
                .add(device)
                .map_err(|why| Error::new(ErrorCode::UsageInvalid, format!("{message}: {}", why.reason())))?;
        }
        if let Some(path) = &state {
            state::save(path, registry.by_name.values().map(|device| device.stored()))?;
        }
        registry.state = state;
        Ok(registry)
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
        device: &Arc<RegisteredDevice>,
        credentials: HeldCredentials,
    ) -> Result<Arc<RegisteredDevice>, NotCreated> {
        self.remove(device);
        let replaced = self.create(device.with_credentials(credentials));
        if replaced.is_err() {
            self.insert(Arc::clone(device));
        }
        replaced
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

    fn add(&mut self, device: RegisteredDevice) -> Result<Arc<RegisteredDevice>, NotCreated> {
        let id = id_key(&device.credentials.lookup_id());
        if self.by_name.contains_key(&device.name) {
            return Err(NotCreated::NameTaken);
        }
        if self.by_id.contains_key(&id) {
            return Err(NotCreated::CredentialsTaken);
        }
        Ok(self.insert(Arc::new(device)))
    }

    fn insert(&mut self, device: Arc<RegisteredDevice>) -> Arc<RegisteredDevice> {
        self.by_name.insert(Arc::clone(&device.name), Arc::clone(&device));
        self.by_id.insert(id_key(&device.credentials.lookup_id()), Arc::clone(&device));
        device
    }

    fn remove(&mut self, device: &RegisteredDevice) {
        self.by_name.remove(&device.name);
        self.by_id.remove(&id_key(&device.credentials.lookup_id()));
    }

    fn save(&self, device: &RegisteredDevice) -> Result<()> {
        let Some(path) = &self.state else { return Ok(()) };
        state::add(path, &device.stored())
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
        let mut registry = Registry::default();
        registry.create(token("a", "1")).unwrap();
        assert_eq!(registry.create(token("a", "2")).err(), Some(NotCreated::NameTaken));
        assert_eq!(registry.create(token("b", "1")).err(), Some(NotCreated::CredentialsTaken));
        assert!(registry.named("b").is_none());
    }

    #[test]
    fn tokens_and_basic_credentials_log_in() {
        let mut registry = Registry::default();
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

    #[test]
    fn what_cannot_be_saved_is_not_created() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let mut registry = Registry::open(Some(path), Vec::new()).unwrap();
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
        let mut registry = Registry::open(Some(path.clone()), Vec::new()).unwrap();
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
        assert_eq!(Registry::open(Some(path), Vec::new()).unwrap().summaries().len(), 3);
    }

    #[test]
    fn the_state_file_wins_over_the_pre_provisioned_device_of_the_same_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let held = || {
            let registry = Registry::open(Some(path.clone()), vec![PreProvisioned::new("a")]).unwrap();
            registry.named("a").unwrap().credentials.clone()
        };
        assert_eq!(held(), held());
    }
}
