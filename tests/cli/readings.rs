//! Readings from outside: what arrives of each, which time it has, and which are refused.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::Packet;
use serde_json::{Value, json};
use tbprov::telemetry::LONGEST_TOPIC;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::broker::{Asks, listen_tls, server_config};
use crate::support::{NAME, Ran, Running, Sandbox, Server, until};

/// The largest payload, in bytes: a packet of 64 KiB without its topic's length, the topic and the packet id.
const LARGEST_PAYLOAD: usize = 65_536 - (2 + LONGEST_TOPIC + 2);

/// A proved device, and its server.
struct Station {
    sandbox: Sandbox,
    server: Server,
}

/// What one run did.
struct Sent {
    ran: Ran,
    /// What arrived of it.
    messages: Vec<String>,
}

impl Station {
    fn new() -> Self {
        let sandbox = Sandbox::trusting("san");
        let server = Server::presenting("san", |_| {});
        assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
        Self { sandbox, server }
    }

    fn connect<S: AsRef<OsStr>>(&self, arguments: &[S], input: impl AsRef<[u8]>) -> Sent {
        let before = self.server.telemetry(NAME).len();
        let mut command = self.sandbox.bare_in_time();
        command.args(["connect", "--events"]).args(arguments).write_stdin(input.as_ref());
        let ran = Ran::from(command.output().unwrap());
        let messages = self.server.telemetry(NAME).split_off(before);
        Sent { ran, messages }
    }

    fn send_lines(&self, flags: &str, input: impl AsRef<[u8]>) -> Sent {
        let arguments: Vec<_> = ["--send-telemetry=-"].into_iter().chain(flags.split_whitespace()).collect();
        self.connect(&arguments, input)
    }
}

impl Sent {
    fn events(&self, name: &str) -> Vec<Value> {
        let events = self.ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter(|event| event["event"] == name).collect()
    }

    fn warnings(&self) -> Vec<String> {
        let events = self.events("warning");
        events.iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect()
    }

    /// Sent, acknowledged, messages, refused.
    #[track_caller]
    fn counts(&self) -> [u64; 4] {
        counts(&self.ran.json())
    }
}

fn counts(result: &Value) -> [u64; 4] {
    ["sent", "acknowledged", "messages", "refused"]
        .map(|count| result["telemetry"][count].as_u64().unwrap_or_else(|| panic!("no {count}: {result}")))
}

/// The times in `message`, which has to be `pattern` with a time for each `<T>`.
#[track_caller]
fn times_in(message: &str, pattern: &str) -> Vec<i64> {
    let differs = || -> ! { panic!("{message:.300} is not {pattern:.300}") };
    let mut pieces = pattern.split("<T>");
    let Some(mut rest) = message.strip_prefix(pieces.next().unwrap()) else { differs() };
    let mut times = Vec::new();
    for piece in pieces {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        times.push(rest[..digits].parse().unwrap_or_else(|_| differs()));
        let Some(after) = rest[digits..].strip_prefix(piece) else { differs() };
        rest = after;
    }
    if !rest.is_empty() {
        differs();
    }
    times
}

/// All that was sent, a message a pattern; the times of each message are in its event, and go up.
#[track_caller]
fn assert_sent(sent: &Sent, patterns: &[String], last: &mut i64) {
    assert_eq!(sent.messages.len(), patterns.len(), "{patterns:?}: {:?}", sent.ran);
    let events = sent.events("acknowledged");
    assert_eq!(events.len(), patterns.len(), "an event a message: {patterns:?}");
    for ((message, pattern), event) in sent.messages.iter().zip(patterns).zip(events) {
        let times = times_in(message, pattern);
        for time in &times {
            assert!(time > last, "{time} after {last}: {message:.300}");
            *last = *time;
        }
        let told = match times[..] {
            [] => Value::Null,
            [time] => json!(time),
            _ => json!(times),
        };
        assert_eq!(event.get("ts"), Some(&told).filter(|told| !told.is_null()), "{message:.300}");
    }
}

