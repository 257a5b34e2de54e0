//! One X.509 certificate, and what is in it.

use std::net::IpAddr;
use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::{PublicKeyKind, Validity};
use crate::clock;
use crate::error::{Error, ErrorCode, FileKind, Hint, Result};
use crate::keys::{Signer, is_same_key, pem, recognise};
use crate::text::{one_line, shown_path};

/// Characters of a subject or a name that are kept; no real one is longer.
const LONGEST_SHOWN: usize = 1000;

/// One certificate: its DER, and what is in it. The constructors parse, so whoever holds one holds a
/// readable certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The whole subject, as `CN=sensor-01, O=…`.
    pub subject: String,
    /// The whole issuer.
    pub issuer: String,
    /// The subject's common name, if it has one.
    pub common_name: Option<String>,
    /// DNS names and addresses of the subjectAltName extension.
    pub names: Vec<String>,
    /// From when until when it is valid.
    pub validity: Validity,
    /// The kind of the public key.
    pub key: PublicKeyKind,
    /// The public key (SubjectPublicKeyInfo), DER.
    pub public_key: Vec<u8>,
    /// Whether it may sign others (basicConstraints CA:TRUE).
    pub is_ca: bool,
    /// The X.509 version: 1 or 3.
    pub version: u32,
    /// The serial number in hex.
    pub serial: String,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// Reads one DER certificate. `origin` names the file or the host in errors.
    ///
    /// # Errors
    /// `file/bad-certificate`.
    pub fn from_der(der: CertificateDer<'static>, origin: &str) -> Result<Self> {
        let parsed = parse(&der).map_err(|mut error| {
            error.message = format!("{origin} is not a readable X.509 certificate: {}", error.message);
            error
        })?;
        Ok(Self {
            subject: one_line(&parsed.subject().to_string(), LONGEST_SHOWN),
            issuer: one_line(&parsed.issuer().to_string(), LONGEST_SHOWN),
            common_name: common_name(&parsed),
            names: alternative_names(&parsed),
            validity: Validity {
                not_before: parsed.validity().not_before.to_datetime(),
                not_after: parsed.validity().not_after.to_datetime(),
            },
            key: PublicKeyKind::of(parsed.public_key()),
            public_key: parsed.public_key().raw.to_vec(),
            is_ca: parsed.is_ca(),
            version: parsed.version().0.saturating_add(1),
            serial: parsed.raw_serial_as_string().replace(':', ""),
            der,
        })
    }

    /// The certificate as DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The certificate as PEM, LF line ends.
    pub fn to_pem(&self) -> String {
        pem::encode("CERTIFICATE", &self.der)
    }

    /// Whether it is the certificate of `key`, in whatever encoding it has the public key.
    pub fn is_for(&self, key: &dyn Signer) -> bool {
        is_same_key(&self.public_key, key.public_key())
    }

    /// ThingsBoard's credentialsId; see [`super::credentials_id`].
    pub fn credentials_id(&self) -> String {
        super::credentials_id(&self.der)
    }

    /// The SHA-256 fingerprint, lower-case hex.
    pub fn sha256(&self) -> String {
        super::sha256_hex(&self.der)
    }

    /// Fails when the certificate is not valid now, by this machine's clock. `origin` names the file in the error.
    ///
    /// # Errors
    /// `file/expired-certificate`.
    pub fn check_dates(&self, origin: &str) -> Result<()> {
        match self.not_now() {
            None => Ok(()),
            Some(why) => {
                Err(Error::new(ErrorCode::FileExpired, format!("the certificate in {origin} {why}")))
            }
        }
    }

    /// Why the certificate is not valid now, with what this machine's clock says: either may be wrong.
    pub(super) fn not_now(&self) -> Option<String> {
        let now = clock::now();
        let Validity { not_before, not_after } = self.validity;
        let why = if now < not_before {
            format!("is valid only from {}", clock::shown(not_before))
        } else if now > not_after {
            format!("expired on {}", clock::shown(not_after))
        } else {
            return None;
        };
        Some(format!("{why}, and this machine's clock says {}", clock::shown(now)))
    }
}

