//! Embeds the firmware's sources, so that who has only the binary can write them out, change and build them. Has a
//! release without tables for unwinding, where the linker can.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use flate2::Compression;
use flate2::write::DeflateEncoder;

const FIRMWARE: &str = "firmware";
/// The embedded archive. A package has it as a file, instead of the folder: cargo packs no folder that has a manifest of
/// its own, and packs a lock file without what only the firmware needs. `.ci/release` takes it from a build.
const ARCHIVE: &str = "firmware-sources.bin";

fn main() -> io::Result<()> {
    tell("cargo::rerun-if-changed=build.rs");
    // A library without the firmware's tools needs no sources.
    if env::var_os("CARGO_FEATURE_FIRMWARE").is_none() {
        return Ok(());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    leave_out_unwinding(&out)?;
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    write(&out.join(ARCHIVE), &archive(&root)?)
}

/// The archive: made of the firmware's folder, or as the package has it.
fn archive(root: &Path) -> io::Result<Vec<u8>> {
    if !root.join(FIRMWARE).join("Cargo.toml").is_file() {
        tell(&format!("cargo::rerun-if-changed={ARCHIVE}"));
        let missing =
            |error| io::Error::other(format!("neither {FIRMWARE}/ nor {ARCHIVE} is there: {error}"));
        return fs::read(root.join(ARCHIVE)).map_err(missing);
    }
    for watched in [FIRMWARE, "Cargo.toml", "Cargo.lock"] {
        tell(&format!("cargo::rerun-if-changed={watched}"));
    }
    packed(&sources(root)?)
}

/// One file after the other: its length in bytes, a space, its name, a line feed, its content. All of it is deflated.
fn packed(sources: &BTreeMap<String, String>) -> io::Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    for (name, content) in sources {
        write!(encoder, "{} {name}\n{content}", content.len())?;
    }
    encoder.finish()
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

/// What `tbprov firmware init` writes, by the path in the new folder: every source, the lock file, and a manifest that
/// makes a workspace of its own of them. In this repository the firmware is a member of a workspace, which has the
/// profiles.
fn sources(root: &Path) -> io::Result<BTreeMap<String, String>> {
    let firmware = root.join(FIRMWARE);
    let mut files = Vec::new();
    collect(&firmware, &mut files)?;
    let mut sources = BTreeMap::new();
    for file in files {
        let name = file.strip_prefix(&firmware).map_err(io::Error::other)?;
        let name: Vec<_> = name.iter().map(|part| part.to_string_lossy()).collect();
        sources.insert(name.join("/"), fs::read_to_string(file)?);
    }
    let members = sources.keys().filter_map(|name| name.strip_suffix("/Cargo.toml"));
    let members: Vec<_> = members.map(|member| format!("{member:?}")).collect();
    let profiles = profiles(&fs::read_to_string(root.join("Cargo.toml"))?);
    let workspace = format!("\n[workspace]\nmembers = [{}]\n{profiles}", members.join(", "));
    sources.entry("Cargo.toml".to_owned()).or_default().push_str(&workspace);
    sources.insert("Cargo.lock".to_owned(), fs::read_to_string(root.join("Cargo.lock"))?);
    Ok(sources)
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
