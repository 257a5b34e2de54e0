//! PEM text: writing it, and reading it with an error that says what is wrong with the file.
//!
//! What may be a private key is held in memory that is wiped, and never grows, for growing leaves copies behind.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use zeroize::Zeroizing;

use super::{encrypted, recognise};
use crate::error::{Error, ErrorCode, FileKind, Hint, Result};
use crate::secret::Secret;

/// No key or certificate file is larger than this, in bytes; a larger one is some other file.
const LARGEST_FILE: u64 = 1 << 20;

/// Bytes of room beyond a file's size: with as much left, reading it to its end asks for no more memory.
const ROOM: u64 = 64;

/// Base64 as OpenSSL reads it: with or without the padding.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The labels of unencrypted private keys: PKCS#8, PKCS#1 and SEC1.
const KEY_LABELS: [&str; 3] = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
const ENCRYPTED_LABEL: &str = "ENCRYPTED PRIVATE KEY";

/// Encodes `der` with 64 characters a line and LF, the form that ThingsBoard stores unchanged.
pub fn encode(label: &str, der: &[u8]) -> String {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut text = String::with_capacity(body.len() + body.len() / 64 + 2 * label.len() + 40);
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, remaining) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = remaining;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// The DER of the first private key in `text`, decrypted with the password where it is encrypted. `origin` names the
/// file in errors.
///
/// # Errors
/// `file/not-pem`; `file/encrypted-key` without a password, else `file/wrong-password`.
pub(crate) fn private_key(text: &str, origin: &str, password: Option<&Secret>) -> Result<Zeroizing<Vec<u8>>> {
    let not_pem = |why| {
        let message = format!("{origin} holds no private key in PEM: {why}");
        Error::new(ErrorCode::FileNotPem, message)
    };
    let failed = |why| match recognise(text.as_bytes()) {
        None | Some(FileKind::PrivateKey) => not_pem(why),
        Some(kind) => {
            let message = format!("{origin} holds {kind}, but no private key in PEM");
            Error::new(ErrorCode::FileNotPem, message).hint(Hint::FileIs(kind, None))
        }
    };
    let mut rest = text;
    while let Some((block, remaining)) = next_block(rest).map_err(failed)? {
        if block.is_encrypted() {
            let Some(password) = password else {
                let message = format!("the private key in {origin} is encrypted");
                return Err(Error::new(ErrorCode::FileEncrypted, message));
            };
            return encrypted::decrypt(&block, password, origin);
        }
        if KEY_LABELS.contains(&block.label) {
            return block.decode().ok_or_else(|| not_pem(NOT_BASE64));
        }
        rest = remaining;
    }
    Err(failed(NONE_OF_THE_KIND))
}

const NO_END: &str = "its -----END line is missing, so the file may be cut off";
const BAD_BEGIN: &str = "its -----BEGIN line is not as it should be";
const NOT_BASE64: &str = "its text is not base64";
const NONE_OF_THE_KIND: &str = "there is none of the kind that is needed";

/// One PEM block: its label, and the text between its first and its last line.
pub(super) struct Block<'a> {
    label: &'a str,
    body: &'a str,
}

impl Block<'_> {
    /// Whether it is an encrypted key: by its label, or by its own header (RFC 1421, as OpenSSL wrote keys before
    /// PKCS#8).
    fn is_encrypted(&self) -> bool {
        let is_said = || self.header("Proc-Type:").is_some_and(|kind| kind.contains("ENCRYPTED"));
        self.label == ENCRYPTED_LABEL || (KEY_LABELS.contains(&self.label) && is_said())
    }

    /// What one of the block's own headers says; its name is given with the colon.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.body.split(['\n', '\r']).find_map(|line| line.strip_prefix(name)).map(str::trim)
    }

    pub(super) fn decode(&self) -> Option<Zeroizing<Vec<u8>>> {
        let mut text = Zeroizing::new(String::with_capacity(self.body.len()));
        // Base64 has no colon: lines with one are headers.
        let lines = self.body.split(['\n', '\r']).filter(|line| !line.contains(':'));
        text.extend(lines.flat_map(str::chars).filter(|character| !character.is_ascii_whitespace()));
        let mut der = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
        let length = BASE64.decode_slice(text.as_bytes(), &mut der).ok()?;
        der.truncate(length);
        Some(der)
    }
}

