//! Folders, and what happens to the names in them.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::path::{Path, PathBuf};

use super::blocked::patiently;
use super::{Access, Failure, durable, write_new_unsynced};

/// Names that are tried where one is taken, at the most.
const ATTEMPTS: u32 = 10_000;

/// Creates a folder that only its owner may enter (0700), and those above it, durably. The folder may exist already.
///
/// # Errors
/// If the system refuses it, or if something else has the name.
pub fn create_directory(path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        return Ok(());
    }
    let above = above(path);
    if !above.as_os_str().is_empty() {
        create_directory(above)?;
    }
    match builder().create(path) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Failure::in_the_way(path));
        }
        done => done.map_err(|error| Failure::new("create the folder", path, error))?,
    }
    sync_directory(above)
}

/// Creates a folder, and those above it, with the modes that other programs' new folders have. It is for content that
/// is not secret, and is not durable. The folder may exist already.
///
/// # Errors
/// Where the system refuses it.
pub fn create_open_directory(path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path).map_err(|error| Failure::new("create the folder", path, error))
}

/// Creates a folder that only its owner may enter (0700) in one that exists. Its entry is durable after
/// [`sync_directory`] of that one.
///
/// # Errors
/// Where it exists, and where the system refuses it.
pub fn create_new_directory(path: &Path) -> Result<(), Failure> {
    builder().create(path).map_err(|error| Failure::new("create the folder", path, error))
}

