//! How a connection ends.

use std::borrow::Cow;

/// How a connection ends.
#[derive(Debug)]
pub(super) enum Ending {
    /// The server closes, for this reason.
    Close(Cow<'static, str>),
    /// The server resets TCP.
    Reset,
}

impl Ending {
    /// The server closes, for this reason.
    pub(super) fn close(reason: impl Into<String>) -> Self {
        Self::Close(Cow::Owned(reason.into()))
    }

    /// Why, for observers.
    pub(super) fn reason(self) -> String {
        match self {
            Self::Close(reason) => reason.into_owned(),
            Self::Reset => "reset by a fault".to_owned(),
        }
    }
}
