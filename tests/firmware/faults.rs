//! Servers that are not what they should be: each ends in words and another try, never in a panic.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::support::peers::tbprov;
use super::*;
use tbprov::identity::{Certificate, Issue, Profile, Validity, issue};
use tbprov::keys::{KeyType, SoftwareKey};
use tbprov::sim::{Fault, ServerIdentity};

/// A device that no server knows, which believes `certificate` and connects to `server`.
fn stranger(sandbox: &Sandbox, server: &Server, certificate: &Certificate) {
    sandbox.write("believed.pem", certificate.to_pem());
    tbprov(sandbox, &["certs", "gen", "--name", "sensor", "--out", "own"]);
    let add = "devices add sensor --cert own/cert.pem --key own/key.pem --host 127.0.0.1 \
               --server-cert believed.pem --no-verify-connect";
    let port = server.address().port().to_string();
    tbprov(sandbox, &add.split_whitespace().chain(["--port", &port]).collect::<Vec<_>>());
}

/// Runs the firmware until the tool gives up on it, and looks at what it said meanwhile.
#[track_caller]
fn gives_up(sandbox: &Sandbox, elf: &Path, arguments: &[&str], exit_code: i32, code: &str) -> Vec<String> {
    let common =
        ["--force", "--count", "1", "--interval", "50ms", "--retry", "100ms", "--give-up-after", "4s"];
    let ended = run(&mut emulate(sandbox, elf, &[&common[..], arguments].concat()));
    ended.failed(exit_code, code);
    let log = log(&ended);
    assert!(!log.iter().any(|line| line.contains("[Panic]")), "{log:#?}");
    log
}

/// The firmware tried more than once.
#[track_caller]
fn tried_again(log: &[String], code: &str) {
    let tries = log.iter().filter(|line| line.contains(&format!("[{code}]"))).count();
    assert!(tries >= 2, "{code}: {log:#?}");
}

#[test]
fn what_a_server_refuses_is_said_and_tried_again() {
    let Some(elf) = firmware() else { return };
    for (fault, exit_code, code, words) in [
        (Fault::Refuse(u64::MAX), 1, "server/not-authorized", "does not know this certificate"),
        (Fault::Unavailable(u64::MAX), 1, "server/unavailable", "CONNACK 3"),
        (Fault::DropBeforeTls, 3, "network/closed", "closed"),
        (Fault::TlsAlert, 3, "tls/handshake", "TLS"),
        (Fault::GarbageMqtt, 3, "network/protocol", "MQTT"),
    ] {
        let (server, sandbox) = (Server::start(|config| config.faults.push(fault)), Sandbox::new());
        stranger(&sandbox, &server, &server.certificate());
        let log = gives_up(&sandbox, elf, &[], exit_code, code);
        tried_again(&log, code);
        assert!(log.iter().any(|line| line.contains(words)), "{fault}: {log:#?}");
    }
}

#[test]
fn a_device_that_the_server_does_not_know_is_told_so() {
    let Some(elf) = firmware() else { return };
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    stranger(&sandbox, &server, &server.certificate());
    let log = gives_up(&sandbox, elf, &[], 1, "server/not-authorized");
    tried_again(&log, "server/not-authorized");
}

/// Up to ThingsBoard 3.4 the refusal is an alert of TLS.
#[test]
fn an_old_server_refuses_the_certificate_during_tls() {
    let Some(elf) = firmware() else { return };
    let (server, sandbox) = (Server::of(RELEASES[0]), Sandbox::new());
    stranger(&sandbox, &server, &server.certificate());
    let log = gives_up(&sandbox, elf, &[], 3, "tls/client-certificate-refused");
    tried_again(&log, "tls/client-certificate-refused");
}

#[test]
fn a_silent_server_is_given_up() {
    let Some(elf) = firmware() else { return };
    for fault in [Fault::StallTls, Fault::NoConnack] {
        let (server, sandbox) = (Server::start(|config| config.faults.push(fault)), Sandbox::new());
        stranger(&sandbox, &server, &server.certificate());
        gives_up(&sandbox, elf, &[], 3, "network/timeout");
    }
}

#[test]
fn an_impostor_gets_nothing() {
    let Some(elf) = firmware() else { return };
    let (server, real, sandbox) = (Server::start(|_| {}), Server::start(|_| {}), Sandbox::new());
    stranger(&sandbox, &server, &real.certificate());
    let log = gives_up(&sandbox, elf, &[], 3, "tls/untrusted");
    tried_again(&log, "tls/untrusted");
    assert_eq!(server.telemetry("sensor"), Vec::<String>::new());
}

#[test]
fn a_server_of_another_name_is_refused_unless_names_do_not_matter() {
    let Some(elf) = firmware() else { return };
    let (server, sandbox) =
        (Server::start(|config| config.hosts = vec!["other.example".to_owned()]), Sandbox::new());
    stranger(&sandbox, &server, &server.certificate());
    let log = gives_up(&sandbox, elf, &[], 3, "tls/name-mismatch");
    tried_again(&log, "tls/name-mismatch");
    gives_up(&sandbox, elf, &["--skip-name-check"], 1, "server/not-authorized");
}

/// Answers every SNTP request with this machine's time, after junk that did not see the request, until it is dropped with its socket.
fn time_server() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut request = [0; 48];
        while let Ok((48, from)) = socket.recv_from(&mut request) {
            for junk in [&[][..], &[0xFF; 7], &[0x24; 48]] {
                let _ = socket.send_to(junk, from);
            }
            let since_1900 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 2_208_988_800;
            let stamp = (since_1900 << 32).to_be_bytes();
            let mut answer = [0; 48];
            answer[0] = 0x24; // No leap warning, version 4, mode 4: server.
            answer[1] = 1; // A primary reference.
            answer[16..24].copy_from_slice(&stamp);
            answer[24..32].copy_from_slice(&request[40..48]);
            answer[32..40].copy_from_slice(&stamp);
            answer[40..48].copy_from_slice(&stamp);
            let _ = socket.send_to(&answer, from);
        }
    });
    address
}

fn server_valid(not_before: i64, not_after: i64) -> Server {
    let key = SoftwareKey::generate(KeyType::EcP256).unwrap();
    let now = tbprov::clock::now();
    let validity = Validity {
        not_before: now + time::Duration::days(not_before),
        not_after: now + time::Duration::days(not_after),
    };
    let profile = Profile::Server(vec!["127.0.0.1".to_owned()]);
    let wanted = Issue { name: "a server", profile: &profile, validity, key: &key, issuer: None };
    let chain = vec![issue(&wanted).unwrap().leaf];
    Server::start(|config| config.server = Some(ServerIdentity { chain, key: Arc::new(key) }))
}

#[test]
fn dates_are_checked_once_the_time_is_known() {
    let Some(elf) = firmware() else { return };
    let time = time_server();
    for (not_before, not_after) in [(-10, -1), (1, 10)] {
        let (server, sandbox) = (server_valid(not_before, not_after), Sandbox::new());
        stranger(&sandbox, &server, &server.certificate());
        let log = gives_up(&sandbox, elf, &["--time-server", &time], 3, "tls/expired");
        tried_again(&log, "tls/expired");
        // Without a clock nobody can tell, and the log says so.
        let log = gives_up(&sandbox, elf, &[], 1, "server/not-authorized");
        assert!(log.iter().any(|line| line.contains("are not checked")), "{log:#?}");
    }
    let (server, sandbox) = (server_valid(-1, 1), Sandbox::new());
    stranger(&sandbox, &server, &server.certificate());
    gives_up(&sandbox, elf, &["--time-server", &time], 1, "server/not-authorized");
}