/// What is sent of a reading that has no time.
fn timed(reading: &str) -> String {
    format!(r#"{{"ts":<T>,"values":{reading}}}"#)
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Flags, stdin, what arrives, the payload of each event.
type Row = (Vec<String>, &'static str, Vec<String>, Option<&'static str>);

const ODD: &str = "{ \"t\" : 25.50 ,\t\"\u{fc}\":[1, 2], \"e\":1E2 }";
const GIVEN: &str = r#"{ "values" : {"a" :1 }, "ts": 1700000000000 }"#;
const NESTED: &str = r#"{"values": {"b":2}}"#;
const MIXED: &str = r#"[ {"a":1} ,{"ts":1700000000000,"values":{"b":2}}, {"c":3},{"values":{"d":4}}]"#;
const MIXED_SENT: &str = r#"[{"ts":<T>,"values":{"a":1}},{"ts":1700000000000,"values":{"b":2}},{"ts":<T>,"values":{"c":3}},{"ts":<T>,"values":{"d":4}}]"#;
const ALL_GIVEN: &str = r#"[ {"ts":1700000000000,"values":{"b":2}} , {"ts":1500000000000,"values":{"b":3}}]"#;

fn json_argument(json: &str, flags: &str) -> Vec<String> {
    [vec![format!("--send-telemetry={json}")], words(flags)].concat()
}

fn rows_of_times() -> Vec<Row> {
    let sample = [r#"{"temperature":25,"humidity":26}"#, r#"{"temperature":25.5,"humidity":27}"#];
    let lines = "\u{feff}{\"a\":1}\r\n\n  {\"a\": 2.50}\t\n[{\"a\":3}]";
    let of_lines =
        || vec![timed(r#"{"a":1}"#), timed(r#"{"a": 2.50}"#), format!("[{}]", timed(r#"{"a":3}"#))];
    let same = |text: &str, count| vec![text.to_owned(); count];
    vec![
        (words("--send-telemetry"), "", vec![timed(sample[0])], Some(sample[0])),
        (words("--send-telemetry --count 1"), "", vec![timed(sample[0])], Some(sample[0])),
        (words("--send-telemetry --count 2 --interval 0"), "", sample.map(timed).to_vec(), None),
        (json_argument(ODD, ""), "", vec![timed(ODD)], Some(ODD)),
        (json_argument(ODD, "--count 1"), "", vec![timed(ODD)], Some(ODD)),
        (json_argument(ODD, "--count 9 --interval 0"), "", same(&timed(ODD), 9), Some(ODD)),
        (words("--send-telemetry=-"), lines, of_lines(), None),
        (words("--send-telemetry=@lines"), "", of_lines(), None),
        (words("--send-telemetry=- --count 1"), lines, vec![timed(r#"{"a":1}"#)], None),
        (words("--send-telemetry=- --telemetry-topic v2/t"), lines, of_lines(), None),
        (json_argument(ODD, "--telemetry-topic v2/t/j"), "", vec![timed(ODD)], Some(ODD)),
        // Times that were given stay, whatever they are, and move no other.
        (json_argument(GIVEN, ""), "", same(GIVEN, 1), Some(GIVEN)),
        (json_argument(GIVEN, "--count 1"), "", same(GIVEN, 1), Some(GIVEN)),
        (
            words("--send-telemetry=-"),
            "{\"a\":1}\n{\"ts\":4102444799999,\"values\":{\"b\":2}}\n{\"c\":3}",
            vec![timed(r#"{"a":1}"#), r#"{"ts":4102444799999,"values":{"b":2}}"#.into(), timed(r#"{"c":3}"#)],
            None,
        ),
        (json_argument(NESTED, ""), "", vec![timed(r#"{"b":2}"#)], Some(NESTED)),
        (json_argument(MIXED, ""), "", same(MIXED_SENT, 1), Some(MIXED)),
        (words("--send-telemetry=-"), MIXED, same(MIXED_SENT, 1), None),
        (json_argument(ALL_GIVEN, ""), "", same(ALL_GIVEN, 1), Some(ALL_GIVEN)),
        // As they are: not even a time.
        (json_argument(ODD, "--as-is"), "", same(ODD, 1), Some(ODD)),
        (json_argument(ODD, "--as-is --count 2 --interval 0"), "", same(ODD, 2), Some(ODD)),
        (json_argument(MIXED, "--as-is"), "", same(MIXED, 1), Some(MIXED)),
        (words("--send-telemetry --as-is"), "", same(sample[0], 1), Some(sample[0])),
        (words("--send-telemetry=- --as-is"), "{\"a\": 1}\n", same("{\"a\": 1}", 1), None),
    ]
}

/// One run after the other, so that times go up over all of them.
#[test]
fn a_reading_without_a_time_gets_one_and_is_else_sent_byte_for_byte() {
    let station = Station::new();
    station.sandbox.write("lines", rows_of_times()[6].1);
    let mut last = 0;
    for (arguments, input, patterns, payload) in rows_of_times() {
        let sent = station.connect(&arguments, input);
        assert_eq!(sent.ran.code, Some(0), "{arguments:?}: {:?}", sent.ran);
        assert_sent(&sent, &patterns, &mut last);
        let count = patterns.len() as u64;
        assert_eq!(sent.counts(), [count, count, count, 0], "{arguments:?}");
        let is_stream = arguments[0].starts_with("--send-telemetry=-") || arguments[0].contains('@');
        for event in sent.events("acknowledged") {
            assert_eq!(event.get("payload").is_none(), is_stream, "{event}");
            if let Some(payload) = payload {
                assert_eq!(event["payload"], payload);
            }
        }
    }
    assert!(last > 1_735_689_600_000 && last < 4_000_000_000_000, "{last}");
}

#[test]
fn times_go_up_whatever_the_credentials_and_text_shows_the_values_alone() {
    let (sandbox, server) = (Sandbox::trusting("san"), Server::presenting("san", |_| {}));
    let mut last = 0;
    for kind in ["x509", "access-token", "mqtt-basic"] {
        let flags = format!("--credentials-type {kind} --send-telemetry --count 3 --interval 0");
        let result = server.provision_as(&sandbox, kind, &flags).done();
        assert_eq!(counts(&result), [3, 3, 3, 0], "{kind}");
        let shown =
            sandbox.run(&format!("connect {kind} --send-telemetry={{\"a\":1}} --count 2 --interval 0"));
        assert_eq!(shown.code, Some(0), "{shown:?}");
        for line in ["telemetry 1 acknowledged: {\"a\":1}\n", "telemetry 2 acknowledged: {\"a\":1}\n"] {
            assert!(shown.stderr.contains(line), "{shown:?}");
        }
        let arrived = server.telemetry(kind);
        assert_eq!(arrived.len(), 5, "{kind}");
        for (index, message) in arrived.iter().enumerate() {
            let values = match index {
                0 => r#"{"temperature":25,"humidity":26}"#,
                1 => r#"{"temperature":25.5,"humidity":27}"#,
                2 => r#"{"temperature":26,"humidity":28}"#,
                _ => r#"{"a":1}"#,
            };
            let time = times_in(message, &timed(values))[0];
            assert!(time > last, "{kind}: {time} after {last}");
            last = time;
        }
    }
}

/// A server that takes everything, with what is no JSON to the simulator, and keeps it with its topic.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Published>>>);

/// Where a device asks for its limits.
const QUESTION_TOPIC: &str = "v1/devices/me/rpc/request/1";

/// A topic, and what came on it.
type Published = (String, Vec<u8>);

impl Recorder {
    fn listen(&self) -> u16 {
        let recorder = self.clone();
        listen_tls(server_config(rustls::ALL_VERSIONS, Asks::and_accepts()), move |mut stream| {
            let recorder = recorder.clone();
            async move {
                let mut read = BytesMut::new();
                loop {
                    let reply = match Packet::read(&mut read, 70_000) {
                        Ok(packet) => recorder.reply(packet),
                        Err(_) if matches!(stream.read_buf(&mut read).await, Ok(1..)) => continue,
                        Err(_) => return,
                    };
                    if stream.write_all(&reply).await.is_err() {
                        return;
                    }
                }
            }
        })
    }

    fn reply(&self, packet: Packet) -> Vec<u8> {
        match packet {
            Packet::Connect(_) => vec![0x20, 2, 0, 0],
            Packet::Publish(publish) => {
                let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
                self.0.lock().unwrap().push((topic, publish.payload.to_vec()));
                let id = publish.pkid.to_be_bytes();
                vec![0x40, 2, id[0], id[1]]
            }
            _ => Vec::new(),
        }
    }

    /// How often limits were asked for since the last call of [`Self::take`].
    fn questions(&self) -> usize {
        let question = br#"{"method":"getSessionLimits","params":{}}"#;
        let published = self.0.lock().unwrap();
        published.iter().filter(|(topic, payload)| topic == QUESTION_TOPIC && payload == question).count()
    }

    /// What came since the last call.
    fn take(&self) -> Vec<(String, String)> {
        let taken = std::mem::take(&mut *self.0.lock().unwrap());
        let texts = taken.into_iter().map(|(topic, payload)| (topic, String::from_utf8(payload).unwrap()));
        // But for the question for limits.
        texts.filter(|(topic, _)| topic != QUESTION_TOPIC).collect()
    }
}

#[test]
fn limits_are_asked_for_once_where_much_may_be_sent() {
    let (station, recorder) = (Station::new(), Recorder::default());
    let elsewhere = elsewhere(recorder.listen());
    for (flags, questions, readings) in [
        ("--send-telemetry=-", 1, 2),
        ("--send-telemetry=- --telemetry-topic v2/t", 1, 2),
        ("--send-telemetry=- --telemetry-topic sensors/1", 0, 2),
        ("--send-telemetry --count 10 --interval 0", 0, 10),
        ("--send-telemetry --count 11 --interval 0", 1, 11),
    ] {
        let sent = station.connect(&[&elsewhere[..], &words(flags)].concat(), "{\"a\":1}\n{\"a\":2}\n");
        assert_eq!(sent.ran.code, Some(0), "{flags}: {:?}", sent.ran);
        assert_eq!(recorder.questions(), questions, "{flags}");
        assert_eq!(recorder.take().len(), readings, "{flags}");
    }
}

/// Flags that send to the recorder instead.
fn elsewhere(port: u16) -> Vec<String> {
    words(&format!("--host localhost --port {port} --server-cert server.pem"))
}

#[test]
fn a_topic_says_whether_readings_get_their_times() {
    let (station, recorder) = (Station::new(), Recorder::default());
    let elsewhere = elsewhere(recorder.listen());
    let mut last = 0;
    for topic in ["v1/devices/me/telemetry", "v2/t", "v2/t/j", "sensors/1", "v1", "v2", "V1/x", "/v1/x"] {
        let flags = json_argument(ODD, &format!("--telemetry-topic {topic}"));
        let sent = station.connect(&[&elsewhere[..], &flags].concat(), "");
        assert_eq!(sent.ran.code, Some(0), "{topic}: {:?}", sent.ran);
        let arrived = recorder.take();
        assert_eq!((arrived.len(), &*arrived[0].0), (1, topic));
        let time = times_in(&arrived[0].1, &timed(ODD))[0];
        assert!(time > last, "{topic}");
        last = time;
    }
    // What would be refused, remarked or changed elsewhere.
    let odd =
        ["{'a':1}", "{\"a\":null,\"b\":1e400}", "{\"\":1}", "7", "[]", "{\"ts\":1}", " \t{\"x\":NaN}  "];
    for topic in [
        "v1/gateway/telemetry",
        "v1/gateway/connect",
        "v1/devices/me/attributes",
        "v1/devices/me/rpc/response/1",
        "v2/a",
        "v2/t/p",
        "/provision/x",
    ] {
        let topic_flags = words(&format!("--telemetry-topic {topic}"));
        let lines = [&elsewhere[..], &topic_flags, &words("--send-telemetry=-")].concat();
        let sent = station.connect(&lines, odd.join("\r\n"));
        assert_eq!(sent.counts(), [7, 7, 7, 0], "{topic}");
        assert_eq!((sent.warnings(), sent.ran.code), (vec![], Some(0)), "{topic}");
        assert!(sent.events("acknowledged").iter().all(|event| event.get("ts").is_none()));
        for json in odd {
            let flags = json_argument(json, "--count 2 --interval 0");
            let sent = station.connect(&[&elsewhere[..], &topic_flags, &flags].concat(), "");
            assert_eq!((sent.warnings(), sent.ran.code), (vec![], Some(0)), "{topic} {json}");
        }
        let expected = odd.into_iter().chain(odd.into_iter().flat_map(|json| [json, json]));
        let expected: Vec<_> = expected.map(|json| (topic.to_owned(), json.to_owned())).collect();
        assert_eq!(recorder.take(), expected, "{topic}");
    }
}

#[test]
fn attributes_go_byte_for_byte_before_the_readings() {
    let (station, recorder) = (Station::new(), Recorder::default());
    let elsewhere = elsewhere(recorder.listen());
    let long_key = format!("{{\"{}\":1}}", "k".repeat(300));
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(150), "]".repeat(150));
    for attributes in [
        r#" { "a" : null , "b":"007" } "#,
        r#"{"":1,"a":1,"a":2}"#,
        r#"{"ts":1}"#,
        r#"{"a":1e400,"b":99999999999999999999}"#,
        r#"{"a":"\ud83d"}"#,
        &long_key,
        &deep,
    ] {
        let flags = [words("--send-telemetry --attributes"), vec![attributes.to_owned()]].concat();
        let sent = station.connect(&[&elsewhere[..], &flags].concat(), "");
        assert_eq!((sent.warnings(), sent.ran.code), (vec![], Some(0)), "{attributes}: {:?}", sent.ran);
        assert_eq!(sent.counts(), [1, 1, 1, 0], "{attributes}");
        let arrived = recorder.take();
        assert_eq!(arrived[0], ("v1/devices/me/attributes".to_owned(), attributes.to_owned()));
        assert_eq!(times_in(&arrived[1].1, &timed(r#"{"temperature":25,"humidity":26}"#)).len(), 1);
    }
}

#[test]
fn what_contradicts_itself_is_refused_before_anything_is_sent() {
    let station = Station::new();
    station.sandbox.write("t.jsonl", "{\"a\":1}\n");
    station.sandbox.write("[1]", "{\"a\":1}\n");
    let (conflict, invalid) = ("2 usage/conflict plan", "2 usage/invalid-value plan");
    let topic = |topic: &str| vec!["--send-telemetry".into(), "--telemetry-topic".into(), topic.into()];
    let rows: &[(Vec<String>, &str, &str)] = &[
        (json_argument(GIVEN, "--count 2"), conflict, "'ts' of its own"),
        (json_argument(GIVEN, "--count 0"), conflict, "'ts' of its own"),
        (json_argument(MIXED, "--count 3"), conflict, "'ts' of its own"),
        (json_argument(GIVEN, "--count 2 --as-is"), conflict, "'ts' of its own"),
        (words("--send-telemetry=- --as-is --batch 2"), conflict, "--batch"),
        (words("--send-telemetry --as-is --batch 1"), conflict, "--as-is"),
        (
            words("--send-telemetry --batch 2 --telemetry-topic v1/gateway/telemetry"),
            conflict,
            "v1/gateway/telemetry",
        ),
        (words("--send-telemetry --batch 2 --telemetry-topic v2/a"), conflict, "--batch"),
        (words("--send-telemetry --batch 0"), invalid, "--batch"),
        (words("--send-telemetry --batch many"), invalid, "--batch"),
        (topic(" v1/devices/me/telemetry"), invalid, "blank at its beginning or end"),
        (topic("sensors/1 "), invalid, "blank at its beginning or end"),
        (topic("\tv2/t"), invalid, "blank at its beginning or end"),
        (topic("v2/t\n"), invalid, "blank at its beginning or end"),
        (topic("v2/t\u{a0}"), invalid, "blank at its beginning or end"),
        (topic(""), invalid, "bytes, without '+' and '#'"),
        // As from a variable that is not set.
        (words("--send-telemetry="), invalid, "it is empty"),
        (words("--send-telemetry=t.jsonl"), invalid, "did you mean --send-telemetry=@t.jsonl"),
        (words("--send-telemetry=t.jsonl --skip-refused"), invalid, "did you mean --send-telemetry=@t.jsonl"),
        (words("--send-telemetry=[1]"), invalid, "did you mean --send-telemetry=@[1]"),
        (words("--send-telemetry=u.jsonl"), invalid, "expected one JSON object a message"),
    ];
    for (flags, brief, said) in rows {
        let sent = station.connect(flags, "{\"a\":1}");
        assert_eq!(sent.ran.brief(), *brief, "{flags:?}: {:?}", sent.ran);
        let text = format!("{} {}", sent.ran.message(), sent.ran.help());
        assert!(text.contains(said), "{flags:?}: {text}");
        let mut provision = station.sandbox.bare_in_time();
        provision.envs(station.server.environment()).args(["provision", "--json", "--device-name", "other"]);
        let ran = Ran::from(provision.args(flags).output().unwrap());
        assert_eq!(ran.brief(), *brief, "provision {flags:?}: {ran:?}");
    }
    assert!(station.server.telemetry(NAME).is_empty());
}

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

/// An object of so many bytes.
fn object_of(length: usize) -> String {
    format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8))
}

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
        for arguments in [words("--send-telemetry=-"), json_argument(&array, "")] {
            let is_line = arguments[0].ends_with('-');
            let sent = station.connect(&arguments, if is_line { &array } else { "" });
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
        for flags in ["", "--count 2 --interval 0", "--skip-refused", "--skip-refused --count 0 --interval 0"]
        {
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

/// As `head -1` does, at the first event or when readings are acknowledged.
#[test]
fn a_reader_that_goes_away_ends_an_endless_run() {
    let station = Station::new();
    let commands = [
        "connect --send-telemetry",
        "connect --send-telemetry={\"a\":1}",
        "connect --send-telemetry --batch 2",
        "provision --device-name sensor-01 --send-telemetry",
        "provision --device-name other --send-telemetry",
    ];
    for line in commands {
        for (last_read, codes) in [("{\"event\":", &[0, 130][..]), ("\"acknowledged\"", &[0])] {
            let mut command =
                station.sandbox.tbprov(&words(line).iter().map(|word| &**word).collect::<Vec<_>>());
            command.args(["--events", "--count", "0", "--interval", "100ms"]);
            command.envs(
                line.starts_with("provision").then(|| station.server.environment()).into_iter().flatten(),
            );
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            assert!(lines.any(|event| event.unwrap().contains(last_read)), "{line}");
            drop(lines);
            until("the end", || child.try_wait().unwrap().is_some());
            // Before it is connected, there is nothing to report.
            let code = child.wait().unwrap().code().unwrap();
            assert!(codes.contains(&code), "{line} {last_read}: {code}");
        }
    }
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

#[test]
fn provision_sends_by_the_same_rules_and_with_the_same_exit_codes() {
    let (sandbox, server) = (Sandbox::trusting("san"), Server::presenting("san", |_| {}));
    sandbox.write("good", "{\"a\": 1}\n[{\"b\":2},{\"c\":3}]\n{\"d\":4}\n");
    sandbox.write("bad", "{\"a\":1}\n{\"a\":NaN}\n{\"a\":2}\n");
    let three =
        [timed("{\"a\": 1}"), format!("[{},{}]", timed("{\"b\":2}"), timed("{\"c\":3}")), timed("{\"d\":4}")];
    let batch = format!(
        "[{},{},{},{}]",
        timed("{\"a\": 1}"),
        timed("{\"b\":2}"),
        timed("{\"c\":3}"),
        timed("{\"d\":4}")
    );
    let (one, two) = (timed("{\"a\":1}"), timed("{\"a\":2}"));
    let rows: Vec<(&str, i32, [u64; 4], Vec<String>)> = vec![
        ("--send-telemetry=@good", 0, [3, 3, 3, 0], three.to_vec()),
        ("--send-telemetry=@good --batch 9", 0, [3, 3, 1, 0], vec![batch]),
        ("--send-telemetry=@good --count 1", 0, [1, 1, 1, 0], three[..1].to_vec()),
        ("--send-telemetry=@good --count 1 --as-is", 0, [1, 1, 1, 0], vec!["{\"a\": 1}".to_owned()]),
        (
            "--send-telemetry={\"a\":1} --count 2 --interval 0",
            0,
            [2, 2, 2, 0],
            vec![one.clone(), one.clone()],
        ),
        ("--send-telemetry=@bad --skip-refused", 6, [2, 2, 2, 1], vec![one.clone(), two]),
        ("--send-telemetry=@bad", 2, [1, 1, 1, 0], vec![one]),
    ];
    let mut last = 0;
    // A device of its own, and the rerun on it.
    for (index, (flags, code, expected, patterns)) in rows.iter().enumerate() {
        let name = format!("d{index}");
        for _ in 0..2 {
            let before = server.telemetry(&name).len();
            let ran = server.provision_as(&sandbox, &name, flags);
            assert_eq!(ran.code, Some(*code), "{flags}: {ran:?}");
            if *code == 2 {
                assert_eq!(ran.brief(), "2 usage/invalid-value telemetry");
                let message = ran.message();
                assert!(message.starts_with("line 2 of bad is not telemetry: "), "{message}");
                assert!(message.ends_with("(1 of 1 readings were acknowledged)"), "{message}");
            } else {
                assert_eq!(counts(&ran.json()), *expected, "{flags}");
            }
            let arrived = server.telemetry(&name).split_off(before);
            assert_eq!(arrived.len(), patterns.len(), "{flags}");
            for (message, pattern) in arrived.iter().zip(patterns) {
                for time in times_in(message, pattern) {
                    assert!(time > last, "{flags}");
                    last = time;
                }
            }
        }
    }
}
