//! Whom to believe: the certificates of a file, or the system's roots.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;

use crate::error::{Error, ErrorCode, Hint, Result};
use crate::identity::{Certificate, read_certificates};
use crate::keys::pem;

/// Where trust comes from, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustSource {
    /// The certificates in this file.
    File(PathBuf),
    /// The roots that the operating system trusts.
    System,
}

/// What authenticates the server. There is no way to have none.
#[derive(Debug, Clone)]
pub struct Trust {
    /// Where the certificates came from.
    pub source: TrustSource,
    /// The certificates of the file: each a pin and, where it can be one, a trust anchor. Empty for
    /// [`TrustSource::System`].
    pub certificates: Vec<Certificate>,
    /// Whether the host's name is left unchecked. With a pin that is safe; with an authority it accepts any
    /// certificate of that authority.
    pub skip_name_check: bool,
    pub(super) roots: Arc<RootCertStore>,
}

impl Trust {
    /// Trusts the certificates in the PEM file at `path`.
    ///
    /// # Errors
    /// Those of reading the file, each naming it.
    pub fn from_file(path: &Path, skip_name_check: bool) -> Result<Self> {
        let origin = path.display().to_string();
        let certificates = read_certificates(&pem::read_file(path)?, &origin)?;
        Ok(Self::from_certificates(certificates, TrustSource::File(path.to_owned()), skip_name_check))
    }

    /// Trusts these certificates, said to come from `source`.
    pub fn from_certificates(
        certificates: Vec<Certificate>,
        source: TrustSource,
        skip_name_check: bool,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        // One that cannot be an anchor (version 1, for example) is still a pin.
        roots.add_parsable_certificates(certificates.iter().map(|certificate| certificate.der().clone()));
        Self { source, certificates, skip_name_check, roots: Arc::new(roots) }
    }

    /// Trusts what the operating system trusts.
    ///
    /// # Errors
    /// `tls/untrusted` when the system has no roots that can be read.
    pub fn system(skip_name_check: bool) -> Result<Self> {
        let loaded = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(loaded.certs);
        if roots.is_empty() {
            let message = "this system has no certificate authorities that can be read";
            return Err(Error::new(ErrorCode::TlsUntrusted, message).hint(Hint::SystemRoots));
        }
        Ok(Self {
            source: TrustSource::System,
            certificates: Vec::new(),
            skip_name_check,
            roots: Arc::new(roots),
        })
    }
}
