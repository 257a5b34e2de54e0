//! `--confirm`: what was acknowledged is read back from the server, or named.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tbprov::sim::Config;

use crate::support::{NAME, Ran, Running, Sandbox, Server, lines};

/// The REST API of a simulator at any port.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A proved device, its server, and an account there.
struct Station {
    sandbox: Sandbox,
    server: Server,
}

impl Station {
    fn new(faults: &[&str]) -> Self {
        Self::with(|config| config.faults = faults.iter().map(|fault| fault.parse().unwrap()).collect())
    }

    fn with(change: impl Fn(&mut Config)) -> Self {
        let mut sandbox = Sandbox::trusting("san");
        let server = Server::presenting("san", |config| {
            config.rest = Some(ANY);
            change(config);
        });
        assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
        name_account(&mut sandbox, &server);
        Self { sandbox, server }
    }

    fn connect(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Ran {
        let mut command = self.sandbox.bare_in_time();
        command.args(["connect", "--json"]).args(arguments).write_stdin(input.as_ref());
        Ran::from(command.output().unwrap())
    }

    fn confirm_lines(&self, flags: &str, input: impl AsRef<[u8]>) -> Ran {
        let given = ["--send-telemetry=-"].into_iter().chain(flags.split_whitespace());
        self.connect(&given.collect::<Vec<_>>(), input)
    }
}

fn name_account(sandbox: &mut Sandbox, server: &Server) {
    for (name, value) in server.account() {
        sandbox.set(name, &value);
    }
}

/// Acknowledged, and confirmed.
#[track_caller]
fn confirmed(ran: &Ran) -> [u64; 2] {
    let telemetry = &ran.json()["telemetry"];
    ["acknowledged", "confirmed"]
        .map(|count| telemetry[count].as_u64().unwrap_or_else(|| panic!("no {count}: {ran:?}")))
}

#[track_caller]
fn assert_confirmed(ran: &Ran, count: u64) {
    ran.done();
    assert_eq!(confirmed(ran), [count, count], "{ran:?}");
}

/// Values of every kind: how they are stored is the server's matter.
const VALUES: &[&str] = &[
    "25",
    "25.0",
    "2.5e1",
    "-0",
    "0.1",
    "0.1234567890123456789",
    "9007199254740993",
    "-9223372036854775808",
    "1e20",
    "1e-17",
    "1e400",
    "true",
    "false",
    r#""""#,
    r#"" ""#,
    r#""text""#,
    r#""007""#,
    r#""25.0""#,
    r#"".5""#,
    r#""1e5""#,
    r#""true""#,
    r#""99999999999999999999""#,
    r#""a\u0000b""#,
    r#""\ud83d""#,
    r#""\ud83d\ude00 \u00e9 \n \" \\""#,
    "{}",
    "[]",
    r#"{"a":{"b":[1.50,"x",null,true]},"a b":"\u0007"}"#,
    r#"[9007199254740993, 0.1, {"x":"007"}]"#,
];

#[test]
fn every_kind_of_value_is_confirmed() {
    let station = Station::new(&[]);
    let mut input: String = VALUES.iter().map(|value| format!("{{\"v\":{value}}}\n")).collect();
    let more = [
        r#"{"a":null,"b":1}"#,
        r#"{"a":1,"a":2}"#,
        r#"{"a":1,"a":null,"b":2}"#,
        r#"{"with blank":1,"ü/?&=%+#":2,"a\"b":3}"#,
        r#"{"values":{"a":1}}"#,
        r#"{"ts":"1700000000000","values":{"a":1}}"#,
        r#"{"ts":1700000000001.5,"values":{"a":1},"more":2}"#,
        r#"{"ts":1700000000,"values":{"seconds":1}}"#,
        // The server keeps the last of a key and a time.
        r#"{"ts":1700000000002,"values":{"a":1}}"#,
        r#"{"ts":1700000000002,"values":{"a":2}}"#,
        r#"[{"ts":1700000000003,"values":{"a":1}},{"ts":1700000000003,"values":{"a":2}},{"c":3}]"#,
    ];
    more.iter().for_each(|line| writeln!(input, "{line}").unwrap());
    let many: Vec<_> = (0..300).map(|number| format!("\"a rather long key, number {number}\":1")).collect();
    let many = many.join(",").replace("key,", "key");
    writeln!(input, "{{{many}}}").unwrap();
    let ran = station.confirm_lines("--confirm", &input);
    assert_confirmed(&ran, (VALUES.len() + more.len() + 1) as u64);
    let seen = &ran.json()["telemetry"]["seen_ms"];
    let [min, median, max] = ["min", "median", "max"].map(|name| seen[name].as_u64().unwrap());
    assert!(min <= median && median <= max && max < 30_000, "{seen}");
}

#[test]
fn a_value_that_the_server_has_otherwise_is_named() {
    // The readings go to one server, and are looked for at another one, which has these values.
    let rows = [
        ("25", Some("26"), "'v' is 26 at 1700000000000, and 25 was sent"),
        ("0.1", Some("0.10000001"), "is 0.10000001 at"),
        ("9007199254740993", Some("9007199254740992"), "is 9007199254740992 at"),
        ("true", Some("false"), "is false at"),
        (r#""a""#, Some(r#""b""#), r#"is "b" at"#),
        (r#"{"a":1}"#, Some(r#"{"a":2}"#), r#"is {"a":2} at"#),
        ("1", None, "'v' has no value at 1700000000006, where 1 was sent"),
    ];
    let reading = |(index, value): (usize, &str)| {
        format!("{{\"ts\":{},\"values\":{{\"v\":{value}}}}}", 1_700_000_000_000_u64 + index as u64)
    };
    let other = Station::new(&[]);
    let held: Vec<_> = rows.iter().filter_map(|row| row.1).enumerate().map(reading).collect();
    other.confirm_lines("", held.join("\n")).done();
    let mut station = Station::new(&[]);
    name_account(&mut station.sandbox, &other.server);
    for (index, (sent, _, why)) in rows.into_iter().enumerate() {
        let given = format!("--send-telemetry={}", reading((index, sent)));
        let ran = station.connect(&[&given, "--confirm=60ms"], "");
        assert_eq!(ran.brief(), "4 verify/not-stored telemetry", "{sent}");
        let message = ran.message();
        assert!(message.contains("after 60ms") && message.contains(why), "{message}");
        assert!(
            message.ends_with("(1 of 1 readings were acknowledged); 0 were seen on the server"),
            "{message}"
        );
    }
    // The same numbers and JSON in another form are no other values.
    let same =
        [("25", "2.5e1"), ("25", "25.0"), (r#"{"a":1,"b":2}"#, r#"{"b":2.0,"a":1}"#), ("7", r#""007""#)];
    let (sent, held): (Vec<_>, Vec<_>) = same.into_iter().unzip();
    let all =
        |values: Vec<_>| values.into_iter().enumerate().map(|row| reading(row) + "\n").collect::<String>();
    other.confirm_lines("", all(held)).done();
    assert_confirmed(&station.confirm_lines("--confirm=1s", all(sent)), 4);
}

#[test]
fn batches_and_arrays_in_parts_are_confirmed_reading_by_reading() {
    let station = Station::new(&[]);
    let ran = station.confirm_lines("--confirm --batch 7", lines(50));
    assert_confirmed(&ran, 50);
    assert_eq!(ran.json()["telemetry"]["messages"], 8);
    let elements: Vec<_> = (0..3000).map(|number| format!("{{\"number\":{number}}}")).collect();
    let ran = station.confirm_lines("--confirm", format!("[{}]\n{{\"a\":1}}", elements.join(",")));
    assert_confirmed(&ran, 2);
    assert!(ran.json()["telemetry"]["messages"].as_u64() > Some(2), "{ran:?}");
}

#[test]
fn a_stream_is_confirmed_to_its_last_line_or_ends_at_the_line_that_is_missing() {
    let station = Station::new(&["reset=200", "puback-shuffled"]);
    let ran = station.confirm_lines("--confirm", lines(500));
    assert_confirmed(&ran, 500);
    assert_eq!(station.server.values(NAME).len(), 500);
    let station = Station::new(&["not-stored=250"]);
    let ran = station.confirm_lines("--confirm=300ms", lines(500));
    assert_eq!(ran.brief(), "4 verify/not-stored telemetry");
    let message = ran.message();
    assert!(
        message.starts_with("line 250 of standard input was acknowledged, and is not on the server"),
        "{message}"
    );
    assert!(
        message.contains("'number' has no value at ") && message.contains("where 249 was sent"),
        "{message}"
    );
    assert!(ran.help().contains("rule chain"), "{}", ran.help());
}

#[test]
fn the_time_is_that_from_sending_to_seeing() {
    let station = Station::new(&["stored-late=250ms"]);
    let ran = station.confirm_lines("--confirm", lines(3));
    assert_confirmed(&ran, 3);
    let seen = &ran.json()["telemetry"]["seen_ms"];
    assert!(seen["min"].as_u64() >= Some(250) && seen["max"].as_u64() < Some(10_000), "{seen}");
    let ran = station.confirm_lines("--confirm=50ms", lines(3));
    assert_eq!(ran.brief(), "4 verify/not-stored telemetry");
    let text = station.sandbox.run("connect --send-telemetry --confirm");
    assert_eq!(text.code, Some(0), "{text:?}");
    assert!(text.stdout.contains("confirmed: 1 of 1 seen on the server, "), "{text:?}");
}

/// The server gives the time: a value of before is not taken for the one that was sent.
#[test]
fn readings_without_a_time_are_told_from_earlier_ones() {
    let station = Station::new(&[]);
    let input =
        "{\"a\":1}\n{\"a\":1}\n{\"a\":1,\"with,comma\":2}\n{\"values\":{\"b\":1}}\n[{\"a\":2},{\"c\":1}]\n";
    assert_confirmed(&station.confirm_lines("--confirm --as-is", input), 5);
    let own = "{\"ts\":1700000000000,\"values\":{\"d\":1}}\n{\"d\":1}\n";
    assert_confirmed(&station.confirm_lines("--confirm --as-is", own), 2);
    for (nth, line) in [(1, 1), (2, 2), (3, 3)] {
        let station = Station::new(&[&format!("not-stored={}", nth + 1)]);
        // Another run has left the same value.
        station.connect(&["--send-telemetry={\"a\":1}"], "").done();
        let ran = station.confirm_lines("--confirm=60ms --as-is", "{\"a\":1}\n".repeat(4));
        assert_eq!(ran.brief(), "4 verify/not-stored telemetry");
        let message = ran.message();
        let expected = format!("line {line} of standard input was acknowledged");
        assert!(
            message.starts_with(&expected) && message.contains("the latest value of 'a' is 1 of "),
            "{message}"
        );
        assert!(message.ends_with(&format!("; {} were seen on the server", line - 1)), "{message}");
    }
}

#[test]
fn a_rest_api_that_is_slower_than_telemetry_is_waited_for() {
    for (fault, count) in [("rest-slow=15ms", 80), ("rest-limited=1", 5)] {
        let station = Station::new(&[fault]);
        assert_confirmed(&station.confirm_lines("--confirm", lines(count)), count as u64);
    }
    let station = Station::with(|config| config.token_lifetime = Duration::from_secs(1));
    assert_confirmed(&station.confirm_lines("--confirm --interval 20ms", lines(60)), 60);
}

/// What stands between the command and the REST API, and can be taken away.
struct Relay {
    port: u16,
    is_down: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    fn to(server: &Server) -> Self {
        let url = server.account()[0].1.replace("https://localhost", "127.0.0.1");
        let listener = TcpListener::bind(ANY).unwrap();
        let relay = Self {
            port: listener.local_addr().unwrap().port(),
            is_down: Arc::default(),
            open: Arc::default(),
        };
        let (is_down, open) = (Arc::clone(&relay.is_down), Arc::clone(&relay.open));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&url));
                let (Ok(server), false) = (server, is_down.load(Ordering::SeqCst)) else { continue };
                let ends = [(&client, &server), (&server, &client)];
                for (from, to) in ends.map(|(from, to)| (from.try_clone().unwrap(), to.try_clone().unwrap()))
                {
                    std::thread::spawn(move || std::io::copy(&mut &from, &mut &to));
                }
                open.lock().unwrap().push(client);
            }
        });
        relay
    }

