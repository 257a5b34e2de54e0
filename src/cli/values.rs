//! What a user gives: one reader for flags, variables, lines of `tbprov.toml` and answers. It names the source of what it
//! refuses, and never shows a value.

use std::fmt;

use tbprov::error::Hint;
use tbprov::text::holds_pem;
use tbprov::{Error, ErrorCode, Result};

/// What a bare word that nobody can take for a command or a file has, at the least.
const SHORTEST_SECRET: usize = 8;

/// Where a value comes from, in the words of its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// For example `--host`.
    Flag(String),
    /// For example `TBPROV_HOST`.
    Variable(String),
    /// A line of the configuration file, for example `host`.
    Line(&'static str),
    /// Any other, for example `the provision key`.
    Other(String),
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) | Self::Variable(name) | Self::Other(name) => formatter.write_str(name),
            Self::Line(name) => write!(formatter, "'{name}' in tbprov.toml"),
        }
    }
}

impl Source {
    pub(super) fn flag(name: &str) -> Self {
        Self::Flag(name.to_owned())
    }

    pub(super) fn variable(name: &str) -> Self {
        Self::Variable(name.to_owned())
    }

    pub(super) fn is_empty(&self) -> Error {
        Error::new(ErrorCode::UsageInvalid, format!("{self} is empty"))
    }

    /// Refuses what no value holds: the text of a key, a mark at its beginning, and control characters.
    pub(super) fn check(&self, text: &str) -> Result<()> {
        if holds_a_file(text) {
            return Err(self.holds_a_file());
        }
        match unfit(text) {
            // Between double quotes, "C:\new" holds a line end.
            Some(why) if matches!(self, Self::Line(_)) => {
                let message = format!(
                    "{self} {why}; a backslash between double quotes begins an escape: write /, or single quotes"
                );
                Err(Error::new(ErrorCode::UsageInvalid, message))
            }
            Some(why) => Err(Error::new(ErrorCode::UsageInvalid, format!("{self} {why}"))),
            None => Ok(()),
        }
    }

    /// As [`Self::check`], and refuses what cannot be seen at all.
    pub(super) fn check_seen(&self, text: &str) -> Result<()> {
        self.check(text)?;
        let unseen = text.chars().find(|character| {
            let shown = tbprov::text::escaped(character.encode_utf8(&mut [0; 4]));
            !shown.starts_with(*character)
        });
        let Some(unseen) = unseen else { return Ok(()) };
        let message = format!("{self} holds the character U+{:04X}, which cannot be seen", u32::from(unseen));
        Err(Error::new(ErrorCode::UsageInvalid, message))
    }

    pub(super) fn holds_a_file(&self) -> Error {
        let message = format!(
            "{self} holds the text of a file, such as a key or a certificate, and not its name (the text is not shown)"
        );
        Error::new(ErrorCode::UsageInvalid, message).hint(Hint::NameTheFile)
    }

    /// What is odd about the value, although it can be meant.
    pub(super) fn doubt(&self, text: &str) -> Option<String> {
        doubt(text).map(|what| format!("{self} {what}"))
    }
}

/// A value, and where it comes from.
pub(super) struct Given<T> {
    pub(super) source: Source,
    pub(super) value: T,
}

/// The variable `name`, where it is set, checked.
pub(super) fn variable(name: &str) -> Result<Option<Given<String>>> {
    let Ok(value) = std::env::var(name) else { return Ok(None) };
    let source = Source::variable(name);
    source.check(&value)?;
    Ok(Some(Given { source, value }))
}

/// Why a value cannot be one.
pub(super) fn unfit(text: &str) -> Option<String> {
    if text.starts_with('\u{feff}') {
        return Some("begins with a byte order mark (U+FEFF)".to_owned());
    }
    if text.ends_with('\r') {
        return Some(
            "ends with a carriage return (\\r): it comes from a file with Windows line ends".to_owned(),
        );
    }
    if text.ends_with('\n') {
        return Some("ends with a line end (\\n)".to_owned());
    }
    let control = text.chars().find(|character| character.is_control())?;
    Some(format!("holds a control character ({})", tbprov::text::escaped(control.encode_utf8(&mut [0; 4]))))
}

/// What is odd about a value. `docker --env-file` keeps quotes, and so do others.
fn doubt(text: &str) -> Option<&'static str> {
    const QUOTES: [(char, char); 5] = [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”'), ('‘', '’')];
    let bare = text.trim();
    let is_quoted = |(first, last): (char, char)| {
        bare.chars().count() > 1 && bare.starts_with(first) && bare.ends_with(last)
    };
    if QUOTES.into_iter().any(is_quoted) {
        return Some("is in quotes, which are a part of the value");
    }
    if text.ends_with(char::is_whitespace) {
        return Some("ends with a blank");
    }
    if text.starts_with(char::is_whitespace) {
        return Some("begins with a blank");
    }
    let is_odd = |character: char| character.is_whitespace() && !character.is_ascii();
    text.contains(is_odd).then_some("holds a blank that is no ordinary one, such as U+00A0")
}

/// What is odd about the variables and arguments of this run, for a failure that they may explain.
fn doubts() -> Vec<String> {
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
        if name.starts_with("TBPROV_") { Source::Variable(name).doubt(&value) } else { None }
    });
    let arguments: Vec<String> = std::env::args_os().filter_map(|text| text.into_string().ok()).collect();
    let flags = arguments.iter().filter_map(|argument| {
        let (name, value) = argument.strip_prefix("--").and_then(|flag| flag.split_once('='))?;
        Source::Flag(format!("--{name}")).doubt(value)
    });
    variables.chain(flags).collect()
}

