//! A server whose certificate is renewed: what a device believes is changed, and nobody is stranded.

use serde_json::{Value, json};

use crate::support::{NAME, Sandbox, Server, certificate_of, fixture_text, server_identity};

const OLD: &str = "san";
const NEW: &str = "impostor";

/// A proved device of a server that has the old certificate, and the file of the new one.
fn device() -> (Sandbox, Server) {
    let sandbox = Sandbox::trusting(OLD);
    sandbox.write("new.pem", fixture_text(&format!("server/{NEW}.pem")));
    let server = Server::presenting(OLD, |_| {});
    server.provision(&sandbox, "").done();
    (sandbox, server)
}

fn renewed(server: Server) -> Server {
    // The devices of the simulator are in its memory: what is asked here ends with TLS.
    server.replace(|config| config.server = Some(server_identity(NEW)))
}

fn sha256(certificate: &str) -> Value {
    certificate_of(&format!("server/{certificate}.pem")).sha256().into()
}

/// What `devices trust` says that the first device believes.
fn believed(result: &Value) -> Vec<Value> {
    let certificates = result["devices"][0]["certificates"].as_array().unwrap();
    certificates.iter().map(|certificate| certificate["sha256"].clone()).collect()
}

#[test]
fn the_old_and_the_new_certificate_are_believed_side_by_side() {
    let (sandbox, server) = device();
    let refused = sandbox.run(&format!("devices trust --json {NAME} --add new.pem"));
    assert_eq!(refused.brief(), "3 tls/untrusted tls");
    assert!(refused.help().contains("--untried"), "{}", refused.help());
    assert_eq!(sandbox.read(&format!("devices/{NAME}/server.pem")), sandbox.read("server.pem"));

    let added = sandbox.run(&format!("devices trust --json {NAME} --add new.pem --untried")).done();
    assert_eq!(believed(&added), [sha256(OLD), sha256(NEW)]);
    assert_eq!(added["devices"][0]["proved"], json!(false));
    assert_eq!(sandbox.run(&format!("connect --json {NAME}")).outcome(), "connected");

    let server = renewed(server);
    // The server forgot its devices; that it is believed is seen by how far a connect comes.
    assert_eq!(sandbox.run(&format!("connect --json {NAME}")).brief(), "1 server/not-authorized verify");
    let tidied = sandbox.run(&format!("devices trust --json {NAME} --remove-old")).done();
    assert_eq!(believed(&tidied), [sha256(NEW)]);
    assert_eq!(tidied["devices"][0]["removed"][0]["sha256"], sha256(OLD));
    drop(server);
}

#[test]
fn a_certificate_that_the_server_has_already_is_proved_by_a_connection() {
    let (sandbox, server) = device();
    let _server = renewed(server);
    let untrusted = sandbox.run(&format!("connect --json {NAME}"));
    assert_eq!(untrusted.failure().1, "tls/untrusted");
    assert!(untrusted.help().contains("tbprov devices trust"), "{}", untrusted.help());
    let added = sandbox.run(&format!("devices trust --json {NAME} --add new.pem")).done();
    assert_eq!(believed(&added), [sha256(OLD), sha256(NEW)]);
    assert_eq!(added["devices"][0]["proved"], json!(true));
    let replaced = sandbox.run(&format!("devices trust --json {NAME} --add new.pem --remove-old")).done();
    assert_eq!(believed(&replaced), [sha256(NEW)]);
    // Twice is once.
    let again = sandbox.run(&format!("devices trust --json {NAME} --add new.pem")).done();
    assert_eq!(believed(&again), [sha256(NEW)]);
}

#[test]
fn what_would_leave_nothing_to_believe_changes_nothing() {
    let (sandbox, server) = device();
    let before = sandbox.read(&format!("devices/{NAME}/server.pem"));
    let _server = renewed(server);
    for (arguments, promised) in [
        ("--remove-old", "3 tls/untrusted tls"),
        ("--add no-such.pem", "5 file/not-found plan"),
        ("--add server.pem --remove-old", "3 tls/untrusted tls"),
    ] {
        let ran = sandbox.run(&format!("devices trust --json {NAME} {arguments}"));
        assert_eq!(ran.brief(), promised, "{arguments}");
        assert_eq!(sandbox.read(&format!("devices/{NAME}/server.pem")), before, "{arguments}");
    }
    for arguments in ["", "--untried --remove-old", "--all", "--host localhost --add new.pem"] {
        let ran = sandbox.run(&format!("devices trust --json {NAME} {arguments}"));
        assert_eq!(ran.failure().0, 2, "{arguments}");
    }
}

#[test]
fn all_devices_of_a_server_are_changed_and_each_fails_for_itself() {
    let (sandbox, server) = device();
    for name in ["sensor-02", "sensor-03"] {
        server.provision_as(&sandbox, name, "").done();
    }
    sandbox.write("devices/sensor-02/server.pem", "no certificate");
    let ran = sandbox.run("devices trust --json --all --add new.pem --untried");
    assert_eq!(ran.code, Some(6));
    let result = ran.json();
    let codes: Vec<_> =
        result["devices"].as_array().unwrap().iter().map(|row| &row["error"]["code"]).collect();
    assert_eq!(codes, [&Value::Null, &json!("store/corrupt"), &Value::Null]);

    // Another server's certificate is another one.
    let other = Server::presenting(OLD, |_| {});
    other.provision_as(&sandbox, "elsewhere", "").done();
    let ran = sandbox.run("devices trust --json --all --add new.pem --untried");
    assert_eq!(ran.failure().1, "usage/missing-value");
    let line = format!("devices trust --json --all --port {} --add new.pem --untried", other.port());
    let result = sandbox.run(&line).done();
    assert_eq!(result["devices"].as_array().unwrap().len(), 1);
    assert_eq!(result["devices"][0]["device"], "elsewhere");
}

#[test]
fn a_name_check_that_was_skipped_once_is_made_again_where_it_can_be() {
    for command in [format!("connect --json {NAME}"), "provision".to_owned()] {
        let sandbox = Sandbox::trusting(OLD);
        let server = Server::presenting(OLD, |_| {});
        server.provision(&sandbox, "--skip-name-check").done();
        assert_eq!(sandbox.record()["skip_name_check"], true);
        let shown = sandbox.run(&format!("devices show {NAME}"));
        assert!(shown.stdout.contains("name check      skipped"), "{}", shown.stdout);
        // The flag says that it is still meant.
        server.provision(&sandbox, "--skip-name-check").done();
        assert_eq!(sandbox.record()["skip_name_check"], true);

        match command.as_str() {
            "provision" => server.provision(&sandbox, "").done(),
            line => sandbox.run(line).done(),
        };
        assert_eq!(sandbox.record()["skip_name_check"], false, "{command}");
        let shown = sandbox.run(&format!("devices show {NAME}"));
        assert!(!shown.stdout.contains("name check"), "{}", shown.stdout);
    }
}

#[test]
fn a_name_check_that_is_needed_stays_skipped() {
    // Its certificate is for localhost, and the device knows the server by its address.
    let sandbox = Sandbox::trusting("esp32");
    let server = Server::presenting("esp32", |_| {});
    let flags = format!("--host 127.0.0.1 --port {} --server-cert server.pem", server.port());
    server.provision(&sandbox, &format!("{flags} --skip-name-check")).done();
    assert_eq!(sandbox.run(&format!("connect --json {NAME}")).outcome(), "connected");
    assert_eq!(sandbox.record()["skip_name_check"], true);
}
