//! Arrays that are too long for a message, and readings that go together.

use super::*;

/// An object of so many bytes.
fn object_of(length: usize) -> String {
    format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8))
}

/// Windows has no command of over 32,767 characters.
const ARGUMENTS_MAY_BE_LONG: bool = cfg!(unix);

#[test]
fn an_array_that_is_too_long_goes_in_parts_and_an_object_that_is_does_not() {
    let station = Station::new();
    let mut last = 0;
    let times = "{\"ts\":1700000000000,\"values\":}".len();
    // Many elements; few, and too long with their times only; some with times of their own.
    let elements: Vec<_> =
        (0..200).map(|number| format!("{{\"n{number}\":\"{}\"}}", "x".repeat(500))).collect();
    let tight: Vec<_> = vec![object_of((LARGEST_PAYLOAD - 4) / 3 - 1); 3];
    let mut given = elements.clone();
    given[7] = format!("{{\"ts\":1700000000000,\"values\":{}}}", given[7]);
    for (elements, parts) in [(&elements, 2), (&tight, 2), (&given, 2)] {
        let array = format!("[{}]", elements.join(","));
        let forms = [words("--send-telemetry=-"), json_argument(&array, "")];
        for arguments in forms.iter().filter(|form| form[0].ends_with('-') || ARGUMENTS_MAY_BE_LONG) {
            let is_line = arguments[0].ends_with('-');
            let sent = station.connect(arguments, if is_line { &array } else { "" });
            assert_eq!(sent.counts(), [1, 1, parts, 0], "{:.300}", array);
            assert!(sent.messages.iter().all(|message| message.len() <= LARGEST_PAYLOAD));
            let patterns = split_as(&sent.messages, elements);
            assert_sent(&sent, &patterns, &mut last);
            let events = sent.events("acknowledged");
            let counted: Vec<_> = events.iter().map(|event| event["acknowledged"].clone()).collect();
            assert_eq!(counted, [0, 1], "counted when the last part is acknowledged");
            let shown: Vec<_> = events.iter().map(|event| event.get("payload").cloned()).collect();
            assert_eq!(shown, [None, (!is_line).then(|| json!(array))]);
        }
    }
    let array = format!("[{}]", elements.join(","));
    let sent = station.send_lines("", format!("\u{feff} {array}"));
    assert_eq!(sent.counts(), [1, 1, 2, 0], "a byte order mark before it");
    assert_sent(&sent, &split_as(&sent.messages, &elements), &mut last);
    // Just as large as may be; and one byte more.
    let largest = object_of(LARGEST_PAYLOAD - times);
    let sent = station.send_lines("", &largest);
    assert_eq!(sent.counts(), [1, 1, 1, 0]);
    assert_sent(&sent, &[timed(&largest)], &mut last);
    let larger = object_of(LARGEST_PAYLOAD - times + 1);
    for refused in [larger.clone(), format!("[{{\"a\":1}},{larger}]"), object_of(LARGEST_PAYLOAD + 1)] {
        let sent = station.send_lines("", format!("{{\"a\":1}}\n{refused}\n{{\"a\":2}}"));
        assert_eq!(sent.ran.brief(), "2 usage/invalid-value telemetry", "{:?}", sent.ran);
        let message = sent.ran.message();
        assert!(message.starts_with("line 2 of standard input is larger than the 64 KiB"), "{message}");
        assert!(message.contains("(1 of 1 "), "{message}");
        let flags = ["", "--count 2 --interval 0", "--skip-refused", "--skip-refused --count 0 --interval 0"];
        for flags in flags.iter().filter(|_| ARGUMENTS_MAY_BE_LONG) {
            let sent = station.connect(&json_argument(&refused, flags), "");
            assert_eq!(sent.ran.brief(), "2 usage/invalid-value plan", "{flags}: {:?}", sent.ran);
            let message = sent.ran.message();
            assert!(message.starts_with("the value of --send-telemetry is larger"), "{flags}: {message}");
            assert!(sent.messages.is_empty());
        }
        let sent = station.send_lines("--skip-refused", format!("{{\"a\":1}}\n{refused}\n{{\"a\":2}}"));
        assert_eq!((sent.ran.code, sent.counts()), (Some(6), [2, 2, 2, 1]));
    }
    // As it is there is room for it, and no array is taken apart.
    assert_eq!(station.send_lines("--as-is", &larger).counts(), [1, 1, 1, 0]);
    let sent = station.send_lines("--as-is", format!("[{}]", elements.join(",")));
    assert!(sent.ran.message().starts_with("line 1 of standard input is larger"), "{:?}", sent.ran);
}

