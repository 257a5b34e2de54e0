//! What the connections to one server have in common, made once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;

use super::trust::Trust;
use super::verifier::{PinThenChain, Recorder};
use super::witness::Witness;
use crate::error::{Error, ErrorCode, Result};
use crate::identity::X509Identity;
use crate::keys::tls_key;

/// Identities whose keys are kept ready: those of a run with many devices come one after the other.
const KEPT_IDENTITIES: usize = 64;

/// Makes the configuration of every connection to one server: the verifier and each identity's key are prepared once,
/// and a connection gets a copy with a witness of its own.
#[derive(Debug, Default)]
pub(crate) struct Prepared(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    server: Option<Authentication>,
    identities: VecDeque<Arc<CertifiedKey>>,
}

/// How the server is authenticated.
#[derive(Debug, Clone)]
struct Authentication {
    trust: Arc<Trust>,
    verifier: Arc<dyn ServerCertVerifier>,
    config: ClientConfig,
}

impl Prepared {
    /// A configuration for one connection: it authenticates the server by `trust`, and presents `identity` where
    /// there is one.
    ///
    /// # Errors
    /// When rustls can use no TLS version: a defect.
    pub(crate) fn connection(
        &self,
        trust: &Arc<Trust>,
        identity: Option<&X509Identity>,
    ) -> Result<(Arc<ClientConfig>, Arc<Witness>)> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Authentication { verifier, mut config, .. } = kept.authentication(trust)?;
        let certified = identity.map(|identity| kept.certified(identity));
        drop(kept);
        let witness = Arc::new(Witness::new(verifier, certified));
        let as_verifier: Arc<dyn ServerCertVerifier> = Arc::<Witness>::clone(&witness);
        config.dangerous().set_certificate_verifier(as_verifier);
        config.client_auth_cert_resolver = Arc::<Witness>::clone(&witness);
        Ok((Arc::new(config), witness))
    }
}

impl Kept {
    fn authentication(&mut self, trust: &Arc<Trust>) -> Result<Authentication> {
        if let Some(made) = self.server.as_ref().filter(|made| Arc::ptr_eq(&made.trust, trust)) {
            return Ok(made.clone());
        }
        let provider = super::provider();
        let verifier: Arc<dyn ServerCertVerifier> = Arc::new(PinThenChain::new(trust, &provider));
        let config = base(provider, Arc::clone(&verifier))?;
        let made = Authentication { trust: Arc::clone(trust), verifier, config };
        Ok(self.server.insert(made).clone())
    }

    fn certified(&mut self, identity: &X509Identity) -> Arc<CertifiedKey> {
        let kept = self.identities.iter().find(|kept| kept.cert.iter().eq(chain(identity)));
        if let Some(kept) = kept {
            return Arc::clone(kept);
        }
        let certificates = chain(identity).cloned().collect();
        let made = Arc::new(CertifiedKey::new(certificates, tls_key(Arc::clone(&identity.key))));
        self.identities.truncate(KEPT_IDENTITIES - 1);
        self.identities.push_front(Arc::clone(&made));
        made
    }
}

fn chain(identity: &X509Identity) -> impl Iterator<Item = &CertificateDer<'static>> {
    std::iter::once(&identity.leaf).chain(&identity.intermediates).map(|certificate| certificate.der())
}

/// A configuration that accepts any server, to look at what it presents. Nothing may be sent over it.
pub(crate) fn inspecting(seen: Arc<Recorder>) -> Result<Arc<ClientConfig>> {
    base(super::provider(), seen).map(Arc::new)
}

#[allow(clippy::disallowed_methods, reason = "the one place that may make a configuration")]
fn base(
    provider: Arc<rustls::crypto::CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorCode::Bug, "no TLS version can be used").source(error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}
