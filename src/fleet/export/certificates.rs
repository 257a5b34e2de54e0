//! Certificates into a folder, a file each.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Done, Exported, each};
use crate::blocking::blocking;
use crate::error::{Error, ErrorCode, Result};
use crate::files::{self, Access};
use crate::ledger::folder::folder_name;
use crate::ledger::roster::Roster;
use crate::ledger::{Entry, Kept, Which};
use crate::text::shown_path;

/// Bytes of a file that may be the same, at the most.
const LARGEST: u64 = 1024 * 1024;

/// Writes the certificate of every device, with those above it, to `<name>.pem` in `folder`. A file that is there with
/// the same content stays.
///
/// `told` hears of each device that failed: `file/exists` where the file has another content.
///
/// # Errors
/// `ledger/…`; `file/io`.
pub async fn certificates(
    roster: &Arc<dyn Roster>,
    folder: &Path,
    told: &mut (dyn FnMut(&str, &Error) + Send),
) -> Result<Exported> {
    files::create_open_directory(folder)?;
    let work = |roster: Arc<dyn Roster>, entry: Entry| one(roster, entry, folder.to_owned());
    let exported = each(roster, work, told).await?;
    files::sync_directory(folder)?;
    Ok(exported)
}

async fn one(roster: Arc<dyn Roster>, entry: Entry, folder: PathBuf) -> Result<Done> {
    if entry.record.identity.credentials_id.is_none() {
        return Ok(Done::Skipped);
    }
    let Kept::X509 { chain, .. } = roster.key(&entry, Which::Current).await? else {
        return Ok(Done::Skipped);
    };
    let pem: String = chain.iter().map(crate::identity::Certificate::to_pem).collect();
    let path = folder.join(format!("{}.pem", folder_name(entry.shown_name())));
    blocking(move || match files::write_new(&path, pem.as_bytes(), Access::Everybody) {
        Err(failure) if failure.is_existing() => {
            if files::read(&path, LARGEST).is_ok_and(|content| content == pem.as_bytes()) {
                return Ok(Done::Unchanged);
            }
            let message = format!("{} is there already, with another content", shown_path(&path));
            Err(Error::new(ErrorCode::FileExists, message))
        }
        written => Ok(written.map(|()| Done::Written)?),
    })
    .await
}
