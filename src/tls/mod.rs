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

/// In TLS 1.3, AES-128 is offered before AES-256. No practical attack on it is known. Many processors have instructions
/// for its hash (SHA-256), and none for that of AES-256 (SHA-384). The server decides.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aes_128_is_offered_first_and_nothing_is_left_out() {
        let mut offered: Vec<_> = provider().cipher_suites.iter().map(|suite| suite.suite()).collect();
        assert_eq!(offered[0], CipherSuite::TLS13_AES_128_GCM_SHA256);
        let all = rustls::crypto::aws_lc_rs::default_provider().cipher_suites;
        let mut all: Vec<_> = all.iter().map(|suite| suite.suite()).collect();
        offered.sort_by_key(|suite| u16::from(*suite));
        all.sort_by_key(|suite| u16::from(*suite));
        assert_eq!(offered, all);
    }
}
