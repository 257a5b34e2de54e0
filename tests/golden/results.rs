//! What each command says when all is well, or what it found out when that is its work.

use tbprov::sim::HeldCredentials;

use crate::place::Place;
use crate::snapshot::Snapshot;
use crate::support::{NAME, Ran, certificate_of, fixture_text};

const TWO: &str = "--send-telemetry --count 2 --interval 0s";

#[test]
fn provision() {
    let mut snapshot = Snapshot::new("results/provision");
    let served = Place::served;
    snapshot.both("a new device", "provision", served);
    snapshot.both("again: nothing but a proof", "provision", || served().after("provision"));
    snapshot.both("the server has it, the answer was lost", "provision", || {
        Place::with_fault("accept-then-close")
    });
    snapshot.both("the answer was unreadable", "provision", || Place::with_fault("garbage"));
    snapshot.both("an earlier run had sent the request", "provision", || {
        Place::with_fault("refuse=1").after_failed("provision --json")
    });
    snapshot.both("without a proof", "provision --no-verify-connect", served);
    snapshot.both("with telemetry", &format!("provision {TWO}"), served);
    snapshot.both("with telemetry that is read back", &format!("provision {TWO} --confirm"), || {
        Place::with(|config| config.rest = Some("127.0.0.1:0".parse().unwrap())).account()
    });
    snapshot.both("telemetry over a connection that breaks", &format!("provision {TWO}"), || {
        Place::with_fault("reset=1")
    });
    snapshot.both(
        "again, with wishes that come too late",
        "provision --gateway --days 5 --provision-key other",
        || served().after("provision"),
    );
    snapshot.both("again, without a proof", "provision --no-verify-connect", || {
        Place::with_fault("accept-then-close").after_failed("provision --no-verify-connect")
    });
    snapshot.both("without a name", "provision", || served().set("TBPROV_DEVICE_NAME", ""));
    snapshot.both("a token", "provision --credentials-type access-token", served);
    snapshot.both(
        "a token, with telemetry",
        &format!("provision --credentials-type access-token {TWO}"),
        served,
    );
    snapshot.both("user name and password", "provision --credentials-type mqtt-basic", served);
    snapshot.both("a gateway", "provision --gateway", served);
    snapshot.both("another type of key", "provision --key-type ed25519", served);
    snapshot.both("a name longer than a common name", "provision", || {
        served().set("TBPROV_DEVICE_NAME", &"n".repeat(70))
    });
    let pair = "provision --cert device.pem --key device_key.pem";
    snapshot.both("a pair from elsewhere", pair, || served().pair());
    snapshot.both("a pair from elsewhere, whose key others can read", pair, || {
        served().pair().mode("device_key.pem", 0o644)
    });
    snapshot.both("a server that believes the name in the subject alone", "provision", || {
        Place::presenting("esp32", "esp32", |_| {})
    });
    snapshot.both("without a look at the name", "provision --skip-name-check", || {
        Place::presenting("esp32", "esp32", |_| {}).set("TBPROV_HOST", "127.0.0.1")
    });
    snapshot.both("an old release", "provision", || {
        Place::with(|config| config.release = tbprov::sim::Release::V3_4)
    });
    snapshot.both("quiet", "provision -q", served);
    snapshot.case("at length").ran(&served(), "provision -v");
    snapshot.check();
}

