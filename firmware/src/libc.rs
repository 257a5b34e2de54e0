//! What Mbed TLS's archives want of a C library and nothing else brings along: the radio's library has these.
//!
//! Only Mbed TLS's self-tests, its debug output and its functions that describe a certificate in words print; none
//! of them is ever called.

use core::ffi::{c_char, c_int, c_void};

use tinyrlibc as _;

#[unsafe(no_mangle)]
extern "C" fn puts(_text: *const c_char) -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn printf(_format: *const c_char) -> c_int {
    0
}

/// # Safety
/// `out` has room for `size` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn snprintf(out: *mut c_char, size: usize, _format: *const c_char) -> c_int {
    // SAFETY: the caller's.
    unsafe { nothing(out, size) }
}

/// # Safety
/// `out` has room for `size` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn vsnprintf(
    out: *mut c_char,
    size: usize,
    _format: *const c_char,
    _arguments: *mut c_void,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { nothing(out, size) }
}

/// The empty text.
unsafe fn nothing(out: *mut c_char, size: usize) -> c_int {
    if size > 0 {
        // SAFETY: there is room for one byte.
        unsafe { out.write(0) };
    }
    0
}
