//! Each error, in words and as JSON: what happened, at which step, and what to do next.

use tbprov::Secret;
use tbprov::identity::{BasicCredentials, read_certificates};
use tbprov::sim::{HeldCredentials, Release, Strategy};

use crate::broker::{Broker, success};
use crate::place::Place;
use crate::snapshot::Snapshot;
use crate::support::{NAME, certificate_of, fixture_text};

/// The faults that fall silent wait for this.
const PATIENCE: &str = "--timeout 1s";

#[test]
fn usage() {
    let mut snapshot = Snapshot::new("errors/usage");
    let place = Place::empty();
    for (title, line) in [
        ("no such command", "provide"),
        ("no command of a group", "certs"),
        ("no such flag", "provision --nonsense"),
        ("no such color", "--color blue devices list"),
        ("no such shell", "completions cobol"),
        ("two that exclude each other", "-q -v devices list"),
        ("a host with a scheme", "provision --host mqtts://h:8883"),
        ("an empty host", "provision --host="),
        ("port 0", "provision --port 0"),
        ("a port with a name", "provision --port mqtt"),
        ("no such type of key", "provision --key-type ec-p521"),
        ("no days", "provision --days 0"),
        ("no such type of credentials", "provision --credentials-type password"),
        ("no patience", "provision --timeout 0"),
        ("too much patience", "provision --timeout 2h"),
        ("telemetry that is no object", "provision --send-telemetry=25"),
        ("telemetry that is no JSON", "provision --send-telemetry={\"a\":"),
        ("a count that is none", "provision --send-telemetry --count x"),
        ("attributes that are no object", "provision --send-telemetry --attributes []"),
        ("a topic with a wildcard", "provision --send-telemetry --telemetry-topic a/#"),
        ("a count of nothing", "provision --count 3"),
        ("a certificate without its key", "provision --cert a"),
        ("a key without its certificate", "provision --key a"),
        ("days of a certificate that is there", "provision --cert a --key b --days 3"),
        ("two secrets", "provision --provision-secret a --provision-secret-file b"),
        ("no host", "provision"),
        ("no key", "provision --host h"),
        ("no secret", "provision --host h --provision-key k"),
        ("no name", "provision --host h --provision-key k --provision-secret s"),
        ("an empty key", "provision --host h --provision-key= --provision-secret s --device-name d"),
        (
            "a certificate for a token",
            "provision --host h --provision-key k --provision-secret s --device-name d --credentials-type access-token --cert a --key b",
        ),
        ("a device and a pair", "connect a --cert b --key c"),
        ("a pair without a host", "connect --cert a --key b"),
        ("a name that is needed", "certs gen"),
        ("an empty name", "certs gen --name="),
        ("an authority without its key", "certs gen --name d --ca-cert a"),
        ("a password that nobody can be asked for", "certs gen --name d --encrypt-key"),
        ("a host that is none", "certs server --host a/b"),
        ("nothing to inspect", "certs inspect"),
        ("port 0 to inspect", "certs inspect localhost:0"),
        ("a device's name", "devices show"),
        ("a pair for a device", "devices add d"),
        ("a device and a host", "doctor d --host h"),
        ("no such fault", "sim --fault explode"),
        ("a fault without its value", "sim --fault reset"),
        ("no such release", "sim --release 9"),
        ("an address that is none", "sim --bind here"),
        ("no such strategy", "sim --strategy none"),
        ("no such chip", "firmware build --chip esp8266"),
        ("a chip and a board", "firmware build --chip esp32c3 --board virt"),
        ("no file to write", "firmware image --chip esp32c3"),
        ("two ways to flash", "firmware flash --identity-only --erase-identity"),
        ("an expression that is none", "firmware monitor --port p --until ("),
    ] {
        snapshot.both_in(&place, title, line);
    }
    assert!(place.sandbox.files().is_empty());
    snapshot.check();
}

