//! `tbprov firmware flash` on a board that is a program: esp32-mock-bootloader behind a pseudo-terminal.
//!
//! It is found by the Python of `TBPROV_PYTHON` (else `python3`) with its `PYTHONPATH`. Where it is missing that is
//! told in one line, and is a failure where `TBPROV_REQUIRE_PEERS` is set.

#![cfg(all(target_os = "linux", feature = "cli"))]
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod support;

use std::io::Write as _;
use std::ops::Range;
use std::process::{ChildStdin, Command, Stdio};
use std::time::Instant;

use esp_idf_part::PartitionTable;
use serde_json::Value;
use support::board::{Board, flash_of};
use support::*;

const PARTITIONS: &str = include_str!("../firmware/partitions.csv");
const TABLE: Range<usize> = 0x8000..0x8c00;
const IDENTITY: Range<usize> = 0x9000..0xf000;
const APPLICATION: usize = 0x10000;
/// The chips' numbers in an image.
const ESP32C3: u16 = 5;
const ESP32C6: u16 = 13;

/// An image as `tbprov firmware image` writes it, with an application that does not shrink when it is compressed.
fn image(chip: u16, bytes: usize) -> Vec<u8> {
    let mut noise = 1_u32;
    let mut program = |bytes: usize| -> Vec<u8> {
        let mut content: Vec<u8> = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            noise.to_be_bytes()[0]
        })
        .take(bytes)
        .collect();
        content[0] = 0xe9;
        content[12..14].copy_from_slice(&chip.to_le_bytes());
        content
    };
    let mut file = program(20_000);
    file.push(0);
    file.resize(TABLE.start, 0xff);
    file.extend(PartitionTable::try_from_str(PARTITIONS).unwrap().to_bin().unwrap());
    file.resize(APPLICATION, 0xff);
    file.extend(program(bytes));
    file
}

/// Writes the image of an application of this size into the sandbox.
fn has_image(sandbox: &Sandbox, chip: u16, bytes: usize) -> Vec<u8> {
    let image = image(chip, bytes);
    let path = sandbox.path("image.bin");
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path).unwrap();
    file.write_all(&image).unwrap();
    image
}

fn flash(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let mut command = sandbox.tbprov(&["firmware", "flash", "--json", "--port", "port"]);
    run(command.args(arguments))
}

/// What a device's identity partition has to hold.
fn identity_of(sandbox: &Sandbox, device: &str) -> Vec<u8> {
    let file = format!("{device}.identity");
    let arguments = ["firmware", "identity", "--json", "--device", device, "--out", &file];
    run(&mut sandbox.tbprov(&arguments)).done();
    std::fs::read(sandbox.path(&file)).unwrap()
}

fn flashed(sandbox: &Sandbox, device: &str) -> Value {
    run(&mut sandbox.tbprov(&["devices", "show", "--json", device])).done()["flashed"].clone()
}

#[track_caller]
fn assert_says(error: &Value, member: &str, text: &str) {
    assert!(error[member].as_str().unwrap().contains(text), "{error}");
}

#[test]
fn a_whole_flash_is_the_image_and_the_identity_byte_for_byte() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    let Some(_board) = Board::start(&sandbox, &[]) else { return };
    sandbox.provisioned(&server, "sensor");
    let image = has_image(&sandbox, ESP32C3, 300_001);
    let result = flash(&sandbox, &["--image", "image.bin", "--device", "sensor"]).done();
    assert_eq!(result["outcome"], "flashed");
    assert_eq!((&result["chip"], &result["device"]), (&"esp32c3".into(), &"sensor".into()), "{result}");
    let names: Vec<_> = result["parts"].as_array().unwrap().iter().map(|part| &part["name"]).collect();
    assert_eq!(names, ["bootloader", "partition-table", "identity", "application"]);

    let mut expected = image.clone();
    expected[IDENTITY].copy_from_slice(&identity_of(&sandbox, "sensor"));
    let written = flash_of(&sandbox);
    assert!(written[..image.len()] == expected, "the flash is not what it should be");
    assert!(written[image.len()..].iter().all(|byte| *byte == 0xff), "more was written than the image has");

    let record = flashed(&sandbox, "sensor");
    assert_eq!((&record["chip"], &record["mac"]), (&"esp32c3".into(), &result["mac"]), "{record}");
    assert_eq!(record["image_sha256"], result["image_sha256"]);
    assert_eq!(record["image_sha256"].as_str().unwrap().len(), 64);
    let shown = run(&mut sandbox.tbprov(&["devices", "show", "sensor"])).stdout;
    assert!(shown.contains("flashed") && shown.contains("24:0a:c4:"), "{shown}");
    assert_whole(&sandbox, &server, "sensor");
}

