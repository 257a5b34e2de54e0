//! Key and certificate files, as bytes from anywhere: no panic, and what was read says what it is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rustls_pki_types::CertificateDer;
use tbprov::identity::{Certificate, credentials_id, read_certificates};
use tbprov::keys::SoftwareKey;

fuzz_target!(|data: &[u8]| {
    if let Ok(certificate) = Certificate::from_der(CertificateDer::from(data.to_vec()), "fuzz") {
        round_trip(&certificate);
    }
    // As `identity::pem::read_file` hands it on.
    let text = String::from_utf8_lossy(data);
    if let Ok(certificates) = read_certificates(&text, "fuzz") {
        assert!(!certificates.is_empty());
        certificates.iter().for_each(round_trip);
    }
    let _ = SoftwareKey::from_pem(&text, "fuzz");
});

/// What ThingsBoard would store of our PEM has the id that it computes from the DER at connect.
fn round_trip(certificate: &Certificate) {
    assert_eq!(certificate.credentials_id(), credentials_id(certificate.der()));
    let _ = certificate.check_dates("fuzz");
    let again = read_certificates(&certificate.to_pem(), "fuzz").expect("our own PEM is readable");
    assert_eq!(again.as_slice(), std::slice::from_ref(certificate));
}
