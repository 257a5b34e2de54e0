//! Embeds the firmware's sources, so that who has only the binary can write them out, change and build them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
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
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let mut files = Vec::new();
    collect(&root.join(FIRMWARE), &mut files)?;
    files.sort();
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let table = table(&root, &files, &out)?;
    write(&out.join("firmware_sources.rs"), table.as_bytes())
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
