//! What is asked for and what a device has: what differs is refused or told, never dropped, and nobody gets another's device.

use serde_json::{Value, json};
use tbprov::Secret;
use tbprov::sim::{Event, Mode};

use crate::support::{KEY, NAME, Ran, SECRET, Sandbox, Server, entries, fixture_text, for_each_row, same};

/// What the line of the event `ignored` says, in order.
fn ignored(ran: &Ran) -> Vec<String> {
    let events = ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events
        .filter(|event| event["event"] == "ignored")
        .map(|event| event["wish"].as_str().unwrap().to_owned())
        .collect()
}

/// The line of a provisioning by the profile with this key.
fn by_profile(server: &Server, key: &str, name: &str, flags: &str) -> Vec<String> {
    let line =
        format!("provision {flags} --provision-key {key} --provision-secret {SECRET} {}", server.flags());
    line.split_whitespace().map(str::to_owned).chain(["--device-name".to_owned(), name.to_owned()]).collect()
}

#[test]
fn a_wish_that_comes_too_late_is_told_in_words_and_as_an_event() {
    let rows = [
        ("--gateway", KEY, "gateway", "whether it is a gateway"),
        ("--days 5", KEY, "days", "the device keeps its certificate"),
        ("", "another-key", "provision-key", "another provision key"),
    ];
    for_each_row(&rows, |(flags, key, wish, words)| {
        let sandbox = Sandbox::trusting("san");
        let server = Server::presenting("san", |_| {});
        same(wish, &server.provision(&sandbox, "").brief(), "provisioned")?;
        let before = sandbox.record();
        for verify in ["", "--no-verify-connect"] {
            let line = by_profile(&server, key, NAME, &format!("--events {verify} {flags}"));
            let events = sandbox.run_all(line);
            same(wish, &events.brief(), "verified")?;
            same(wish, &ignored(&events).join(" "), wish)?;
        }
        let json = sandbox.run_all(by_profile(&server, key, NAME, &format!("--json {flags}")));
        same(wish, &json.brief(), "verified")?;
        let told = json.stderr.starts_with("warning: ") && json.stderr.contains(words);
        same(wish, &told.to_string(), "true")?;
        let text = sandbox.run_all(by_profile(&server, key, NAME, flags));
        same(wish, &text.stderr.contains(words).to_string(), "true")?;
        // The same wishes again are no news.
        let same_again = sandbox.run_all(by_profile(&server, KEY, NAME, "--events --days 3650"));
        same(wish, &ignored(&same_again).join(" "), "")?;
        same(wish, &(sandbox.record() == before).to_string(), "true")
    });
}

#[test]
fn before_the_request_has_left_a_wish_is_not_too_late() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |config| config.faults = vec!["drop-before-tls".parse().unwrap()]);
    assert_eq!(server.provision(&sandbox, "").brief(), "3 network/closed tls");
    let server = server.replace(|_| {});
    let ran = server.provision(&sandbox, "--gateway");
    assert_eq!((ran.outcome().as_str(), ran.stderr.as_str()), ("provisioned", ""));
    assert_eq!(sandbox.record()["gateway"], true);
    assert_eq!(server.provision(&sandbox, "--gateway").stderr, "");
    assert!(server.provision(&sandbox, "").stderr.contains("whether it is a gateway"));
}

#[test]
fn a_corrected_chain_is_another_identity() {
    let sandbox = Sandbox::trusting("san");
    sandbox.run("certs ca --json --name factory --out ca").done();
    let made = format!("certs gen --json --name {NAME} --out new --ca-cert ca/ca.pem --ca-key ca/ca_key.pem");
    sandbox.run(&made).done();
    let chain = sandbox.read("new/cert.pem");
    let end = "-----END CERTIFICATE-----\n";
    sandbox.write("leaf.pem", &chain[..chain.find(end).unwrap() + end.len()]);
    let server = Server::presenting("san", |_| {});
    let leaf = "--cert leaf.pem --key new/key.pem";
    assert_eq!(server.provision(&sandbox, leaf).outcome(), "provisioned");
    assert_eq!(server.provision(&sandbox, leaf).outcome(), "verified");
    let corrected = server.provision(&sandbox, "--cert new/cert.pem --key new/key.pem");
    assert_eq!(corrected.brief(), "5 store/exists stage");
    assert!(corrected.message().contains("above its own"), "{corrected:?}");
}

