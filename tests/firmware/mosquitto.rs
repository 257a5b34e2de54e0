//! Against a broker that is neither ours nor ThingsBoard, and demands client certificates.

use super::support::peers::*;
use super::*;

#[test]
fn mosquitto_lets_the_firmware_in_and_passes_its_readings_on() {
    let Some(elf) = firmware() else { return };
    for (key_type, protocol, version) in [
        ("ec-p256", "MaxProtocol = TLSv1.2", "TLS 1.2"),
        ("ec-p256", "", "TLS 1.3"),
        ("rsa-2048", "MaxProtocol = TLSv1.2", "TLS 1.2"),
        ("rsa-2048", "", "TLS 1.3"),
    ] {
        let sandbox = Sandbox::new();
        tbprov(&sandbox, &["certs", "server", "--host", "localhost", "--key-type", key_type]);
        tbprov(&sandbox, &["certs", "gen", "--name", "sensor", "--key-type", key_type, "--out", "own"]);
        let Some(broker) = Broker::start(&sandbox, "own/cert.pem", protocol) else { return };
        let add = "devices add sensor --cert own/cert.pem --key own/key.pem --host localhost --server-cert server.pem";
        let add: Vec<_> = add.split(' ').chain(["--port", &broker.port]).collect();
        tbprov(&sandbox, &add);

        // The broker keeps the subscription from here on.
        let reader = ["-i", "reader", "-c"];
        let subscribed = client(
            &sandbox,
            "mosquitto_sub",
            "devices/sensor",
            &broker.port,
            &[&reader[..], &["-E"]].concat(),
        );
        assert_eq!(subscribed.code, Some(0), "{subscribed:?}");
        let emulated = run(&mut emulate(&sandbox, elf, &["--count", "2", "--interval", "50ms"]));
        assert_eq!(emulated.done()["acknowledged"], 2);
        assert!(emulated.stdout.contains(version), "{key_type} {version}: {}", emulated.stdout);
        let read = client(
            &sandbox,
            "mosquitto_sub",
            "devices/sensor",
            &broker.port,
            &[&reader[..], &["-C", "2"]].concat(),
        );
        let samples = [0, 1].map(tbprov_contract::telemetry::sample);
        assert_eq!(read.stdout, format!("{}\n{}\n", samples[0], samples[1]), "{read:?}");
    }
}
