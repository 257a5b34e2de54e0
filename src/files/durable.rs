//! Waiting until content is on the disk.
//!
//! On Apple's systems std asks the disk to empty its own cache too (`F_FULLFSYNC`). Not every file system knows that:
//! there `fsync` has to do, as in SQLite, Go and Java, and a power cut may then cost what was written last.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Once, OnceLock};

type Tell = Box<dyn Fn(&Path) + Send + Sync>;

/// Who is told of a file system that cannot empty the disk's cache.
static TELL: OnceLock<Tell> = OnceLock::new();
static TOLD: Once = Once::new();

/// Names who is told, once in the life of this process, that the file system of a folder cannot sync in full. Only the
/// first one named counts.
pub fn on_weak_sync(tell: impl Fn(&Path) + Send + Sync + 'static) {
    let _ = TELL.set(Box::new(tell));
}

/// Whether std calls `F_FULLFSYNC`. Where it calls `fsync`, its answer stands. The tests are of Apple's answers.
const IS_IN_FULL: bool = cfg!(any(target_vendor = "apple", test));

/// Waits until the whole file is on the disk.
pub(super) fn sync(file: &File, path: &Path) -> io::Result<()> {
    plainly_where_needed(file.sync_all(), || plainly(file), || tell(path))
}

/// The same, of the content alone where the system makes a difference.
pub(super) fn sync_content(file: &File, path: &Path) -> io::Result<()> {
    plainly_where_needed(file.sync_data(), || plainly(file), || tell(path))
}

fn plainly_where_needed(
    in_full: io::Result<()>,
    plainly: impl FnOnce() -> io::Result<()>,
    tell: impl FnOnce(),
) -> io::Result<()> {
    match in_full {
        Err(error) if IS_IN_FULL && has_no_such_call(&error) => plainly().inspect(|()| tell()),
        done => done,
    }
}

fn tell(path: &Path) {
    if let Some(tell) = TELL.get() {
        TOLD.call_once(|| tell(folder_of(path)));
    }
}

/// The folder that a user knows, of a file that may have its name for a moment only: such names begin with a dot.
fn folder_of(path: &Path) -> &Path {
    let is_lasting = |folder: &&Path| {
        let name = folder.file_name().map(|name| name.to_string_lossy());
        name.is_none_or(|name| !name.starts_with('.'))
    };
    let folder = path.ancestors().skip(1).find(is_lasting).unwrap_or(path);
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

/// What Apple's file systems say to `F_FULLFSYNC`: SMB and NTFS ENOTSUP, WebDAV EINVAL, ZFS ENOTTY.
#[cfg(unix)]
fn has_no_such_call(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let known = [Errno::NOTSUP, Errno::OPNOTSUPP, Errno::INVAL, Errno::NOTTY];
    known.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(not(unix))]
fn has_no_such_call(_: &io::Error) -> bool {
    false
}

#[cfg(unix)]
fn plainly(file: &File) -> io::Result<()> {
    rustix::fs::fsync(file).map_err(io::Error::from)
}

#[cfg(not(unix))]
fn plainly(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::io::Errno;

    use super::*;

    /// Whether it was synced, and whether somebody was told that it was so plainly.
    fn synced(in_full: io::Result<()>, plainly: io::Result<()>) -> (io::Result<()>, bool) {
        let mut told = false;
        let done = plainly_where_needed(in_full, || plainly, || told = true);
        (done, told)
    }

    #[test]
    fn a_file_system_without_the_call_is_synced_plainly_and_that_is_told() {
        for errno in [Errno::NOTSUP, Errno::INVAL, Errno::NOTTY] {
            let (done, told) = synced(Err(errno.into()), Ok(()));
            assert!(done.is_ok() && told, "{errno:?}");
            let (done, told) = synced(Err(errno.into()), Err(Errno::IO.into()));
            assert_eq!((done.unwrap_err().raw_os_error(), told), (Some(Errno::IO.raw_os_error()), false));
        }
    }

    #[test]
    fn a_disk_that_fails_has_failed() {
        for errno in [Errno::IO, Errno::NOSPC, Errno::BADF] {
            let (done, told) = synced(Err(errno.into()), Ok(()));
            assert_eq!((done.unwrap_err().raw_os_error(), told), (Some(errno.raw_os_error()), false));
        }
        let (done, told) = synced(Ok(()), Err(Errno::IO.into()));
        assert!(done.is_ok() && !told);
    }

    #[test]
    fn the_folder_is_told_and_not_a_name_that_is_gone_soon() {
        for (path, folder) in [
            ("devices/.new-x/key.pem", "devices"),
            ("devices/x/.device.json.new", "devices/x"),
            ("devices/x", "devices"),
            ("key.pem", "."),
            (".", "."),
            ("/x", "/"),
        ] {
            assert_eq!(folder_of(Path::new(path)), Path::new(folder), "{path}");
        }
    }

    #[test]
    fn it_is_told_once() {
        let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = count.clone();
        on_weak_sync(move |_| {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        });
        tell(Path::new("a"));
        tell(Path::new("b"));
        assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), 1);
    }
}