#[test]
fn a_host_in_other_letters_is_the_same_server() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    assert_eq!(server.provision(&sandbox, "--host localhost").outcome(), "provisioned");
    assert_eq!(server.provision(&sandbox, "--host LOCALHOST").outcome(), "verified");
    assert_eq!(sandbox.record()["host"], "localhost");
    // Its own server: what the record believes is believed.
    assert_eq!(sandbox.run("connect --json --host LocalHost").outcome(), "connected");
}

fn unnamed(server: &Server, sandbox: &Sandbox, key: &str, flags: &str) -> Ran {
    sandbox.run_all(by_profile(server, key, "", &format!("--json {flags}")))
}

/// The folders of devices, and those of unfinished ones.
fn kept(sandbox: &Sandbox) -> (usize, usize) {
    let folders = entries(&sandbox.path("devices"));
    let devices = folders.iter().filter(|name| !name.starts_with('.')).count();
    (devices, entries(&sandbox.path("devices/.unfinished")).len())
}

#[test]
fn a_batch_of_unnamed_devices_that_are_not_to_be_proved_has_as_many_as_were_asked_for() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    for number in 1..=3 {
        assert_eq!(unnamed(&server, &sandbox, KEY, "--no-verify-connect").outcome(), "provisioned");
        assert_eq!((server.devices().len(), kept(&sandbox)), (number, (number, 0)));
    }
    assert_eq!(unnamed(&server, &sandbox, KEY, "").outcome(), "provisioned");
    assert_eq!(kept(&sandbox), (4, 0));
}

/// The device is made, and the run hears nothing of it.
fn that_loses_its_answer(state: impl Fn(&mut tbprov::sim::Config)) -> Server {
    Server::presenting("san", |config| {
        state(config);
        config.faults = vec!["accept-then-close".parse().unwrap(), "refuse=2".parse().unwrap()];
    })
}

#[test]
fn an_unnamed_device_is_found_again_by_its_own_profile_alone() {
    for first in ["", "--no-verify-connect"] {
        let sandbox = Sandbox::trusting("san");
        let registry = sandbox.path("registry.json");
        let state = |config: &mut tbprov::sim::Config| config.state = Some(registry.clone());
        let server = that_loses_its_answer(state);
        let lost = unnamed(&server, &sandbox, KEY, first);
        assert_eq!(lost.failure().0, 3, "{lost:?}");
        let server = server.replace(state);
        // Another profile, whose secret is wrong: it never gets the device of the first.
        let other = unnamed(&server, &sandbox, "another-key", "--no-verify-connect");
        assert_eq!(other.brief(), "1 server/not-found exchange");
        assert_eq!((server.devices().len(), kept(&sandbox)), (1, (2, 2)));
        let found = unnamed(&server, &sandbox, KEY, "").done();
        assert_eq!(found["outcome"], "recovered");
        assert_eq!(found["credentials_id"].as_str(), server.devices()[0].credentials_id.as_deref());
        // And the second goes on with its own.
        let server = server.replace(|config| {
            state(config);
            config.provision_key = "another-key".to_owned();
            config.provision_secret = Secret::new(SECRET);
        });
        let own = unnamed(&server, &sandbox, "another-key", "").done();
        assert_eq!(own["outcome"], "provisioned");
        assert_ne!(own["directory"], found["directory"]);
        assert_eq!((server.devices().len(), kept(&sandbox)), (2, (2, 0)));
    }
}

