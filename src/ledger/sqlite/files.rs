//! The files of a ledger that is open. SQLite goes on with a file that was deleted, moved or replaced, and what it writes
//! there is lost.

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorCode, Hint, Result};
use crate::text::shown_path;

/// What SQLite keeps beside the file.
const BESIDE: [&str; 2] = ["-wal", "-shm"];

/// Which files are open, to see whether they are still those of their names.
pub(super) struct Files {
    path: PathBuf,
    /// Each with its mark, once it is there.
    known: Vec<(PathBuf, Option<Mark>)>,
}

impl Files {
    /// The files of the ledger at `path`, which was just opened.
    pub(super) fn of(path: &Path) -> Self {
        let beside = BESIDE.map(|ending| named(path, ending));
        let files = std::iter::once(path.to_owned()).chain(beside);
        let known = files.map(|file| (file.clone(), mark(&file))).collect();
        Self { path: path.to_owned(), known }
    }

    /// Fails where one of them is not what was opened.
    ///
    /// # Errors
    /// `ledger/io`.
    pub(super) fn check(&mut self) -> Result<()> {
        for (file, known) in &mut self.known {
            let now = mark(file);
            match known {
                // SQLite makes those beside it with the first change.
                None => *known = now,
                Some(known) if now.as_ref() == Some(known) => {}
                Some(_) => {
                    let message = format!(
                        "{} was deleted, moved or replaced while the ledger {} was used: nothing more is written",
                        shown_path(file),
                        shown_path(&self.path)
                    );
                    return Err(Error::new(ErrorCode::LedgerIo, message).hint(Hint::LedgerInItsPlace));
                }
            }
        }
        Ok(())
    }
}

/// Fails where changes of another ledger lie beside the name of a new one: SQLite would take them for its own.
///
/// # Errors
/// `ledger/io`.
pub(super) fn check_nothing_beside(path: &Path) -> Result<()> {
    for file in BESIDE.map(|ending| named(path, ending)) {
        if file.symlink_metadata().is_ok() {
            let message = format!(
                "{} lies there without its ledger {}: move it away, or put its ledger back",
                shown_path(&file),
                shown_path(path)
            );
            return Err(Error::new(ErrorCode::LedgerIo, message).hint(Hint::LedgerInItsPlace));
        }
    }
    Ok(())
}

fn named(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// A file's own number, and its device's.
#[cfg(unix)]
type Mark = (u64, u64);

#[cfg(unix)]
fn mark(file: &Path) -> Option<Mark> {
    use std::os::unix::fs::MetadataExt as _;
    let known = file.symlink_metadata().ok()?;
    Some((known.dev(), known.ino()))
}

/// A file that is open keeps its name here.
#[cfg(not(unix))]
type Mark = ();

#[cfg(not(unix))]
fn mark(_: &Path) -> Option<Mark> {
    Some(())
}
