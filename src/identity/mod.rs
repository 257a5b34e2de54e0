//! What a device proves itself with: its key, its certificate, and the names ThingsBoard gives to them.

mod certificate;
mod credentials;
mod fingerprint;
mod issue;
mod public_key;
mod request;
mod signed;
mod validity;

pub use certificate::{Certificate, read_certificate_file, read_certificates, read_each};
pub(crate) use certificate::{public_key, validity};
pub use credentials::{BasicCredentials, Credentials, CredentialsType, SoftwareIdentity, X509Identity};
pub use fingerprint::{credentials_id, sha256_hex};
pub use issue::{Issue, Issued, LONGEST_COMMON_NAME, Profile, check_issuer, issue};
pub use public_key::PublicKeyKind;
pub use request::request;
pub use validity::Validity;
