//! Where a key is kept, and how it is opened.

use std::sync::Arc;

use super::{Signer, SoftwareKey};
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::secret::Secret;

/// Where a device's private key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// Here, as bytes: PKCS#8 PEM, unencrypted.
    Bytes(Secret),
    /// In a token (a TPM, an HSM, a smart card), under this URI, whose query is never shown: it may hold a PIN (RFC 7512, 2.4).
    Token(Secret),
    /// In the device's own chip, which never shows it.
    OnChip,
}

/// The key behind `stored`. `origin` names the file or the device in errors.
///
/// # Errors
/// Those of [`SoftwareKey::from_pem`]; `file/unsupported-key` for a key that is not on this machine or that no
/// driver reaches.
pub fn open(stored: &Stored, origin: &str) -> Result<Arc<dyn Signer>> {
    let elsewhere =
        |message: String| Err(Error::new(ErrorCode::FileKeyType, message).hint(Hint::KeyElsewhere));
    match stored {
        Stored::Bytes(pem) => Ok(Arc::new(SoftwareKey::from_pem(pem.expose(), origin)?)),
        // What follows the path may be a PIN (RFC 7512, 2.4).
        Stored::Token(uri) => elsewhere(format!(
            "the key of {origin} is in a token ({}), and tbprov has no driver for tokens",
            uri.expose().split('?').next().unwrap_or_default()
        )),
        Stored::OnChip => elsewhere(format!(
            "the key of {origin} never leaves the device's own chip, so only the device itself can connect with it"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Exportable as _, KeyType};
    use super::*;

    #[test]
    fn a_key_in_bytes_opens_and_the_others_say_where_they_are() {
        let key = SoftwareKey::generate(KeyType::EcP256).unwrap();
        assert_eq!(open(&Stored::Bytes(key.to_pem()), "a").unwrap().public_key(), key.public_key());
        for (stored, says) in [
            (
                Stored::Token(Secret::new("pkcs11:object=a?pin-value=1234")),
                "the key of a is in a token (pkcs11:object=a)",
            ),
            (Stored::OnChip, "the key of a never leaves the device's own chip"),
        ] {
            let error = open(&stored, "a").unwrap_err();
            assert_eq!(error.code, ErrorCode::FileKeyType);
            assert!(error.message.starts_with(says), "{}", error.message);
        }
    }
}
