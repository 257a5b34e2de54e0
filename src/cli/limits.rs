//! What the system has no more of, or does not allow: threads and descriptors. Asked for before anything is done, so that
//! the answer is an error that names the limit, and not a library that stops.

use std::io;
use std::time::Duration;

use tbprov::error::Hint;
use tbprov::{Error, ErrorCode, Result};

/// Descriptors that every command needs at the same time, beside those that it was started with: the event queues and
/// signals of two runtimes (10), a file and its folder.
#[cfg(unix)]
const DESCRIPTORS: usize = 12;

/// A thread that waits for work stays: a run that could make one shall not fail to make it again.
const KEEP_ALIVE: Duration = Duration::from_secs(3600);

/// Fails where the system gives no descriptors or no threads.
pub(super) fn check() -> Result<()> {
    check_descriptors()?;
    spawn("probe", || ()).map(|probe| drop(probe.join()))
}

#[cfg(unix)]
fn check_descriptors() -> Result<()> {
    let opened: io::Result<Vec<_>> = (0..DESCRIPTORS).map(|_| std::fs::File::open("/dev/null")).collect();
    match opened {
        // Where there is no such file, it says nothing of limits.
        Err(error) if is_of_descriptors(&error) => Err(no_descriptors(&error)),
        _ => Ok(()),
    }
}

#[cfg(not(unix))]
fn check_descriptors() -> Result<()> {
    Ok(())
}

/// A thread of its own.
pub(super) fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<std::thread::JoinHandle<T>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|error| {
        let message = format!("the system gives no thread: {error}");
        Error::new(ErrorCode::SystemLimit, message).hint(Hint::MoreThreads).source(error)
    })
}

/// The runtime in which a command runs, with one thread at least that may wait.
pub(super) fn runtime(threads: bool) -> Result<tokio::runtime::Runtime> {
    let mut builder = if threads {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = builder.enable_all().thread_keep_alive(KEEP_ALIVE).build().map_err(no_runtime)?;
    drop(runtime.spawn_blocking(|| ()));
    Ok(runtime)
}

/// Why there is no runtime.
pub(super) fn no_runtime(error: io::Error) -> Error {
    if is_of_descriptors(&error) {
        return no_descriptors(&error);
    }
    let message = format!("the system does not let tbprov wait for events: {error}");
    Error::new(ErrorCode::SystemLimit, message).source(error)
}

fn no_descriptors(error: &io::Error) -> Error {
    Error::new(ErrorCode::SystemLimit, format!("no more files and connections can be open: {error}"))
        .hint(Hint::MoreDescriptors)
}

/// The failure, which is one of a limit wherever it was one underneath.
pub(super) fn named(error: Error) -> Error {
    match system_error(&error) {
        Some(under) if error.code != ErrorCode::SystemLimit && is_of_descriptors(under) => {
            let message = error.message.clone();
            let step = error.step();
            Error::new(ErrorCode::SystemLimit, message)
                .hint(Hint::MoreDescriptors)
                .source(error)
                .stamped(step)
        }
        _ => error,
    }
}

/// The system's own error under a failure.
pub(super) fn system_error(error: &Error) -> Option<&io::Error> {
    let mut cause = std::error::Error::source(error);
    while let Some(under) = cause {
        if let Some(error) = under.downcast_ref::<io::Error>()
            && error.raw_os_error().is_some()
        {
            return Some(error);
        }
        cause = under.source();
    }
    None
}

/// EMFILE and ENFILE.
#[cfg(unix)]
fn is_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let limits = [Errno::MFILE.raw_os_error(), Errno::NFILE.raw_os_error()];
    error.raw_os_error().is_some_and(|code| limits.contains(&code))
}

/// `ERROR_TOO_MANY_OPEN_FILES` and `WSAEMFILE`.
#[cfg(not(unix))]
fn is_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(4 | 10024))
}

/// What helps against what the system says about a file.
pub(super) fn advice(error: &io::Error) -> Option<&'static str> {
    use io::ErrorKind as Kind;
    Some(match error.kind() {
        _ if is_without_locks(error) => {
            "this file system has no locks, as NFS without its lock service: keep the store on a local disk (--store DIR)"
        }
        Kind::ReadOnlyFilesystem => {
            "the file system is read-only: name a folder elsewhere, or mount it for writing"
        }
        Kind::StorageFull => {
            "the disk is full: free some space ('df' shows it), and run the same command again"
        }
        Kind::QuotaExceeded => {
            "your share of the disk is used up ('quota' shows it): free some space, and run the same command again"
        }
        Kind::InvalidFilename => {
            "the name is too long for this file system (most take 255 bytes), or has a character that it does not take: choose another"
        }
        Kind::PermissionDenied => {
            "you are not allowed to do that: 'ls -ld' shows whose the file and its folder are; run tbprov as that user, or name another folder"
        }
        Kind::IsADirectory => "it is a folder: name a file",
        Kind::NotADirectory => "a part of the path is a file, and no folder: check the path",
        Kind::Unsupported => {
            "this file system cannot do that: name a folder on another one, such as a local disk"
        }
        _ if is_of_hardware(error) => {
            "the disk itself failed: save what is on it, and look at the system's log"
        }
        _ if is_loop(error) => "links point at each other: name the file itself",
        _ => return None,
    })
}

#[cfg(unix)]
fn is_without_locks(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NOLCK.raw_os_error())
}

#[cfg(not(unix))]
fn is_without_locks(_: &io::Error) -> bool {
    false
}

#[cfg(unix)]
fn is_of_hardware(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// `ERROR_CRC` and `ERROR_IO_DEVICE`.
#[cfg(not(unix))]
fn is_of_hardware(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 1117))
}

#[cfg(unix)]
fn is_loop(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

#[cfg(not(unix))]
fn is_loop(_: &io::Error) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn each_errno_has_its_advice() {
        for (errno, said) in [
            (Errno::NOLCK, "no locks"),
            (Errno::ROFS, "read-only"),
            (Errno::NOSPC, "full"),
            (Errno::DQUOT, "share of the disk"),
            (Errno::NAMETOOLONG, "too long"),
            (Errno::ACCESS, "allowed"),
            (Errno::PERM, "allowed"),
            (Errno::LOOP, "links"),
            (Errno::ISDIR, "folder"),
            (Errno::NOTDIR, "folder"),
            (Errno::OPNOTSUPP, "file system"),
            (Errno::IO, "disk itself"),
        ] {
            assert!(advice(&errno.into()).unwrap().contains(said), "{errno:?}");
        }
        assert_eq!(advice(&Errno::BADF.into()), None);
    }

    #[test]
    fn a_limit_underneath_is_named_whatever_failed() {
        let failed = Error::new(ErrorCode::StoreIo, "cannot read x").source(io::Error::from(Errno::MFILE));
        let named = named(failed);
        assert_eq!((named.code, named.hint), (ErrorCode::SystemLimit, Some(Hint::MoreDescriptors)));
    }
}
