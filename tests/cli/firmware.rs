//! `tbprov firmware` without a board: sources, compilers that are scripts, images of what is no application.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{NAME, Sandbox, Server, for_each_row, same};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware")
}

/// Every file below `folder` but what builds leave, with its path in it. A new kind of source needs to be known to
/// `build.rs` too.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    let mut files = Vec::new();
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true if path.ends_with("target") => {}
                true => folders.push(path),
                false => files.push(path.strip_prefix(folder).unwrap().to_owned()),
            }
        }
    }
    files.sort();
    files
}

#[test]
fn init_writes_the_repositorys_own_sources() {
    let sandbox = Sandbox::new();
    let result = sandbox.run("firmware init fw --json").done();
    let mut expected = files(&repository());
    expected.push("Cargo.lock".into());
    expected.sort();
    assert_eq!(files(&sandbox.path("fw")), expected);
    assert_eq!(result["files"], expected.len());
    for file in &expected {
        let written = std::fs::read(sandbox.path("fw").join(file)).unwrap();
        let ours = match file.to_str().unwrap() {
            "Cargo.lock" => repository().join("../Cargo.lock"),
            _ => repository().join(file),
        };
        let ours = std::fs::read(ours).unwrap();
        if file == Path::new("Cargo.toml") {
            assert!(written.starts_with(&ours), "the manifest is only added to");
        } else {
            assert_eq!(written, ours, "{}", file.display());
        }
    }
    assert_eq!(sandbox.run("firmware init fw --json").brief(), "5 file/exists plan");
}

#[test]
fn what_init_writes_is_a_workspace_with_the_same_profiles() {
    let sandbox = Sandbox::new();
    sandbox.run("firmware init fw --json").done();
    let manifest = |path: &Path| -> toml::Table { std::fs::read_to_string(path).unwrap().parse().unwrap() };
    let alone = manifest(&sandbox.path("fw/Cargo.toml"));
    let mut root = manifest(&repository().join("../Cargo.toml"));
    // What it says of single packages is about the command's own.
    root["profile"]["release"].as_table_mut().unwrap().remove("package");
    root["profile"]["firmware"].as_table_mut().unwrap().remove("package");
    assert_eq!(alone["profile"], root["profile"]);
    let arguments = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
    let cargo = std::process::Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(sandbox.path("fw"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&cargo.stdout).unwrap();
    let mut names: Vec<_> =
        metadata["packages"].as_array().unwrap().iter().map(|package| package["name"].clone()).collect();
    names.sort_by_key(Value::to_string);
    assert_eq!(names, ["tbprov-contract", "tbprov-firmware", "tbprov-firmware-app"]);
}

/// `(the arguments, how it ends)`, in a folder that holds `fw`, with nothing in the PATH.
const REFUSED: &[(&str, &str)] = &[
    ("build --chip esp32c3", "7 firmware/sources plan"),
    ("build --chip esp32c3 --firmware-dir nowhere", "7 firmware/sources plan"),
    ("build --chip esp32c3 --firmware-dir fw", "7 firmware/toolchain build"),
    ("build --board virt --firmware-dir fw", "7 firmware/toolchain build"),
    ("build --chip esp32 --firmware-dir fw", "7 firmware/toolchain build"),
    ("build --firmware-dir fw", "2 usage/missing-value plan"),
    ("build --chip esp8266", "2 usage/invalid-value plan"),
    ("build --chip virt", "2 usage/invalid-value plan"),
    ("build --chip esp32c3 --board virt", "2 usage/conflict plan"),
    ("image --chip esp32c3 --out x.bin", "7 firmware/sources plan"),
    ("image --chip esp32c3 --out tbprov.txt", "5 file/exists plan"),
    ("image --chip esp32c3 --out x.bin --elf nowhere", "5 file/not-found image"),
    ("image --chip esp32c3 --out x.bin --elf tbprov.txt", "7 firmware/image image"),
    ("image --chip esp32c3 --out x.bin --elf empty.elf", "7 firmware/image image"),
    ("image --chip esp32c3 --out x.bin --elf empty.elf --firmware-dir nowhere", "7 firmware/sources plan"),
    ("image --chip esp32s3 --out x.bin --elf empty.elf", "7 firmware/image image"),
    ("image --chip esp32c3 --out x.bin --device nobody", "5 store/not-found plan"),
    ("image --chip esp32c3", "2 usage/missing-value plan"),
    ("emulate --elf nowhere", "5 file/not-found image"),
    ("init tbprov.txt", "5 file/exists plan"),
    ("init fw/src", "5 file/exists plan"),
    ("init ..", "5 file/exists plan"),
];

#[test]
fn what_cannot_be_built_says_why() {
    let sandbox = Sandbox::new();
    sandbox.run("firmware init fw --json").done();
    sandbox.write("tbprov.txt", "no application");
    sandbox.write("empty.elf", EMPTY_ELF);
    for_each_row(REFUSED, |(line, promised)| {
        same(line, &sandbox.run(&format!("firmware {line} --json")).brief(), promised)
    });
    assert!(!sandbox.path("x.bin").exists());
}

#[test]
fn a_missing_compiler_is_named_with_the_command_that_installs_it() {
    let sandbox = Sandbox::new();
    sandbox.run("firmware init fw --json").done();
    let ran = sandbox.run("firmware build --chip esp32c6 --firmware-dir fw --json");
    assert!(ran.message().contains("riscv32imac-unknown-none-elf"), "{ran:?}");
    let ran = sandbox.run("firmware build --chip esp32s3 --firmware-dir fw --json");
    assert!(ran.help().contains("espup install"), "{ran:?}");
}

#[test]
fn chip_and_sources_come_from_the_configuration_too() {
    let mut sandbox = Sandbox::new();
    sandbox.run("firmware init fw --json").done();
    sandbox.write("tbprov.toml", "chip = \"esp32c6\"\nfirmware-dir = \"fw\"\n");
    let message = |sandbox: &Sandbox| sandbox.run("firmware build --json").message();
    assert!(message(&sandbox).contains("esp32c6"));
    sandbox.set("TBPROV_CHIP", "esp32c3").set("TBPROV_FIRMWARE_DIR", "elsewhere");
    assert!(message(&sandbox).contains("elsewhere"));
    sandbox.set("TBPROV_FIRMWARE_DIR", "fw");
    assert!(message(&sandbox).contains("esp32c3"));
}

#[test]
fn an_identity_that_was_never_proved_goes_into_no_image() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    server.provision(&sandbox, "--no-verify-connect").done();
    sandbox.write("empty.elf", EMPTY_ELF);
    let line = format!("firmware image --json --chip esp32c3 --out x.bin --elf empty.elf --device {NAME}");
    assert_eq!(sandbox.run(&line).brief(), "5 store/not-proved plan");
    let forced = sandbox.run(&format!("{line} --force"));
    assert_eq!(forced.brief(), "7 firmware/image image");
    assert!(forced.stderr.contains("names no wireless network"), "{forced:?}");
}