/// A failure of something that was named, with what is odd about the names.
pub(super) fn explained(error: Error) -> Error {
    let is_of_name = matches!(
        error.code,
        ErrorCode::FileNotFound
            // Windows has no names with quotes, and says so.
            | ErrorCode::FileIo
            | ErrorCode::ConfigInvalid
            | ErrorCode::NetworkResolve
            | ErrorCode::StoreNotFound
            | ErrorCode::LedgerNotFound
    );
    if !is_of_name || error.hint.is_some() {
        return error;
    }
    let is_of_secret = |doubt: &String| doubt.starts_with("TBPROV_PROVISION") || doubt.contains("PASSWORD");
    let doubts: Vec<_> = doubts().into_iter().filter(|doubt| !is_of_secret(doubt)).collect();
    if doubts.is_empty() { error } else { error.hint(Hint::Doubtful(doubts)) }
}

/// Whether a text is what stands in a file, and not the file's name: PEM, DER in base64, JSON, lines of variables.
pub(super) fn holds_a_file(text: &str) -> bool {
    holds_pem(text) || is_der(text) || text.trim_start().starts_with("TBPROV_") && text.contains('=')
}

/// Whether a text holds the first line of a private key.
pub(super) fn holds_a_private_key(text: &str) -> bool {
    holds_pem(text) && text.contains("PRIVATE KEY")
}

/// Whether a value that shall be the name of a file is its content.
pub(super) fn is_no_path(text: &str) -> bool {
    let bare = text.trim();
    holds_a_file(text) || (bare.starts_with(['{', '[']) && bare.contains(['"', '=']))
}

/// Whether a SEQUENCE in base64 stands in it: the body of PEM without its first and last line, or several.
fn is_der(text: &str) -> bool {
    let bare = text.replace("\\n", "").replace("\\r", "");
    let bare: String = bare.chars().filter(|character| !character.is_whitespace()).collect();
    bare.split('=').any(is_sequence)
}

fn is_sequence(bare: &str) -> bool {
    use base64::Engine as _;
    const SHORTEST: usize = 40;
    // 0x30, the mark of a SEQUENCE, and how long its length is.
    if bare.len() < SHORTEST || !bare.starts_with('M') {
        return false;
    }
    // A body may be cut off: what its beginning says is enough.
    let whole = bare.get(..bare.len() / 4 * 4).unwrap_or_default();
    match base64::engine::general_purpose::STANDARD.decode(whole).as_deref() {
        Ok([0x30, 0x82, high, low, ..]) => {
            usize::from(u16::from_be_bytes([*high, *low])) + 8 > whole.len() / 2
        }
        Ok([0x30, 0x81, length, rest @ ..]) => rest.len().abs_diff(usize::from(*length)) < 4,
        Ok([0x30, length, rest @ ..]) => *length < 0x80 && rest.len().abs_diff(usize::from(*length)) < 4,
        _ => false,
    }
}

/// Whether a bare word may be a secret that stands in the wrong place: no file's name has neither dot nor slash and so many
/// letters of both kinds, or digits among them.
pub(super) fn may_be_secret(word: &str) -> bool {
    let is_name = word.contains(['/', '\\', '.']) || word.len() < SHORTEST_SECRET;
    let is_word = word.chars().all(|character| character.is_ascii_lowercase() || "-_".contains(character));
    !is_name && !is_word
}

/// Whether a value that cannot be used may be a part of a key: much base64 in one piece.
pub(super) fn may_be_key_material(text: &str) -> bool {
    const SHORTEST: usize = 40;
    let is_base64 = |character: char| character.is_ascii_alphanumeric() || "+/=".contains(character);
    let has = |kind: fn(&char) -> bool| text.chars().any(|character| kind(&character));
    text.split(|character| !is_base64(character)).any(|piece| piece.len() >= SHORTEST)
        && has(char::is_ascii_uppercase)
        && has(char::is_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_file_is_told_from_its_name() {
        for text in [
            "-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----",
            r"-----BEGIN CERTIFICATE-----\nMIIB",
            "x -----BEGIN EC PRIVATE KEY----- y",
            "MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF",
            "TBPROV_PROVISION_SECRET=x",
        ] {
            assert!(holds_a_file(text), "{text}");
        }
        assert!(is_no_path(r#"{"provision-secret":"x"}"#));
        for text in [
            "key.pem",
            "/etc/ssl/certs/MIIB.pem",
            "Max-Mustermann",
            "MyVeryLongProvisionKeyWithManyLettersInIt0123456789",
        ] {
            assert!(!is_no_path(text), "{text}");
        }
    }

    #[test]
    fn what_is_unfit_is_said() {
        for (text, said) in [
            ("x\r", "Windows line ends"),
            ("x\n", "ends with a line end"),
            ("a\tb", r"(\t)"),
            ("\u{feff}x", "byte order mark"),
            ("a\u{1b}b", r"(\u{1b})"),
        ] {
            assert!(unfit(text).unwrap().contains(said), "{text:?}");
        }
        assert_eq!(unfit(" Küche \"1\" "), None);
    }

    #[test]
    fn quotes_and_blanks_are_doubtful() {
        for text in ["a\u{a0}b", "\"x\"", "'x'", "`x`", "“x”", " \"x\" ", "x ", " x", "x\u{a0}"] {
            assert!(doubt(text).is_some(), "{text:?}");
        }
        for text in ["x", "a b", "\"", "it's", "'a\" b"] {
            assert_eq!(doubt(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_word_that_may_be_a_secret() {
        for word in ["Xk93jDsk20slQmwPeL4z", "hunter22", "SECRETSECRET"] {
            assert!(may_be_secret(word), "{word}");
        }
        for word in ["provide", "no-such-file", "no-such.toml", "./Xk93jDsk20sl", "a1"] {
            assert!(!may_be_secret(word), "{word}");
        }
    }
}
