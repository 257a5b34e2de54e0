//! Whether a value that the server shows is what it makes of the value that was sent.
//!
//! ThingsBoard stores some values in another form (`JsonConverter.parseProtoValues`, observed at 3.2.2 to 4.3.1): text
//! that looks like a number as that number, numbers that are too large or too fine as text, NUL not at all, half of a
//! surrogate pair as `?`. None of these is another value here. A server whose operator has switched the cast off
//! (`JSON_TYPE_CAST_ENABLED`) is right too.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::super::reading::stored;

/// Whether `shown`, as the server gives it with its own type, is `sent`. Both are JSON.
pub(super) fn is_stored_as(sent: &str, shown: &str) -> bool {
    match (kind(sent), kind(shown)) {
        (Kind::Text, Kind::Text) => {
            let (sent, shown) = (decoded(sent), decoded(shown));
            sent == shown || (is_digits(&sent) && are_same_number(&sent, &shown))
        }
        (Kind::Text, Kind::Number) => {
            let sent = decoded(sent);
            is_digits(&sent) && are_same_number(&sent, shown)
        }
        (Kind::Number, Kind::Number) => are_same_number(sent, shown),
        (Kind::Number, Kind::Text) => are_same_number(sent, &decoded(shown)),
        (Kind::Composed, Kind::Composed) => are_equal(sent, shown),
        (Kind::Word, Kind::Word) => sent == shown,
        _ => false,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `true`, `false` or `null`.
    Word,
    Text,
    Number,
    Composed,
}

fn kind(json: &str) -> Kind {
    match json.as_bytes().first() {
        Some(b'"') => Kind::Text,
        Some(b'{' | b'[') => Kind::Composed,
        Some(b't' | b'f' | b'n') => Kind::Word,
        _ => Kind::Number,
    }
}

/// Whether a text is one that ThingsBoard may cast to a number (`NumberUtils.isParsable`).
fn is_digits(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    !unsigned.ends_with('.')
        && unsigned.bytes().any(|byte| byte.is_ascii_digit())
        && unsigned.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && unsigned.bytes().filter(|byte| *byte == b'.').count() <= 1
}

/// Whether both are the same number: to the last digit, or, where the one that was sent is no integer, as numbers of 64
/// bits with a binary point, as which the server keeps them.
fn are_same_number(sent: &str, shown: &str) -> bool {
    let (Some(exact), Some(shown_exact)) = (Decimal::read(sent), Decimal::read(shown)) else { return false };
    exact == shown_exact || (is_double(sent, &exact) && are_same_double(sent, shown))
}

/// A number with a point and no exponent, or with a fraction: the others are integers there.
fn is_double(sent: &str, exact: &Decimal) -> bool {
    let has_exponent = sent.contains(['e', 'E']);
    (sent.contains('.') && !has_exponent) || exact.exponent < 0
}

fn are_same_double(sent: &str, shown: &str) -> bool {
    match (sent.parse::<f64>(), shown.parse::<f64>()) {
        (Ok(sent), Ok(shown)) => sent.is_finite() && sent == shown,
        _ => false,
    }
}

/// A decimal number: its digits without zeros at their ends, times ten to the power of `exponent`.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    is_negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    fn read(text: &str) -> Option<Self> {
        let (is_negative, unsigned) = match text.strip_prefix('-') {
            Some(unsigned) => (true, unsigned),
            None => (false, text),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, i64::from(exponent.parse::<i32>().ok()?)),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let significant = all.trim_end_matches('0');
        let zeros = i64::try_from(all.len() - significant.len()).ok()?;
        let digits = significant.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self { is_negative: false, digits, exponent: 0 });
        }
        let exponent = exponent + zeros - i64::try_from(fraction.len()).ok()?;
        Some(Self { is_negative, digits, exponent })
    }
}

/// Whether both are equal as JSON: members in any order, and of a name that comes twice the last one.
fn are_equal(sent: &str, shown: &str) -> bool {
    match (kind(sent), kind(shown)) {
        (Kind::Composed, Kind::Composed) if sent.starts_with('[') && shown.starts_with('[') => {
            let (Some(sent), Some(shown)) = (items(sent), items(shown)) else { return false };
            let mut pairs = sent.iter().zip(&shown);
            sent.len() == shown.len() && pairs.all(|(sent, shown)| are_equal(sent.get(), shown.get()))
        }
        (Kind::Composed, Kind::Composed) if sent.starts_with('{') && shown.starts_with('{') => {
            // Names that cannot be read, with half of a surrogate pair, cannot be compared.
            let Some(sent) = members(sent) else { return true };
            let Some(shown) = members(shown) else { return false };
            let has = |(name, value): (&String, &&str)| {
                shown.get(name).is_some_and(|shown| are_equal(value, shown))
            };
            sent.len() == shown.len() && sent.iter().all(has)
        }
        (Kind::Text, Kind::Text) => decoded(sent) == decoded(shown),
        (Kind::Number, Kind::Number) => is_same_within(sent, shown),
        // What is beyond all doubles has no JSON number to be shown as.
        (Kind::Number, Kind::Text) => sent.parse().is_ok_and(f64::is_infinite),
        (Kind::Word, Kind::Word) => sent == shown,
        _ => false,
    }
}

/// Within JSON every number with a point or an exponent is read as a double when the server shows it.
fn is_same_within(sent: &str, shown: &str) -> bool {
    let is_double = sent.contains(['.', 'e', 'E']);
    Decimal::read(sent).is_some_and(|sent| Some(sent) == Decimal::read(shown))
        || (is_double && are_same_double(sent, shown))
}

