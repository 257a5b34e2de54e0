//! What servers and networks do wrong, how `provision` ends, and how a rerun ends once the server is well.

use serde_json::{Value, json};
use tbprov::Secret;
use tbprov::identity::{BasicCredentials, sha256_hex};
use tbprov::sim::{Config, Fault, HeldCredentials, PreProvisioned, Strategy};

use crate::support::{KEY, NAME, Sandbox, Server, certificate_of, fixture_text, for_each_row, same};

/// The faults that fall silent wait for this: longer than any step takes on a busy machine.
const PATIENCE: &str = "--timeout 3s";
const FOUR: &str = "--send-telemetry --count 4 --interval 0s";

/// Fault, more flags, then how it ends: the outcome, or exit code, error code and step.
struct Row(&'static str, &'static str, &'static str, &'static str);

/// `(fault, flags, the run, a rerun against the same server without the fault)`
const FAULTS: &[Row] = &[
    Row("accept-then-close", "", "recovered", "verified"),
    Row("address-filter=10", "", "provisioned", "verified"),
    Row("close-after-connect", "", "3 network/closed exchange", "provisioned"),
    Row("close-every=3", FOUR, "provisioned", "verified"),
    Row("core=1x20ms", "", "provisioned", "verified"),
    Row("core-stalls=8s/2s", "", "provisioned", "verified"),
    Row("delay=200ms", "", "provisioned", "verified"),
    Row("delay=60s", PATIENCE, "recovered", "verified"),
    Row("doc-shape", "", "provisioned", "verified"),
    Row("drop-before-tls", "", "3 network/closed tls", "provisioned"),
    Row("failure", "", "1 server/failure exchange", "provisioned"),
    Row("failure-after-create", "", "recovered", "verified"),
    Row("garbage", "", "recovered", "verified"),
    Row("garbage-mqtt", "", "3 network/protocol connect", "provisioned"),
    Row("latency=20ms", "", "provisioned", "verified"),
    Row("no-answer", PATIENCE, "3 network/timeout exchange", "provisioned"),
    Row("no-connack", PATIENCE, "3 network/timeout connect", "provisioned"),
    Row("not-stored=2", FOUR, "provisioned", "verified"),
    Row("oversize", "", "recovered", "verified"),
    Row("puback-late=100ms", FOUR, "provisioned", "verified"),
    Row("puback-shuffled", FOUR, "provisioned", "verified"),
    Row("puback-twice", FOUR, "provisioned", "verified"),
    Row("rate-limit=2", FOUR, "provisioned", "verified"),
    Row("refuse=1", "", "4 verify/refused verify", "recovered"),
    // There is no second answer on its connection.
    Row("repeat-answer", "", "provisioned", "verified"),
    Row("reset=2", FOUR, "provisioned", "verified"),
    Row("reset-always=3", FOUR, "provisioned", "verified"),
    Row("stall-tls", PATIENCE, "3 network/timeout tls", "provisioned"),
    Row("stored-late=100ms", FOUR, "provisioned", "verified"),
    Row("tls-alert", "", "3 tls/handshake tls", "provisioned"),
    Row("unavailable=1", "", "1 server/unavailable verify", "recovered"),
    // A token is as good as what a device had before.
    Row("wrong-type", "", "pre-provisioned", "verified"),
    // The server holds another certificate now: only its administrator can change that.
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
        let key = key_of(&sandbox);
        let server = server.replace(|config| config.state = Some(registry.clone()));
        same(&format!("{fault}, rerun"), &server.provision(&sandbox, "").brief(), again)?;
        let kept = key_of(&sandbox) == key;
        same(&format!("{fault}, key kept"), &kept.to_string(), "true")?;
        same(&format!("{fault}, devices"), &server.devices().len().to_string(), "1")
    });
}

/// The key of the sandbox's only device, wherever it lies by now.
fn key_of(sandbox: &Sandbox) -> Vec<u8> {
    let files = sandbox.files();
    std::fs::read(files.iter().find(|file| file.ends_with("key.pem")).unwrap()).unwrap()
}

#[test]
fn the_fault_table_has_every_fault() {
    // Those of the REST API are in tests/sim_wire/rest_faults.rs: a device never meets them.
    for fault in Fault::ALL.iter().filter(|fault| !fault.syntax.starts_with("rest-")) {
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
        ("x509", token.clone(), "pre-provisioned", "verified"),
        ("x509", other.clone(), "4 answer/other-certificate verify", "1 server/failure exchange"),
        ("x509", HeldCredentials::Basic(basic.clone()), "pre-provisioned", "verified"),
        ("access-token", other, "4 answer/other-type verify", "1 server/failure exchange"),
        ("access-token", token, "pre-provisioned", "verified"),
        ("access-token", HeldCredentials::Basic(basic.clone()), "pre-provisioned", "verified"),
        ("mqtt-basic", HeldCredentials::Basic(basic), "pre-provisioned", "verified"),
    ];
    for_each_row(&rows, |(kind, held, promised, again)| {
        let sandbox = Sandbox::trusting("san");
        let server = Server::presenting("san", |config| {
            config.strategy = Strategy::PreProvisioned;
            config.pre_provisioned = vec![PreProvisioned::new(NAME).with(held.clone())];
        });
        let flags = format!("--credentials-type {kind}");
        same(kind, &server.provision(&sandbox, &flags).brief(), promised)?;
        // It was provisioned once now, and ThingsBoard does that once.
        same(kind, &server.provision(&sandbox, &flags).brief(), again)
    });
}

