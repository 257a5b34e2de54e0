//! What is refused by line, left out where the user wants that, and what is warned of.

use super::*;

fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(to_bytes).collect()
}

/// What is said of lines that are no readings, and such lines.
fn refused_lines() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
    let with_key = |key: &str| format!("{{\"a\":1,\"{key}\":2}}");
    let at = |ts: &str| format!("{{\"ts\":{ts},\"values\":{{\"a\":1}}}}");
    let nested = |open: &str, close: &str| format!("{{\"a\":{}{}}}", open.repeat(100), close.repeat(100));
    vec![
        (
            "a key of 256 characters",
            texts(&[&with_key(&"k".repeat(256)), &with_key(&"\u{1f600}".repeat(128))]),
        ),
        ("a key of 70", texts(&[&with_key(&"k".repeat(700)), &with_key(&"\u{6e29}".repeat(7000))])),
        ("a blank key", texts(&[&with_key(""), &with_key("  "), &with_key("\\t\u{3000}")])),
        (
            "a key with a NUL character",
            texts(&[&with_key("\\u0000"), "{\"ts\":1700000000000,\"values\":{\"a\\u0000b\":1}}"]),
        ),
        ("a 'ts' that is no number", texts(&[&at("null"), &at("true"), &at("[1]"), &at("{}")])),
        ("a 'ts' that is text and no integer", texts(&[&at("\"now\""), &at("\"\""), &at("\"1.5\"")])),
        ("after the year 2099", texts(&[&at("4102444800000"), &at("\"1700000000000000\""), &at("9e18")])),
        ("'ts' without 'values'", texts(&["{\"ts\":1700000000000}", "{\"ts\":1700000000000,\"a\":1}"])),
        (
            "'values' that is no object",
            texts(&["{\"values\":1}", "{\"ts\":1700000000000,\"values\":[{\"a\":1}]}", "{\"values\":null}"]),
        ),
        ("an empty array", texts(&["[]", "[ ]"])),
        (
            "element 2 of the array is",
            texts(&["[{\"a\":1},2]", "[{\"a\":1},[{\"a\":1}]]", "[{\"a\":1},null]"]),
        ),
        (
            "no value that ThingsBoard would store",
            texts(&[
                "{}",
                "{\"a\":null}",
                "{\"a\":null,\"b\":null}",
                "{\"values\":{}}",
                "{\"ts\":1700000000000,\"values\":{\"a\":null}}",
                "[{\"a\":1},{}]",
            ]),
        ),
        (
            "an integer beyond 64 bits",
            texts(&["{\"a\":9223372036854775808}", "{\"a\":1,\"b\":-9223372036854775809}"]),
        ),
        ("no NaN and no Infinity", texts(&["{\"a\":NaN}", "{\"a\":-Infinity}", "{\"a\":[nan]}"])),
        ("is not UTF-8", vec![b"{\"a\":\"\xfc\"}".to_vec(), b"{\"\xe2\x82\":1}".to_vec(), b"\x80".to_vec()]),
        (
            "is UTF-16",
            vec![
                utf16("{\"a\":1}", u16::to_le_bytes),
                utf16("\u{feff}{\"a\":1}", u16::to_be_bytes),
                utf16("\u{feff}{\"\u{6e29}\":1}", u16::to_le_bytes),
            ],
        ),
        (
            "nested more than 100 levels",
            texts(&[&nested("[", "]"), &nested("{\"b\":", "}").replace(":}", ":1}")]),
        ),
        ("not in single ones", texts(&["{'a':1}", "{\"a\":'x'}", "[{'a':1}]"])),
        ("no comments", texts(&["{\"a\":1}//x", "{/*x*/\"a\":1}", "# x", "{\"a\":1} # x"])),
        ("key is not in double quotes", texts(&["{a:1}", "[{$a : 1}]"])),
        ("comma too many", texts(&["{\"a\":1,}", "[{\"a\":1},]"])),
        ("not written as in JSON", texts(&["{\"a\":007}", "{\"a\":0x10}", "{\"a\":.5}", "{\"a\":+1}"])),
        ("small letters", texts(&["{\"a\":True}", "{\"a\":NULL}"])),
        ("and no JSON object", texts(&["7", "\"a\"", "null", "true"])),
        ("ends too early", texts(&["{\"a\":", "[{\"a\":1}"])),
        ("trailing characters", texts(&["{\"a\":1}{\"a\":2}", "{\"a\":1} 2"])),
    ]
}

