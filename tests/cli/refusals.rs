//! What the server refused: it is kept with the device, and each dead end names its way out.

use serde_json::Value;
use tbprov::sim::Config;

use crate::support::{NAME, Ran, Sandbox, Server, certificate_of, fixture_text, for_each_row, same};

const RECORD: &str = "devices/sensor-01/device.json";

fn shown(sandbox: &Sandbox) -> (Value, String) {
    let json = sandbox.run(&format!("devices show {NAME} --json")).done();
    (json["refused"].clone(), sandbox.run(&format!("devices show {NAME}")).stdout)
}

#[track_caller]
fn is_said_to_be_the_second(ran: &Ran) {
    assert!(ran.message().contains("; it was so on ") && ran.message().ends_with(" UTC too"), "{ran:?}");
}

#[test]
fn the_last_refusal_is_kept_and_shown_and_a_rerun_that_fails_the_same_way_says_so() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |config| config.faults = vec!["failure".parse().unwrap()]);
    let first = server.provision(&sandbox, "");
    assert_eq!(first.brief(), "1 server/failure exchange");
    assert!(!first.message().contains("it was so on"), "{first:?}");
    let kept = sandbox.record()["refused"].clone();
    assert_eq!((&kept["code"], &kept["message"]), (&"server/failure".into(), &first.message().into()));
    let (json, text) = shown(&sandbox);
    assert_eq!(json, kept);
    assert!(text.contains("last refused    ") && text.contains("server/failure"), "{text}");

    let again = server.provision(&sandbox, "");
    assert_eq!(again.brief(), "1 server/failure exchange");
    is_said_to_be_the_second(&again);
    // What is kept is what the server said, and does not grow.
    is_said_to_be_the_second(&server.provision(&sandbox, ""));
    assert_eq!(sandbox.record()["refused"]["message"], kept["message"]);

    // Another failure is another refusal.
    let server = server.replace(|config| config.provision_key = "another".to_owned());
    let other = server.provision(&sandbox, "");
    assert_eq!(other.brief(), "1 server/not-found exchange");
    assert!(!other.message().contains("it was so on"), "{other:?}");
    assert_eq!(sandbox.record()["refused"]["code"], "server/not-found");
    // It decides nothing.
    let server = server.replace(|_| {});
    assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
}

#[test]
fn what_is_no_refusal_is_not_kept_as_one() {
    for fault in ["drop-before-tls", "close-after-connect", "no-answer"] {
        let sandbox = Sandbox::trusting("san");
        let server = Server::presenting("san", |config| config.faults = vec![fault.parse().unwrap()]);
        assert_eq!(server.provision(&sandbox, "--timeout 2s").failure().0, 3, "{fault}");
        assert_eq!(sandbox.record().get("refused"), None, "{fault}");
    }
}

#[test]
fn after_an_answer_with_other_credentials_nothing_is_on_its_way() {
    for_each_row(
        &[("wrong-type,refuse=2", "other-type"), ("wrong-value", "other-certificate")],
        |(faults, code)| {
            let sandbox = Sandbox::trusting("san");
            let parsed = faults.split(',').map(|fault| fault.parse().unwrap()).collect();
            let server = Server::presenting("san", |config| config.faults = parsed);
            for flags in ["", "--no-verify-connect"] {
                let sandbox = if flags.is_empty() { &sandbox } else { &Sandbox::trusting("san") };
                let name = format!("d{}", flags.len());
                let ran = server.provision_as(sandbox, &name, flags);
                same(faults, &ran.brief(), &format!("4 answer/{code} verify"))?;
                let record: Value =
                    serde_json::from_str(&sandbox.read(&format!("devices/{name}/device.json"))).unwrap();
                same(faults, record["state"].as_str().unwrap(), "staged")?;
                same(faults, record["refused"]["code"].as_str().unwrap(), &format!("answer/{code}"))?;
            }
            Ok(())
        },
    );
}

/// As a first run with a wrong clock leaves it.
#[test]
fn a_staged_identity_that_has_expired_names_the_way_out() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |config| config.faults = vec!["drop-before-tls".parse().unwrap()]);
    server.provision(&sandbox, "").failure();
    let server = server.replace(|_| {});
    sandbox.write("devices/sensor-01/cert.pem", fixture_text("files/expired.pem"));
    sandbox.write("devices/sensor-01/key.pem", fixture_text("files/expired_key.pem"));
    let mut record = sandbox.record();
    record["credentials_id"] = certificate_of("files/expired.pem").credentials_id().into();
    sandbox.write(RECORD, record.to_string());
    let ran = server.provision(&sandbox, "");
    assert_eq!(ran.brief(), "5 file/expired-certificate plan");
    assert!(ran.help().contains(&format!("tbprov devices remove {NAME}")), "{ran:?}");
    assert!(ran.help().contains("clock"), "{ran:?}");
    let removed = sandbox.run(&format!("devices remove {NAME} --yes --json")).done();
    assert_eq!(removed["known_to_server"], false);
    assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
}

#[test]
fn a_device_that_the_server_has_forgotten_names_the_way_out() {
    let kept = |fault: &str, flags: &str| {
        let sandbox = Sandbox::trusting("san");
        let change = |config: &mut Config| config.faults = vec![fault.parse().unwrap()];
        let server = Server::presenting("san", change);
        server.provision(&sandbox, flags);
        (sandbox, server.replace(|_| {}))
    };
    for (fault, flags, state) in [
        ("unavailable=1", "", "accepted"),
        ("delay=1ms", "--no-verify-connect", "accepted"),
        ("delay=1ms", "", "proved"),
    ] {
        let (sandbox, server) = kept(fault, flags);
        assert_eq!(sandbox.record()["state"], state);
        let ran = server.provision(&sandbox, "");
        assert_eq!(ran.brief(), "4 verify/refused verify", "{fault}");
        assert!(ran.help().contains("tbprov devices remove"), "{ran:?}");
        is_said_to_be_the_second(&server.provision(&sandbox, ""));
        assert_eq!(sandbox.record()["state"], state);
        assert!(server.devices().is_empty());
        // And it is one.
        sandbox.run(&format!("devices remove {NAME} --yes")).code.unwrap();
        assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
    }
}
