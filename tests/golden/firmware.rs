//! `tbprov firmware` where compiler, emulator and board are scripts or missing.

use std::path::Path;

use crate::place::Place;
use crate::snapshot::Snapshot;
use crate::support::{NAME, fixture_text};

/// A 32-bit program for RISC-V that has no section, and begins in the memory of QEMU's board.
fn empty_elf() -> Vec<u8> {
    let mut elf = vec![0; 52];
    elf[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 1, 1, 1]);
    for (place, byte) in [(16, 2), (18, 243), (20, 1), (27, 0x80), (40, 52), (42, 32), (46, 40)] {
        elf[place] = byte;
    }
    elf
}

/// Puts a script in place by another process: a file that this one has open for writing cannot be run.
fn script(place: Place, name: &str, script: &str) -> Place {
    let place = place.file("script", format!("#!/bin/sh\n{script}\n"));
    let (from, to) = (place.sandbox.path("script"), place.sandbox.path(name));
    let installed =
        std::process::Command::new("install").args(["-D", "-m", "755"]).args([&from, &to]).status();
    assert!(installed.unwrap().success());
    place
}

const RUSTC: &str =
    "case \"$1\" in -vV) echo 'release: 1.96.0'; echo 'host: h';; *) echo ROOT/sysroot;; esac";
const BUILT: &str = "echo 'Compiling things' >&2; echo '{\"reason\":\"compiler-artifact\",\"target\":\
                     {\"name\":\"tbprov-firmware\"},\"executable\":\"'ROOT/app.elf'\"}'";

/// Sources in `fw`, and a `cargo` that is this script.
fn compiling(cargo: &str) -> Place {
    let place = sources();
    let root = place.sandbox.path("").display().to_string();
    let root = root.trim_end_matches('/').to_owned();
    let cargo = format!("test \"$1\" = --version && {{ echo cargo 1.96.0; exit; }}\n{cargo}");
    let place = script(place, "bin/rustc", &RUSTC.replace("ROOT", &root));
    script(place, "bin/cargo", &cargo.replace("ROOT", &root))
        .file("sysroot/lib/rustlib/riscv32imac-unknown-none-elf/lib/libcore.rlib", "")
        .file("sysroot/lib/rustlib/h/bin/rust-lld", "")
        .file("app.elf", empty_elf())
        .set("PATH", &format!("{root}/bin:/usr/bin:/bin"))
}

fn sources() -> Place {
    Place::empty().after("firmware init fw")
}

/// A device that is emulated by this script.
fn emulated_by(qemu: &str) -> Place {
    let place = Place::served().after("provision").file("app.elf", empty_elf());
    script(place, "qemu", qemu).set("PATH", "/usr/bin:/bin")
}

fn emulate() -> String {
    format!(
        "firmware emulate --device {NAME} --elf app.elf --qemu ./qemu -n 1 --interval 100ms --give-up-after 1s"
    )
}

#[test]
fn results() {
    let mut snapshot = Snapshot::new("results/firmware");
    snapshot.both("init", "firmware init fw", Place::empty);
    let build = "firmware build --board virt --firmware-dir fw";
    snapshot.both("build", build, || compiling(BUILT));
    snapshot.both("build, quiet", &format!("-q {build}"), || compiling(BUILT));
    snapshot.case("build, its events").ran(&compiling(BUILT), &format!("{build} --events"));
    let wifi = "--wifi-ssid network --wifi-password-file password";
    let made = || Place::served().after("provision").file("password", "a-password-nobody-sees\n");
    snapshot.both("identity", &format!("firmware identity --device {NAME} --out identity.bin {wifi}"), made);
    snapshot.both(
        "identity without WiFi",
        &format!("firmware identity --device {NAME} --out identity.bin"),
        made,
    );
    snapshot.both(
        "identity, not proved",
        &format!("firmware identity --device {NAME} --out identity.bin --force"),
        || Place::served().after("provision --no-verify-connect"),
    );
    let ready = "echo 'I (1) tbprov: [Telemetry][Ack] packet 1 in 1 ms'";
    snapshot.both("emulate", &emulate(), || emulated_by(ready));
    snapshot.case("emulate, its events").ran(&emulated_by(ready), &format!("{} --events", emulate()));
    snapshot.check();
}

