//! Emulators that are scripts: what `emulate` makes of a log, whoever writes it. Needs neither compiler nor QEMU.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// The least that is a program for the board: the header of an ELF file for RISC-V with its entry in the memory.
fn program(sandbox: &Sandbox) -> PathBuf {
    let mut header = [0_u8; 52];
    header[..8].copy_from_slice(b"\x7fELF\x01\x01\x01\0");
    (header[16], header[18], header[20]) = (2, 243, 1);
    header[24..28].copy_from_slice(&0x8000_0000_u32.to_le_bytes());
    (header[40], header[42], header[46]) = (52, 32, 40);
    let path = sandbox.path("program.elf");
    std::io::Write::write_all(
        &mut std::fs::OpenOptions::new().write(true).create_new(true).open(&path).unwrap(),
        &header,
    )
    .unwrap();
    path
}

fn qemu(sandbox: &Sandbox, script: &str) -> PathBuf {
    let qemu = sandbox.write("qemu", format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(&qemu, std::fs::Permissions::from_mode(0o755)).unwrap();
    qemu
}

/// `emulate` with the device of a simulator, by an emulator that runs `script`.
fn emulated_by(script: &str, arguments: &[&str]) -> Ran {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    sandbox.provisioned(&server, "sensor");
    let qemu = qemu(&sandbox, script);
    run(emulate(&sandbox, &program(&sandbox), arguments).env("TBPROV_QEMU", qemu))
}

const ACKNOWLEDGED: &str = "echo 'I (9) tbprov: [Telemetry][Ack] packet 1 in 3 ms'";

#[test]
fn readings_are_counted_by_what_the_log_says() {
    let script = format!("{ACKNOWLEDGED}; echo talk; {ACKNOWLEDGED}; {ACKNOWLEDGED}; sleep 60");
    let ended = emulated_by(&script, &["--count", "2"]);
    assert_eq!(ended.done()["acknowledged"], 2);
    assert_eq!(log(&ended).len(), 3, "it ends at the second");
}

#[test]
fn a_panic_ends_it() {
    let ended = emulated_by("echo 'E (9) tbprov: [Panic] at x.rs:1'; sleep 60", &[]);
    let error = ended.failed(7, "firmware/panic");
    assert!(error["message"].as_str().unwrap().contains("x.rs:1"), "{error}");
}

#[test]
fn the_last_trouble_is_the_error() {
    let trouble = |code: &str| format!("echo 'W (9) tbprov: [{code}] in words; next attempt in 9 ms'");
    let script = format!("{}; {}; sleep 60", trouble("network/connect"), trouble("tls/untrusted"));
    let error =
        emulated_by(&script, &["--give-up-after", "1s", "--interval", "10ms"]).failed(3, "tls/untrusted");
    assert!(error["message"].as_str().unwrap().contains("in words"), "{error}");
    // What was mended meanwhile is no error any more.
    let script = format!("{}; {ACKNOWLEDGED}; sleep 60", trouble("tls/untrusted"));
    emulated_by(&script, &["--give-up-after", "1s", "--interval", "10ms"]).failed(3, "network/timeout");
}

#[test]
fn an_unusable_identity_is_final() {
    let script = "echo 'E (9) tbprov: [firmware/identity] the identity partition is empty'; sleep 60";
    emulated_by(script, &[]).failed(7, "firmware/identity");
}

#[test]
fn an_emulator_that_fails_is_quoted() {
    let error = emulated_by("echo 'no such machine' >&2; exit 1", &[]).failed(7, "firmware/emulator");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("no such machine") && message.contains("exit code 1"), "{message}");
}

#[test]
fn an_emulator_that_is_missing_is_named() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    sandbox.provisioned(&server, "sensor");
    let mut command = emulate(&sandbox, &program(&sandbox), &["--qemu", "nowhere/qemu"]);
    let error = run(&mut command).failed(7, "firmware/emulator");
    assert!(error["message"].as_str().unwrap().contains("nowhere/qemu"), "{error}");
    assert!(error["help"].as_str().unwrap().contains("qemu-system-misc"), "{error}");
}

