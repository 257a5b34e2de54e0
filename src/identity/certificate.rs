//! X.509 certificates: making them, and saying what is in one.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::error::{Error, ErrorCode, Hint, Result};
use crate::keys::{KeyType, Signer, pem};
use crate::text::one_line;

/// The longest common name that X.509 allows, in characters (RFC 5280, `ub-common-name`).
const LONGEST_COMMON_NAME: usize = 64;

/// How far a certificate reaches into the past, so that a server whose clock is behind accepts it:
/// ThingsBoard refuses one whose start lies in its future exactly like an expired one.
const BACKDATED: Duration = Duration::from_secs(3600);

/// The instant after which RFC 5280 says 'no well-defined end': 9999-12-31T23:59:59Z, in Unix seconds.
const LAST_INSTANT: i64 = 253_402_300_799;

/// Characters of a subject or a name that are kept; no real one is longer.
const LONGEST_SHOWN: usize = 1000;

/// The curve of Bitcoin, which Java's TLS does not know: the object identifier.
const SECP256K1: &str = "1.3.132.0.10";

/// What a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Profile {
    /// A device: client authentication.
    Device,
    /// A server under these names and addresses: server authentication.
    Server(Vec<String>),
    /// An authority that signs others.
    Authority,
}

/// From when until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first valid instant.
    pub not_before: OffsetDateTime,
    /// The last valid instant.
    pub not_after: OffsetDateTime,
}

impl Validity {
    /// From an hour ago, for `days` days from now; at most until the end of the year 9999.
    pub fn days(days: u32) -> Self {
        let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let end = now.unix_timestamp().saturating_add(i64::from(days) * 86_400).min(LAST_INSTANT);
        let not_after = OffsetDateTime::from_unix_timestamp(end).unwrap_or(now);
        Self { not_before: now - BACKDATED, not_after }
    }

    /// Whether `instant` lies within.
    pub fn contains(&self, instant: OffsetDateTime) -> bool {
        self.not_before <= instant && instant <= self.not_after
    }
}

/// An authority that signs certificates: its own certificate and key.
pub struct Issuer<'a> {
    /// The authority's certificate.
    pub certificate: &'a Certificate,
    /// The authority's key.
    pub key: &'a dyn Signer,
}

/// One certificate: its DER, and what is in it. The constructors parse, so whoever holds one holds a
/// readable certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: CertificateDer<'static>,
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
    /// The public key in words: a [`KeyType`]'s name where there is one, else for example `rsa-1024`.
    pub key: String,
    /// The public key (SubjectPublicKeyInfo), DER.
    pub public_key: Vec<u8>,
    /// Whether it may sign others (basicConstraints CA:TRUE).
    pub is_ca: bool,
    /// The X.509 version: 1 or 3.
    pub version: u32,
    /// The serial number in hex.
    pub serial: String,
}

impl Certificate {
    /// Makes a self-signed certificate for `name`.
    ///
    /// # Errors
    /// When a name is no DNS name or address, or the key cannot sign.
    pub fn self_signed(name: &str, profile: &Profile, validity: Validity, key: &dyn Signer) -> Result<Self> {
        let made =
            parameters(name, profile, validity, key.key_type())?.self_signed(&Sign(key)).map_err(not_made)?;
        Self::from_der(made.der().clone(), "the new certificate")
    }

    /// Makes a certificate for `name` and `key`, signed by `issuer`.
    ///
    /// # Errors
    /// As [`Certificate::self_signed`], and when the issuer's certificate is no authority.
    pub fn signed_by(
        issuer: &Issuer<'_>,
        name: &str,
        profile: &Profile,
        validity: Validity,
        key: &dyn Signer,
    ) -> Result<Self> {
        if !issuer.certificate.is_ca {
            let message =
                format!("the certificate '{}' may not sign others (no CA:TRUE)", issuer.certificate.subject);
            return Err(Error::new(ErrorCode::FileCertificate, message).hint(Hint::MakeAuthority));
        }
        let mut parameters = parameters(name, profile, validity, key.key_type())?;
        parameters.use_authority_key_identifier_extension = true;
        let issuer_key = Sign(issuer.key);
        let signer =
            rcgen::Issuer::from_ca_cert_der(&issuer.certificate.der, &issuer_key).map_err(not_made)?;
        let made = parameters.signed_by(&Sign(key), &signer).map_err(not_made)?;
        Self::from_der(made.der().clone(), "the new certificate")
    }