#[test]
fn a_line_that_is_no_reading_is_named_after_those_before_it_are_acknowledged() {
    let station = Station::new();
    let mut last = 0;
    for (why, lines) in refused_lines() {
        assert!(lines.len() >= 2, "{why}");
        for line in lines {
            let shown = String::from_utf8_lossy(&line).chars().take(100).collect::<String>();
            let input = [b"{\"a\":1}\n\n{\"a\":2}\n", &line[..], b"\n{\"a\":3}\n"].concat();
            let sent = station.send_lines("", input);
            assert_eq!(sent.ran.brief(), "2 usage/invalid-value telemetry", "{shown}: {:?}", sent.ran);
            let message = sent.ran.message();
            for part in ["line 4 of standard input", why, "(2 of 2 readings were acknowledged)"] {
                assert!(message.contains(part), "{shown}: {message}");
            }
            assert_sent(&sent, &[timed("{\"a\":1}"), timed("{\"a\":2}")], &mut last);
        }
    }
}

#[test]
fn json_that_is_no_reading_is_refused_before_anything_is_asked() {
    let station = Station::new();
    for (why, texts) in refused_lines() {
        // No argument has a NUL.
        for text in texts.into_iter().filter(|text| !text.contains(&0)) {
            for flags in ["", "--skip-refused", "--as-is"] {
                let Some(json) = argument(&text) else { continue };
                let shown = json.to_string_lossy().chars().take(100).collect::<String>();
                let mut argument = OsString::from("--send-telemetry=");
                argument.push(json);
                let mut arguments: Vec<_> = words(flags).into_iter().map(OsString::from).collect();
                arguments.push(argument);
                let sent = station.connect(&arguments, "");
                assert_eq!(sent.ran.brief(), "2 usage/invalid-value plan", "{shown}: {:?}", sent.ran);
                let is_text = std::str::from_utf8(&text).is_ok();
                assert!(!is_text || sent.ran.message().contains(why), "{shown}: {:?}", sent.ran);
            }
        }
    }
    assert!(station.server.telemetry(NAME).is_empty());
}

#[cfg(unix)]
fn argument(text: &[u8]) -> Option<OsString> {
    Some(std::os::unix::ffi::OsStringExt::from_vec(text.to_vec()))
}

#[cfg(not(unix))]
fn argument(text: &[u8]) -> Option<OsString> {
    std::str::from_utf8(text).ok().map(OsString::from)
}

/// Every line that is refused is left out, and named; those around them arrive.
#[test]
fn refused_lines_are_skipped_named_and_counted() {
    let station = Station::new();
    let (mut input, mut after, mut named) = (Vec::new(), Vec::new(), Vec::new());
    let mut line = 0;
    for (why, lines) in refused_lines() {
        for refused in lines {
            input.extend([&refused[..], b"\n"].concat());
            line += 1;
            named.push((line, why.to_owned()));
        }
        input.extend(format!("{{\"after\":{line}}}\n").into_bytes());
        after.push(format!("{{\"after\":{line}}}"));
        line += 1;
    }
    let object = format!("{{\"a\":\"{}\"}}", "x".repeat(70_000));
    let array = format!("[{{\"a\":\"{}\"}}]", "x".repeat(600_000));
    let megabytes = "x".repeat(2 << 20);
    // What follows one that is too long is a line of its own. The last one has no end.
    let longs = [&object, &array, &megabytes, &megabytes];
    for (index, long) in longs.into_iter().enumerate() {
        input.extend(long.as_bytes());
        line += 1;
        let why = if long == &array { "is larger than 512 KiB" } else { "is larger than the 64 KiB" };
        named.push((line, why.to_owned()));
        if index + 1 < longs.len() {
            input.extend(b"\n{\"between\":1}\n");
            line += 1;
            after.push("{\"between\":1}".to_owned());
        }
    }
    station.sandbox.write("lines", &input);
    let expected: Vec<_> = after.iter().map(|reading| timed(reading)).collect();
    let mut last = 0;
    for flags in ["=-", "=@lines", "=- --as-is"] {
        let is_as_is = flags.ends_with("--as-is");
        let flags = words(&format!("--send-telemetry{flags} --skip-refused"));
        let sent = station.connect(&flags, if flags[0].ends_with('-') { &input[..] } else { b"" });
        assert_eq!(sent.ran.code, Some(6), "{:?}", sent.ran);
        assert_eq!(sent.ran.json()["outcome"], "connected");
        let count = expected.len() as u64;
        assert_eq!(sent.counts(), [count, count, count, named.len() as u64]);
        assert_sent(&sent, if is_as_is { &after } else { &expected }, &mut last);
        let events = sent.events("reading-refused");
        assert_eq!(events.len(), named.len());
        for (event, (line, why)) in events.iter().zip(&named) {
            let reason = event["reason"].as_str().unwrap();
            assert!(event["line"] == *line && reason.contains(why), "{line} {why}: {event}");
            assert!(reason.starts_with(&format!("line {line} of ")), "{event}");
        }
    }
}

