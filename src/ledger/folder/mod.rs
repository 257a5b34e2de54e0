//! Devices in folders. Whatever is there is complete, and nothing is ever overwritten but `device.json`, `server.pem`
//! and, when a device is rotated, the two files for other programs, each by one atomic rename.
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
mod secrets;
mod unfinished;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use self::device::Files;
use super::{
    Advance, Entry, Hold, Kept, Lease, Ledger, NewDevice, NewIdentity, Note, Record, Subject, Which, changed,
};
use crate::blocking::blocking;
use crate::device::{DeviceId, State};
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::event::Progress;
use crate::files::lock::DeviceLock;
use crate::files::{self, Failure};
use crate::text::one_line;
use crate::tls::Trust;

pub use names::folder_name;

/// Where devices lie that were taken out.
const REMOVED: &str = ".removed";

/// A store: a folder of devices. Nothing is created before the first device.
#[derive(Debug, Clone)]
pub struct Folders(Arc<Root>);

#[derive(Debug)]
struct Root {
    path: PathBuf,
    progress: Progress,
    leases: AtomicU64,
}

impl Folders {
    /// The store in the folder `root`, which tells nobody of what it finds odd.
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
}

impl Hold for DeviceLock {
    fn is_lost(&self) -> bool {
        self.is_gone()
    }
}

/// The locks of a device that has no name yet: that of its place, then its own.
struct Both(DeviceLock, DeviceLock);

impl Hold for Both {
    fn is_lost(&self) -> bool {
        self.0.is_gone() || self.1.is_gone()
    }
}

#[async_trait]
impl Ledger for Folders {
    async fn lease(&self, subject: Subject<'_>) -> Result<Lease> {
        let (lock, shown) = match subject {
            Subject::Named(name) => (folder_name(name), name.to_owned()),
            Subject::Unnamed(slot) => (unfinished::lock_name(slot), "(unnamed)".to_owned()),
        };
        let own = match subject {
            Subject::Named(_) => None,
            Subject::Unnamed(slot) => Some(slot.clone()),
        };
        self.run(move |root| {
            let fence = root.leases.fetch_add(1, Ordering::Relaxed) + 1;
            let taken = DeviceLock::take(&root.path, &lock, &shown)?;
            let device = match own {
                Some(slot) => unfinished::find(&root.path, &slot)?,
                None => None,
            };
            let hold: Box<dyn Hold> = match device {
                Some(folder) => Box::new(Both(taken, DeviceLock::take(&root.path, &folder, &folder)?)),
                None => {
                    device::put_right(&root.path.join(&lock))?;
                    Box::new(taken)
                }
            };
            Ok(Lease::new(fence, hold))
        })
        .await
    }