/// The proof failed, and the next run does not want one: it has its device, and the one after that makes another.
#[test]
fn an_unnamed_device_that_is_accepted_is_finished_where_no_proof_is_wanted() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |config| config.faults = vec!["unavailable=1".parse().unwrap()]);
    assert_eq!(unnamed(&server, &sandbox, KEY, "").brief(), "1 server/unavailable verify");
    assert_eq!(kept(&sandbox), (1, 1));
    assert_eq!(unnamed(&server, &sandbox, KEY, "--no-verify-connect").outcome(), "recovered");
    assert_eq!(kept(&sandbox), (1, 0));
    assert_eq!(unnamed(&server, &sandbox, KEY, "--no-verify-connect").outcome(), "provisioned");
    assert_eq!((server.devices().len(), kept(&sandbox)), (2, (2, 0)));
}

/// When a state was reached stays known.
#[test]
fn a_proof_by_a_later_run_does_not_change_when_the_server_accepted() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    assert_eq!(server.provision(&sandbox, "--no-verify-connect").outcome(), "provisioned");
    let mut record = sandbox.record();
    record["reached"]["accepted"] = "2026-05-01T00:00:00Z".into();
    sandbox.write("devices/sensor-01/device.json", record.to_string());
    assert_eq!(server.provision(&sandbox, "").outcome(), "recovered");
    assert_eq!(sandbox.record()["reached"]["accepted"], "2026-05-01T00:00:00Z");
}

/// Who connected as a device, or tried to.
fn device_connects(server: &Server) -> usize {
    let connects = server.events().into_iter();
    connects
        .filter(|event| match event {
            Event::Connected { mode, .. } => *mode != Mode::Provision,
            Event::Refused { .. } => true,
            _ => false,
        })
        .count()
}

#[test]
fn without_a_proof_a_run_never_connects_and_a_rerun_that_has_to_says_so() {
    for fault in ["accept-then-close", "failure-after-create", "garbage"] {
        let sandbox = Sandbox::trusting("san");
        let registry = sandbox.path("registry.json");
        let server = Server::presenting("san", |config| {
            config.faults = vec![fault.parse().unwrap()];
            config.state = Some(registry.clone());
        });
        let ran = server.provision(&sandbox, "--no-verify-connect");
        assert_ne!(ran.code, Some(0), "{fault}: {ran:?}");
        assert_eq!(sandbox.record()["state"], "sent", "{fault}");
        assert_eq!(device_connects(&server), 0, "{fault}");
        let server = server.replace(|config| config.state = Some(registry.clone()));
        let again = server.provision(&sandbox, "--no-verify-connect --events");
        assert_eq!(again.outcome(), "recovered", "{fault}");
        let settling = json!({"event": "settling", "reason": "an earlier request has no known outcome"});
        let said = again.stdout.lines().any(|line| line.contains(&settling["reason"].to_string()));
        assert!(said, "{fault}: {again:?}");
        assert_eq!(sandbox.record()["state"], "proved", "{fault}");
    }
}

#[test]
fn a_record_is_believed_for_its_own_server_alone() {
    let sandbox = Sandbox::trusting("san");
    // Planted, or of a first run with another port: nothing listens there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let line = |host: &str, port: u16| {
        format!(
            "provision --json --host {host} --port {port} --provision-key {KEY} --provision-secret {SECRET} \
             --device-name {NAME}"
        )
    };
    let staged = sandbox.run(&format!("{} --server-cert server.pem", line("localhost", closed)));
    assert_eq!(staged.brief(), "3 network/connect tcp");
    let server = Server::presenting("san", |_| {});
    for (host, port) in [("localhost", server.port()), ("127.0.0.1", closed)] {
        let ran = sandbox.run(&line(host, port));
        assert!(!["provisioned", "recovered"].contains(&ran.brief().as_str()), "{ran:?}");
    }
    let untrusted = sandbox.run(&line("localhost", server.port()));
    // A machine without any root says so before it connects.
    assert_eq!(untrusted.failure().1, "tls/untrusted", "{untrusted:?}");
    assert!(server.devices().is_empty());
    assert_eq!(server.provision(&sandbox, "").outcome(), "provisioned");
    let elsewhere = sandbox.run(&format!("connect --json --host 127.0.0.1 --port {}", server.port()));
    assert_eq!(elsewhere.failure().1, "tls/untrusted", "{elsewhere:?}");
    assert_eq!(sandbox.run("connect --json").outcome(), "connected");
}

