//! A value as ThingsBoard stores it, as text (`JsonConverter.parseProtoValues`).

use super::lenient_json::{Json, write_text};
use super::release::Release;

/// Digits behind the point up to which a number is stored as one; beyond, it is stored as text.
const MOST_DECIMALS: i64 = 15;

/// A number whose plain form would be longer is kept as it was written.
const LONGEST_PLAIN: i64 = 2048;

/// Whether a value can be decoded at all.
pub(super) fn is_readable(value: &Json<'_>, release: Release) -> bool {
    match value {
        Json::Number(number) if release.refuses_big_integers() => {
            number.contains('.') || number.parse::<i64>().is_ok()
        }
        Json::Number(number) => !number.contains(['e', 'E']) || Decimal::read(number).is_some(),
        _ => true,
    }
}

/// What is stored: numeric text is cast to a number, and NUL is dropped.
pub(super) fn stored(value: &Json<'_>) -> String {
    match value {
        Json::Number(number) => stored_number(number),
        Json::Text(text) if is_parsable(text) => stored_number(text),
        Json::Text(text) => text.replace('\0', ""),
        other => {
            let mut text = String::new();
            other.write(&mut text);
            text
        }
    }
}

/// What is stored, as JSON: text in quotes, numbers without.
pub(super) fn stored_json(value: &Json<'_>) -> String {
    let stored = stored(value);
    let is_text = match value {
        Json::Number(_) => !is_stored_as_number(&stored),
        Json::Text(text) => !is_parsable(text) || !is_stored_as_number(&stored),
        _ => false,
    };
    if !is_text {
        return stored;
    }
    let mut json = String::new();
    write_text(&stored, &mut json);
    json
}

/// Whole numbers of more than 64 bits, and numbers with too many digits behind the point, are stored as text.
fn is_stored_as_number(stored: &str) -> bool {
    let is_double = || Decimal::read(stored).is_some_and(|decimal| decimal.scale <= MOST_DECIMALS);
    stored.parse::<i64>().is_ok() || (stored.contains(['.', 'e', 'E']) && is_double())
}

/// `NumberUtils.isParsable`: digits with at most one point, which is not the last, and a minus.
fn is_parsable(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    !unsigned.is_empty()
        && !unsigned.ends_with('.')
        && unsigned.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && unsigned.bytes().filter(|byte| *byte == b'.').count() <= 1
}

/// `JsonConverter.buildNumericKeyValueProto`. A whole number beyond 64 bits is text, which looks the same.
fn stored_number(number: &str) -> String {
    let Some(decimal) = Decimal::read(number) else { return number.to_owned() };
    let is_simple = number.contains('.') && !number.contains(['e', 'E']);
    let is_whole = decimal.is_whole() && !is_simple;
    if is_whole || decimal.scale > MOST_DECIMALS {
        return decimal.plain(!is_whole).unwrap_or_else(|| number.to_owned());
    }
    match number.parse::<f64>() {
        Ok(double) if double.is_finite() => format!("{double:?}"),
        _ => number.to_owned(),
    }
}

/// A decimal number: its digits, without zeros in front, times ten to the power of minus `scale`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    is_negative: bool,
    digits: String,
    scale: i64,
}