/// The first block of `text`, and what follows it. The text outside of blocks does not matter.
fn next_block(text: &str) -> Result<Option<(Block<'_>, &str)>, &'static str> {
    let Some(start) = start_of_line(text, "-----BEGIN ") else { return Ok(None) };
    let from_begin = &text[start..];
    let (begin, inside) = from_begin.split_once(['\n', '\r']).ok_or(NO_END)?;
    let label = begin["-----BEGIN ".len()..].trim_end().strip_suffix("-----").ok_or(BAD_BEGIN)?;
    if label.ends_with('-') {
        return Err(BAD_BEGIN);
    }
    let end = start_of_line(inside, "-----").ok_or(NO_END)?;
    let after = inside[end..].strip_prefix("-----END ").and_then(|rest| rest.strip_prefix(label));
    let after = after.and_then(|rest| rest.strip_prefix("-----")).ok_or(NO_END)?;
    Ok(Some((Block { label, body: &inside[..end] }, after)))
}

/// Where the first line of `text` begins that starts with `pattern`.
fn start_of_line(text: &str, pattern: &str) -> Option<usize> {
    text.match_indices(pattern).map(|(at, _)| at).find(|at| *at == 0 || text[..*at].ends_with(['\n', '\r']))
}

/// What is wrong with a PEM block; the parser's own text shows byte values.
pub(crate) fn explain(error: &rustls_pki_types::pem::Error) -> &'static str {
    use rustls_pki_types::pem::Error as Pem;
    match error {
        Pem::MissingSectionEnd { .. } => NO_END,
        Pem::IllegalSectionStart { .. } => BAD_BEGIN,
        Pem::Base64Decode(_) => NOT_BASE64,
        Pem::NoItemsFound => NONE_OF_THE_KIND,
        _ => "it cannot be read",
    }
}

/// Reads a text file that should hold PEM. A UTF-8 byte order mark at its beginning is dropped; where it is not UTF-8,
/// each byte beyond ASCII becomes a question mark: the PEM blocks themselves are ASCII.
///
/// # Errors
/// `file/not-found`, `file/io` (also for a folder) or `file/not-pem` (empty, too large, no PEM block,
/// UTF-16), each naming the path.
pub fn read_file(path: &Path) -> Result<Zeroizing<String>> {
    let not_pem =
        |why: &str| Error::new(ErrorCode::FileNotPem, format!("{} {why}", crate::text::shown_path(path)));
    let mut bytes = read_bytes(path)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(not_pem("is larger than 1 MiB, so it is no key or certificate"));
    }
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        bytes.drain(..3);
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(not_pem("is empty"));
    }
    if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
        return Err(not_pem("is in UTF-16").hint(Hint::PlainText));
    }
    if !bytes.windows(11).any(|window| window == b"-----BEGIN ") {
        return Err(match recognise(&bytes) {
            Some(kind) => {
                not_pem(&format!("is {kind}, not PEM")).hint(Hint::FileIs(kind, Some(path.to_owned())))
            }
            None => not_pem("is not PEM"),
        });
    }
    if std::str::from_utf8(&bytes).is_err() {
        bytes.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = b'?');
    }
    // Moved, not copied.
    let text = String::from_utf8(std::mem::take(&mut *bytes)).map_err(|_| not_pem("is not text"))?;
    Ok(Zeroizing::new(text))
}

/// The file's bytes, one more than allowed at the most, in memory that was asked for once.
fn read_bytes(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let shown = crate::text::shown_path(path);
    let io_error = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => Error::new(ErrorCode::FileNotFound, format!("no such file: {shown}")),
        ErrorKind::IsADirectory => Error::new(ErrorCode::FileIo, format!("{shown} is a folder, not a file")),
        _ => Error::new(ErrorCode::FileIo, format!("cannot read {shown}: {error}")).source(error),
    };
    let file = fs::File::open(path).map_err(io_error)?;
    let metadata = file.metadata().map_err(io_error)?;
    if metadata.is_dir() {
        return Err(io_error(ErrorKind::IsADirectory.into()));
    }
    // A pipe does not say how much will come.
    let size = if metadata.is_file() { metadata.len().min(LARGEST_FILE) } else { LARGEST_FILE };
    let mut bytes = Zeroizing::new(Vec::with_capacity((size + ROOM) as usize));
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(io_error)?;
    Ok(bytes)
}
