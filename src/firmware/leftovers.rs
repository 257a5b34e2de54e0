//! What an end of this process that runs no destructors, such as a second Ctrl-C, would leave behind.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::files;

static LEFT: Mutex<Vec<(u64, Leftover)>> = Mutex::new(Vec::new());

/// Something of this process that would outlive it.
#[derive(Debug, Clone)]
enum Leftover {
    /// A folder of secrets.
    Folder(PathBuf),
    /// Other programs.
    #[cfg(unix)]
    Group(rustix::process::Pid),
}

impl Leftover {
    /// As well as can be: nobody is there to hear of a failure.
    fn end(&self) {
        match self {
            Self::Folder(path) => drop(files::remove_directory(path)),
            #[cfg(unix)]
            Self::Group(group) => {
                let _ = rustix::process::kill_process_group(*group, rustix::process::Signal::TERM);
            }
        }
    }
}

/// Ends what it stands for when it is dropped, or when the process ends before.
#[derive(Debug)]
pub(super) struct Guard(u64);

impl Guard {
    /// A folder that is removed with all that is in it.
    pub(super) fn folder(path: PathBuf) -> Self {
        Self::new(Leftover::Folder(path))
    }

    /// A child in a process group of its own, and all that it started in it. Windows has no such groups: there only
    /// the child ends, when its own value is dropped.
    pub(super) fn group(child: &tokio::process::Child) -> Option<Self> {
        #[cfg(unix)]
        {
            let id = i32::try_from(child.id()?).ok()?;
            rustix::process::Pid::from_raw(id).map(|group| Self::new(Leftover::Group(group)))
        }
        #[cfg(not(unix))]
        {
            let _ = child;
            None
        }
    }

    fn new(leftover: Leftover) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut left) = LEFT.lock() {
            left.push((number, leftover));
        }
        Self(number)
    }

    fn take(&self) -> Option<Leftover> {
        let mut left = LEFT.lock().ok()?;
        let at = left.iter().position(|(number, _)| *number == self.0)?;
        Some(left.swap_remove(at).1)
    }

    /// What it stands for has ended by itself.
    pub(super) fn forget(self) {
        self.take();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(leftover) = self.take() {
            leftover.end();
        }
    }
}

/// Removes the files and ends the programs that this process would leave behind: for an end that drops nothing.
pub fn end_all() {
    // Whoever holds it now is this very thread, in a panic.
    let Ok(mut left) = LEFT.try_lock() else { return };
    left.drain(..).for_each(|(_, leftover)| leftover.end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_stays_and_what_is_dropped_goes() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("identity");
        files::create_directory(&folder).unwrap();
        Guard::folder(folder.clone()).forget();
        assert!(folder.exists());
        drop(Guard::folder(folder.clone()));
        assert!(!folder.exists());
    }
}
