//! Server authentication: the exact certificate first, then the chain.

use std::sync::atomic::{AtomicBool, Ordering};
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

use super::distrust::Presented;
use super::failure::TrustFailure;
use super::trust::{Anchors, Trust, TrustSource};
use crate::identity::{Certificate, Validity, public_key};

/// Verifies a server in this order:
///
/// 1. The presented leaf equals, byte for byte, a certificate of the file: its dates are checked, then its
///    name (subjectAltName where it has one, else the common name). This is what makes
///    `openssl req -x509 -subj /CN=localhost` work, which webpki refuses (an authority as a leaf, no names).
/// 2. Otherwise the chain to a trust anchor, the dates of the anchor included, then the name.
///
/// The handshake's signature is verified in both cases.
#[derive(Debug)]
pub(super) struct PinThenChain {
    pins: Vec<Certificate>,
    source: TrustSource,
    anchors: Anchors,
    skip_name_check: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinThenChain {
    pub(super) fn new(trust: &Trust, provider: &CryptoProvider) -> Self {
        Self {
            pins: trust.certificates.clone(),
            source: trust.source.clone(),
            anchors: trust.anchors.clone(),
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
        out_of_date(pin, SERVERS_OWN, instant(now)).map_or(Ok(()), Err)?;
        if !self.skip_name_check && !names_match(pin, name) {
            return Err(TrustFailure::Name(other_name(pin, name)));
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
        let parsed = ParsedCertificate::try_from(leaf).map_err(|_| unreadable(leaf))?;
        let ends_in = |roots: &RootCertStore| {
            verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, self.algorithms.all)
        };
        if let Err(why) = ends_in(&self.anchors.valid_at(instant(now))) {
            let expired = self.anchors.out_of_date(instant(now)).find(|one| ends_in(&one.alone()).is_ok());
            return Err(match expired {
                Some(authority) => self.authority_out_of_date(&authority.certificate, instant(now)),
                None => self.chain_failed(&why, leaf, intermediates, instant(now)),
            });
        }
        if self.skip_name_check || verify_server_name(&parsed, name).is_ok() {
            return Ok(());
        }
        Err(match summary(leaf) {
            Some(leaf) if !leaf.names.iter().any(|held| name_matches(held, &name.to_str())) => {
                unnamed(&leaf, name)
            }
            Some(leaf) => TrustFailure::Form(in_another_form(&leaf, name)),
            None => TrustFailure::Unreadable,
        })
    }

    fn authority_out_of_date(&self, authority: &Certificate, now: OffsetDateTime) -> TrustFailure {
        let whose = match &self.source {
            TrustSource::File(path) => {
                format!("the authority '{}' in {}", authority.subject, crate::text::shown_path(path))
            }
            TrustSource::System => format!("the authority '{}'", authority.subject),
        };
        out_of_date(authority, &whose, now).unwrap_or(TrustFailure::Unreadable)
    }

    /// Why there is no chain to an anchor. The dates may be those of an authority on the way.
    fn chain_failed(
        &self,
        why: &rustls::Error,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: OffsetDateTime,
    ) -> TrustFailure {
        let Some(own) = summary(leaf) else { return TrustFailure::Unreadable };
        let above: Vec<Certificate> = intermediates.iter().filter_map(summary).collect();
        if is_about_dates(why) {
            let above = above.iter().find_map(|authority| {
                out_of_date(authority, &format!("the authority '{}' of its chain", authority.subject), now)
            });
            if let Some(failure) = out_of_date(&own, SERVERS_OWN, now).or(above) {
                return failure;
            }
        }
        TrustFailure::Untrusted {
            reason: Presented::new(&own, above, &self.anchors).reason(why, &self.source),
            sha256: own.sha256(),
            subject: own.subject,
        }
    }

    fn verify_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
        first_only: bool,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let pinned = self.pinned(certificate).map(|pin| &*pin.public_key);
        let key = pinned.or_else(|| public_key(certificate));
        verify_signature(&self.algorithms, message, key, signed, first_only)
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

/// Verifies a handshake's signature with the bare public key, so that version 1 certificates, which webpki does not parse,
/// work too. No key is that of a certificate that cannot be read.
pub(crate) fn verify_signature(
    algorithms: &WebPkiSupportedAlgorithms,
    message: &[u8],
    public_key: Option<&[u8]>,
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
    let public_key = public_key.ok_or_else(|| bad(CertificateError::BadEncoding))?;
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

/// Version 1 is what webpki does not read, and people have.
fn unreadable(leaf: &CertificateDer<'_>) -> TrustFailure {
    match summary(leaf) {
        Some(leaf) if leaf.version == 1 => TrustFailure::Version1,
        _ => TrustFailure::Unreadable,
    }
}

/// A certificate that is for other hosts.
fn other_name(certificate: &Certificate, wanted: &ServerName<'_>) -> String {
    let held = names_held(certificate);
    let held = if held.is_empty() { "no name at all".to_owned() } else { held.join(", ") };
    format!("the server's certificate is for {held}, not for {}", wanted.to_str())
}

/// A certificate of an authority that does not name `wanted` where names of hosts count (RFC 6125 6.4.4: the common
/// name counts no more).
fn unnamed(leaf: &Certificate, wanted: &ServerName<'_>) -> TrustFailure {
    if !leaf.names.is_empty() {
        return TrustFailure::Name(other_name(leaf, wanted));
    }
    let common_name = match &leaf.common_name {
        Some(name) => format!("; its common name '{name}' does not count"),
        None => String::new(),
    };
    TrustFailure::Form(format!(
        "the server's certificate names no host: an authority's certificates name hosts in subjectAltName, and it has \
         none there{common_name}"
    ))
}

/// An address as a DNS name, or the other way round.
fn in_another_form(leaf: &Certificate, wanted: &ServerName<'_>) -> String {
    let held = leaf.names.join(", ");
    let (is, should) = match wanted {
        ServerName::IpAddress(_) => ("a DNS name", "an IP address"),
        _ => ("in a form that does not count", "a DNS name"),
    };
    format!(
        "the server's certificate has {} in its subjectAltName as {is}, and it has to be there as {should} (it holds: {held})",
        wanted.to_str()
    )
}

/// How messages call the leaf.
const SERVERS_OWN: &str = "the server's certificate";

fn out_of_date(certificate: &Certificate, whose: &str, now: OffsetDateTime) -> Option<TrustFailure> {
    let Validity { not_before, not_after } = certificate.validity;
    let whose = whose.to_owned();
    if now < not_before {
        return Some(TrustFailure::NotYetValid { whose, from: not_before });
    }
    (now > not_after).then_some(TrustFailure::Expired { whose, on: not_after })
}

fn is_about_dates(why: &rustls::Error) -> bool {
    use CertificateError as Why;
    matches!(
        why,
        rustls::Error::InvalidCertificate(
            Why::Expired | Why::ExpiredContext { .. } | Why::NotValidYet | Why::NotValidYetContext { .. }
        )
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

/// Accepts every server and remembers what it presented, and whether it proved that it has the key: for looking at
/// certificates, nothing else.
#[derive(Debug)]
pub(crate) struct Recorder {
    presented: Mutex<Vec<CertificateDer<'static>>>,
    proved: AtomicBool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Recorder {
    pub(crate) fn new() -> Arc<Self> {
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        Arc::new(Self { presented: Mutex::default(), proved: AtomicBool::new(false), algorithms })
    }

    /// What the server presented, leaf first.
    pub(crate) fn presented(&self) -> Vec<CertificateDer<'static>> {
        self.presented.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the signature of the handshake was verified with the leaf's key.
    pub(crate) fn is_proved(&self) -> bool {
        self.proved.load(Ordering::SeqCst)
    }

    fn note(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
        tls13: bool,
    ) -> HandshakeSignatureValid {
        let key = public_key(certificate);
        let verified = verify_signature(&self.algorithms, message, key, signed, tls13).is_ok();
        self.proved.store(verified, Ordering::SeqCst);
        HandshakeSignatureValid::assertion()
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
        Ok(self.note(message, cert, dss, false))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(self.note(message, cert, dss, true))
    }

    /// With those that nobody should use any more: the server is looked at all the same.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.algorithms.supported_schemes();
        schemes.extend([SignatureScheme::RSA_PKCS1_SHA1, SignatureScheme::ECDSA_SHA1_Legacy]);
        schemes
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
