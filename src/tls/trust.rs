//! Whom to believe: the certificates of a file, or the system's roots.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls_pki_types::TrustAnchor;
use time::{Duration, OffsetDateTime};

use crate::error::{Error, ErrorCode, Hint, Result};
use crate::identity::{Certificate, read_certificate_file};
use crate::text::one_line;

/// How long before a certificate's end it is worth a word.
pub const SOON: Duration = Duration::days(30);

/// The variables that say which authorities to believe in place of the system's, as OpenSSL has them: a file, and
/// folders.
const VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Characters of a path, or of a reason, that are shown.
const LONGEST_SHOWN: usize = 200;

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
        let certificates = read_certificate_file(path)?;
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
        let named = variables();
        let loaded = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(loaded.certs);
        if roots.is_empty() {
            return Err(no_roots(&named, loaded.errors.first()));
        }
        Ok(Self {
            source: TrustSource::System,
            certificates: Vec::new(),
            skip_name_check,
            anchors: Anchors::OfSystem { roots: Arc::new(roots), named: shown(&named).into() },
        })
    }

    /// What is to be said where all certificates of the file end [soon](SOON), or have ended: a server that is given
    /// another one is not believed any more.
    pub fn ends_soon(&self, now: OffsetDateTime) -> Option<String> {
        let TrustSource::File(file) = &self.source else { return None };
        let last = self.certificates.iter().map(|certificate| certificate.validity.not_after).max()?;
        let file = crate::text::shown_path(file);
        match (last - now).whole_days() {
            _ if last < now => Some(format!("the server certificate in {file} has ended on {}", last.date())),
            days if last - now < SOON => Some(format!(
                "the server certificate in {file} ends in {days} days, on {}: the server's next one has to be believed too",
                last.date()
            )),
            _ => None,
        }
    }
}

/// The variables that decide, and what they say. `SSL_CERT_DIR` decides where it names a folder.
fn variables() -> Vec<(&'static str, String)> {
    let [file, folders] = VARIABLES;
    let value = |name| std::env::var_os(name).map(|value| one_line(&value.to_string_lossy(), LONGEST_SHOWN));
    let folders_named = std::env::var_os(folders)
        .is_some_and(|value| std::env::split_paths(&value).any(|path| !path.as_os_str().is_empty()));
    let file = value(file).map(|value| (file, value));
    let folders = value(folders).filter(|_| folders_named).map(|value| (folders, value));
    file.into_iter().chain(folders).collect()
}

/// `SSL_CERT_FILE (/etc/ca.pem)`, and the other where both are set.
fn shown(variables: &[(&str, String)]) -> String {
    let each: Vec<_> = variables.iter().map(|(name, value)| format!("{name} ('{value}')")).collect();
    each.join(" and ")
}

/// There is nothing to believe; the variables are named where they decide.
fn no_roots(named: &[(&'static str, String)], why: Option<&rustls_native_certs::Error>) -> Error {
    let Some((first, _)) = named.first() else {
        let message = "this system has no certificate authorities that can be read";
        return Error::new(ErrorCode::TlsUntrusted, message).hint(Hint::SystemRoots);
    };
    let why = why.map_or_else(|| "no certificate is there".to_owned(), ToString::to_string);
    let names = named.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" and ");
    let message = format!(
        "there are no authorities to believe: they are taken from {}, and {}",
        shown(named),
        one_line(&why, LONGEST_SHOWN)
    );
    let hint = Hint::SystemRootsOf(if named.len() > 1 { names } else { (*first).to_owned() });
    Error::new(ErrorCode::TlsUntrusted, message).hint(hint)
}

/// What a chain may end in.
#[derive(Debug, Clone)]
pub(super) enum Anchors {
    /// The authorities of the file; the dates of each count.
    OfFile(Vec<Authority>),
    /// The system's roots, whose dates are the system's business. `named` are the variables that say which, in words.
    OfSystem { roots: Arc<RootCertStore>, named: Arc<str> },
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
            Self::OfSystem { roots, .. } => Arc::clone(roots),
        }
    }

    /// The authorities that are not valid at `now`.
    pub(super) fn out_of_date(&self, now: OffsetDateTime) -> impl Iterator<Item = &Authority> {
        let authorities: &[Authority] = match self {
            Self::OfFile(authorities) => authorities,
            Self::OfSystem { .. } => &[],
        };
        authorities.iter().filter(move |authority| !authority.certificate.validity.contains(now))
    }

    /// Whether one of them, valid or not, has this subject: the content of a DER Name.
    pub(super) fn has_subject(&self, subject: &[u8]) -> bool {
        match self {
            Self::OfFile(authorities) => {
                authorities.iter().any(|authority| authority.anchor.subject.as_ref() == subject)
            }
            Self::OfSystem { roots, .. } => roots.roots.iter().any(|root| root.subject.as_ref() == subject),
        }
    }

    /// The keys of the file's authorities.
    pub(super) fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        let authorities: &[Authority] = match self {
            Self::OfFile(authorities) => authorities,
            Self::OfSystem { .. } => &[],
        };
        authorities.iter().map(|authority| &authority.certificate)
    }

    /// The variables that say which these are, in words; empty where none does.
    pub(super) fn named(&self) -> &str {
        match self {
            Self::OfFile(_) => "",
            Self::OfSystem { named, .. } => named,
        }
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
