//! New files, and new content for old ones.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::blocked::patiently;
use super::{Access, Failure, durable, sync_directory};

/// Writes a new file, durably. Its folder's entry is durable after [`sync_directory`].
///
/// # Errors
/// Where it exists, and where the system refuses it. A file that could not be written whole is removed again.
pub fn write_new(path: &Path, content: &[u8], access: Access) -> Result<(), Failure> {
    write(path, content, access, durable::sync)
}

/// Like [`write_new`], but after a power cut the file may be empty or missing.
///
/// # Errors
/// Those of [`write_new`].
pub fn write_new_unsynced(path: &Path, content: &[u8], access: Access) -> Result<(), Failure> {
    write(path, content, access, |_, _| Ok(()))
}

fn write(
    path: &Path,
    content: &[u8],
    access: Access,
    sync: fn(&File, &Path) -> io::Result<()>,
) -> Result<(), Failure> {
    let mut file = open(OpenOptions::new().write(true).create_new(true), path, access)
        .map_err(|error| Failure::new("create", path, error))?;
    file.write_all(content).and_then(|()| sync(&file, path)).map_err(|error| {
        let _ = fs::remove_file(path);
        Failure::new("write", path, error)
    })
}

/// Begins a new file that grows, such as a log: never over another one, and not through a link.
///
/// # Errors
/// Where it exists, and where the system refuses it.
pub fn begin_new(path: &Path, access: Access) -> Result<File, Failure> {
    open(OpenOptions::new().append(true).create_new(true), path, access)
        .map_err(|error| Failure::new("create", path, error))
}

/// Adds to the end of a file that is there, durably.
///
/// # Errors
/// Where the system refuses it; the file is as it was then, if the system lets it be cut.
pub fn append(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let cannot = |error| Failure::new("write", path, error);
    let mut file = OpenOptions::new().append(true).open(path).map_err(cannot)?;
    let before = file.metadata().map_err(cannot)?.len();
    file.write_all(content).and_then(|()| durable::sync_content(&file, path)).map_err(|error| {
        let _ = file.set_len(before);
        cannot(error)
    })
}

/// Replaces a file by one atomic rename: a reader, and a machine that loses power, finds the old content or
/// the new. Durable when it returns.
///
/// # Errors
/// If the system refuses it. The old content is then still there.
pub fn replace(path: &Path, content: &[u8], access: Access) -> Result<(), Failure> {
    let beside = beside(path);
    // What a killed run left, or a link that somebody put there, would keep its own mode and place.
    let _ = fs::remove_file(&beside);
    let cannot = |error| Failure::new("write", path, error);
    write_new(&beside, content, access)
        .map_err(|failure| match failure.is_existing() {
            // A folder, say: nothing that tbprov made, and nothing that it removes.
            true => Failure::taken(&beside),
            false => failure.of("write", path),
        })
        .and_then(|()| patiently(|| fs::rename(&beside, path)).map_err(cannot))
        .inspect_err(|_| {
            let _ = fs::remove_file(&beside);
        })?;
    sync_directory(path.parent().unwrap_or(Path::new("")))
}

/// The name under which a file's next content is written.
pub(super) fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

fn open(options: &mut OpenOptions, path: &Path, access: Access) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, access.mode());
    #[cfg(not(unix))]
    let _ = access;
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        write_new(&path, b"first", Access::Owner).unwrap();
        assert!(write_new(&path, b"second", Access::Owner).unwrap_err().is_existing());
        assert_eq!(fs::read(&path).unwrap(), b"first");
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        write_new(&path, b"key", Access::Owner).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[cfg(unix)]
    #[test]
    fn what_lies_beside_a_replaced_file_lends_it_no_mode() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ready.json");
        write_new(&folder.path().join(".ready.json.new"), b"left", Access::Everybody).unwrap();
        replace(&path, b"secret", Access::Owner).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn only_what_is_there_grows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        assert!(append(&path, b"1").is_err());
        assert!(!path.exists());
        write_new(&path, b"1", Access::Owner).unwrap();
        append(&path, b"2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"12");
    }

    #[test]
    fn a_replaced_file_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device.json");
        replace(&path, b"1", Access::Everybody).unwrap();
        replace(&path, b"2", Access::Everybody).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
