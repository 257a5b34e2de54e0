//! A ledger in memory: a second implementation of the trait, in one file. Its handles share what they hold, and it
//! pauses before and after each change, so that a run can be dropped there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use tbprov::ledger::{
    Advance, Entry, Hold, Kept, Lease, Ledger, NewDevice, NewIdentity, Note, Record, Slot, Subject, Which,
    changed, identity_name, lease_lost,
};
use tbprov::tls::Trust;
use tbprov::{DeviceId, Error, ErrorCode, Result, State};
use tokio::task::yield_now;

#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Data>>);

#[derive(Default)]
struct Data {
    counted: u64,
    /// What each lease holds, by its fence.
    leases: BTreeMap<u64, Vec<String>>,
    devices: BTreeMap<DeviceId, Device>,
    /// The unfinished device of each place.
    places: BTreeMap<String, DeviceId>,
    removed: Vec<Device>,
}

struct Device {
    /// None where it is damaged.
    record: Option<Record>,
    /// The name of the identity that it began with.
    first: String,
    identities: BTreeMap<String, Kept>,
    trust: Trust,
}

/// Dropping it gives the device free.
struct Guard(Memory, u64);

impl Hold for Guard {
    fn is_lost(&self) -> bool {
        !self.0.data().leases.contains_key(&self.1)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.data().leases.remove(&self.1);
    }
}

fn failed(code: ErrorCode, message: &str) -> Error {
    Error::new(code, message)
}

fn corrupt() -> Error {
    failed(ErrorCode::StoreCorrupt, "the device is damaged")
}

impl Memory {
    fn data(&self) -> MutexGuard<'_, Data> {
        self.0.lock().unwrap()
    }

    /// Takes the lease of the device called `name` away.
    pub fn lose(&self, name: &str) {
        self.data().leases.retain(|_, held| !held.contains(&name.to_owned()));
    }

    pub fn damage(&self, entry: &Entry) {
        self.data().devices.get_mut(&entry.id).unwrap().record = None;
    }

    pub fn swap(&self, entry: &Entry, other: &Kept, key_alone: bool) {
        let mut data = self.data();
        let device = data.devices.get_mut(&entry.id).unwrap();
        let kept = device.identities.get_mut(&device.first).unwrap();
        match (kept, other) {
            (Kept::X509 { key, .. }, Kept::X509 { key: other, .. }) if key_alone => key.clone_from(other),
            (kept, other) => *kept = other.clone(),
        }
    }

    pub fn is_tidy(&self) -> bool {
        self.data().places.is_empty()
    }

    async fn change<T>(&self, lease: &Lease, work: impl FnOnce(&mut Data) -> Result<T>) -> Result<T> {
        yield_now().await;
        let done = {
            let mut data = self.data();
            if data.leases.contains_key(&lease.fence()) { work(&mut data) } else { Err(lease_lost()) }
        };
        yield_now().await;
        done
    }
}

impl Data {
    fn entry(&self, id: &DeviceId) -> Result<Entry> {
        let record = self.devices[id].record.clone().ok_or_else(corrupt)?;
        Ok(Entry { id: id.clone(), directory: None, record })
    }

    /// The unfinished device of a place.
    fn at(&self, slot: &Slot) -> Option<&DeviceId> {
        let is_unfinished = |id: &&DeviceId| {
            let record = self.devices.get(*id).and_then(|device| device.record.as_ref());
            record.is_some_and(|record| record.state() != State::Proved)
        };
        self.places.get(&slot.fingerprint()).filter(is_unfinished)
    }

    fn find(&self, subject: Subject<'_>) -> Option<&DeviceId> {
        match subject {
            Subject::Unnamed(slot) => self.at(slot),
            Subject::Named(name) => {
                let is_it = |(id, device): &(&DeviceId, &Device)| {
                    let own = device.record.as_ref().and_then(|record| record.device.as_deref());
                    own.unwrap_or(id.as_str()) == name.trim()
                };
                self.devices.iter().find(is_it).map(|(id, _)| id)
            }
        }
    }

    /// What has to be held for a device: its name or id, and its place while it is unfinished.
    fn keys(&self, subject: Subject<'_>) -> Vec<String> {
        let found = self.find(subject);
        let own = match subject {
            Subject::Named(name) => vec![name.trim().to_owned()],
            Subject::Unnamed(slot) => vec![slot.fingerprint()],
        };
        let places = self.places.iter().filter(|(_, id)| Some(*id) == found);
        let places = places.flat_map(|(place, id)| [place.clone(), id.to_string()]);
        own.into_iter().chain(places).collect()
    }

    fn stage(&mut self, new: &NewDevice<'_>) -> Result<Entry> {
        if self.find(new.subject).is_some() {
            return Err(failed(ErrorCode::StoreExists, "there is such a device"));
        }
        let id = DeviceId::new(format!("device-{}", self.devices.len() + self.removed.len()));
        if let Subject::Unnamed(slot) = new.subject {
            self.places.insert(slot.fingerprint(), id.clone());
        }
        let first = identity_name(new.identity.credentials);
        let device = Device {
            record: Some(new.record()),
            identities: BTreeMap::from([(first.clone(), new.identity.kept.clone())]),
            first,
            trust: (*new.server.trust).clone(),
        };
        self.devices.insert(id.clone(), device);
        self.entry(&id)
    }