    /// Whether `name` is longer than a common name can be, so that the certificate holds just its beginning.
    /// The device's name at the server is not cut.
    pub fn cuts_common_name(name: &str) -> bool {
        name.chars().nth(LONGEST_COMMON_NAME).is_some()
    }

    /// Reads one DER certificate. `origin` names the file or the host in errors.
    ///
    /// # Errors
    /// `file/bad-certificate`.
    pub fn from_der(der: CertificateDer<'static>, origin: &str) -> Result<Self> {
        let bad = |why: String| {
            let message = format!("{origin} is not a readable X.509 certificate: {why}");
            Error::new(ErrorCode::FileCertificate, message)
        };
        if der.is_empty() {
            return Err(bad("it is empty".to_owned()));
        }
        let (rest, parsed) = X509Certificate::from_der(&der)
            .map_err(|error| bad("it is damaged or cut off".to_owned()).source(error.to_string()))?;
        if !rest.is_empty() {
            return Err(bad(format!("{} bytes too many", rest.len())));
        }
        let summary = Self {
            der: CertificateDer::from(Vec::new()),
            subject: one_line(&parsed.subject().to_string(), LONGEST_SHOWN),
            issuer: one_line(&parsed.issuer().to_string(), LONGEST_SHOWN),
            common_name: parsed
                .subject()
                .iter_common_name()
                .next()
                .and_then(|name| name.as_str().ok())
                .map(|name| one_line(name, LONGEST_SHOWN)),
            names: alternative_names(&parsed),
            validity: Validity {
                not_before: parsed.validity().not_before.to_datetime(),
                not_after: parsed.validity().not_after.to_datetime(),
            },
            key: key_in_words(&parsed),
            public_key: parsed.public_key().raw.to_vec(),
            is_ca: parsed.is_ca(),
            version: parsed.version().0.saturating_add(1),
            serial: parsed.raw_serial_as_string().replace(':', ""),
        };
        Ok(Self { der, ..summary })
    }

    /// The certificate as DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The certificate as PEM, LF line ends.
    pub fn to_pem(&self) -> String {
        pem::encode("CERTIFICATE", &self.der)
    }

    /// ThingsBoard's credentialsId; see [`super::credentials_id`].
    pub fn credentials_id(&self) -> String {
        super::credentials_id(&self.der)
    }

    /// The SHA-256 fingerprint, lower-case hex.
    pub fn sha256(&self) -> String {
        super::sha256_hex(&self.der)
    }

    /// Fails when the certificate is not valid now. `origin` names the file in the error.
    ///
    /// # Errors
    /// `file/expired-certificate`.
    pub fn check_dates(&self, origin: &str) -> Result<()> {
        let now = OffsetDateTime::now_utc();
        let Validity { not_before, not_after } = self.validity;
        let why = if now < not_before {
            format!("is valid only from {}", not_before.date())
        } else if now > not_after {
            format!("expired on {}", not_after.date())
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorCode::FileExpired, format!("the certificate in {origin} {why}")))
    }
}

/// Reads every certificate of a PEM text, at least one. `origin` names the file in errors.
///
/// # Errors
/// `file/not-pem` without a certificate in it, `file/bad-certificate` with a broken one.
pub fn read_certificates(text: &str, origin: &str) -> Result<Vec<Certificate>> {
    let mut certificates = Vec::new();
    for item in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let der = item.map_err(|error| {
            let message = format!("{origin} holds a broken PEM block: {}", pem::explain(&error));
            Error::new(ErrorCode::FileNotPem, message)
        })?;
        certificates.push(Certificate::from_der(der, origin)?);
    }
    if certificates.is_empty() {
        let holds = if text.contains("TRUSTED CERTIFICATE") {
            "a certificate in OpenSSL's own TRUSTED form, which ThingsBoard cannot use"
        } else if text.contains("PRIVATE KEY") {
            "a private key, but no certificate"
        } else {
            "no certificate"
        };
        return Err(
            Error::new(ErrorCode::FileNotPem, format!("{origin} holds {holds}")).hint(Hint::NeedCertificate)
        );
    }
    Ok(certificates)
}