#[test]
fn an_image_without_an_identity_leaves_the_boards_own() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    let Some(_board) = Board::start(&sandbox, &[]) else { return };
    sandbox.provisioned(&server, "sensor");
    let image = has_image(&sandbox, ESP32C3, 20_000);
    flash(&sandbox, &["--image", "image.bin", "--device", "sensor"]).done();
    let result = flash(&sandbox, &["--image", "image.bin"]).done();
    assert_eq!(result["device"], Value::Null);
    assert!(flash_of(&sandbox)[IDENTITY] == identity_of(&sandbox, "sensor"));
    assert!(flash_of(&sandbox)[APPLICATION..image.len()] == image[APPLICATION..]);
}

#[test]
fn the_identity_alone_goes_where_the_boards_own_table_has_it_and_goes_again() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    let Some(_board) = Board::start(&sandbox, &[]) else { return };
    sandbox.provisioned(&server, "sensor");
    let error = flash(&sandbox, &["--identity-only"]).failed(7, "firmware/identity");
    assert_says(&error, "message", "no partition table");
    let image = has_image(&sandbox, ESP32C3, 20_000);
    flash(&sandbox, &["--image", "image.bin"]).done();

    let result = flash(&sandbox, &["--identity-only"]).done();
    assert_eq!(result["parts"], serde_json::json!([{"name": "identity", "offset": 0x9000, "bytes": 0x6000}]));
    let mut expected = image;
    expected[IDENTITY].copy_from_slice(&identity_of(&sandbox, "sensor"));
    assert!(flash_of(&sandbox)[..expected.len()] == expected);
    let record = flashed(&sandbox, "sensor");
    assert!(record.get("image_sha256").is_none() && record["mac"] == result["mac"], "{record}");

    let result = flash(&sandbox, &["--erase-identity"]).done();
    assert_eq!(result["outcome"], "erased");
    assert!(flash_of(&sandbox)[IDENTITY].iter().all(|byte| *byte == 0xff));
    assert!(flash_of(&sandbox)[APPLICATION..expected.len()] == expected[APPLICATION..]);
}

#[test]
fn a_table_whose_identity_is_no_place_for_one_is_not_believed() {
    let sandbox = Sandbox::new();
    let Some(_board) = Board::start(&sandbox, &[]) else { return };
    // The bootloader, the table itself, beyond any flash; sizes that the firmware does not take.
    for (offset, bytes, says) in [
        (0_u32, 0x6000_u32, "in the table itself"),
        (0x8000, 0x6000, "in the table itself"),
        (0xff_f000, 0x6000, "beyond any flash"),
        (0x9100, 0x6000, "not aligned"),
        (0x9000, 0xfff0_0000, "size 0x6000"),
        (0x9000, 0x8000, "size 0x6000"),
    ] {
        let mut entry = vec![0xaa, 0x50, 1, 2];
        entry.extend(offset.to_le_bytes());
        entry.extend(bytes.to_le_bytes());
        entry.extend(b"identity\0\0\0\0\0\0\0\0\0\0\0\0");
        let flash_file = std::fs::OpenOptions::new().write(true).open(sandbox.path("flash.bin")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&flash_file, &entry, TABLE.start as u64).unwrap();
        let before = flash_of(&sandbox);
        let error = flash(&sandbox, &["--erase-identity"]).failed(7, "firmware/identity");
        assert_says(&error, "message", says);
        assert!(flash_of(&sandbox) == before, "{offset:#x}");
    }
}

#[test]
fn a_cable_that_is_pulled_is_said_so_and_a_rerun_mends_it() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    let Some(mut board) = Board::start(&sandbox, &["--cut-after", "200000"]) else { return };
    sandbox.provisioned(&server, "sensor");
    let image = has_image(&sandbox, ESP32C3, 300_000);
    let arguments = ["--image", "image.bin", "--device", "sensor"];
    let error = flash(&sandbox, &arguments).failed(7, "firmware/flash");
    assert_says(&error, "message", "while the application was written");
    assert_says(&error, "help", "nothing is lost");
    assert_eq!(flashed(&sandbox, "sensor"), Value::Null);
    assert_whole(&sandbox, &server, "sensor");
    board.is_ready();
    flash(&sandbox, &arguments).done();
    assert!(flash_of(&sandbox)[APPLICATION..image.len()] == image[APPLICATION..]);
    assert!(flashed(&sandbox, "sensor").is_object());
}

