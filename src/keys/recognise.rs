//! What a file is that is not the PEM that was needed: looked at once more, tolerantly, to say what it is. Pure.

use base64::Engine as _;

use super::der;
use super::pem::BASE64;
use crate::error::FileKind;

/// Bytes of base64, at the least, that are taken for a key or a certificate without its lines.
const SHORTEST_BASE64: usize = 64;

/// What `bytes` are, where that can be told. What is broken about PEM comes first, then what it holds.
pub(crate) fn recognise(bytes: &[u8]) -> Option<FileKind> {
    binary(bytes).or_else(|| text(&String::from_utf8_lossy(bytes)))
}

fn binary(bytes: &[u8]) -> Option<FileKind> {
    const MAGIC: &[(&[u8], FileKind)] = &[
        (b"\xFE\xED\xFE\xED", FileKind::JavaKeyStore),
        (b"\xCE\xCE\xCE\xCE", FileKind::JavaKeyStore),
        (b"\x1F\x8B", FileKind::Archive),
        (b"PK\x03\x04", FileKind::Archive),
        (b"BZh", FileKind::Archive),
        (b"\xFD7zXZ\x00", FileKind::Archive),
        (b"7z\xBC\xAF\x27\x1C", FileKind::Archive),
        (b"\x28\xB5\x2F\xFD", FileKind::Archive),
    ];
    let magic = MAGIC.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, kind)| *kind);
    magic.or_else(|| in_der(bytes))
}

/// The beginning of PKCS#12 in BER with lengths that are not said, as Windows and Java wrote it: version 3.
const PKCS12_BER: &[u8] = b"\x30\x80\x02\x01\x03";
/// The object identifier of signed data (PKCS#7), with its header.
const SIGNED_DATA: &[u8] = b"\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x07\x02";
/// The beginning of PKCS#7 in BER, likewise.
const PKCS7_BER: &[u8] = b"\x30\x80\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x07\x02";

/// By the tags of the outer elements: RFC 5280 (certificate, CRL), 2986 (request), 5958 and 5915 and 8017 (keys), 2315
/// (PKCS#7), 7292 (PKCS#12).
fn in_der(bytes: &[u8]) -> Option<FileKind> {
    if bytes.starts_with(PKCS12_BER) {
        return Some(FileKind::Pkcs12);
    }
    if bytes.starts_with(PKCS7_BER) {
        return Some(FileKind::Pkcs7Der);
    }
    let (whole, _) = der::split(bytes).filter(|(whole, _)| whole.first() == Some(&der::SEQUENCE))?;
    let content = der::content(whole)?;
    match tags(content).as_slice() {
        [0x06, 0xA0] if content.starts_with(SIGNED_DATA) => Some(FileKind::Pkcs7Der),
        // Version 3 and an authenticated safe; a key of version 0 or 1 follows with its algorithm and itself.
        [0x02, 0x30, ..] if content.starts_with(b"\x02\x01\x03") => Some(FileKind::Pkcs12),
        [0x02, 0x30, 0x04, ..] | [0x02, 0x04, ..] => Some(FileKind::KeyDer),
        [0x02, 0x02, 0x02, 0x02, ..] => Some(FileKind::KeyDer),
        [0x30, 0x04] => Some(FileKind::KeyDer),
        [0x30, 0x03] | [0x02, 0x02] => Some(FileKind::PublicKeyDer),
        [0x30, 0x30, 0x03] => match tags(der::content(content)?).as_slice() {
            [0x02, 0x30, 0x30, 0xA0] => Some(FileKind::RequestDer),
            [0x30, 0x30, 0x17 | 0x18, ..] | [0x02, 0x30, 0x30, 0x17 | 0x18, ..] => {
                Some(FileKind::RevocationListDer)
            }
            [0xA0, 0x02, ..] | [0x02, 0x30, 0x30, 0x30, ..] => Some(FileKind::CertificateDer),
            _ => None,
        },
        _ => None,
    }
}

/// The tags of the elements that `der` is a row of; as far as they can be read.
fn tags(mut der: &[u8]) -> Vec<u8> {
    let mut tags = Vec::new();
    while let Some((first, rest)) = der::split(der) {
        tags.extend(first.first());
        der = rest;
    }
    tags
}

