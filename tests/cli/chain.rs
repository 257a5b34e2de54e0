//! Registration at connect: `provision --ca-cert`, for a device profile with the strategy X.509 certificate chain.

use std::sync::Arc;

use tbprov::identity::{Issue, Profile, SoftwareIdentity, Validity, X509Identity, issue, read_certificates};
use tbprov::keys::{Exportable as _, KeyType, SoftwareKey};
use tbprov::sim::{Config, Event, NamePattern, PreProvisioned, Release, Strategy};

use crate::support::{KEY, NAME, Ran, Running, SECRET, Sandbox, Server, for_each_row, same};

/// The releases that have the strategy.
const RELEASES: [Release; 3] = [Release::V3_6, Release::V3_8, Release::V4_3];
const AUTHORITY: &str = "--ca-cert ca.pem --ca-key ca_key.pem";

/// A folder with an authority, that trusts the server.
fn factory() -> Sandbox {
    let sandbox = Sandbox::trusting("san");
    sandbox.run("certs ca --json --name factory").done();
    sandbox
}

/// A server whose profile has the folder's authority.
fn server(sandbox: &Sandbox, change: impl FnOnce(&mut Config)) -> Server {
    profile(sandbox, "(.*)", true, change)
}

fn profile(sandbox: &Sandbox, pattern: &str, allow_create: bool, change: impl FnOnce(&mut Config)) -> Server {
    Server::presenting("san", |config| {
        strategy(sandbox, pattern, allow_create, config);
        change(config);
    })
}

fn strategy(sandbox: &Sandbox, pattern: &str, allow_create: bool, config: &mut Config) {
    let authority = read_certificates(&sandbox.read("ca.pem"), "ca.pem").unwrap().remove(0);
    config.strategy = Strategy::Chain { authority, name_pattern: NamePattern::new(pattern), allow_create };
}

/// The line without anything of a profile.
fn line(server: &Server, flags: &str) -> String {
    format!("provision --json --device-name {NAME} {} {flags}", server.flags())
}

fn provision(sandbox: &Sandbox, server: &Server, flags: &str) -> Ran {
    sandbox.run(&line(server, &format!("{AUTHORITY} {flags}")))
}

