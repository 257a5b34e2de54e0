//! Text that must never be shown: provision secrets, tokens, passwords.

mod hidden;

use std::fmt;

use zeroize::Zeroizing;

pub(crate) use hidden::hide;

/// A secret string. Its memory is zeroed on drop, and neither `Debug` nor `Display` nor
/// serialization ever shows it: the one way to the text is [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself, for the one place that must send or store it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A fresh secret of `length` characters from `[A-Za-z0-9]`: the alphabet that ThingsBoard's own
    /// user interface draws provision keys, secrets and tokens from (20 characters there).
    ///
    /// # Errors
    /// When the operating system has no random numbers.
    pub fn random(length: usize) -> Result<Self, crate::Error> {
        const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let mut text = String::with_capacity(length);
        while text.len() < length {
            let mut byte = [0u8; 1];
            aws_lc_rs::rand::fill(&mut byte).map_err(|_| crate::Error::no_randomness())?;
            // 248 is the largest multiple of 62 in a byte: beyond it some letters would be likelier.
            if byte[0] < 248 {
                text.push(char::from(ALPHABET[usize::from(byte[0] % 62)]));
            }
        }
        Ok(Self::new(text))
    }
}

impl From<Zeroizing<String>> for Secret {
    fn from(text: Zeroizing<String>) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[secret]");
    }

    #[test]
    fn random_secrets_have_the_length_asked_for_and_differ() {
        let (first, second) = (Secret::random(20).unwrap(), Secret::random(20).unwrap());
        assert_eq!(first.expose().len(), 20);
        assert_ne!(first, second);
    }
}
