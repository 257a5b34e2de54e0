//! Commands that are shown are pasted into a shell.

#![cfg(unix)]

use crate::support::{Ran, Sandbox, fixture, fixture_text};

/// What does harm, or gets lost, between a printed command and a shell.
const NAMES: &[&str] = &[
    "x'; echo INJECTED; echo '",
    "$(touch INJECTED)",
    "a `touch INJECTED` \"b\"",
    "Küche 传感器 *?[a]",
    "-x",
    "~root#1&2|3>4",
    "a\\b\\",
];

/// The last line of `said` that holds `beginning`, from there on.
fn command(said: &str, beginning: &str) -> String {
    let line = said.lines().rev().find(|line| line.contains(beginning)).unwrap_or_else(|| panic!("{said}"));
    line[line.find(beginning).unwrap()..].to_owned()
}

/// Runs the text as a person would, with `tbprov` in the path.
fn paste(sandbox: &Sandbox, text: &str) -> Ran {
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_tbprov")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let output = sandbox.command("sh").env("PATH", path).args(["-c", text]).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn a_device_is_taken_in_by_the_command_that_certs_gen_prints() {
    for name in NAMES {
        let sandbox = Sandbox::new();
        let out = format!("-dir {name}").replace('/', "");
        let ran = sandbox.run_all(["certs", "gen", &format!("--name={name}"), &format!("--out={out}")]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let command = command(&ran.stderr, "tbprov devices add");
        let command = command.replace("--host HOST", "--host h --no-verify-connect --json");
        let pasted = paste(&sandbox, &command);
        assert_eq!(pasted.done()["device"], *name, "{command}");
        assert!(!pasted.stdout.contains("\nINJECTED") && !sandbox.path("INJECTED").exists(), "{command}");
    }
}

#[test]
fn the_other_printed_commands_keep_their_paths() {
    for name in ["my dir", "it's", "$(touch INJECTED)", "-x"] {
        let sandbox = Sandbox::new();
        let out = format!("--out={name}");
        let made = sandbox.run_all(["certs", "ca", "--name", "CA", &out]);
        let signing = command(&made.stdout, "tbprov certs gen").replace("NAME", "d") + " --out device";
        assert_eq!(paste(&sandbox, &signing).code, Some(0), "{signing}");
        assert!(sandbox.path("device/cert.pem").exists());
        let made = sandbox.run_all(["certs", "server", "--host", "h", &out]);
        let trusting = command(&made.stdout, "tbprov provision")
            + " --dry-run --json --host h --provision-key k --provision-secret s --device-name d";
        let plan = paste(&sandbox, &trusting).done();
        assert!(plan["dry_run"]["trust"]["file"].as_str().unwrap().contains(name), "{plan}");
        assert!(!sandbox.path("INJECTED").exists());
    }
}

#[test]
fn a_readable_key_is_made_private_by_the_command_of_its_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let sandbox = Sandbox::new();
    let folder = "it's $(touch INJECTED)";
    assert_eq!(sandbox.run_all(["certs", "gen", "--name", "d", "--out", folder]).code, Some(0));
    let key = sandbox.path(folder).join("key.pem");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (cert, path) = (format!("{folder}/cert.pem"), format!("{folder}/key.pem"));
    let line = ["devices", "add", "d", "--cert", &cert, "--key", &path, "--host", "h", "--no-verify-connect"];
    let ran = sandbox.run_all(line);
    let chmod = command(&ran.stderr, "chmod 600");
    assert_eq!(paste(&sandbox, chmod.split(" (--").next().unwrap()).code, Some(0), "{chmod}");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!sandbox.path("INJECTED").exists());
}

/// What a file is called that is not the PEM that was needed: the last is longer than what is shown in a message.
fn names_of_files() -> [String; 3] {
    [
        "-x.pem".to_owned(),
        "it's my $(touch INJECTED).pem".to_owned(),
        format!("{0}/{0}.pem", "it's long ".repeat(20)),
    ]
}

/// The files that a plan is given, as they should be.
const GIVEN: [(&str, &str); 3] =
    [("--cert", "files/device.pem"), ("--key", "files/device_key.pem"), ("--server-cert", "server/ca.pem")];

/// A dry run, with `file` given by `flag` and everything else as it should be.
fn plan(sandbox: &Sandbox, flag: &str, file: &str) -> Ran {
    let line = "provision --json --dry-run --host h --provision-key k --provision-secret s --device-name d";
    let files = GIVEN.map(|(other, as_it_should_be)| match other == flag {
        true => format!("{flag}={file}"),
        false => format!("{other}={}", fixture(as_it_should_be).display()),
    });
    sandbox.run_all(line.split(' ').chain(files.iter().map(String::as_str)))
}

#[test]
fn broken_pem_is_mended_by_the_command_of_the_error() {
    let sandbox = Sandbox::new();
    for name in names_of_files() {
        for (flag, file) in GIVEN {
            std::fs::create_dir_all(sandbox.path(&name).parent().unwrap()).unwrap();
            sandbox.write(&name, fixture_text(file).replace('\n', ""));
            let ran = plan(&sandbox, flag, &name);
            ran.failed(5, "file/not-pem");
            let help = ran.help();
            let (command, _) = help.split_once(" writes it").unwrap();
            assert_eq!(paste(&sandbox, command).code, Some(0), "{command}");
            plan(&sandbox, flag, "fixed.pem").done();
            if flag != "--key" {
                assert_eq!(sandbox.run_all(["certs", "inspect", "--json", "--", &name]).help(), help);
            }
            assert!(!sandbox.path("INJECTED").exists(), "{command}");
        }
    }
}

#[test]
fn a_file_that_is_not_pem_is_named_to_the_program_that_converts_it() {
    let sandbox = Sandbox::new();
    for name in names_of_files() {
        for content in
            [&b"\x30\x80\x02\x01\x03\x30\x80"[..], b"-----BEGIN PKCS7-----\nMAYC\n-----END PKCS7-----\n"]
        {
            std::fs::create_dir_all(sandbox.path(&name).parent().unwrap()).unwrap();
            sandbox.write(&name, content);
            let ran = plan(&sandbox, "--cert", &name);
            let help = ran.help();
            // What openssl would be given, one word a line.
            let words = command(&help, "openssl pkcs").replacen("openssl", "printf '%s\\n'", 1);
            let words = words.split(" -nokeys").next().unwrap().split(" -print_certs").next().unwrap();
            let said = paste(&sandbox, words).stdout;
            let path = said.split_once("-in\n").unwrap().1.split_once('\n').unwrap().0;
            assert!(!path.starts_with('-') && sandbox.path(path).exists(), "{help}");
        }
    }
}