/// What is in a certificate. The error says why it cannot be read, without naming it.
pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>> {
    let bad = |why: String| Error::new(ErrorCode::FileCertificate, why);
    if der.is_empty() {
        return Err(bad("it is empty".to_owned()));
    }
    let (rest, parsed) = X509Certificate::from_der(der)
        .map_err(|error| bad("it is damaged or cut off".to_owned()).source(error.to_string()))?;
    if !rest.is_empty() {
        return Err(bad(format!("{} bytes too many", rest.len())));
    }
    Ok(parsed)
}

/// The public key (SubjectPublicKeyInfo, DER) of a certificate, where it can be read.
pub(crate) fn public_key(der: &[u8]) -> Option<&[u8]> {
    parse(der).ok().map(|parsed| parsed.tbs_certificate.subject_pki.raw)
}

/// From when until when a certificate is valid, where it can be read.
pub(crate) fn validity(der: &[u8]) -> Option<Validity> {
    let parsed = parse(der).ok()?;
    let validity = parsed.validity();
    Some(Validity {
        not_before: validity.not_before.to_datetime(),
        not_after: validity.not_after.to_datetime(),
    })
}

/// Reads every certificate of a PEM file, at least one.
///
/// # Errors
/// Those of [`pem::read_file`] and [`read_certificates`].
pub fn read_certificate_file(path: &Path) -> Result<Vec<Certificate>> {
    let text = pem::read_file(path)?;
    read_certificates(&text, &shown_path(path)).map_err(|error| error.about_file(path))
}

/// Reads every certificate of a PEM text, at least one. `origin` names the file in errors.
///
/// # Errors
/// `file/not-pem` without a certificate in it, `file/bad-certificate` with a broken one.
pub fn read_certificates(text: &str, origin: &str) -> Result<Vec<Certificate>> {
    read_each(text, origin)?.into_iter().map(|der| Certificate::from_der(der, origin)).collect()
}

/// The DER of every certificate of a PEM text, at least one, whether it can be read or not. `origin` names the file in
/// errors.
///
/// # Errors
/// `file/not-pem`.
pub fn read_each(text: &str, origin: &str) -> Result<Vec<CertificateDer<'static>>> {
    let mut certificates = Vec::new();
    for item in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let der = item.map_err(|error| {
            no_certificate(text, origin).unwrap_or_else(|| {
                let message = format!("{origin} holds a broken PEM block: {}", pem::explain(&error));
                Error::new(ErrorCode::FileNotPem, message)
            })
        })?;
        certificates.push(der);
    }
    if certificates.is_empty() {
        let nothing = || Error::new(ErrorCode::FileNotPem, format!("{origin} holds no certificate"));
        return Err(no_certificate(text, origin).unwrap_or_else(|| nothing().hint(Hint::NeedCertificate)));
    }
    Ok(certificates)
}

/// What `text` holds instead of a certificate, where that can be told.
fn no_certificate(text: &str, origin: &str) -> Option<Error> {
    let kind = recognise(text.as_bytes()).filter(|kind| *kind != FileKind::Certificate)?;
    let message = format!("{origin} holds {kind}, but no certificate in PEM");
    Some(Error::new(ErrorCode::FileNotPem, message).hint(Hint::FileIs(kind, None)))
}

fn common_name(parsed: &X509Certificate<'_>) -> Option<String> {
    let name = parsed.subject().iter_common_name().next()?;
    name.as_str().ok().map(|name| one_line(name, LONGEST_SHOWN))
}

fn alternative_names(parsed: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = parsed.subject_alternative_name() else { return Vec::new() };
    extension.value.general_names.iter().filter_map(general_name).collect()
}

fn general_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(one_line(name, LONGEST_SHOWN)),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|octets| IpAddr::from(octets).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|octets| IpAddr::from(octets).to_string()),
            _ => None,
        },
        _ => None,
    }
}
