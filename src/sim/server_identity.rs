//! Who the server is: a certificate chain and its key, given, made, or kept in a folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, ErrorCode, Hint, Result};
use crate::files::{self, Access};
use crate::identity::{Certificate, Issue, Profile, Validity, issue, read_certificate_file};
use crate::keys::{Exportable as _, KeyType, Signer, SoftwareKey};

/// How long a certificate that is made here is valid, in days.
const VALIDITY_DAYS: u32 = 3650;

/// The names of a certificate that is made for nothing else.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

const KEY_FILE: &str = "server_key.pem";
const CERTIFICATE_FILE: &str = "server.pem";

/// The server's own certificate chain, leaf first, and the leaf's key.
#[derive(Debug)]
pub struct ServerIdentity {
    /// The chain, leaf first; at least one certificate.
    pub chain: Vec<Certificate>,
    /// The leaf's key.
    pub key: Arc<dyn Signer>,
}

impl ServerIdentity {
    /// A new P-256 key with a certificate for `names`: DNS names and addresses; when there are none, those of
    /// loopback.
    ///
    /// # Errors
    /// `usage/invalid-value` when a name is none.
    pub fn make(names: &[String]) -> Result<Self> {
        let key = SoftwareKey::generate(KeyType::EcP256)?;
        Ok(Self { chain: vec![certificate_for(&key, names)?], key: Arc::new(key) })
    }

    /// What `server.pem` and `server_key.pem` in `directory` hold, so that a pinned certificate stays the right
    /// one over restarts; where they are not there they are made, the key first. A key alone, which is what a
    /// killed run leaves, gets its certificate. Nothing that is there is ever changed.
    ///
    /// # Errors
    /// `file/not-found` for a certificate without its key, `file/key-mismatch` for one of another key,
    /// `usage/conflict` when `names` are given for a certificate that exists, and those of reading and writing
    /// the two files.
    pub fn load_or_make(directory: &Path, names: &[String]) -> Result<Self> {
        let (key_file, certificate_file) = (directory.join(KEY_FILE), Self::certificate_file(directory));
        Self::check_names(directory, names)?;
        if certificate_file.exists() {
            return load(&key_file, &certificate_file);
        }
        let is_new = !key_file.exists();
        let key =
            if is_new { SoftwareKey::generate(KeyType::EcP256)? } else { SoftwareKey::from_file(&key_file)? };
        let certificate = certificate_for(&key, names)?;
        if is_new {
            files::create_directory(directory)?;
            files::write_new(&key_file, key.to_pem().expose().as_bytes(), Access::Owner)?;
            files::sync_directory(directory)?;
        }
        files::write_new(&certificate_file, certificate.to_pem().as_bytes(), Access::Everybody)?;
        files::sync_directory(directory)?;
        Ok(Self { chain: vec![certificate], key: Arc::new(key) })
    }

    /// Fails when `names` are wanted in a certificate that exists in `directory`.
    pub(super) fn check_names(directory: &Path, names: &[String]) -> Result<()> {
        let file = Self::certificate_file(directory);
        if names.is_empty() || !file.exists() {
            return Ok(());
        }
        let message =
            format!("{} exists already, so no other name can be put into it", crate::text::shown_path(file));
        Err(Error::new(ErrorCode::UsageConflict, message).hint(Hint::OtherDirectory))
    }

    /// Where [`ServerIdentity::load_or_make`] keeps the certificate: the file that clients trust.
    pub fn certificate_file(directory: &Path) -> PathBuf {
        directory.join(CERTIFICATE_FILE)
    }
}

fn load(key_file: &Path, certificate_file: &Path) -> Result<ServerIdentity> {
    let (key_shown, certificate_shown) =
        (crate::text::shown_path(key_file), crate::text::shown_path(certificate_file));
    let refused = |code, message| Err(Error::new(code, message).hint(Hint::OtherDirectory));
    if !key_file.exists() {
        let message =
            format!("{certificate_shown} is there without its key {key_shown}, and is left as it is");
        return refused(ErrorCode::FileNotFound, message);
    }
    let key = SoftwareKey::from_file(key_file)?;
    let chain = read_certificate_file(certificate_file)?;
    if chain.first().is_none_or(|leaf| !leaf.is_for(&key)) {
        let message = format!("the certificate in {certificate_shown} is not for the key in {key_shown}");
        return refused(ErrorCode::FileMismatch, message);
    }
    Ok(ServerIdentity { chain, key: Arc::new(key) })
}

fn certificate_for(key: &SoftwareKey, names: &[String]) -> Result<Certificate> {
    let names = if names.is_empty() { LOOPBACK.map(str::to_owned).to_vec() } else { names.to_vec() };
    let name = names.first().cloned().unwrap_or_default();
    let issued = issue(&Issue {
        name: &name,
        profile: &Profile::Server(names),
        validity: Validity::days(VALIDITY_DAYS),
        key,
        issuer: None,
    })?;
    Ok(issued.leaf)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn put(path: &Path, text: &str) {
        files::write_new(path, text.as_bytes(), Access::Everybody).unwrap();
    }

    #[test]
    fn what_was_made_is_loaded_again() {
        let folder = folder();
        let directory = folder.path().join("new");
        let made = ServerIdentity::load_or_make(&directory, &[]).unwrap();
        let loaded = ServerIdentity::load_or_make(&directory, &[]).unwrap();
        assert_eq!(made.chain, loaded.chain);
        assert_eq!(made.chain[0].names, LOOPBACK);
        let error = ServerIdentity::load_or_make(&directory, &["other".to_owned()]).unwrap_err();
        assert_eq!(error.code, ErrorCode::UsageConflict);
    }

    /// The pin of another server, such as `certs inspect --save` writes it.
    #[test]
    fn a_certificate_alone_is_refused_and_left_as_it_is() {
        let folder = folder();
        let path = ServerIdentity::certificate_file(folder.path());
        put(&path, "somebody's\n");
        let error = ServerIdentity::load_or_make(folder.path(), &[]).unwrap_err();
        assert_eq!(error.code, ErrorCode::FileNotFound);
        assert!(error.message.contains("server.pem is there without its key"), "{}", error.message);
        assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_certificate_of_another_key_is_refused_and_left_as_it_is() {
        let (folder, other) = (folder(), self::folder());
        ServerIdentity::load_or_make(other.path(), &[]).unwrap();
        let theirs = fs::read_to_string(other.path().join(CERTIFICATE_FILE)).unwrap();
        put(&folder.path().join(CERTIFICATE_FILE), &theirs);
        put(&folder.path().join(KEY_FILE), SoftwareKey::generate(KeyType::EcP256).unwrap().to_pem().expose());
        let error = ServerIdentity::load_or_make(folder.path(), &[]).unwrap_err();
        assert_eq!(error.code, ErrorCode::FileMismatch);
        assert_eq!(fs::read_to_string(folder.path().join(CERTIFICATE_FILE)).unwrap(), theirs);
    }

    /// What a run leaves that is killed between its two files.
    #[test]
    fn a_key_alone_gets_its_certificate() {
        let folder = folder();
        let key = SoftwareKey::generate(KeyType::EcP384).unwrap();
        put(&folder.path().join(KEY_FILE), key.to_pem().expose());
        let made = ServerIdentity::load_or_make(folder.path(), &["a.example".to_owned()]).unwrap();
        assert_eq!(made.chain[0].public_key, key.public_key());
        assert_eq!(made.chain[0].names, ["a.example"]);
        assert_eq!(
            fs::read_to_string(folder.path().join(KEY_FILE)).unwrap(),
            key.to_pem().expose().to_owned()
        );
    }
}
