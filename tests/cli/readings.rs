//! Readings from outside: what arrives of each, which time it has, and which are refused.

mod batches;
mod refused;

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
    let meant = if cfg!(windows) {
        [r#"did you mean --send-telemetry="@t.jsonl""#, r#"did you mean --send-telemetry="@[1]""#]
    } else {
        ["did you mean --send-telemetry=@t.jsonl", "did you mean --send-telemetry='@[1]'"]
    };
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
        (words("--send-telemetry=t.jsonl"), invalid, meant[0]),
        (words("--send-telemetry=t.jsonl --skip-refused"), invalid, meant[0]),
        (words("--send-telemetry=[1]"), invalid, meant[1]),
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
