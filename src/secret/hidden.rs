//! Takes secrets out of what a server says.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use percent_encoding::percent_decode_str;

use super::Secret;

/// What is shown instead of a secret.
const HIDDEN: &str = "[hidden]";

/// JSON in JSON in JSON is as deep as texts are looked into.
const DEEPEST: usize = 4;

/// `text` without `secrets`, also where they were escaped for JSON. Where that was done in an unusual way, nothing of
/// the text is left.
pub(crate) fn hide(text: &str, secrets: &[&Secret]) -> String {
    let mut wanted: Vec<&str> =
        secrets.iter().map(|secret| secret.expose()).filter(|secret| !secret.is_empty()).collect();
    // One may be a part of another.
    wanted.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let mut shown = text.to_owned();
    for secret in &wanted {
        shown = shown.replace(&escaped(secret), HIDDEN).replace(secret, HIDDEN);
    }
    let mut forms = in_another_form(&shown).into_iter();
    if forms.any(|form| wanted.iter().any(|secret| form.contains(secret))) {
        return HIDDEN.to_owned();
    }
    let mut layer = Cow::Borrowed(shown.as_str());
    for _ in 0..DEEPEST {
        layer = Cow::Owned(unescaped(&layer));
        if wanted.iter().any(|secret| layer.contains(secret)) {
            return HIDDEN.to_owned();
        }
    }
    shown
}

/// The text without percent-encoding, without HTML's escapes, and what stands in it in base64.
fn in_another_form(text: &str) -> Vec<String> {
    const SHORTEST: usize = 8;
    const HTML: [(&str, &str); 6] =
        [("&quot;", "\""), ("&#34;", "\""), ("&#39;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")];
    let mut forms = vec![percent_decode_str(text).decode_utf8_lossy().into_owned()];
    forms.push(HTML.iter().fold(text.to_owned(), |text, (escape, plain)| text.replace(escape, plain)));
    let is_base64 = |character: char| character.is_ascii_alphanumeric() || "+/-_".contains(character);
    for piece in text.split(|character| !is_base64(character)).filter(|piece| piece.len() >= SHORTEST) {
        let piece = piece.replace('-', "+").replace('_', "/");
        let whole = piece.get(..piece.len() / 4 * 4).unwrap_or_default();
        let decoded = STANDARD_NO_PAD.decode(&piece).or_else(|_| STANDARD_NO_PAD.decode(whole));
        forms.extend(decoded.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
    }
    forms
}

/// The secret as the request holds it.
fn escaped(secret: &str) -> String {
    let quoted = serde_json::Value::from(secret).to_string();
    quoted.trim_start_matches('"').strip_suffix('"').unwrap_or(&quoted).to_owned()
}

/// `text` with each JSON escape replaced by its character. Other text stays as it is.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let (character, length) = escape(rest).unwrap_or(('\\', 1));
        plain.push(character);
        rest = &rest[length..];
    }
    plain.push_str(rest);
    plain
}

/// The character of the escape that `text` begins with, and the escape's length in bytes.
fn escape(text: &str) -> Option<(char, usize)> {
    let simple = match text.as_bytes().get(1)? {
        b'u' => return unicode(text),
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        _ => return None,
    };
    Some((simple, 2))
}

/// `\uXXXX`, or two of them where one character needs two.
fn unicode(text: &str) -> Option<(char, usize)> {
    let unit = |at: usize| u16::from_str_radix(text.get(at..at + 4)?, 16).ok();
    let first = unit(2)?;
    if let Some(character) = char::from_u32(u32::from(first)) {
        return Some((character, 6));
    }
    text.get(6..8).filter(|next| *next == "\\u")?;
    let character = char::decode_utf16([first, unit(8)?]).next()?.ok()?;
    Some((character, 12))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_however_it_was_escaped() {
        let secret = Secret::new("a\"b\\c/é\u{1F511}");
        for (text, shown) in [
            ("no: a\"b\\c/é\u{1F511}!", "no: [hidden]!"),
            (r#"{"s":"a\"b\\c/é🔑"}"#, r#"{"s":"[hidden]"}"#),
            (r#"{"s":"a\u0022b\u005cc\/\u00E9\ud83d\uDD11"}"#, "[hidden]"),
            (r#"{\"s\":\"a\\\"b\\\\c/é🔑\"}"#, "[hidden]"),
            (r"a part: a\", r"a part: a\"),
            (r"no escapes: \x \u12 \ud83d", r"no escapes: \x \u12 \ud83d"),
        ] {
            assert_eq!(hide(text, &[&secret]), shown, "{text}");
        }
    }

    #[test]
    fn a_secret_in_another_form_leaves_nothing() {
        let secret = Secret::new("hunter2-Pass\"w");
        for text in [
            "no: Basic aHVudGVyMi1QYXNzInc=",
            "no: aHVudGVyMi1QYXNzInc",
            "no: hunter2-Pass&quot;w",
            "https://e/hunter2-Pass%22w",
        ] {
            assert_eq!(hide(text, &[&secret]), "[hidden]", "{text}");
        }
    }

    #[test]
    fn one_secret_may_be_a_part_of_another_and_an_empty_one_hides_nothing() {
        let secrets = [Secret::new("abc"), Secret::new("abcdef"), Secret::new("")];
        let secrets: Vec<&Secret> = secrets.iter().collect();
        assert_eq!(hide("abcdef, abc.", &secrets), "[hidden], [hidden].");
        assert_eq!(hide("nothing", &secrets), "nothing");
    }
}
