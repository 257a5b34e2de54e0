//! What Mbed TLS's errors mean, in words. Its numbers are part of its interface and are compared with its own when
//! it is there (see `tls`), so that this is tested where it is not.

use alloc::format;
use alloc::string::String;

use tbprov_contract::report::Trouble;

use crate::fault::Fault;

/// `MBEDTLS_X509_BADCERT_*`: what is wrong with the server's certificate.
pub(crate) mod flag {
    pub(crate) const EXPIRED: u32 = 0x01;
    pub(crate) const NAME_MISMATCH: u32 = 0x04;
    pub(crate) const FUTURE: u32 = 0x0200;
    /// There was no verification yet.
    pub(crate) const NONE: u32 = u32::MAX;
}

/// `MBEDTLS_ERR_*`.
pub(crate) mod code {
    pub(crate) const CERTIFICATE_REFUSED: i32 = -0x2700;
    pub(crate) const FATAL_ALERT: i32 = -0x7780;
    /// A handshake message is larger than the library's buffer of 16 KiB.
    pub(crate) const TOO_LARGE: i32 = -0x7100;
    /// A chain has more intermediate certificates than the library follows (8).
    pub(crate) const CHAIN_TOO_LONG: i32 = -0x3000;
    /// What was received is no TLS record.
    pub(crate) const INVALID_RECORD: i32 = -0x7200;
    /// The library's parts each have their own number for this.
    pub(crate) const OUT_OF_MEMORY: [i32; 10] =
        [-0x10, -0x6A, -0x8D, -0x1180, -0x2880, -0x3F80, -0x4D80, -0x5180, -0x6180, -0x7F00];
}

/// How a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Mbed TLS's error.
    pub(crate) code: i32,
    /// What it found wrong with the server's certificate.
    pub(crate) flags: u32,
    /// The alert that the server sent last (RFC 8446, section 6.2).
    pub(crate) alert: Option<u8>,
}

/// What a failure of the handshake is.
pub(crate) fn handshake(failure: Failure) -> Fault {
    match failure.code {
        code::CERTIFICATE_REFUSED if failure.flags != flag::NONE => certificate(failure.flags),
        code::FATAL_ALERT => alert(failure.alert, Trouble::Handshake),
        code::TOO_LARGE => Fault::new(
            Trouble::Handshake,
            "a message of the server's is larger than 16 KiB: its chain is too large",
        ),
        code::CHAIN_TOO_LONG => {
            Fault::new(Trouble::Untrusted, "the server's chain has more than 8 intermediates")
        }
        code::INVALID_RECORD => Fault::new(Trouble::Handshake, "the server does not speak TLS on this port"),
        code if code::OUT_OF_MEMORY.contains(&code) => out_of_memory(code),
        code => Fault::new(Trouble::Handshake, format!("the TLS handshake failed (Mbed TLS {})", hex(code))),
    }
}

/// What a failure of a connection is whose handshake has succeeded. With TLS 1.3 that is also how the server says
/// that it refuses our certificate: it sees it last.
pub(crate) fn established(failure: Failure) -> Fault {
    match failure.code {
        code::FATAL_ALERT => alert(failure.alert, Trouble::Closed),
        code if code::OUT_OF_MEMORY.contains(&code) => out_of_memory(code),
        code => Fault::new(Trouble::Protocol, format!("TLS data cannot be read (Mbed TLS {})", hex(code))),
    }
}

/// What is wrong with the server's certificate, the gravest first: the dates of a certificate that nobody vouches
/// for say nothing.
fn certificate(flags: u32) -> Fault {
    const OTHERS: u32 = !(flag::EXPIRED | flag::FUTURE | flag::NAME_MISMATCH);
    if flags & OTHERS != 0 {
        let words = format!(
            "the server's certificate is not the one to believe, nor issued by it (flags {flags:#x})"
        );
        return Fault::new(Trouble::Untrusted, words);
    }
    if flags & flag::EXPIRED != 0 {
        return Fault::new(Trouble::Expired, "the server's certificate has expired");
    }
    if flags & flag::FUTURE != 0 {
        return Fault::new(Trouble::Expired, "the server's certificate is not valid yet");
    }
    Fault::new(Trouble::NameMismatch, "the server's certificate is for another name")
}

