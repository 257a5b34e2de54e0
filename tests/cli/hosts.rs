//! A host has one form: however it is written, it is the same server.

use crate::support::{Sandbox, Server, for_each_row};

/// Ways to write the host that a device was provisioned with.
const SAME: &[(&str, &[&str])] = &[
    ("[::1]:0", &["::1", "0:0:0:0:0:0:0:1", "[::1]", "[0:0::1]", "0000:0000:0000:0000:0000:0000:0000:0001"]),
    ("127.0.0.1:0", &["127.0.0.1", "::ffff:127.0.0.1", "[::FFFF:7F00:1]", "127.0.0.1.", " 127.0.0.1 "]),
    ("127.0.0.1:0", &["localhost", "LOCALHOST", "LocalHost.", "localhost.", " localhost"]),
];

#[test]
fn however_a_host_is_written_it_is_the_same_server() {
    for_each_row(SAME, |(bind, written)| {
        let server = Server::start(|config| config.bind = bind.parse().unwrap());
        let sandbox = Sandbox::new();
        sandbox.write("server.pem", server.certificate().to_pem());
        let provision = |host: &str| {
            let mut command = sandbox.bare_in_time();
            command.envs(server.environment()).env("TBPROV_HOST", host);
            command.args(["provision", "--json", "--device-name", "d"]);
            crate::support::Ran::from(command.output().unwrap())
        };
        let mut outcomes = written.iter().map(|host| (host, provision(host)));
        let (_, first) = outcomes.next().unwrap();
        if first.brief() != "provisioned" {
            return Err(format!("{first:?}"));
        }
        for (host, ran) in outcomes {
            if ran.brief() != "verified" {
                return Err(format!("{host}: {ran:?}"));
            }
        }
        let record = sandbox.read("devices/d/device.json");
        let kept = format!("\"host\": \"{}\"", written[0]);
        if record.contains(&kept) { Ok(()) } else { Err(record) }
    });
}

/// `(what is given as a host, what is said)`
const WRONG: &[(&str, &str)] = &[
    ("mqtts://mqtt.example.com:8883/path", "'mqtt.example.com' is the host, and 8883 is the port"),
    ("https://thingsboard.example/login", "'thingsboard.example' is the host"),
    ("mqtt.example.com:8883", "'mqtt.example.com' is the host, and 8883 is the port"),
    ("[::1]:8883", "'::1' is the host, and 8883 is the port"),
    ("user@mqtt.example.com", "'mqtt.example.com' is the host"),
    ("127.1", "no IPv4 address of four decimal numbers"),
    ("0x7f.1", "no IPv4 address of four decimal numbers"),
    ("017700000001", "no IPv4 address of four decimal numbers"),
    ("bücher.example", if cfg!(windows) { "[Globalization.IdnMapping]" } else { "python3 -c" }),
    ("a b", "neither a host name nor an IP address"),
];

#[test]
fn what_is_more_or_less_than_a_host_is_said() {
    for_each_row(WRONG, |(given, says)| {
        let sandbox = Sandbox::new();
        let by_flag = sandbox.run_all(["doctor", "--json", "--host", given]);
        sandbox.write("tbprov.toml", format!("host = \"{given}\""));
        let by_file = sandbox.run("doctor --json");
        for ran in [by_flag, by_file] {
            if !ran.stdout.contains("usage/invalid-value") || !ran.stdout.contains(says) {
                return Err(format!("{given}: {ran:?}"));
            }
        }
        Ok(())
    });
}

#[test]
fn an_unknown_key_type_lists_those_that_are_known() {
    let ran = Sandbox::new().run("provision --json --key-type rsa");
    assert_eq!(ran.brief(), "2 usage/invalid-value plan");
    assert!(ran.message().contains("ec-p256, ec-p384, ed25519, rsa-2048, rsa-3072, rsa-4096"), "{ran:?}");
}
