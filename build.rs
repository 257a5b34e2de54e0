//! Embeds the firmware's sources, so that who has only the binary can write them out, change and build them. Has a
//! release without tables for unwinding, where the linker can.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use flate2::Compression;
use flate2::write::DeflateEncoder;

const FIRMWARE: &str = "firmware";

fn main() -> io::Result<()> {
    tell("cargo::rerun-if-changed=build.rs");
    // A library without the firmware's tools needs no sources.
    if env::var_os("CARGO_FEATURE_FIRMWARE").is_none() {
        return Ok(());
    }
    for watched in [FIRMWARE, "Cargo.toml", "Cargo.lock"] {
        tell(&format!("cargo::rerun-if-changed={watched}"));
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    leave_out_unwinding(&out)?;
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let mut files = Vec::new();
    collect(&root.join(FIRMWARE), &mut files)?;
    files.sort();
    let table = table(&root, &files, &out)?;
    write(&out.join("firmware_sources.rs"), table.as_bytes())
}

/// A release ends at a panic (`panic = "abort"`), so nothing reads the tables by which a stack is unwound: they are left
/// out. Whether the linker takes the script, and what it links runs, is found out by trying.
fn leave_out_unwinding(out: &Path) -> io::Result<()> {
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|text| text == value);
    let is_native = env::var("HOST") == env::var("TARGET");
    if !is("PROFILE", "release") || !is("CARGO_CFG_TARGET_OS", "linux") || !is_native {
        return Ok(());
    }
    let (script, source, program) = (out.join("link.x"), out.join("tried.rs"), out.join("tried"));
    write(&script, b"SECTIONS { /DISCARD/ : { *(.eh_frame) *(.eh_frame_hdr) } } INSERT AFTER .text;\n")?;
    write(&source, b"fn main() { assert!(std::thread::spawn(|| true).join().is_ok_and(|done| done)) }\n")?;
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let arguments = ["-Cpanic=abort", "-Clink-arg=-T", &format!("-Clink-arg={}", script.display()), "-o"];
    let linked = Command::new(compiler).args(arguments).arg(&program).arg(&source).output()?;
    let runs = || Command::new(&program).output().is_ok_and(|ran| ran.status.success());
    if linked.status.success() && runs() {
        tell("cargo::rustc-link-arg-bins=-T");
        tell(&format!("cargo::rustc-link-arg-bins={}", script.display()));
    }
    Ok(())
}

/// The kinds of files that sources are. Whatever else lies in the folder is not embedded: it may be the key of a device
/// that was tried there.
const KINDS: [&str; 4] = ["rs", "toml", "csv", "x"];

/// Every source below `folder`, without what a build leaves there.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|kind| KINDS.iter().any(|known| kind == *known)) {
            files.push(path);
        }
    }
    Ok(())
}

/// `FILES`, each with its path in the firmware's folder; `LOCK`; and the `PROFILES` of the workspace, which a
/// workspace of its own needs as well. The contents are deflated: they are a third as large, and rarely written out.
fn table(root: &Path, files: &[PathBuf], out: &Path) -> io::Result<String> {
    let mut text = String::from("pub(super) const FILES: &[(&str, &[u8])] = &[\n");
    for (number, file) in files.iter().enumerate() {
        let name = file.strip_prefix(root.join(FIRMWARE)).map_err(io::Error::other)?;
        let name: Vec<_> = name.iter().map(|part| part.to_string_lossy()).collect();
        let deflated = deflate(file, &out.join(number.to_string()))?;
        let _ = writeln!(text, "    ({:?}, include_bytes!({deflated:?})),", name.join("/"));
    }
    let lock = deflate(&root.join("Cargo.lock"), &out.join("lock"))?;
    let _ = writeln!(text, "];\npub(super) const LOCK: &[u8] = include_bytes!({lock:?});");
    let profiles = profiles(&fs::read_to_string(root.join("Cargo.toml"))?);
    let _ = writeln!(text, "pub(super) const PROFILES: &str = {profiles:?};");
    Ok(text)
}

/// Writes the content of `file` to `deflated`, and tells that name.
fn deflate(file: &Path, deflated: &Path) -> io::Result<String> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&fs::read(file)?)?;
    write(deflated, &encoder.finish()?)?;
    Ok(deflated.display().to_string())
}

/// The sections `[profile.…]` of a manifest, but for those about single packages, which the firmware does not have.
fn profiles(manifest: &str) -> String {
    let mut inside = false;
    let mut text = String::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.starts_with("[profile.") && !line.contains(".package");
        }
        if inside && !line.starts_with('#') && !line.is_empty() {
            let gap = if line.starts_with('[') { "\n" } else { "" };
            let _ = writeln!(text, "{gap}{line}");
        }
    }
    text
}

#[allow(clippy::disallowed_methods, reason = "cargo's own folder; nothing is lost there")]
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    fs::write(path, content)
}

#[allow(clippy::print_stdout, reason = "how a build script speaks to cargo")]
fn tell(instruction: &str) {
    println!("{instruction}");
}