fn alert(alert: Option<u8>, otherwise: Trouble) -> Fault {
    let Some(alert) = alert else {
        return Fault::new(otherwise, "the server ended TLS with an alert");
    };
    match refusal(alert) {
        Some(why) => {
            let words = format!("the server refuses the device's certificate: {why} (TLS alert {alert})");
            Fault::new(Trouble::ClientCertificate, words)
        }
        None => Fault::new(otherwise, format!("the server ended TLS with alert {alert}{}", name(alert))),
    }
}

/// The alerts about a certificate: the only one that a server can mean is ours.
fn refusal(alert: u8) -> Option<&'static str> {
    match alert {
        41 => Some("it got none"),
        42 => Some("bad certificate"),
        43 => Some("unsupported certificate"),
        44 => Some("certificate revoked"),
        45 => Some("certificate expired"),
        46 => Some("certificate unknown"),
        48 => Some("unknown CA"),
        49 => Some("access denied"),
        116 => Some("certificate required"),
        _ => None,
    }
}

fn name(alert: u8) -> &'static str {
    match alert {
        10 => " (unexpected message)",
        20 => " (bad record MAC)",
        40 => " (handshake failure)",
        47 => " (illegal parameter)",
        50 => " (decode error)",
        51 => " (decrypt error)",
        70 => " (protocol version)",
        71 => " (insufficient security)",
        80 => " (internal error)",
        112 => " (unrecognized name)",
        _ => "",
    }
}

/// Not the server's doing, yet what the handshake failed by.
pub(crate) fn out_of_memory(code: i32) -> Fault {
    let words = format!("not enough memory for TLS (Mbed TLS {})", hex(code));
    Fault::new(Trouble::Handshake, words)
}

/// As Mbed TLS's documentation writes its errors.
pub(crate) fn hex(code: i32) -> String {
    format!("-{:#06x}", code.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn failure(code: i32) -> Failure {
        Failure { code, flags: 0, alert: None }
    }

    #[test]
    fn certificates_are_refused_for_the_gravest_reason() {
        let trouble = |flags| handshake(Failure { flags, ..failure(code::CERTIFICATE_REFUSED) }).trouble;
        assert_eq!(trouble(0x08), Trouble::Untrusted);
        assert_eq!(trouble(0x08 | flag::EXPIRED | flag::NAME_MISMATCH), Trouble::Untrusted);
        assert_eq!(trouble(flag::EXPIRED | flag::NAME_MISMATCH), Trouble::Expired);
        assert_eq!(trouble(flag::FUTURE), Trouble::Expired);
        assert_eq!(trouble(flag::NAME_MISMATCH), Trouble::NameMismatch);
        assert_eq!(trouble(flag::NONE), Trouble::Handshake);
    }

    #[test]
    fn alerts_about_a_certificate_are_about_ours() {
        let alerted = |alert| Failure { alert: Some(alert), ..failure(code::FATAL_ALERT) };
        for alert in [42, 43, 44, 45, 46, 48, 49, 116] {
            assert_eq!(handshake(alerted(alert)).trouble, Trouble::ClientCertificate, "{alert}");
            assert_eq!(established(alerted(alert)).trouble, Trouble::ClientCertificate, "{alert}");
        }
        for alert in [0, 10, 40, 70, 80, 255] {
            assert_eq!(handshake(alerted(alert)).trouble, Trouble::Handshake, "{alert}");
            assert_eq!(established(alerted(alert)).trouble, Trouble::Closed, "{alert}");
        }
        assert_eq!(handshake(failure(code::FATAL_ALERT)).trouble, Trouble::Handshake);
    }

    #[test]
    fn memory_and_the_unknown_are_named() {
        for code in code::OUT_OF_MEMORY {
            assert!(handshake(failure(code)).to_string().contains("not enough memory"));
            assert!(established(failure(code)).to_string().contains("not enough memory"));
        }
        assert_eq!(
            handshake(failure(-0x7180)).to_string(),
            "[tls/handshake] the TLS handshake failed (Mbed TLS -0x7180)"
        );
        assert_eq!(established(failure(-0x7180)).trouble, Trouble::Protocol);
        assert_eq!(
            handshake(failure(code::INVALID_RECORD)).to_string(),
            "[tls/handshake] the server does not speak TLS on this port"
        );
    }
}