/// What a pre-provisioned device has, and the server that gives it.
fn with_a_token_of_its_own(faults: &[&str]) -> (Sandbox, Server) {
    let server = Server::presenting("san", |config| {
        with_its_token(config);
        config.faults = faults.iter().map(|fault| fault.parse().unwrap()).collect();
    });
    (Sandbox::trusting("san"), server)
}

fn with_its_token(config: &mut Config) {
    config.strategy = Strategy::PreProvisioned;
    let token = HeldCredentials::Token(Secret::new(ITS_TOKEN));
    config.pre_provisioned = vec![PreProvisioned::new(NAME).with(token)];
}

const ITS_TOKEN: &str = "a-token-of-the-web-form";

#[test]
fn the_token_that_a_device_has_already_is_kept_proved_and_used() {
    let (sandbox, server) = with_a_token_of_its_own(&[]);
    let ran = server.provision(&sandbox, "--send-telemetry");
    assert!(!ran.stderr.contains(ITS_TOKEN) && !ran.stdout.contains(ITS_TOKEN));
    assert!(ran.stderr.contains("the server has the device already, with an access token of its own"));
    let result = ran.done();
    assert_eq!(result["outcome"], "pre-provisioned");
    assert_eq!(result["verified"], json!({"answer": false, "connect": true, "mutual_tls": false}));
    assert_eq!(result["telemetry"]["acknowledged"], 1);

    let saved: Value =
        serde_json::from_str(&sandbox.read(&format!("devices/{NAME}/credentials.json"))).unwrap();
    assert_eq!(saved, json!({"credentialsType": "ACCESS_TOKEN", "token": ITS_TOKEN}));
    // What was sent is kept, and is not shown as if it were the device's.
    assert!(!sandbox.path(&format!("devices/{NAME}/key.pem")).exists());
    let record = sandbox.record();
    let before = record["previous"]["name"].as_str().unwrap();
    assert!(sandbox.path(&format!("devices/{NAME}/identities/{before}/key.pem")).exists());
    assert_eq!((&record["state"], &record["pre_provisioned"]), (&json!("proved"), &json!(true)));

    let connected = sandbox.run(&format!("connect {NAME} --json --send-telemetry")).done();
    assert_eq!(connected["telemetry"]["acknowledged"], 1);
    assert_eq!(server.devices().len(), 1);
}

#[test]
fn a_token_that_was_given_is_not_lost_when_the_run_ends_there() {
    let (sandbox, server) = with_a_token_of_its_own(&["unavailable=1"]);
    assert_eq!(server.provision(&sandbox, "").brief(), "1 server/unavailable verify");
    let record = sandbox.record();
    assert_eq!(record["candidate"]["state"], "accepted");
    // Asked again, the server would say FAILURE.
    assert_eq!(server.provision(&sandbox, "").brief(), "pre-provisioned");
    assert_eq!(server.provision(&sandbox, "").brief(), "verified");
}

/// As the store's own files are, where there are modes.
fn make_private(file: &std::path::Path) {
    #[cfg(unix)]
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    #[cfg(not(unix))]
    let _ = file;
}

/// As a run leaves it that is killed between the file and the record.
#[test]
fn a_token_that_no_record_names_yet_is_found_by_the_next_run() {
    let name = &sha256_hex(ITS_TOKEN.as_bytes())[..12];
    let whole = json!({"credentialsType": "ACCESS_TOKEN", "token": ITS_TOKEN});
    let whole = serde_json::to_string_pretty(&whole).unwrap();
    let rows = [
        (name.to_owned(), &whole[..], "pre-provisioned"),
        (format!(".new-{name}"), &whole, "pre-provisioned"),
        (format!(".new-{name}"), &whole[..20], "1 server/failure exchange"),
    ];
    for_each_row(&rows, |(folder, content, promised)| {
        let sandbox = Sandbox::trusting("san");
        let registry = sandbox.path("registry.json");
        let server = Server::presenting("san", |config| {
            with_its_token(config);
            config.state = Some(registry.clone());
            config.faults = vec!["accept-then-close".parse().unwrap()];
        });
        server.provision(&sandbox, "--no-verify-connect").failure();
        assert_eq!(sandbox.record()["state"], "sent");
        let file = format!("devices/{NAME}/identities/{folder}/credentials.json");
        let file = sandbox.write(&file, content);
        make_private(&file);
        let server = server.replace(|config| {
            with_its_token(config);
            config.state = Some(registry.clone());
        });
        same(folder, &server.provision(&sandbox, "").brief(), promised)
    });
}

#[test]
fn what_the_server_gave_is_proved_even_where_no_proof_was_asked_for() {
    let (sandbox, server) = with_a_token_of_its_own(&[]);
    assert_eq!(server.provision(&sandbox, "--no-verify-connect").brief(), "pre-provisioned");
    assert_eq!(sandbox.record()["state"], "proved");
}

#[test]
fn a_token_that_the_server_gives_and_refuses_is_no_devices() {
    let (sandbox, server) = with_a_token_of_its_own(&["refuse=1"]);
    let ran = server.provision(&sandbox, "--credentials-type access-token");
    assert_eq!(ran.brief(), "4 answer/other-credentials verify");
    let record = sandbox.record();
    assert_eq!((&record["state"], &record["candidate"]), (&json!("staged"), &Value::Null));
    assert!(record.get("pre_provisioned").is_none());
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
