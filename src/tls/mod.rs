//! The only maker of rustls client configurations. The server is always authenticated, and one
//! configuration serves one identity: a resumed TLS session would keep the identity of the session it
//! resumes, on ThingsBoard too.

mod failure;
mod trust;
mod verifier;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::CertificateDer;

pub(crate) use failure::translate;
pub use trust::{Trust, TrustSource};

use crate::error::{Error, ErrorCode, Result};
use crate::identity::X509Identity;
use crate::keys::tls_key;

/// A configuration that authenticates the server by `trust`, and presents `identity` where there is one,
/// whatever authorities the server names: ThingsBoard names just its own certificate's subject.
///
/// # Errors
/// When rustls can use no TLS version: a defect.
#[allow(clippy::disallowed_methods, reason = "the one place that may make a configuration")]
pub fn client_config(trust: &Trust, identity: Option<&X509Identity>) -> Result<rustls::ClientConfig> {
    let provider = provider();
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorCode::Bug, "no TLS version can be used").source(error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier::PinThenChain::new(trust, &provider)));
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified_key(identity))))
        }
    };
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// A configuration that accepts any server, to look at what it presents. Nothing may be sent over it.
#[allow(clippy::disallowed_methods, reason = "the one place that may make a configuration")]
pub(crate) fn inspecting_config(seen: Arc<verifier::Recorder>) -> Result<rustls::ClientConfig> {
    rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorCode::Bug, "no TLS version can be used").source(error))
        .map(|builder| builder.dangerous().with_custom_certificate_verifier(seen).with_no_client_auth())
}

pub(crate) use verifier::Recorder;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn certified_key(identity: &X509Identity) -> CertifiedKey {
    let chain: Vec<CertificateDer<'static>> = std::iter::once(&identity.leaf)
        .chain(&identity.intermediates)
        .map(|certificate| certificate.der().clone())
        .collect();
    CertifiedKey::new(chain, tls_key(Arc::clone(&identity.key)))
}