#[test]
fn usage_that_is_found_on_the_way() {
    let mut snapshot = Snapshot::new("errors/usage-on-the-way");
    snapshot.both("several devices", "connect", || {
        Place::served().after("provision").after("provision --device-name sensor-02")
    });
    snapshot.both("a bad line of telemetry", "connect --send-telemetry=@readings.ndjson", || {
        Place::served().after("provision").file("readings.ndjson", "{\"a\":1}\nnot json\n")
    });
    snapshot.both("a certificate for another name", "sim --port 0 --name other", || {
        Place::empty()
            .file("tbprov-sim/server.pem", fixture_text("server/san.pem"))
            .file("tbprov-sim/server_key.pem", fixture_text("server/san_key.pem"))
    });
    snapshot.both("a name that cannot be stored", "provision --dry-run", || {
        Place::unserved().set("TBPROV_DEVICE_NAME", "bell\u{7}")
    });
    snapshot.both("a secret that is empty", "provision --dry-run --provision-secret-file empty", || {
        Place::unserved().file("empty", "\n")
    });
    let taken = Place::served;
    snapshot.both("a port that is taken", "sim --port $PORT", taken);
    snapshot.check();
}

#[test]
fn config() {
    let mut snapshot = Snapshot::new("errors/config");
    for (title, file) in [
        ("no such field", "host = \"h\"\nhots = \"h\"\n"),
        ("a text for a number", "port = \"SECRET\"\n"),
        ("a number that is too large", "port = 70000\n"),
        ("no such type of key", "key-type = \"ec-p521\"\n"),
        ("a section", "[server]\nhost = \"h\"\n"),
        ("no TOML", "provision-secret = SECRET\n"),
        ("two of the same", "host = \"a\"\nhost = \"b\"\n"),
        ("two secrets", "provision-secret = \"SECRET\"\nprovision-secret-file = \"f\"\n"),
        ("no host", "host = \"mqtts://h\"\n"),
    ] {
        snapshot.both(title, "provision --dry-run", || Place::empty().file("tbprov.toml", file));
    }
    snapshot.both("no text", "devices list", || Place::empty().file("tbprov.toml", b"\xff\xfeh"));
    snapshot.both("no such file", "--config no-such.toml devices list", Place::empty);
    snapshot.both("a folder", "--config . devices list", Place::empty);
    snapshot.check();
}

#[test]
fn file() {
    let mut snapshot = Snapshot::new("errors/file");
    let pair = "provision --dry-run --cert device.pem --key";
    let place = || Place::unserved().pair();
    for (title, file) in [
        ("file/not-pem: DER", "der_key.pem"),
        ("file/not-pem: a certificate for a key", "device.pem"),
        ("file/not-pem: no PEM at all", "not-pem.txt"),
        ("file/not-pem: a public key", "public-key.pem"),
        ("file/encrypted-key", "encrypted-pkcs8_key.pem"),
        ("file/encrypted-key, the older way", "encrypted-traditional_key.pem"),
        ("file/key-mismatch", "other_key.pem"),
        ("file/unsupported-key: a curve", "p521_key.pem"),
        ("file/unsupported-key: RSA of few bits", "rsa-1024_key.pem"),
    ] {
        snapshot.both(title, &format!("{pair} {file}"), || place().fixture(file));
    }
    snapshot.both("file/wrong-password", &format!("{pair} encrypted-traditional_key.pem"), || {
        place().fixture("encrypted-traditional_key.pem").set("TBPROV_KEY_PASSWORD", "wrong")
    });
    let root_first = "provision --dry-run --cert chain.pem --key device_key.pem";
    snapshot.both("file/key-mismatch: the root first", root_first, || {
        let chain = fixture_text("files/other.pem") + &fixture_text("files/device.pem");
        place().file("chain.pem", chain)
    });
    snapshot.both("file/not-found", &format!("{pair} no-such-file.pem"), place);
    snapshot.both("file/io", &format!("{pair} ."), place);
    for (title, file) in [
        ("file/not-pem: a key for a certificate", "device_key.pem"),
        ("file/not-pem: cut off", "truncated.pem"),
        ("file/not-pem: UTF-16", "utf-16.pem"),
        ("file/not-pem: empty", "empty.pem"),
        ("file/bad-certificate: an empty block", "empty-block.pem"),
        ("file/bad-certificate: a line is missing", "line-missing.pem"),
    ] {
        let line = format!("provision --dry-run --cert {file} --key device_key.pem");
        snapshot.both(title, &line, || place().fixture(file));
    }
    for (title, name) in [
        ("file/expired-certificate", "expired"),
        ("file/expired-certificate: too early", "not-yet-valid"),
        ("file/unsupported-key: a pair", "secp256k1"),
    ] {
        let (certificate, key) = (format!("{name}.pem"), format!("{name}_key.pem"));
        let line = format!("provision --dry-run --cert {certificate} --key {key}");
        snapshot.both(title, &line, || place().fixture(&certificate).fixture(&key));
    }
    let one_line = fixture_text("files/device_key.pem").replace('\n', "\\n");
    let indented = fixture_text("files/device_key.pem").replace('\n', "\n    ");
    for (title, content) in [
        ("file/not-pem: line ends as two characters", one_line.as_bytes()),
        ("file/not-pem: indented", indented.as_bytes()),
        ("file/not-pem: PKCS#12", b"\x30\x80\x02\x01\x03\x30\x80"),
        ("file/not-pem: a Java key store", b"\xFE\xED\xFE\xED\x00\x00\x00\x02"),
    ] {
        snapshot.both(title, &format!("{pair} given_key.pem"), || place().file("given_key.pem", content));
    }
    snapshot.both("file/encrypted-key: another password", &format!("{pair} encrypted-pkcs8_key.pem"), || {
        place().fixture("encrypted-pkcs8_key.pem").set("TBPROV_KEY_PASSWORD", "another")
    });
    let sign = "certs gen --name d --out new --ca-cert device.pem --ca-key device_key.pem";
    snapshot.both("file/bad-certificate: no authority", sign, place);
    snapshot.both("file/exists", "certs gen --name d", || Place::empty().file("key.pem", "precious"));
    snapshot.both(
        "file/exists: kept certificates",
        "certs inspect localhost:$PORT --save server.pem",
        Place::served,
    );
    snapshot.both(
        "file/not-found: a secret",
        "provision --dry-run --provision-secret-file no-such-file",
        place,
    );
    snapshot.both("file/io: a secret", "provision --dry-run --provision-secret-file .", place);
    snapshot.both("file/not-found: telemetry", "connect --send-telemetry=@no-such-file", Place::empty);
    snapshot.both("file/io: telemetry", "connect --send-telemetry=@.", Place::empty);
    snapshot.both("file/not-found: to inspect", "certs inspect no-such-file", Place::empty);
    snapshot.both("file/not-found: whom to believe", "provision --dry-run --server-cert no-such-file", place);
    snapshot.check();
}