    fn go_down(&self) {
        self.is_down.store(true, Ordering::SeqCst);
        for connection in self.open.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn come_up(&self) {
        self.is_down.store(false, Ordering::SeqCst);
    }
}

#[test]
fn an_outage_of_the_rest_api_is_survived_or_ends_the_run_with_its_failure() {
    let mut station = Station::new(&[]);
    let relay = Relay::to(&station.server);
    station.sandbox.set("TBPROV_API_URL", &format!("http://127.0.0.1:{}", relay.port));
    let arguments = ["connect", "--events", "--send-telemetry", "--count", "40", "--interval", "10ms"];
    let mut running = Running::start(station.sandbox.tbprov(&arguments).arg("--confirm"));
    running.until("\"confirmed\"");
    relay.go_down();
    std::thread::sleep(Duration::from_millis(300));
    relay.come_up();
    assert_confirmed(&running.end(), 40);
    let mut running = Running::start(station.sandbox.tbprov(&arguments).arg("--confirm=500ms"));
    running.until("\"confirmed\"");
    relay.go_down();
    let ran = running.end();
    let (code, error, _) = ran.failure();
    assert_eq!((code, &error[..8]), (3, "network/"), "{ran:?}");
    assert!(ran.message().ends_with(" were seen on the server"), "{}", ran.message());
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_it_with_what_was_confirmed() {
    let station = Station::new(&[]);
    let arguments =
        ["connect", "--events", "--confirm", "--send-telemetry", "--count", "0", "--interval", "20ms"];
    let mut running = Running::start(&mut station.sandbox.tbprov(&arguments));
    let event: serde_json::Value = serde_json::from_str(&running.until("\"confirmed\"")).unwrap();
    assert_eq!((&event["event"], &event["confirmed"]), (&"confirmed".into(), &1.into()), "{event}");
    assert!(event["seen_ms"].is_u64() && event["ts"].is_u64(), "{event}");
    running.signal("INT");
    let ran = running.end();
    assert_eq!(ran.outcome(), "interrupted");
    let [acknowledged, confirmed] = confirmed(&ran);
    assert!(
        confirmed >= 1 && confirmed == acknowledged,
        "what was acknowledged is still looked for: {ran:?}"
    );
    // What is not there in time is not called missing.
    let station = Station::new(&["stored-late=60s"]);
    let mut running = Running::start(&mut station.sandbox.tbprov(&arguments[..4]));
    running.until("\"acknowledged\"");
    running.signal("INT");
    let ran = running.end();
    assert_eq!((ran.code, &ran.json()["outcome"]), (Some(130), &"interrupted".into()), "{ran:?}");
    assert_eq!(self::confirmed(&ran), [1, 0]);
}

#[test]
fn what_is_wrong_with_the_account_stops_before_a_reading_leaves() {
    let mut station = Station::new(&[]);
    let send = [NAME, "--send-telemetry", "--confirm"];
    let rows = [
        ("TBPROV_API_PASSWORD", "wrong", "1 rest/unauthorized rest"),
        ("TBPROV_API_USER", "customer@thingsboard.org", "1 rest/forbidden rest"),
        ("TBPROV_API_URL", "http://localhost:1", "3 network/connect tcp"),
    ];
    for (name, value, ends) in rows {
        station.sandbox.set(name, value);
        assert_eq!(station.connect(&send, "").brief(), ends, "{name}");
        let other = station.server.provision_as(&station.sandbox, "other", &send[1..].join(" "));
        assert_eq!(other.brief(), ends, "{name}");
        name_account(&mut station.sandbox, &station.server);
    }
    let ran = station.connect(&["--send-telemetry", "--confirm", "--confirm-device", "nobody"], "");
    assert_eq!(ran.brief(), "1 rest/not-found rest");
    assert!(ran.message().contains("has no device 'nobody'"), "{}", ran.message());
    let sent: Vec<_> =
        station.server.devices().into_iter().map(|device| (device.name, device.telemetry)).collect();
    assert_eq!(sent, [(NAME.to_owned(), 0)], "nothing is sent, and nothing registered");
}

#[test]
fn a_device_is_looked_for_by_its_name_at_the_server() {
    let mut station = Station::new(&[]);
    let provisioned = station.server.provision_as(&station.sandbox, "fresh", "--send-telemetry --confirm");
    assert_confirmed(&provisioned, 1);
    let pair =
        format!("--cert devices/{NAME}/cert.pem --key devices/{NAME}/key.pem {}", station.server.flags());
    let pair: Vec<_> = pair.split_whitespace().chain(["--send-telemetry", "--confirm"]).collect();
    let ran = station.connect(&pair, "");
    assert_eq!(ran.brief(), "2 usage/missing-value plan");
    assert!(ran.help().contains("--confirm-device"), "{}", ran.help());
    let named: Vec<_> = pair.iter().copied().chain(["--confirm-device", NAME]).collect();
    assert_confirmed(&station.connect(&named, ""), 1);
    let unnamed = station.server.provision_as(&station.sandbox, "", "--send-telemetry --confirm");
    assert_eq!(unnamed.brief(), "2 usage/missing-value plan");
    station.sandbox.unset("TBPROV_API_URL").unset("TBPROV_API_USER").unset("TBPROV_API_PASSWORD");
    let send = [NAME, "--send-telemetry", "--confirm"];
    assert_eq!(station.connect(&send, "").brief(), "2 usage/missing-value plan");
}

#[test]
fn what_cannot_be_confirmed_is_refused() {
    let station = Station::new(&[]);
    for (arguments, ends) in [
        (&["--confirm"][..], "2 usage/missing-value plan"),
        (
            &["--send-telemetry", "--confirm", "--telemetry-topic", "v1/gateway/telemetry"],
            "2 usage/conflict plan",
        ),
        (&["--send-telemetry", "--confirm=0s"], "2 usage/invalid-value plan"),
        (&["--send-telemetry", "--confirm-device", NAME], "2 usage/missing-value plan"),
    ] {
        assert_eq!(station.connect(arguments, "").brief(), ends, "{arguments:?}");
    }
    // ThingsBoard divides the keys that it is asked for at commas.
    let ran = station.confirm_lines("--confirm", "{\"a\":1}\n{\"a,b\":1}\n");
    assert_eq!(ran.brief(), "2 usage/invalid-value telemetry");
    let message = ran.message();
    assert!(message.contains("line 2 of standard input has the key 'a,b'"), "{message}");
    assert!(message.ends_with("(1 of 1 readings were acknowledged); 1 were seen on the server"), "{message}");
}
