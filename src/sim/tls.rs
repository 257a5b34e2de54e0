//! The server side of TLS: its identity, and the verifier that wants client certificates and takes any.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{self, CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::registry::Registry;
use super::release::Release;
use super::server_identity::ServerIdentity;
use crate::error::{Error, ErrorCode, Result};
use crate::identity::{Certificate, credentials_id, public_key as key_of};
use crate::keys::tls_key;
use crate::tls::verify_signature;

/// How many sessions may be resumed; a test's worth, not a fleet's.
const SESSIONS: usize = 256;

/// TLS 1.2 and 1.3 for the REST API, which wants no client certificate.
pub(super) fn rest_config(identity: &ServerIdentity) -> Result<ServerConfig> {
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified(identity))));
    Ok(config)
}

fn certified(identity: &ServerIdentity) -> CertifiedKey {
    let chain = identity.chain.iter().map(|certificate| certificate.der().clone()).collect();
    CertifiedKey::new(chain, tls_key(Arc::clone(&identity.key)))
}

/// TLS 1.2 and 1.3, a client certificate wanted and not needed, as `MqttSslHandlerProvider` sets it up.
pub(super) fn server_config(
    identity: &ServerIdentity,
    release: Release,
    registry: &Arc<Mutex<Registry>>,
) -> Result<ServerConfig> {
    let leaf = identity.chain.first().ok_or_else(no_certificate)?;
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let verifier = Verifier::new(leaf, &provider, release, registry)?;
    // Not by rustls' keys_match, which cannot read version 1 certificates.
    if !leaf.is_for(&*identity.key) {
        let message = "the simulator's certificate belongs to another private key";
        return Err(Error::new(ErrorCode::FileMismatch, message));
    }
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error.to_string()))?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified(identity))));
    // Resumption is left on where the release has it: clients that share a session cache between
    // identities then meet the real server's trap, the identity of the original session.
    config.session_storage = match release.resumes_tls_sessions() {
        true => ServerSessionMemoryCache::new(SESSIONS),
        false => Arc::new(NoServerSessionStorage {}),
    };
    Ok(config)
}

pub(super) fn no_certificate() -> Error {
    unusable("there is none")
}

fn unusable(why: &str) -> Error {
    Error::new(ErrorCode::FileCertificate, format!("the simulator's certificate cannot be used: {why}"))
}

/// Accepts every client certificate whose key signs the handshake. Up to 3.4 it must also be known.
#[derive(Debug)]
struct Verifier {
    algorithms: WebPkiSupportedAlgorithms,
    /// ThingsBoard's trust store is its key store: it names the subject of its own certificate.
    hints: Vec<DistinguishedName>,
    /// The devices, where an unknown certificate is refused during TLS.
    known: Option<Arc<Mutex<Registry>>>,
    checks_chain_order: bool,
}

impl Verifier {
    fn new(
        leaf: &Certificate,
        provider: &CryptoProvider,
        release: Release,
        registry: &Arc<Mutex<Registry>>,
    ) -> Result<Self> {
        let (_, parsed) =
            X509Certificate::from_der(leaf.der()).map_err(|error| unusable(&error.to_string()))?;
        Ok(Self {
            algorithms: provider.signature_verification_algorithms,
            hints: vec![DistinguishedName::from(parsed.subject().as_raw().to_vec())],
            known: release.refuses_unknown_certificate_in_tls().then(|| Arc::clone(registry)),
            checks_chain_order: release.checks_chain_order(),
        })
    }

    /// Whether any certificate of the chain is a device's (`checkClientTrusted`, v3.4).
    fn is_known(registry: &Mutex<Registry>, chain: &[&CertificateDer<'_>]) -> bool {
        let registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
        chain.iter().any(|der| registry.with_certificate(&credentials_id(der)).is_some())
    }

    /// Fails unless the key of `issuer` signed `certificate`, by whatever algorithm fits.
    fn check_signed(
        &self,
        certificate: &CertificateDer<'_>,
        issuer: &CertificateDer<'_>,
    ) -> Result<(), rustls::Error> {
        let wrong = || other("the chain is not in order: a certificate is not signed by the next");
        let key = public_key(issuer)?;
        let key = webpki::RawPublicKeyEntity::try_from(&key).map_err(|_| wrong())?;
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| wrong())?;
        let (message, signature) = (parsed.tbs_certificate.as_ref(), &parsed.signature_value.data);
        let valid = |algorithm: &&'static dyn rustls_pki_types::SignatureVerificationAlgorithm| {
            key.verify_signature(*algorithm, message, signature).is_ok()
        };
        self.algorithms.all.iter().any(valid).then_some(()).ok_or_else(wrong)
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).collect();
        // `Other` is sent as the alert certificate_unknown (46), which is what ThingsBoard sends.
        if self.known.as_ref().is_some_and(|registry| !Self::is_known(registry, &chain)) {
            return Err(other("no device has this certificate"));
        }
        if self.checks_chain_order {
            for pair in chain.windows(2) {
                self.check_signed(pair[0], pair[1])?;
            }
        }
        public_key(end_entity).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(&self.algorithms, message, key_of(certificate), signed, false)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(&self.algorithms, message, key_of(certificate), signed, true)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The certificate's key alone: webpki itself would refuse version 1 certificates, which Java takes.
fn public_key<'a>(certificate: &'a CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'a>, rustls::Error> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
    Ok(SubjectPublicKeyInfoDer::from(parsed.tbs_certificate.subject_pki.raw))
}

fn other(why: &'static str) -> rustls::Error {
    let why: Box<dyn std::error::Error + Send + Sync> = why.into();
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::from(why))))
}