#[test]
fn dry_runs() {
    let mut snapshot = Snapshot::new("results/dry-run");
    let told = || {
        Place::empty()
            .set("TBPROV_HOST", "thingsboard.example")
            .set("TBPROV_PROVISION_KEY", "key")
            .set("TBPROV_PROVISION_SECRET", "secret")
            .set("TBPROV_DEVICE_NAME", NAME)
    };
    snapshot.both("a new device", "provision --dry-run", told);
    snapshot.both("with a certificate to believe", "provision --dry-run --server-cert san.pem", || {
        told().file("san.pem", fixture_text("server/san.pem"))
    });
    snapshot.both(
        "a pair from elsewhere",
        "provision --dry-run --cert device.pem --key device_key.pem",
        || told().pair(),
    );
    snapshot.both("a token", "provision --dry-run --credentials-type access-token", told);
    snapshot.both("user name and password", "provision --dry-run --credentials-type mqtt-basic", told);
    snapshot.both(
        "everything else",
        "provision --dry-run --gateway --no-verify-connect --skip-name-check --days 30 --key-type rsa-2048 \
         --store elsewhere --port 1234",
        told,
    );
    snapshot.both("without a name", "provision --dry-run", || told().set("TBPROV_DEVICE_NAME", ""));
    snapshot.both("a device that is there", "provision --dry-run", || Place::served().after("provision"));
    snapshot.check();
}

#[test]
fn connect() {
    let mut snapshot = Snapshot::new("results/connect");
    let made = || Place::served().after("provision");
    snapshot.both("the only device", "connect", made);
    snapshot.both("a device by name", &format!("connect {NAME}"), made);
    snapshot.both("with telemetry", &format!("connect {TWO}"), made);
    snapshot.both("telemetry of one's own", "connect --send-telemetry={\"temperature\":21}", made);
    snapshot.both("telemetry of a file", "connect --send-telemetry=@readings.ndjson", || {
        made().file("readings.ndjson", "{\"a\":1}\n{\"a\":2}\n")
    });
    snapshot.both("attributes", "connect --send-telemetry --attributes {\"firmware\":\"1.2.0\"}", made);
    snapshot.both("an identity that was not proved", "connect", || {
        Place::served().after("provision --no-verify-connect")
    });
    snapshot.both("a device with a token", "connect", || {
        Place::served().after("provision --credentials-type access-token")
    });
    snapshot.both("a device with user name and password", &format!("connect {TWO}"), || {
        Place::served().after("provision --credentials-type mqtt-basic")
    });
    snapshot.both(
        "a pair that is in no store",
        "connect --cert device.pem --key device_key.pem --host localhost --port $PORT --server-cert server.pem",
        || holding_the_pair().pair(),
    );
    snapshot.both("a connection that breaks", &format!("connect {TWO}"), || {
        Place::served_then("provision", "reset=1")
    });
    snapshot.check();
}

/// A server whose web form was given `device.pem` for `sensor-01`.
fn holding_the_pair() -> Place {
    Place::holding(HeldCredentials::certificate(&certificate_of("files/device.pem")))
}

#[test]
fn events() {
    let mut snapshot = Snapshot::new("results/events");
    let served = Place::served;
    snapshot.case("provision").ran(&served(), &format!("provision --events {TWO}"));
    snapshot.case("provision again").ran(&served().after("provision"), "provision --events");
    snapshot
        .case("provision again, with wishes that come too late")
        .ran(&served().after("provision"), "provision --events --gateway --days 5 --provision-key other");
    snapshot.case("provision, recovered").ran(&Place::with_fault("accept-then-close"), "provision --events");
    snapshot.case("provision, refused").ran(&Place::with_fault("failure"), "provision --events");
    snapshot.case("connect").ran(&served().after("provision"), "connect --events");
    snapshot
        .case("connect with telemetry")
        .ran(&served().after("provision"), &format!("connect --events {TWO}"));
    let broken = Place::served_then("provision", "reset=1");
    snapshot.case("connect, broken").ran(&broken, &format!("connect --events {TWO}"));
    snapshot.case("connect, no device").ran(&Place::empty(), "connect --events nobody");
    snapshot.case("a wrong argument").ran(&Place::empty(), "provision --events --port x");
    snapshot.check();
}

