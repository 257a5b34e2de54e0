//! What ThingsBoard makes of one value, and of a time. All values here are JSON that the parser has accepted.

use std::borrow::Cow;

use crate::telemetry::remark::{Remark, Remarks};

/// The last millisecond that is taken for a time: the end of the year 2099. Much later ones are acknowledged and
/// not stored.
pub(in crate::telemetry) const LATEST: i64 = 4_102_444_799_999;
/// Below this, in March 1973, a time is rather one in seconds: as such it is in the year 5138.
const MILLISECONDS_FROM: i64 = 100_000_000_000;
/// Digits after the point with which a number stays one.
const LONGEST_FRACTION: i64 = 15;

/// Whether ThingsBoard stores `json` as a value. It does not store `null`. The error names what it cannot read.
pub(super) fn check(json: &str, remarks: &mut Remarks) -> Result<bool, &'static str> {
    match json.as_bytes().first() {
        Some(b'n') => {
            remarks.add(Remark::NullValue);
            return Ok(false);
        }
        Some(b't' | b'f') => {}
        Some(b'"') => {
            check_escapes(json, remarks);
            if becomes_number(json) {
                remarks.add(Remark::TextBecomesNumber);
            }
        }
        // Stored as JSON text.
        Some(b'{' | b'[') => check_escapes(json, remarks),
        _ => {
            if !stays_number(json)? {
                remarks.add(Remark::NumberBecomesText);
            }
        }
    }
    Ok(true)
}

/// The milliseconds that ThingsBoard takes a `ts` for. The error is a predicate of the element.
pub(super) fn check_time(json: &str, remarks: &mut Remarks) -> Result<i64, String> {
    let beyond = || "has a 'ts' beyond 64 bits".to_owned();
    let time = match json.as_bytes().first() {
        Some(b'"') => {
            remarks.add(Remark::TimeIsText);
            let text = decoded(json).unwrap_or_default();
            // As Java's Long.parseLong.
            let digits = text.strip_prefix(['-', '+']).unwrap_or(&text);
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err("has a 'ts' that is text and no integer".to_owned());
            }
            text.parse().map_err(|_| beyond())?
        }
        Some(b'-' | b'0'..=b'9') => match json.parse() {
            Ok(time) => time,
            Err(_) if !json.contains(['.', 'e', 'E']) => return Err(beyond()),
            Err(_) => {
                remarks.add(Remark::TimeIsNoInteger);
                whole_milliseconds(json).ok_or_else(beyond)?
            }
        },
        _ => return Err("has a 'ts' that is no number".to_owned()),
    };
    if time > LATEST {
        return Err("has a 'ts' after the year 2099; it counts milliseconds since 1970".to_owned());
    }
    if time < MILLISECONDS_FROM {
        remarks.add(Remark::TimeInSeconds);
    }
    Ok(time)
}

/// A number with a fraction or an exponent, without the fraction; `None` when it is too small for 64 bits, or has
/// an exponent that ThingsBoard cannot read.
fn whole_milliseconds(json: &str) -> Option<i64> {
    stays_number(json).ok()?;
    let time: f64 = json.parse().ok()?;
    // The cast cuts off the fraction, and stays within 64 bits.
    let whole = time as i64;
    (whole != i64::MIN).then_some(whole)
}

/// The text of the JSON string `json`; `None` if it has half of a surrogate pair.
pub(super) fn decoded(json: &str) -> Option<Cow<'_, str>> {
    if json.contains('\\') {
        return serde_json::from_str(json).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inside(json)))
}

/// A JSON string without its quotes.
fn inside(json: &str) -> &str {
    json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).unwrap_or(json)
}

/// Remarks what ThingsBoard does not store of the strings in `json`. A backslash is always in a string.
fn check_escapes(json: &str, remarks: &mut Remarks) {
    let mut rest = json;
    while let Some(start) = rest.find('\\') {
        let escape = &rest[start..];
        let Some((unit, after)) = escaped_unit(escape) else {
            // What follows a backslash is one ASCII character.
            rest = escape.get(2..).unwrap_or_default();
            continue;
        };
        rest = after;
        match unit {
            0 => remarks.add(Remark::NulInText),
            0xD800..=0xDBFF => match escaped_unit(after) {
                Some((0xDC00..=0xDFFF, after)) => rest = after,
                _ => remarks.add(Remark::HalfSurrogate),
            },
            0xDC00..=0xDFFF => remarks.add(Remark::HalfSurrogate),
            _ => {}
        }
    }
}

/// The UTF-16 unit of a `\uXXXX` with which `text` begins, and what follows.
fn escaped_unit(text: &str) -> Option<(u16, &str)> {
    let (digits, after) = text.strip_prefix("\\u")?.split_at_checked(4)?;
    Some((u16::from_str_radix(digits, 16).ok()?, after))
}

/// Whether ThingsBoard casts the JSON string `json` to a number: digits, a point among or before them, and a minus
/// sign before (Commons Lang's `NumberUtils.isParsable`).
fn becomes_number(json: &str) -> bool {
    if !inside(json).starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '.' | '\\')) {
        return false;
    }
    let Some(text) = decoded(json) else { return false };
    let digits = text.strip_prefix('-').unwrap_or(&text);
    let (whole, fraction) = match digits.split_once('.') {
        Some((_, "")) => return false,
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (digits, None),
    };
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match fraction {
        Some(fraction) => {
            are_digits(whole) && are_digits(fraction) && fraction.len() <= LONGEST_FRACTION as usize
        }
        // What does not fit stays text.
        None => are_digits(whole) && text.parse::<i64>().is_ok(),
    }
}

/// Whether ThingsBoard stores the JSON number `json` as a number, and not as text. With a point or an exponent it
/// is a `BigDecimal` there, of which integers have to fit into 64 bits and others must not be too fine.
fn stays_number(json: &str) -> Result<bool, &'static str> {
    // Nearly every number: too short for anything to be the matter.
    if json.len() <= 16 && !json.bytes().any(|byte| matches!(byte, b'e' | b'E')) {
        return Ok(true);
    }
    let (mantissa, exponent) = match json.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (json, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits_after_point = fraction.len() as i64;
    let Some(exponent) = exponent else {
        if fraction.is_empty() && json.parse::<i64>().is_err() {
            return Err("an integer beyond 64 bits");
        }
        return Ok(digits_after_point <= LONGEST_FRACTION);
    };
    // A BigDecimal has 32 bits for it, and ThingsBoard closes the connection when it cannot make one.
    let exponent: i32 = exponent.parse().map_err(|_| "a number with an exponent beyond 32 bits")?;
    let scale = digits_after_point - i64::from(exponent);
    let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Ok(true);
    }
    let zeros = (digits.len() - significant.len()) as i64 - scale;
    if zeros < 0 {
        return Ok(scale <= LONGEST_FRACTION);
    }
    let sign = if whole.starts_with('-') { "-" } else { "" };
    // No integer of 64 bits ends with 19 zeros.
    let zeros = usize::try_from(zeros).ok().filter(|zeros| *zeros < 19);
    Ok(zeros.is_some_and(|zeros| format!("{sign}{significant}{:0<zeros$}", "").parse::<i64>().is_ok()))
}