#[test]
fn store() {
    let mut snapshot = Snapshot::new("errors/store");
    let made = || Place::served().after("provision");
    snapshot.both("store/not-found: none at all", "connect", Place::empty);
    snapshot.both("store/not-found", "connect nobody", Place::empty);
    snapshot.both("store/not-found: to show", "devices show nobody", made);
    snapshot.both("tls/untrusted: to be believed", &format!("devices trust {NAME} --add new.pem"), || {
        made().file("new.pem", fixture_text("server/impostor.pem"))
    });
    snapshot.both("usage/missing-value: of which server", "devices trust --all --remove-old", || {
        made().pair().after("devices add other --cert device.pem --key device_key.pem --host other.example --no-verify-connect")
    });
    snapshot.both("store/exists: another type of key", "provision --key-type ec-p384", made);
    snapshot.both(
        "store/exists: another type of credentials",
        "provision --credentials-type access-token",
        made,
    );
    snapshot.both("store/exists: another server", "provision --port 1", made);
    snapshot.both(
        "store/exists: to add",
        &format!("devices add {NAME} --cert device.pem --key device_key.pem --no-verify-connect"),
        || made().pair(),
    );
    let record = "devices/sensor-01/device.json";
    let key = "devices/sensor-01/key.pem";
    snapshot.both(
        "store/exists: the certificate of another",
        "provision --device-name twin --cert devices/sensor-01/cert.pem --key devices/sensor-01/key.pem",
        made,
    );
    snapshot.both(
        "store/exists: other certificates above its own",
        "provision --cert chain.pem --key device_key.pem",
        || {
            let place = Place::served().pair().after("provision --cert device.pem --key device_key.pem");
            let chain = [fixture_text("files/device.pem"), fixture_text("server/ca.pem")].concat();
            place.file("chain.pem", chain)
        },
    );
    snapshot.both("store/readable-key", "provision", || made().mode(key, 0o644));
    snapshot.both("store/readable-key: at connect", "connect", || made().mode(key, 0o640));
    snapshot.both("store/corrupt: a record that is none", "connect", || made().file(record, "garbage"));
    snapshot
        .both("store/corrupt: a record that lacks all", "connect sensor-01", || made().file(record, "{}"));
    snapshot.both("store/corrupt: an empty key", "connect", || made().file(key, ""));
    snapshot.both("store/corrupt: another key", "devices show sensor-01", || {
        made().file(key, fixture_text("files/other_key.pem"))
    });
    snapshot.both("store/corrupt: whom to believe", "connect", || {
        made().file("devices/sensor-01/server.pem", "damaged")
    });
    snapshot.both("file/expired-certificate: staged", "provision", || {
        let place = Place::with_fault("failure").after_failed("provision");
        let id = |text: &str| read_certificates(text, "cert.pem").unwrap().remove(0).credentials_id();
        let (certificate, expired) = ("devices/sensor-01/cert.pem", fixture_text("files/expired.pem"));
        let (from, to) = (id(&place.sandbox.read(certificate)), id(&expired));
        place
            .replaced(record, &from, &to)
            .file(certificate, expired)
            .file(key, fixture_text("files/expired_key.pem"))
    });
    snapshot.both("file/encrypted-key", "connect", || {
        made().file(key, fixture_text("files/encrypted-pkcs8_key.pem"))
    });
    snapshot.both("store/corrupt: the simulator's", "sim --port 0 --state state.json", || {
        Place::empty().file("state.json", "garbage")
    });
    snapshot.both("store/io: no folder", "devices list", || Place::empty().file("devices", "a file"));
    snapshot.both("store/io: nowhere to write", "provision", || Place::served().file("devices", "a file"));
    let unproved = || Place::served().after("provision --no-verify-connect");
    snapshot.both(
        "store/not-proved",
        &format!("firmware identity --device {NAME} --out identity.bin"),
        unproved,
    );
    let place = Place::unserved().pair().file("devices/.locks/sensor-01.lock", "4711");
    let locked =
        std::fs::OpenOptions::new().write(true).open(place.sandbox.path("devices/.locks/sensor-01.lock"));
    let locked = locked.unwrap();
    locked.lock().unwrap();
    let add = format!("devices add {NAME} --cert device.pem --key device_key.pem --no-verify-connect");
    snapshot.both_in(&place, "store/locked", &add);
    let meanwhile = |snapshot: &mut Snapshot, title: &str, change: fn(&Place)| {
        snapshot.case(title);
        for line in ["provision", "--json provision"] {
            let place = Place::with_fault("delay=1s");
            let ran = place.run_meanwhile(line, Place::has_faulted, |_| change(&place));
            snapshot.add(&place.sandbox, line, &ran);
        }
    };
    meanwhile(&mut snapshot, "store/lease-lost", |place| {
        std::fs::remove_dir_all(place.sandbox.path("devices/.locks")).unwrap();
    });
    meanwhile(&mut snapshot, "store/changed", |place| {
        let record = "devices/sensor-01/device.json";
        place.sandbox.write(record, place.sandbox.read(record).replace("ec-p256", "ec-p384"));
    });
    snapshot.both("devices remove, without a terminal", &format!("devices remove {NAME}"), made);
    snapshot.both("devices remove, no such device", "devices remove nobody --yes", made);
    snapshot.check();
}

