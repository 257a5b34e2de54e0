//! A file that a command shall write.

use std::path::Path;

use tbprov::error::Hint;
use tbprov::text::shown_path;
use tbprov::{Error, ErrorCode, Result};

/// Refuses to write over a file, before anything is asked, made or sent.
pub(super) fn refuse_existing(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        let message = format!("{} exists already", shown_path(path));
        return Err(Error::new(ErrorCode::FileExists, message).hint(Hint::OutputExists));
    }
    Ok(())
}