    async fn find(&self, subject: Subject<'_>) -> Result<Option<Entry>> {
        match subject {
            Subject::Named(name) => {
                let name = name.trim().to_owned();
                self.run(move |root| root.find_named(&name)).await
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
        format!("the store {}", self.0.path.display())
    }

    async fn stage(&self, lease: &Lease, new: NewDevice<'_>) -> Result<Entry> {
        lease.check()?;
        let folder = match new.subject {
            Subject::Named(name) => folder_name(name),
            Subject::Unnamed(_) => names::unnamed(&super::identity_name(new.identity.credentials)),
        };
        let slot = match new.subject {
            Subject::Named(_) => None,
            Subject::Unnamed(slot) => Some(slot.clone()),
        };
        // Made once: the entry has to be what is written, to the second.
        let record = new.record();
        let content = Files::of(&new, &record)?;
        self.run(move |root| {
            if let Some(slot) = &slot {
                unfinished::write(&root.path, slot, &folder)?;
            }
            root.stage(&folder, &content)?;
            Ok(root.entry(&folder, record))
        })
        .await
    }

    async fn advance(&self, lease: &Lease, entry: &Entry, advance: Advance<'_>) -> Result<Entry> {
        lease.check()?;
        let now = crate::clock::now();
        let mut record = entry.record.clone();
        let identity = match advance.which {
            Which::Current => {
                record.believe(advance.server);
                &mut record.identity
            }
            Which::Candidate => {
                &mut record.candidate.as_mut().ok_or_else(|| no_identity(entry, "candidate"))?.identity
            }
            Which::Previous => return Err(no_identity(entry, "such")),
        };
        for state in advance.reached {
            identity.reach(*state, now);
        }
        if let Some(wishes) = advance.wishes {
            record.wishes = wishes.clone();
        }
        let server_pem = match advance.which {
            Which::Current => Some(device::server_pem(&advance.server.trust)),
            _ => None,
        };
        let (entry, left) = (entry.clone(), advance.leaves.cloned());
        self.run(move |root| {
            let entry = root.replace_record(&entry, record, server_pem)?;
            if let Some(slot) = left {
                unfinished::remove(&root.path, &slot, entry.id.as_str());
            }
            Ok(entry)
        })
        .await
    }

    async fn stage_next(&self, lease: &Lease, entry: &Entry, identity: NewIdentity<'_>) -> Result<Entry> {
        lease.check()?;
        let content = Files::of_identity(&identity)?;
        let (next, name) = (
            super::IdentityRecord::new(identity.credentials, State::Staged),
            super::identity_name(identity.credentials),
        );
        let entry = entry.clone();
        self.run(move |root| root.stage_next(&entry, name, next, &content)).await
    }

    async fn promote(&self, lease: &Lease, entry: &Entry) -> Result<Entry> {
        lease.check()?;
        let record = promoted(entry)?;
        let entry = entry.clone();
        self.run(move |root| {
            let entry = root.replace_record(&entry, record, None)?;
            device::show_current(&root.directory(&entry), &entry.record)?;
            Ok(entry)
        })
        .await
    }

    async fn roll_back(&self, lease: &Lease, entry: &Entry) -> Result<Entry> {
        lease.check()?;
        let record = rolled_back(entry)?;
        let entry = entry.clone();
        self.run(move |root| {
            let entry = root.replace_record(&entry, record, None)?;
            device::show_current(&root.directory(&entry), &entry.record)?;
            Ok(entry)
        })
        .await
    }

    async fn note(&self, lease: &Lease, entry: &Entry, note: Note) -> Result<Entry> {
        lease.check()?;
        let mut record = entry.record.clone();
        match note {
            Note::Flashed { chip, credentials_id } if credentials_id == record.identity.credentials_id => {
                record.flashed = Some(chip);
            }
            Note::Flashed { .. } => return Err(changed(entry)),
            Note::Refused(refusal) => record.refused = Some(refusal),
        }
        let entry = entry.clone();
        self.run(move |root| root.replace_record(&entry, record, None)).await
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

    async fn trust(&self, entry: &Entry) -> Result<Trust> {
        let entry = entry.clone();
        self.run(move |root| device::read_trust(&root.directory(&entry), &entry.record)).await
    }

    async fn remove(&self, lease: &Lease, entry: &Entry) -> Result<String> {
        lease.check()?;
        let entry = entry.clone();
        self.run(move |root| root.remove(&entry)).await
    }
}

impl Root {
    fn directory(&self, entry: &Entry) -> PathBuf {
        self.path.join(entry.id.as_str())
    }

    fn entry(&self, folder: &str, record: Record) -> Entry {
        Entry { id: DeviceId::new(folder), directory: Some(self.path.join(folder)), record }
    }

    fn open(&self, folder: &str) -> Result<Entry> {
        Ok(self.entry(folder, device::read_record(&self.path.join(folder))?))
    }

    fn find_named(&self, name: &str) -> Result<Option<Entry>> {
        if name.is_empty() {
            return Ok(None);
        }
        let mut folder = folder_name(name);
        if !exists(&self.path.join(&folder))? {
            // An earlier release kept a name as it was written.
            folder = names::as_written(name);
            if !exists(&self.path.join(&folder))? {
                return Ok(None);
            }
        }
        let entry = self.open(&folder)?;
        match &entry.record.device {
            Some(held) if held != name => {
                let message = format!("{} already holds a device called '{held}'", entry.place());
                Err(Error::new(ErrorCode::StoreExists, message))
            }
            _ => Ok(Some(entry)),
        }
    }

    fn stage(&self, folder: &str, content: &Files) -> Result<()> {
        let directory = self.path.join(folder);
        if exists(&directory)? {
            let message = format!("{} exists already", directory.display());
            return Err(Error::new(ErrorCode::StoreExists, message));
        }
        files::create_directory(&self.path).map_err(Failure::in_store)?;
        // Under the lock, a folder of this name is what a killed run left before it ever asked the server.
        let unfinished = self.path.join(format!(".new-{folder}"));
        files::remove_directory(&unfinished).map_err(Failure::in_store)?;
        let written = content
            .write(&unfinished)
            .and_then(|()| files::rename(&unfinished, &directory).map_err(Failure::in_store));
        if let Err(error) = written {
            // It was never asked for, and a key that nobody needs shall not lie there.
            let _ = files::remove_directory(&unfinished);
            return Err(error);
        }
        files::sync_directory(&self.path).map_err(Failure::in_store)
    }

    /// Replaces the record by one rename, if it still is what `entry` says. `server_pem` is what shall be kept of the
    /// server, where that may change.
    ///
    /// A record that says `server_pem` has the file beside it at every moment: the file comes before the record, and
    /// goes after it. One that is left over is not read.
    fn replace_record(
        &self,
        entry: &Entry,
        record: Record,
        server_pem: Option<Option<String>>,
    ) -> Result<Entry> {
        let directory = self.directory(entry);
        if device::read_record(&directory)? != entry.record {
            return Err(changed(entry));
        }
        let goes = matches!(server_pem, Some(None)) && entry.record.server_pem;
        if let Some(Some(wanted)) = server_pem {
            device::keep_server(&directory, &wanted)?;
        }
        device::write_record(&directory, &record)?;
        if goes {
            device::forget_server(&directory);
        }
        Ok(Entry { record, ..entry.clone() })
    }

    fn stage_next(
        &self,
        entry: &Entry,
        name: String,
        identity: super::IdentityRecord,
        content: &Files,
    ) -> Result<Entry> {
        if entry.record.candidate.is_some() {
            let message = format!("'{}' has a candidate already", entry.shown_name());
            return Err(Error::new(ErrorCode::StoreExists, message));
        }
        let directory = self.directory(entry);
        let mut record = entry.record.clone();
        if record.identity_name.is_none() {
            record.identity_name = Some(device::file_current(&directory, entry, &self.progress)?);
        }
        device::write_identity(&directory, &name, content)?;
        record.schema = super::SCHEMA_ROTATED.to_owned();
        record.candidate = Some(super::NamedIdentity { name, identity });
        self.replace_record(entry, record, None)
    }

    fn list(&self) -> Result<Vec<(DeviceId, Result<Entry>)>> {
        let failed = |error| Failure::new("read", &self.path, error).in_store();
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut folders = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') && entry.path().is_dir() {
                folders.push(name);
            }
        }
        folders.sort();
        let open = |folder: String| {
            let entry = self.open(&folder).and_then(in_its_own_folder);
            (DeviceId::new(one_line(&folder, usize::MAX)), entry)
        };
        Ok(folders.into_iter().map(open).collect())
    }

    fn remove(&self, entry: &Entry) -> Result<String> {
        let directory = self.directory(entry);
        if device::read_record(&directory)? != entry.record {
            return Err(changed(entry));
        }
        let aside = files::move_aside(&directory, &self.path.join(REMOVED)).map_err(Failure::in_store)?;
        Ok(aside.display().to_string())
    }
}

/// The record in which the proved candidate is the current identity.
fn promoted(entry: &Entry) -> Result<Record> {
    let mut record = entry.record.clone();
    let candidate = record.candidate.take().ok_or_else(|| no_identity(entry, "candidate"))?;
    if candidate.identity.state != State::Proved {
        let message = format!(
            "the candidate of '{}' is {}, not proved",
            entry.shown_name(),
            candidate.identity.state.as_str()
        );
        return Err(Error::new(ErrorCode::StoreNotProved, message));
    }
    exchange(entry, &mut record, candidate)?;
    Ok(record)
}

/// The record without its candidate or, where there is none, with the previous identity again.
fn rolled_back(entry: &Entry) -> Result<Record> {
    let mut record = entry.record.clone();
    if let Some(candidate) = record.candidate.take() {
        record.previous = Some(candidate);
        return Ok(record);
    }
    let previous = record.previous.take().ok_or_else(|| no_identity(entry, "previous"))?;
    exchange(entry, &mut record, previous)?;
    Ok(record)
}

/// Makes `next` the current identity, and the current one the previous.
fn exchange(entry: &Entry, record: &mut Record, next: super::NamedIdentity) -> Result<()> {
    let name = record.identity_name.replace(next.name).ok_or_else(|| no_identity(entry, "named"))?;
    let identity = std::mem::replace(&mut record.identity, next.identity);
    record.previous = Some(super::NamedIdentity { name, identity });
    Ok(())
}

fn no_identity(entry: &Entry, what: &str) -> Error {
    Error::new(ErrorCode::StoreNotFound, format!("'{}' has no {what} identity", entry.shown_name()))
}

/// A copied folder would be a second device with the same identity, and ThingsBoard lets one of them in at a time.
fn in_its_own_folder(entry: Entry) -> Result<Entry> {
    match &entry.record.device {
        Some(name) if !names::is_folder_of(entry.id.as_str(), name) => {
            let message = format!("{} is a copy of the device '{name}'", entry.place());
            Err(Error::new(ErrorCode::StoreCorrupt, message).hint(Hint::RemoveCopy))
        }
        _ => Ok(entry),
    }
}

fn exists(path: &Path) -> Result<bool> {
    path.try_exists().map_err(|error| Failure::new("look at", path, error).in_store())
}