#[test]
fn control_c_ends_between_two_blocks_and_a_rerun_mends_it() {
    let sandbox = Sandbox::new();
    let Some(_board) = Board::start(&sandbox, &["--slow", "0.1"]) else { return };
    let image = has_image(&sandbox, ESP32C3, 200_000);
    let arguments = ["firmware", "flash", "--events", "--port", "port", "--image", "image.bin"];
    let mut running = Running::start(&mut sandbox.tbprov(&arguments));
    running.until(r#""part":"application","written":1"#);
    running.signal("INT");
    let error = running.end().failed(130, "interrupted");
    assert_says(&error, "help", "only partly written");
    flash(&sandbox, &["--image", "image.bin"]).done();
    assert!(flash_of(&sandbox)[APPLICATION..image.len()] == image[APPLICATION..]);
}

#[test]
fn what_reads_back_otherwise_is_a_failure() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    let Some(_board) = Board::start(&sandbox, &["--worn", "70000"]) else { return };
    sandbox.provisioned(&server, "sensor");
    has_image(&sandbox, ESP32C3, 20_000);
    let arguments = ["--image", "image.bin", "--device", "sensor"];
    let error = flash(&sandbox, &arguments).failed(7, "firmware/read-back");
    assert_says(&error, "message", "the application at 0x10000");
    assert_eq!(flashed(&sandbox, "sensor"), Value::Null);
}

#[test]
fn the_log_follows_where_it_is_asked_for() {
    let sandbox = Sandbox::new();
    let Some(_board) = Board::start(&sandbox, &[]) else { return };
    has_image(&sandbox, ESP32C3, 20_000);
    let arguments = ["firmware", "flash", "--port", "port", "--image", "image.bin", "--monitor"];
    let mut running = Running::start(&mut sandbox.tbprov(&arguments));
    running.until("written and read back");
    running.until("tbprov firmware on a board");
    running.signal("INT");
    assert_eq!(running.end().code, Some(0));
}

/// A byte that is lost on the line, in the answers to FLASH_DEFL_DATA, FLASH_MD5 and READ_FLASH.
#[test]
fn an_answer_that_lacks_a_byte_is_an_error_and_no_panic() {
    for (command, arguments) in [
        ("17", &["--image", "image.bin"][..]),
        ("19", &["--image", "image.bin"]),
        ("210", &["--erase-identity"]),
    ] {
        let sandbox = Sandbox::new();
        let Some(_board) = Board::start(&sandbox, &["--lose", command]) else { return };
        has_image(&sandbox, ESP32C3, 20_000);
        flash(&sandbox, arguments).failed(7, "firmware/flash");
        flash(&sandbox, &["--image", "image.bin"]).done();
    }
}

#[test]
fn another_chip_is_refused_before_anything_is_written() {
    let sandbox = Sandbox::new();
    let Some(_board) = Board::start(&sandbox, &["--chip", "esp32c6"]) else { return };
    has_image(&sandbox, ESP32C3, 20_000);
    for arguments in [&["--image", "image.bin"][..], &["--erase-identity", "--chip", "esp32c3"]] {
        let error = flash(&sandbox, arguments).failed(7, "firmware/chip");
        assert_says(&error, "message", "is an esp32c6");
        // It was stopped to be asked what it is, and goes on.
        let says = "tbprov firmware on a board";
        let watch = ["firmware", "monitor", "--json", "--port", "port", "--until", says, "--timeout", "10s"];
        run(&mut sandbox.tbprov(&watch)).done();
    }
    assert!(flash_of(&sandbox).iter().all(|byte| *byte == 0xff));
    let wrong = ["--image", "image.bin", "--chip", "esp32c6"];
    assert_says(&flash(&sandbox, &wrong).failed(7, "firmware/image"), "message", "is for esp32c3");
}