fn items(json: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(json).ok()
}

fn members(json: &str) -> Option<BTreeMap<String, &str>> {
    let all = stored::members(json)?;
    Some(all.into_iter().map(|(name, value)| (name.replace('\0', ""), value)).collect())
}

/// The text of a JSON string, as far as ThingsBoard keeps it: no NUL, and `?` for half of a surrogate pair.
fn decoded(json: &str) -> String {
    let inside = json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).unwrap_or(json);
    let mut text = String::with_capacity(inside.len());
    let mut rest = inside;
    while let Some((before, escape)) = rest.split_once('\\') {
        text.push_str(before);
        let (kept, after) = unescaped(escape);
        text.extend(kept.filter(|kept| *kept != '\0'));
        rest = after;
    }
    text.push_str(rest);
    text
}

/// The character of an escape, of which `text` is what follows the backslash, and what follows it.
fn unescaped(text: &str) -> (Option<char>, &str) {
    let mut characters = text.chars();
    let short = match characters.next() {
        Some('u') => return unicode(characters.as_str()),
        Some('b') => Some('\u{8}'),
        Some('f') => Some('\u{c}'),
        Some('n') => Some('\n'),
        Some('r') => Some('\r'),
        Some('t') => Some('\t'),
        other => other,
    };
    (short, characters.as_str())
}

fn unicode(digits: &str) -> (Option<char>, &str) {
    let unit = |text: &str| text.get(..4).and_then(|digits| u16::from_str_radix(digits, 16).ok());
    let Some(first) = unit(digits) else { return (None, digits) };
    let after = digits.get(4..).unwrap_or_default();
    let second = after.strip_prefix("\\u").and_then(|text| Some((unit(text)?, text.get(4..)?)));
    if let Some((second, after)) = second
        && let Some(Ok(pair)) = char::decode_utf16([first, second]).next()
        && !(0xD800..=0xDFFF).contains(&u32::from(pair))
        && u32::from(pair) > 0xFFFF
    {
        return (Some(pair), after);
    }
    (Some(char::from_u32(u32::from(first)).unwrap_or('?')), after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_thingsboard_stores_in_another_form_is_the_same_value() {
        for (sent, shown) in [
            ("25", "25"),
            ("25", "25.0"),
            ("25.0", "25"),
            ("2.5e1", "25"),
            ("1E-7", "1.0E-7"),
            ("0.1", "0.1"),
            ("-0", "0"),
            ("-0.0", "-0.0"),
            ("9007199254740993", "9007199254740993"),
            ("9223372036854775807", "9223372036854775807"),
            // A double there.
            ("9007199254740993.0", "9.007199254740992E15"),
            ("0.300000000000000044", r#""0.300000000000000044""#),
            // As text, in full.
            ("1e20", r#""100000000000000000000""#),
            ("-1e-17", r#""-0.00000000000000001""#),
            (r#""007""#, "7"),
            (r#""25.0""#, "25.0"),
            (r#"".5""#, "0.5"),
            (r#""-3""#, "-3"),
            (r#""007""#, r#""007""#),
            (r#""99999999999999999999""#, r#""99999999999999999999""#),
            (r#""""#, r#""""#),
            (r#""true""#, r#""true""#),
            (r#""1e5""#, r#""1e5""#),
            (r#""\u00e9\n\/""#, "\"é\\n/\""),
            (r#""a\u0000b""#, r#""ab""#),
            (r#""\ud83d!""#, r#""?!""#),
            (r#""\ud83d\ude00""#, r#""😀""#),
            (r#""\ude00\ud83d""#, r#""??""#),
            ("true", "true"),
            (r#"{"a":1,"b":[1.50,"x",null]}"#, r#"{"b":[1.5,"\u0078",null],"a":1}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            ("[1e400]", r#"["Infinity"]"#),
            ("[9007199254740993]", "[9007199254740993]"),
            ("[0.1234567890123456789]", "[0.12345678901234568]"),
            ("{}", "{}"),
        ] {
            assert!(is_stored_as(sent, shown), "{sent} as {shown}");
        }
    }

    #[test]
    fn another_value_is_seen() {
        for (sent, shown) in [
            ("25", "26"),
            ("25", "-25"),
            ("0.1", "0.10000001"),
            ("9007199254740993", "9007199254740992"),
            ("9007199254740993e0", "9007199254740992"),
            ("1e20", r#""100000000000000000001""#),
            ("25", "true"),
            ("25", "null"),
            ("1", r#""one""#),
            ("1", r#""""#),
            (r#""1e5""#, "100000"),
            (r#""007""#, "8"),
            (r#""a""#, r#""b""#),
            (r#""a""#, "1"),
            (r#""-""#, "0"),
            (r#""""#, "0"),
            ("true", "false"),
            ("true", "1"),
            (r#"{"a":1}"#, r#"{"a":2}"#),
            (r#"{"a":1}"#, r#"{"a":1,"b":2}"#),
            (r#"{"a":1,"b":2}"#, r#"{"a":1}"#),
            (r#"{"a":null}"#, "{}"),
            (r#"{"a":"007"}"#, r#"{"a":7}"#),
            ("[1,2]", "[2,1]"),
            ("[9007199254740993]", "[9007199254740992]"),
            ("[]", "{}"),
        ] {
            assert!(!is_stored_as(sent, shown), "{sent} as {shown}");
        }
    }
}
