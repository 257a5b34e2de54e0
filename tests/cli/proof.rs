//! What proves a device: that the server asked for its certificate, and that it does not let everybody in.

use crate::broker::{Broker, failure, success};
use crate::support::{KEY, NAME, Ran, SECRET, Sandbox, Server, fixture, for_each_row, same};

const RECORD: &str = "devices/sensor-01/device.json";

fn provision(sandbox: &Sandbox, port: u16, flags: &str) -> Ran {
    sandbox.run(&format!(
        "provision --json --host localhost --port {port} --server-cert server.pem --timeout 2s \
         --provision-key {KEY} --provision-secret {SECRET} --device-name {NAME} {flags}"
    ))
}

/// A device that a real server has brought to this state, and that is said to be one of the server at `port`.
fn moved_to(port: u16, state: &str, flags: &str) -> Sandbox {
    let sandbox = Sandbox::trusting("san");
    let fault = if state == "sent" { "accept-then-close" } else { "delay=1ms" };
    let server = Server::presenting("san", |config| config.faults = vec![fault.parse().unwrap()]);
    let wish = if state == "proved" { "" } else { "--no-verify-connect" };
    server.provision(&sandbox, &format!("{wish} {flags}"));
    let mut record = sandbox.record();
    assert_eq!(record["state"], state);
    record["port"] = port.into();
    sandbox.write(RECORD, record.to_string());
    sandbox
}

fn add(sandbox: &Sandbox, port: u16) -> Ran {
    let (certificate, key) = (fixture("files/device.pem"), fixture("files/device_key.pem"));
    sandbox.run(&format!(
        "devices add --json {NAME} --allow-readable-key --cert {} --key {} --host localhost --port {port} \
         --server-cert server.pem",
        certificate.display(),
        key.display()
    ))
}

