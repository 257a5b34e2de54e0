//! Where devices are kept.

pub mod folder;
mod record;

use std::path::Path;

use crate::error::Error;
use crate::files::Failure;

/// `store/io`: `cannot <verb> <path>: <error>`.
pub(crate) fn io_error(verb: &'static str, path: &Path, error: std::io::Error) -> Error {
    Failure::new(verb, path, error).in_store()
}
