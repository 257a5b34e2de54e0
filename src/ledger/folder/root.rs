//! The store's own folder, and the work in it. All functions may block on the disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use super::device::{self, Files};
use super::{names, unfinished};
use crate::device::{DeviceId, State};
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::event::Progress;
use crate::files::lock::DeviceLock;
use crate::files::{self, Failure};
use crate::ledger::{Entry, Hold, NewIdentity, Record, Slot, changed, identity_name};
use crate::text::{one_line, shown_path};

/// Where devices lie that were taken out.
const REMOVED: &str = ".removed";

#[derive(Debug)]
pub(super) struct Root {
    pub(super) path: PathBuf,
    pub(super) progress: Progress,
    pub(super) leases: AtomicU64,
}

/// The lock of a device, and a second one while it has no name: its own and that of its place.
pub(super) struct Locks(DeviceLock, Option<DeviceLock>);

impl Hold for Locks {
    fn is_lost(&self) -> bool {
        self.0.is_gone() || self.1.as_ref().is_some_and(DeviceLock::is_gone)
    }
}

impl Root {
    pub(super) fn directory(&self, entry: &Entry) -> PathBuf {
        self.path.join(entry.id.as_str())
    }

    pub(super) fn entry(&self, folder: &str, record: Record) -> Entry {
        Entry { id: DeviceId::new(folder), directory: Some(self.path.join(folder)), record }
    }

    pub(super) fn open(&self, folder: &str) -> Result<Entry> {
        Ok(self.entry(folder, device::read_record(&self.path.join(folder))?))
    }

    pub(super) fn find_named(&self, name: &str) -> Result<Option<Entry>> {
        let mut other = None;
        for folder in names::folders_of(name) {
            if !exists(&self.path.join(&folder))? {
                continue;
            }
            let entry = self.open(&folder)?;
            match &entry.record.device {
                Some(held) if held != name => other = Some(entry),
                _ => return Ok(Some(entry)),
            }
        }
        let Some(entry) = other else { return Ok(None) };
        let message = format!("{} already holds a device called '{}'", entry.place(), entry.shown_name());
        Err(Error::new(ErrorCode::StoreExists, message))
    }

    fn lock(&self, folder: &str, shown: &str) -> Result<DeviceLock> {
        DeviceLock::take(&self.path, folder, shown)
    }

    /// Locks the device of this name. A run that makes a device whose name the server makes up locks its slot, so the
    /// lock of the slot is taken too.
    pub(super) fn hold_named(&self, name: &str) -> Result<Locks> {
        let folder = names::folder_name(name);
        let own = self.lock(&folder, name)?;
        // If the device cannot be read, the code that reads it reports why.
        let Ok(Some(entry)) = self.find_named(name) else { return Ok(Locks(own, None)) };
        let place = unfinished::lock_of(&self.path, &entry);
        let place = place.map(|place| self.lock(&place, name)).transpose()?;
        device::show_current(&self.directory(&entry), &entry)?;
        Ok(Locks(own, place))
    }

    /// Puts the files for other programs right, where a run was killed before it did. Nothing while another tbprov has
    /// the device: it does so itself. And nothing where no run had it, as in a copy: a look makes no lock, which would be
    /// that of who looks.
    pub(super) fn mend(&self, entry: &Entry) {
        let folder = names::folder_name(entry.shown_name());
        if device::shows_current(&self.directory(entry), &entry.record)
            || !DeviceLock::is_there(&self.path, &folder)
        {
            return;
        }
        match self.hold_named(entry.shown_name()) {
            Err(error) if error.code != ErrorCode::StoreLocked => self.progress.warn(format!(
                "the key and the certificate for other programs in {} are not those that '{}' has now: {}",
                entry.place(),
                entry.shown_name(),
                error.message
            )),
            _ => {}
        }
    }

    pub(super) fn hold_unnamed(&self, slot: &Slot) -> Result<Locks> {
        let place = self.lock(&unfinished::lock_name(slot), "(unnamed)")?;
        let folder = unfinished::find(&self.path, slot)?;
        let own = folder.map(|folder| self.lock(&folder, &folder)).transpose()?;
        Ok(Locks(place, own))
    }

    /// Says which folder the slot's device will have, if it has none.
    pub(super) fn reserve(&self, slot: &Slot, folder: &str) -> Result<()> {
        if let Some(held) = unfinished::find(&self.path, slot)? {
            let message = format!("{} is not finished", shown_path(self.path.join(held)));
            return Err(Error::new(ErrorCode::StoreExists, message));
        }
        unfinished::write(&self.path, slot, folder)
    }