/// `(the answer, how it ends, the state then)`
type Row = (&'static str, Option<fn(&str) -> String>, &'static str, &'static str);

#[test]
fn a_server_that_never_asked_for_the_certificate_has_proved_nothing() {
    let rows: [Row; 3] = [
        ("no answer", None, "4 verify/not-asked verify", "sent"),
        ("SUCCESS", Some(success), "4 verify/not-asked verify", "accepted"),
        ("FAILURE", Some(failure), "1 server/failure exchange", "sent"),
    ];
    for_each_row(&rows, |(what, answer, ends, state)| {
        let sandbox = Sandbox::trusting("san");
        let port = Broker { answer: *answer, ..Broker::that_never_answers() }.that_never_asks();
        let ran = provision(&sandbox, port, "");
        same(what, &ran.brief(), ends)?;
        same(what, sandbox.record()["state"].as_str().unwrap(), state)?;
        // Nor does a rerun prove anything, or ask for the device anew.
        same(what, &provision(&sandbox, port, "").brief(), "4 verify/not-asked verify")?;
        same(what, sandbox.record()["state"].as_str().unwrap(), state)
    });
}

#[test]
fn a_server_that_lets_every_certificate_in_has_proved_nothing() {
    let rows: [Row; 2] = [
        ("no answer", None, "4 verify/anonymous verify", "sent"),
        ("FAILURE", Some(failure), "1 server/failure exchange", "sent"),
    ];
    for_each_row(&rows, |(what, answer, ends, state)| {
        let sandbox = Sandbox::trusting("san");
        let port = Broker { answer: *answer, ..Broker::that_never_answers() }.that_asks();
        same(what, &provision(&sandbox, port, "").brief(), ends)?;
        same(what, sandbox.record()["state"].as_str().unwrap(), state)?;
        same(what, &provision(&sandbox, port, "").brief(), "4 verify/anonymous verify")?;
        same(what, sandbox.record()["state"].as_str().unwrap(), state)
    });
}

/// An answer with exactly these credentials says that the server made the device.
#[test]
fn a_server_whose_answer_vouches_for_the_device_proves_it_by_asking_for_the_certificate() {
    let sandbox = Sandbox::trusting("san");
    let done = provision(&sandbox, Broker::answering(success).that_asks(), "").done();
    assert_eq!(done["outcome"], "provisioned");
    assert_eq!(done["verified"]["mutual_tls"], true);
}

#[test]
fn an_earlier_device_is_not_proved_by_a_server_that_cannot_tell_one_from_another() {
    let unasking = Broker::that_never_answers().that_never_asks();
    let anonymous = Broker::that_never_answers().that_asks();
    let ports = [(unasking, "4 verify/not-asked verify"), (anonymous, "4 verify/anonymous verify")];
    let states = ["sent", "accepted", "proved"];
    let rows: Vec<_> = states.iter().flat_map(|state| ports.map(|port| (state, port))).collect();
    for_each_row(&rows, |(state, (port, ends))| {
        let sandbox = moved_to(*port, state, "");
        let before = sandbox.record();
        same(state, &provision(&sandbox, *port, "").brief(), ends)?;
        let after = sandbox.record();
        same(state, &after["state"].to_string(), &before["state"].to_string())?;
        same(state, &after["reached"].to_string(), &before["reached"].to_string())?;
        // Of a device that was proved before, a connect is not asked to prove anything.
        let ends = if ends.contains("anonymous") && **state == "proved" { "connected" } else { ends };
        same(state, &sandbox.run("connect --json").brief(), ends)?;
        same(state, &sandbox.record()["state"].to_string(), &before["state"].to_string())
    });
}

#[test]
fn a_device_is_not_taken_in_by_the_word_of_a_server_that_cannot_tell_one_from_another() {
    let unasking = Broker::that_never_answers().that_never_asks();
    let anonymous = Broker::that_never_answers().that_asks();
    for (port, ends) in [(unasking, "4 verify/not-asked verify"), (anonymous, "4 verify/anonymous verify")] {
        let sandbox = Sandbox::trusting("san");
        assert_eq!(add(&sandbox, port).brief(), ends);
        assert!(!sandbox.path("devices/sensor-01").exists());
    }
}

#[test]
fn a_token_is_not_proved_where_any_token_is_accepted() {
    let port = Broker::that_never_answers().that_never_asks();
    for_each_row(&["access-token", "mqtt-basic"], |kind| {
        let flags = format!("--credentials-type {kind}");
        let sandbox = Sandbox::trusting("san");
        same(kind, &provision(&sandbox, port, &flags).brief(), "4 verify/anonymous verify")?;
        same(kind, sandbox.record()["state"].as_str().unwrap(), "sent")?;
        for state in ["sent", "accepted", "proved"] {
            let sandbox = moved_to(port, state, &flags);
            same(kind, &provision(&sandbox, port, &flags).brief(), "4 verify/anonymous verify")?;
            let connect = if state == "proved" { "connected" } else { "4 verify/anonymous verify" };
            same(kind, &sandbox.run("connect --json").brief(), connect)?;
            same(kind, sandbox.record()["state"].as_str().unwrap(), state)?;
        }
        Ok(())
    });
}

/// A server that closes instead of answering may be one that has blocked this address, or is no broker at all.
#[test]
fn a_connection_that_is_closed_without_a_word_proves_nothing() {
    let port = Broker { connack: None, ..Broker::that_never_answers() }.that_asks();
    for state in ["sent", "accepted", "proved"] {
        let sandbox = moved_to(port, state, "");
        let ran = provision(&sandbox, port, "");
        assert_eq!(ran.brief(), "3 network/closed verify", "{state}: {ran:?}");
        assert!(ran.message().contains("throw-away credentials"), "{ran:?}");
        assert_eq!(sandbox.record()["state"], state);
    }
    let sandbox = Sandbox::trusting("san");
    assert_eq!(provision(&sandbox, port, "").brief(), "3 network/timeout exchange");
    assert_eq!(sandbox.record()["state"], "sent");
    assert_eq!(add(&Sandbox::trusting("san"), port).brief(), "3 network/closed verify");
}

#[test]
fn telemetry_to_a_server_that_cannot_tell_one_device_from_another_proves_nothing() {
    for port in [Broker::that_never_answers().that_never_asks(), Broker::that_never_answers().that_asks()] {
        let sandbox = moved_to(port, "accepted", "");
        let ran = sandbox.run("connect --json --send-telemetry --count 1");
        assert_eq!(ran.code, Some(4), "{ran:?}");
        assert_eq!(sandbox.record()["state"], "accepted");
    }
}
