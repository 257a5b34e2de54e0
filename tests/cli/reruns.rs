//! What a rerun believes, and what counts as a proof.

use serde_json::json;

use crate::support::{KEY, NAME, SECRET, Sandbox, Server};

/// Provisions without naming a server certificate.
fn without_certificate(server: &Server) -> String {
    format!(
        "provision --json --host localhost --port {} --provision-key {KEY} --provision-secret {SECRET} --device-name {NAME}",
        server.port()
    )
}

#[test]
fn a_rerun_believes_the_certificate_saved_by_the_run_before() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
    assert_eq!(sandbox.run(&without_certificate(&server)).outcome(), "verified");
    // Without one saved, a file of the customary name is believed, and here there is none.
    let elsewhere = Sandbox::new();
    let (exit_code, code, _) = elsewhere.run(&without_certificate(&server)).failure();
    assert_eq!((exit_code, code.as_str()), (3, "tls/untrusted"));
}

#[test]
fn a_certificate_of_the_customary_name_mends_a_first_run_without_one() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    sandbox.run(&without_certificate(&server)).failure();
    sandbox.write("mqttserver.pub.pem", sandbox.read("server.pem"));
    assert_eq!(sandbox.run(&without_certificate(&server)).outcome(), "provisioned");
    assert_eq!(sandbox.record()["server_pem"], true);
}

#[test]
fn a_missing_server_pem_is_damage_and_not_a_reason_to_trust_others() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    server.provision(&sandbox, "").done();
    std::fs::remove_file(sandbox.path(&format!("devices/{NAME}/server.pem"))).unwrap();
    assert_eq!(sandbox.run("connect --json").brief(), "5 store/corrupt plan");
}

#[test]
fn acknowledged_telemetry_is_a_proof() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    let done = server.provision(&sandbox, "--no-verify-connect --send-telemetry").done();
    assert_eq!(done["verified"], json!({"answer": true, "connect": false, "mutual_tls": false}));
    assert_eq!(done["telemetry"]["acknowledged"], 1);
    assert_eq!(sandbox.record()["state"], "proved");
}

#[test]
fn a_token_is_proved_by_a_connect_that_is_not_mutual_tls() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    let done = server.provision(&sandbox, "--credentials-type access-token").done();
    assert_eq!(done["verified"], json!({"answer": true, "connect": true, "mutual_tls": false}));
}

#[test]
fn stdin_is_read_by_one_only() {
    let sandbox = Sandbox::new();
    let line = "provision --json --host localhost --device-name d --provision-key k --provision-secret-file - --send-telemetry=-";
    assert_eq!(sandbox.run(line).brief(), "2 usage/conflict plan");
}

#[test]
fn acknowledged_telemetry_is_told_even_when_its_proof_cannot_be_recorded() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    server.provision(&sandbox, "--no-verify-connect").done();
    // A link is no lock: the record cannot be written.
    let lock = sandbox.path(&format!("devices/.locks/{NAME}.lock"));
    std::fs::remove_file(&lock).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("elsewhere", &lock).unwrap();
    #[cfg(not(unix))]
    std::fs::create_dir(&lock).unwrap();
    let ran = sandbox.run("connect --json --send-telemetry --count 2 --interval 0s");
    assert_eq!(ran.done()["telemetry"]["acknowledged"], 2);
    assert!(ran.stderr.contains("warning"), "{ran:?}");
    assert!(!sandbox.path("devices/.locks/elsewhere").exists());
}

#[test]
fn a_copied_folder_is_named_as_one() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    server.provision(&sandbox, "").done();
    for name in ["device.json", "key.pem", "cert.pem", "server.pem"] {
        sandbox.write(&format!("devices/copy/{name}"), sandbox.read(&format!("devices/{NAME}/{name}")));
    }
    let listed = sandbox.run("devices list --json").done();
    assert!(listed["devices"][0]["error"].as_str().unwrap().contains("copy of the device"), "{listed}");
}

#[test]
fn an_empty_name_is_no_device() {
    let sandbox = Sandbox::trusting("san");
    Server::presenting("san", |_| {}).provision(&sandbox, "").done();
    let (exit_code, code, _) = sandbox.run_all(["devices", "show", "", "--json"]).failure();
    assert_eq!((exit_code, code.as_str()), (5, "store/not-found"));
}

#[test]
fn a_copied_folder_of_a_device_without_a_name_is_told_too() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    let made = server.provision_as(&sandbox, "", "").done();
    let folder = made["device"].as_str().unwrap();
    for name in ["device.json", "key.pem", "cert.pem", "server.pem"] {
        sandbox.write(&format!("devices/copy/{name}"), sandbox.read(&format!("devices/{folder}/{name}")));
    }
    let listed = sandbox.run("devices list --json").done();
    assert!(listed["devices"][0]["error"].as_str().unwrap().contains("is a copy of"), "{listed}");
    assert!(listed["devices"][1]["error"].is_null(), "{listed}");
}

#[test]
fn a_proof_stays_where_the_telemetry_after_it_fails() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    server.provision(&sandbox, "--no-verify-connect").done();
    sandbox.write("readings", "{\"a\":1}\nno telemetry\n");
    let ran = sandbox.run("connect --json --send-telemetry=@readings");
    assert_eq!(ran.failure().2, "telemetry", "{ran:?}");
    assert_eq!(sandbox.record()["state"], "proved");
}

#[test]
fn a_device_that_was_never_proved_is_not_said_to_have_been_accepted() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    sandbox.run("certs gen --json --name elsewhere --out elsewhere").done();
    let pair = "--cert elsewhere/cert.pem --key elsewhere/key.pem";
    let flags = server.flags();
    sandbox.run(&format!("devices add --json {NAME} --no-verify-connect {pair} {flags}")).done();
    let ran = server.provision(&sandbox, "");
    assert_eq!(ran.brief(), "4 verify/refused verify");
    assert!(ran.message().starts_with("the device was taken in without a proof"), "{ran:?}");
}

#[test]
fn doctor_sees_that_the_saved_certificates_are_gone() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    server.provision(&sandbox, "").done();
    std::fs::remove_file(sandbox.path(&format!("devices/{NAME}/server.pem"))).unwrap();
    let ran = sandbox.run("doctor --json");
    assert_eq!(ran.code, Some(5), "{ran:?}");
    assert!(ran.stdout.contains("store/corrupt"), "{ran:?}");
}

#[test]
fn what_is_in_the_way_of_a_record_is_named() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    server.provision(&sandbox, "--no-verify-connect").done();
    std::fs::create_dir(sandbox.path(&format!("devices/{NAME}/.device.json.new"))).unwrap();
    let ran = server.provision(&sandbox, "");
    assert_eq!(ran.brief(), "5 store/io promote");
    assert!(ran.message().contains(".device.json.new"), "{ran:?}");
}