#[test]
fn errors() {
    let mut snapshot = Snapshot::new("errors/firmware");
    let place = sources().file("text", "no application").file("empty.elf", empty_elf());
    for (title, line) in [
        ("firmware/sources: none", "build --chip esp32c3"),
        ("firmware/sources: not there", "build --chip esp32c3 --firmware-dir nowhere"),
        ("firmware/toolchain: esp32c3", "build --chip esp32c3 --firmware-dir fw"),
        ("firmware/toolchain: virt", "build --board virt --firmware-dir fw"),
        ("firmware/toolchain: esp32", "build --chip esp32 --firmware-dir fw"),
        ("no chip", "build --firmware-dir fw"),
        ("no chip that has a flash", "build --chip virt"),
        ("file/exists: an image", "image --chip esp32c3 --out text"),
        ("file/not-found: an application", "image --chip esp32c3 --out x.bin --elf nowhere"),
        ("firmware/image: a text", "image --chip esp32c3 --out x.bin --elf text"),
        ("firmware/image: an empty application", "image --chip esp32c3 --out x.bin --elf empty.elf"),
        ("firmware/image: another architecture", "image --chip esp32s3 --out x.bin --elf empty.elf"),
        ("store/not-found", "image --chip esp32c3 --out x.bin --device nobody"),
        ("store/not-found: an identity", "identity --device nobody --out x.bin"),
        ("file/exists: an identity", "identity --device nobody --out text"),
        ("file/exists: sources", "init fw"),
        ("file/exists: a file", "init text"),
        ("file/not-found: to emulate", "emulate --elf nowhere"),
        ("firmware/port: to flash", "flash --port nowhere --erase-identity"),
        ("firmware/port: to watch", "monitor --port nowhere"),
        ("firmware/port: a file", "monitor --port text"),
        ("firmware/image: to flash", "flash --port nowhere --image text"),
        ("file/not-found: to flash", "flash --port nowhere --image nowhere.bin"),
    ] {
        snapshot.both_in(&place, title, &format!("firmware {line}"));
    }
    let build = "firmware build --board virt --firmware-dir fw";
    snapshot.both("firmware/build", build, || compiling("echo 'error: no such thing' >&2; exit 101"));
    snapshot.both("firmware/build: no program", build, || compiling("exit 0"));
    let identity = format!("firmware identity --device {NAME} --out identity.bin");
    snapshot.both("firmware/identity: a key that the firmware lacks", &identity, || {
        Place::served().after("provision --key-type ed25519")
    });
    snapshot.both("firmware/identity: no certificate", &identity, || {
        Place::served().after("provision --credentials-type access-token")
    });
    snapshot.both("firmware/identity: a leaf to believe, and not its issuer", &identity, || {
        let chain = fixture_text("server/chain.pem");
        let (leaf, _) = chain.split_at(chain.find("-----END CERTIFICATE-----").unwrap() + 26);
        Place::presenting("chain", "chain", |_| {}).file("server.pem", leaf).after("provision")
    });
    let says = |line: &str| format!("echo '{line}'; exec sleep 60");
    for (title, line) in [
        ("firmware/identity: on the chip", "W (1) tbprov: [firmware/identity] the identity is damaged"),
        ("network/link", "W (1) tbprov: [network/link] no cable"),
        ("network/timeout: nothing", "I (1) tbprov: begins"),
        ("tls/untrusted", "W (1) tbprov: [tls/untrusted] another certificate"),
    ] {
        snapshot.both(title, &emulate(), || emulated_by(&says(line)));
    }
    snapshot.both("firmware/panic", &emulate(), || {
        emulated_by(&says(&format!("E (1) tbprov: {}at src/main.rs:1: no", tbprov_contract::report::PANIC)))
    });
    snapshot.both("firmware/emulator: ended", &emulate(), || emulated_by("echo the reason >&2; exit 3"));
    snapshot
        .both("firmware/emulator: missing", &emulate().replace("./qemu", "no-such-qemu"), || emulated_by(""));
    snapshot.check();
}

/// A board that is a pseudo-terminal. Its name differs, and is another each time.
#[test]
fn monitor() {
    use std::io::Write as _;
    let mut snapshot = Snapshot::new("results/firmware-monitor");
    for (title, flags) in [
        ("the awaited line", "--until CONNACK"),
        ("the awaited line", "--json --until CONNACK"),
        ("the awaited line, its events", "--events --until CONNACK"),
        ("watched for a time", "--timeout 200ms"),
        ("watched for a time", "--json --timeout 200ms"),
        ("firmware/monitor: no such line", "--until never --timeout 200ms"),
        ("firmware/monitor: no such line", "--json --until never --timeout 200ms"),
        ("with a log", "--json --until CONNACK --log board.log"),
    ] {
        let place = Place::empty();
        let (mut line, _port, path) = pseudo_terminal();
        line.write_all(b"I (31) boot: tbprov firmware\r\nCONNACK 0\r\n").unwrap();
        std::os::unix::fs::symlink(Path::new(&path), place.sandbox.path("board")).unwrap();
        snapshot.case(title).ran(&place, &format!("firmware monitor --port board {flags}"));
    }
    snapshot.check();
}

fn pseudo_terminal() -> (std::fs::File, std::fs::File, String) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
    let line = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&line).unwrap();
    unlockpt(&line).unwrap();
    let path = ptsname(&line, Vec::new()).unwrap().into_string().unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let port = rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).unwrap();
    let mut modes = tcgetattr(&port).unwrap();
    modes.make_raw();
    tcsetattr(&port, OptionalActions::Now, &modes).unwrap();
    (line.into(), port.into(), path)
}
