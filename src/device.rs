//! What a device is called, and how far it has come.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorCode, Hint, Result};

/// A device's own mark in a ledger, from before it has a name. It is opaque: in a store of folders it is the folder's
/// name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct DeviceId(String);

impl DeviceId {
    /// The id that a ledger knows as `id`.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

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

/// Characters of a device's name that ThingsBoard stores, at the most (`Device.name`, 255).
const LONGEST_DEVICE_NAME: usize = 255;

/// A device's name that ThingsBoard can store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceName(String);

impl DeviceName {
    /// Trims `name`, as ThingsBoard does, and checks it. An empty one is no name: the server makes one up.
    ///
    /// # Errors
    /// `usage/invalid-value` for control characters or more than 255 characters.
    pub fn parse(name: &str) -> Result<Option<Self>> {
        let name = name.trim();
        let why = if name.chars().any(char::is_control) {
            "holds a control character"
        } else if name.chars().count() > LONGEST_DEVICE_NAME {
            "is longer than the 255 characters that ThingsBoard allows"
        } else {
            return Ok((!name.is_empty()).then(|| Self(name.to_owned())));
        };
        Err(Error::new(ErrorCode::UsageInvalid, format!("the device name {why}")).hint(Hint::OtherName))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
