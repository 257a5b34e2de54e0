//! What happened during one handshake, seen by the verifier and the resolver of that connection alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// What became of the client certificate on one connection. Only a server that was authenticated counts as having
/// asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientCertificate {
    /// The server did not ask for one, or nothing authenticated it.
    #[default]
    NotAsked,
    /// The server asked, and there was none that it could have taken.
    NotPresented,
    /// The server asked, and it was presented.
    Presented,
}

impl ClientCertificate {
    /// Whether the server asked for it.
    pub fn was_asked(self) -> bool {
        self != Self::NotAsked
    }

    /// Whether the server got it.
    pub fn was_presented(self) -> bool {
        self == Self::Presented
    }
}

/// Decides as the shared verifier and presents the shared certificate, and remembers both.
#[derive(Debug)]
pub(crate) struct Witness {
    verifier: Arc<dyn ServerCertVerifier>,
    certified: Option<Arc<CertifiedKey>>,
    believed: AtomicBool,
    signed: AtomicBool,
    asked: AtomicBool,
    presentable: AtomicBool,
}

impl Witness {
    pub(super) fn new(verifier: Arc<dyn ServerCertVerifier>, certified: Option<Arc<CertifiedKey>>) -> Self {
        Self {
            verifier,
            certified,
            believed: AtomicBool::new(false),
            signed: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            presentable: AtomicBool::new(false),
        }
    }

    /// What became of the client certificate so far. In TLS 1.2 the server asks before it is authenticated, and is
    /// told the certificate afterwards; anybody else on the way could have asked too.
    pub(crate) fn client_certificate(&self) -> ClientCertificate {
        let authenticated = is_set(&self.believed) && is_set(&self.signed);
        match (authenticated && is_set(&self.asked), is_set(&self.presentable)) {
            (false, _) => ClientCertificate::NotAsked,
            (true, false) => ClientCertificate::NotPresented,
            (true, true) => ClientCertificate::Presented,
        }
    }

    fn signature(
        &self,
        checked: Result<HandshakeSignatureValid, rustls::Error>,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        checked.inspect(|_| set(&self.signed))
    }
}

fn is_set(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Acquire)
}

fn set(flag: &AtomicBool) {
    flag.store(true, Ordering::Release);
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verifier
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .inspect(|_| set(&self.believed))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature(self.verifier.verify_tls12_signature(message, cert, dss))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature(self.verifier.verify_tls13_signature(message, cert, dss))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

impl ResolvesClientCert for Witness {
    /// The certificate, whatever authorities the server names: ThingsBoard names just its own certificate's subject.
    fn resolve(&self, _authorities: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        set(&self.asked);
        // rustls presents nothing where the key has no scheme in common with the server.
        let certified = self.certified.as_ref().filter(|own| own.key.choose_scheme(schemes).is_some())?;
        set(&self.presentable);
        Some(Arc::clone(certified))
    }

    fn has_certs(&self) -> bool {
        self.certified.is_some()
    }
}
