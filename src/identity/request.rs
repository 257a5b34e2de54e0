//! A request for a certificate (PKCS#10, RFC 2986), for an authority that is elsewhere.

use super::issue::{is_signed, parameters};
use super::{Issue, Profile, Validity};
use crate::error::{Error, ErrorCode, Result};
use crate::keys::der::{content, split};
use crate::keys::{CertificateKey, Signer, pem};

/// The request, PEM, for a device called `name` with the key `key`. It asks for what [`issue`](super::issue()) gives a
/// device, and was checked against its key.
///
/// # Errors
/// Those of the key.
pub fn request(name: &str, key: &dyn Signer) -> Result<String> {
    let wanted = Issue { name, profile: &Profile::Device, validity: Validity::days(1), key, issuer: None };
    let mut parameters = parameters(&wanted, wanted.validity)?;
    // The authority chooses it.
    parameters.serial_number = None;
    let made = parameters.serialize_request(&CertificateKey::new(key)?).map_err(|error| {
        Error::new(ErrorCode::Bug, format!("the request could not be made: {error}")).source(error)
    })?;
    if !is_whole(made.der(), key) {
        let message = format!("the request that was made for '{name}' is wrong: its signature does not hold");
        return Err(Error::new(ErrorCode::Bug, message));
    }
    Ok(pem::encode("CERTIFICATE REQUEST", made.der()))
}

/// Whether the key signed the request.
fn is_whole(request: &[u8], key: &dyn Signer) -> bool {
    let parts = || {
        let (body, rest) = split(content(request)?)?;
        let (_algorithm, signature) = split(rest)?;
        // A bit string begins with the number of its unused bits.
        Some((body, content(signature)?.get(1..)?))
    };
    parts().is_some_and(|(body, signature)| is_signed(body, signature, key))
}
