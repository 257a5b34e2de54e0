//! The files of one device.

use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::device::State;
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::event::Progress;
use crate::files::{self, Access, Failure, Privacy};
use crate::identity::{Certificate, CredentialsType, read_certificate_file};
use crate::keys::{Stored, pem};
use crate::ledger::{
    Entry, IdentityRecord, Kept, NewDevice, NewIdentity, Record, Which, identity_name, secrets,
};
use crate::text::shown_path;
use crate::tls::{Trust, TrustSource};

const KEY: &str = "key.pem";
const CERTIFICATE: &str = "cert.pem";
const CREDENTIALS: &str = "credentials.json";
const SERVER: &str = "server.pem";
const RECORD: &str = "device.json";
const IDENTITIES: &str = "identities";
/// How the name of an identity's folder begins while it is written.
const UNFINISHED: &str = ".new-";

/// Bytes of a record, at the most.
const LARGEST_RECORD: u64 = 1 << 16;
/// Bytes of a key or of certificates, at the most.
const LARGEST_FILE: u64 = 1 << 20;

/// The files of a new folder, in the order in which they are written.
pub(super) struct Files(Vec<(&'static str, Zeroizing<Vec<u8>>, Access)>);

impl Files {
    /// All files of a new device with this record.
    pub(super) fn of(new: &NewDevice<'_>, record: &Record) -> Result<Self> {
        let mut files = Self::of_identity(&new.identity)?;
        if let Some(server) = server_pem(&new.server.trust) {
            files.0.push((SERVER, Zeroizing::new(server.into_bytes()), Access::Everybody));
        }
        files.0.push((RECORD, Zeroizing::new(record_to_json(record)?), Access::Everybody));
        Ok(files)
    }

    /// The files of an identity.
    pub(super) fn of_identity(identity: &NewIdentity<'_>) -> Result<Self> {
        let Kept::X509 { chain, key } = identity.kept else {
            return Ok(Self(vec![(CREDENTIALS, secrets::to_json(identity.kept)?, Access::Owner)]));
        };
        let Stored::Bytes(key) = key else {
            let message = "a folder keeps keys as files, and this key is elsewhere";
            return Err(Error::new(ErrorCode::FileKeyType, message).hint(Hint::KeyElsewhere));
        };
        let chain: String = chain.iter().map(Certificate::to_pem).collect();
        Ok(Self(vec![
            (KEY, Zeroizing::new(key.expose().as_bytes().to_vec()), Access::Owner),
            (CERTIFICATE, Zeroizing::new(chain.into_bytes()), Access::Everybody),
        ]))
    }

    /// Whether `directory` holds just these.
    fn is_in(&self, directory: &Path) -> bool {
        self.0.iter().all(|(name, content, _)| holds(&directory.join(name), content))
    }

    /// Writes them into the new folder `directory`, durably.
    pub(super) fn write(&self, directory: &Path) -> Result<()> {
        files::create_new_directory(directory).map_err(Failure::in_store)?;
        for (name, content, access) in &self.0 {
            files::write_new(&directory.join(name), content, *access).map_err(Failure::in_store)?;
        }
        files::sync_directory(directory).map_err(Failure::in_store)
    }
}

/// Reads the record in `directory`.
pub(super) fn read_record(directory: &Path) -> Result<Record> {
    let path = directory.join(RECORD);
    let corrupt = |why: String| {
        let message = format!("{} is not the record of a device: {why}", shown_path(&path));
        Error::new(ErrorCode::StoreCorrupt, message)
    };
    let content = files::read(&path, LARGEST_RECORD).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => corrupt("the file is missing".to_owned()),
        _ => Failure::new("read", &path, error).in_store(),
    })?;
    let record: Record = serde_json::from_slice(&content).map_err(|error| corrupt(error.to_string()))?;
    match record.flaw() {
        None => Ok(record),
        Some((why, None)) => Err(corrupt(why)),
        Some((why, Some(hint))) => Err(corrupt(why).hint(hint)),
    }
}

/// Whether `name` is hex digits, and so a folder beneath `identities`.
fn is_place(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|digit| digit.is_ascii_hexdigit())
}