#[test]
fn certs() {
    let mut snapshot = Snapshot::new("results/certs");
    let empty = Place::empty;
    snapshot.both("a device's", "certs gen --name sensor-01", empty);
    snapshot.both(
        "a device's, elsewhere",
        "certs gen --name sensor-01 --out new --key-type ed25519 --days 30",
        empty,
    );
    snapshot.both(
        "a device's, by an authority",
        "certs gen --name sensor-01 --ca-cert ca/ca.pem --ca-key ca/ca_key.pem",
        || empty().after("certs ca --name factory --out ca"),
    );
    snapshot.both("a device's, encrypted", "certs gen --name sensor-01 --encrypt-key", || {
        empty().set("TBPROV_KEY_PASSWORD", "a-password-of-some-length")
    });
    snapshot.both("a request", "certs csr --name sensor-01 --out new", empty);
    snapshot.both("a server's", "certs server --host thingsboard.example 192.0.2.1", empty);
    snapshot.both(
        "a server's, by an authority",
        "certs server --host thingsboard.example --out new --ca-cert ca/ca.pem --ca-key ca/ca_key.pem",
        || empty().after("certs ca --name factory --out ca"),
    );
    snapshot.both("an authority's", "certs ca --name factory", empty);
    snapshot.both("a request", "certs csr --name sensor-01 --out new", empty);
    snapshot.check();
}

#[test]
fn certs_inspect() {
    let mut snapshot = Snapshot::new("results/certs-inspect");
    let files = || {
        let chain = fixture_text("server/chain.pem");
        Place::empty().fixture("expired.pem").file("chain.pem", chain)
    };
    let example = || Place::empty().file("example.pem", fixture_text("credentials-id/example.pem"));
    // The same file ever since: nothing in it varies.
    snapshot.case("a device's");
    for line in ["certs inspect example.pem", "--json certs inspect example.pem"] {
        snapshot.add_as_is(line, &example().run(line));
    }
    snapshot.both("a chain", "certs inspect chain.pem", files);
    snapshot.both("an expired one", "certs inspect expired.pem", files);
    snapshot.both("what a server presents", "certs inspect localhost:$PORT", Place::served);
    snapshot.both("kept", "certs inspect localhost:$PORT --save kept.pem", Place::served);
    snapshot.check();
}

#[test]
fn devices() {
    let mut snapshot = Snapshot::new("results/devices");
    let made = || Place::served().after("provision");
    snapshot.both("no device", "devices list", Place::empty);
    snapshot.both("one device", "devices list", made);
    snapshot
        .both("a damaged one beside it", "devices list", || made().file("devices/broken/device.json", "{}"));
    snapshot.both("several states and kinds", "devices list", || {
        Place::served()
            .after("provision --device-name token --credentials-type access-token")
            .after("provision --device-name basic --credentials-type mqtt-basic")
            .after("provision --device-name accepted --no-verify-connect")
    });
    snapshot.both("elsewhere", "devices list --store elsewhere", Place::empty);
    snapshot.both("show", &format!("devices show {NAME}"), made);
    snapshot.both("show, not proved", &format!("devices show {NAME}"), || {
        Place::served().after("provision --no-verify-connect")
    });
    snapshot.both("show a token's", &format!("devices show {NAME}"), || {
        Place::served().after("provision --credentials-type access-token")
    });
    let add = format!("devices add {NAME} --cert device.pem --key device_key.pem");
    snapshot.both("show, refused", &format!("devices show {NAME}"), || {
        Place::with_fault("failure").after_failed("provision")
    });
    let remove = format!("devices remove {NAME} --yes");
    snapshot.both("remove", &remove, made);
    snapshot.both("remove what the server never heard of", &remove, || {
        Place::unserved().after_failed("provision")
    });
    snapshot.both("remove a second of the same name", &remove, || {
        made().after(&remove).served_anew(|_| {}).after("provision")
    });
    snapshot.both("add", &add, || holding_the_pair().pair());
    snapshot.both("add without a proof", &format!("{add} --no-verify-connect"), || Place::served().pair());
    snapshot.both(
        "add with an encrypted key",
        &format!("devices add {NAME} --cert device.pem --key encrypted-pkcs8_key.pem --key-password-file password --no-verify-connect"),
        || Place::served().pair().fixture("encrypted-pkcs8_key.pem").file("password", "test\n"),
    );
    let renewed = || made().file("new.pem", fixture_text("server/impostor.pem"));
    let trust = format!("devices trust {NAME}");
    snapshot.both("trust what the server has", &format!("{trust} --add server.pem"), made);
    snapshot.both("trust what it has later", &format!("{trust} --add new.pem --untried"), renewed);
    snapshot.both("trust what it has now alone", &format!("{trust} --remove-old"), || {
        renewed().after(&format!("{trust} --add new.pem --untried"))
    });
    snapshot.both("trust, one of all damaged", "devices trust --all --add new.pem --untried", || {
        renewed().after("provision --device-name second").file("devices/second/server.pem", "no certificate")
    });
    snapshot.check();
}

