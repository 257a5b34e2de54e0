//! Who may read a file that holds a secret.

use std::path::Path;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// This user alone.
    Private,
    /// Unknown: Windows's lists of rights are not read.
    Unchecked,
    /// Unknown: the file system keeps neither modes nor owners.
    NoModes,
    /// Others of this machine.
    Readable {
        /// The file's mode.
        mode: u32,
    },
    /// Another user, whose file it is.
    OwnedByAnother {
        /// That user.
        uid: u32,
    },
}

/// Who may read the file at `path`. If others may, a temporary file is made beside it, once per folder. It shows
/// whether the file system keeps modes at all.
///
/// # Errors
/// The system's, where the file cannot be looked at.
pub fn privacy(path: &Path) -> std::io::Result<Privacy> {
    #[cfg(unix)]
    return unix::privacy(path);
    #[cfg(not(unix))]
    path.metadata().map(|_| Privacy::Unchecked)
}

/// The other user who may change the file at `path`, or who made the link of that name, if there is one. None where
/// the file system keeps no owners.
///
/// # Errors
/// The system's, where the file cannot be looked at.
pub fn other_owner(path: &Path) -> std::io::Result<Option<u32>> {
    #[cfg(unix)]
    return unix::other_owner(path);
    #[cfg(not(unix))]
    path.metadata().map(|_| None)
}

/// Whether what belongs to the user `uid` is this user's: own, root's, or with `sudo` that of who called it.
pub fn is_of_this_user(uid: u32) -> bool {
    #[cfg(unix)]
    return unix::is_of_this_user(uid);
    #[cfg(not(unix))]
    {
        let _ = uid;
        true
    }
}

#[cfg(unix)]
pub(super) use unix::keeps_modes;

#[cfg(unix)]
mod unix {
    use std::collections::HashMap;
    use std::fs::{self, File, Metadata};
    use std::io;
    use std::os::unix::fs::MetadataExt as _;
    use std::path::{Path, PathBuf};
    use std::sync::{Mutex, PoisonError};

    use super::Privacy;
    use crate::files::{Access, begin_new};

    /// The bits of a mode by which a group or all others may read.
    const READ_BY_OTHERS: u32 = 0o044;
    const PERMISSIONS: u32 = 0o7777;

    pub(super) fn privacy(path: &Path) -> io::Result<Privacy> {
        let file = path.metadata()?;
        let readable = file.mode() & READ_BY_OTHERS != 0;
        if is_of_this_user(file.uid()) && !readable {
            return Ok(Privacy::Private);
        }
        // The file's own folder, wherever a link to it is.
        let path = path.canonicalize()?;
        if !keeps_modes(path.parent().unwrap_or(Path::new("/"))) {
            return Ok(Privacy::NoModes);
        }
        Ok(match is_of_this_user(file.uid()) {
            true => Privacy::Readable { mode: file.mode() & PERMISSIONS },
            false => Privacy::OwnedByAnother { uid: file.uid() },
        })
    }

    pub(super) fn other_owner(path: &Path) -> io::Result<Option<u32>> {
        let owners = [path.symlink_metadata()?.uid(), path.metadata()?.uid()];
        let Some(other) = owners.into_iter().find(|uid| !is_of_this_user(*uid)) else { return Ok(None) };
        let folder = path.canonicalize()?;
        Ok(keeps_modes(folder.parent().unwrap_or(Path::new("/"))).then_some(other))
    }

    pub(super) fn is_of_this_user(uid: u32) -> bool {
        let own = rustix::process::geteuid();
        let called_by = || std::env::var("SUDO_UID").ok()?.parse::<u32>().ok();
        uid == own.as_raw() || uid == 0 || (own.is_root() && called_by() == Some(uid))
    }

    /// Whether a file in `folder` keeps the mode with which it was made. True if no file can be made there.
    pub(in crate::files) fn keeps_modes(folder: &Path) -> bool {
        static KNOWN: Mutex<Option<HashMap<PathBuf, bool>>> = Mutex::new(None);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_default();
        if let Some(keeps) = known.get(folder) {
            return *keeps;
        }
        let keeps = probe(folder).is_none_or(|made| reads_as_made(&made));
        known.insert(folder.to_owned(), keeps);
        keeps
    }

    fn probe(folder: &Path) -> Option<Metadata> {
        let name = crate::Secret::random(12).ok()?;
        let path = folder.join(format!(".tbprov-{}", name.expose()));
        let made = begin_new(&path, Access::Owner).ok();
        // The mode is also read by the file's name: for an open file, a cached mode may differ from the kept one.
        let seen = made.as_ref().and_then(|_: &File| path.metadata().ok());
        let _ = made.map(|_| fs::remove_file(&path));
        seen
    }

    fn reads_as_made(made: &Metadata) -> bool {
        made.mode() & 0o777 == 0o600 && made.uid() == rustix::process::geteuid().as_raw()
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::files::{Access, write_new};

    #[test]
    fn a_widened_mode_is_seen_and_nothing_is_left_by_looking() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        write_new(&path, b"key", Access::Owner).unwrap();
        assert_eq!(privacy(&path).unwrap(), Privacy::Private);
        for mode in [0o644, 0o640, 0o604] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(privacy(&path).unwrap(), Privacy::Readable { mode });
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