const BEGIN: &str = "-----BEGIN ";

fn text(text: &str) -> Option<FileKind> {
    if let Some(at) = text.find(BEGIN) {
        return broken_pem(text, at).or_else(|| whole_pem(text));
    }
    let text = text.trim_start_matches('\u{feff}').trim();
    let begins = |words: &[&str]| words.iter().any(|word| text.starts_with(word));
    if begins(&["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-", "---- BEGIN SSH2"]) {
        return Some(FileKind::SshPublicKey);
    }
    if begins(&["PuTTY-User-Key-File"]) {
        return Some(FileKind::PuttyKey);
    }
    if ["BEGIN CERTIFICATE", "PRIVATE KEY"].iter().any(|label| text.contains(label)) {
        return Some(FileKind::BrokenDashes);
    }
    if begins(&["<"]) {
        return Some(FileKind::Markup);
    }
    if begins(&["{", "["]) {
        return Some(FileKind::Json);
    }
    bare_base64(text)
}

/// What is wrong with the first block of PEM, which begins at `at`.
fn broken_pem(text: &str, at: usize) -> Option<FileKind> {
    let (before, block) = text.split_at_checked(at)?;
    let before = before.rsplit(['\n', '\r']).next().unwrap_or(before);
    let line = block.split(['\n', '\r']).next().unwrap_or(block);
    if line.contains(r"\n") {
        return Some(FileKind::EscapedPem);
    }
    let after_label = line.strip_prefix(BEGIN).and_then(|line| line.split_once("-----"));
    if after_label.is_some_and(|(_, rest)| rest.chars().filter(char::is_ascii_alphanumeric).count() > 8) {
        return Some(FileKind::OneLinePem);
    }
    if before.contains(['"', '\'']) {
        return Some(FileKind::QuotedPem);
    }
    (!before.is_empty() && before.trim().is_empty()).then_some(FileKind::IndentedPem)
}

/// What the blocks of PEM hold, the most useful of them.
fn whole_pem(text: &str) -> Option<FileKind> {
    let labels: Vec<&str> =
        text.split(BEGIN).skip(1).filter_map(|block| Some(block.split_once("-----")?.0)).collect();
    let kinds: Vec<FileKind> = labels.into_iter().map(of_label).collect();
    let useful = [FileKind::PrivateKey, FileKind::Certificate];
    let first = kinds.iter().find(|kind| useful.contains(kind)).or(kinds.first());
    first.copied()
}

fn of_label(label: &str) -> FileKind {
    match label {
        "CERTIFICATE" | "X509 CERTIFICATE" => FileKind::Certificate,
        "TRUSTED CERTIFICATE" => FileKind::TrustedCertificate,
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => FileKind::Request,
        "PKCS7" | "PKCS #7 SIGNED DATA" | "CMS" => FileKind::Pkcs7,
        "X509 CRL" => FileKind::RevocationList,
        "OPENSSH PRIVATE KEY" => FileKind::OpenSshKey,
        "SSH2 PUBLIC KEY" => FileKind::SshPublicKey,
        label if label.starts_with("PGP ") => FileKind::Pgp,
        label if label.ends_with("PRIVATE KEY") => FileKind::PrivateKey,
        label if label.ends_with("PUBLIC KEY") => FileKind::PublicKey,
        label if label.ends_with("PARAMETERS") => FileKind::Parameters,
        _ => FileKind::OtherPem,
    }
}

fn bare_base64(text: &str) -> Option<FileKind> {
    let body: String = text.split_ascii_whitespace().collect();
    let decoded = (body.len() >= SHORTEST_BASE64).then(|| BASE64.decode(&body).ok())??;
    in_der(&decoded).map(|_| FileKind::BareBase64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_makes_it_fail() {
        for bytes in
            [&b""[..], b"\x30", b"\x30\x82\xFF\xFF", b"-----BEGIN ", b"\xFF-----BEGIN A", b"\x30\x00"]
        {
            let _ = recognise(bytes);
        }
        assert_eq!(recognise(b"hello"), None);
        assert_eq!(recognise(b"\x30\x03\x02\x01\x00"), None);
    }
}