impl Decimal {
    /// Nothing where the exponent has more than 32 bits, which Java refuses too.
    pub(super) fn read(number: &str) -> Option<Self> {
        let (is_negative, unsigned) = match number.strip_prefix('-') {
            Some(unsigned) => (true, unsigned),
            None => (false, number),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0').to_owned();
        Some(Self { is_negative, digits, scale: length(fraction) - i64::from(exponent) })
    }

    fn is_whole(&self) -> bool {
        self.digits.is_empty()
            || self.scale <= length(&self.digits) - length(self.digits.trim_end_matches('0'))
    }

    /// The whole part; nothing beyond 64 bits.
    pub(super) fn whole(&self) -> Option<i64> {
        let kept = length(&self.digits) - self.scale;
        if self.digits.is_empty() || kept <= 0 {
            return Some(0);
        }
        let kept = usize::try_from(kept).ok().filter(|kept| *kept <= 20)?;
        let sign = if self.is_negative { "-" } else { "" };
        format!("{sign}{:0<kept$.kept$}", self.digits).parse().ok()
    }

    /// All digits, with or without those behind the point, and no exponent; nothing where that would be very long.
    fn plain(&self, with_fraction: bool) -> Option<String> {
        if self.digits.is_empty() && !with_fraction {
            return Some("0".to_owned());
        }
        if self.scale.abs() > LONGEST_PLAIN {
            return None;
        }
        let sign = if self.is_negative { "-" } else { "" };
        let Ok(decimals) = usize::try_from(self.scale) else {
            let zeros = usize::try_from(-self.scale).ok()?;
            return Some(format!("{sign}{}{}", self.digits, "0".repeat(zeros)));
        };
        let width = decimals + 1;
        let digits = format!("{:0>width$}", self.digits);
        let (whole, fraction) = digits.split_at(digits.len() - decimals);
        Some(if with_fraction { format!("{sign}{whole}.{fraction}") } else { format!("{sign}{whole}") })
    }
}

fn length(digits: &str) -> i64 {
    i64::try_from(digits.len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::lenient_json::read;
    use super::*;

    fn of(value: &str) -> String {
        let text = format!("[{value}]");
        let Some(Json::Array(items)) = read(&text) else { panic!("{value} is no JSON") };
        stored(&items[0])
    }

    #[test]
    fn numeric_text_is_cast_and_other_text_stays() {
        for (sent, kept) in [
            (r#""007""#, "7"),
            (r#""25.0""#, "25.0"),
            ("007", "7"),
            (r#""-3""#, "-3"),
            (r#"".5""#, "0.5"),
            (r#""1e5""#, "1e5"),
            (r#""true""#, "true"),
            (r#""""#, ""),
            (r#"" ""#, " "),
            (r#""-""#, "-"),
            (r#""5.""#, "5."),
            (r#""1.2.3""#, "1.2.3"),
            ("NaN", "NaN"),
            ("0x10", "0x10"),
            ("hello", "hello"),
            (r#""a\u0000b""#, "ab"),
            (r#""\ud800""#, "?"),
            ("true", "true"),
            ("{b:[1,'x',null]}", r#"{"b":[1,"x",null]}"#),
        ] {
            assert_eq!(of(sent), kept, "{sent}");
        }
    }

    #[test]
    fn numbers_are_whole_or_doubles_or_text() {
        for (sent, kept) in [
            ("7", "7"),
            ("-0", "0"),
            ("25.50", "25.5"),
            ("1e5", "100000"),
            ("1.5e1", "15"),
            ("1.20e1", "12"),
            ("1e-3", "0.001"),
            ("1.0", "1.0"),
            ("9223372036854775807", "9223372036854775807"),
            ("9223372036854775808", "9223372036854775808"),
            ("0.1234567890123456789", "0.1234567890123456789"),
            ("-1e-17", "-0.00000000000000001"),
            ("1e2147483647", "1e2147483647"),
        ] {
            assert_eq!(of(sent), kept, "{sent}");
        }
        assert_eq!(of("1e400"), format!("1{}", "0".repeat(400)));
        assert_eq!(of("1e308").len(), 309);
    }

    #[test]
    fn release_3_2_reads_no_big_integers() {
        for (number, at_3_2, later) in [
            ("9223372036854775807", true, true),
            ("9223372036854775808", false, true),
            ("1e5", false, true),
            ("1.5e400", true, true),
            ("1e99999999999", false, false),
        ] {
            let readable = |release| is_readable(&Json::Number(number), release);
            assert_eq!((readable(Release::V3_2), readable(Release::V4_3)), (at_3_2, later), "{number}");
        }
    }

    #[test]
    fn the_whole_part_is_cut_not_rounded() {
        let whole = |number| Decimal::read(number).unwrap().whole();
        assert_eq!(whole("1700000000000.9"), Some(1_700_000_000_000));
        assert_eq!(whole("-1.9"), Some(-1));
        assert_eq!(whole("1.7e12"), Some(1_700_000_000_000));
        assert_eq!(whole("0.9"), Some(0));
        assert_eq!(whole("1e3"), Some(1000));
        assert_eq!(whole("99999999999999999999"), None);
        assert_eq!(whole("1e2000000000"), None);
    }
}