#[test]
fn network() {
    let mut snapshot = Snapshot::new("errors/network");
    snapshot.both("network/resolve", "provision --host no-such-host.invalid", Place::unserved);
    snapshot.both("network/connect", "provision", Place::unserved);
    for (title, fault, flags) in [
        ("network/closed before TLS", "drop-before-tls", ""),
        ("network/closed after CONNECT", "close-after-connect", ""),
        ("network/timeout at TLS", "stall-tls", PATIENCE),
        ("network/timeout at CONNECT", "no-connack", PATIENCE),
        ("network/timeout at the exchange", "no-answer", PATIENCE),
        ("network/protocol", "garbage-mqtt", ""),
    ] {
        snapshot.both(title, &format!("provision {flags}"), || Place::with_fault(fault));
    }
    snapshot.both("network/connect at connect", "connect --port 1", || Place::served().after("provision"));
    snapshot.both(
        "network/proxy: it speaks TLS",
        "provision --proxy http://u:secret@localhost:$PORT",
        Place::served,
    );
    snapshot.both(
        "network/connect: no proxy",
        "provision --proxy socks5h://localhost:$PORT",
        Place::unserved,
    );
    snapshot.both("usage/invalid-value: a proxy", "provision --proxy https://u:secret@h:1", Place::unserved);
    snapshot.both("network/connect: the proxy of others", "provision", || {
        Place::unserved().set("HTTPS_PROXY", "http://u:secret@proxy.invalid:3128")
    });
    snapshot.both("network/connect at inspect", "certs inspect localhost:$PORT", Place::unserved);
    snapshot.both("network/timeout at inspect", "certs inspect localhost:$PORT --timeout 1s", || {
        Place::with_fault("stall-tls")
    });
    snapshot.check();
}

