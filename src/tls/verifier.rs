//! Server authentication: the exact certificate first, then the chain.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, OtherError, PeerIncompatible, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use time::OffsetDateTime;

use super::failure::TrustFailure;
use super::trust::{Trust, TrustSource};
use crate::identity::Certificate;

/// Verifies a server in this order:
///
/// 1. The presented leaf equals, byte for byte, a certificate of the file: its dates are checked, then its
///    name (subjectAltName where it has one, else the common name). This is what makes
///    `openssl req -x509 -subj /CN=localhost` work, which webpki refuses (an authority as a leaf, no names).
/// 2. Otherwise the chain to a trust anchor, then the name.
///
/// The handshake's signature is verified in both cases.
#[derive(Debug)]
pub(super) struct PinThenChain {
    pins: Vec<Certificate>,
    source: TrustSource,
    roots: Arc<RootCertStore>,
    skip_name_check: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinThenChain {
    pub(super) fn new(trust: &Trust, provider: &CryptoProvider) -> Self {
        Self {
            pins: trust.certificates.clone(),
            source: trust.source.clone(),
            roots: Arc::clone(&trust.roots),
            skip_name_check: trust.skip_name_check,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    fn pinned(&self, leaf: &CertificateDer<'_>) -> Option<&Certificate> {
        self.pins.iter().find(|pin| pin.der() == leaf)
    }

    fn check_pinned(
        &self,
        pin: &Certificate,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), TrustFailure> {
        let now = instant(now);
        if now < pin.validity.not_before {
            return Err(TrustFailure::NotYetValid(pin.validity.not_before));
        }
        if now > pin.validity.not_after {
            return Err(TrustFailure::Expired(pin.validity.not_after));
        }
        if !self.skip_name_check && !names_match(pin, name) {
            return Err(TrustFailure::Name { wanted: name.to_str().into_owned(), held: names_held(pin) });
        }
        Ok(())
    }

    fn check_chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), TrustFailure> {
        // The dates may be those of an authority on the way.
        let untrusted = |why: rustls::Error| match why {
            rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
                TrustFailure::Expired(instant(not_after))
            }
            rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
                not_before, ..
            }) => TrustFailure::NotYetValid(instant(not_before)),
            _ => summary(leaf).map_or(TrustFailure::Unreadable, |leaf| TrustFailure::Untrusted {
                believed: self.source.clone(),
                subject: leaf.subject.clone(),
                sha256: leaf.sha256(),
            }),
        };
        let parsed = ParsedCertificate::try_from(leaf).map_err(untrusted)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )
        .map_err(untrusted)?;
        if self.skip_name_check || verify_server_name(&parsed, name).is_ok() {
            return Ok(());
        }
        let held = summary(leaf).map(|leaf| names_held(&leaf)).unwrap_or_default();
        Err(TrustFailure::Name { wanted: name.to_str().into_owned(), held })
    }

    fn verify_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
        first_only: bool,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(&self.algorithms, message, certificate, signed, first_only)
    }
}