    /// The device, if it still is as it was read.
    fn unchanged(&mut self, entry: &Entry) -> Result<&mut Device> {
        let device = self.devices.get_mut(&entry.id);
        device.filter(|device| device.record.as_ref() == Some(&entry.record)).ok_or_else(|| changed(entry))
    }

    fn replace(&mut self, entry: &Entry, record: Record) -> Result<Entry> {
        self.unchanged(entry)?.record = Some(record);
        self.entry(&entry.id)
    }
}

#[async_trait]
impl Ledger for Memory {
    async fn lease(&self, subject: Subject<'_>) -> Result<Lease> {
        yield_now().await;
        let fence = {
            let mut data = self.data();
            let wanted = data.keys(subject);
            if data.leases.values().flatten().any(|held| wanted.contains(held)) {
                return Err(failed(ErrorCode::StoreLocked, "somebody works on the device"));
            }
            data.counted += 1;
            let fence = data.counted;
            data.leases.insert(fence, wanted);
            fence
        };
        Ok(Lease::new(fence, Arc::new(Guard(self.clone(), fence))))
    }

    async fn find(&self, subject: Subject<'_>) -> Result<Option<Entry>> {
        yield_now().await;
        let data = self.data();
        data.find(subject).map(|id| data.entry(id)).transpose()
    }

    fn shown(&self) -> String {
        "the ledger in memory".to_owned()
    }

    async fn stage(&self, lease: &Lease, new: NewDevice<'_>) -> Result<Entry> {
        self.change(lease, |data| data.stage(&new)).await
    }

    async fn advance(&self, lease: &Lease, entry: &Entry, advance: Advance<'_>) -> Result<Entry> {
        self.change(lease, |data| {
            let record = entry.advanced(&advance)?;
            let advanced = data.replace(entry, record)?;
            if let (Which::Current, Some(server)) = (advance.which, advance.server) {
                data.unchanged(&advanced)?.trust = (*server.trust).clone();
            }
            if let Some(slot) = advance.leaves {
                data.places.remove(&slot.fingerprint());
            }
            Ok(advanced)
        })
        .await
    }

    async fn stage_next(
        &self,
        lease: &Lease,
        entry: &Entry,
        next: NewIdentity<'_>,
        state: State,
    ) -> Result<Entry> {
        self.change(lease, |data| {
            let device = data.unchanged(entry)?;
            let current = entry.record.identity_name.clone().unwrap_or_else(|| device.first.clone());
            let record = entry.with_candidate(current, next, state)?;
            device.identities.insert(identity_name(next.credentials), next.kept.clone());
            data.replace(entry, record)
        })
        .await
    }

    async fn promote(&self, lease: &Lease, entry: &Entry) -> Result<Entry> {
        self.change(lease, |data| data.replace(entry, entry.promoted()?)).await
    }

    async fn roll_back(&self, lease: &Lease, entry: &Entry) -> Result<Entry> {
        self.change(lease, |data| data.replace(entry, entry.rolled_back()?)).await
    }

    async fn discard(&self, lease: &Lease, entry: &Entry) -> Result<Entry> {
        self.change(lease, |data| {
            let record = entry.discarded();
            let discarded = data.replace(entry, record)?;
            let record = &discarded.record;
            let current = record.identity_name.clone();
            let candidate = record.candidate.as_ref().map(|named| named.name.clone());
            let device = data.unchanged(&discarded)?;
            let named = [Some(current.unwrap_or_else(|| device.first.clone())), candidate];
            device.identities.retain(|name, _| named.iter().flatten().any(|named| named == name));
            Ok(discarded)
        })
        .await
    }

    async fn note(&self, lease: &Lease, entry: &Entry, note: Note) -> Result<Entry> {
        self.change(lease, |data| data.replace(entry, entry.noted(note)?)).await
    }

    async fn list(&self) -> Result<Vec<(DeviceId, Result<Entry>)>> {
        let data = self.data();
        Ok(data.devices.keys().map(|id| (id.clone(), data.entry(id))).collect())
    }

    async fn key(&self, entry: &Entry, which: Which) -> Result<Kept> {
        yield_now().await;
        let (name, identity) = entry.identity(which)?;
        let data = self.data();
        let device = data.devices.get(&entry.id).ok_or_else(corrupt)?;
        let kept = device.identities.get(name.unwrap_or(&device.first)).ok_or_else(corrupt)?;
        let fits = match kept {
            Kept::X509 { chain, .. } => Some(chain[0].credentials_id()) == identity.credentials_id,
            other => other.credentials_type() == identity.credentials_type,
        };
        if fits { Ok(kept.clone()) } else { Err(corrupt()) }
    }

    async fn trust(&self, entry: &Entry) -> Result<Trust> {
        let data = self.data();
        Ok(data.devices.get(&entry.id).ok_or_else(corrupt)?.trust.clone())
    }

    async fn remove(&self, lease: &Lease, entry: &Entry) -> Result<String> {
        self.change(lease, |data| {
            data.unchanged(entry)?;
            let removed = data.devices.remove(&entry.id);
            data.removed.extend(removed);
            Ok("among the removed".to_owned())
        })
        .await
    }
}
