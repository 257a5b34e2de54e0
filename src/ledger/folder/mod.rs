//! The folder of devices. Whatever is in it is complete, and nothing in it is ever overwritten but
//! `device.json` and `server.pem`, each by one atomic rename.
//!
//! ```text
//! devices/<name>/          0700; characters that a file system forbids are percent-encoded
//!   key.pem                0600, PKCS#8
//!   cert.pem               the device's certificate, then any above it
//!   credentials.json       0600, instead of the two, for an access token or MQTT basic credentials
//!   server.pem             the certificates trusted, when a file was given
//!   device.json            the record
//! devices/.locks/          one file a device, held while a tbprov works on it
//! ```

mod device;
mod names;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use device::{Device, NewDevice};
pub use names::folder_name;

use super::io_error;
pub use super::record::{Flashed, Reached, Record};
pub use crate::files::lock::DeviceLock;
use crate::files::{self, Failure};

use crate::device::State;
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::server::Host;
use crate::text::one_line;

/// A folder of devices. Nothing is created before the first device.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The store in the folder `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Takes the lock of `device` (`None`: of all devices that the server names), if it is free.
    ///
    /// # Errors
    /// `store/locked` naming the holder, `store/io`.
    pub fn lock(&self, device: Option<&str>) -> Result<DeviceLock> {
        let folder = device.map_or_else(|| names::UNNAMED.to_owned(), folder_name);
        DeviceLock::take(&self.root, &folder, device.unwrap_or("(unnamed)"))
    }

    /// The device called `name`, if the store has it.
    ///
    /// # Errors
    /// `store/corrupt` when its record cannot be read, `store/exists` when its folder belongs to another
    /// name (a file system that does not tell upper from lower case), `store/io`.
    pub fn find(&self, name: &str) -> Result<Option<Device>> {
        let name = name.trim();
        if name.is_empty() {
            return Ok(None);
        }
        let directory = self.root.join(folder_name(name));
        if !exists(&directory)? {
            return Ok(None);
        }
        let device = Device::open(&directory)?;
        match &device.record.device {
            Some(held) if held != name => {
                let message = format!("{} already holds a device called '{held}'", directory.display());
                Err(Error::new(ErrorCode::StoreExists, message))
            }
            _ => Ok(Some(device)),
        }
    }

    /// The device called `name`, or with that folder.
    ///
    /// # Errors
    /// `store/not-found`, and those of [`Store::find`].
    pub fn open(&self, name: &str) -> Result<Device> {
        self.find(name)?.ok_or_else(|| {
            let message = format!("the store {} has no device called '{name}'", self.root.display());
            Error::new(ErrorCode::StoreNotFound, message)
        })
    }

    /// The store's only device.
    ///
    /// # Errors
    /// `store/not-found` when there is none, `usage/missing-value` when there are several.
    pub fn only(&self) -> Result<Device> {
        let mut devices = self.devices()?;
        let message = match devices.len() {
            1 => return devices.remove(0).1,
            0 => format!("the store {} has no device", self.root.display()),
            count => {
                let message = format!("the store {} has {count} devices: name one", self.root.display());
                return Err(Error::new(ErrorCode::UsageMissing, message).hint(Hint::NameDevice));
            }
        };
        Err(Error::new(ErrorCode::StoreNotFound, message).hint(Hint::EmptyStore))
    }

    /// Every device, ordered by folder, each readable or not.
    ///
    /// # Errors
    /// `store/io` when the store's folder cannot be read. A store that does not exist is empty.
    pub fn devices(&self) -> Result<Vec<(String, Result<Device>)>> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_error("read", &self.root, error)),
        };
        let mut folders = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| io_error("read", &self.root, error))?;
            let path = entry.path();
            let name = one_line(&entry.file_name().to_string_lossy(), usize::MAX);
            if !name.starts_with('.') && path.is_dir() {
                folders.push((name, path));
            }
        }
        folders.sort();
        Ok(folders
            .into_iter()
            .map(|(name, path)| (name, Device::open(&path).and_then(in_its_own_folder)))
            .collect())
    }

    /// An unfinished device that the server was to name, of this server: a rerun finishes it.
    ///
    /// # Errors
    /// Those of [`Store::devices`].
    pub fn find_unfinished_unnamed(&self, host: &Host, port: u16) -> Result<Option<Device>> {
        Ok(self.devices()?.into_iter().filter_map(|(_, device)| device.ok()).find(|device| {
            let record = &device.record;
            record.device.is_none()
                && record.state != State::Proved
                && record.host == *host
                && record.port == port
        }))
    }

    /// Writes a new device, durably and completely or not at all.
    ///
    /// # Errors
    /// `store/exists` when its folder exists, `store/io`.
    pub fn stage(&self, lock: &DeviceLock, new: &NewDevice<'_>) -> Result<Device> {
        let folder = new.folder_name();
        let directory = self.root.join(&folder);
        if exists(&directory)? {
            let message = format!("{} exists already", directory.display());
            return Err(Error::new(ErrorCode::StoreExists, message));
        }
        // Under the lock, a folder of this name is what a killed run left before it ever asked the server.
        let unfinished = self.root.join(format!(".new-{}", lock.folder()));
        if exists(&unfinished)? {
            files::remove_directory(&unfinished).map_err(Failure::in_store)?;
        }
        if let Err(error) = new.write(&unfinished) {
            // It was never asked for, and a key that nobody needs shall not lie there.
            let _ = files::remove_directory(&unfinished);
            return Err(error);
        }
        files::rename(&unfinished, &directory).map_err(Failure::in_store)?;
        files::sync_directory(&self.root).map_err(Failure::in_store)?;
        Device::open(&directory)
    }
}

/// A copied folder would be a second device with the same identity, and ThingsBoard lets one of them in at a time.
fn in_its_own_folder(device: Device) -> Result<Device> {
    let folder = device.directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match &device.record.device {
        Some(name) if !folder_name(name).eq_ignore_ascii_case(&folder) => {
            let message = format!("{} is a copy of the device '{name}'", device.directory.display());
            Err(Error::new(ErrorCode::StoreCorrupt, message).hint(Hint::RemoveCopy))
        }
        _ => Ok(device),
    }
}

fn exists(path: &Path) -> Result<bool> {
    path.try_exists().map_err(|error| io_error("look at", path, error))
}
