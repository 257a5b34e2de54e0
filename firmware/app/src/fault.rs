//! Why an attempt to connect or a session ended.

use alloc::borrow::Cow;
use core::fmt;

use embedded_io_async::{Error, ErrorKind};
use tbprov_contract::report::Trouble;

/// What went wrong, for the tool that reads the log and in words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) trouble: Trouble,
    words: Cow<'static, str>,
}

impl Fault {
    pub(crate) fn new(trouble: Trouble, words: impl Into<Cow<'static, str>>) -> Self {
        Self { trouble, words: words.into() }
    }

    /// The words alone.
    pub(crate) fn words(&self) -> &str {
        &self.words
    }
}

/// As the text of its line in the log begins.
impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.trouble, self.words)
    }
}

impl core::error::Error for Fault {}

/// Streams fail with it: they know best what happened to them.
impl Error for Fault {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}
