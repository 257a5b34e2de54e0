//! The identity partition: what is written is read back, and nothing that a flash can hold makes it panic.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use proptest::prelude::*;
use tbprov_contract::identity::{Invalid, LONGEST_NAME, check_wifi_password, time_server};
use tbprov_contract::partition::{PartitionError, SIZE, decode, encode};
use tbprov_contract::{Identity, Wifi};

fn pem(label: &str, bytes: usize) -> String {
    let body: String = "QUJD".chars().cycle().take(bytes).collect();
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

fn identity() -> Identity {
    Identity {
        name: "sensor-01".to_owned(),
        host: "mqtt.example.com".to_owned(),
        port: 8883,
        address: Some("192.0.2.7:18883".parse().unwrap()),
        server_certificates: pem("CERTIFICATE", 6000),
        skip_name_check: true,
        certificate: pem("CERTIFICATE", 900),
        key: pem("PRIVATE KEY", 1700).into(),
        wifi: Some(Wifi { ssid: "workshop".to_owned(), password: "correct horse".to_owned().into() }),
        interval: Duration::from_secs(5),
        topic: "v1/devices/me/telemetry".to_owned(),
        time_server: Some("pool.ntp.org".to_owned()),
        retry: Duration::from_secs(1),
    }
}

#[test]
fn what_is_written_is_read_back() {
    let sparse =
        Identity { address: None, wifi: None, time_server: None, skip_name_check: false, ..identity() };
    for identity in [identity(), sparse] {
        let partition = encode(&identity).unwrap();
        assert_eq!(partition.len(), SIZE);
        assert_eq!(decode(&partition), Ok(identity));
    }
}

#[test]
fn an_rsa_4096_identity_with_a_chain_fits() {
    let large = Identity {
        certificate: pem("CERTIFICATE", 4500),
        key: pem("PRIVATE KEY", 3300).into(),
        ..identity()
    };
    assert_eq!(decode(&encode(&large).unwrap()), Ok(large));
}

#[test]
fn names_are_as_long_as_java_counts() {
    // Three bytes and one unit each; four bytes and two units each.
    let longest = ["\u{6e29}".repeat(LONGEST_NAME), "\u{1f321}".repeat(LONGEST_NAME / 2)];
    for name in longest {
        let identity = Identity { name: name.clone(), ..identity() };
        assert_eq!(decode(&encode(&identity).unwrap()).unwrap().name, name);
    }
    for name in ["\u{6e29}".repeat(LONGEST_NAME + 1), "\u{1f321}".repeat(LONGEST_NAME / 2 + 1)] {
        let identity = Identity { name, ..identity() };
        assert!(matches!(encode(&identity), Err(PartitionError::Invalid(Invalid { field: "name", .. }))));
    }
}

#[test]
fn too_much_is_refused() {
    let large = Identity { server_certificates: pem("CERTIFICATE", 24_000), ..identity() };
    assert_eq!(encode(&large), Err(PartitionError::Full));
}

#[test]
fn an_erased_partition_is_empty() {
    assert_eq!(decode(&[0xFF; SIZE]), Err(PartitionError::Empty));
    assert_eq!(decode(&[]), Err(PartitionError::Size(0)));
    assert!(matches!(decode(&[0; SIZE]), Err(PartitionError::Damaged(_))));
}

#[test]
fn a_partition_that_was_cut_off_is_damaged() {
    let whole = encode(&identity()).unwrap();
    for written in (4096..SIZE - 4096).step_by(4096).chain([1, 31, 100, 4095]) {
        let mut cut = whole.clone();
        cut[written..].fill(0xFF);
        if cut != whole {
            assert!(matches!(decode(&cut), Err(PartitionError::Damaged(_))), "cut at {written}");
        }
    }
}

#[test]
fn unusable_values_are_named() {
    let refused = |identity: Identity, field| match encode(&identity) {
        Err(PartitionError::Invalid(Invalid { field: named, .. })) => assert_eq!(named, field),
        other => assert!(other.is_err(), "{field} was accepted"),
    };
    refused(Identity { name: String::new(), ..identity() }, "name");
    refused(Identity { name: "x".repeat(256), ..identity() }, "name");
    refused(Identity { host: "two\nlines".to_owned(), ..identity() }, "host");
    refused(Identity { port: 0, ..identity() }, "port");
    refused(Identity { topic: "v1/#".to_owned(), ..identity() }, "topic");
    refused(Identity { interval: Duration::ZERO, ..identity() }, "interval_ms");
    refused(Identity { retry: Duration::ZERO, ..identity() }, "retry_ms");
    refused(Identity { certificate: "junk".to_owned(), ..identity() }, "cert");
    refused(Identity { key: String::new().into(), ..identity() }, "key");
    refused(Identity { time_server: Some("host:0".to_owned()), ..identity() }, "time_server");
    let wifi = |ssid: &str, password: &str| Identity {
        wifi: Some(Wifi { ssid: ssid.to_owned(), password: password.to_owned().into() }),
        ..identity()
    };
    for ssid in ["", "workshop\r", "work\nshop", "\u{85}", "\0", &"x".repeat(33), &"\u{6e29}".repeat(11)] {
        refused(wifi(ssid, "correct horse"), "wifi_ssid");
    }
    for ssid in ["x", " workshop ", &"x".repeat(32), "\u{6e29}\u{5ba4}"] {
        assert!(encode(&wifi(ssid, "correct horse")).is_ok(), "{ssid}");
    }
    assert!(encode(&wifi("open", "")).is_ok());
}

/// IEEE 802.11-2020, annex J.4: 8 to 63 characters of printable ASCII are a passphrase, 64 digits the key itself.
#[test]
fn a_wifi_password_is_a_passphrase_or_a_key() {
    let digits = "0123456789abcdefABCDEF";
    let key = digits.repeat(3)[..64].to_owned();
    for password in ["", "12345678", "correct horse", " ~~~~~~ ", &"x".repeat(63), &key] {
        assert_eq!(check_wifi_password(password), Ok(()), "{password}");
    }
    for (password, why) in [
        ("x".repeat(64), "hexadecimal"),
        (format!("{}g", &key[..63]), "hexadecimal"),
        (format!("0x{}", &key[..62]), "hexadecimal"),
        ("1234567".to_owned(), "8 to 63"),
        ("0".repeat(65), "8 to 63"),
        ("x".repeat(4096), "8 to 63"),
        ("correct horse\r".to_owned(), "printable"),
        ("correct\thorse".to_owned(), "printable"),
        ("h\u{fc}hnerstall".to_owned(), "printable"),
        ("\u{201c}correct horse\u{201d}".to_owned(), "printable"),
        ("correct\u{a0}horse".to_owned(), "printable"),
        ("correct horse\x7f".to_owned(), "printable"),
    ] {
        let refused = check_wifi_password(&password).unwrap_err();
        assert!(refused.contains(why), "{password:?}: {refused}");
    }
}

#[test]
fn time_servers_have_a_default_port() {
    assert_eq!(time_server("pool.ntp.org"), Some(("pool.ntp.org", 123)));
    assert_eq!(time_server("10.0.2.2:1123"), Some(("10.0.2.2", 1123)));
    assert_eq!(time_server("host:port"), None);
    assert_eq!(time_server(""), None);
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!("{:?}", identity());
    assert!(!shown.contains("correct horse") && !shown.contains("PRIVATE"), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), SIZE)) {
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn flipped_bits_never_panic_nor_change_a_value(flips in prop::collection::vec((0..SIZE, 0..8u8), 1..12)) {
        let mut partition = encode(&identity()).unwrap();
        for (offset, bit) in flips {
            partition[offset] ^= 1 << bit;
        }
        // Bits of unused entries do not matter; whatever is read must be what was written.
        if let Ok(read) = decode(&partition) {
            prop_assert_eq!(read, identity());
        }
    }

    #[test]
    fn overwritten_pieces_never_panic(at in 0..SIZE, piece in prop::collection::vec(any::<u8>(), 1..5000)) {
        let mut partition = encode(&identity()).unwrap();
        let end = (at + piece.len()).min(SIZE);
        partition[at..end].copy_from_slice(&piece[..end - at]);
        if let Ok(read) = decode(&partition) {
            prop_assert_eq!(read, identity());
        }
    }
}
