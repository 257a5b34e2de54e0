//! The one maker of certificates. What it returns has been checked against its key and its issuer.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyUsagePurpose, SanType, SerialNumber,
};
use x509_parser::extensions::ExtendedKeyUsage;
use x509_parser::prelude::{ParsedExtension, X509Certificate, X509Extension};

use super::certificate::parse;
use super::{Certificate, Validity, X509Identity, signed};
use crate::clock;
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::keys::{CertificateKey, KeyType, Scheme, Signer, UnsignedKey};

/// The longest common name that X.509 allows, in characters (RFC 5280, `ub-common-name`).
pub const LONGEST_COMMON_NAME: usize = 64;

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

/// A certificate that shall be made.
#[derive(Debug)]
pub struct Issue<'a> {
    /// The name, which becomes the common name.
    pub name: &'a str,
    /// What it is for.
    pub profile: &'a Profile,
    /// From when until when; an issuer's own validity narrows it.
    pub validity: Validity,
    /// The key that it is for.
    pub key: &'a dyn Signer,
    /// Who signs; none for a self-signed certificate.
    pub issuer: Option<&'a X509Identity>,
}

/// A certificate that was made.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The new certificate.
    pub leaf: Certificate,
    /// The issuer's and those above it; none above a self-signed one.
    pub above: Vec<Certificate>,
    /// Whether the common name holds just the beginning of the name, because X.509 allows 64 characters. The
    /// device's name at the server is not cut.
    pub name_cut: bool,
    /// Whether it ends before it was asked to, because its issuer does, or one above that.
    pub ends_with_issuer: bool,
}

/// Makes a certificate, and checks that those who know its issuer will accept it.
///
/// # Errors
/// `identity/clock` when this machine's clock cannot be right; `usage/invalid-value` for a name of a server that is
/// no name; `file/bad-certificate`, `file/expired-certificate` and `file/key-mismatch` for an issuer that cannot issue
/// this.
pub fn issue(wanted: &Issue<'_>) -> Result<Issued> {
    clock::plausible_now()?;
    let mut validity = wanted.validity;
    let mut above = Vec::new();
    if let Some(issuer) = wanted.issuer {
        check_issuer(issuer, wanted.profile)?;
        above = std::iter::once(&issuer.leaf).chain(&issuer.intermediates).cloned().collect();
        validity = above.iter().fold(validity, |validity, above| validity.within(above.validity));
    }
    let leaf = make(wanted, validity)?;
    check_made(&leaf, wanted)?;
    Ok(Issued {
        leaf,
        above,
        name_cut: wanted.name.chars().nth(LONGEST_COMMON_NAME).is_some(),
        ends_with_issuer: validity.not_after < wanted.validity.not_after,
    })
}

/// rcgen writes the certificate, without a signature: it can repeat few issuers' names. What it wrote gets the issuer's
/// own, and the signature.
fn make(wanted: &Issue<'_>, validity: Validity) -> Result<Certificate> {
    let mut parameters = parameters(wanted, validity)?;
    let mut above = CertificateParams::default();
    let (signer, issuer) = match wanted.issuer {
        None => (wanted.key, None),
        Some(issuer) => {
            let authority = parse(issuer.leaf.der())?;
            parameters.use_authority_key_identifier_extension = true;
            above.key_identifier_method =
                key_identifier(&authority).map_or(KeyIdMethod::Sha256, KeyIdMethod::PreSpecified);
            (&*issuer.key, Some(authority.subject().as_raw().to_vec()))
        }
    };
    let key = CertificateKey::new(wanted.key)?;
    let unsigned = Issuer::from_params(&above, UnsignedKey(CertificateKey::new(signer)?));
    let written = parameters.signed_by(&key, &unsigned).map_err(|error| {
        let message = format!("the certificate could not be made: {error}");
        Error::new(ErrorCode::FileCertificate, message).source(error)
    })?;
    let issuer = match issuer {
        Some(name) => name,
        None => parse(written.der())?.subject().as_raw().to_vec(),
    };
    Certificate::from_der(signed::signed(written.der(), &issuer, signer)?.into(), "the new certificate")
}

