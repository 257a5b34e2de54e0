use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn parse(text: impl AsRef<[u8]>) -> Result<(Reading, Remarks), String> {
    Reading::parse(Bytes::copy_from_slice(text.as_ref()))
}

/// Every one is refused, with words that contain `why`.
#[track_caller]
fn refused<T: AsRef<[u8]>>(why: &str, texts: impl IntoIterator<Item = T>) {
    for text in texts {
        let shown = String::from_utf8_lossy(text.as_ref()).chars().take(200).collect::<String>();
        let error = parse(&text).expect_err(&shown);
        assert!(error.contains(why), "{shown}: {error}");
        assert!(error.starts_with("it ") || error.starts_with("element "), "{error}");
        assert!(error.chars().count() < 200, "{error}");
    }
}

#[track_caller]
fn remarks(text: &str) -> Vec<Remark> {
    parse(text).unwrap_or_else(|why| panic!("{text}: {why}")).1.iter().collect()
}

#[track_caller]
fn points(text: &str) -> Vec<u32> {
    let (reading, _) = parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
    reading.elements().iter().map(|element| element.points).collect()
}

#[track_caller]
fn sent(text: &str, time: Option<i64>) -> Vec<String> {
    let (reading, _) = parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
    assert_eq!(reading.text(), text);
    let sent = (0..reading.elements().len()).map(|index| reading.element(index, time));
    sent.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).collect()
}