    /// Writes the new folder of a device; `beside` names the one that it is written to before.
    pub(super) fn stage(&self, folder: &str, beside: &str, content: &Files) -> Result<()> {
        let directory = self.path.join(folder);
        if exists(&directory)? {
            let message = format!("{} exists already", shown_path(directory));
            return Err(Error::new(ErrorCode::StoreExists, message));
        }
        files::create_directory(&self.path).map_err(Failure::in_store)?;
        // Under the lock, a folder of this name is what a killed run left before it ever asked the server.
        let unfinished = self.path.join(format!(".new-{beside}"));
        files::remove_directory(&unfinished).map_err(Failure::in_store)?;
        let written = content
            .write(&unfinished)
            .and_then(|()| files::rename(&unfinished, &directory).map_err(Failure::in_store));
        if let Err(error) = written {
            // The server was never asked for this device, and a key that nobody needs must not stay there.
            let _ = files::remove_directory(&unfinished);
            return Err(error);
        }
        files::sync_directory(&self.path).map_err(Failure::in_store)
    }

    fn check_unchanged(&self, entry: &Entry) -> Result<()> {
        let directory = self.directory(entry);
        if !exists(&directory)? || device::read_record(&directory)? != entry.record {
            return Err(changed(entry));
        }
        Ok(())
    }

    /// Replaces the record by one rename, if it still is what `entry` says. `server_pem` is the new content of
    /// `server.pem`, if that may change.
    ///
    /// A record that says `server_pem` has the file beside it at every moment: the file is written before the record,
    /// and removed after it. A file that is left over is not read.
    pub(super) fn replace_record(
        &self,
        entry: &Entry,
        record: Record,
        server_pem: Option<Option<String>>,
    ) -> Result<Entry> {
        self.check_unchanged(entry)?;
        let directory = self.directory(entry);
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

    pub(super) fn stage_next(
        &self,
        entry: &Entry,
        next: NewIdentity<'_>,
        state: State,
        content: &Files,
    ) -> Result<Entry> {
        let directory = self.directory(entry);
        self.check_unchanged(entry)?;
        // First what is not on the disk yet: a server may give it once.
        if entry.record.candidate.is_none() {
            device::write_identity(&directory, &identity_name(next.credentials), content, &self.progress)?;
        }
        let current = match &entry.record.identity_name {
            Some(name) => name.clone(),
            None => device::file_current(&directory, entry, &self.progress)?,
        };
        let record = entry.with_candidate(current, next, state)?;
        self.replace_record(entry, record, None)
    }

    /// Makes another identity the current one.
    pub(super) fn exchange(&self, entry: &Entry, record: Record) -> Result<Entry> {
        let entry = self.replace_record(entry, record, None)?;
        device::show_current(&self.directory(&entry), &entry)?;
        Ok(entry)
    }

    /// First the record, then the files: one that names an identity has it.
    pub(super) fn discard(&self, entry: &Entry, record: Record) -> Result<Entry> {
        let entry = self.replace_record(entry, record, None)?;
        device::delete_unnamed(&self.directory(&entry), &entry.record)?;
        Ok(entry)
    }

    pub(super) fn list(&self) -> Result<Vec<(DeviceId, Result<Entry>)>> {
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
            let entry = self.open(&folder).and_then(in_its_own_folder).inspect(|entry| self.mend(entry));
            (DeviceId::new(one_line(&folder, usize::MAX)), entry)
        };
        Ok(folders.into_iter().map(open).collect())
    }

    pub(super) fn remove(&self, entry: &Entry) -> Result<String> {
        self.check_unchanged(entry)?;
        let aside =
            files::move_aside(&self.directory(entry), &self.path.join(REMOVED)).map_err(Failure::in_store)?;
        Ok(aside.display().to_string())
    }
}

/// A copied folder would be a second device with the same identity, and ThingsBoard lets one of them in at a time.
fn in_its_own_folder(entry: Entry) -> Result<Entry> {
    let record = &entry.record;
    let whose = match (&record.device, &record.identity.credentials_id, &record.identity_name) {
        (Some(name), _, _) if !names::is_folder_of(entry.id.as_str(), name) => format!("the device '{name}'"),
        // One that the server named is called after its first identity.
        (None, Some(id), None) if !names::is_unnamed(entry.id.as_str(), id) => {
            "a device that the server named".to_owned()
        }
        _ => return Ok(entry),
    };
    let message = format!("{} is a copy of {whose}, or its folder under another name", entry.place());
    Err(Error::new(ErrorCode::StoreCorrupt, message).hint(Hint::RemoveCopy))
}

pub(super) fn exists(path: &Path) -> Result<bool> {
    path.try_exists().map_err(|error| Failure::new("look at", path, error).in_store())
}