fn parameters(
    name: &str,
    profile: &Profile,
    validity: Validity,
    key_type: KeyType,
) -> Result<CertificateParams> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, common_name(name));
    parameters.serial_number = Some(random_serial()?);
    parameters.not_before = validity.not_before;
    parameters.not_after = validity.not_after;
    match profile {
        Profile::Device => {
            parameters.is_ca = IsCa::ExplicitNoCa;
            parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }
        Profile::Server(names) => {
            parameters.is_ca = IsCa::ExplicitNoCa;
            parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            // TLS 1.2 may encrypt to an RSA key; RFC 8813 and RFC 9295 forbid the claim for the others.
            if matches!(key_type, KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096) {
                parameters.key_usages.push(KeyUsagePurpose::KeyEncipherment);
            }
            parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            parameters.subject_alt_names =
                names.iter().map(|name| subject_alt_name(name)).collect::<Result<_>>()?;
        }
        Profile::Authority => {
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        }
    }
    Ok(parameters)
}

/// The name as a common name: cut to what X.509 allows, never empty.
fn common_name(name: &str) -> String {
    let cut: String = name.chars().take(LONGEST_COMMON_NAME).collect();
    if cut.is_empty() { "unnamed".to_owned() } else { cut }
}

fn subject_alt_name(name: &str) -> Result<SanType> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let not_a_name = || {
        let message = format!("'{name}' is neither a host name nor an IP address");
        Error::new(ErrorCode::UsageInvalid, message)
    };
    let plain = name.strip_prefix("*.").unwrap_or(name);
    rustls_pki_types::DnsName::try_from(plain).map_err(|_| not_a_name())?;
    Ok(SanType::DnsName(name.try_into().map_err(|_| not_a_name())?))
}

/// 127 random bits, as RFC 5280 asks (positive, at most 20 octets).
fn random_serial() -> Result<SerialNumber> {
    let mut bytes = [0u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::no_randomness())?;
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn not_made(error: rcgen::Error) -> Error {
    let message = format!("the certificate could not be made: {error}");
    Error::new(ErrorCode::FileCertificate, message).source(error)
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

/// The public key's algorithm in words; a curve by its name, for ThingsBoard does not take every one.
fn key_in_words(parsed: &X509Certificate<'_>) -> String {
    use x509_parser::oid_registry::{
        OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_SIG_ED25519,
    };
    use x509_parser::public_key::PublicKey;
    let spki = parsed.public_key();
    let algorithm = &spki.algorithm.algorithm;
    if *algorithm == OID_SIG_ED25519 {
        return KeyType::Ed25519.to_string();
    }
    if let Ok(PublicKey::RSA(key)) = spki.parsed() {
        return format!("rsa-{}", key.key_size());
    }
    let curve = spki.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    match curve {
        Some(curve) if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY => match curve {
            curve if curve == OID_EC_P256 => KeyType::EcP256.to_string(),
            curve if curve == OID_NIST_EC_P384 => KeyType::EcP384.to_string(),
            curve if curve == OID_NIST_EC_P521 => "ec-p521".to_owned(),
            curve if curve.to_id_string() == SECP256K1 => "ec-secp256k1".to_owned(),
            curve => format!("ec with the curve {}", curve.to_id_string()),
        },
        _ => algorithm.to_id_string(),
    }
}

/// Lets rcgen, which wants a sized type, sign with any [`Signer`].
struct Sign<'a>(&'a dyn Signer);

impl rcgen::PublicKeyData for Sign<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl rcgen::SigningKey for Sign<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SoftwareKey;

    #[test]
    fn a_name_cannot_forge_lines() {
        let key = SoftwareKey::generate(KeyType::EcP256).unwrap();
        let name = "localhost\nSHA-256  00\u{202E}";
        let certificate = Certificate::self_signed(name, &Profile::Device, Validity::days(1), &key).unwrap();
        assert!(!certificate.subject.contains(['\n', '\u{202E}']), "{}", certificate.subject);
        assert_eq!(certificate.common_name.as_deref(), Some(r"localhost\nSHA-256  00\u{202e}"));
    }
}