#[test]
fn the_connect_registers_the_device_with_every_release_that_can() {
    for_each_row(&RELEASES, |release| {
        let what = release.to_string();
        let sandbox = factory();
        let server = server(&sandbox, |config| config.release = *release);
        let done = provision(&sandbox, &server, "").done();
        same(&what, done["outcome"].as_str().unwrap(), "provisioned")?;
        same(&what, &done["verified"].to_string(), r#"{"answer":false,"connect":true,"mutual_tls":true}"#)?;
        same(&what, done["common_name"].as_str().unwrap(), NAME)?;
        same(&what, sandbox.record()["state"].as_str().unwrap(), "proved")?;
        let held = server.device(NAME).credentials_id;
        same(&what, held.as_deref().unwrap(), done["credentials_id"].as_str().unwrap())?;
        let chain = read_certificates(&sandbox.read("devices/sensor-01/cert.pem"), "cert.pem").unwrap();
        same(&what, &chain.len().to_string(), "2")?;
        same(&what, &chain[1].to_pem(), &sandbox.read("ca.pem"))?;
        let again = provision(&sandbox, &server, "").done();
        same(&what, again["outcome"].as_str().unwrap(), "verified")?;
        same(&what, again["common_name"].as_str().unwrap(), NAME)?;
        same(&what, &sandbox.run("connect --json --send-telemetry").brief(), "connected")?;
        let requests = server.events().iter().any(|event| matches!(event, Event::ProvisionRequest { .. }));
        same(&what, &requests.to_string(), "false")?;
        same(&what, &server.devices().len().to_string(), "1")
    });
}

#[test]
fn a_first_connect_that_registers_is_nothing_that_calls_for_attention() {
    let sandbox = factory();
    let server = server(&sandbox, |_| {});
    let ran = sandbox.run(&line(&server, AUTHORITY).replace("--json", "--events"));
    assert_eq!(ran.outcome(), "provisioned");
    assert!(!ran.stdout.contains("settling"), "{ran:?}");
}

#[test]
fn openssl_verifies_what_the_authority_issued() {
    let sandbox = factory();
    let server = server(&sandbox, |_| {});
    for key_type in ["ec-p256", "rsa-2048", "ed25519"] {
        let flags = format!("--device-name {key_type} --key-type {key_type} --days 30");
        let line =
            line(&server, &format!("{AUTHORITY} {flags}")).replace(&format!("--device-name {NAME} "), "");
        assert_eq!(sandbox.run(&line).outcome(), "provisioned", "{key_type}");
        let Ok(openssl) = std::process::Command::new("openssl")
            .current_dir(sandbox.path("."))
            .args(["verify", "-CAfile", "ca.pem", &format!("devices/{key_type}/cert.pem")])
            .output()
        else {
            return;
        };
        assert!(openssl.status.success(), "{openssl:?}");
    }
}

#[test]
fn the_pattern_takes_the_name_out_of_the_common_name() {
    let sandbox = factory();
    let server = profile(&sandbox, "^plant-7-(.*)$", true, |_| {});
    let done = provision(&sandbox, &server, "--common-name plant-7-pump").done();
    assert_eq!((&done["common_name"], &done["device"]), (&"plant-7-pump".into(), &NAME.into()));
    assert_eq!(server.device("pump").credentials_id.as_deref(), done["credentials_id"].as_str());
    let text =
        sandbox.run(&line(&server, &format!("{AUTHORITY} --common-name plant-7-pump")).replace("--json", ""));
    assert!(text.stdout.contains("common name 'plant-7-pump'"), "{text:?}");
    // Another common name would be another certificate.
    let other = provision(&sandbox, &server, "--common-name plant-7-valve");
    assert_eq!(other.brief(), "5 store/exists stage");
    assert!(other.message().contains("with the common name 'plant-7-pump'"), "{other:?}");
    // A name that the server writes differently gets a word.
    let comma = sandbox.run_all(
        line(&server, &format!("{AUTHORITY} --dry-run --common-name"))
            .split(' ')
            .filter(|part| !part.is_empty())
            .chain(["plant-7-a, b"]),
    );
    comma.done();
    assert!(comma.stderr.contains("backslashes"), "{comma:?}");
}

/// A server that does not register the device of the first folder; the second has another authority.
type Refusing = fn(&Sandbox, &Sandbox) -> Server;

#[test]
fn a_refusal_says_what_may_be_the_matter_and_is_not_sent_any_more() {
    let other = factory();
    let rows: [(&str, Refusing); 4] = [
        ("another authority", |_, other| server(other, |_| {})),
        ("a pattern that does not match", |own, _| profile(own, "^pump-(.*)$", true, |_| {})),
        ("creating is off", |own, _| profile(own, "(.*)", false, |_| {})),
        ("the name is taken", |own, _| {
            server(own, |config| config.pre_provisioned = vec![PreProvisioned::new(NAME)])
        }),
    ];
    for_each_row(&rows, |(what, server)| {
        let sandbox = factory();
        let server = server(&sandbox, &other);
        let ran = provision(&sandbox, &server, "");
        same(what, &ran.brief(), "1 server/not-authorized verify")?;
        for part in ["pattern", "authority", "creating devices is off"] {
            same(what, &ran.help().contains(part).to_string(), "true")?;
        }
        same(what, sandbox.record()["state"].as_str().unwrap(), "staged")?;
        same(what, sandbox.record()["refused"]["code"].as_str().unwrap(), "server/not-authorized")?;
        let again = provision(&sandbox, &server, "");
        same(what, &again.brief(), "1 server/not-authorized verify")?;
        same(what, &again.message().contains("it was so on").to_string(), "true")?;
        // Once the profile is as it should be, the same identity is registered.
        let key = sandbox.read("devices/sensor-01/key.pem");
        let server = server.replace(|config| strategy(&sandbox, "(.*)", true, config));
        same(what, &provision(&sandbox, &server, "").brief(), "provisioned")?;
        same(what, &(sandbox.read("devices/sensor-01/key.pem") == key).to_string(), "true")
    });
}

#[test]
fn what_was_cut_between_the_record_and_the_connect_is_found_out() {
    for fault in ["drop-before-tls", "no-connack", "close-after-connect"] {
        let sandbox = factory();
        let registry = sandbox.path("registry.json");
        let broken = server(&sandbox, |config| {
            config.faults = vec![fault.parse().unwrap()];
            config.state = Some(registry.clone());
        });
        let ran = provision(&sandbox, &broken, "--timeout 2s");
        if fault == "close-after-connect" {
            // CONNACK 0 came.
            assert_eq!(ran.outcome(), "provisioned");
            continue;
        }
        assert_eq!(ran.failure().0, 3, "{fault}: {ran:?}");
        assert_eq!(sandbox.record()["state"], "sent", "{fault}");
        let server = broken.replace(|config| {
            strategy(&sandbox, "(.*)", true, config);
            config.state = Some(registry.clone());
        });
        assert_eq!(provision(&sandbox, &server, "").outcome(), "recovered", "{fault}");
        assert_eq!(server.devices().len(), 1, "{fault}");
    }
}

#[test]
fn a_run_that_was_killed_between_the_record_and_the_connect_is_recovered() {
    let sandbox = factory();
    let silent = server(&sandbox, |config| config.faults = vec!["stall-tls".parse().unwrap()]);
    let arguments = line(&silent, AUTHORITY).replace("--json", "--events");
    let mut running = Running::start(sandbox.bare().args(arguments.split_whitespace()));
    running.until(r#""state":"sent""#);
    running.kill();
    assert_eq!(sandbox.record()["state"], "sent");
    let server = silent.replace(|config| strategy(&sandbox, "(.*)", true, config));
    assert_eq!(provision(&sandbox, &server, "").outcome(), "recovered");
    assert_eq!(server.devices().len(), 1);
}

#[test]
fn no_profile_is_asked_for_and_one_that_is_named_is_a_conflict_or_gets_a_word() {
    let sandbox = factory();
    let server = server(&sandbox, |_| {});
    for flags in [
        "--provision-key k",
        "--provision-secret s",
        "--provision-secret-file f",
        "--no-verify-connect",
        "--gateway",
        "--cert ca.pem --key ca_key.pem",
        "--credentials-type access-token",
    ] {
        assert_eq!(provision(&sandbox, &server, flags).brief(), "2 usage/conflict plan", "{flags}");
    }
    for flags in ["--ca-cert ca.pem", "--ca-key ca_key.pem", "--common-name x"] {
        assert_eq!(sandbox.run(&line(&server, flags)).brief(), "2 usage/missing-value plan", "{flags}");
    }
    let unnamed = format!("provision --json {AUTHORITY} {} --device-name=", server.flags());
    assert_eq!(sandbox.run(&unnamed).brief(), "2 usage/missing-value plan");
    assert!(server.events().len() <= 1, "nobody was asked: {:?}", server.events());

    let mut command = sandbox.bare();
    command.env("TBPROV_PROVISION_KEY", KEY).env("TBPROV_PROVISION_SECRET", SECRET);
    command.args(line(&server, AUTHORITY).split_whitespace());
    let by_variable = Ran::from(command.output().unwrap());
    assert_eq!(by_variable.outcome(), "provisioned");
    assert!(by_variable.stderr.contains("are not used"), "{by_variable:?}");
    sandbox.write("tbprov.toml", format!("provision-key = \"{KEY}\"\n"));
    let by_file = provision(&sandbox, &server, "");
    assert_eq!(by_file.outcome(), "verified");
    assert!(by_file.stderr.contains("are not used"), "{by_file:?}");
}

#[test]
fn common_names_that_no_certificate_can_have_are_refused() {
    let sandbox = factory();
    let server = server(&sandbox, |_| {});
    let long = "x".repeat(65);
    for name in ["", " ", "bell\u{7}", &long] {
        let arguments = line(&server, AUTHORITY);
        let arguments = arguments.split_whitespace().chain(["--common-name", name]);
        let ran = sandbox.run_all(arguments);
        assert_eq!(ran.brief(), "2 usage/invalid-value plan", "{name:?}");
        assert!(format!("{} {}", ran.message(), ran.help()).contains("--common-name"), "{ran:?}");
    }
    assert!(!sandbox.path("devices").exists());
}

#[test]
fn a_device_of_another_authority_is_another_identity() {
    let sandbox = factory();
    let server = server(&sandbox, |_| {});
    assert_eq!(provision(&sandbox, &server, "").outcome(), "provisioned");
    sandbox.run("certs ca --json --name another --out other").done();
    let other = "--ca-cert other/ca.pem --ca-key other/ca_key.pem";
    assert_eq!(sandbox.run(&line(&server, other)).brief(), "5 store/exists stage");
    // A pair that is none is no authority.
    let device = "--ca-cert devices/sensor-01/cert.pem --ca-key devices/sensor-01/key.pem";
    let ran = sandbox.run(
        &line(&server, device).replace(NAME, "sensor-02").replace("devices/sensor-02", "devices/sensor-01"),
    );
    assert_eq!(ran.failure().1, "file/bad-certificate", "{ran:?}");
}

/// A device that the server did not register, and a server that would now.
fn unregistered() -> (Sandbox, Server) {
    let sandbox = factory();
    let closed = profile(&sandbox, "(.*)", false, |_| {});
    assert_eq!(provision(&sandbox, &closed, "").brief(), "1 server/not-authorized verify");
    let open = closed.replace(|config| strategy(&sandbox, "(.*)", true, config));
    (sandbox, open)
}

#[test]
fn what_looks_at_a_device_does_not_register_it() {
    let (sandbox, server) = unregistered();
    let looked = sandbox.run(&format!("doctor --json {NAME}"));
    assert!(looked.stdout.contains("server/not-authorized"), "{looked:?}");
    assert_eq!(sandbox.run("connect --json").brief(), "5 store/not-proved plan");
    assert_eq!((server.devices().len(), &sandbox.record()["state"]), (0, &"staged".into()));
}

/// The pair holds its authority too, and the server knows that one.
#[test]
fn whether_a_pair_is_known_is_found_out_without_registering_it() {
    let (sandbox, server) = unregistered();
    let pair = format!("devices/{NAME}");
    let given = format!("--cert {pair}/cert.pem --key {pair}/key.pem --store other");
    let ran = sandbox.run(&format!("{} --provision-key k --provision-secret s", line(&server, &given)));
    assert_eq!(ran.failure().0, 1, "{ran:?}");
    assert_eq!(sandbox.run("connect --json --store other").brief(), "5 store/not-proved plan");
    assert_eq!(server.devices().len(), 0);
}

#[test]
fn a_gateway_of_the_configuration_gets_a_word() {
    let sandbox = factory();
    let server = server(&sandbox, |_| {});
    sandbox.write("tbprov.toml", "gateway = true\n");
    let ran = provision(&sandbox, &server, "");
    assert_eq!(ran.outcome(), "provisioned");
    assert!(ran.stderr.contains("'gateway' is not used"), "{ran:?}");
}

/// A new authority, signed by `above`.
fn authority(name: &str, above: Option<&SoftwareIdentity>) -> SoftwareIdentity {
    let key = SoftwareKey::generate(KeyType::EcP256).unwrap();
    let issuer = above.cloned().map(X509Identity::from);
    let wanted = Issue {
        name,
        profile: &Profile::Authority,
        validity: Validity::days(30),
        key: &key,
        issuer: issuer.as_ref(),
    };
    let leaf = issue(&wanted).unwrap().leaf;
    SoftwareIdentity { leaf, intermediates: Vec::new(), key: Arc::new(key) }
}

#[test]
fn an_authority_that_the_next_certificate_did_not_sign_is_refused() {
    let sandbox = factory();
    let server = server(&sandbox, |_| {});
    let (one, another) = (authority("one", None), authority("another", None));
    sandbox.write("two.pem", one.leaf.to_pem() + &another.leaf.to_pem());
    sandbox.write("one_key.pem", one.key.to_pem().expose());
    let ran = sandbox.run(&line(&server, "--ca-cert two.pem --ca-key one_key.pem"));
    assert_eq!(ran.failure().1, "file/bad-certificate");
    assert!(ran.message().contains("is not signed by 'CN=another'"), "{ran:?}");
    assert!(server.devices().is_empty());
}

#[test]
fn other_certificates_above_the_authority_are_another_identity() {
    let sandbox = factory();
    let server = server(&sandbox, |_| {});
    let root = authority("root", None);
    let sub = authority("sub", Some(&root));
    sandbox.write("one.pem", sub.leaf.to_pem());
    sandbox.write("two.pem", sub.leaf.to_pem() + &root.leaf.to_pem());
    sandbox.write("sub_key.pem", sub.key.to_pem().expose());
    let first = sandbox.run(&line(&server, "--ca-cert two.pem --ca-key sub_key.pem"));
    let state = sandbox.record()["state"].clone();
    let ran = sandbox.run(&line(&server, "--ca-cert one.pem --ca-key sub_key.pem"));
    assert_eq!(ran.brief(), "5 store/exists stage", "{first:?}");
    assert!(ran.message().contains("above its authority's"), "{ran:?}");
    assert_eq!(ran.help().contains("devices remove"), state == "staged", "{state} {ran:?}");
}
