//! What a device proves itself with: its key, its certificate, and the names ThingsBoard gives to them.

mod certificate;
mod credentials;
mod fingerprint;

pub use certificate::{Certificate, Issuer, Profile, Validity, read_certificates};
pub use credentials::{BasicCredentials, Credentials, CredentialsType, X509Identity};
pub use fingerprint::{credentials_id, sha256_hex};
