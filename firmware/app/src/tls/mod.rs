//! Mutual TLS 1.2 and 1.3 by Mbed TLS.

#[cfg(feature = "mbedtls")]
mod hooks;
#[cfg(feature = "mbedtls")]
mod stream;
#[cfg(any(feature = "mbedtls", test))]
mod verdict;

#[cfg(feature = "mbedtls")]
pub(crate) use stream::{Stream, Tls};
