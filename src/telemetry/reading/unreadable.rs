//! Why a text is no telemetry at all, in words: only looked for when something is wrong.
//!
//! ThingsBoard's parser is lenient (Gson), and acknowledges much that is no JSON. What it makes of such a text
//! depends on the release, so only JSON is sent, and the message says what to change.

use serde_json::value::RawValue;

/// `text` as UTF-8. The error is a predicate.
pub(super) fn utf8(text: &[u8]) -> Result<&str, String> {
    let decoded = std::str::from_utf8(text);
    // UTF-16 is UTF-8 with NULs where all of it is ASCII. In JSON a NUL is escaped.
    let may_be_utf16 = decoded.is_err() || text.contains(&0);
    if may_be_utf16 && is_utf16(text) {
        return Err("is UTF-16; save it as UTF-8".to_owned());
    }
    decoded.map_err(|error| format!("is not UTF-8 (byte {}); save it as UTF-8", error.valid_up_to() + 1))
}

/// Whether there is UTF-16's byte order mark, or a NUL in every other byte: more or less, for what is not ASCII
/// has none.
fn is_utf16(text: &[u8]) -> bool {
    let mut nuls = [0_usize; 2];
    for (index, _) in text.iter().enumerate().filter(|(_, byte)| **byte == 0) {
        nuls[index % 2] += 1;
    }
    let is_every_other = nuls.contains(&0) && (nuls[0] + nuls[1]) * 3 >= text.len();
    text.starts_with(&[0xFF, 0xFE]) || text.starts_with(&[0xFE, 0xFF]) || is_every_other
}

/// Why `text` does not begin as an object. The error is a predicate.
pub(super) fn no_object(text: &str) -> String {
    if let Err(error) = serde_json::from_str::<&RawValue>(text) {
        return not_json(text, &error);
    }
    let what = match text.as_bytes().first() {
        Some(b'[') => "an array",
        Some(b'"') => "text",
        Some(b'n') => "null",
        Some(b't' | b'f') => "true or false",
        _ => "a number",
    };
    format!("is {what}, and no JSON object")
}

/// Why `text` is no JSON, of which `error` is the parser's view. The error is a predicate.
pub(super) fn not_json(text: &str, error: &serde_json::Error) -> String {
    if text.is_empty() {
        return "is empty".to_owned();
    }
    let place = match error.line() {
        1 => format!("column {}", error.column()),
        line => format!("line {line}, column {}", error.column()),
    };
    if let Some(lenient) = lenient(text) {
        return format!("is not strict JSON ({place}): {lenient}");
    }
    if error.is_eof() {
        // The first line of a text that an editor or a program has spread over several.
        let goes_on = text.trim_end().ends_with(['{', '[', ',']);
        let several =
            if goes_on { "; JSON over several lines has to be put on one ('jq -c .' does)" } else { "" };
        return format!("is not JSON: it ends too early ({place}){several}");
    }
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    format!("is not JSON ({place}): {message}")
}

/// The first part of `text` that only a lenient parser reads.
fn lenient(text: &str) -> Option<&'static str> {
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        rest = match first {
            '"' => after_string(after),
            '\u{FEFF}' => return Some("there is a byte order mark in it"),
            '\'' => return Some("text is in double quotes, not in single ones"),
            '#' => return Some("JSON has no comments"),
            '/' if after.starts_with(['/', '*']) => return Some("JSON has no comments"),
            ';' | '=' => return Some("it is ',' between members, and ':' between key and value"),
            ',' if after.trim_start().starts_with([']', '}']) => {
                return Some("there is a comma too many before a bracket");
            }
            _ if is_in_word(first) || matches!(first, '-' | '+' | '.') => {
                let end = rest.find(|next| !is_in_word(next) && !matches!(next, '-' | '+' | '.'));
                let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
                if let Some(why) = lenient_word(word, after) {
                    return Some(why);
                }
                after
            }
            _ => after,
        };
    }
    None
}

fn is_in_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '$')
}

/// What follows the string whose first quote is passed.
fn after_string(text: &str) -> &str {
    let mut is_escaped = false;
    let end = text.find(|character| {
        let ends = character == '"' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        ends
    });
    end.map_or("", |end| &text[end + 1..])
}

/// What is wrong with a word outside of quotes, which may be a number.
fn lenient_word(word: &str, after: &str) -> Option<&'static str> {
    let is_one_of = |words: &[&str]| words.iter().any(|one| word.eq_ignore_ascii_case(one));
    if after.trim_start().starts_with(':') {
        return Some("a key is not in double quotes");
    }
    if serde_json::from_str::<&RawValue>(word).is_ok() {
        return None;
    }
    if is_one_of(&["nan", "-nan", "+nan", "infinity", "-infinity", "+infinity", "inf", "-inf", "+inf"]) {
        return Some("JSON has no NaN and no Infinity");
    }
    if is_one_of(&["true", "false", "null"]) {
        return Some("true, false and null are in small letters");
    }
    if word.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '+' | '.')) {
        return Some("a number is not written as in JSON");
    }
    Some("a text is not in double quotes")
}

#[cfg(test)]
mod tests {
    use super::no_object;

    #[test]
    fn json_over_several_lines_is_told_from_json_that_was_cut_off() {
        for first in ["{", "[", "{ ", "{\"a\":1,", "[{"] {
            assert!(no_object(first).contains("has to be put on one"), "{first}");
        }
        for cut in ["{\"a\":", "{\"a\":1", "[1"] {
            assert!(no_object(cut).ends_with(')'), "{cut}: {}", no_object(cut));
        }
    }
}