/// As Java counts, which ThingsBoard does: 255 characters of three bytes, and of two units each.
#[test]
fn every_name_that_the_server_takes_fits_a_board() {
    let sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    for name in ["温度传感器九十个".repeat(11), "温".repeat(255), "🌡".repeat(127)] {
        server.provision_as(&sandbox, &name, "").done();
        sandbox.run(&format!("firmware identity --json --device {name} --out {}.bin", name.len())).done();
        let partition = std::fs::read(sandbox.path(&format!("{}.bin", name.len()))).unwrap();
        assert_eq!(tbprov_contract::partition::decode(&partition).unwrap().name, name);
    }
}

/// A 32-bit program for RISC-V that has no section, and begins in the memory of QEMU's board.
const EMPTY_ELF: [u8; 52] = {
    let mut elf = [0; 52];
    let header = [0x7f, b'E', b'L', b'F', 1, 1, 1];
    let mut index = 0;
    while index < header.len() {
        elf[index] = header[index];
        index += 1;
    }
    // An executable, RISC-V, version 1, and the sizes of the headers.
    elf[16] = 2;
    elf[18] = 243;
    elf[20] = 1;
    elf[27] = 0x80;
    elf[40] = 52;
    elf[42] = 32;
    elf[46] = 40;
    elf
};

#[cfg(unix)]
mod with_a_compiler {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::support::Ran;

    const RUSTC: &str =
        "case \"$1\" in -vV) echo 'release: 1.96.0'; echo 'host: h';; *) echo ROOT/sysroot;; esac";

    /// A folder with sources, and a `cargo` that is this script; in it `$WORLD` is the folder.
    fn sandbox(cargo: &str) -> Sandbox {
        let mut sandbox = Sandbox::new();
        sandbox.run("firmware init fw --json").done();
        let root = sandbox.path("").display().to_string();
        let root = root.trim_end_matches('/').to_owned();
        for (name, script) in [("rustc", RUSTC.replace("ROOT", &root)), ("cargo", cargo.to_owned())] {
            // Put in place by another process: see the tests of the toolchain.
            sandbox.write("script", format!("#!/bin/sh\nWORLD={root}\n{script}\n"));
            let to = sandbox.path(&format!("bin/{name}"));
            let installed = Command::new("install")
                .args(["-D", "-m", "755"])
                .args([&sandbox.path("script"), &to])
                .status();
            assert!(installed.unwrap().success());
        }
        sandbox.write("sysroot/lib/rustlib/riscv32imac-unknown-none-elf/lib/libcore.rlib", "");
        sandbox.write("sysroot/lib/rustlib/h/bin/rust-lld", "");
        sandbox.write("app.elf", EMPTY_ELF);
        sandbox.set("PATH", &format!("{root}/bin:/usr/bin:/bin"));
        sandbox
    }

