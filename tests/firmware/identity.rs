//! Identity partitions that are no use: said, and never a panic.

use super::*;
use tbprov::event::Observer;
use tbprov::firmware::emulator::{Emulated, Emulation, QEMU};
use tbprov::firmware::{IdentityOptions, partition};
use tbprov::ledger::Ledger as _;
use tbprov::ledger::folder::Folders;
use tokio_util::sync::CancellationToken;

/// Keeps the log.
#[derive(Default)]
struct Log(std::sync::Mutex<Vec<String>>);

impl Observer for Log {
    fn event(&self, _device: Option<&tbprov::DeviceId>, event: &tbprov::event::Event) {
        if let tbprov::event::Event::Log { line } = event {
            self.0.lock().unwrap().push(line.clone());
        }
    }
}

/// Runs the firmware with these bytes for an identity, and returns its log too.
fn run_with(server: &Server, elf: &Path, partition: &[u8]) -> (tbprov::Result<Emulated>, Vec<String>) {
    let emulation = Emulation {
        qemu: QEMU.into(),
        elf: elf.to_owned(),
        partition,
        count: Some(1),
        patience: Some(PATIENCE),
        qemu_arguments: Vec::new(),
    };
    let log = std::sync::Arc::new(Log::default());
    let progress = tbprov::event::Progress::new(log.clone());
    let ended = server.block_on(emulation.run(&CancellationToken::new(), &progress));
    let lines = std::mem::take(&mut *log.0.lock().unwrap());
    (ended, lines)
}

#[test]
fn an_unusable_identity_is_reported() {
    let Some(elf) = firmware() else { return };
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    sandbox.provisioned(&server, "sensor");
    let ledger = Folders::new(sandbox.path("devices"));
    let device = server.block_on(ledger.open("sensor")).unwrap();
    let at = tbprov::server::Server {
        host: "127.0.0.1".parse().unwrap(),
        port: server.address().port(),
        trust: std::sync::Arc::new(server.block_on(ledger.trust(&device)).unwrap()),
    };
    let address = std::net::SocketAddrV4::new([10, 0, 2, 2].into(), server.address().port());
    let options = IdentityOptions { address: Some(address), ..IdentityOptions::default() };
    let whole = server.block_on(partition(&ledger, &device, &at, &options)).unwrap();
    assert_eq!(run_with(&server, elf, &whole).0.unwrap().acknowledged, 1);

    // A P-256 identity is in the first of the six sectors.
    let mut half = whole.to_vec();
    half[1024..].fill(0xFF);
    let mut flipped = whole.to_vec();
    flipped[1024..2048].iter_mut().for_each(|byte| *byte ^= 0x55);
    let noise: Vec<u8> =
        (0..whole.len() as u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (what, bytes) in [
        ("erased", vec![0xFF; whole.len()]),
        ("zeroes", vec![0; whole.len()]),
        ("half written", half),
        ("flipped", flipped),
        ("noise", noise),
    ] {
        let (ended, log) = run_with(&server, elf, &bytes);
        let error = ended.unwrap_err();
        assert_eq!(error.code.as_str(), "firmware/identity", "{what}: {error} {log:#?}");
        assert_eq!(error.exit_code(), 7);
    }
}

#[test]
fn what_the_firmware_cannot_use_is_refused_before_it_starts() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    run(sandbox.provision(&server, "ed25519").args(["--key-type", "ed25519"])).done();
    sandbox.provisioned(&server, "sensor");
    let out = sandbox.path("identity.bin");
    let write = |device: &str, arguments: &[&str]| {
        let mut command = sandbox.tbprov(&["firmware", "identity", "--json", "--device", device, "-o"]);
        run(command.arg(&out).args(arguments))
    };
    write("ed25519", &[]).failed(7, "firmware/identity");
    for (arguments, field) in [
        (["--wifi-ssid", "", "--wifi-password", "long enough"], "wifi-ssid"),
        (["--wifi-ssid", "workshop\r", "--wifi-password", "long enough"], "wifi-ssid"),
        (["--wifi-ssid", NOT_HEXADECIMAL, "--wifi-password", "long enough"], "wifi-ssid"),
        (["--interval", "1ms", "--retry", "1s"], "interval_ms"),
        (["--interval", "1s", "--retry", "2m"], "retry_ms"),
    ] {
        let error = write("sensor", &arguments).failed(2, "usage/invalid-value");
        assert!(error["message"].as_str().unwrap().contains(field), "{error}");
    }
    // A secret that was not there is no open network.
    sandbox.write("empty", "");
    write("sensor", &["--wifi-ssid", "workshop", "--wifi-password-file", "empty"])
        .failed(2, "usage/invalid-value");
    assert!(!out.exists());
    write("sensor", &[]).done();
}