#[test]
fn values_are_sent_byte_for_byte_with_the_time_that_they_have_or_get() {
    let spaced = "{ \"t\" : 25.50 ,\t\"ü\":[1, 2] }";
    assert_eq!(sent(spaced, None), [spaced]);
    assert_eq!(sent(spaced, Some(17)), [format!(r#"{{"ts":17,"values":{spaced}}}"#)]);
    let timed = r#"{ "values" : {"a" :1 }, "ts": 1700000000000 }"#;
    for time in [None, Some(17)] {
        assert_eq!(sent(timed, time), [timed]);
    }
    let array = format!("[ {spaced} , {timed},{{\"values\": {{\"b\":2}}}}]");
    assert_eq!(sent(&array, None), [spaced, timed, r#"{"b":2}"#]);
    assert_eq!(
        sent(&array, Some(-1)),
        [&format!(r#"{{"ts":-1,"values":{spaced}}}"#), timed, r#"{"ts":-1,"values":{"b":2}}"#]
    );
    let (reading, _) = parse(&array).unwrap();
    assert!(reading.is_array());
    let have_time: Vec<bool> = reading.elements().iter().map(Element::has_time).collect();
    assert_eq!(have_time, [false, true, false]);
    assert!(!parse(spaced).unwrap().0.is_array());
}

#[test]
fn every_value_that_is_stored_is_a_point() {
    for (text, expected) in [
        (r#"{"a":1}"#, &[1][..]),
        (r#"{"a":1,"b":null,"c":true,"d":"","e":{},"f":[null]}"#, &[5]),
        (r#"{"a":1,"\u0061":2}"#, &[1]),
        (r#"{"a":1,"a":null,"b":2}"#, &[1]),
        (r#"{"a":null,"a":2}"#, &[1]),
        (r#"{"ts":1700000000000,"values":{"ts":1,"values":2},"x":3}"#, &[2]),
        (r#"{"values":{"ts":1,"b":2,"c":3}}"#, &[3]),
        (r#"[{"a":1},{"ts":1700000000000,"values":{"b":2,"c":3}}]"#, &[1, 2]),
    ] {
        assert_eq!(points(text), expected, "{text}");
    }
    let many: Vec<String> = (0..300).map(|number| format!("\"k{}\":{number}", number % 200)).collect();
    let many = format!("{{{}}}", many.join(","));
    assert_eq!(points(&many), [200]);
    assert_eq!(remarks(&many), [Remark::RepeatedKey]);
}

#[test]
fn what_is_not_utf8_is_refused() {
    refused(
        "is not UTF-8 (byte 7)",
        [&b"{\"t\":\"\xFC\"}"[..], b"{\"t\":\"\xE2\x82\"}", b"{\"t\":\"\xED\xA0\x80\"}"],
    );
    let utf16 = |text: &str, to_bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        text.encode_utf16().flat_map(to_bytes).collect()
    };
    let mut texts = Vec::new();
    for to_bytes in [u16::to_le_bytes, u16::to_be_bytes] {
        for text in ["\u{FEFF}{\"t\":25}\r", "{\"t\":25}", "\u{FEFF}{\"温度\":25}", "{\"温\":25,\"ort\":1}"]
        {
            texts.push(utf16(text, to_bytes));
        }
    }
    // What is left of a line after the first when its end was looked for by the byte.
    texts.extend([utf16("{\"t\":1}\r", u16::to_be_bytes)].map(|line| [&line[..], b"\0"].concat()));
    texts.push(b"\0".to_vec());
    refused("it is UTF-16; save it as UTF-8", texts);
}

#[test]
fn what_strict_json_does_not_read_is_refused_and_what_is_lenient_is_named() {
    refused("is empty", [""]);
    refused(
        "ends too early",
        ["{", "[", "[{\"t\":1}", "{\"t\"", "{\"t\":", "{\"t\":\"x", "{\"t\":[1", "{\"t\":1"],
    );
    refused("trailing characters", ["{\"t\":1}{\"t\":2}", "{\"t\":1} [", "[{\"t\":1}]}"]);
    refused(
        "is not JSON",
        ["{\"t\" 1}", "{\"t\":\"\\x\"}", "{\"t\":\"a\tb\"}", "{\"a\":1 \"b\":2}", "{1}", "{\"t\":}"],
    );
    refused("is not JSON", ["{\"t\":\"\\u12\"}", "{\"t\":{\"x\":[1}}", "{\"t\":1]", ",", "}", "%"]);
    refused("not in single ones", ["{'t':1}", "{\"t\":'x'}", "'{\"t\":1}'", "[{'t':1}]"]);
    refused("no comments", ["{\"t\":1}//x", "{/*x*/\"t\":1}", "#x", "{\"t\":1 # x\n}"]);
    refused(
        "key is not in double quotes",
        ["{t:1}", "{\"a\":\"x\",t :1}", "{1:2}", "{température:1}", "[{$a:1}]"],
    );
    refused("no NaN and no Infinity", ["{\"t\":NaN}", "{\"t\":-Infinity}", "{\"t\":[nan]}", "Infinity"]);
    refused("small letters", ["{\"t\":True}", "{\"t\":FALSE}", "{\"t\":Null}"]);
    refused("text is not in double quotes", ["{\"t\":on}", "hello", "{\"t\":None}", "{temperature}"]);
    refused(
        "not written as in JSON",
        ["{\"t\":007}", "{\"t\":0x10}", "{\"t\":+1}", "{\"t\":.5}", "{\"t\":1.}", "{\"t\":1e}"],
    );
    refused("comma too many", ["{\"t\":1,}", "[{\"t\":1}, ]", "{\"t\":[1,\n]}"]);
    refused("',' between members", ["{\"t\"=1}", "{\"a\":1;\"b\":2}"]);
    refused("byte order mark", ["\u{FEFF}{\"t\":1}"]);
    refused("column 2", ["{t:1}"]);
    refused("line 2, column 1", ["{\"t\":1\nx:2}"]);
}

#[test]
fn what_is_no_object_and_no_array_of_objects_is_refused() {
    refused("is a number, and no JSON object", ["25", "-1.5e3", "0"]);
    refused("is text, and no JSON object", ["\"a\"", "\"\"", "\"{}\""]);
    refused("is null, and no JSON object", ["null"]);
    refused("is true or false, and no JSON object", ["true", "false"]);
    refused("it is an empty array", ["[]", "[ ]"]);
    refused("element 1 of the array is a number", ["[1]", "[1,{\"t\":1}]", "[1e400]"]);
    refused("element 2 of the array is an array", ["[{\"t\":1},[{\"t\":1}]]", "[{\"t\":1},[]]"]);
    refused("element 1 of the array is an array", ["[[1]]", "[[],[]]"]);
    refused("element 3 of the array is null", ["[{\"t\":1},{\"t\":1},null]"]);
}

#[test]
fn keys_that_are_not_stored_are_refused() {
    let with = |key: &str| {
        [format!(r#"{{"a":1,"{key}":1}}"#), format!(r#"{{"ts":1700000000000,"values":{{"{key}":"x"}}}}"#)]
    };
    for key in ["", " ", "\u{3000}\u{A0}", "\\t\\n", "\\u001c", "\u{2028}"] {
        refused("blank key", with(key));
    }
    for key in ["\\u0000", "a\\u0000b", "a\\u0000"] {
        refused("a key with a NUL character", with(key));
    }
    refused("is not JSON", with("\\ud83d").into_iter().chain(with("x\\udc00")));
    refused("a key of 256 characters", with(&"k".repeat(256)).into_iter().chain(with(&"😀".repeat(128))));
    refused("a key of 3000 characters", with(&"温".repeat(3000)));
    for key in ["k".repeat(255), "温".repeat(255), "😀".repeat(127), "\\u0041".repeat(255), "a b".to_owned()]
    {
        for text in with(&key) {
            assert_eq!(remarks(&text), [], "{key}");
        }
    }
}

#[test]
fn times_and_values_that_are_not_understood_are_refused() {
    let at = |ts: &str| format!(r#"{{"ts":{ts},"values":{{"a":1}}}}"#);
    refused(
        "has 'ts' without 'values'",
        ["{\"ts\":1700000000000}", "{\"ts\":1700000000000,\"a\":1}", "{\"ts\":null,\"a\":1}"],
    );
    refused("'ts' that is no number", ["null", "true", "{}", "[1]", "false"].map(at));
    refused(
        "'ts' that is text and no integer",
        [r#""now""#, r#""""#, r#"" 1""#, r#""1.5""#, r#""+""#, r#""1e12""#].map(at),
    );
    refused(
        "'ts' after the year 2099",
        ["4102444800000", "9999999999999999", "\"4102444800000\"", "4102444800000.0", "9e18"].map(at),
    );
    refused(
        "'ts' beyond 64 bits",
        ["9223372036854775808", "-9223372036854775809", "\"99999999999999999999\"", "-1e40", "1e-9999999999"]
            .map(at),
    );
    refused("'ts' after the year 2099", ["1e300", "1e400"].map(at));
    refused(
        "'values' that is no object",
        ["1", "null", "[]", "\"x\"", "[{\"a\":1}]"].map(|values| format!("{{\"values\":{values}}}")),
    );
    refused(
        "'values' that is no object",
        ["1", "null", "[]"].map(|values| format!("{{\"ts\":1700000000000,\"values\":{values}}}")),
    );
    refused("has 'ts' twice", ["{\"ts\":1,\"ts\":1}", "{\"ts\":1,\"values\":{\"a\":1},\"t\\u0073\":1}"]);
    refused(
        "has 'values' twice",
        ["{\"values\":{\"a\":1},\"values\":{\"a\":1}}", "{\"ts\":1,\"values\":1,\"values\":{}}"],
    );
    refused(
        "has 'values' and 'time', but no 'ts'",
        ["{\"values\":{\"a\":1},\"time\":1}", "{\"time\":1,\"values\":{\"a\":1}}"],
    );
    refused("element 2 of the array has 'ts' without", ["[{\"a\":1},{\"ts\":1,\"a\":1}]"]);
}

#[test]
fn what_leaves_nothing_to_store_is_refused() {
    let empty = ["{}", "{\"a\":null}", "{\"a\":null,\"b\":null}", "{\"a\":1,\"a\":null}", "{\"values\":{}}"];
    let timed =
        ["{}", "{\"a\":null}"].map(|values| format!("{{\"ts\":1700000000000,\"values\":{values},\"b\":1}}"));
    refused(
        "it has no value that ThingsBoard would store",
        empty.iter().map(ToString::to_string).chain(timed.clone()),
    );
    let in_array =
        empty.iter().map(ToString::to_string).chain(timed).map(|text| format!("[{{\"a\":1}},{text}]"));
    refused("element 2 of the array has no value", in_array);
}

#[test]
fn integers_beyond_64_bits_are_refused_as_direct_values_alone() {
    let text = |number: &str| format!(r#"{{"a":1,"big":{number}}}"#);
    refused(
        "has an integer beyond 64 bits as 'big'",
        ["9223372036854775808", "-9223372036854775809", &"9".repeat(400)].map(text),
    );
    refused("an exponent beyond 32 bits", ["1e2147483648", "1e-99999999999", "0e99999999999"].map(text));
    for fits in
        ["9223372036854775807", "-9223372036854775808", "[9223372036854775808]", "{\"x\":1e999}", "-0"]
    {
        assert_eq!(remarks(&text(fits)), [], "{fits}");
    }
    assert_eq!(
        parse("{\"\\u202e\\n\":99999999999999999999}").unwrap_err(),
        r"it has an integer beyond 64 bits as '\u{202e}\n'"
    );
}

#[test]
fn deep_nesting_is_refused_without_falling_over() {
    let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
    assert_eq!(remarks(&nested(100)), []);
    refused(
        "nested more than 100 levels",
        [nested(101), nested(5000), "[".repeat(65536), "{\"a\":".repeat(13000)],
    );
    refused("nested more than 100 levels", [format!("[{{\"a\":\"\\\"]\\\\\"}},{}]", nested(100))]);
    let brackets = format!("{{\"a\":\"\\\"{}\",\"b\":[{}]}}", "[".repeat(500), vec!["{}"; 500].join(","));
    assert_eq!(remarks(&brackets), []);
    let array = format!("[{}]", vec!["{\"a\":1}"; 500].join(","));
    assert_eq!(points(&array), [1; 500]);
}

#[test]
fn what_is_stored_otherwise_than_written_is_remarked() {
    let kinds = [
        (
            Remark::TextBecomesNumber,
            &["\"007\"", "\"25.0\"", "\"-3\"", "\".5\"", "\"\\u0031\"", "\"-.5\"", "\"9223372036854775807\""]
                [..],
        ),
        (
            Remark::NumberBecomesText,
            &[
                "1e308",
                "1e400",
                "-1E+19",
                "9.3e18",
                "1e-20",
                "0.1234567890123456",
                "1.0000000000000000",
                "1.5e-15",
                "1e2000000000",
            ],
        ),
        (Remark::NulInText, &["\"a\\u0000b\"", "\"\\\\\\u0000\"", "[\"\\u0000\"]", "{\"\\u0000\":1}"]),
        (
            Remark::HalfSurrogate,
            &[
                "\"\\ud83d\"",
                "\"\\uD83Dx\"",
                "\"\\udE00\\ud83d\"",
                "\"\\ud83d\\ud83d\\ude00\"",
                "[\"\\ud83d\",\"\\ude00\"]",
            ],
        ),
    ];
    for (kind, values) in kinds {
        for value in values {
            assert_eq!(remarks(&format!("{{\"a\":{value}}}")), [kind], "{value}");
        }
    }
    assert_eq!(remarks("{\"a\":1,\"b\":null}"), [Remark::NullValue]);
    assert_eq!(remarks("{\"a\":1,\"a\":2}"), [Remark::RepeatedKey]);
    assert_eq!(remarks("{\"a\":1e400,\"\\u0061\":2}"), [Remark::RepeatedKey]);
    assert_eq!(remarks("{\"values\":{\"a\":1}}"), [Remark::ValuesWithoutTime]);
    assert_eq!(
        remarks("[{\"a\":\"1\"},{\"b\":null,\"c\":1}]"),
        [Remark::NullValue, Remark::TextBecomesNumber]
    );
}

#[test]
fn what_is_stored_as_written_is_not_remarked() {
    for value in [
        "\"1e5\"",
        "\"true\"",
        "\"\"",
        "\" \"",
        "\"1.\"",
        "\".\"",
        "\"-\"",
        "\"-.\"",
        "\"1.2.3\"",
        "\"+1\"",
        "\"--1\"",
        "\" 7\"",
        "\"99999999999999999999\"",
        "\"0.1234567890123456\"",
        "\"1-2\"",
        "\"\\n1\"",
        "1",
        "-0.0",
        "25.50",
        "0.123456789012345",
        "1e5",
        "1.5e3",
        "10e-1",
        "1e-15",
        "9.2e18",
        "-9.223372036854775808e18",
        "0e400",
        "0.0e-30",
        "1.0000000000000000e0",
        "123456789012345678901234567890.5",
        "true",
        "\"\\ud83d\\ude00\"",
        "\"\\\\ud83d\"",
        "\"\\\\u0000\"",
        "{\"n\":null}",
        "[\"007\"]",
        "{\"a\":1,\"a\":1}",
        "[1e400]",
        "{\"\":1}",
    ] {
        assert_eq!(remarks(&format!("{{\"a\":{value}}}")), [], "{value}");
    }
}

#[test]
fn times_that_are_not_taken_as_written_are_remarked() {
    for (ts, expected) in [
        ("1700000000000", &[][..]),
        ("100000000000", &[]),
        ("4102444799999", &[]),
        ("1700000000", &[Remark::TimeInSeconds]),
        ("0", &[Remark::TimeInSeconds]),
        ("-1", &[Remark::TimeInSeconds]),
        ("99999999999", &[Remark::TimeInSeconds]),
        ("\"1700000000000\"", &[Remark::TimeIsText]),
        ("\"+1700000000000\"", &[Remark::TimeIsText]),
        ("\"1700000000\"", &[Remark::TimeInSeconds, Remark::TimeIsText]),
        ("1700000000000.9", &[Remark::TimeIsNoInteger]),
        ("4102444799999.9", &[Remark::TimeIsNoInteger]),
        ("1.7e12", &[Remark::TimeIsNoInteger]),
        ("1700000000.123", &[Remark::TimeInSeconds, Remark::TimeIsNoInteger]),
    ] {
        let text = format!("{{\"ts\":{ts},\"values\":{{\"a\":1}}}}");
        assert_eq!(remarks(&text), expected, "{ts}");
        let dropped = format!("{{\"ts\":{ts},\"values\":{{\"a\":1}},\"b\":\"007\"}}");
        assert_eq!(remarks(&dropped).last(), Some(&Remark::MoreBesideValues));
        assert_eq!(remarks(&dropped).len(), expected.len() + 1);
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[0-9.-]{0,4}|.{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from), any_object(inner),]
    })
}

fn any_object(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let key = prop_oneof![4 => "[a-z]{1,3}", 2 => ".{1,4}", 1 => Just("ts".to_owned()), 1 => Just("values".to_owned())];
    prop::collection::btree_map(key, value, 0..20)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

proptest! {
    #[test]
    fn every_object_that_is_taken_is_sent_with_the_same_values(object in any_object(any_json()), time: i64, pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) }.unwrap();
        // A float may change when it is read, and does so once.
        let object: Value = serde_json::from_str(&text).unwrap();
        let Ok((reading, _)) = parse(&text) else { return Ok(()) };
        prop_assert_eq!(reading.elements().len(), 1);
        let sent: Value = serde_json::from_slice(&reading.element(0, Some(time))).unwrap();
        let values = object.get("values").unwrap_or(&object);
        if reading.elements()[0].has_time() {
            prop_assert_eq!(&sent, &object);
        } else {
            prop_assert_eq!(&sent, &json!({"ts": time, "values": values}));
        }
        let stored = values.as_object().unwrap().values().filter(|value| !value.is_null()).count();
        prop_assert_eq!(reading.elements()[0].points as usize, stored);
    }

    #[test]
    fn no_text_and_no_bytes_make_it_panic(
        text in r#"[\[\]{}:,'"\\ud0-9aetsNl./*#\- \u{FEFF}ü]{0,60}"#,
        bytes in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let _ = parse(&text);
        let _ = parse(format!("{{\"ts\":{text},\"values\":{{\"a\":{text},\"b\":\"{text}\"}}}}"));
        let _ = parse(bytes);
    }
}
