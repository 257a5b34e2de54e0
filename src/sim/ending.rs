//! How a connection ends.

use std::borrow::Cow;

use rumqttc::mqttbytes::v4::Connect;

/// How a connection ends, or begins anew.
#[derive(Debug)]
pub(super) enum Ending {
    /// The server closes, for this reason, which nothing has told yet.
    Close(Cow<'static, str>),
    /// The client went, or what ends the connection is expected or was told before.
    Quiet(Cow<'static, str>),
    /// The server resets TCP.
    Reset,
    /// The client has sent another CONNECT, and the connection stays.
    Again(Box<Connect>),
}

impl Ending {
    /// The server closes, for this reason.
    pub(super) fn close(reason: impl Into<String>) -> Self {
        Self::Close(Cow::Owned(reason.into()))
    }

    /// The connection is over, for this reason, of which nobody needs to hear.
    pub(super) fn quiet(reason: impl Into<String>) -> Self {
        Self::Quiet(Cow::Owned(reason.into()))
    }

    /// Whether nothing has told why the server closes.
    pub(super) const fn is_news(&self) -> bool {
        matches!(self, Self::Close(_))
    }

    /// Why, for observers.
    pub(super) fn reason(self) -> String {
        match self {
            Self::Close(reason) | Self::Quiet(reason) => reason.into_owned(),
            Self::Reset => "reset by a fault".to_owned(),
            Self::Again(_) => "another CONNECT".to_owned(),
        }
    }
}
