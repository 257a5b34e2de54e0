//! The only maker of rustls client configurations. The server is always authenticated, and no session is ever
//! resumed: a resumed TLS session would keep the identity of the session it resumes, on ThingsBoard too.

mod distrust;
mod failure;
mod prepared;
mod trust;
mod verifier;
mod witness;

use std::sync::Arc;

use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;

pub(crate) use failure::translate;
pub(crate) use prepared::{Prepared, inspecting};
pub use trust::{SOON, Trust, TrustSource};
pub(crate) use verifier::{Recorder, verify_signature};
pub use witness::ClientCertificate;

/// AES-128 is asked for before AES-256: it is as good against all that is known, and processors have instructions for
/// its hash, SHA-256, which many lack for SHA-384. A server decides.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}
