//! JSON as ThingsBoard reads it: Gson's `JsonParser`, which is lenient.
//!
//! Beside strict JSON it takes single quotes, names and words without quotes, comments (`//`, `#`, `/* */`), `;` for
//! `,`, `=` and `=>` for `:`, a byte order mark, and nothing where an array wants a member (`[1,]` ends with a null).
//! What is neither a number nor `true`, `false` or `null` is text: `NaN`, `0x10`, `007`.

use std::borrow::Cow;
use std::collections::HashMap;

/// How deep objects and arrays may lie in each other (Gson's nesting limit): no input exhausts the stack.
const DEEPEST: usize = 255;

/// What Gson skips at the very beginning: a line that keeps browsers from running JSON as a script.
const PREFIX: &str = ")]}'\n";

/// Up to so many members, each is compared with each for names that come twice.
const FEW_MEMBERS: usize = 12;

/// One value. Text that has no escapes is borrowed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Boolean(bool),
    /// As it was written.
    Number(&'a str),
    Text(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Members<'a>),
}

/// The members of an object in the order in which their names came first; of a name that comes twice, the last value.
pub(super) type Members<'a> = Vec<(Cow<'a, str>, Json<'a>)>;

/// The value of a whole payload; nothing where ThingsBoard's parser fails.
pub(super) fn read(text: &str) -> Option<Json<'_>> {
    Reader::new(text).whole()
}

/// Whether the parser fails because objects and arrays lie too deep in each other.
pub(super) fn is_too_deep(text: &str) -> bool {
    let mut reader = Reader::new(text);
    reader.whole().is_none() && reader.was_too_deep
}

impl Json<'_> {
    /// Writes it as Gson does: without blanks, numbers as they came.
    pub(super) fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Boolean(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(number) => out.push_str(number),
            Self::Text(text) => write_text(text, out),
            Self::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { "," });
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (index, (name, value)) in members.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { "," });
                    write_text(name, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// Writes text in quotes.
pub(super) fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..'\u{20}' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

/// A position in a text. Every method leaves it at a character's beginning: it stops at ASCII alone.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    was_too_deep: bool,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self { text: text.strip_prefix('\u{feff}').unwrap_or(text), at: 0, was_too_deep: false }
    }

    fn whole(&mut self) -> Option<Json<'a>> {
        self.significant()?;
        if self.rest().starts_with(PREFIX) {
            self.at += PREFIX.len();
        }
        let value = self.value(0)?;
        self.is_at_the_end().then_some(value)
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is neither blank nor of a comment, not consumed. Nothing at the end.
    fn significant(&mut self) -> Option<u8> {
        loop {
            match self.byte()? {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                b'#' => self.skip_line(),
                b'/' => match self.text.as_bytes().get(self.at + 1) {
                    Some(b'/') => self.skip_line(),
                    Some(b'*') => self.at += 4 + self.rest().get(2..)?.find("*/")?,
                    _ => return Some(b'/'),
                },
                byte => return Some(byte),
            }
        }
    }

    fn skip_line(&mut self) {
        self.at += self.rest().find(['\n', '\r']).unwrap_or(self.rest().len());
    }

    /// A comment that does not end is not the end.
    fn is_at_the_end(&mut self) -> bool {
        self.significant().is_none() && self.at == self.text.len()
    }

    /// Consumes the next significant byte when it is one of `wanted`.
    fn take(&mut self, wanted: &[u8]) -> Option<u8> {
        let byte = self.significant().filter(|byte| wanted.contains(byte))?;
        self.at += 1;
        Some(byte)
    }

    fn value(&mut self, depth: usize) -> Option<Json<'a>> {
        match self.significant()? {
            b'{' | b'[' if depth >= DEEPEST => {
                self.was_too_deep = true;
                None
            }
            b'{' => self.object(depth + 1).map(Json::Object),
            b'[' => self.array(depth + 1).map(Json::Array),
            quote @ (b'"' | b'\'') => self.quoted(quote).map(Json::Text),
            _ => self.word().map(word_value),
        }
    }

    fn array(&mut self, depth: usize) -> Option<Vec<Json<'a>>> {
        self.at += 1;
        let mut items = Vec::new();
        if self.take(b"]").is_some() {
            return Some(items);
        }
        loop {
            items.push(match self.significant()? {
                b']' | b',' | b';' => Json::Null,
                _ => self.value(depth)?,
            });
            if self.take(b"],;")? == b']' {
                return Some(items);
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<Members<'a>> {
        self.at += 1;
        let mut members = Vec::new();
        if self.take(b"}").is_some() {
            return Some(members);
        }
        loop {
            let name = match self.significant()? {
                quote @ (b'"' | b'\'') => self.quoted(quote)?,
                _ => Cow::Borrowed(self.word()?),
            };
            if self.take(b":=")? == b'=' && self.byte() == Some(b'>') {
                self.at += 1;
            }
            members.push((name, self.value(depth)?));
            if self.take(b"},;")? == b'}' {
                return Some(without_repeats(members));
            }
        }
    }

    /// What stands without quotes: at least one character.
    fn word(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        let length = rest.bytes().position(ends_a_word).unwrap_or(rest.len());
        self.at += length;
        (length > 0).then_some(&rest[..length])
    }

    fn quoted(&mut self, quote: u8) -> Option<Cow<'a, str>> {
        self.at += 1;
        let plain = self.until(quote)?;
        if self.byte()? == quote {
            self.at += 1;
            return Some(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        while self.byte()? != quote {
            self.at += 1;
            text.push(self.escaped()?);
            text.push_str(self.until(quote)?);
        }
        self.at += 1;
        Some(Cow::Owned(text))
    }

    /// What comes before the next quote or backslash.
    fn until(&mut self, quote: u8) -> Option<&'a str> {
        let rest = self.rest();
        let length = rest.bytes().position(|byte| byte == quote || byte == b'\\')?;
        self.at += length;
        Some(&rest[..length])
    }

    /// What stands for an escape, behind its backslash. Half of a surrogate pair is a question mark, as Java writes it.
    fn escaped(&mut self) -> Option<char> {
        let byte = self.byte()?;
        self.at += 1;
        Some(match byte {
            b'"' | b'\'' | b'\\' | b'/' | b'\n' => char::from(byte),
            b't' => '\t',
            b'b' => '\u{8}',
            b'n' => '\n',
            b'r' => '\r',
            b'f' => '\u{c}',
            b'u' => self.unicode()?,
            _ => return None,
        })
    }

    fn unicode(&mut self) -> Option<char> {
        let first = self.four_digits()?;
        if (0xD800..0xDC00).contains(&first) && self.rest().starts_with("\\u") {
            let before = self.at;
            self.at += 2;
            let second = self.four_digits()?;
            if let Some(Ok(pair)) = char::decode_utf16([first, second]).next() {
                return Some(pair);
            }
            self.at = before;
        }
        Some(char::from_u32(u32::from(first)).unwrap_or('?'))
    }

    fn four_digits(&mut self) -> Option<u16> {
        let digits = self.rest().get(..4)?;
        self.at += 4;
        let are_hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        are_hexadecimal.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
    }
}