/// The subjectKeyIdentifier, by which those below name this certificate.
fn key_identifier(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
        _ => None,
    })
}

/// The authorityKeyIdentifier, which names the certificate above this one.
fn authority_key_identifier(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(above) => {
            above.key_identifier.as_ref().map(|id| id.0.to_vec())
        }
        _ => None,
    })
}

pub(super) fn parameters(wanted: &Issue<'_>, validity: Validity) -> Result<CertificateParams> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, common_name(wanted.name));
    parameters.serial_number = Some(random_serial()?);
    parameters.not_before = validity.not_before;
    parameters.not_after = validity.not_after;
    match wanted.profile {
        Profile::Device => {
            parameters.is_ca = IsCa::ExplicitNoCa;
            parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }
        Profile::Server(names) => {
            parameters.is_ca = IsCa::ExplicitNoCa;
            parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            // TLS 1.2 may encrypt to an RSA key; RFC 8813 and RFC 9295 forbid the claim for the others.
            if matches!(wanted.key.key_type(), KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096) {
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

/// Fails when nobody would accept what `issuer` signs: RFC 5280, section 6.1.4. [`issue`] does it too; whoever has an
/// issuer long before there is something to sign asks here.
///
/// # Errors
/// `file/bad-certificate`, `file/expired-certificate`, `file/key-mismatch`.
pub fn check_issuer(issuer: &X509Identity, profile: &Profile) -> Result<()> {
    let subject = &issuer.leaf.subject;
    if !issuer.leaf.is_for(&*issuer.key) {
        let message = format!("the authority's certificate '{subject}' is not for the key that shall sign");
        return Err(Error::new(ErrorCode::FileMismatch, message));
    }
    for (below, certificate) in std::iter::once(&issuer.leaf).chain(&issuer.intermediates).enumerate() {
        if let Some(why) = certificate.not_now() {
            let message = format!("the authority's certificate '{}' {why}", certificate.subject);
            return Err(Error::new(ErrorCode::FileExpired, message));
        }
        if let Some(above) = issuer.intermediates.get(below)
            && !is_signed_by(certificate, above)?
        {
            let message = format!(
                "the authority '{}' is not signed by '{}', which follows it",
                certificate.subject, above.subject
            );
            return Err(Error::new(ErrorCode::FileCertificate, message).hint(Hint::MakeAuthority));
        }
        let authorities_below = below + usize::from(*profile == Profile::Authority);
        if let Some(why) = why_it_cannot_issue(&parse(certificate.der())?, authorities_below, profile) {
            let message = format!("the certificate '{}' may not sign others ({why})", certificate.subject);
            return Err(Error::new(ErrorCode::FileCertificate, message).hint(Hint::MakeAuthority));
        }
    }
    Ok(())
}

fn why_it_cannot_issue(
    certificate: &X509Certificate<'_>,
    authorities_below: usize,
    profile: &Profile,
) -> Option<String> {
    let Ok(constraints) = certificate.basic_constraints() else {
        return Some("its basic constraints cannot be read".to_owned());
    };
    let Some(constraints) = constraints.map(|extension| extension.value).filter(|constraints| constraints.ca)
    else {
        return Some("no CA:TRUE".to_owned());
    };
    if constraints.path_len_constraint.is_some_and(|most| authorities_below > most as usize) {
        return Some("its path length allows no further authority".to_owned());
    }
    let is_unknown = |extension: &X509Extension<'_>| {
        extension.critical
            && matches!(extension.parsed_extension(), ParsedExtension::UnsupportedExtension { .. })
    };
    if let Some(extension) = certificate.iter_extensions().find(|extension| is_unknown(extension)) {
        return Some(format!("it has the critical extension {}, which nobody here knows", extension.oid));
    }
    match certificate.key_usage() {
        Ok(Some(usage)) if !usage.value.key_cert_sign() => {
            return Some("its key usage lacks certificate signing".to_owned());
        }
        Ok(_) => {}
        Err(_) => return Some("its key usage cannot be read".to_owned()),
    }
    match certificate.extended_key_usage() {
        Ok(Some(usage)) if !allows(usage.value, profile) => {
            return Some("its extended key usage is for another purpose".to_owned());
        }
        Ok(_) => {}
        Err(_) => return Some("its extended key usage cannot be read".to_owned()),
    }
    certificate.subject().as_raw().len().le(&2).then(|| "it has no name".to_owned())
}

/// Whether those below an authority of this extended key usage may be for `profile`.
const fn allows(usage: &ExtendedKeyUsage<'_>, profile: &Profile) -> bool {
    usage.any
        || match profile {
            Profile::Device => usage.client_auth,
            Profile::Server(_) => usage.server_auth,
            Profile::Authority => true,
        }
}

/// Whether `above` issued `below`: by name and signature. An algorithm that is not known here proves nothing against it.
fn is_signed_by(below: &Certificate, above: &Certificate) -> Result<bool> {
    let (below, above) = (parse(below.der())?, parse(above.der())?);
    let named = below.issuer().as_raw() == above.subject().as_raw();
    let public_key = rustls_pki_types::SubjectPublicKeyInfoDer::from(above.public_key().raw);
    let Ok(key) = webpki::RawPublicKeyEntity::try_from(&public_key) else { return Ok(named) };
    let (message, signature) = (below.tbs_certificate.as_ref(), &below.signature_value.data);
    let signed = webpki::ALL_VERIFICATION_ALGS
        .iter()
        .any(|algorithm| key.verify_signature(*algorithm, message, signature).is_ok());
    Ok(named && signed)
}

/// Fails unless the new certificate is what was wanted and its issuer's key signed it under its issuer's name.
fn check_made(leaf: &Certificate, wanted: &Issue<'_>) -> Result<()> {
    let bug = |why: &str| {
        let message = format!("the certificate that was made for '{}' is wrong: {why}", wanted.name);
        Err(Error::new(ErrorCode::Bug, message))
    };
    let made = parse(leaf.der())?;
    let (authority, issuer_key) = match wanted.issuer {
        None => (None, wanted.key),
        Some(issuer) => (Some(parse(issuer.leaf.der())?), &*issuer.key),
    };
    let authority = authority.as_ref().unwrap_or(&made);
    if made.issuer().as_raw() != authority.subject().as_raw() {
        return bug("its issuer's name is not its authority's");
    }
    if wanted.issuer.is_some()
        && key_identifier(authority).is_some_and(|above| authority_key_identifier(&made) != Some(above))
    {
        return bug("it names another key of its authority");
    }
    if leaf.public_key != wanted.key.public_key() {
        return bug("it is for another key");
    }
    if leaf.is_ca != (*wanted.profile == Profile::Authority) {
        return bug("it is for another purpose");
    }
    if !leaf.validity.contains(leaf.validity.not_after) {
        return bug("it ends before it begins");
    }
    if !is_signed(made.tbs_certificate.as_ref(), &made.signature_value.data, issuer_key) {
        return bug("its signature does not hold");
    }
    Ok(())
}

/// Whether `signature` is what `key` makes of `message` in certificates.
pub(super) fn is_signed(message: &[u8], signature: &[u8], key: &dyn Signer) -> bool {
    let algorithm = match Scheme::of_certificates(key.key_type()) {
        Scheme::EcdsaP256Sha256 => webpki::aws_lc_rs::ECDSA_P256_SHA256,
        Scheme::EcdsaP384Sha384 => webpki::aws_lc_rs::ECDSA_P384_SHA384,
        Scheme::Ed25519 => webpki::aws_lc_rs::ED25519,
        _ => webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA256,
    };
    let public_key = rustls_pki_types::SubjectPublicKeyInfoDer::from(key.public_key());
    webpki::RawPublicKeyEntity::try_from(&public_key)
        .is_ok_and(|key| key.verify_signature(algorithm, message, signature).is_ok())
}

#[cfg(test)]
mod tests;
