//! `server device`, `server telemetry` and `server remove`.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use tbprov::sim::Release;

use super::server_register::Site;
use crate::support::{NAME, Sandbox};

const ODD_NAMES: [&str; 5] = ["a/b?c=d&e#f%41", "Fühler 7 – Ost", "<b>bold</b>", "../etc", "a\"b'c"];

fn provisioned() -> Site {
    let site = Site::new(|_| {});
    assert_eq!(site.server.provision(&site.sandbox, "").outcome(), "provisioned");
    site
}

#[test]
fn a_device_is_shown_with_whose_its_credentials_are() {
    for release in [Release::V3_2, Release::V3_4, Release::V4_3] {
        let site = Site::new(|config| config.release = release);
        assert_eq!(site.server.provision(&site.sandbox, "").outcome(), "provisioned");
        let result = site.server("device sensor-01").done();
        assert_eq!(result["credentials_are"], "current", "{release:?}");
        let there = &result["server"];
        assert_eq!(there["credentials_type"], "X509_CERTIFICATE");
        assert_eq!(there["credentials_id"], site.server.device(NAME).credentials_id.unwrap().as_str());
        assert_eq!(there["provision_state"], "provisioned");
        assert!(there["profile"].is_string() && there["created"].is_string(), "{there}");
        let text = site.sandbox.run("server device sensor-01").stdout;
        assert!(text.contains("the store's current identity"), "{text}");
    }
}

#[test]
fn what_only_one_side_has_is_said() {
    let site = provisioned();
    std::fs::rename(site.sandbox.path("devices"), site.sandbox.path("away")).unwrap();
    let result = site.server("device sensor-01").done();
    assert!(result["store"].is_null() && result["credentials_are"].is_null(), "{result}");
    std::fs::rename(site.sandbox.path("away"), site.sandbox.path("devices")).unwrap();
    let removed = site.server("remove sensor-01 --yes").done();
    assert_eq!(removed["in_store"], true);
    for command in ["device", "telemetry", "remove --yes"] {
        let failed = site.server(&format!("{command} sensor-01"));
        failed.failed(1, "rest/not-found");
        assert!(failed.message().contains("the store has one (proved)"), "{failed:?}");
        assert!(failed.help().contains("tbprov server register sensor-01"), "{failed:?}");
    }
    let failed = site.server("device nobody");
    failed.failed(1, "rest/not-found");
    assert!(failed.message().starts_with("neither"), "{failed:?}");
    assert_eq!(site.server("register sensor-01").outcome(), "created");
}

#[test]
fn nothing_is_deleted_without_a_yes() {
    let site = provisioned();
    site.server("remove sensor-01").failed(2, "usage/missing-value");
    assert_eq!(site.server.devices().len(), 1);
}

#[test]
fn odd_names_reach_the_server_as_they_are() {
    let site = Site::new(|config| config.release = Release::V3_2);
    for name in ODD_NAMES {
        site.run(["device", name]).failed(1, "rest/not-found");
        let ran = site.run(["register", name]);
        if ran.code == Some(0) {
            assert_eq!(site.server.device(name).name, name);
            assert_eq!(site.run(["device", name]).done()["credentials_are"], "current");
            site.run(["remove", name, "--yes"]).done();
        } else {
            ran.failed(1, "rest/refused");
        }
    }
    assert!(site.server.devices().is_empty());
    site.run(["device", "  "]).failed(2, "usage/invalid-value");
}

#[test]
fn a_customer_user_may_not() {
    let mut site = provisioned();
    site.sandbox.set("TBPROV_API_USER", "customer@thingsboard.org");
    for line in ["device sensor-01", "telemetry sensor-01", "register sensor-01", "remove sensor-01 --yes"] {
        site.server(line).failed(1, "rest/forbidden");
    }
    assert_eq!(site.server.devices().len(), 1);
}

#[test]
fn values_are_shown_the_newest_first_with_their_types() {
    let site = provisioned();
    let lines = [
        r#"{"ts":1700000000000,"values":{"a":1,"b":"0x7"}}"#,
        r#"{"ts":1700000001000,"values":{"a":9007199254740993,"c":{"x":true}}}"#,
    ];
    let line = "connect --json --send-telemetry=-";
    site.sandbox.run_with_stdin(line, lines.join("\n")).done();
    let values = site.server("telemetry sensor-01").done()["values"].clone();
    assert_eq!(values["a"][0]["value"].to_string(), "9007199254740993");
    assert_eq!(values["a"][1]["time"], "2023-11-14T22:13:20Z");
    assert_eq!((&values["b"][0]["value"], &values["c"][0]["value"]["x"]), (&"0x7".into(), &true.into()));
    let some = site.server("telemetry sensor-01 --keys a,nothing --last 1");
    let result = some.done();
    assert_eq!(result["values"]["a"].as_array().unwrap().len(), 1);
    assert_eq!(result["unknown_keys"], serde_json::json!(["nothing"]));
    assert!(some.stderr.contains("no value of 'nothing'"), "{some:?}");
    site.server("telemetry sensor-01 --keys nothing").failed(1, "rest/not-found");
    let text = site.sandbox.run("server telemetry sensor-01 --keys a --last 1").stdout;
    assert_eq!(text, "2023-11-14T22:13:21Z  a  9007199254740993\n");
}

