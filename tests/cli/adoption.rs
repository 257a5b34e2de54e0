//! Identities that `provision` did not make: the web form's path, and files from elsewhere.

use tbprov::identity::read_certificates;
use tbprov::sim::{HeldCredentials, PreProvisioned, Strategy};

use crate::support::{NAME, Sandbox, Server, certificate_of, fixture};

/// A server whose web form was given `certificate` for `sensor-01`.
fn server_that_holds(certificate: &tbprov::identity::Certificate) -> Server {
    let held = HeldCredentials::certificate(certificate);
    Server::presenting("san", |config| {
        config.strategy = Strategy::PreProvisioned;
        config.pre_provisioned = vec![PreProvisioned::new(NAME).with(held)];
    })
}

#[test]
fn from_certs_gen_over_the_web_form_to_telemetry() {
    let sandbox = Sandbox::trusting("san");
    let made = sandbox.run(&format!("certs gen --json --name {NAME} --out new")).done();
    // What is pasted is what the command prints.
    let pasted = read_certificates(made["pem"].as_str().unwrap(), "the web form").unwrap().remove(0);
    assert_eq!(made["credentials_id"], pasted.credentials_id());
    let server = server_that_holds(&pasted);
    let add = format!("devices add --json {NAME} --cert new/cert.pem --key new/key.pem {}", server.flags());
    let added = sandbox.run(&add).done();
    assert_eq!((&added["state"], &added["credentials_id"]), (&"proved".into(), &made["credentials_id"]));
    let sent = sandbox.run("connect --json --send-telemetry --count 3 --interval 0s").done();
    assert_eq!(sent["telemetry"]["acknowledged"], 3);
    assert_eq!(server.devices()[0].telemetry, 3);
    assert_eq!(sandbox.run(&add).brief(), "5 store/exists stage");
}

#[test]
fn certs_gen_tells_people_what_to_paste_and_where() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run(&format!("certs gen --name {NAME}"));
    assert_eq!(ran.code, Some(0));
    for said in ["Manage credentials", "X.509 Certificate", &sandbox.read("cert.pem"), "tbprov devices add"] {
        assert!(ran.stderr.contains(said), "{said}: {ran:?}");
    }
}

#[test]
fn an_identity_that_the_server_does_not_know_is_not_taken_in() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    let (certificate, key) = (fixture("files/device.pem"), fixture("files/device_key.pem"));
    let add = format!(
        "devices add --json {NAME} --cert {} --key {} {}",
        certificate.display(),
        key.display(),
        server.flags()
    );
    assert_eq!(sandbox.run(&add).brief(), "1 server/not-authorized verify");
    assert!(!sandbox.path("devices/sensor-01").exists());
    // Unless that is what is wanted: then it is not called proved.
    let added = sandbox.run(&format!("{add} --no-verify-connect")).done();
    assert_eq!(added["state"], "accepted");
    assert_eq!(sandbox.run("connect --json").brief(), "1 server/not-authorized verify");
    assert!(sandbox.run("connect").stderr.contains("accepted, not proved"));
}

#[test]
fn files_from_elsewhere_connect_without_a_store() {
    let sandbox = Sandbox::trusting("san");
    for name in ["device", "crlf", "bom", "pkcs1"] {
        let server = server_that_holds(&certificate_of(&format!("files/{name}.pem")));
        let files = format!(
            "--cert {} --key {}",
            fixture(&format!("files/{name}.pem")).display(),
            fixture(&format!("files/{name}_key.pem")).display()
        );
        let line = format!("connect --json --send-telemetry {files} {}", server.flags());
        assert_eq!(sandbox.run(&line).outcome(), "connected", "{name}");
        assert_eq!(server.devices()[0].telemetry, 1, "{name}");
    }
    assert!(!sandbox.path("devices").exists());
}

#[test]
fn an_existing_pair_is_registered_and_its_key_saved_as_it_is() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    let files = format!(
        "--cert {} --key {}",
        fixture("files/device.pem").display(),
        fixture("files/sec1_key.pem").display()
    );
    let result = server.provision(&sandbox, &files).done();
    assert_eq!(result["outcome"], "provisioned");
    assert_eq!(server.devices()[0].credentials_id.as_deref(), result["credentials_id"].as_str());
    // SEC1 came in; PKCS#8 is what the store promises.
    assert!(sandbox.read("devices/sensor-01/key.pem").starts_with("-----BEGIN PRIVATE KEY-----"));
    let other = format!(
        "--cert {} --key {}",
        fixture("files/other.pem").display(),
        fixture("files/other_key.pem").display()
    );
    assert_eq!(server.provision(&sandbox, &other).brief(), "5 store/exists stage");
}

#[test]
fn every_key_type_is_provisioned_and_connects() {
    let server = Server::presenting("san", |_| {});
    for key_type in ["ec-p256", "ec-p384", "ed25519", "rsa-2048"] {
        let sandbox = Sandbox::trusting("san");
        let result = server.provision_as(&sandbox, key_type, &format!("--key-type {key_type}")).done();
        assert_eq!(result["key_type"], key_type);
        assert_eq!(sandbox.run("connect --json").outcome(), "connected", "{key_type}");
    }
}

#[test]
fn a_device_signed_by_an_authority_is_taken_in_with_its_chain() {
    let sandbox = Sandbox::trusting("san");
    sandbox.run("certs ca --json --name factory --out ca").done();
    sandbox
        .run(&format!("certs gen --json --name {NAME} --out new --ca-cert ca/ca.pem --ca-key ca/ca_key.pem"))
        .done();
    let chain = read_certificates(&sandbox.read("new/cert.pem"), "chain").unwrap();
    assert_eq!(chain.len(), 2);
    let server = server_that_holds(&chain[0]);
    let add = format!("devices add --json {NAME} --cert new/cert.pem --key new/key.pem {}", server.flags());
    assert_eq!(sandbox.run(&add).done()["state"], "proved");
    assert_eq!(sandbox.run("connect --json").outcome(), "connected");
}

#[test]
fn a_server_certificate_of_certs_server_is_trusted_by_name_and_address() {
    let sandbox = Sandbox::new();
    let made = sandbox.run("certs server --json --host localhost 127.0.0.1 --out .").done();
    assert_eq!(made["names"], serde_json::json!(["localhost", "127.0.0.1"]));
    let server = Server::presenting("san", |config| config.server = Some(sandbox.server_identity("server")));
    assert_eq!(server.provision_as(&sandbox, "a", "--host localhost").outcome(), "provisioned");
    assert_eq!(server.provision_as(&sandbox, "b", "--host 127.0.0.1").outcome(), "provisioned");
    let told = sandbox.run("certs server --host localhost --out other").stdout;
    for line in ["export MQTT_SSL_ENABLED=true", "export MQTT_SSL_CREDENTIALS_TYPE=PEM", "server_key.pem"] {
        assert!(told.contains(line), "{told}");
    }
}

#[test]
fn a_certificate_that_another_device_has_gets_a_word() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    server.provision(&sandbox, "").done();
    let pair = format!("--cert devices/{NAME}/cert.pem --key devices/{NAME}/key.pem");
    let ran = sandbox.run(&format!("devices add --json sensor-02 {pair} {}", server.flags()));
    ran.done();
    assert!(ran.stderr.contains("two devices with one identity are one at the server"), "{ran:?}");
}
