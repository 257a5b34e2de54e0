//! PEM text: writing it, and reading it with an error that says what is wrong with the file.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorCode, Hint, Result};

/// No key or certificate file is larger than this, in bytes; a larger one is some other file.
const LARGEST_FILE: u64 = 1 << 20;

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

/// What is wrong with a PEM block; the parser's own text shows byte values.
pub(crate) fn explain(error: &rustls_pki_types::pem::Error) -> &'static str {
    use rustls_pki_types::pem::Error as Pem;
    match error {
        Pem::MissingSectionEnd { .. } => "its -----END line is missing, so the file may be cut off",
        Pem::IllegalSectionStart { .. } => "its -----BEGIN line is not as it should be",
        Pem::Base64Decode(_) => "its text is not base64",
        Pem::NoItemsFound => "there is none of the kind that is needed",
        _ => "it cannot be read",
    }
}

/// Reads a text file that should hold PEM. A UTF-8 byte order mark at its beginning is dropped.
///
/// # Errors
/// `file/not-found`, `file/io` (also for a folder) or `file/not-pem` (empty, too large, no PEM block,
/// UTF-16), each naming the path.
pub fn read_file(path: &Path) -> Result<Zeroizing<String>> {
    let shown = path.display();
    let io_error = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => Error::new(ErrorCode::FileNotFound, format!("no such file: {shown}")),
        ErrorKind::IsADirectory => Error::new(ErrorCode::FileIo, format!("{shown} is a folder, not a file")),
        _ => Error::new(ErrorCode::FileIo, format!("cannot read {shown}: {error}")).source(error),
    };
    let not_pem = |why: &str| Error::new(ErrorCode::FileNotPem, format!("{shown} {why}"));

    let file = fs::File::open(path).map_err(io_error)?;
    if file.metadata().map_err(io_error)?.is_dir() {
        return Err(io_error(ErrorKind::IsADirectory.into()));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(io_error)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(not_pem("is larger than 1 MiB, so it is no key or certificate"));
    }
    let content = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    if content.iter().all(u8::is_ascii_whitespace) {
        return Err(not_pem("is empty"));
    }
    if content.starts_with(b"\xFF\xFE") || content.starts_with(b"\xFE\xFF") {
        return Err(not_pem("is in UTF-16").hint(Hint::PlainText));
    }
    if !content.windows(11).any(|window| window == b"-----BEGIN ") {
        return Err(not_pem("is not PEM"));
    }
    // Text around the PEM blocks may be in any encoding; the blocks themselves are ASCII.
    Ok(Zeroizing::new(String::from_utf8_lossy(content).into_owned()))
}