/// The elements, as many in an array as in each message.
fn split_as(messages: &[String], elements: &[String]) -> Vec<String> {
    let mut rest = elements
        .iter()
        .map(|element| if element.starts_with("{\"ts\"") { element.clone() } else { timed(element) });
    let mut arrays = Vec::new();
    for message in messages {
        let count = serde_json::from_str::<Vec<Value>>(message).unwrap().len();
        arrays.push(format!("[{}]", rest.by_ref().take(count).collect::<Vec<_>>().join(",")));
    }
    assert_eq!(rest.count(), 0, "no element is missing");
    arrays
}

#[test]
fn a_batch_leaves_when_it_is_full_or_at_the_end() {
    let station = Station::new();
    let lines: Vec<_> = (0..7).map(|number| format!("{{\"n\": {number}}}")).collect();
    let input = lines.join("\n");
    let arrays = "[{\"a\":1},{\"b\":2}]\n{\"c\":3}\n{\"ts\":1700000000000,\"values\":{\"d\":4}}";
    let big = vec![object_of(30_000); 5].join("\n");
    let object = |name: &str| timed(&format!("{{\"{name}\":{}}}", name.as_bytes()[0] - b'a' + 1));
    let array = |elements: &[String]| format!("[{}]", elements.join(","));
    let numbered = |numbers: std::ops::Range<usize>| {
        array(&lines[numbers].iter().map(|line| timed(line)).collect::<Vec<_>>())
    };
    let given = r#"{"ts":1700000000000,"values":{"d":4}}"#.to_owned();
    let rows: Vec<(&str, &str, Vec<String>, Vec<u64>)> = vec![
        ("--batch 3", &input, vec![numbered(0..3), numbered(3..6), numbered(6..7)], vec![3, 6, 7]),
        ("--batch 7", &input, vec![numbered(0..7)], vec![7]),
        ("--batch 100", &input, vec![numbered(0..7)], vec![7]),
        ("--batch 3 --count 4", &input, vec![numbered(0..3), numbered(3..4)], vec![3, 4]),
        ("--batch 1 --count 2", &input, vec![timed(&lines[0]), timed(&lines[1])], vec![1, 2]),
        // A line is one reading, whatever is on it.
        (
            "--batch 2",
            arrays,
            vec![array(&[object("a"), object("b"), object("c")]), array(std::slice::from_ref(&given))],
            vec![2, 3],
        ),
        ("--batch 3", arrays, vec![array(&[object("a"), object("b"), object("c"), given.clone()])], vec![3]),
        (
            "--batch 9",
            &big,
            [2, 2, 1].map(|count| array(&vec![timed(&object_of(30_000)); count])).to_vec(),
            vec![2, 4, 5],
        ),
    ];
    let mut last = 0;
    for (flags, input, patterns, acknowledged) in rows {
        let sent = station.send_lines(flags, input);
        assert_sent(&sent, &patterns, &mut last);
        let count = *acknowledged.last().unwrap();
        assert_eq!(sent.counts(), [count, count, patterns.len() as u64, 0], "{flags}");
        let told = sent
            .events("acknowledged")
            .iter()
            .map(|event| event["acknowledged"].as_u64().unwrap())
            .collect::<Vec<_>>();
        assert_eq!(told, acknowledged, "{flags}");
    }
    let sent = station.connect(&words("--send-telemetry={\"a\":1} --count 5 --interval 0 --batch 2"), "");
    let one = timed("{\"a\":1}");
    assert_sent(
        &sent,
        &[array(&[one.clone(), one.clone()]), array(&[one.clone(), one.clone()]), array(&[one])],
        &mut last,
    );
    assert_eq!(sent.counts(), [5, 5, 3, 0]);
    assert_eq!(sent.events("acknowledged")[0]["payload"], "[{\"a\":1},{\"a\":1}]");
    let ran = station.sandbox.run_with_stdin("connect --send-telemetry=- --batch 4", input);
    assert!(ran.stdout.contains("7 sent, 7 acknowledged in 2 messages"), "{ran:?}");
}

