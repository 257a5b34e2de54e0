//! Telemetry from the command line: what is counted, and which line was bad.

use crate::support::{Ran, Sandbox, Server};

fn provisioned() -> (Sandbox, Server) {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
    (sandbox, server)
}

#[track_caller]
fn assert_bad_line(ran: &Ran, line: &str, acknowledged: &str) {
    assert_eq!(ran.brief(), "2 usage/invalid-value telemetry");
    let message = ran.message();
    assert!(message.contains(line) && message.contains(acknowledged), "{message}");
}

#[test]
fn a_bad_line_is_named_after_the_earlier_ones_are_acknowledged() {
    for (bad, after) in [("not json", "{\"a\":3}"), ("[]", ""), ("{\"a\":", ""), ("42", "{\"a\":3}")] {
        let (sandbox, server) = provisioned();
        let lines = format!("{{\"a\":1}}\n\n{{\"a\":2}}\n{bad}\n{after}\n");
        let ran = sandbox.run_with_stdin("connect --json --send-telemetry=-", lines.clone());
        assert_bad_line(&ran, "line 4 of standard input", "2 of 2 readings were acknowledged");
        assert_eq!(server.devices()[0].telemetry, 2, "{bad}");
        sandbox.write("readings.ndjson", lines);
        let ran = sandbox.run("connect --json --send-telemetry=@readings.ndjson");
        assert_bad_line(&ran, "line 4 of readings.ndjson", "2 of 2 readings were acknowledged");
        assert_eq!(server.devices()[0].telemetry, 4, "{bad}");
    }
}

#[test]
fn a_line_longer_than_a_packet_is_refused() {
    let (sandbox, server) = provisioned();
    let long = format!("{{\"a\":1}}\n{{\"a\":\"{}\"}}\n{{\"a\":2}}\n", "x".repeat(70_000));
    let ran = sandbox.run_with_stdin("connect --json --send-telemetry=-", long);
    assert_bad_line(&ran, "line 2 of standard input is larger than", "1 of 1");
    // No end of the line at all: it must not fill the memory.
    let endless = "x".repeat(1 << 20);
    let ran = sandbox.run_with_stdin("connect --json --send-telemetry=-", endless);
    assert_bad_line(&ran, "line 1 of standard input is larger than", "0 of 0");
    assert_eq!(server.devices()[0].telemetry, 1);
}

#[test]
fn every_source_is_counted_by_its_acknowledgements() {
    let (sandbox, server) = provisioned();
    sandbox.write("readings.ndjson", "\u{feff}{\"a\":1}\r\n{\"a\":2}\r\n\r\n[{\"a\":3},{\"a\":4}]");
    let mut total = 0;
    for (flags, count) in [
        ("--send-telemetry", 1),
        ("--send-telemetry --count 3 --interval 0s", 3),
        ("--send-telemetry={\"temperature\":25.5}", 1),
        ("--send-telemetry=@readings.ndjson", 3),
        ("--send-telemetry=@readings.ndjson --count 2", 2),
        ("--send-telemetry=@/dev/null", 0),
    ] {
        if cfg!(windows) && flags.contains("/dev/null") {
            continue;
        }
        let result = sandbox.run(&format!("connect --json {flags}")).done();
        assert_eq!(result["telemetry"]["sent"], count, "{flags}");
        assert_eq!(result["telemetry"]["acknowledged"], count, "{flags}");
        total += count;
        assert_eq!(server.devices()[0].telemetry, total, "{flags}");
    }
}

#[test]
fn the_samples_are_those_of_the_example_firmware() {
    let (sandbox, server) = provisioned();
    sandbox.run("connect --send-telemetry --count 2 --interval 0s --json").done();
    let last = server.devices()[0].last_telemetry.clone();
    let last = last.unwrap();
    assert!(last.ends_with(r#","values":{"temperature":25.5,"humidity":27}}"#), "{last}");
}

#[test]
fn attributes_go_first_and_are_not_counted_as_telemetry() {
    let (sandbox, server) = provisioned();
    let line = r#"connect --json --send-telemetry --attributes {"firmware":"1.2.0"}"#;
    assert_eq!(sandbox.run(line).done()["telemetry"]["sent"], 1);
    assert_eq!(server.devices()[0].attributes, 1);
    assert_eq!(server.devices()[0].telemetry, 1);
}