    const VERSION: &str = "test \"$1\" = --version && { echo cargo 1.96.0; exit; }";

    #[test]
    fn cargo_is_told_what_to_build_and_no_secret() {
        let cargo = format!(
            "{VERSION}\nenv > $WORLD/env.txt; echo \"$@\" > $WORLD/arguments.txt; pwd > $WORLD/folder.txt\n\
             echo 'Compiling things' >&2\n\
             echo '{{\"reason\":\"compiler-artifact\",\"target\":{{\"name\":\"tbprov-firmware\"}},\"executable\":\"'$WORLD/app.elf'\"}}'"
        );
        let mut sandbox = sandbox(&cargo);
        sandbox.set("TBPROV_WIFI_PASSWORD", "SECRET-1").set("TBPROV_PROVISION_SECRET", "SECRET-2");
        let ran =
            sandbox.run("firmware build --json --board virt --firmware-dir fw --features chip-temperature");
        let result = ran.done();
        assert_eq!(result["board"], "virt");
        assert_eq!(result["features"][0], "chip-temperature");
        assert_eq!(result["image"], Value::Null);
        assert_eq!(result["compiler"]["library"], "installed");
        assert_eq!(ran.stderr, "");
        let arguments = sandbox.read("arguments.txt");
        let (arguments, setting) = arguments.split_once(" --config ").unwrap();
        assert_eq!(
            arguments,
            "build --package tbprov-firmware --profile firmware --features virt,chip-temperature \
             --target riscv32imac-unknown-none-elf --message-format json-render-diagnostics"
        );
        let begin = "target.riscv32imac-unknown-none-elf.rustflags=[\"--remap-path-prefix=";
        assert!(setting.starts_with(begin) && setting.trim().ends_with("=/firmware\"]"), "{setting}");
        assert!(sandbox.read("folder.txt").trim().ends_with("/fw"));
        let environment = sandbox.read("env.txt");
        assert!(!environment.contains("SECRET") && !environment.contains("TBPROV_"), "{environment}");

        let ran = sandbox.run("firmware build --board virt --firmware-dir fw");
        assert!(ran.stderr.contains("Compiling things"), "people see cargo's own words: {ran:?}");
        assert!(ran.stdout.contains("static RAM"), "{ran:?}");
        assert!(
            !sandbox.run("-q firmware build --board virt --firmware-dir fw").stderr.contains("Compiling")
        );
    }

    /// rustup's `rustc` and `cargo` run whatever `rust-toolchain.toml` in the current folder, or above it, names.
    #[test]
    fn doctor_runs_nothing_that_the_current_folder_names() {
        let mut sandbox = sandbox("");
        let root = sandbox.path("").display().to_string();
        let root = root.trim_end_matches('/').to_owned();
        let proxy = format!(
            "#!/bin/sh\npwd >> {root}/ran-in.txt\nfolder=$PWD\n\
             while [ \"$folder\" ]; do\n\
             test -e \"$folder/rust-toolchain.toml\" && touch {root}/obeyed\n\
             folder=${{folder%/*}}\ndone\n{}",
            RUSTC.replace("ROOT", &root)
        );
        sandbox.write("script", proxy);
        for name in ["rustc", "cargo"] {
            let to = sandbox.path(&format!("bin/{name}"));
            let installed = Command::new("install")
                .args(["-D", "-m", "755"])
                .args([&sandbox.path("script"), &to])
                .status();
            assert!(installed.unwrap().success());
        }
        let toolchain = "[toolchain]\npath = \"/somewhere/else\"\n";
        sandbox.write("rust-toolchain.toml", toolchain);
        sandbox.write("fw/rust-toolchain.toml", toolchain);
        sandbox.write("tbprov.toml", "firmware-dir = \"fw\"\n");
        sandbox.run("doctor --json").done();
        assert_ne!(sandbox.read("ran-in.txt"), "");
        assert!(!sandbox.path("obeyed").exists(), "{}", sandbox.read("ran-in.txt"));
        // Sources that the user names are what would be built: there their toolchain counts.
        sandbox.set("TBPROV_FIRMWARE_DIR", "fw");
        sandbox.run("doctor --json").done();
        assert!(sandbox.path("obeyed").exists());
    }

