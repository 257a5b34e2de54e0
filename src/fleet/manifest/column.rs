//! What a column of a manifest is called.

use std::borrow::Cow;

use crate::telemetry::check_key;
use crate::text::{holds_pem, one_line};

/// How much of an unknown name is shown, in characters.
const SHOWN: usize = 40;
/// How alike two names are that may be the same, from 0 to 1.
const ALIKE: f64 = 0.8;

/// What the cells of a column say about a device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Column {
    Name,
    Label,
    Mac,
    Serial,
    KeyType,
    Days,
    Gateway,
    WifiSsid,
    /// A client attribute of this key.
    Client(String),
    /// Something of the user's own.
    Extra(String),
}

/// The columns with a fixed name.
const FIXED: [(&str, Column); 8] = [
    ("name", Column::Name),
    ("label", Column::Label),
    ("mac", Column::Mac),
    ("serial", Column::Serial),
    ("key-type", Column::KeyType),
    ("days", Column::Days),
    ("gateway", Column::Gateway),
    ("wifi-ssid", Column::WifiSsid),
];

/// What others call a column.
const ALSO: [(&str, &str); 13] = [
    ("device", "name"),
    ("device-name", "name"),
    ("id", "name"),
    ("device-label", "label"),
    ("mac-address", "mac"),
    ("macaddress", "mac"),
    ("serial-number", "serial"),
    ("serialnumber", "serial"),
    ("sn", "serial"),
    ("is-gateway", "gateway"),
    ("isgateway", "gateway"),
    ("ssid", "wifi-ssid"),
    ("valid-days", "days"),
];

/// Words that only names of secrets have.
const SECRETS: [&str; 14] = [
    "secret",
    "secrets",
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "pwd",
    "psk",
    "token",
    "tokens",
    "credential",
    "credentials",
    "apikey",
    "privatekey",
];
/// Words that make a key one that is secret.
const SECRET_KEYS: [&str; 4] = ["private", "api", "secret", "access"];

/// Why a name is no column's.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoColumn {
    /// It is empty.
    Blank,
    /// It looks like the name of a secret.
    Secret,
    /// There is no such column.
    Unknown(String),
    /// What follows `client.` or `x.` is no key.
    Key(String),
}

impl NoColumn {
    /// In words.
    pub(super) fn why(self) -> String {
        match self {
            Self::Blank => "has no name".to_owned(),
            Self::Secret => {
                "is called like a secret, and a manifest holds none: take the column out (its cells \
                             were not read)"
                    .to_owned()
            }
            Self::Unknown(nearest) => nearest,
            Self::Key(why) => why,
        }
    }
}

impl Column {
    /// The column that is called so. Letter case and blanks around a name do not count.
    pub(super) fn parse(written: &str) -> Result<Self, NoColumn> {
        let name = written.trim();
        if name.is_empty() {
            return Err(NoColumn::Blank);
        }
        if let Some((_, column)) = FIXED.iter().find(|(fixed, _)| name.eq_ignore_ascii_case(fixed)) {
            return Ok(column.clone());
        }
        let is_secret = |is_own: bool| is_secret(name, is_own) || holds_pem(name);
        if let Some(key) = after_prefix(name, "client.") {
            check_key(key).map_err(NoColumn::Key)?;
            return if is_secret(true) { Err(NoColumn::Secret) } else { Ok(Self::Client(key.to_owned())) };
        }
        if let Some(key) = after_prefix(name, "x.") {
            check_key(key).map_err(NoColumn::Key)?;
            return if is_secret(true) { Err(NoColumn::Secret) } else { Ok(Self::Extra(key.to_owned())) };
        }
        Err(if is_secret(false) { NoColumn::Secret } else { NoColumn::Unknown(unknown(name)) })
    }

    /// The name as it is shown.
    pub(super) fn shown(&self) -> Cow<'static, str> {
        match self {
            Self::Client(key) => format!("client.{}", one_line(key, SHOWN)).into(),
            Self::Extra(key) => format!("x.{}", one_line(key, SHOWN)).into(),
            fixed => FIXED.iter().find(|(_, column)| column == fixed).map_or("", |(name, _)| name).into(),
        }
    }
}

/// A name that is no column's, as it is shown; nothing where it is none at all.
pub(super) fn shown(written: &str) -> Option<String> {
    let name = written.trim();
    (!name.is_empty() && !holds_pem(name)).then(|| one_line(name, SHOWN))
}