#[cfg(unix)]
#[test]
fn values_are_followed_until_ctrl_c() {
    let site = provisioned();
    let send = |value: u32| {
        let json = format!("--send-telemetry={{\"v\":{value}}}");
        site.sandbox.run_all(["connect", "--json", &json]).done();
    };
    send(1);
    let mut command = site.sandbox.bare();
    let mut running =
        crate::support::Running::start(command.args(["server", "telemetry", NAME, "--follow", "--events"]));
    running.until(r#""event":"value-seen""#);
    send(2);
    let line = running.until(r#""value":2"#);
    assert!(line.contains(r#""key":"v""#), "{line}");
    running.signal("INT");
    let result = running.end().done();
    assert_eq!(result["values"]["v"][0]["value"], 2);
    assert_eq!(result["values"]["v"][1]["value"], 1);
}

/// A server that answers each path that begins so with this JSON, and everything else with `{}`.
fn answering(answers: &'static [(&'static str, &'static str)]) -> Sandbox {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sandbox = Sandbox::new();
    sandbox.set("TBPROV_API_URL", &format!("http://{}", listener.local_addr().unwrap()));
    sandbox.set("TBPROV_API_KEY", "a-key");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut chunk) {
                    Ok(read @ 1..) => request.extend_from_slice(&chunk[..read]),
                    _ => break,
                }
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let body =
                answers.iter().find(|(begin, _)| path.starts_with(begin)).map_or("{}", |found| found.1);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
            let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    sandbox
}

const DEVICE: &str =
    r#"{"id":{"id":"i\u001b[2J"},"name":"x","deviceProfileId":{"id":"p"},"createdTime":9223372036854775807}"#;

#[test]
fn what_a_server_says_controls_no_terminal() {
    let sandbox = answering(&[
        ("/api/tenant/devices", DEVICE),
        (
            "/api/device/",
            r#"{"deviceId":{"id":"i\u001b[2J"},"credentialsType":"\u001b[31mRED","credentialsId":7,"credentialsValue":null}"#,
        ),
        ("/api/deviceProfile/", r#"{"id":{"id":"p"},"name":"\u001b]0;title\u0007"}"#),
        (
            "/api/plugins/telemetry/DEVICE/i%1B%5B2J/values/attributes",
            r#"[{"key":"lastActivityTime","value":1e300},{"key":"active","value":"yes"},{"key":"provisionState","value":null}]"#,
        ),
        ("/api/plugins/telemetry/DEVICE/i%1B%5B2J/keys", r#"["k\u001b[2J"]"#),
        (
            "/api/plugins/telemetry/DEVICE/i%1B%5B2J/values/timeseries",
            r#"{"k\u001b[2J":[{"ts":-9223372036854775808,"value":"\u001b[2J\u009b"},{"ts":5,"value":1e400}]}"#,
        ),
    ]);
    for line in ["server device x", "server telemetry x"] {
        let ran = sandbox.run(line);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let all = format!("{}{}", ran.stdout, ran.stderr);
        assert!(!all.chars().any(|character| character.is_control() && character != '\n'), "{ran:?}");
    }
    let there = sandbox.run("server device x --json").done()["server"].clone();
    assert!(there["created"].is_null() && there["active"].is_null(), "{there}");
    let values = sandbox.run("server telemetry x --json");
    assert!(values.stdout.contains("1e400") && values.stdout.contains("-9223372036854775808"), "{values:?}");
}

#[test]
fn answers_of_the_wrong_shape_are_not_thingsboard() {
    for answers in [
        &[("/api/tenant/devices", "[]")][..],
        &[("/api/tenant/devices", r#"{"id":null,"name":"x"}"#)],
        &[(
            "/api/tenant/devices",
            r#"{"id":{"id":"i"},"name":"y","deviceProfileId":{"id":"p"},"createdTime":1}"#,
        )],
        &[(
            "/api/tenant/devices",
            r#"{"id":{"id":"i"},"name":"x","deviceProfileId":{"id":"p"},"createdTime":1e99}"#,
        )],
        &[("/api/tenant/devices", DEVICE), ("/api/device/", "null")],
        &[("/api/tenant/devices", DEVICE), ("/api/plugins/", r#"{"k":3}"#)],
    ] {
        answering(answers).run("server device x --json").failed(4, "rest/not-thingsboard");
    }
}