/// More than a line has, without an end, and bytes that are no text.
#[test]
fn noise_is_no_harm() {
    let script = format!(
        "head -c 300000 /dev/zero | tr '\\0' 'x'; head -c 1000 /dev/urandom; echo; {ACKNOWLEDGED}; sleep 60"
    );
    assert_eq!(emulated_by(&script, &["--count", "1"]).done()["acknowledged"], 1);
}

#[test]
fn it_sees_the_identity_and_no_secret_of_the_environment() {
    let script = format!(
        r#"for argument; do case $argument in loader,file=*) file=${{argument#loader,file=}}; file=${{file%%,*}};; esac; done
           ls -l "$file" | cut -c1-10; wc -c <"$file"; env; {ACKNOWLEDGED}; sleep 60"#
    );
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    sandbox.provisioned(&server, "sensor");
    let qemu = qemu(&sandbox, &script);
    let mut command = emulate(&sandbox, &program(&sandbox), &["--count", "1"]);
    let ended = run(command.env("TBPROV_QEMU", qemu).env("TBPROV_WIFI_PASSWORD", "a-secret-of-ours"));
    ended.done();
    let log = log(&ended);
    assert!(log.contains(&"-rw-------".to_owned()), "{log:#?}");
    assert!(!ended.stdout.contains("a-secret-of-ours"), "{log:#?}");
}

#[test]
fn a_program_for_another_board_is_refused() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    sandbox.provisioned(&server, "sensor");
    let path = program(&sandbox);
    let mut elf = std::fs::read(&path).unwrap();
    elf[24..28].copy_from_slice(&0x4200_0020_u32.to_le_bytes());
    std::fs::remove_file(&path).unwrap();
    std::io::Write::write_all(&mut std::fs::File::create_new(&path).unwrap(), &elf).unwrap();
    run(&mut emulate(&sandbox, &path, &[])).failed(7, "firmware/image");
    run(&mut emulate(&sandbox, Path::new("none.elf"), &[])).failed(5, "file/not-found");
}

/// `tbprov firmware emulate | head` ends.
#[test]
fn what_nobody_reads_any_more_ends() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    sandbox.provisioned(&server, "sensor");
    let qemu = qemu(&sandbox, "while echo talk; do sleep 0.05; done");
    let mut command = emulate(&sandbox, &program(&sandbox), &[]);
    let mut child = command.env("TBPROV_QEMU", qemu).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    until("the end of what nobody reads", || child.try_wait().unwrap().is_some());
}

/// The first Ctrl-C cannot end it, because nobody reads what it is writing. The second ends it at once, and what it
/// started with it.
#[test]
fn a_second_ctrl_c_leaves_no_emulator_and_no_copy_of_the_key() {
    let (server, sandbox) = (Server::start(|_| {}), Sandbox::new());
    sandbox.provisioned(&server, "sensor");
    let temporary = sandbox.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let script =
        format!("echo $$ >{}; yes talk | head -c 10000000; sleep 600", sandbox.path("pid").display());
    let mut command = emulate(&sandbox, &program(&sandbox), &[]);
    command.env("TBPROV_QEMU", qemu(&sandbox, &script)).env("TMPDIR", &temporary);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let log = child.stdout.take().unwrap();
    until("a full pipe", || rustix::io::ioctl_fionread(&log).unwrap() > 60_000);
    let signal =
        |name: &str, process: &str| Command::new("kill").args(["-s", name, process]).output().unwrap();
    until("the end", || {
        signal("INT", &child.id().to_string());
        child.try_wait().unwrap().is_some()
    });
    // The first one ends it in its own time, where the pipe had room for that.
    let code = child.wait().unwrap().code();
    assert!(matches!(code, Some(0 | 130)), "{code:?}");
    let emulator = std::fs::read_to_string(sandbox.path("pid")).unwrap();
    until("the end of the emulator", || !signal("0", emulator.trim()).status.success());
    assert_eq!(entries(&temporary), Vec::<String>::new());
}