    #[test]
    fn what_the_compiler_says_before_it_fails_is_kept() {
        let sandbox = sandbox(&format!("{VERSION}\necho 'error: no such thing' >&2; exit 101"));
        for mode in ["--json", "-q --json", "--events"] {
            let ran = sandbox.run(&format!("firmware build {mode} --board virt --firmware-dir fw"));
            assert_eq!(ran.brief(), "7 firmware/build build");
            assert!(format!("{ran:?}").contains("error: no such thing"), "{mode}: {ran:?}");
        }
    }

    #[test]
    fn a_cargo_that_names_no_program_is_a_failure() {
        let sandbox = sandbox(&format!("{VERSION}\nexit 0"));
        let ran: Ran = sandbox.run("firmware build --json --board virt --firmware-dir fw");
        assert_eq!(ran.brief(), "7 firmware/build build");
    }

    #[test]
    fn an_interrupted_build_leaves_no_compiler_behind() {
        let sandbox = sandbox(&format!(
            "{VERSION}\nsleep 60 & echo $! > $WORLD/child.tmp; mv $WORLD/child.tmp $WORLD/child; wait"
        ));
        let tbprov = Command::new(env!("CARGO_BIN_EXE_tbprov"))
            .args(["firmware", "build", "--json", "--board", "virt", "--firmware-dir", "fw"])
            .current_dir(sandbox.path(""))
            .env("PATH", format!("{}:/usr/bin:/bin", sandbox.path("bin").display()))
            .env("HOME", sandbox.path(""))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        until(|| sandbox.path("child").exists());
        let alive = |id: &str| {
            Command::new("kill").args(["-0", id]).stderr(Stdio::null()).status().unwrap().success()
        };
        let child = sandbox.read("child").trim().to_owned();
        assert!(alive(&child));
        let sent = Command::new("kill").args(["-s", "INT", &tbprov.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let ended = tbprov.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(130));
        let said: Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!(
            (&said["error"]["code"], &said["error"]["step"]),
            (&"interrupted".into(), &"build".into())
        );
        until(|| !alive(&child));
    }

    fn until(done: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !done() {
            assert!(Instant::now() < deadline, "waited in vain");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A device that the emulated board could have, in a folder where `qemu` is this script.
#[cfg(unix)]
fn emulated_by(script: &str) -> Sandbox {
    let mut sandbox = Sandbox::trusting("san");
    let server = Server::presenting("san", |_| {});
    server.provision(&sandbox, "--no-verify-connect").done();
    // Written by another program: a file that this one has open for writing cannot be run.
    sandbox.write("script", format!("#!/bin/sh\n{script}\n"));
    let install = std::process::Command::new("install")
        .args(["-m", "755"])
        .args([sandbox.path("script"), sandbox.path("qemu")])
        .status();
    assert!(install.unwrap().success());
    sandbox.write("app.elf", EMPTY_ELF);
    sandbox.set("TBPROV_WIFI_PASSWORD", "a-password-nobody-sees");
    sandbox
}

#[cfg(unix)]
fn emulate(sandbox: &Sandbox) -> crate::support::Ran {
    sandbox.run(&format!(
        "firmware emulate --json --device {NAME} --force --elf app.elf --qemu ./qemu -n 1 --give-up-after 20s"
    ))
}

#[cfg(unix)]
const ACKNOWLEDGED: &str = "echo 'I (1) tbprov: [Telemetry][Ack] packet 1 in 1 ms'";

#[cfg(unix)]
#[test]
fn the_emulator_gets_no_variable_of_ours() {
    let sandbox = emulated_by(&format!("while read -r x; do :; done; export -p > variables; {ACKNOWLEDGED}"));
    emulate(&sandbox).done();
    let variables = sandbox.read("variables");
    assert!(variables.contains("PWD") && !variables.contains("TBPROV_"), "{variables}");
}

#[cfg(unix)]
#[test]
fn an_emulator_that_complains_at_length_is_not_held_up() {
    let complaint = "i=0; while [ $i -lt 4000 ]; do echo 'a complaint of about sixty bytes, many times over' >&2; i=$((i+1)); done";
    let sandbox = emulated_by(&format!("{complaint}; {ACKNOWLEDGED}"));
    emulate(&sandbox).done();
    let sandbox = emulated_by(&format!("echo the reason >&2; {complaint}; exit 3"));
    let ran = emulate(&sandbox);
    assert_eq!(ran.brief(), "7 firmware/emulator emulate");
    let message = ran.message();
    assert!(message.contains("(exit code 3) the reason") && message.len() < 5000, "{message}");
}
