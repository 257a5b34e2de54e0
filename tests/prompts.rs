//! The conversation on a terminal, as a person sees it.

#![cfg(all(unix, feature = "cli"))]
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod support;

use std::time::Duration;

use support::terminal::Terminal;
use support::*;
use tbprov::sim::Fault;

/// The questions, in the order of the script that people know.
const QUESTIONS: [&str; 5] =
    ["ThingsBoard host", "TLS port", "Provision key", "Provision secret", "Device name"];

/// Wrong answers and why they are.
type Pairs<'a> = &'a [(&'a str, &'a str)];

/// `provision` with all but the five answers.
fn provision(sandbox: &Sandbox, server: &Server) -> Terminal {
    if !sandbox.path("mqttserver.pub.pem").exists() {
        sandbox.write("mqttserver.pub.pem", server.certificate().to_pem());
    }
    Terminal::run(sandbox, &["provision"])
}

/// Answers as many questions as there are answers; the fourth is the secret.
fn answer(terminal: &mut Terminal, answers: &[&str]) {
    for (number, (question, answer)) in QUESTIONS.iter().zip(answers).enumerate() {
        terminal.see(question);
        if number == 3 { terminal.answer_hidden(answer) } else { terminal.answer(answer) }
    }
}

#[test]
fn the_conversation_in_its_order_ends_with_a_device() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    let mut terminal = provision(&sandbox, &server);
    let port = server.address().port().to_string();
    answer(&mut terminal, &["127.0.0.1", &port, KEY, SECRET, "sensor"]);
    terminal.see("saved it in");
    terminal.see("provisioned");
    let shown = terminal.end(0);
    let places: Vec<_> = QUESTIONS.iter().map(|question| shown.find(question).unwrap()).collect();
    assert!(places.is_sorted(), "{shown}");
    assert!(shown.contains("(such as mqtt.thingsboard.cloud)") && shown.contains("[8883]"), "{shown}");
    assert!(!shown.contains(SECRET), "{shown}");
    assert_whole(&sandbox, &server, "sensor");
}