/// `JsonReader.isLiteral`.
fn ends_a_word(byte: u8) -> bool {
    matches!(
        byte,
        b'/' | b'\\'
            | b';'
            | b'#'
            | b'='
            | b'{'
            | b'}'
            | b'['
            | b']'
            | b':'
            | b','
            | b' '
            | b'\t'
            | 0xC
            | b'\r'
            | b'\n'
    )
}

fn word_value(word: &str) -> Json<'_> {
    if is_number(word) {
        return Json::Number(word);
    }
    let is = |keyword| word.eq_ignore_ascii_case(keyword);
    match () {
        () if is("true") => Json::Boolean(true),
        () if is("false") => Json::Boolean(false),
        () if is("null") => Json::Null,
        () => Json::Text(Cow::Borrowed(word)),
    }
}

/// The grammar of JSON: no leading zeros, no plus, digits on both sides of a point.
fn is_number(word: &str) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let unsigned = word.strip_prefix('-').unwrap_or(word);
    let whole = digits(unsigned);
    if whole == 0 || (whole > 1 && unsigned.starts_with('0')) {
        return false;
    }
    let mut rest = &unsigned[whole..];
    if let Some(fraction) = rest.strip_prefix('.') {
        let length = digits(fraction);
        if length == 0 {
            return false;
        }
        rest = &fraction[length..];
    }
    let Some(exponent) = rest.strip_prefix(['e', 'E']) else { return rest.is_empty() };
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    !exponent.is_empty() && digits(exponent) == exponent.len()
}