#[test]
fn every_chip_with_a_firmware_is_known() {
    for (chip, number) in [("esp32c2", 12), ("esp32c6", ESP32C6), ("esp32h2", 16), ("esp32s3", 9)] {
        let sandbox = Sandbox::new();
        let Some(_board) = Board::start(&sandbox, &["--chip", chip]) else { return };
        let image = has_image(&sandbox, number, 20_000);
        let result = flash(&sandbox, &["--image", "image.bin"]).done();
        assert_eq!(result["chip"], chip);
        assert!(flash_of(&sandbox)[..image.len()] == image, "{chip}");
    }
    let sandbox = Sandbox::new();
    let Some(_board) = Board::start(&sandbox, &["--chip", "esp32s2"]) else { return };
    let error = flash(&sandbox, &["--erase-identity"]).failed(7, "firmware/chip");
    assert_says(&error, "message", "esp32s2, for which there is no firmware");
}

#[test]
fn what_is_no_bootloader_is_said_so_in_time() {
    for fault in ["--silent", "--noise"] {
        let sandbox = Sandbox::new();
        let Some(_board) = Board::start(&sandbox, &[fault]) else { return };
        let begin = Instant::now();
        let error = flash(&sandbox, &["--erase-identity"]).failed(7, "firmware/chip");
        assert_says(&error, "message", "at port");
        assert_says(&error, "help", "hold BOOT");
        assert!(begin.elapsed().as_secs() < 30, "{fault}: {:?}", begin.elapsed());
    }
}

#[test]
fn a_port_that_is_not_there_is_said_so() {
    let sandbox = Sandbox::new();
    let error = flash(&sandbox, &["--erase-identity"]).failed(7, "firmware/port");
    assert_says(&error, "message", "no port port");
}

#[test]
fn a_device_that_was_never_proved_needs_force() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    let Some(_board) = Board::start(&sandbox, &[]) else { return };
    sandbox.provisioned(&server, "sensor");
    let record = sandbox.path("devices/sensor/device.json");
    let unproved =
        std::fs::read_to_string(&record).unwrap().replace(r#""state": "proved""#, r#""state": "accepted""#);
    std::fs::remove_file(&record).unwrap();
    sandbox.write("devices/sensor/device.json", &unproved);
    has_image(&sandbox, ESP32C3, 20_000);
    let arguments = ["--image", "image.bin", "--device", "sensor"];
    flash(&sandbox, &arguments).failed(5, "store/not-proved");
    assert!(flash_of(&sandbox).iter().all(|byte| *byte == 0xff));
    flash(&sandbox, &[&arguments[..], &["--force"]].concat()).done();
}

/// What a run that waits for the password of the wireless network is given.
fn flash_that_asks(sandbox: &Sandbox, arguments: &[&str]) -> (Running, ChildStdin) {
    let asks = ["--wifi-ssid", "workshop", "--wifi-password-file", "-"];
    let mut command = sandbox.tbprov(&["firmware", "flash", "--events", "--port", "port", "--identity-only"]);
    let mut running = Running::start(command.args(arguments).args(asks).stdin(Stdio::piped()));
    let answer = running.child.stdin.take().unwrap();
    (running, answer)
}

#[test]
fn a_device_that_is_being_flashed_is_nobody_elses_and_the_next_one_waits() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    sandbox.provisioned(&server, "sensor");
    // The identity is not read yet, as far as anybody knows, and the device is locked already.
    let (first, mut answer) = flash_that_asks(&sandbox, &["--device", "sensor"]);
    until("the device is locked", || {
        let ended = run(sandbox.tbprov_for(&server, &["devices", "add", "--json", "sensor"]).args([
            "--cert",
            "devices/sensor/cert.pem",
            "--key",
            "devices/sensor/key.pem",
        ]));
        ended.stdout.contains("store/locked")
    });
    let (mut second, mut other_answer) = flash_that_asks(&sandbox, &["--device", "sensor"]);
    assert!(second.until("waiting").contains("is working on the device"));
    writeln!(answer, "correct horse").unwrap();
    first.end().failed(7, "firmware/port");
    writeln!(other_answer, "correct horse").unwrap();
    second.end().failed(7, "firmware/port");
}

