//! The only writer of files: final mode from the first moment, never over another file, and on the disk
//! before it returns.

pub mod lock;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use crate::error::{Error, ErrorCode, Hint, Result};

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Its owner alone (0600): keys and secrets.
    Owner,
    /// Everybody (0644): certificates and records.
    Everybody,
}

impl Access {
    #[cfg(unix)]
    const fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Everybody => 0o644,
        }
    }
}

/// Writes a new file, durably; its folder's entry is durable after [`sync_directory`].
///
/// # Errors
/// `file/exists` when it exists, `store/io`. A file that could not be written whole is removed again.
pub fn write_new(path: &Path, content: &[u8], access: Access) -> Result<()> {
    let file = open(OpenOptions::new().write(true).create_new(true), path, access)
        .map_err(|error| not_created(path, error))?;
    write_and_sync(file, content).map_err(|error| {
        let _ = fs::remove_file(path);
        io_error("write", path, error)
    })
}

/// Begins a new file that grows, such as a log: never over another one, and not through a link.
///
/// # Errors
/// `file/exists`, `store/io`.
pub fn begin_new(path: &Path, access: Access) -> Result<File> {
    open(OpenOptions::new().append(true).create_new(true), path, access)
        .map_err(|error| not_created(path, error))
}

fn not_created(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Error::new(ErrorCode::FileExists, format!("{} exists already", path.display()))
        }
        _ => io_error("create", path, error),
    }
}

/// Replaces a file by one atomic rename: a reader, and a machine that loses power, finds the old content or
/// the new. Durable when it returns.
///
/// # Errors
/// `store/io`; the old content is still there then.
pub fn replace(path: &Path, content: &[u8], access: Access) -> Result<()> {
    let Some(directory) = path.parent() else {
        return Err(io_error("replace", path, io::ErrorKind::InvalidInput.into()));
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = directory.join(format!(".{name}.new"));
    // What a killed run left, or a link that somebody put there, would keep its own mode and place.
    let _ = fs::remove_file(&beside);
    open(OpenOptions::new().write(true).create_new(true), &beside, access)
        .and_then(|file| write_and_sync(file, content))
        .and_then(|()| fs::rename(&beside, path))
        .map_err(|error| {
            let _ = fs::remove_file(&beside);
            io_error("write", path, error)
        })?;
    sync_directory(directory)
}

/// Reads a regular file of at most `largest` bytes: a pipe or a device in a store would never end.
///
/// # Errors
/// The system's; `InvalidData` when it is larger or no regular file.
pub fn read(path: &Path, largest: u64) -> io::Result<Vec<u8>> {
    let invalid = |why| Err(io::Error::new(io::ErrorKind::InvalidData, why));
    if !fs::metadata(path)?.is_file() {
        return invalid("it is no regular file");
    }
    let mut content = Vec::new();
    File::open(path)?.take(largest + 1).read_to_end(&mut content)?;
    if content.len() as u64 > largest { invalid("it is too large") } else { Ok(content) }
}

/// `store/io`: `cannot <verb> <path>: <error>`.
pub(crate) fn io_error(verb: &str, path: &Path, error: io::Error) -> Error {
    let message = format!("cannot {verb} {}: {error}", path.display());
    Error::new(ErrorCode::StoreIo, message).source(error)
}

/// Creates a folder that only its owner may enter (0700), and those above it, durably. Fine when it exists.
///
/// # Errors
/// `store/io`.
pub fn create_directory(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().unwrap_or(Path::new(""));
    if !above.as_os_str().is_empty() {
        create_directory(above)?;
    }
    // Recursive means here: fine when another process was faster.
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            let message = format!("{} is not a folder", path.display());
            Error::new(ErrorCode::StoreIo, message).hint(Hint::NotAFolder)
        }
        _ => io_error("create the folder", path, error),
    })?;
    sync_directory(above)
}

/// Makes what was created, renamed or removed in a folder durable. Windows has no such call, and needs none.
///
/// # Errors
/// `store/io`.
pub fn sync_directory(path: &Path) -> Result<()> {
    if cfg!(unix) {
        // The empty path is the current folder, as in the parent of a bare file name.
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        match File::open(path).and_then(|folder| folder.sync_all()) {
            // Some network file systems have no such call.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {}
            done_or_failed => done_or_failed.map_err(|error| io_error("sync the folder", path, error))?,
        }
    }
    Ok(())
}

fn open(options: &mut OpenOptions, path: &Path, access: Access) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, access.mode());
    #[cfg(not(unix))]
    let _ = access;
    options.open(path)
}

fn write_and_sync(mut file: File, content: &[u8]) -> io::Result<()> {
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        write_new(&path, b"first", Access::Owner).unwrap();
        assert_eq!(write_new(&path, b"second", Access::Owner).unwrap_err().code, ErrorCode::FileExists);
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
    fn a_replaced_file_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device.json");
        replace(&path, b"1", Access::Everybody).unwrap();
        replace(&path, b"2", Access::Everybody).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