/// The members with each name once.
fn without_repeats(mut members: Members<'_>) -> Members<'_> {
    if members.len() <= FEW_MEMBERS {
        let repeats = |index: usize| members[..index].iter().any(|(name, _)| *name == members[index].0);
        if !(1..members.len()).any(repeats) {
            return members;
        }
    }
    let mut places: HashMap<Cow<'_, str>, usize> = HashMap::with_capacity(members.len());
    let mut kept: Members<'_> = Vec::with_capacity(members.len());
    for (name, value) in members.drain(..) {
        match places.get(&name) {
            Some(place) => kept[*place].1 = value,
            None => {
                places.insert(name.clone(), kept.len());
                kept.push((name, value));
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> Option<String> {
        read(text).map(|json| {
            let mut out = String::new();
            json.write(&mut out);
            out
        })
    }

    #[test]
    fn what_the_lenient_parser_takes() {
        for (text, same) in [
            (r#"{"a":1}"#, r#"{"a":1}"#),
            ("{'a':'b'}", r#"{"a":"b"}"#),
            ("{a:b}", r#"{"a":"b"}"#),
            ("\u{feff}{a:1}", r#"{"a":1}"#),
            (")]}'\n{a:1}", r#"{"a":1}"#),
            ("// one\n# two\r/* three */{a/**/:1}// four", r#"{"a":1}"#),
            ("{a=1;b=>2}", r#"{"a":1,"b":2}"#),
            ("[1,]", "[1,null]"),
            ("[,]", "[null,null]"),
            ("[1;2]", "[1,2]"),
            ("[TRUE,False,nUll]", "[true,false,null]"),
            ("[NaN,0x10,007,-,1.,.5,1e,+1]", r#"["NaN","0x10","007","-","1.",".5","1e","+1"]"#),
            ("[-0,1.50,1E+5,-2e-3]", "[-0,1.50,1E+5,-2e-3]"),
            (r#"["\u00e9\ud83d\ude00\"\/\'\n"]"#, r#"["é😀\"/'\n"]"#),
            (r#"["\ud800","\udc00\ud800","\ud800\u0041","\ud800\ud83d\ude00"]"#, r#"["?","??","?A","?😀"]"#),
            ("['a\nb\\\nc']", r#"["a\nb\nc"]"#),
            ("[\"\\u0000\u{2028}\"]", r#"["\u0000\u2028"]"#),
            ("{a:1,b:2,a:3}", r#"{"a":3,"b":2}"#),
            ("{}", "{}"),
            (" [ ] ", "[]"),
            ("{é:ü}", r#"{"é":"ü"}"#),
        ] {
            assert_eq!(written(text).as_deref(), Some(same), "{text}");
        }
    }

    #[test]
    fn what_even_the_lenient_parser_refuses() {
        for text in [
            "",
            " ",
            "{",
            "[",
            "{a",
            "{a:",
            "{a:1",
            "{a:1,",
            "{a:1,}",
            "{,}",
            "{a:}",
            "{a:,}",
            "{:1}",
            "[1",
            "[1 2]",
            "{a:1}x",
            "{a:1}{a:1}",
            "{} 1",
            "{a:'b}",
            r#"{a:"\x"}"#,
            r#"{a:"\u12"}"#,
            r#"{a:"\u+123"}"#,
            "{a:1/b:2}",
            "{a:1}/* no end",
            "/*",
            "{a:1}/",
            "{a\u{c}:1}",
            "{a:b c}",
            "]",
            "}",
        ] {
            assert_eq!(written(text), None, "{text}");
        }
    }

    #[test]
    fn many_members_with_the_same_names_are_each_kept_once() {
        let members: Vec<_> = (0..5000).map(|number| format!("k{}:{number}", number % 100)).collect();
        let text = format!("{{{}}}", members.join(","));
        let Some(Json::Object(members)) = read(&text) else { panic!("no object") };
        assert_eq!(members.len(), 100);
        assert_eq!(members[7], (Cow::Borrowed("k7"), Json::Number("4907")));
    }

    #[test]
    fn depth_is_limited() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&nested(DEEPEST)).is_some());
        assert!(read(&nested(DEEPEST + 1)).is_none());
        assert!(read(&"[".repeat(60_000)).is_none());
        assert!(read(&"{a:".repeat(20_000)).is_none());
    }

    /// Any strict JSON, without floating-point numbers, which are written in more than one way.
    fn strict() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
                prop::collection::hash_map(any::<String>(), inner, 0..20)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn strict_json_is_read_and_written_as_it_was(value in strict()) {
            for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let again: serde_json::Value = serde_json::from_str(&written(&text).unwrap()).unwrap();
                prop_assert_eq!(&again, &value);
            }
        }

        #[test]
        fn what_is_written_is_strict(text in r#"[{\[][ -~\n'"{}\[\],;:=>#/*\\é😀]{0,40}[}\]]"#) {
            if let Some(out) = written(&text) {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok(), "{out}");
            }
        }
    }
}
