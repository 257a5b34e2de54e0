//! One tbprov on a device at a time.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use super::{Failure, create_directory};
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::text::shown_path;

/// The bits of a mode by which others may write.
const EVERYBODY: u32 = 0o002;
const GROUP: u32 = 0o020;

/// The folder of a store's locks.
const LOCKS: &str = ".locks";

const LINK: &str = "it is a link to somewhere else";

/// Held while this process works on a device. The operating system frees it when the process ends for any reason. The
/// file itself stays: if it were removed, two processes could hold locks on two files of the same name.
#[derive(Debug)]
pub struct DeviceLock {
    file: File,
    path: PathBuf,
}

impl DeviceLock {
    /// Takes the lock `.locks/<folder>.lock` of the store `root`; `device` is its name in messages.
    ///
    /// Nothing is written before the file is known to be the lock: a regular file of this user with one name, in a
    /// folder that nobody else writes to.
    pub(crate) fn take(root: &Path, folder: &str, device: &str) -> Result<Self> {
        let locks = root.join(LOCKS);
        create_directory(root).map_err(Failure::in_store)?;
        refuse_a_folder_of_others(root, EVERYBODY)?;
        create_directory(&locks).map_err(Failure::in_store)?;
        refuse_a_folder_of_others(&locks, EVERYBODY | GROUP)?;
        let path = Self::path(root, folder);
        let held = |holder| format!("another tbprov{holder} is working on the device '{device}'");
        Ok(Self { file: locked(&path, held)?, path })
    }

    fn path(root: &Path, folder: &str) -> PathBuf {
        root.join(LOCKS).join(format!("{folder}.lock"))
    }

    /// Whether somebody has ever taken the lock.
    pub(crate) fn is_there(root: &Path, folder: &str) -> bool {
        Self::path(root, folder).is_file()
    }

    /// Whether the lock is one no more: somebody removed or replaced its file, and may have taken the new one.
    pub(crate) fn is_gone(&self) -> bool {
        !is_the_file_at(&self.file, &self.path)
    }
}

#[cfg(unix)]
fn is_the_file_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(held), Ok(there)) => held.dev() == there.dev() && held.ino() == there.ino(),
        _ => false,
    }
}

/// While it is open, nobody can remove or replace it here: [`open`] shares no deletion.
#[cfg(not(unix))]
fn is_the_file_at(_: &File, path: &Path) -> bool {
    path.exists()
}

/// Held by the one process that may replace a file. The lock is a file of its own, `.NAME.lock` beside it, which
/// stays.
#[derive(Debug)]
pub(crate) struct FileLock {
    _file: File,
}

impl FileLock {
    /// Takes the lock of the file at `path`, which need not be there.
    ///
    /// # Errors
    /// `store/locked` when another process has it, `store/io`.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let held = |holder| format!("another tbprov{holder} uses {}", shown_path(path));
        Ok(Self { _file: locked(&path.with_file_name(format!(".{name}.lock")), held)? })
    }
}

/// Held by a process for as long as it lives. Its file is removed at the end. Others see whether it lives
/// ([`LifeLock::is_free`]).
#[derive(Debug)]
#[cfg(feature = "fleet")]
pub(crate) struct LifeLock {
    /// Closed before it is removed: Windows removes no other.
    file: Option<File>,
    path: PathBuf,
}

#[cfg(feature = "fleet")]
impl LifeLock {
    /// Makes the file `<word>.lock` in `folder`, and locks it. No other process has that word.
    ///
    /// # Errors
    /// `store/io`, `store/locked`.
    pub(crate) fn take(folder: &Path, word: &str) -> Result<Self> {
        let path = Self::path(folder, word);
        let held = |holder| format!("another tbprov{holder} holds {}", shown_path(&path));
        create_directory(folder).map_err(Failure::in_store)?;
        refuse_a_folder_of_others(folder, EVERYBODY | GROUP)?;
        // Another process may just have removed the folder, because it was empty.
        let file = match locked(&path, held) {
            Err(_) if !folder.exists() => {
                create_directory(folder).map_err(Failure::in_store)?;
                locked(&path, held)?
            }
            done => done?,
        };
        Ok(Self { file: Some(file), path })
    }

    fn path(folder: &Path, word: &str) -> PathBuf {
        folder.join(format!("{word}.lock"))
    }

    /// Whether no process has the lock of this word. One whose file is gone is free.
    ///
    /// # Errors
    /// `store/io`.
    pub(crate) fn is_free(folder: &Path, word: &str) -> Result<bool> {
        let path = Self::path(folder, word);
        match File::open(&path).map(|file| file.try_lock()) {
            Ok(Ok(())) => Ok(true),
            Ok(Err(TryLockError::WouldBlock)) => Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
            Ok(Err(TryLockError::Error(error))) | Err(error) => {
                Err(Failure::new("lock", &path, error).in_store())
            }
        }
    }

    /// Removes the file of a process that has ended, and the folder if no other is left.
    pub(crate) fn clear(folder: &Path, word: &str) {
        let _ = super::remove(&Self::path(folder, word));
        let _ = super::remove_empty_directory(folder);
    }
}

#[cfg(feature = "fleet")]
impl Drop for LifeLock {
    fn drop(&mut self) {
        self.file = None;
        let _ = super::remove(&self.path);
        let _ = self.path.parent().map(super::remove_empty_directory);
    }
}

