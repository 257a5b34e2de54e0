//! Devices that the server shall name and that are not finished: `.unfinished/` holds one file for each, called after
//! the server and the provision key, with the folder's name in it. So a rerun finds its device without looking at
//! all others, and one profile never gets another's.

use std::io;
use std::path::{Path, PathBuf};

use super::device;
use crate::device::State;
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::files::{self, Access, Failure};
use crate::ledger::{Entry, Slot};
use crate::text::shown_path;

const FOLDER: &str = ".unfinished";

/// Bytes of a folder's name, at the most.
const LONGEST: u64 = 255;

/// Hex digits of the slot's fingerprint in the file's name.
const DIGITS: usize = 32;

fn file_name(slot: &Slot) -> String {
    let mut name = slot.fingerprint();
    name.truncate(DIGITS);
    name
}

/// The name of the slot's lock; no device's folder begins with a dot.
pub(super) fn lock_name(slot: &Slot) -> String {
    format!("{FOLDER}-{}", file_name(slot))
}

/// The name of the lock of the place that a device has while it is not finished.
pub(super) fn lock_of(root: &Path, entry: &Entry) -> Option<String> {
    let record = &entry.record;
    let provision_key_sha256 = record.wishes.provision_key_sha256.clone()?;
    let slot = Slot { host: record.host.clone(), port: record.port, provision_key_sha256 };
    let folder = find(root, &slot).ok()??;
    (folder == entry.id.as_str()).then(|| lock_name(&slot))
}

fn path(root: &Path, slot: &Slot) -> PathBuf {
    root.join(FOLDER).join(file_name(slot))
}

/// The folder of the slot's unfinished device.
pub(super) fn find(root: &Path, slot: &Slot) -> Result<Option<String>> {
    let path = path(root, slot);
    let folder = match files::read(&path, LONGEST) {
        Ok(folder) => String::from_utf8_lossy(&folder).trim().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::new("read", &path, error).in_store()),
    };
    if folder.is_empty() || folder.starts_with('.') || folder.contains(['/', '\\']) {
        let message = format!("{} names no folder of a device", shown_path(path));
        return Err(Error::new(ErrorCode::StoreCorrupt, message).hint(Hint::DamagedSlot));
    }
    let directory = root.join(&folder);
    if !super::root::exists(&directory)? {
        // Killed before the folder was there: the server was never asked.
        return Ok(None);
    }
    let record = device::read_record(&directory)?;
    Ok((record.device.is_none() && record.state() != State::Proved).then_some(folder))
}

/// Says which folder the slot's device will have. It comes before the folder: one without the other is no device.
pub(super) fn write(root: &Path, slot: &Slot, folder: &str) -> Result<()> {
    let path = path(root, slot);
    files::create_directory(&root.join(FOLDER)).map_err(Failure::in_store)?;
    files::replace(&path, folder.as_bytes(), Access::Everybody).map_err(Failure::in_store)
}

/// Removes the slot's entry, so that the device in `folder` is not found by its slot any more. The next run for this
/// profile makes another device, also after a power cut.
pub(super) fn remove(root: &Path, slot: &Slot, folder: &str) -> Result<()> {
    let path = path(root, slot);
    if files::read(&path, LONGEST).is_ok_and(|held| held == folder.as_bytes()) {
        files::remove(&path).map_err(Failure::in_store)?;
        files::sync_directory(&root.join(FOLDER)).map_err(Failure::in_store)?;
    }
    Ok(())
}
