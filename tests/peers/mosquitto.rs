//! A broker that demands client certificates, and clients that know nothing of `tbprov`.

use super::*;

/// Two identities, `own` self-signed and `signed` by an authority, each a folder as the store has it.
fn identities(sandbox: &Sandbox, key_type: &str) {
    tbprov(sandbox, &["certs", "server", "--host", "localhost", "127.0.0.1", "--key-type", key_type]);
    tbprov(sandbox, &["certs", "ca", "--name", "An authority", "--key-type", key_type]);
    let own = ["certs", "gen", "--name", "sensor", "--key-type", key_type, "--out", "own"];
    tbprov(sandbox, &own);
    let signed = [
        "certs",
        "gen",
        "--name",
        "sensor",
        "--out",
        "signed",
        "--ca-cert",
        "ca.pem",
        "--ca-key",
        "ca_key.pem",
    ];
    tbprov(sandbox, &signed);
}

/// mosquitto lets our identities in under their names, and what `tbprov` sends reaches its subscribers.
#[test]
fn mosquitto_accepts_our_identities_and_passes_telemetry_on() {
    for program in ["mosquitto", "mosquitto_sub", "mosquitto_pub"] {
        if installed(program).is_none() {
            return;
        }
    }
    for (folder, authority, key_type) in [
        ("own", "own/cert.pem", "ec-p256"),
        ("signed", "ca.pem", "ec-p256"),
        ("own", "own/cert.pem", "rsa-2048"),
        ("own", "own/cert.pem", "ed25519"),
    ] {
        let sandbox = Sandbox::new();
        identities(&sandbox, key_type);
        let Some(Broker { port, _running }) = Broker::start(&sandbox, authority, "") else { return };
        let file = |name: &str| format!("{folder}/{name}");
        // The store's own way to such a folder; the connect is the broker's approval.
        let (certificate, key) = (file("cert.pem"), file("key.pem"));
        let arguments = [
            "--cert",
            &certificate,
            "--key",
            &key,
            "--host",
            "localhost",
            "--port",
            &port,
            "--server-cert",
            "server.pem",
        ];
        tbprov(&sandbox, &[&["devices", "add", "sensor"], &arguments[..]].concat());
        let stored = "devices/sensor";

        // The broker keeps the subscription from here on.
        let subscribed = client(&sandbox, "mosquitto_sub", stored, &port, &["-i", "reader", "-c", "-E"]);
        assert_eq!(subscribed.code, Some(0), "{subscribed:?}");
        let readings = "{\"number\":1}\n{\"number\":2}\n";
        sandbox.write("readings", readings);
        let sent = tbprov(&sandbox, &[&["connect", "--send-telemetry=@readings"], &arguments[..]].concat());
        assert_eq!(sent["telemetry"]["acknowledged"], 2);
        let message = "{\"number\":3}";
        let published = client(&sandbox, "mosquitto_pub", stored, &port, &["-m", message]);
        assert_eq!(published.code, Some(0), "{published:?}");
        let read = client(&sandbox, "mosquitto_sub", stored, &port, &["-i", "reader", "-c", "-C", "3"]);
        let lines: Vec<_> = read.stdout.lines().collect();
        assert_eq!((lines.len(), lines[2]), (3, message), "{read:?}");
        for (line, reading) in lines.iter().zip(readings.lines()) {
            assert!(
                line.starts_with("{\"ts\":") && line.ends_with(&format!(",\"values\":{reading}}}")),
                "{line}"
            );
        }

        // Another certificate is not let in, whatever it calls itself.
        tbprov(&sandbox, &["certs", "gen", "--name", "sensor", "--out", "stranger"]);
        let stranger = ["connect", "--json", "--cert", "stranger/cert.pem", "--key", "stranger/key.pem"];
        let refused = run(sandbox.tbprov(&stranger).args(&arguments[4..]));
        refused.failed(3, "tls/client-certificate-refused");
    }
}

/// A broker that lets everybody in knows nobody.
#[test]
fn mosquitto_without_certificates_proves_no_device() {
    let sandbox = Sandbox::new();
    identities(&sandbox, "ec-p256");
    let Some(Broker { port, _running }) = Broker::for_everybody(&sandbox) else { return };
    let server = ["--host", "localhost", "--port", &port, "--server-cert", "server.pem", "--json"];
    let pair = ["--cert", "own/cert.pem", "--key", "own/key.pem"];
    let add = run(sandbox.tbprov(&["devices", "add", "sensor"]).args(pair).args(server));
    add.failed(4, "verify/not-asked");
    let connect = run(sandbox.tbprov(&["connect"]).args(pair).args(server));
    connect.failed(4, "verify/not-asked");
    let profile = ["--provision-key", "k", "--provision-secret", "s", "--device-name", "sensor"];
    let provision = ["provision", "--timeout", "2s"];
    let provisioned = run(sandbox.tbprov(&provision).args(profile).args(server));
    provisioned.failed(4, "verify/not-asked");
    assert_eq!(record_state(&sandbox, "sensor").as_deref(), Some("sent"));
}

/// A folder of the store as it is, with a client that knows nothing of it.
#[test]
fn mosquitto_pub_works_from_a_folder_of_the_store() {
    if installed("mosquitto_pub").is_none() {
        return;
    }
    for release in RELEASES {
        let (server, sandbox) = (Server::of(release), Sandbox::new());
        for key_type in ["ec-p256", "rsa-2048", "ed25519"] {
            run(sandbox.provision(&server, key_type).args(["--key-type", key_type])).done();
            let port = server.address().port().to_string();
            let message = r#"{"temperature":25}"#;
            let published =
                client(&sandbox, "mosquitto_pub", &format!("devices/{key_type}"), &port, &["-m", message]);
            assert_eq!(published.code, Some(0), "{published:?}");
            assert_eq!(server.telemetry(key_type), [message], "{release}");
        }
    }
}