pub(super) fn write_record(directory: &Path, record: &Record) -> Result<()> {
    let json = record_to_json(record)?;
    files::replace(&directory.join(RECORD), &json, Access::Everybody).map_err(Failure::in_store)
}

fn record_to_json(record: &Record) -> Result<Vec<u8>> {
    let mut json = serde_json::to_vec_pretty(record).map_err(|error| {
        Error::new(ErrorCode::Bug, "the device's record could not be written as JSON").source(error)
    })?;
    json.push(b'\n');
    Ok(json)
}

/// The content of `server.pem`; `None` if the system's roots are trusted.
pub(super) fn server_pem(trust: &Trust) -> Option<String> {
    match trust.source {
        TrustSource::System => None,
        TrustSource::File(_) => Some(trust.certificates.iter().map(Certificate::to_pem).collect()),
    }
}

pub(super) fn keep_server(directory: &Path, wanted: &str) -> Result<()> {
    let path = directory.join(SERVER);
    if holds(&path, wanted.as_bytes()) {
        return Ok(());
    }
    files::replace(&path, wanted.as_bytes(), Access::Everybody).map_err(Failure::in_store)
}

pub(super) fn forget_server(directory: &Path) {
    let _ = files::remove(&directory.join(SERVER));
}

pub(super) fn read_trust(directory: &Path, record: &Record) -> Result<Trust> {
    if record.server_pem {
        check_regular(&directory.join(SERVER))?;
        Trust::from_file(&directory.join(SERVER), record.skip_name_check).map_err(damaged)
    } else {
        Trust::system(record.skip_name_check)
    }
}

/// Reads one identity of the device, and checks it against the record.
pub(super) fn read_identity(
    directory: &Path,
    entry: &Entry,
    which: Which,
    progress: &Progress,
) -> Result<Kept> {
    let (name, identity) = entry.identity(which)?;
    let place = name.map_or_else(|| directory.to_owned(), |name| directory.join(IDENTITIES).join(name));
    read_kept(&place, identity, progress)
}

/// Fails for what would never end, such as a named pipe.
fn check_regular(path: &Path) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(known) if !known.is_file() => {
            Err(Error::new(ErrorCode::StoreCorrupt, format!("{} is no regular file", shown_path(path))))
        }
        _ => Ok(()),
    }
}

fn read_kept(place: &Path, identity: &IdentityRecord, progress: &Progress) -> Result<Kept> {
    if identity.credentials_type != CredentialsType::X509 {
        let path = place.join(CREDENTIALS);
        check_privacy(&path, progress)?;
        let kept = read_secrets(&path)?;
        return match kept.credentials_type() == identity.credentials_type {
            true => Ok(kept),
            false => Err(unlike_the_record(place)),
        };
    }
    let (certificate, key) = (place.join(CERTIFICATE), place.join(KEY));
    check_regular(&certificate)?;
    check_regular(&key)?;
    let chain = read_certificate_file(&certificate).map_err(damaged)?;
    check_privacy(&key, progress)?;
    let key = pem::read_file(&key).map_err(damaged)?;
    if chain.first().map(Certificate::credentials_id) != identity.credentials_id {
        return Err(unlike_the_record(place));
    }
    Ok(Kept::X509 { chain, key: Stored::Bytes(key.into()) })
}

fn read_secrets(path: &Path) -> Result<Kept> {
    let text = files::read(path, secrets::LARGEST as u64).map(Zeroizing::new);
    let text = text.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Error::new(ErrorCode::StoreCorrupt, format!("no such file: {}", shown_path(path)))
        }
        _ => Failure::new("read", path, error).in_store(),
    })?;
    secrets::from_json(&text, &shown_path(path))
}

fn unlike_the_record(place: &Path) -> Error {
    let message = format!("the credentials in {} are not those of its {RECORD}", shown_path(place));
    Error::new(ErrorCode::StoreCorrupt, message)
}