/// A store with the device `again`, and a copy of its pair.
fn with_a_copy(server: &Server) -> Sandbox {
    let sandbox = Sandbox::trusting("san");
    assert_eq!(server.provision_as(&sandbox, "again", "").outcome(), "provisioned");
    for file in ["cert.pem", "key.pem"] {
        sandbox.write(&format!("copy/{file}"), sandbox.read(&format!("devices/again/{file}")));
    }
    sandbox
}

fn requests(server: &Server) -> usize {
    server.events().iter().filter(|event| matches!(event, Event::ProvisionRequest { .. })).count()
}

#[test]
fn a_certificate_of_another_device_is_told_and_no_second_name_is_asked_for() {
    let server = Server::presenting("san", |_| {});
    let sandbox = with_a_copy(&server);
    let before = server.connections();
    let given = "--cert copy/cert.pem --key copy/key.pem --allow-readable-key";
    for flags in ["", "--no-verify-connect"] {
        let here = server.provision_as(&sandbox, "twin", &format!("{given} {flags}"));
        assert_eq!(here.brief(), "5 store/exists stage", "{flags}");
        assert!(here.message().contains("'again'"), "{here:?}");
    }
    // Nobody was asked.
    assert_eq!(server.connections(), before);
    assert!(!sandbox.path("devices/twin").exists());
    for flags in ["", "--no-verify-connect"] {
        let there = server.provision_as(&sandbox, "twin", &format!("{given} {flags} --store other"));
        assert_eq!(there.brief(), "4 verify/already-registered verify", "{flags}");
        assert!(there.message().contains("credentialsId"), "{there:?}");
        assert!(there.help().contains("devices add"), "{there:?}");
        let again = server.provision_as(&sandbox, "twin", &format!("{given} {flags} --store other"));
        assert_eq!(again.brief(), "4 verify/already-registered verify", "{flags}");
    }
    assert_eq!((requests(&server), server.devices().len()), (1, 1));
    // A pair that nobody has is registered as before.
    sandbox.write("new/cert.pem", fixture_text("files/device.pem"));
    sandbox.write("new/key.pem", fixture_text("files/device_key.pem"));
    let new = server.provision_as(&sandbox, "twin", "--cert new/cert.pem --key new/key.pem");
    assert_eq!(new.outcome(), "provisioned");
}

/// The same command would make another device: the first one is not to be looked for.
#[test]
fn a_device_that_the_server_named_is_told_where_its_telemetry_fails() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    sandbox.write("readings", "no telemetry\n");
    let ran = unnamed(&server, &sandbox, KEY, "--send-telemetry=@readings");
    assert_eq!(ran.failure().2, "telemetry", "{ran:?}");
    let folders = entries(&sandbox.path("devices"));
    let folder = folders.iter().find(|name| name.starts_with("unnamed-")).unwrap();
    let place = tbprov::text::shown_path(format!("./devices/{folder}"));
    let told = format!("the device itself is proved, in {place}");
    assert!(ran.message().contains(&told), "{ran:?}");
}

#[test]
fn a_rerun_of_an_unnamed_device_believes_the_certificate_that_was_saved() {
    let sandbox = Sandbox::trusting("san");
    let registry = sandbox.path("registry.json");
    let state = |config: &mut tbprov::sim::Config| config.state = Some(registry.clone());
    let server = that_loses_its_answer(state);
    assert_eq!(unnamed(&server, &sandbox, KEY, "").failure().0, 3);
    let server = server.replace(state);
    let mut arguments = by_profile(&server, KEY, "", "--json");
    let flag = arguments.iter().position(|argument| argument == "--server-cert").unwrap();
    arguments.drain(flag..flag + 2);
    assert_eq!(sandbox.run_all(arguments).outcome(), "recovered");
}