impl ServerCertVerifier for PinThenChain {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.pinned(end_entity) {
            Some(pin) => self.check_pinned(pin, server_name, now),
            None => self.check_chain(end_entity, intermediates, server_name, now),
        }
        .map(|()| ServerCertVerified::assertion())
        .map_err(|failure| CertificateError::Other(OtherError(Arc::new(failure))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, cert, dss, false)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, cert, dss, true)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Verifies with the bare public key, so that version 1 certificates, which webpki does not parse, work too.
fn verify_signature(
    algorithms: &WebPkiSupportedAlgorithms,
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    tls13: bool,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    let bad = |error: CertificateError| rustls::Error::InvalidCertificate(error);
    if tls13 && is_pkcs1(signed.scheme) {
        return Err(rustls::PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    let candidates = algorithms
        .mapping
        .iter()
        .find(|(scheme, _)| *scheme == signed.scheme)
        .map(|(_, algorithms)| *algorithms)
        .ok_or(rustls::Error::PeerIncompatible(PeerIncompatible::NoSignatureSchemesInCommon))?;
    let public_key = summary(certificate).ok_or_else(|| bad(CertificateError::BadEncoding))?.public_key;
    let public_key = SubjectPublicKeyInfoDer::from(public_key);
    let key =
        webpki::RawPublicKeyEntity::try_from(&public_key).map_err(|_| bad(CertificateError::BadEncoding))?;
    // In TLS 1.2 a scheme does not name the curve: each candidate is tried. In TLS 1.3 the first is the one.
    let tried = if tls13 { 1 } else { candidates.len() };
    candidates
        .iter()
        .take(tried)
        .any(|algorithm| key.verify_signature(*algorithm, message, signed.signature()).is_ok())
        .then(HandshakeSignatureValid::assertion)
        .ok_or_else(|| bad(CertificateError::BadSignature))
}

/// RFC 8446 4.2.3 allows these in certificates only, never for a handshake of TLS 1.3.
fn is_pkcs1(scheme: SignatureScheme) -> bool {
    matches!(
        scheme,
        SignatureScheme::RSA_PKCS1_SHA1
            | SignatureScheme::RSA_PKCS1_SHA256
            | SignatureScheme::RSA_PKCS1_SHA384
            | SignatureScheme::RSA_PKCS1_SHA512
    )
}

fn instant(time: UnixTime) -> OffsetDateTime {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(crate::clock::LATEST)
}

fn summary(certificate: &CertificateDer<'_>) -> Option<Certificate> {
    Certificate::from_der(certificate.clone().into_owned(), "the server").ok()
}

fn names_held(certificate: &Certificate) -> Vec<String> {
    if certificate.names.is_empty() {
        certificate.common_name.iter().cloned().collect()
    } else {
        certificate.names.clone()
    }
}

fn names_match(certificate: &Certificate, wanted: &ServerName<'_>) -> bool {
    let wanted = wanted.to_str();
    names_held(certificate).iter().any(|held| name_matches(held, &wanted))
}

/// DNS names compare without case; a leading `*.` stands for exactly one label (RFC 6125, 6.4.3).
fn name_matches(held: &str, wanted: &str) -> bool {
    if let Ok(address) = wanted.parse::<std::net::IpAddr>() {
        return held.parse() == Ok(address);
    }
    let wanted = wanted.trim_end_matches('.');
    let held = held.trim_end_matches('.');
    match held.strip_prefix("*.") {
        Some(parent) => wanted
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent)),
        None => held.eq_ignore_ascii_case(wanted),
    }
}

/// Accepts every server and remembers what it presented: for looking at certificates, nothing else.
#[derive(Debug)]
pub(crate) struct Recorder {
    presented: Mutex<Vec<CertificateDer<'static>>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Recorder {
    pub(crate) fn new() -> Arc<Self> {
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        Arc::new(Self { presented: Mutex::default(), algorithms })
    }

    /// What the server presented, leaf first.
    pub(crate) fn presented(&self) -> Vec<CertificateDer<'static>> {
        self.presented.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain =
            std::iter::once(end_entity).chain(intermediates).map(|der| der.clone().into_owned()).collect();
        *self.presented.lock().unwrap_or_else(PoisonError::into_inner) = chain;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(&self.algorithms, message, cert, dss, false)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(&self.algorithms, message, cert, dss, true)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_as_rfc_6125_says() {
        for (held, wanted, matches) in [
            ("localhost", "LOCALHOST", true),
            ("*.example.com", "mqtt.example.com", true),
            ("*.example.com", "a.mqtt.example.com", false),
            ("*.example.com", "example.com", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("::1", "0:0:0:0:0:0:0:1", true),
            ("localhost", "127.0.0.1", false),
        ] {
            assert_eq!(name_matches(held, wanted), matches, "{held} {wanted}");
        }
    }
}
