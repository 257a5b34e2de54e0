//! How far a device has come on its way from nothing to a proved identity.

use serde::{Deserialize, Serialize};

/// How far a device has come. Only `proved` is used without a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// On disk; the server has not been asked, or has refused.
    Staged,
    /// The request may have left; its fate is unknown.
    Sent,
    /// The server answered SUCCESS with exactly these credentials.
    Accepted,
    /// The server accepted a connection with these credentials.
    Proved,
}

impl State {
    /// The name in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Sent => "sent",
            Self::Accepted => "accepted",
            Self::Proved => "proved",
        }
    }
}