#[test]
fn a_refused_line_ends_a_batch_and_a_skipped_one_does_not() {
    let station = Station::new();
    let input = "{\"a\":1}\n{\"a\":2}\n{\"a\":NaN}\n{\"a\":3}\n";
    let mut last = 0;
    let sent = station.send_lines("--batch 9", input);
    assert_eq!(sent.ran.brief(), "2 usage/invalid-value telemetry");
    assert!(sent.ran.message().contains("(2 of 2 readings were acknowledged)"), "{:?}", sent.ran);
    assert_sent(&sent, &[format!("[{},{}]", timed("{\"a\":1}"), timed("{\"a\":2}"))], &mut last);
    let sent = station.send_lines("--batch 9 --skip-refused", input);
    assert_eq!((sent.ran.code, sent.counts()), (Some(6), [3, 3, 1, 1]));
    // Too large for any array: it goes after those before it, and alone.
    let array = format!("[{}]", vec![object_of(30_000); 3].join(","));
    let sent = station.send_lines("--batch 9", format!("{{\"a\":1}}\n{array}\n{{\"a\":2}}"));
    assert_eq!(sent.counts(), [3, 3, 4, 0]);
    let elements = vec![object_of(30_000); 3];
    let parts = split_as(&sent.messages[1..3], &elements);
    let alone = |reading: &str| format!("[{}]", timed(reading));
    assert_sent(&sent, &[&[alone("{\"a\":1}")], &parts[..], &[alone("{\"a\":2}")]].concat(), &mut last);
}

/// Neither is it full, nor has the source ended.
#[test]
fn a_batch_leaves_in_time() {
    let station = Station::new();
    let arguments = ["connect", "--events", "--send-telemetry=-", "--batch", "100"];
    let mut sending = Running::start(station.sandbox.tbprov(&arguments).stdin(Stdio::piped()));
    let mut stdin = sending.child.stdin.take().unwrap();
    for round in 1..=2 {
        writeln!(stdin, "{{\"a\":1}}\n{{\"a\":2}}").unwrap();
        until("the batch", || station.server.telemetry(NAME).len() == round);
    }
    drop(stdin);
    let result = sending.end().done();
    assert_eq!(counts(&result), [4, 4, 2, 0]);
}

/// What waited for others leaves at the end, also where that is a signal.
#[cfg(unix)]
#[test]
fn a_batch_leaves_when_the_run_is_interrupted() {
    let station = Station::new();
    let arguments = ["connect", "--events", "--send-telemetry", "--count", "0", "--interval", "1ms"];
    let mut command = station.sandbox.tbprov(&arguments);
    let mut sending = Running::start(command.args(["--batch", "100000"]));
    sending.until("\"acknowledged\"");
    sending.signal("INT");
    let [sent, acknowledged, messages, _] = counts(&sending.end().done());
    let arrived = station.server.telemetry(NAME);
    let elements = arrived.iter().map(|message| serde_json::from_str::<Vec<Value>>(message).unwrap().len());
    assert_eq!((acknowledged, messages), (sent, arrived.len() as u64));
    assert_eq!(elements.sum::<usize>() as u64, sent);
}