#[test]
fn the_first_hundred_refused_are_named_and_the_rest_counted() {
    let station = Station::new();
    let mut input = String::new();
    for number in 1..=130 {
        writeln!(input, "{{\"a\":NaN}}\n{}", if number % 65 == 0 { "{\"a\":1}" } else { "" }).unwrap();
    }
    let sent = station.send_lines("--skip-refused", &input);
    assert_eq!((sent.ran.code, sent.counts()), (Some(6), [2, 2, 2, 130]));
    let lines: Vec<_> =
        sent.events("reading-refused").iter().map(|event| event["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, (0..100).map(|number| 2 * number + 1).collect::<Vec<_>>());
    let ran = station.sandbox.run_with_stdin("connect --send-telemetry=- --skip-refused", input);
    assert_eq!(ran.code, Some(6), "{ran:?}");
    assert_eq!(ran.stderr.matches("warning: refused: line ").count(), 100, "{ran:?}");
    assert!(ran.stderr.contains("warning: refused: line 199 of standard input is not telemetry"), "{ran:?}");
    assert!(ran.stdout.contains("2 sent, 2 acknowledged, 130 refused"), "{ran:?}");
    // Nothing but what is refused.
    let sent = station.send_lines("--skip-refused", "7\n8\n");
    assert_eq!((sent.ran.code, sent.counts()), (Some(6), [0, 0, 0, 2]));
    // Nothing is.
    let sent = station.send_lines("--skip-refused", "{\"a\":1}");
    assert_eq!((sent.ran.code, sent.counts()), (Some(0), [1, 1, 1, 0]));
    // What is refused is no reading of the count.
    let sent = station.send_lines("--skip-refused --count 2", "7\n{\"a\":1}\n8\n{\"a\":2}\n9\n{\"a\":3}\n");
    assert_eq!((sent.ran.code, sent.counts()), (Some(6), [2, 2, 2, 2]));
}

/// What is warned of, and readings for which it is.
const REMARKED: &[(&str, &[&str])] = &[
    ("a value is null", &[r#"{"a":1,"b":null}"#, r#"{"a":null,"b":"x"}"#]),
    ("a text looks like a number", &[r#"{"a":"007"}"#, r#"{"a":"-1.5"}"#, r#"{"a":".5"}"#]),
    (
        "'ts' looks like seconds",
        &[r#"{"ts":1700000000,"values":{"a":1}}"#, r#"{"ts":99999999999,"values":{"a":1}}"#],
    ),
    (
        "'ts' is text",
        &[r#"{"ts":"1700000000000","values":{"a":1}}"#, r#"{"ts":"+1700000000000","values":{"a":1}}"#],
    ),
    (
        "'ts' has a fraction",
        &[r#"{"ts":1700000000000.5,"values":{"a":1}}"#, r#"{"ts":1.7e12,"values":{"a":1}}"#],
    ),
    ("a text has a NUL character", &[r#"{"a":"x\u0000"}"#, r#"{"a":{"b":"\u0000"}}"#]),
    ("half of a surrogate pair", &[r#"{"a":"\ud83d"}"#, r#"{"a":"\udc00x"}"#, r#"{"a":["\ud83d\ud83d"]}"#]),
    (
        "stores it as text",
        &[r#"{"a":1e400}"#, r#"{"a":0.1234567890123456}"#, r#"{"a":1e-16}"#, r#"{"a":1e19}"#],
    ),
    ("a key is there twice", &[r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#]),
    ("'values' has no 'ts'", &[r#"{"values":{"a":1}}"#, r#"{"values":{"ts":1}}"#]),
    (
        "more than 'ts' and 'values'",
        &[
            r#"{"ts":1700000000000,"values":{"a":1},"b":2}"#,
            r#"{"ts":1700000000000,"x":null,"values":{"a":1}}"#,
        ],
    ),
];

/// What arrives of a reading.
fn pattern_of(reading: &str) -> String {
    match reading.strip_prefix(r#"{"values":"#).and_then(|rest| rest.strip_suffix('}')) {
        Some(values) => timed(values),
        None if reading.contains("\"ts\":") => reading.to_owned(),
        None => timed(reading),
    }
}

#[test]
fn what_is_stored_otherwise_is_sent_and_warned_of_once_a_kind() {
    let (station, recorder) = (Station::new(), Recorder::default());
    let elsewhere = elsewhere(recorder.listen());
    let assert_arrived = |readings: &[&str]| {
        let arrived = recorder.take();
        assert_eq!(arrived.len(), readings.len(), "{readings:?}");
        for ((_, message), reading) in arrived.iter().zip(readings) {
            times_in(message, &pattern_of(reading));
        }
    };
    let mut all = Vec::new();
    for (kind, readings) in REMARKED {
        assert!(readings.len() >= 2, "{kind}");
        let lines = [&["{\"good\":true}"], *readings].concat();
        let flags = [&elsewhere[..], &words("--send-telemetry=-")].concat();
        let sent = station.connect(&flags, lines.join("\n"));
        let warnings = sent.warnings();
        assert_eq!(warnings.len(), 1, "{kind}: {:?}", sent.ran);
        assert!(warnings[0].starts_with("line 2 of standard input: "), "{warnings:?}");
        assert!(warnings[0].contains(kind), "{kind}: {warnings:?}");
        assert_eq!((sent.ran.code, sent.counts()[1]), (Some(0), lines.len() as u64));
        assert_arrived(&lines);
        for reading in *readings {
            let sent = station.connect(&[&elsewhere[..], &json_argument(reading, "")].concat(), "");
            let warnings = sent.warnings();
            assert_eq!((warnings.len(), sent.ran.code), (1, Some(0)), "{reading}: {:?}", sent.ran);
            assert!(warnings[0].starts_with("the reading: ") && warnings[0].contains(kind), "{warnings:?}");
            assert_arrived(&[reading]);
        }
        all.push(readings[0]);
    }
    // Each kind on its own line, and again.
    let flags = [&elsewhere[..], &words("--send-telemetry=-")].concat();
    let sent = station.connect(&flags, all.repeat(2).join("\n"));
    let warnings = sent.warnings();
    assert_eq!(warnings.len(), REMARKED.len(), "{warnings:?}");
    for (index, (warning, (kind, _))) in warnings.iter().zip(REMARKED).enumerate() {
        let place = format!("line {} of standard input: ", index + 1);
        assert!(warning.starts_with(&place) && warning.contains(kind), "{warning}");
    }
    recorder.take();
    // And as they are: 'values' alone is a key as any other then.
    let flags = [&elsewhere[..], &words("--send-telemetry=- --as-is")].concat();
    let sent = station.connect(&flags, all.join("\n"));
    assert_eq!(sent.warnings().len(), REMARKED.len(), "{:?}", sent.ran);
    let told = sent.warnings().into_iter().find(|warning| warning.contains("'values' has no 'ts'")).unwrap();
    assert!(told.ends_with("stores it as one value of that name"), "{told}");
    assert_eq!(recorder.take().into_iter().map(|(_, message)| message).collect::<Vec<_>>(), all);
}

/// The last that is taken without a word, where one more is not.
#[test]
fn what_is_just_within_a_limit_is_sent_without_a_word() {
    let (station, recorder) = (Station::new(), Recorder::default());
    let nested = format!("{{\"a\":{}{}}}", "[".repeat(99), "]".repeat(99));
    let many = format!("[{}]", vec!["{\"a\":1}"; 100].join(","));
    let readings = [
        format!("{{\"{}\":1,\"{}\":2}}", "k".repeat(255), "\u{1f600}".repeat(127)),
        nested,
        "{\"a\":9223372036854775807,\"b\":-9223372036854775808}".to_owned(),
        "{\"a\":0.123456789012345,\"b\":1e-15,\"c\":1e18,\"d\":-0.0}".to_owned(),
        "{\"ts\":100000000000,\"values\":{\"a\":1}}".to_owned(),
        "{\"ts\":4102444799999,\"values\":{\"a\":1}}".to_owned(),
        "{\"a\":\"1.\",\"b\":\"1e5\",\"c\":\"+1\",\"d\":\" 1\",\"e\":\"9223372036854775808\"}".to_owned(),
        "{\"a\":\"\\ud83d\\ude00\\\\u0000\",\"b\":[null,\"007\",1e400]}".to_owned(),
        "{\"a\":\"'x' // y # z\",\"b\":\"NaN\"}".to_owned(),
        "{\"a\":{},\"b\":[],\"c\":\"\",\"d\":false}".to_owned(),
        many,
    ];
    let flags = [&elsewhere(recorder.listen())[..], &words("--send-telemetry=-")].concat();
    let sent = station.connect(&flags, readings.join("\n"));
    assert_eq!((sent.ran.code, sent.warnings()), (Some(0), vec![]), "{:?}", sent.ran);
    let arrived = recorder.take();
    assert_eq!(arrived.len(), readings.len());
    let (many, others) = arrived.split_last().unwrap();
    for ((_, message), reading) in others.iter().zip(&readings) {
        times_in(message, &pattern_of(reading));
    }
    times_in(&many.1, &format!("[{}]", vec![timed("{\"a\":1}"); 100].join(",")));
}
