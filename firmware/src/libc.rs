//! What Mbed TLS's archives want of a C library and nothing else brings along: neither a chip's ROM nor, where there
//! is one, the library of its radio.

#[cfg(feature = "virt")]
use tinyrlibc as _;

/// Only Mbed TLS's self-tests, its debug output and its functions that describe a certificate in words print; none
/// of them is ever called.
#[cfg(any(feature = "ethernet", feature = "virt"))]
mod printf {
    use core::ffi::{c_char, c_int, c_void};

    #[unsafe(no_mangle)]
    extern "C" fn printf(_format: *const c_char) -> c_int {
        0
    }

    #[unsafe(no_mangle)]
    extern "C" fn puts(_text: *const c_char) -> c_int {
        0
    }

    /// # Safety
    /// `buffer` has `size` bytes.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn snprintf(buffer: *mut c_char, size: usize, _format: *const c_char) -> c_int {
        // SAFETY: as the caller promises.
        unsafe { empty(buffer, size) }
    }

    /// # Safety
    /// `buffer` has `size` bytes.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn vsnprintf(
        buffer: *mut c_char,
        size: usize,
        _format: *const c_char,
        _arguments: *mut c_void,
    ) -> c_int {
        // SAFETY: as the caller promises.
        unsafe { empty(buffer, size) }
    }

    unsafe fn empty(buffer: *mut c_char, size: usize) -> c_int {
        if size > 0 {
            // SAFETY: the buffer has that one byte.
            unsafe { buffer.write(0) };
        }
        0
    }
}

/// The first `byte` in the `size` bytes at `memory`, or null.
///
/// # Safety
/// `memory` has `size` bytes, unless the byte comes before its end.
#[cfg(any(feature = "esp32c2", feature = "esp32c6"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn memchr(memory: *const u8, byte: core::ffi::c_int, size: usize) -> *const u8 {
    let byte = byte as u8; // As C does.
    (0..size)
        .map(|offset| memory.wrapping_add(offset))
        // SAFETY: as the caller promises; nothing behind the byte is read.
        .find(|here| unsafe { here.read() } == byte)
        .unwrap_or(core::ptr::null())
}