/// What follows `prefix`, whose letter case does not count; the key's own does.
fn after_prefix<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let (first, key) = name.split_at_checked(prefix.len())?;
    first.eq_ignore_ascii_case(prefix).then_some(key)
}

/// Why there is no such column, with the nearest one.
fn unknown(name: &str) -> String {
    let plain = name.to_lowercase().replace(['_', ' '], "-");
    let also = ALSO.iter().find(|(other, _)| *other == plain).map(|(_, column)| *column);
    let alike = |other: &str| strsim::jaro_winkler(&plain, other);
    let nearest = FIXED
        .iter()
        .map(|(fixed, _)| (alike(fixed), *fixed))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .filter(|(alike, _)| *alike >= ALIKE)
        .map(|(_, fixed)| fixed);
    match also.or(nearest) {
        Some(nearest) => format!("there is no such column: is it '{nearest}'?"),
        None => {
            "there is no such column: one of your own begins with 'x.', a client attribute with 'client.'"
                .to_owned()
        }
    }
}

/// Whether a name is that of a secret. A key is one, unless the name is the user's own (`x.locker-key`), where only some
/// keys are.
fn is_secret(name: &str, is_own: bool) -> bool {
    let words = words(name);
    let is_key = |word: &str| word == "key" || word == "keys";
    let has_key = words.last().is_some_and(|last| is_key(last));
    words.iter().any(|word| SECRETS.contains(&&**word))
        || has_key && (!is_own || words.iter().any(|word| SECRET_KEYS.contains(&&**word)))
}

/// The words of a name, in small letters: `provisionKey`, `provision_key` and `Provision Key` are two each.
fn words(name: &str) -> Vec<String> {
    let (mut words, mut word, mut after_small) = (Vec::new(), String::new(), false);
    for character in name.chars() {
        let begins = character.is_uppercase() && after_small;
        if !character.is_alphanumeric() || begins {
            words.push(std::mem::take(&mut word));
        }
        if character.is_alphanumeric() {
            word.extend(character.to_lowercase());
        }
        after_small = character.is_lowercase() || character.is_numeric();
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_their_names() {
        for (name, column) in FIXED {
            assert_eq!(Column::parse(&format!(" {} ", name.to_uppercase())), Ok(column.clone()));
            assert_eq!(column.shown(), name);
        }
        assert_eq!(Column::parse("CLIENT.fwVersion"), Ok(Column::Client("fwVersion".to_owned())));
        assert_eq!(Column::parse("X.Customer No"), Ok(Column::Extra("Customer No".to_owned())));
        assert_eq!(Column::parse("x.locker-key"), Ok(Column::Extra("locker-key".to_owned())));
        assert_eq!(Column::parse(" "), Err(NoColumn::Blank));
        assert!(matches!(Column::parse("client."), Err(NoColumn::Key(_))));
        assert!(matches!(Column::parse(&format!("x.{}", "k".repeat(256))), Err(NoColumn::Key(_))));
    }

    #[test]
    fn a_name_like_that_of_a_secret_is_refused() {
        for name in [
            "provision-secret",
            "provision-key",
            "Provision Key",
            "provisionKey",
            "password",
            "WIFI_PASSWORD",
            "wifi-password-file",
            "token",
            "accessToken",
            "key",
            "secret",
            "psk",
            "private_key",
            "client.password",
            "client.apiKey",
            "x.claim-secret",
            "x.private key",
            "-----BEGIN PRIVATE KEY-----",
        ] {
            assert_eq!(Column::parse(name), Err(NoColumn::Secret), "{name}");
        }
    }

    #[test]
    fn an_unknown_name_is_told_with_the_nearest() {
        for (name, nearest) in [
            ("nmae", "name"),
            ("key_type", "key-type"),
            ("Key Type", "key-type"),
            ("MAC-Address", "mac"),
            ("Serial Number", "serial"),
            ("serail", "serial"),
            ("gatway", "gateway"),
            ("ssid", "wifi-ssid"),
            ("wifi_ssid", "wifi-ssid"),
            ("day", "days"),
        ] {
            let Err(NoColumn::Unknown(why)) = Column::parse(name) else { panic!("{name}") };
            assert!(why.contains(&format!("'{nearest}'")), "{name}: {why}");
        }
        let Err(NoColumn::Unknown(why)) = Column::parse("colour") else { panic!() };
        assert!(why.contains("begins with 'x.'"), "{why}");
    }
}
