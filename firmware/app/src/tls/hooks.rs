//! What `mbedtls-rs` keeps to itself, taken from Mbed TLS by standing in front of two of its functions: the linker's
//! `--wrap=NAME` (see the firmware's `build.rs`) sends calls of `NAME` to `__wrap_NAME` here and gives us the original
//! as `__real_NAME`. Without the linker's argument the firmware does not link.
//!
//! - The validity dates of the server's certificates. The library that `mbedtls-rs` ships is built without them
//!   (`MBEDTLS_HAVE_TIME_DATE`), and building another takes a C compiler that users do not have. The check is put
//!   where Mbed TLS has its own: among the flags of each certificate of the chain that it has verified.
//! - The alert that the server sent, which tells who refuses whom.

use core::ffi::{c_char, c_int, c_void};
use core::hint::black_box;
use core::sync::atomic::{AtomicU8, Ordering};

use mbedtls_rs::sys::{
    mbedtls_ssl_context, mbedtls_x509_crl, mbedtls_x509_crt, mbedtls_x509_crt_profile,
    mbedtls_x509_crt_restart_ctx, mbedtls_x509_time,
};

use crate::clock::{self, Date};
use crate::tls::verdict::flag;

/// Mbed TLS's callback for a certificate of the chain: its own context, the certificate, its distance from the
/// server's own, and what is wrong with it.
type Verify = unsafe extern "C" fn(*mut c_void, *mut mbedtls_x509_crt, c_int, *mut u32) -> c_int;

#[allow(improper_ctypes)] // The structures are Mbed TLS's own, which only it looks into.
unsafe extern "C" {
    fn __real_mbedtls_x509_crt_verify_restartable(
        certificate: *mut mbedtls_x509_crt,
        trusted: *mut mbedtls_x509_crt,
        revoked: *mut mbedtls_x509_crl,
        profile: *const mbedtls_x509_crt_profile,
        name: *const c_char,
        flags: *mut u32,
        verify: Option<Verify>,
        context: *mut c_void,
        restart: *mut mbedtls_x509_crt_restart_ctx,
    ) -> c_int;

    fn __real_mbedtls_ssl_get_verify_result(ssl: *const mbedtls_ssl_context) -> u32;
}

/// Refers to the originals from code that runs: without `--wrap` there are none, and the firmware does not link
/// instead of checking no dates.
pub(super) fn need_wrapping() {
    black_box(__real_mbedtls_x509_crt_verify_restartable as *const ());
    black_box(__real_mbedtls_ssl_get_verify_result as *const ());
}

/// The callback and its context that were there before ours.
struct Next {
    verify: Option<Verify>,
    context: *mut c_void,
}

/// Verifies a chain as Mbed TLS does, dates included.
///
/// # Safety
/// That of `mbedtls_x509_crt_verify_restartable`, whose only caller is Mbed TLS.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_mbedtls_x509_crt_verify_restartable(
    certificate: *mut mbedtls_x509_crt,
    trusted: *mut mbedtls_x509_crt,
    revoked: *mut mbedtls_x509_crl,
    profile: *const mbedtls_x509_crt_profile,
    name: *const c_char,
    flags: *mut u32,
    verify: Option<Verify>,
    context: *mut c_void,
    restart: *mut mbedtls_x509_crt_restart_ctx,
) -> c_int {
    let mut next = Next { verify, context };
    // SAFETY: all arguments but the callback are the caller's own. The callback's context is used until the call
    // returns: a verification that is continued later is not built in (MBEDTLS_ECP_RESTARTABLE).
    unsafe {
        __real_mbedtls_x509_crt_verify_restartable(
            certificate,
            trusted,
            revoked,
            profile,
            name,
            flags,
            Some(check_dates),
            (&raw mut next).cast(),
            restart,
        )
    }
}

/// Adds what the clock says about one certificate to its flags, then asks the callback that was there before.
unsafe extern "C" fn check_dates(
    next: *mut c_void,
    certificate: *mut mbedtls_x509_crt,
    depth: c_int,
    flags: *mut u32,
) -> c_int {
    // SAFETY: `next` is what `__wrap_mbedtls_x509_crt_verify_restartable` passed. Mbed TLS gives a certificate and
    // flags that live through the call and that nothing else refers to.
    unsafe {
        *flags |= out_of_date(&(*certificate).valid_from, &(*certificate).valid_to);
        let next = &*next.cast::<Next>();
        next.verify.map_or(0, |verify| verify(next.context, certificate, depth, flags))
    }
}

fn out_of_date(from: &mbedtls_x509_time, to: &mbedtls_x509_time) -> u32 {
    let Some(now) = clock::now().map(i64::from) else { return 0 };
    if date(to).unix() < now {
        return flag::EXPIRED;
    }
    if date(from).unix() > now { flag::FUTURE } else { 0 }
}

fn date(time: &mbedtls_x509_time) -> Date {
    let mbedtls_x509_time { year, mon: month, day, hour, min: minute, sec: second, .. } = *time;
    Date { year, month, day, hour, minute, second }
}

/// The alert in the message that was received last, or 255, which is none.
static ALERT: AtomicU8 = AtomicU8::new(NO_ALERT);
const NO_ALERT: u8 = 255;

/// The alert of the session whose verification result was asked for last, if its last message was one.
pub(super) fn last_alert() -> Option<u8> {
    Some(ALERT.load(Ordering::Relaxed)).filter(|alert| *alert != NO_ALERT)
}

/// Takes a look at the session that `mbedtls-rs` asks about, then answers as Mbed TLS does.
///
/// # Safety
/// That of `mbedtls_ssl_get_verify_result`: `ssl` is a session that was set up.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_mbedtls_ssl_get_verify_result(ssl: *const mbedtls_ssl_context) -> u32 {
    // SAFETY: `ssl` is a session that was set up, so its message, where there is one, points into its input buffer,
    // which has room for an alert's two bytes (level and description) whatever was received.
    let alert = unsafe {
        let message = (*ssl).private_in_msg;
        let is_alert = (*ssl).private_in_msgtype == ALERT_MESSAGE && !message.is_null();
        if is_alert { *message.add(1) } else { NO_ALERT }
    };
    ALERT.store(alert, Ordering::Relaxed);
    // SAFETY: as above.
    unsafe { __real_mbedtls_ssl_get_verify_result(ssl) }
}

/// `MBEDTLS_SSL_MSG_ALERT`: a record of alerts (RFC 8446, section 5.1).
const ALERT_MESSAGE: c_int = 21;
