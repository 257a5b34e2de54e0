//! The only maker of rustls client configurations. The server is always authenticated, and no session is ever
//! resumed: a resumed TLS session would keep the identity of the session it resumes, on ThingsBoard too.

mod distrust;
mod failure;
mod prepared;
mod trust;
mod verifier;
mod witness;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub(crate) use failure::translate;
pub(crate) use prepared::{Prepared, inspecting};
pub use trust::{SOON, Trust, TrustSource};
pub(crate) use verifier::{Recorder, verify_signature};
pub use witness::ClientCertificate;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