/// Opens and locks the file at `path`. `held` makes the message for the case that another process has it.
fn locked(path: &Path, held: impl FnOnce(String) -> String) -> Result<File> {
    let mut file = open(path)?;
    refuse_another_file(&file, path)?;
    match file.try_lock() {
        Ok(()) => {
            // Only for the message that another process shows: not worth failing for.
            let _ = file
                .set_len(0)
                .and_then(|()| file.rewind())
                .and_then(|()| write!(file, "{}", std::process::id()));
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => Err(Error::new(ErrorCode::StoreLocked, held(holder(file)))),
        Err(TryLockError::Error(error)) => Err(Failure::new("lock", path, error).in_store()),
    }
}

/// ` (process N)`, where the lock's file tells it.
fn holder(file: File) -> String {
    let mut holder = String::new();
    let _ = file.take(20).read_to_string(&mut holder);
    holder.trim().parse::<u32>().map_or_else(|_| String::new(), |process| format!(" (process {process})"))
}

fn refused(path: &Path, why: &str) -> Error {
    let message = format!("cannot lock {}: {why}", shown_path(path));
    Error::new(ErrorCode::StoreIo, message).hint(Hint::OthersInStore)
}

/// Opens or makes the file of that very name, for its owner alone.
#[cfg(unix)]
fn open(path: &Path) -> Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(File::from(file)),
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::MLINK) => Err(refused(path, LINK)),
        Err(error) => Err(Failure::new("open", path, error.into()).in_store()),
    }
}

#[cfg(not(unix))]
fn open(path: &Path) -> Result<File> {
    if path.is_symlink() {
        return Err(refused(path, LINK));
    }
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    // FILE_SHARE_READ and FILE_SHARE_WRITE.
    #[cfg(windows)]
    std::os::windows::fs::OpenOptionsExt::share_mode(&mut options, 1 | 2);
    options.open(path).map_err(|error| Failure::new("open", path, error).in_store())
}

/// A second name of the file may be anything of this user's: nothing is written to it.
#[cfg(unix)]
fn refuse_another_file(file: &File, path: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let known = file.metadata().map_err(|error| Failure::new("look at", path, error).in_store())?;
    if !known.is_file() {
        return Err(refused(path, "it is no regular file"));
    }
    if known.nlink() != 1 {
        return Err(refused(path, "the file has another name as well"));
    }
    if !super::is_of_this_user(known.uid()) && modes_are_kept(path) {
        return Err(refused(path, &format!("it belongs to another user ({})", known.uid())));
    }
    Ok(())
}

/// A user who may write to a folder of the store could replace the lock by another file. A group may write to the
/// store's own folder, because on many systems each user has a private group. Everybody may write to a folder like
/// /tmp, where nobody can replace the files of others.
#[cfg(unix)]
fn refuse_a_folder_of_others(path: &Path, others: u32) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let known = path.metadata().map_err(|error| Failure::new("look at", path, error).in_store())?;
    let (writable, sticky) = (known.mode() & others != 0, known.mode() & 0o1000 != 0);
    let why = if !super::is_of_this_user(known.uid()) {
        format!("the folder belongs to another user ({})", known.uid())
    } else if writable && !sticky {
        format!("others may write to the folder (mode {:03o})", known.mode() & 0o7777)
    } else {
        return Ok(());
    };
    if super::privacy::keeps_modes(path) { Err(refused(path, &why)) } else { Ok(()) }
}

#[cfg(unix)]
fn modes_are_kept(path: &Path) -> bool {
    path.parent().is_none_or(super::privacy::keeps_modes)
}

#[cfg(not(unix))]
fn refuse_another_file(_: &File, _: &Path) -> Result<()> {
    Ok(())
}

/// Fails where others may put another file in the place of one in this folder.
///
/// # Errors
/// `store/io`.
#[cfg(feature = "fleet")]
pub(crate) fn refuse_a_shared_folder(folder: &Path) -> Result<()> {
    refuse_a_folder_of_others(folder, EVERYBODY)
}

#[cfg(not(unix))]
fn refuse_a_folder_of_others(_: &Path, _: u32) -> Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    fn make_locks(store: &tempfile::TempDir) {
        let _ = create_directory(&store.path().join(".locks"));
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let store = tempfile::tempdir().unwrap();
        make_locks(&store);
        let (victim, lock) = (store.path().join("victim"), store.path().join(".locks/d.lock"));
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, &lock).unwrap();
        assert_eq!(DeviceLock::take(store.path(), "d", "d").unwrap_err().code, ErrorCode::StoreIo);
        fs::remove_file(&lock).unwrap();
        fs::hard_link(&victim, &lock).unwrap();
        let error = DeviceLock::take(store.path(), "d", "d").unwrap_err();
        assert!(error.message.contains("another name"), "{}", error.message);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[test]
    fn what_is_no_file_is_no_lock() {
        let store = tempfile::tempdir().unwrap();
        make_locks(&store);
        fs::create_dir(store.path().join(".locks/d.lock")).unwrap();
        assert_eq!(DeviceLock::take(store.path(), "d", "d").unwrap_err().code, ErrorCode::StoreIo);
    }

    #[test]
    fn a_folder_that_everybody_writes_to_is_refused() {
        let store = tempfile::tempdir().unwrap();
        make_locks(&store);
        for (folder, mode, fine) in [
            (".locks", 0o770, false),
            (".locks", 0o700, true),
            ("", 0o777, false),
            ("", 0o1777, true),
            ("", 0o775, true),
        ] {
            let folder = store.path().join(folder);
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            let taken = DeviceLock::take(store.path(), "d", "d");
            assert_eq!(taken.is_ok(), fine, "{folder:?} {mode:o}");
        }
    }

    #[test]
    fn the_lock_is_for_its_owner_alone() {
        let store = tempfile::tempdir().unwrap();
        make_locks(&store);
        let _lock = DeviceLock::take(store.path(), "d", "d").unwrap();
        assert_eq!(fs::metadata(store.path().join(".locks/d.lock")).unwrap().mode() & 0o777, 0o600);
    }
}
