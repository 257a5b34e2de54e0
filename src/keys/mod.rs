//! Private keys: what they are ([`KeyType`]), what they do ([`Signer`]), where they are ([`Stored`]).
//!
//! Everything that signs does so through [`Signer`], so that a key in hardware is one more implementation and no
//! change elsewhere. rcgen and rustls meet it in two adapters. What has to write a key down asks for an
//! [`Exportable`] one by type.

pub(crate) mod der;
mod encrypted;
mod generator;
mod key_type;
pub mod pem;
mod public;
mod rcgen_adapter;
mod recognise;
mod rustls_adapter;
mod signer;
mod software;
mod stored;

pub use key_type::KeyType;
pub(crate) use public::is_same_key;
pub(crate) use rcgen_adapter::{CertificateKey, UnsignedKey};
pub(crate) use recognise::recognise;
pub use rustls_adapter::tls_key;
pub use signer::{Exportable, Scheme, Signer};
pub use software::SoftwareKey;
pub use stored::{Stored, open};