#[test]
fn enter_takes_the_default() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    sandbox.write("mqttserver.pub.pem", server.certificate().to_pem());
    let mut terminal = Terminal::run(&sandbox, &["provision", "--dry-run", "--json"]);
    // Nobody's key and secret go to a server that was not named.
    terminal.see("ThingsBoard host");
    terminal.answer("");
    terminal.see("the answer is empty");
    answer(&mut terminal, &["h", "", KEY, SECRET, ""]);
    terminal.see(r#""host":"h""#);
    terminal.see(r#""port":8883"#);
    let shown = terminal.end(0);
    assert!(shown.contains(r#""device":null"#), "{shown}");
}

#[test]
fn a_wrong_answer_is_refused_at_once_and_asked_again() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    let mut terminal = provision(&sandbox, &server);
    let port = server.address().port().to_string();
    let wrong: [(&str, Pairs<'_>, &str); 5] = [
        (
            "ThingsBoard host",
            &[
                ("http://localhost/", "a host alone is wanted"),
                ("a b", "neither a host name nor an IP address"),
            ],
            "127.0.0.1",
        ),
        ("TLS port", &[("65536", "is no port"), ("0", "is no port"), ("mqtt", "is no port")], &port),
        ("Provision key", &[("  ", "is empty")], KEY),
        ("Provision secret", &[], SECRET),
        ("Device name", &[(&"x".repeat(256), "longer than the 255 characters")], "sensor"),
    ];
    for (question, refused, right) in wrong {
        terminal.see(question);
        for (answer, why) in refused {
            terminal.answer(answer);
            terminal.see(why);
            terminal.see(question);
        }
        if question == "Provision secret" { terminal.answer_hidden(right) } else { terminal.answer(right) }
    }
    terminal.see("provisioned");
    terminal.end(0);
    assert_whole(&sandbox, &server, "sensor");
}

#[test]
fn a_wrong_wifi_password_is_refused_at_once_and_asked_again() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    sandbox.provisioned(&server, "sensor");
    let identity = ["firmware", "identity", "-o", "identity.bin", "--wifi-ssid", "workshop"];
    let mut terminal = Terminal::run(&sandbox, &identity);
    let key = "0123456789abcdef".repeat(4);
    for (wrong, why) in [("shortpw", "8 to 63 characters"), (&key.replace('f', "g"), "hexadecimal digits")] {
        terminal.see("Password of the wireless network");
        terminal.answer_hidden(wrong);
        terminal.see(why);
    }
    terminal.see("Password of the wireless network");
    terminal.answer_hidden(&key);
    terminal.see("identity.bin");
    let shown = terminal.end(0);
    assert!(!shown.contains("shortpw") && !shown.contains(&key), "{shown}");
}

#[test]
fn control_c_at_any_question_ends_cleanly_and_leaves_nothing() {
    let server = Server::start(|_| {});
    let port = server.address().port().to_string();
    let answers = ["127.0.0.1", &port, KEY, SECRET];
    for count in 0..=answers.len() {
        let sandbox = Sandbox::new();
        let mut terminal = provision(&sandbox, &server);
        answer(&mut terminal, &answers[..count]);
        terminal.see(QUESTIONS[count]);
        terminal.press_control_c();
        terminal.end(130);
        assert_eq!(entries(&sandbox.path(".")), ["mqttserver.pub.pem"], "{}", QUESTIONS[count]);
    }
    assert!(server.devices().is_empty());
}

#[test]
fn control_d_and_escape_end_it_as_control_c_does() {
    let server = Server::start(|_| {});
    let port = server.address().port().to_string();
    let answers = ["127.0.0.1", &port, KEY, SECRET];
    for key in ["\u{4}", "\u{1b}"] {
        for count in [0, 1, 3, 4] {
            let sandbox = Sandbox::new();
            let mut terminal = provision(&sandbox, &server);
            answer(&mut terminal, &answers[..count]);
            terminal.see(QUESTIONS[count]);
            if count == 3 {
                terminal.wait_until_hidden();
            }
            terminal.press(key);
            terminal.end(130);
            assert_eq!(entries(&sandbox.path(".")), ["mqttserver.pub.pem"], "{}", QUESTIONS[count]);
        }
    }
    let sandbox = Sandbox::new();
    sandbox.provisioned(&server, "sensor");
    let mut terminal = Terminal::run(&sandbox, &["devices", "remove", "sensor"]);
    terminal.see("Take 'sensor'");
    terminal.press("\u{4}");
    terminal.end(130);
    assert_whole(&sandbox, &server, "sensor");
}

#[test]
fn an_answer_can_be_edited() {
    let sandbox = Sandbox::new();
    let mut terminal = Terminal::run(&sandbox, &["provision", "--dry-run", "--json"]);
    terminal.see("ThingsBoard host");
    // Left, Home, End, Delete, Backspace, Control-W and Control-U.
    terminal.answer("wrong\u{15}hxst.example\u{1b}[D\u{1b}[H\u{1b}[C\u{1b}[3~o\u{1b}[Fx\u{7f}");
    terminal.see("TLS port");
    terminal.answer("99 \u{17}\u{7f}8884");
    terminal.see("Provision key");
    terminal.answer("传感器\u{7f}k");
    terminal.see("Provision secret");
    terminal.answer_hidden("s\u{7f}secret");
    terminal.see("Device name");
    terminal.answer("d");
    terminal.see(r#""host":"host.example""#);
    let shown = terminal.end(0);
    assert!(
        !shown.contains("secret\r") && shown.contains("k\",\"provision_secret\":\"[hidden]\""),
        "{shown}"
    );
}

#[test]
fn the_password_of_an_account_is_asked_for_and_not_shown() {
    let (sandbox, password) = (Sandbox::new(), "the-Account's-password");
    let server = Server::start(|config| {
        config.rest = Some(([127, 0, 0, 1], 0).into());
        config.api_password = Some(tbprov::Secret::new(password));
    });
    sandbox.write("server.pem", server.certificate().to_pem());
    let [(_, url), (_, user), ..] = server.account();
    let account = ["--api-url", &url, "--api-user", &user, "--api-cert", "server.pem"];
    for (answer, seen, code) in
        [(password, "a tenant administrator", 0), ("no-such-thing", "rest/unauthorized", 1)]
    {
        let mut terminal = Terminal::run(&sandbox, &[&["server", "check"][..], &account].concat());
        terminal.see("Password of the ThingsBoard account");
        terminal.answer_hidden(answer);
        terminal.see(seen);
        let shown = terminal.end(code);
        assert!(!shown.contains(answer), "{shown}");
    }
}

/// While a part of an answer stands there already.
#[test]
fn control_c_within_an_answer_ends_cleanly() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    let mut terminal = provision(&sandbox, &server);
    terminal.see("ThingsBoard host");
    terminal.session.send("exam").unwrap();
    terminal.session.flush().unwrap();
    terminal.see("exam");
    terminal.press_control_c();
    terminal.end(130);
}

#[test]
fn control_c_during_the_wait_for_an_answer_can_be_resumed() {
    let delay = Fault::Delay(Duration::from_secs(20));
    let (server, sandbox) = (Server::start(|config| config.faults = vec![delay]), Sandbox::new());
    let mut terminal = provision(&sandbox, &server);
    let port = server.address().port().to_string();
    answer(&mut terminal, &["127.0.0.1", &port, KEY, SECRET, "sensor"]);
    // The spinner, after a while.
    terminal.see("the server's answer");
    terminal.press_control_c();
    let shown = terminal.end(130);
    assert!(shown.contains("interrupted") && shown.contains("run the same command again"), "{shown}");
    assert_eq!(record_state(&sandbox, "sensor").as_deref(), Some("sent"));
    let result = run(&mut sandbox.provision(&server, "sensor")).done();
    assert_eq!(result["outcome"], "recovered");
    assert_whole(&sandbox, &server, "sensor");
}

#[test]
fn a_spinner_turns_on_a_terminal_alone() {
    let delay = Fault::Delay(Duration::from_millis(1500));
    let (server, sandbox) = (Server::start(|config| config.faults = vec![delay]), Sandbox::new());
    let arguments = ["provision", "--device-name", "sensor"];
    let ended = run(&mut sandbox.tbprov_for(&server, &arguments));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("the server answered SUCCESS"), "{ended:?}");
    assert!(!ended.stderr.contains("the server's answer"), "{ended:?}");
    assert!(!ended.stderr.contains('\u{1b}') && !ended.stdout.contains('\u{1b}'), "{ended:?}");
}

#[test]
fn without_input_nobody_is_asked() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    sandbox.write("mqttserver.pub.pem", server.certificate().to_pem());
    let mut terminal = Terminal::run(&sandbox, &["provision", "--no-input"]);
    terminal.see("error[usage/missing-value]");
    terminal.see("--host");
    terminal.end(2);
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let sandbox = Sandbox::new();
    let cases: [(&[&str], Pairs<'_>, bool); 5] = [
        (&[], &[], true),
        (&[], &[("NO_COLOR", "1")], false),
        (&[], &[("TERM", "dumb")], false),
        (&["--color", "never"], &[], false),
        (&["--color", "always"], &[("NO_COLOR", "1")], true),
    ];
    for (arguments, env, colour) in cases {
        let arguments = [&["devices", "show", "nobody"], arguments].concat();
        let shown = Terminal::run_with(&sandbox, &arguments, env, false).end(5);
        assert_eq!(shown.contains("\u{1b}["), colour, "{arguments:?} {env:?}: {shown:?}");
    }
}

#[test]
fn a_device_is_removed_after_a_yes_and_stays_without_one() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    sandbox.provisioned(&server, "sensor");
    let ask = || {
        let mut terminal = Terminal::run(&sandbox, &["devices", "remove", "sensor"]);
        terminal.see("Take 'sensor' (proved, of ");
        terminal
    };
    for no in ["n", ""] {
        let mut terminal = ask();
        terminal.answer(no);
        terminal.end(130);
        assert_eq!(record_state(&sandbox, "sensor").as_deref(), Some("proved"));
    }
    let mut terminal = ask();
    terminal.press_control_c();
    terminal.end(130);
    assert_whole(&sandbox, &server, "sensor");
    let mut terminal = ask();
    terminal.answer("y");
    terminal.see("still knows it");
    terminal.end(0);
    assert_eq!(record_state(&sandbox, ".removed/sensor").as_deref(), Some("proved"));
    assert_eq!(record_state(&sandbox, "sensor"), None);
}

/// The password of a key is asked for, and not shown.
#[test]
fn the_password_of_a_key_is_asked_for() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    sandbox.write("mqttserver.pub.pem", server.certificate().to_pem());
    let [certificate, key] = ["device.pem", "encrypted-traditional_key.pem"]
        .map(|name| fixture(&format!("files/{name}")).display().to_string());
    let plan = "provision --dry-run --host h --port 1 --provision-key k --provision-secret s --device-name d";
    let arguments: Vec<&str> = plan.split(' ').chain(["--cert", &certificate, "--key", &key]).collect();
    let mut terminal = Terminal::run(&sandbox, &arguments);
    terminal.see("Password of the private key");
    terminal.answer_hidden("test");
    terminal.see("nothing was done");
    terminal.end(0);
}