#[test]
fn doctor() {
    let mut snapshot = Snapshot::new("results/doctor");
    let made = || Place::served().after("provision");
    snapshot.both("nothing to look at", "doctor", Place::empty);
    snapshot.both("a server", "doctor --host localhost --port $PORT --server-cert server.pem", Place::served);
    snapshot.both("a device", &format!("doctor {NAME}"), made);
    snapshot.both("a device that is not proved", &format!("doctor {NAME}"), || {
        Place::served().after("provision --no-verify-connect")
    });
    snapshot.both("no server", "doctor", Place::unserved);
    for (title, place) in [
        ("no such host", Place::empty().set("TBPROV_HOST", "no-such-host.invalid")),
        ("another certificate", Place::presenting("impostor", "esp32", |_| {})),
        ("another name", Place::presenting("esp32", "esp32", |_| {}).set("TBPROV_HOST", "127.0.0.1")),
        ("TLS is refused", Place::with_fault("tls-alert")),
        ("no MQTT", Place::with_fault("garbage-mqtt")),
    ] {
        snapshot.case(title).ran(&place, "doctor");
    }
    snapshot.both("a device that the server lost", &format!("doctor {NAME}"), || made().served_anew(|_| {}));
    snapshot.both("a damaged device", "doctor", || made().file("devices/broken/device.json", "{}"));
    snapshot.check();
}

#[test]
fn sim() {
    let mut snapshot = Snapshot::new("results/sim");
    for (title, line) in [
        ("as it is", "sim --port 0 --ready-file ready.json"),
        ("as it is", "--json sim --port 0 --ready-file ready.json"),
        ("its events", "sim --events --port 0 --ready-file ready.json"),
        (
            "another release and faults",
            "sim --port 0 --ready-file ready.json --release 3.6 --fault garbage --fault reset=3 --device sensor-01 \
             --strategy pre-provisioned --state state.json",
        ),
    ] {
        let place = Place::empty();
        let ran = place.run_until(line, |place| place.sandbox.path("ready.json").exists());
        snapshot.case(title).add(&place.sandbox, line, &ran);
        let file = Ran { code: None, stdout: place.sandbox.read("ready.json"), stderr: String::new() };
        snapshot.add(&place.sandbox, "(its ready file)", &file);
    }
    snapshot.check();
}

#[test]
fn demo() {
    let mut snapshot = Snapshot::new("results/demo");
    snapshot.both("from nothing", "demo", Place::empty);
    snapshot.case("its events").ran(&Place::empty(), "demo --events");
    snapshot.check();
}

#[test]
fn what_is_long_begins_as_it_should() {
    let mut snapshot = Snapshot::new("results/beginnings");
    let place = Place::empty();
    let first = |ran: Ran| Ran { stdout: ran.stdout.lines().take(3).collect::<Vec<_>>().join("\n"), ..ran };
    for line in [
        "completions bash",
        "completions elvish",
        "completions fish",
        "completions powershell",
        "completions zsh",
        "man",
        "man --out pages",
        "--json man --out more-pages",
    ] {
        snapshot.case(line).add(&place.sandbox, line, &first(place.run(line)));
    }
    let version = format!("tbprov {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(place.run("--version").stdout, version);
    snapshot.case("nothing at all").add(&place.sandbox, "", &first(place.run("")));
    snapshot.check();
}
