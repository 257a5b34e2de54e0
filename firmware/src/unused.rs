//! Parts of Mbed TLS that this firmware never gets to, but that its archives refer to and would put into the image:
//! the server's side of the handshake is 25 KB. The linker's `--wrap=NAME` (see `build.rs`) sends calls of `NAME` here.

use core::ffi::{c_int, c_void};

/// `MBEDTLS_ERR_SSL_INTERNAL_ERROR`.
const INTERNAL_ERROR: c_int = -0x6C00;

/// A step of a server's handshake with TLS 1.2.
#[unsafe(no_mangle)]
extern "C" fn __wrap_mbedtls_ssl_handshake_server_step(_session: *mut c_void) -> c_int {
    INTERNAL_ERROR
}

/// A step of a server's handshake with TLS 1.3.
#[unsafe(no_mangle)]
extern "C" fn __wrap_mbedtls_ssl_tls13_handshake_server_step(_session: *mut c_void) -> c_int {
    INTERNAL_ERROR
}
