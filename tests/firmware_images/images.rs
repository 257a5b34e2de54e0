//! One image for each chip that a compiler of the chips' own is not needed for.

use std::path::Path;

use serde_json::Value;
use tbprov::sim::Release;
use tbprov_contract::partition::decode;

use super::*;

/// `(the chip, what esptool calls it)`: one for each instruction set.
const CHIPS: [(&str, &str); 2] = [("esp32c3", "ESP32-C3"), ("esp32c6", "ESP32-C6")];

/// The others, which differ in constants and in the bootloader: built with `TBPROV_REQUIRE_FIRMWARE=all`.
const OTHER_CHIPS: [(&str, &str); 2] = [("esp32c2", "ESP32-C2"), ("esp32h2", "ESP32-H2")];

/// `tbprov firmware` in the repository's sources, with the caller's own home, where the compilers are.
fn firmware(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    let mut command = sandbox.tbprov(&["--json", "firmware"]);
    command.args(arguments);
    command.env("HOME", std::env::home_dir().unwrap());
    command.env("TBPROV_FIRMWARE_DIR", Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware"));
    run(&mut command).done()
}

/// What esptool says of a part of an image.
fn image_info(sandbox: &Sandbox, python: &str, image: &[u8], part: &Value) -> String {
    let number = |member: &str| usize::try_from(part[member].as_u64().unwrap()).unwrap();
    let name = part["name"].as_str().unwrap();
    let path = sandbox.path(name);
    let _ = std::fs::remove_file(&path);
    let bytes = &image[number("offset")..number("offset") + number("bytes")];
    std::io::Write::write_all(
        &mut std::fs::OpenOptions::new().write(true).create_new(true).open(&path).unwrap(),
        bytes,
    )
    .unwrap();
    say(sandbox, python, &["-m", "esptool", "image-info", name])
}

#[test]
fn esptool_finds_every_image_whole_and_for_its_chip() {
    let Some(python) = python_with("esptool") else { return };
    if !is_required() {
        println!("skipped: the firmware is built only with TBPROV_REQUIRE_FIRMWARE=1");
        return;
    }
    let sandbox = Sandbox::new();
    let server = Server::of(Release::V4_3);
    sandbox.provisioned(&server, "sensor-01");
    let others = if is_all_required() { &OTHER_CHIPS[..] } else { &[] };
    for (chip, called) in CHIPS.iter().chain(others) {
        check(&sandbox, &python, chip, called);
    }
}

fn check(sandbox: &Sandbox, python: &str, chip: &str, called: &str) {
    let built = firmware(sandbox, &["build", "--chip", chip]);
    let size = &built["image"];
    assert!(size["bytes"].as_u64().unwrap() < size["partition"].as_u64().unwrap(), "{built}");
    assert!(built["static_ram"].as_u64().unwrap() > 0, "{built}");

    let elf = built["elf"].as_str().unwrap();
    let file = format!("{chip}.bin");
    let made = firmware(sandbox, &["image", "--chip", chip, "--elf", elf, "--out", &file]);
    let image = std::fs::read(sandbox.path(&file)).unwrap();
    assert_eq!(made["bytes"].as_u64().unwrap(), image.len() as u64);
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware");
    assert_eq!(builder::folders_named_in(&image, &sources), Vec::<String>::new(), "{chip}");
    let part = |made: &Value, name: &str| {
        made["parts"].as_array().unwrap().iter().find(|part| part["name"] == name).unwrap().clone()
    };
    for name in ["bootloader", "application"] {
        let says = image_info(sandbox, python, &image, &part(&made, name));
        assert!(says.contains(&format!("({called})")), "{chip} {name}: {says}");
        assert_eq!(says.matches("(valid)").count(), 2, "checksum and hash of {chip} {name}: {says}");
    }
    assert_eq!(part(&made, "application")["bytes"], size["bytes"]);

    if chip == "esp32c2" {
        let arguments = ["image", "--chip", chip, "--elf", elf, "--out", "26.bin", "--crystal", "26"];
        let other = firmware(sandbox, &arguments);
        let bootloader = |made: &Value| part(made, "bootloader")["bytes"].clone();
        assert_ne!((bootloader(&other), &other["sha256"]), (bootloader(&made), &made["sha256"]));
    }

    let file = format!("{chip}-sensor-01.bin");
    let arguments = [
        "image",
        "--chip",
        chip,
        "--elf",
        elf,
        "--device",
        "sensor-01",
        "--out",
        &file,
        "--wifi-ssid",
        "net",
    ];
    let open_network = ["--wifi-password", ""];
    let with = firmware(sandbox, &[&arguments[..], &open_network].concat());
    assert_eq!((&with["sha256"], &with["device"]), (&made["sha256"], &Value::from("sensor-01")));
    let with_identity = std::fs::read(sandbox.path(&file)).unwrap();
    let place = 0x9000..0xF000;
    assert_eq!(decode(&with_identity[place.clone()]).unwrap().name, "sensor-01");
    assert!(image[place.clone()].iter().all(|byte| *byte == 0xFF));
    assert_eq!(with_identity[..place.start], image[..place.start]);
    assert_eq!(with_identity[place.end..], image[place.end..]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |file: &str| std::fs::metadata(sandbox.path(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(&format!("{chip}.bin")) & 0o044, 0o044);
    }
}

/// What `image` writes to a file is what a board holds after `flash`.
#[cfg(unix)]
#[test]
fn a_board_holds_byte_for_byte_what_image_wrote() {
    use support::board::{Board, flash_of};

    if !is_required() {
        println!("skipped: the firmware is built only with TBPROV_REQUIRE_FIRMWARE=1");
        return;
    }
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    sandbox.provisioned(&server, "sensor-01");
    let Some(board) = Board::start(&sandbox, &[]) else { return };
    let identity = ["--device", "sensor-01", "--wifi-ssid", "net", "--wifi-password", ""];
    let image = ["image", "--chip", "esp32c3", "--out", "image.bin"];
    let made = firmware(&sandbox, &[&image[..], &identity].concat());
    let image = std::fs::read(sandbox.path("image.bin")).unwrap();

    // Built again, and from the file: both ways end in the same flash.
    let from_sources = [&["flash", "--chip", "esp32c3", "--port", "port"], &identity[..]].concat();
    let from_file = vec!["flash", "--port", "port", "--image", "image.bin"];
    for arguments in [from_sources, from_file] {
        let flashed = firmware(&sandbox, &arguments);
        assert_eq!(flashed["image_sha256"], made["sha256"]);
        let flash = flash_of(&sandbox);
        assert!(flash[..image.len()] == image, "{arguments:?}");
        assert!(flash[image.len()..].iter().all(|byte| *byte == 0xFF));
    }
    drop(board);
}