/// A secret that others can read, or that another user owns, is not used: that user could act as the device.
fn check_privacy(path: &Path, progress: &Progress) -> Result<()> {
    let why = match files::privacy(path) {
        Ok(Privacy::Private | Privacy::Unchecked) | Err(_) => return Ok(()),
        Ok(Privacy::NoModes) => {
            progress.warn(format!(
                "the file system of {} keeps no access rights: others may read it",
                shown_path(path)
            ));
            return Ok(());
        }
        Ok(Privacy::Readable { mode }) => format!("can be read by others (its mode is {mode:04o})"),
        Ok(Privacy::OwnedByAnother { uid }) => format!("belongs to another user ({uid})"),
    };
    Err(Error::new(ErrorCode::StoreReadableKey, format!("{} {why}", shown_path(path))))
}

/// A file of the store that is not as it was written. One that cannot be read, or whose key somebody has encrypted
/// since, has a help of its own.
pub(super) fn damaged(error: Error) -> Error {
    match error.code {
        ErrorCode::FileIo | ErrorCode::FileEncrypted => error,
        _ => Error::new(ErrorCode::StoreCorrupt, error.message),
    }
}

/// Gives the current identity of a device that was never rotated a place among its identities. Tells its name.
pub(super) fn file_current(directory: &Path, entry: &Entry, progress: &Progress) -> Result<String> {
    let kept = read_identity(directory, entry, Which::Current, progress)?;
    let credentials = kept.clone().open(&entry.place())?;
    let name = identity_name(&credentials);
    write_identity(
        directory,
        &name,
        &Files::of_identity(&NewIdentity { kept: &kept, credentials: &credentials })?,
        progress,
    )?;
    Ok(name)
}

/// Writes an identity among the others, whole or not at all. Fine when it is there already.
///
/// # Errors
/// `store/exists` when another one has its name.
pub(super) fn write_identity(
    directory: &Path,
    name: &str,
    content: &Files,
    progress: &Progress,
) -> Result<()> {
    let identities = directory.join(IDENTITIES);
    let place = identities.join(name);
    if super::root::exists(&place)? {
        return match content.is_in(&place) {
            true => Ok(()),
            false => {
                let message = format!("{} holds other credentials already", shown_path(place));
                Err(Error::new(ErrorCode::StoreExists, message))
            }
        };
    }
    files::create_directory(&identities).map_err(Failure::in_store)?;
    delete_unfinished(&identities, name, progress);
    // Under the lock, what a killed run left: no record names it. It may be all that there is of these credentials.
    let beside = identities.join(format!("{UNFINISHED}{name}"));
    if !content.is_in(&beside) {
        files::remove_directory(&beside).map_err(Failure::in_store)?;
        content.write(&beside)?;
    }
    files::rename(&beside, &place).map_err(Failure::in_store)?;
    files::sync_directory(&identities).map_err(Failure::in_store)
}

/// Deletes what killed runs had begun to write, but for the identity `name` and for what a server may have given once.
/// Under the lock: no server was told of them. Nothing depends on it, so what cannot be deleted is told.
fn delete_unfinished(identities: &Path, name: &str, progress: &Progress) {
    for entry in std::fs::read_dir(identities).into_iter().flatten().flatten() {
        let (folder, place) = (entry.file_name(), entry.path());
        let unfinished = folder.to_str().and_then(|folder| folder.strip_prefix(UNFINISHED));
        let is_other = unfinished.is_some_and(|other| is_place(other) && other != name);
        let credentials = place.join(CREDENTIALS).symlink_metadata();
        if is_other
            && credentials.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
            && let Err(failure) = files::remove_directory(&place)
        {
            progress.warn(format!("a key that an earlier rotation had begun to write is left: {failure}"));
        }
    }
}

/// The folders of identities that the record does not name.
fn unnamed(directory: &Path, record: &Record) -> Vec<PathBuf> {
    let named = record.identity_names();
    let entries = std::fs::read_dir(directory.join(IDENTITIES)).into_iter().flatten();
    let is_unnamed = |path: &PathBuf| {
        let folder = path.file_name().unwrap_or_default().to_string_lossy();
        let name = folder.strip_prefix(UNFINISHED).unwrap_or(&folder);
        is_place(name) && !named.contains(&name)
    };
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_unnamed).collect()
}

