//! What a device is called, and how far it has come.

use std::fmt;

use serde::{Deserialize, Serialize};
use tbprov_contract::identity::{LONGEST_NAME, name_length};

use crate::error::{Error, ErrorCode, Hint, Result};
use crate::text;

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
    /// The server answered SUCCESS with exactly these credentials, or whoever took the device in said so.
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

/// A device's name that ThingsBoard can store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceName(String);

impl DeviceName {
    /// Trims `name`, as ThingsBoard does, and checks it. An empty one is no name: the server makes one up.
    ///
    /// # Errors
    /// `usage/invalid-value` for a character that cannot be seen, or for more than 255 UTF-16 units, which is what
    /// ThingsBoard counts.
    pub fn parse(name: &str) -> Result<Option<Self>> {
        let name = name.trim();
        let why = if name.chars().any(char::is_control) {
            "holds a control character".to_owned()
        } else if let Some(unseen) = name.chars().find(|character| text::is_unseen(*character)) {
            // Two names that look alike would be two devices, and one that turns the direction looks like another.
            format!("holds the character U+{:04X}, which cannot be seen", u32::from(unseen))
        // No text has more UTF-16 units than bytes.
        } else if name.len() > LONGEST_NAME && name_length(name) > LONGEST_NAME {
            let kind = if name.is_ascii() { "" } else { " (UTF-16 units)" };
            format!("is longer than the {LONGEST_NAME} characters{kind} that ThingsBoard allows")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str) -> String {
        DeviceName::parse(name).unwrap_err().message
    }

    #[test]
    fn a_name_is_as_long_as_java_says() {
        for name in ["x".repeat(255), "传".repeat(255), "😀".repeat(127)] {
            assert_eq!(DeviceName::parse(&name).unwrap().unwrap().as_str(), name);
        }
        assert!(refused(&"x".repeat(256)).contains("longer than the 255 characters that"));
        assert!(refused(&"😀".repeat(128)).contains("longer than the 255 characters (UTF-16 units) that"));
    }

    #[test]
    fn a_name_has_no_character_that_cannot_be_seen() {
        for unseen in [
            '\u{202E}',
            '\u{202A}',
            '\u{2066}',
            '\u{2069}',
            '\u{200E}',
            '\u{200F}',
            '\u{61C}',
            '\u{2028}',
            '\u{2029}',
            '\u{200B}',
            '\u{200D}',
            '\u{FEFF}',
            '\u{AD}',
            '\u{E0041}',
        ] {
            let says = format!("the device name holds the character U+{:04X}, which", u32::from(unseen));
            assert!(refused(&format!("a{unseen}b")).starts_with(&says), "{unseen:?}");
        }
        assert!(refused("a\u{7}b").contains("control character"));
        assert!(DeviceName::parse("Küche 传感器-01 العربية 😀").is_ok());
    }
}
