//! Devices in folders. Every folder and file is complete. Nothing is overwritten except `device.json`, `server.pem`
//! and, when a device is rotated, the two files for other programs. Each of them is replaced by one atomic rename.
//!
//! ```text
//! devices/<name>/          0700; characters that a file system forbids are percent-encoded
//!   key.pem                0600, PKCS#8
//!   cert.pem               the device's certificate, then any above it
//!   credentials.json       0600, instead of the two, for an access token or MQTT basic credentials
//!   server.pem             the certificates trusted, when a file was given
//!   device.json            the record
//!   identities/<12 digits> key and certificate of each identity of a device that was rotated
//! devices/.locks/          one file a device, held while a tbprov works on it
//! devices/.unfinished/     one file for each device that the server shall name and that is not finished
//! devices/.removed/        devices that were taken out
//! ```

mod device;
mod names;
mod root;
mod unfinished;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use self::device::Files;
use self::root::{Locks, Root};
use super::{
    Advance, Entry, Kept, Lease, Ledger, NewDevice, NewIdentity, Note, Subject, Which, identity_name,
};
use crate::blocking::blocking;
use crate::device::{DeviceId, State};
use crate::error::Result;
use crate::event::Progress;
use crate::text::shown_path;
use crate::tls::Trust;

pub use names::folder_name;

/// A store: a folder of devices. Nothing is created before the first device.
#[derive(Debug, Clone)]
pub struct Folders(Arc<Root>);

impl Folders {
    /// The store in the folder `root`, without an observer for its warnings.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self::told_to(root, Progress::silent())
    }

    /// The store in the folder `root`; what deserves attention is told to `progress`.
    pub fn told_to(root: impl Into<PathBuf>, progress: Progress) -> Self {
        Self(Arc::new(Root { path: root.into(), progress, leases: AtomicU64::new(0) }))
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.0.path
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Root) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let root = Arc::clone(&self.0);
        blocking(move || work(&root)).await
    }

    async fn held(&self, hold: impl FnOnce(&Root) -> Result<Locks> + Send + 'static) -> Result<Lease> {
        self.run(move |root| {
            let locks = hold(root)?;
            let fence = root.leases.fetch_add(1, Ordering::Relaxed) + 1;
            Ok(Lease::new(fence, Arc::new(locks)))
        })
        .await
    }

    /// Does `work` under the lease. The device stays locked until it is done, also if the caller's future is dropped.
    async fn change<T: Send + 'static>(
        &self,
        lease: &Lease,
        work: impl FnOnce(&Root) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let hold = lease.hold();
        self.run(move |root| {
            hold.check()?;
            work(root)
        })
        .await
    }
}

#[async_trait]
impl Ledger for Folders {
    async fn lease(&self, subject: Subject<'_>) -> Result<Lease> {
        match subject {
            Subject::Named(name) => {
                let name = name.trim().to_owned();
                self.held(move |root| root.hold_named(&name)).await
            }
            Subject::Unnamed(slot) => {
                let slot = slot.clone();
                self.held(move |root| root.hold_unnamed(&slot)).await
            }
        }
    }

    async fn find(&self, subject: Subject<'_>) -> Result<Option<Entry>> {
        match subject {
            Subject::Named(name) => {
                let name = name.trim().to_owned();
                self.run(move |root| {
                    let found = root.find_named(&name)?;
                    Ok(found.inspect(|entry| root.mend(entry)))
                })
                .await
            }
            Subject::Unnamed(slot) => {
                let slot = slot.clone();
                self.run(move |root| {
                    let folder = unfinished::find(&root.path, &slot)?;
                    folder.map(|folder| root.open(&folder)).transpose()
                })
                .await
            }
        }
    }

    fn shown(&self) -> String {
        format!("the store {}", shown_path(&self.0.path))
    }

    async fn stage(&self, lease: &Lease, new: NewDevice<'_>) -> Result<Entry> {
        let (folder, slot) = match new.subject {
            Subject::Named(name) => (folder_name(name.trim()), None),
            Subject::Unnamed(slot) => {
                (names::unnamed(&identity_name(new.identity.credentials)), Some(slot.clone()))
            }
        };
        // Made once: the entry has to be what is written, to the second.
        let record = new.record();
        let content = Files::of(&new, &record)?;
        self.change(lease, move |root| {
            if let Some(slot) = &slot {
                root.reserve(slot, &folder)?;
            }
            let beside = slot.as_ref().map_or_else(|| folder.clone(), unfinished::lock_name);
            root.stage(&folder, &beside, &content)?;
            Ok(root.entry(&folder, record))
        })
        .await
    }

    async fn advance(&self, lease: &Lease, entry: &Entry, advance: Advance<'_>) -> Result<Entry> {
        let record = entry.advanced(&advance)?;
        let server_pem = match advance.which {
            Which::Current => advance.server.map(|server| device::server_pem(&server.trust)),
            _ => None,
        };
        let (entry, left) = (entry.clone(), advance.leaves.cloned());
        self.change(lease, move |root| {
            let entry = root.replace_record(&entry, record, server_pem)?;
            // The record has the news: what still names the device is not asked any more.
            if let Some(Err(error)) =
                left.map(|slot| unfinished::remove(&root.path, &slot, entry.id.as_str()))
            {
                root.progress.warn(error.message);
            }
            Ok(entry)
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
        let content = Files::of_identity(&next)?;
        let (kept, credentials) = (next.kept.clone(), next.credentials.clone());
        let entry = entry.clone();
        self.change(lease, move |root| {
            let next = NewIdentity { kept: &kept, credentials: &credentials };
            root.stage_next(&entry, next, state, &content)
        })
        .await
    }

    async fn promote(&self, lease: &Lease, entry: &Entry) -> Result<Entry> {
        let record = entry.promoted()?;
        let entry = entry.clone();
        self.change(lease, move |root| root.exchange(&entry, record)).await
    }

    async fn roll_back(&self, lease: &Lease, entry: &Entry) -> Result<Entry> {
        let record = entry.rolled_back()?;
        let entry = entry.clone();
        self.change(lease, move |root| root.exchange(&entry, record)).await
    }

    async fn discard(&self, lease: &Lease, entry: &Entry) -> Result<Entry> {
        let record = entry.discarded();
        let entry = entry.clone();
        self.change(lease, move |root| root.discard(&entry, record)).await
    }

    async fn note(&self, lease: &Lease, entry: &Entry, note: Note) -> Result<Entry> {
        let record = entry.noted(note)?;
        let entry = entry.clone();
        self.change(lease, move |root| root.replace_record(&entry, record, None)).await
    }

    async fn list(&self) -> Result<Vec<(DeviceId, Result<Entry>)>> {
        self.run(|root| root.list()).await
    }

    async fn key(&self, entry: &Entry, which: Which) -> Result<Kept> {
        let entry = entry.clone();
        self.run(move |root| {
            let directory = root.directory(&entry);
            device::read_identity(&directory, &entry, which, &root.progress)
        })
        .await
    }

    async fn left_behind(&self, entry: &Entry) -> Result<Option<Kept>> {
        let entry = entry.clone();
        self.run(move |root| device::left_behind(&root.directory(&entry), &entry.record, &root.progress))
            .await
    }

    async fn trust(&self, entry: &Entry) -> Result<Trust> {
        let entry = entry.clone();
        self.run(move |root| device::read_trust(&root.directory(&entry), &entry.record)).await
    }

    async fn remove(&self, lease: &Lease, entry: &Entry) -> Result<String> {
        let entry = entry.clone();
        self.change(lease, move |root| root.remove(&entry)).await
    }
}