#[test]
fn tls() {
    let mut snapshot = Snapshot::new("errors/tls");
    snapshot.both("tls/handshake", "provision", || Place::with_fault("tls-alert"));
    for (title, presented, believed) in [
        ("tls/untrusted: an impostor", "impostor", "esp32"),
        ("tls/untrusted: another", "esp32", "san"),
        ("tls/untrusted: an authority that is not the issuer", "leaf", "ca"),
        ("tls/expired", "expired", "expired"),
        ("tls/expired: too early", "not-yet-valid", "not-yet-valid"),
    ] {
        snapshot.both(title, "provision", || Place::presenting(presented, believed, |_| {}));
    }
    snapshot.both("tls/untrusted: variables", "doctor --host localhost", || {
        Place::empty().set("SSL_CERT_FILE", "no-such-file")
    });
    snapshot.both("tls/name-mismatch", "provision --host 127.0.0.1", || {
        Place::presenting("leaf", "leaf", |_| {})
    });
    let old = || Place::with(|config| config.release = Release::V3_4).pair();
    let add = format!("devices add {NAME} --cert device.pem --key device_key.pem");
    snapshot.both("tls/client-certificate-refused", &add, old);
    snapshot.both("tls/untrusted at connect", &format!("connect --server-cert other.pem {NAME}"), || {
        Place::served().after("provision").file("other.pem", fixture_text("server/impostor.pem"))
    });
    snapshot.both("tls/untrusted with telemetry", "connect --server-cert other.pem --send-telemetry", || {
        Place::served().after("provision").file("other.pem", fixture_text("server/impostor.pem"))
    });
    snapshot.check();
}

#[test]
fn server() {
    let mut snapshot = Snapshot::new("errors/server");
    snapshot.both("server/not-found", "provision --provision-secret wrong", Place::served);
    snapshot.both("server/failure", "provision", || Place::with_fault("failure"));
    snapshot.both("server/failure: an unknown device", "provision", || {
        Place::with(|config| config.strategy = Strategy::PreProvisioned)
    });
    snapshot.both("server/failure: the name is taken", "provision --store another", || {
        Place::served().after("provision")
    });
    snapshot.both("server/failure, for the second time", "provision", || {
        Place::with_fault("failure").after_failed("provision")
    });
    let add = format!("devices add {NAME} --cert device.pem --key device_key.pem");
    snapshot.both("server/not-authorized", &add, || Place::served().pair());
    snapshot.both("server/unavailable", "provision", || Place::with_fault("unavailable=1"));
    let connect = "connect --cert device.pem --key device_key.pem --host localhost --port $PORT --server-cert server.pem";
    for (title, code) in [
        ("server/refused: CONNACK 1", 1),
        ("server/identifier-rejected: CONNACK 2", 2),
        ("server/unavailable: CONNACK 3", 3),
        ("verify/not-asked: CONNACK 4", 4),
        ("verify/not-asked: CONNACK 5", 5),
        ("server/refused: CONNACK 9", 9),
    ] {
        snapshot.both(title, connect, || Place::connack(code).pair());
    }
    snapshot.both("provision, CONNACK 2", "provision", || Place::connack(2));
    snapshot.both("provision, CONNACK 5", "provision", || Place::connack(5));
    snapshot.check();
}

#[test]
fn answer() {
    let mut snapshot = Snapshot::new("errors/answer");
    let token = "--credentials-type access-token";
    snapshot.both("answer/malformed: not JSON", "provision", || Place::with_fault("garbage,refuse=2"));
    snapshot.both("network/protocol: an answer that is too large", "provision", || {
        Place::with_fault("oversize,refuse=2")
    });
    snapshot.both("answer/other-certificate", "provision", || Place::with_fault("wrong-value"));
    snapshot.both("answer/other-credentials", &format!("provision {token}"), || {
        Place::with_fault("wrong-value,refuse=1")
    });
    let other = || HeldCredentials::certificate(&certificate_of("files/other.pem"));
    let held = || HeldCredentials::Token(Secret::new("a-token-of-the-web-form"));
    snapshot.both("answer/other-type", &format!("provision {token}"), || Place::holding(other()));
    snapshot.both("the web form has another certificate", "provision", || Place::holding(other()));
    snapshot.both("the web form has a token", "provision", || Place::holding(held()));
    snapshot.both("the web form has a user name", "provision", || Place::holding(basic()));
    snapshot.both("the web form has another token", &format!("provision {token}"), || Place::holding(held()));
    snapshot.both("the web form has another user name", "provision --credentials-type mqtt-basic", || {
        Place::holding(basic())
    });
    snapshot.check();
}

