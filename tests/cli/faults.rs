//! What servers and networks do wrong, how `provision` ends, and how a rerun ends once the server is well.

use tbprov::Secret;
use tbprov::identity::BasicCredentials;
use tbprov::sim::{Fault, HeldCredentials, PreProvisioned, Strategy};

use crate::support::{KEY, NAME, Sandbox, Server, certificate_of, fixture_text, for_each_row, same};

/// The faults that fall silent wait for this: longer than any step takes on a busy machine.
const PATIENCE: &str = "--timeout 3s";
const FOUR: &str = "--send-telemetry --count 4 --interval 0s";

/// Fault, more flags, then how it ends: the outcome, or exit code, error code and step.
struct Row(&'static str, &'static str, &'static str, &'static str);

/// `(fault, flags, the run, a rerun against the same server without the fault)`
const FAULTS: &[Row] = &[
    Row("accept-then-close", "", "recovered", "verified"),
    Row("close-after-connect", "", "3 network/closed exchange", "provisioned"),
    Row("close-every=3", FOUR, "provisioned", "verified"),
    Row("delay=200ms", "", "provisioned", "verified"),
    Row("delay=60s", PATIENCE, "recovered", "verified"),
    Row("doc-shape", "", "provisioned", "verified"),
    Row("drop-before-tls", "", "3 network/closed tls", "provisioned"),
    Row("failure", "", "1 server/failure exchange", "provisioned"),
    Row("failure-after-create", "", "recovered", "verified"),
    Row("garbage", "", "recovered", "verified"),
    Row("garbage-mqtt", "", "3 network/protocol connect", "provisioned"),
    Row("no-answer", PATIENCE, "3 network/timeout exchange", "provisioned"),
    Row("no-connack", PATIENCE, "3 network/timeout connect", "provisioned"),
    Row("oversize", "", "recovered", "verified"),
    Row("puback-late=100ms", FOUR, "provisioned", "verified"),
    Row("puback-shuffled", FOUR, "provisioned", "verified"),
    Row("puback-twice", FOUR, "provisioned", "verified"),
    Row("rate-limit=2", FOUR, "provisioned", "verified"),
    Row("refuse=1", "", "4 verify/refused verify", "recovered"),
    Row("reset=2", FOUR, "provisioned", "verified"),
    Row("reset-always=3", FOUR, "provisioned", "verified"),
    Row("stall-tls", PATIENCE, "3 network/timeout tls", "provisioned"),
    Row("tls-alert", "", "3 tls/handshake tls", "provisioned"),
    Row("unavailable=1", "", "1 server/unavailable verify", "recovered"),
    // The server holds other credentials now: only its administrator can change that.
    Row("wrong-type", "", "4 answer/other-type verify", "1 server/failure exchange"),
    Row("wrong-value", "", "4 answer/other-certificate verify", "1 server/failure exchange"),
];

#[test]
fn every_fault_ends_as_promised_and_a_rerun_is_safe() {
    for_each_row(FAULTS, |Row(fault, flags, first, again)| {
        let sandbox = Sandbox::trusting("san");
        let registry = sandbox.path("registry.json");
        let server = Server::presenting("san", |config| {
            config.faults = vec![fault.parse().unwrap()];
            config.state = Some(registry.clone());
        });
        same(fault, &server.provision(&sandbox, flags).brief(), first)?;
        let key = std::fs::read(sandbox.path("devices/sensor-01/key.pem")).unwrap();
        let server = server.replace(|config| config.state = Some(registry.clone()));
        same(&format!("{fault}, rerun"), &server.provision(&sandbox, "").brief(), again)?;
        let kept = std::fs::read(sandbox.path("devices/sensor-01/key.pem")).unwrap() == key;
        same(&format!("{fault}, key kept"), &kept.to_string(), "true")?;
        same(&format!("{fault}, devices"), &server.devices().len().to_string(), "1")
    });
}

#[test]
fn the_fault_table_has_every_fault() {
    for fault in Fault::ALL {
        let name = fault.syntax.split('=').next().unwrap();
        assert!(FAULTS.iter().any(|row| row.0.split('=').next() == Some(name)), "{name}");
    }
}

#[test]
fn after_telemetry_was_cut_every_reading_is_counted_once() {
    for fault in ["rate-limit=2", "reset=2", "reset-always=3"] {
        let sandbox = Sandbox::trusting("san");
        let server = Server::presenting("san", |config| config.faults = vec![fault.parse().unwrap()]);
        let result = server.provision(&sandbox, FOUR).done();
        assert_eq!(result["telemetry"]["sent"], 4, "{fault}");
        assert_eq!(result["telemetry"]["acknowledged"], 4, "{fault}");
        assert!(result["telemetry"]["reconnects"].as_u64() >= Some(1), "{fault}");
    }
}