/// Deletes every certificate and key that the record does not name. What a server gave once is left.
pub(super) fn delete_unnamed(directory: &Path, record: &Record) -> Result<()> {
    for place in unnamed(directory, record) {
        let is_theirs = record.state() != State::Proved && super::root::exists(&place.join(CREDENTIALS))?;
        if !is_theirs {
            files::remove_directory(&place).map_err(Failure::in_store)?;
        }
    }
    let identities = directory.join(IDENTITIES);
    if super::root::exists(&identities)? {
        files::sync_directory(&identities).map_err(Failure::in_store)?;
    }
    Ok(())
}

/// See [`Ledger::left_behind`](crate::ledger::Ledger::left_behind).
pub(super) fn left_behind(directory: &Path, record: &Record, progress: &Progress) -> Result<Option<Kept>> {
    for place in unnamed(directory, record) {
        let path = place.join(CREDENTIALS);
        if !super::root::exists(&path)? {
            continue;
        }
        check_privacy(&path, progress)?;
        // One that is cut off was never whole.
        if let Ok(kept) = read_secrets(&path) {
            return Ok(Some(kept));
        }
    }
    Ok(None)
}

/// A file for other programs that is not of the current identity.
enum Stale {
    Other {
        kept: PathBuf,
        shown: PathBuf,
        access: Access,
    },
    /// The two identities are of different kinds. What was shown stays in its own place.
    TooMany {
        shown: PathBuf,
    },
}

/// The files that show another identity of a rotated device than the current one: what was killed between two renames
/// leaves them. None of an identity that cannot be read.
fn stale(directory: &Path, record: &Record) -> Vec<Stale> {
    let mut stale = Vec::new();
    let Some(name) = &record.identity_name else { return stale };
    let place = directory.join(IDENTITIES).join(name);
    let previous = record.previous.as_ref().map(|named| directory.join(IDENTITIES).join(&named.name));
    let is_x509 = record.identity.credentials_type == CredentialsType::X509;
    for (file, access, is_shown) in [
        (KEY, Access::Owner, is_x509),
        (CERTIFICATE, Access::Everybody, is_x509),
        (CREDENTIALS, Access::Owner, !is_x509),
    ] {
        let (kept, shown) = (place.join(file), directory.join(file));
        if is_shown {
            if is_same(&kept, &shown) == Some(false) {
                stale.push(Stale::Other { kept, shown, access });
            }
        } else if previous.as_ref().and_then(|previous| is_same(&previous.join(file), &shown)) == Some(true) {
            stale.push(Stale::TooMany { shown });
        }
    }
    stale
}

/// Whether other programs find the current identity.
pub(super) fn shows_current(directory: &Path, record: &Record) -> bool {
    stale(directory, record).is_empty()
}

/// Puts the current identity of a rotated device where other programs look for it, durably. Between the two renames they
/// may meet files that do not fit, until the device is looked at again; tbprov reads what the record names.
///
/// One that is damaged replaces nothing: what is shown may be the last copy that is whole.
pub(super) fn show_current(directory: &Path, entry: &Entry) -> Result<()> {
    let stale = stale(directory, &entry.record);
    if stale.is_empty() || !is_whole(directory, entry) {
        return Ok(());
    }
    for stale in stale {
        let done = match stale {
            Stale::Other { kept, shown, access } => files::link_or_copy(&kept, &shown, access),
            Stale::TooMany { shown } => files::remove(&shown),
        };
        done.map_err(Failure::in_store)?;
    }
    files::sync_directory(directory).map_err(Failure::in_store)
}

/// Whether the current identity fits the record, and its certificate its key. Whoever reads it says what is wrong.
fn is_whole(directory: &Path, entry: &Entry) -> bool {
    let kept = read_identity(directory, entry, Which::Current, &Progress::silent());
    kept.and_then(|kept| kept.open(&entry.place())).is_ok()
}

/// Whether the file at `other` has the content of the one at `path`; not known where that cannot be read.
fn is_same(path: &Path, other: &Path) -> Option<bool> {
    files::read(path, LARGEST_FILE).map(Zeroizing::new).ok().map(|content| holds(other, &content))
}

/// Whether the file at `path` has this content.
fn holds(path: &Path, content: &[u8]) -> bool {
    let held = files::read(path, content.len() as u64).map(Zeroizing::new);
    held.is_ok_and(|held| held.as_slice() == content)
}
