//! Reading with a limit.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

/// Room behind the content, so that reading finds the end without more.
const SPARE: usize = 64;

/// Reads a regular file of at most `largest` bytes: a pipe or a device would never end.
///
/// # Errors
/// The system's; `InvalidInput` when it is no regular file, `FileTooLarge`.
pub fn read(path: &Path, largest: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let file = File::open(path)?;
    // At once as large as it has to be: a buffer that grows leaves copies of what may be a secret.
    let size = file.metadata()?.len().min(largest);
    let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + SPARE);
    file.take(largest + 1).read_to_end(&mut content)?;
    if content.len() as u64 > largest {
        let why = format!("it is too large (more than {largest} bytes)");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(content)
}
