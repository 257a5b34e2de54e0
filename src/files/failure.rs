//! What cannot be done to a file.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorCode, Hint};
use crate::text::shown_path;

/// Something that could not be done to a file or a folder. With `?` it becomes `file/io`, or `file/exists`.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {}: {error}", shown_path(path))]
pub struct Failure {
    verb: &'static str,
    path: PathBuf,
    /// Whether something that is no folder has the name of one.
    in_the_way: bool,
    #[source]
    error: io::Error,
}

impl Failure {
    /// `cannot <verb> <path>: <error>`.
    pub fn new(verb: &'static str, path: &Path, error: io::Error) -> Self {
        Self { verb, path: path.to_owned(), in_the_way: false, error }
    }

    pub(super) fn in_the_way(path: &Path) -> Self {
        let error = io::ErrorKind::NotADirectory.into();
        Self { in_the_way: true, ..Self::new("create the folder", path, error) }
    }

    /// Something else has the name under which a file is written first.
    pub(super) fn taken(path: &Path) -> Self {
        Self::new("write", path, io::Error::other("something else has that name"))
    }

    /// The same, of the file that it was done for.
    pub(super) fn of(self, verb: &'static str, path: &Path) -> Self {
        Self::new(verb, path, self.error)
    }

    /// Whether something of this name is there already.
    pub fn is_existing(&self) -> bool {
        self.error.kind() == io::ErrorKind::AlreadyExists
    }

    /// What the system says.
    pub fn kind(&self) -> io::ErrorKind {
        self.error.kind()
    }

    /// The failure of a file of a store: `store/io`.
    pub fn in_store(self) -> Error {
        self.into_error(ErrorCode::StoreIo)
    }

    fn into_error(self, io: ErrorCode) -> Error {
        let path = shown_path(&self.path);
        if self.in_the_way {
            return Error::new(io, format!("{path} is not a folder")).hint(Hint::NotAFolder);
        }
        if self.is_existing() {
            return Error::new(ErrorCode::FileExists, format!("{path} exists already"));
        }
        Error::new(io, self.to_string()).source(self.error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.into_error(ErrorCode::FileIo)
    }
}
