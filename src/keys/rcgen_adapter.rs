//! A [`Signer`] as rcgen knows keys.

use super::{Scheme, Signer};
use crate::error::{Error, ErrorCode, Result};

/// A key as rcgen wants it: one that signs what rcgen writes.
pub(crate) struct CertificateKey<'a> {
    key: &'a dyn Signer,
    public: rcgen::SubjectPublicKeyInfo,
}

impl<'a> CertificateKey<'a> {
    pub(crate) fn new(key: &'a dyn Signer) -> Result<Self> {
        let public = rcgen::SubjectPublicKeyInfo::from_der(key.public_key())
            .map_err(|error| Error::new(ErrorCode::Bug, "the public key cannot be read").source(error))?;
        Ok(Self { key, public })
    }
}

impl rcgen::PublicKeyData for CertificateKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.public.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.public.algorithm()
    }
}

impl rcgen::SigningKey for CertificateKey<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        // rcgen's errors carry no cause.
        self.key
            .sign(Scheme::of_certificates(self.key.key_type()), message)
            .map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// The key of an issuer, for rcgen to write a certificate that it does not sign: the signature is empty.
pub(crate) struct UnsignedKey<'a>(pub(crate) CertificateKey<'a>);

impl rcgen::PublicKeyData for UnsignedKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl rcgen::SigningKey for UnsignedKey<'_> {
    fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(Vec::new())
    }
}