#[test]
fn a_pre_provisioned_device_says_which_credentials_the_server_holds() {
    let basic = BasicCredentials {
        client_id: "client".to_owned(),
        user_name: "user".to_owned(),
        password: Secret::new("password"),
    };
    let other = HeldCredentials::certificate(&certificate_of("files/other.pem"));
    let token = HeldCredentials::Token(Secret::new("a-token-of-the-web-form"));
    let rows = [
        ("x509", token.clone(), "4 answer/other-type verify"),
        ("x509", other, "4 answer/other-certificate verify"),
        ("x509", HeldCredentials::Basic(basic.clone()), "4 answer/other-type verify"),
        ("access-token", token, "4 answer/other-credentials verify"),
        ("mqtt-basic", HeldCredentials::Basic(basic), "4 answer/other-credentials verify"),
    ];
    for_each_row(&rows, |(kind, held, promised)| {
        let sandbox = Sandbox::trusting("san");
        let server = Server::presenting("san", |config| {
            config.strategy = Strategy::PreProvisioned;
            config.pre_provisioned = vec![PreProvisioned::new(NAME).with(held.clone())];
        });
        let flags = format!("--credentials-type {kind}");
        same(kind, &server.provision(&sandbox, &flags).brief(), promised)?;
        // It was provisioned once now, and ThingsBoard does that once.
        same(kind, &server.provision(&sandbox, &flags).brief(), "1 server/failure exchange")
    });
}

#[test]
fn a_given_certificate_that_is_a_devices_already_is_told_before_anything_is_asked() {
    let sandbox = Sandbox::trusting("san");
    sandbox.write("cert.pem", fixture_text("files/device.pem"));
    sandbox.write("key.pem", fixture_text("files/device_key.pem"));
    let held = HeldCredentials::certificate(&certificate_of("files/device.pem"));
    let server = Server::presenting("san", |config| {
        config.strategy = Strategy::PreProvisioned;
        config.pre_provisioned = vec![PreProvisioned::new(NAME).with(held)];
    });
    let given = "--cert cert.pem --key key.pem";
    assert_eq!(server.provision(&sandbox, given).brief(), "4 verify/already-registered verify");
    // Somebody else's, as far as anybody can tell.
    assert_eq!(sandbox.record()["state"], "staged");
    sandbox.run(&format!("devices remove --yes {NAME}"));
    let added = sandbox.run(&format!("devices add --json {NAME} {given} {}", server.flags())).done();
    assert_eq!(added["state"], "proved");
}

#[test]
fn a_refused_request_says_why_and_leaves_an_identity_to_go_on_with() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |config| config.strategy = Strategy::PreProvisioned);
    assert_eq!(server.provision(&sandbox, "").brief(), "1 server/failure exchange");
    assert_eq!(sandbox.record()["state"], "staged");

    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    let wrong_secret = format!(
        "provision --json --provision-key {KEY} --device-name {NAME} --provision-secret wrong {}",
        server.flags()
    );
    let refused = sandbox.run(&wrong_secret);
    assert_eq!(refused.brief(), "1 server/not-found exchange");
    assert!(refused.help().contains("check the provision key and secret"), "{}", refused.help());
    assert_eq!(sandbox.record()["state"], "staged");
    assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
}

#[test]
fn a_taken_name_is_refused_and_the_first_device_stays() {
    let first = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    assert_eq!(server.provision(&first, "").outcome(), "provisioned");
    let second = Sandbox::trusting("san");
    assert_eq!(server.provision(&second, "").brief(), "1 server/failure exchange");
    assert_eq!(server.provision(&first, "").outcome(), "verified");
}

#[test]
fn a_device_that_the_server_lost_is_not_made_anew() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
    let server = server.replace(|_| {});
    let gone = server.provision(&sandbox, "");
    assert_eq!(gone.brief(), "4 verify/refused verify");
    assert!(gone.help().contains("move its folder out of the store"), "{gone:?}");
    assert!(server.devices().is_empty());
}

#[test]
fn no_server_at_all_is_told_by_the_step_that_fails() {
    let sandbox = Sandbox::trusting("san");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let line = |host: &str, port| {
        format!(
            "provision --json --provision-key {KEY} --provision-secret s --device-name {NAME} --timeout 10s \
             --server-cert server.pem --host {host} --port {port}"
        )
    };
    assert_eq!(sandbox.run(&line("127.0.0.1", closed)).brief(), "3 network/connect tcp");
    assert_eq!(sandbox.run(&line("no-such-host.invalid", 8883)).brief(), "3 network/resolve resolve");
}

#[test]
fn a_device_works_with_every_release() {
    for_each_row(&["3.2", "3.4", "3.6", "3.8", "4.3"], |release| {
        let sandbox = Sandbox::trusting("esp32");
        let server = Server::presenting("esp32", |config| config.release = release.parse().unwrap());
        same(release, &server.provision(&sandbox, FOUR).brief(), "provisioned")?;
        same(release, &server.provision(&sandbox, "").brief(), "verified")?;
        same(release, &sandbox.run("connect --json --send-telemetry").brief(), "connected")?;
        same(release, &server.devices()[0].telemetry.to_string(), "5")
    });
}
