//! Whom to believe: the certificates of a file, or the system's roots.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls_pki_types::TrustAnchor;
use time::OffsetDateTime;

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
    /// The certificates of the file: each a pin, and the authorities among them trust anchors. Empty for
    /// [`TrustSource::System`].
    pub certificates: Vec<Certificate>,
    /// Whether the host's name is left unchecked. With a pin that is safe; with an authority it accepts any
    /// certificate of that authority.
    pub skip_name_check: bool,
    pub(super) anchors: Anchors,
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
        let authorities = certificates.iter().filter_map(Authority::new).collect();
        Self { source, certificates, skip_name_check, anchors: Anchors::OfFile(authorities) }
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
            anchors: Anchors::OfSystem(Arc::new(roots)),
        })
    }
}

/// What a chain may end in.
#[derive(Debug, Clone)]
pub(super) enum Anchors {
    /// The authorities of the file; the dates of each count.
    OfFile(Vec<Authority>),
    /// The system's roots, whose dates are the system's business.
    OfSystem(Arc<RootCertStore>),
}

impl Anchors {
    /// Those that are valid at `now`.
    pub(super) fn valid_at(&self, now: OffsetDateTime) -> Arc<RootCertStore> {
        match self {
            Self::OfFile(authorities) => Arc::new(
                authorities
                    .iter()
                    .filter(|authority| authority.certificate.validity.contains(now))
                    .map(|authority| authority.anchor.clone())
                    .collect(),
            ),
            Self::OfSystem(roots) => Arc::clone(roots),
        }
    }

    /// The authorities that are not valid at `now`.
    pub(super) fn out_of_date(&self, now: OffsetDateTime) -> impl Iterator<Item = &Authority> {
        let authorities: &[Authority] = match self {
            Self::OfFile(authorities) => authorities,
            Self::OfSystem(_) => &[],
        };
        authorities.iter().filter(move |authority| !authority.certificate.validity.contains(now))
    }
}

/// A certificate that may sign others.
#[derive(Debug, Clone)]
pub(super) struct Authority {
    pub(super) certificate: Certificate,
    anchor: TrustAnchor<'static>,
}

impl Authority {
    /// Only CA:TRUE makes an authority; version 1 has no way to say so, and is one by being trusted. Any other
    /// certificate of the file, such as a server's own, is a pin and no more.
    fn new(certificate: &Certificate) -> Option<Self> {
        if !certificate.is_ca && certificate.version != 1 {
            return None;
        }
        let anchor = webpki::anchor_from_trusted_cert(certificate.der()).ok()?.to_owned();
        Some(Self { certificate: certificate.clone(), anchor })
    }

    /// This one alone.
    pub(super) fn alone(&self) -> RootCertStore {
        std::iter::once(self.anchor.clone()).collect()
    }
}