/// 64 characters, as a raw key has.
const NOT_HEXADECIMAL: &str = "correct-horse-battery-staple-correct-horse-battery-staple-correc";

/// By whatever way it comes, it is checked, named by that way and never shown.
#[test]
fn a_wifi_password_is_refused_by_the_name_of_where_it_comes_from() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    sandbox.provisioned(&server, "sensor");
    let write = |arguments: &[&str], variable: Option<&str>| {
        let mut command =
            sandbox.tbprov(&["firmware", "identity", "--json", "-o", "x.bin", "--wifi-ssid", "workshop"]);
        if let Some(variable) = variable {
            command.env("TBPROV_WIFI_PASSWORD", variable);
        }
        run(command.args(arguments))
    };
    for password in [NOT_HEXADECIMAL, "shortpw", "gr\u{fc}ngr\u{fc}n", "correct\thorse", &"x".repeat(65)] {
        sandbox.write("wifi.txt", password);
        for (arguments, variable, source) in [
            (&["--wifi-password", password][..], None, "--wifi-password"),
            (&["--wifi-password-file", "wifi.txt"], None, "wifi.txt"),
            (&[], Some(password), "TBPROV_WIFI_PASSWORD"),
        ] {
            let ended = write(arguments, variable);
            assert!(!format!("{ended:?}").contains(password), "shown: {ended:?}");
            let error = ended.failed(2, "usage/invalid-value");
            assert!(
                error["message"].as_str().unwrap().starts_with(&format!("{source} "))
                    || error["message"].as_str().unwrap().contains(&format!("{source} holds")),
                "{error}"
            );
        }
        std::fs::remove_file(sandbox.path("wifi.txt")).unwrap();
    }
    assert!(!sandbox.path("x.bin").exists());
    let key = "0123456789abcdef".repeat(4);
    write(&["--wifi-password", &key], None).done();
}

#[test]
fn a_server_that_no_board_reaches_is_a_warning() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    sandbox.provisioned(&server, "sensor");
    let warnings = |arguments: &[&str]| {
        let command = ["firmware", "identity", "--events", "--device", "sensor", "-o", "out.bin"];
        let ended = run(sandbox.tbprov(&command).args(arguments));
        ended.done();
        std::fs::remove_file(sandbox.path("out.bin")).unwrap();
        let events =
            ended.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let warnings = events.filter(|event| event["event"] == "warning");
        warnings.map(|event| event["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for (arguments, expected) in [
        (&[][..], vec!["the server at 127.0.0.1: for the board this is the board itself"]),
        (&["--address", "10.0.0.7:8883"], vec![]),
        (&["--address", "127.0.0.1:8883"], vec!["the server at 127.0.0.1"]),
        (&["--address", "0.0.0.0:8883"], vec!["the server at 0.0.0.0: this is no machine's address"]),
        (
            &["--time-server", "localhost:123"],
            vec!["the server at 127.0.0.1", "the time server at localhost: for the board"],
        ),
        (&["--address", "10.0.0.7:8883", "--time-server", "ntp.local"], vec!["the time server at ntp.local"]),
    ] {
        let told = warnings(arguments);
        assert_eq!(told.len(), expected.len(), "{arguments:?}: {told:?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(
                told.contains(expected)
                    && told.contains(if expected.contains("time") { "--time-server" } else { "--address" }),
                "{arguments:?}: {told}"
            );
        }
    }
}
