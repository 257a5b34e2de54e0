//! The two hashes by which a certificate is known.

use aws_lc_rs::digest::{self, SHA3_256, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// ThingsBoard's credentialsId of a certificate: lower-case hex of SHA3-256 over the ASCII text of the
/// one-line base64 of its DER.
///
/// Not over the DER itself. Source: ThingsBoard v4.3.1.3, `EncryptionUtil.getSha3Hash` over the text that
/// `SslUtil.getCertificateString` makes at connect and `DeviceCredentialsServiceImpl` stores.
pub fn credentials_id(der: &[u8]) -> String {
    hex(digest::digest(&SHA3_256, STANDARD.encode(der).as_bytes()).as_ref())
}

/// The SHA-256 fingerprint of a DER certificate, in lower-case hex: what browsers and
/// `openssl x509 -fingerprint -sha256` show.
pub fn sha256_hex(der: &[u8]) -> String {
    hex(digest::digest(&SHA256, der).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    /// The worked example, made by OpenSSL and hashed by two other implementations.
    const EXAMPLE: &str = include_str!("../../fixtures/credentials-id/example.pem");
    const EXAMPLE_ID: &str = "1b23a40578c913b22b15a2488a72b8eef347dbbcd0ea0ec594913c349a93921d";

    #[test]
    fn the_worked_example_has_its_known_credentials_id() {
        let certificates = crate::identity::read_certificates(EXAMPLE, "example.pem").unwrap();
        assert_eq!(certificates[0].credentials_id(), EXAMPLE_ID);
    }

    #[test]
    fn line_ends_do_not_change_it() {
        let certificates =
            crate::identity::read_certificates(&EXAMPLE.replace('\n', "\r\n"), "crlf.pem").unwrap();
        assert_eq!(certificates[0].credentials_id(), EXAMPLE_ID);
    }
}