#[test]
fn the_record_of_another_identity_than_the_boards_is_left_alone() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    let Some(_board) = Board::start(&sandbox, &["--slow", "0.1"]) else { return };
    sandbox.provisioned(&server, "sensor");
    sandbox.provisioned(&server, "other");
    has_image(&sandbox, ESP32C3, 100_000);
    let begin =
        ["firmware", "flash", "--events", "--port", "port", "--image", "image.bin", "--device", "sensor"];
    let mut running = Running::start(&mut sandbox.tbprov(&begin));
    running.until(r#""part":"application","written":1"#);
    // By hand: no tbprov would, while another one works on it.
    let device = sandbox.path("devices/sensor");
    std::fs::rename(&device, sandbox.path("put-away")).unwrap();
    std::fs::rename(sandbox.path("devices/other"), &device).unwrap();
    let error = running.end().failed(5, "store/changed");
    assert_says(&error, "message", "was changed by another program meanwhile");
    assert_says(&error, "help", "run the same command again");
    let record: Value = serde_json::from_str(&sandbox.read("devices/sensor/device.json")).unwrap();
    assert_eq!(record["flashed"], Value::Null);
    // The board runs all the same: what was written to it is whole.
    let says = "tbprov firmware on a board";
    let watch = ["firmware", "monitor", "--json", "--port", "port", "--until", says, "--timeout", "10s"];
    run(&mut sandbox.tbprov(&watch)).done();
}

/// The bootloader waits while the firmware is built; what interrupts that leaves no board in it.
#[test]
fn a_board_whose_firmware_is_not_built_runs_what_it_had() {
    let sandbox = Sandbox::new();
    let Some(_board) = Board::start(&sandbox, &[]) else { return };
    run(&mut sandbox.tbprov(&["firmware", "init", "--json", "firmware"])).done();
    let root = sandbox.path(".").display().to_string();
    let rustc =
        format!("case \"$1\" in -vV) echo 'release: 1.96.0'; echo 'host: h';; *) echo {root}/sysroot;; esac");
    let cargo = "test \"$1\" = --version && { echo cargo 1.96.0; exit; }\necho building >&2; exec sleep 60";
    for (name, script) in [("rustc", rustc.as_str()), ("cargo", cargo)] {
        // Put in place by another process: a file that this one has open for writing cannot be run.
        let text = sandbox.write(&format!("{name}.sh"), format!("#!/bin/sh\n{script}\n"));
        let to = sandbox.path(&format!("bin/{name}"));
        let installed = Command::new("install").args(["-D", "-m", "755"]).args([&text, &to]).status();
        assert!(installed.unwrap().success());
    }
    for folder in ["riscv32imc-unknown-none-elf/lib", "h/bin"] {
        std::fs::create_dir_all(sandbox.path(&format!("sysroot/lib/rustlib/{folder}"))).unwrap();
    }
    sandbox.write("sysroot/lib/rustlib/h/bin/rust-lld", "");
    let mut command = sandbox.tbprov(&["firmware", "flash", "--events", "--port", "port"]);
    command.env("PATH", format!("{root}/bin:/usr/bin:/bin"));
    let mut running = Running::start(&mut command);
    running.until(r#""step":"build""#);
    running.signal("INT");
    let error = running.end().failed(130, "interrupted");
    assert_eq!(error["step"], "build");
    let says = "tbprov firmware on a board";
    let watch = ["firmware", "monitor", "--json", "--port", "port", "--until", says, "--timeout", "10s"];
    run(&mut sandbox.tbprov(&watch)).done();
    assert!(flash_of(&sandbox).iter().all(|byte| *byte == 0xff));
}

#[test]
fn files_that_are_no_images_are_refused_before_the_board_is_touched() {
    let sandbox = Sandbox::new();
    let whole = has_image(&sandbox, ESP32C3, 20_000);
    let mut cases =
        vec![(Vec::new(), "bootloader"), (whole[..0x8010].to_vec(), "ends before its partition table")];
    cases.push((whole[..APPLICATION - 1].to_vec(), "ends before its application"));
    for (place, why) in [
        (0, "bootloader"),
        (12, "no firmware for"),
        (TABLE.start + 4, "damaged"),
        (APPLICATION, "no application"),
    ] {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x77;
        cases.push((damaged, why));
    }
    for (bytes, why) in cases {
        let path = sandbox.path("image.bin");
        std::fs::remove_file(&path).unwrap();
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap()
            .write_all(&bytes)
            .unwrap();
        let error = flash(&sandbox, &["--image", "image.bin"]).failed(7, "firmware/image");
        assert_says(&error, "message", why);
    }
    flash(&sandbox, &["--image", "nowhere.bin"]).failed(5, "file/not-found");
    flash(&sandbox, &["--image", "image.bin", "--identity-only"]).failed(2, "usage/conflict");
    flash(&sandbox, &["--identity-only", "--erase-identity"]).failed(2, "usage/conflict");
}
