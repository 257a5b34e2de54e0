//! Writing a key and a certificate beside each other: both or none, and never over another file.

use std::path::{Path, PathBuf};

use tbprov::files::{self, Access};
use tbprov::text::{native_path, shown_path};
use tbprov::{Error, ErrorCode, Result, Secret};

/// Where a pair goes.
pub(super) struct PairFiles {
    directory: PathBuf,
    pub(super) key: PathBuf,
    pub(super) certificate: PathBuf,
}

impl PairFiles {
    /// The files `key` and `certificate` in `directory`, neither of which exists.
    pub(super) fn new(directory: &Path, key: &str, certificate: &str) -> Result<Self> {
        let directory = &*native_path(directory);
        let files = Self {
            directory: directory.to_owned(),
            key: directory.join(key),
            certificate: directory.join(certificate),
        };
        for path in [&files.key, &files.certificate] {
            if path.symlink_metadata().is_ok() {
                let message = format!("{} exists already", shown_path(path));
                return Err(Error::new(ErrorCode::FileExists, message));
            }
        }
        Ok(files)
    }

    pub(super) fn write(&self, key: &Secret, certificate: &str) -> Result<()> {
        files::create_directory(&self.directory)?;
        files::write_new(&self.key, key.expose().as_bytes(), Access::Owner)?;
        if let Err(error) = files::write_new(&self.certificate, certificate.as_bytes(), Access::Everybody) {
            // Nobody has the certificate, so nobody needs the key, and a rerun shall not stumble over it.
            let _ = files::remove(&self.key);
            return Err(error.into());
        }
        Ok(files::sync_directory(&self.directory)?)
    }
}
