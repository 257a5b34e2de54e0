//! Certificates put together in DER. rcgen repeats of an issuer's name only what it understands, so it writes the
//! certificate and the name is put into it here, byte for byte.

use crate::error::{Error, ErrorCode, Result};
use crate::keys::der::{BIT_STRING, SEQUENCE, content, element, split};
use crate::keys::{Scheme, Signer};

/// The certificate `written` under the issuer's name `issuer` (Name, DER), signed with the issuer's key. Its own
/// signature and its own issuer's name do not matter (RFC 5280, section 4.1).
///
/// # Errors
/// `internal/bug` when `written` is no certificate; those of the key.
pub(super) fn signed(written: &[u8], issuer: &[u8], key: &dyn Signer) -> Result<Vec<u8>> {
    let not_as_expected = || Error::new(ErrorCode::Bug, "a certificate was not written as expected");
    let (body, algorithm) = body_under(written, issuer).ok_or_else(not_as_expected)?;
    let signature = key.sign(Scheme::of_certificates(key.key_type()), &body)?;
    // A bit string begins with the number of its unused bits.
    let signature = element(BIT_STRING, &[&[0], &signature]);
    Ok(element(SEQUENCE, &[&body, algorithm, &signature]))
}

/// What is signed of `certificate` (TBSCertificate) with another issuer's name, and the signature's algorithm.
fn body_under<'a>(certificate: &'a [u8], issuer: &[u8]) -> Option<(Vec<u8>, &'a [u8])> {
    let (body, _) = split(content(certificate)?)?;
    let fields = content(body)?;
    let (_version, rest) = split(fields)?;
    let (_serial, rest) = split(rest)?;
    let (algorithm, from_issuer) = split(rest)?;
    let (_issuer, after) = split(from_issuer)?;
    let before = fields.get(..fields.len().checked_sub(from_issuer.len())?)?;
    Some((element(SEQUENCE, &[before, issuer, after]), algorithm))
}