fn builder() -> DirBuilder {
    #[allow(unused_mut, reason = "there are modes on Unix only")]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// The folder that `path` is in; the empty path is the current one.
fn above(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// Makes durable what was created, renamed or removed in a folder. Windows has no such call, and needs none.
///
/// # Errors
/// Where the disk does not take it.
pub fn sync_directory(path: &Path) -> Result<(), Failure> {
    if cfg!(unix) {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        match File::open(path).and_then(|folder| durable::sync(&folder, path)) {
            // Some network file systems have no such call.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {}
            done_or_failed => {
                done_or_failed.map_err(|error| Failure::new("sync the folder", path, error))?;
            }
        }
    }
    Ok(())
}

/// Gives a file or a folder another name, at once. Durable after [`sync_directory`] of the folders that it leaves and
/// comes to. A file of the new name is replaced, and so is, on Unix, an empty folder by a folder. On Windows it is tried
/// again for a moment while another program blocks it.
///
/// # Errors
/// If the system refuses it. Both names are then as they were.
pub fn rename(from: &Path, to: &Path) -> Result<(), Failure> {
    patiently(|| fs::rename(from, to)).map_err(|error| Failure::new("create", to, error))
}

/// Moves a file or a folder into `folder`, durably. It keeps its name, or gets a number after it if the name is taken.
/// Returns its new place. `folder` is created if it does not exist. It must be on the same file system.
///
/// # Errors
/// If the system refuses it. It is then still in its old place.
pub fn move_aside(path: &Path, folder: &Path) -> Result<PathBuf, Failure> {
    create_directory(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let names = std::iter::once(name.clone()).chain((2..ATTEMPTS).map(|number| format!("{name}.{number}")));
    let free = names.map(|name| folder.join(name)).find(|free| free.symlink_metadata().is_err());
    let Some(free) = free else {
        return Err(Failure::new("move to", folder, io::ErrorKind::AlreadyExists.into()));
    };
    rename(path, &free)?;
    sync_directory(folder)?;
    sync_directory(above(path))?;
    Ok(free)
}

/// Gives the content of `from` a second name `to`, and atomically replaces what has that name. It is a hard link, or a
/// copy if the file system has no links. It is not synced, because the content is on the disk under its first name.
///
/// # Errors
/// If the system refuses it. What had the name then still has it.
pub fn link_or_copy(from: &Path, to: &Path, access: Access) -> Result<(), Failure> {
    let beside = super::write::beside(to);
    let _ = fs::remove_file(&beside);
    let cannot = |error| Failure::new("write", to, error);
    if fs::hard_link(from, &beside).is_err() {
        let content = fs::read(from).map(zeroize::Zeroizing::new);
        let content = content.map_err(|error| Failure::new("read", from, error))?;
        write_new_unsynced(&beside, &content, access)?;
    }
    let done = patiently(|| fs::rename(&beside, to));
    // A rename between two names of one file does nothing, and leaves both.
    let _ = fs::remove_file(&beside);
    done.map_err(cannot)
}

/// Removes a file. It may be missing already. Durable after [`sync_directory`]. On Windows this and the removal of a
/// folder are tried again for a moment while another program blocks them.
///
/// # Errors
/// Where the system refuses it.
pub fn remove(path: &Path) -> Result<(), Failure> {
    gone(path, patiently(|| fs::remove_file(path)))
}

/// Removes a folder and all that is in it, without following links. It may be missing already.
///
/// # Errors
/// If the system refuses it. Some of the content may then be removed already.
pub fn remove_directory(path: &Path) -> Result<(), Failure> {
    // What is removed already is not there any more when it is tried again.
    gone(path, patiently(|| fs::remove_dir_all(path)))
}

/// Removes a folder that is empty. It may be missing already.
///
/// # Errors
/// Where it is not empty, and where the system refuses it.
pub fn remove_empty_directory(path: &Path) -> Result<(), Failure> {
    gone(path, patiently(|| fs::remove_dir(path)))
}

fn gone(path: &Path, done: io::Result<()>) -> Result<(), Failure> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::new("remove", path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{replace, write_new};

    #[test]
    fn what_is_moved_aside_finds_a_free_name() {
        let folder = tempfile::tempdir().unwrap();
        let removed = folder.path().join(".removed");
        for expected in ["sensor", "sensor.2", "sensor.3"] {
            let sensor = folder.path().join("sensor");
            create_directory(&sensor).unwrap();
            assert_eq!(move_aside(&sensor, &removed).unwrap(), removed.join(expected));
            assert!(!sensor.exists());
        }
    }

    #[test]
    fn a_second_name_takes_the_place_of_what_had_it() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from.pem"), folder.path().join("to.pem"));
        write_new(&from, b"new", Access::Owner).unwrap();
        write_new(&to, b"old", Access::Owner).unwrap();
        for _ in 0..2 {
            link_or_copy(&from, &to, Access::Owner).unwrap();
            assert_eq!(fs::read(&to).unwrap(), b"new");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        }
        // The next content of the first name is not that of the second.
        replace(&from, b"newer", Access::Owner).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"new");
    }

    #[test]
    fn what_is_gone_needs_no_removing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        remove(&path).unwrap();
        remove_directory(&path).unwrap();
        remove_empty_directory(&path).unwrap();
    }

    /// Another program lets nobody else use what it has open: first a file, then a folder.
    #[cfg(windows)]
    #[test]
    fn what_another_program_has_open_for_a_moment_is_removed() {
        use std::os::windows::fs::OpenOptionsExt as _;
        const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
        type Remove = fn(&Path) -> Result<(), Failure>;
        let removals: [(&str, Remove, &str); 3] = [
            ("file", remove, "file"),
            ("full", remove_directory, "full/file"),
            ("empty", remove_empty_directory, "empty"),
        ];
        let folder = tempfile::tempdir().unwrap();
        for (name, remove, open) in removals {
            let open = folder.path().join(open);
            if name == "empty" {
                fs::create_dir(&open).unwrap();
            } else {
                fs::create_dir_all(open.parent().unwrap()).unwrap();
                write_new(&open, b"x", Access::Owner).unwrap();
            }
            let held = fs::OpenOptions::new()
                .read(true)
                .share_mode(0)
                .custom_flags(FILE_FLAG_BACKUP_SEMANTICS)
                .open(&open)
                .unwrap();
            let holder = std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(300));
                drop(held);
            });
            let path = folder.path().join(name);
            remove(&path).unwrap();
            assert!(!path.exists(), "{name}");
            holder.join().unwrap();
        }
    }

    #[test]
    fn a_file_in_the_way_of_a_folder_is_said_to_be_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for path in [file.path().to_owned(), file.path().join("below")] {
            let error = crate::Error::from(create_directory(&path).unwrap_err());
            assert!(error.message.ends_with("is not a folder"), "{}", error.message);
        }
    }
}
