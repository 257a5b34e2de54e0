//! The schema, in numbered steps: a ledger's `user_version` is the number of the last one that was taken.

use std::path::Path;

use rusqlite::{Connection, params};

use super::failure::{Done, Failed};
use super::millis;
use crate::clock;
use crate::error::{Error, ErrorCode, Result};
use crate::event::Progress;
use crate::files::{self, Access};
use crate::secret::Secret;
use crate::text::shown_path;

/// What `file` and others know a ledger by.
pub(super) const APPLICATION_ID: u32 = 0x7462_706c;

/// What makes each schema of the one before; the first of nothing.
pub(super) const STEPS: &[&str] = &[include_str!("schema/1.sql")];

/// Letters of a ledger's word.
const WORD: usize = 20;

/// Makes the schema in an empty file. Another process may be faster.
pub(super) fn make(db: &Connection) -> Done<()> {
    db.execute_batch("BEGIN IMMEDIATE")?;
    if version(db)? == 0 {
        take_steps(db, 0, STEPS)?;
        db.pragma_update(None, "application_id", APPLICATION_ID)?;
        db.execute(
            "INSERT INTO ledger (id, word, created) VALUES (1, ?1, ?2)",
            params![Secret::random(WORD)?.expose(), millis(clock::now())],
        )?;
    }
    db.execute_batch("COMMIT")?;
    let _: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    Ok(())
}

fn version(db: &Connection) -> Done<usize> {
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

fn take_steps(db: &Connection, from: usize, steps: &[&str]) -> Done<()> {
    for step in steps.iter().skip(from) {
        db.execute_batch(step)?;
    }
    db.pragma_update(None, "user_version", i64::try_from(steps.len()).unwrap_or_default())?;
    Ok(())
}

/// Brings the schema of an earlier release up to the last of `steps`: in one transaction, after a copy.
///
/// # Errors
/// `ledger/newer` for that of a later release; `ledger/read-only`.
pub(super) fn upgrade(
    db: &Connection,
    path: &Path,
    may_write: bool,
    steps: &[&str],
    progress: &Progress,
) -> Result<()> {
    let of = |failed: Failed| failed.told(path);
    let shown = shown_path(path);
    let known = version(db).map_err(of)?;
    if known == steps.len() {
        return Ok(());
    }
    if known > steps.len() {
        let message = format!(
            "the ledger {shown} has the schema {known}, and this tbprov knows those up to {}",
            steps.len()
        );
        return Err(Error::new(ErrorCode::LedgerNewer, message));
    }
    if !may_write {
        let message =
            format!("the ledger {shown} has the schema {known} of an earlier tbprov, and cannot be written");
        return Err(Error::new(ErrorCode::LedgerReadOnly, message));
    }
    let copy = copy(db, path, known)?;
    progress.warn(format!(
        "the ledger {shown} is brought from the schema {known} to {}; a copy as it was is in {}",
        steps.len(),
        shown_path(&copy)
    ));
    let upgraded = (|| {
        db.execute_batch("BEGIN IMMEDIATE")?;
        // Another process may have done it meanwhile.
        let known = version(db)?;
        if known < steps.len() {
            take_steps(db, known, steps)?;
        }
        db.execute_batch("COMMIT")?;
        Ok(())
    })();
    if upgraded.is_err() && !db.is_autocommit() {
        let _ = db.execute_batch("ROLLBACK");
    }
    upgraded.map_err(of)
}

/// Copies the ledger to a new file beside it, for its owner alone.
fn copy(db: &Connection, path: &Path, known: usize) -> Result<std::path::PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let first = format!("{name}.schema-{known}");
    let names = std::iter::once(first.clone()).chain((2..1000).map(|number| format!("{first}.{number}")));
    for name in names {
        let copy = path.with_file_name(name);
        match files::write_new(&copy, b"", Access::Owner) {
            Err(failure) if failure.is_existing() => continue,
            Err(failure) => return Err(Error::new(ErrorCode::LedgerIo, failure.to_string()).source(failure)),
            Ok(()) => {}
        }
        // SQLite knows no other names, and takes the empty file.
        let copied = db.execute("VACUUM INTO ?1", [copy.to_str()]);
        if let Err(error) = copied {
            let _ = files::remove(&copy);
            return Err(Failed::Sql(error).told(&copy));
        }
        return Ok(copy);
    }
    let message = format!("there is no free name for a copy of {}", shown_path(path));
    Err(Error::new(ErrorCode::LedgerIo, message))
}