fn basic() -> HeldCredentials {
    HeldCredentials::Basic(BasicCredentials {
        client_id: "client".to_owned(),
        user_name: "user".to_owned(),
        password: Secret::new("password"),
    })
}

#[test]
fn verify() {
    let mut snapshot = Snapshot::new("errors/verify");
    snapshot.both("accepted, and refused at once", "provision", || Place::with_fault("refuse=1"));
    let lost = || Place::served().after("provision").served_anew(|_| {});
    snapshot.both("a device that the server lost", "provision", lost);
    snapshot.both("the same at connect", "connect", lost);
    snapshot.both("the same with telemetry", "connect --send-telemetry", lost);
    snapshot.both("a device that the server forgot before it was proved", "provision", || {
        Place::served().after("provision --no-verify-connect").served_anew(|_| {})
    });
    let pair = format!("devices add {NAME} --cert device.pem --key device_key.pem");
    let unasking = || Place::at(Broker::answering(success).that_never_asks()).pair();
    snapshot.both("verify/not-asked", "provision", unasking);
    snapshot.both("verify/not-asked: to add", &pair, unasking);
    let silent = Broker::that_never_answers();
    snapshot.both("verify/not-asked: after no answer", &format!("provision {PATIENCE}"), || {
        Place::at(silent.that_never_asks())
    });
    snapshot.both("verify/anonymous", &format!("provision {PATIENCE}"), || Place::at(silent.that_asks()));
    snapshot.both("verify/anonymous: to add", &pair, || Place::at(silent.that_asks()).pair());
    snapshot.both(
        "verify/anonymous: a token",
        &format!("provision {PATIENCE} --credentials-type access-token"),
        || Place::at(silent.that_never_asks()),
    );
    snapshot.both(
        "verify/anonymous: user name and password",
        &format!("provision {PATIENCE} --credentials-type mqtt-basic"),
        || Place::at(silent.that_never_asks()),
    );
    let closing = Broker { connack: None, ..silent };
    snapshot.both("nothing found out", &pair, || Place::at(closing.that_asks()).pair());
    snapshot.both("verify/already-registered", "provision --cert device.pem --key device_key.pem", || {
        Place::holding(HeldCredentials::certificate(&certificate_of("files/device.pem"))).pair()
    });
    snapshot.check();
}

#[test]
fn confirming() {
    let mut snapshot = Snapshot::new("errors/confirming");
    let place = |faults: &'static str| {
        let with_api = Place::with(|config| {
            config.rest = Some("127.0.0.1:0".parse().unwrap());
            config.faults = faults.split_terminator(',').map(|fault| fault.parse().unwrap()).collect();
        });
        with_api.account().after("provision")
    };
    let reading =
        r#"connect --send-telemetry={"ts":1700000000000,"values":{"temperature":25}} --confirm=100ms"#;
    snapshot.both("verify/not-stored", reading, || place("not-stored=1"));
    let send = "connect --send-telemetry --confirm";
    snapshot.both("rest/not-found", &format!("{send} --confirm-device nobody"), || place(""));
    snapshot.both("a key with a comma", r#"connect --send-telemetry={"a,b":1} --confirm"#, || place(""));
    snapshot.both("usage/missing-value: no account", send, || Place::served().after("provision"));
    let unnamed = "provision --send-telemetry --confirm";
    snapshot.both("usage/missing-value: no name", unnamed, || Place::served().set("TBPROV_DEVICE_NAME", ""));
    snapshot.check();
}

#[test]
fn interrupted() {
    let mut snapshot = Snapshot::new("errors/interrupted");
    snapshot.case("while the answer is awaited");
    for line in ["provision", "--json provision", "--events provision"] {
        let place = Place::with_fault("no-answer");
        let ran = place.run_until(line, Place::has_faulted);
        snapshot.add(&place.sandbox, line, &ran);
    }
    snapshot.check();
}
