//! Builds the firmware: runs cargo, and finds what it made.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::Command;

use super::board::Board;
use super::elf::read_elf;
use super::leftovers::Guard;
use super::program::without_our_variables;
use super::sources::Sources;
use super::toolchain::{Library, Machine, Toolchain, linker_variable};
use crate::blocking;
use crate::error::{Error, ErrorCode, Result, Step};
use crate::event::{Event, Progress};

const PACKAGE: &str = "tbprov-firmware";
/// The profile of the firmware, in the manifest of its workspace.
const PROFILE: &str = "firmware";
/// What the firmware needs of the library, where that is built too.
const LIBRARY: &str = "build-std=core,alloc";

/// What is built, for whatever board.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The firmware's sources.
    pub sources: Sources,
    /// Ethernet in the place of WiFi, for a chip that has the choice.
    pub ethernet: bool,
    /// Features of the firmware beside the board's own.
    pub features: Vec<String>,
    /// Whether cargo may show its progress on stderr. Else it is silent, and what it said comes as an event if it
    /// fails.
    pub show_progress: bool,
}

/// What was built.
#[derive(Debug)]
pub struct Built {
    /// What it is for.
    pub board: Board,
    /// Features beside the board's own.
    pub features: Vec<String>,
    /// What built it.
    pub toolchain: Toolchain,
    /// The ELF file.
    pub elf: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Recipe {
    /// Finds a compiler for `board` and builds. Dropping the future ends cargo and what it started.
    ///
    /// # Errors
    /// `firmware/toolchain` when no compiler is there or cargo does not start, `firmware/build` when the compiler
    /// refuses it.
    pub async fn build(&self, board: Board, progress: &Progress) -> Result<Built> {
        progress.begin(Step::Build);
        let directory = self.sources.directory().to_owned();
        let toolchain =
            blocking(move || Toolchain::find(board, &Machine::from_environment(), &directory)).await?;
        let ethernet = self.ethernet && matches!(board, Board::Chip(chip) if chip.has_wifi());
        let ethernet = ethernet.then(|| "ethernet".to_owned());
        let features: Vec<_> = ethernet.into_iter().chain(self.features.iter().cloned()).collect();
        let elf =
            Cargo { recipe: self, board, features: &features, toolchain: &toolchain }.cargo(progress).await?;
        progress.begin(Step::Image);
        let bytes = read_elf(&elf)?;
        Ok(Built { board, features, toolchain, elf, bytes })
    }
}

/// One run of cargo.
struct Cargo<'a> {
    recipe: &'a Recipe,
    board: Board,
    features: &'a [String],
    toolchain: &'a Toolchain,
}

impl Cargo<'_> {
    /// The folders of this machine that the compiler reads files from, and what stands for each in the image: the outer
    /// ones first, because of several that fit the compiler takes the last.
    fn places(&self) -> Vec<(PathBuf, &'static str)> {
        let sources = std::path::absolute(self.recipe.sources.directory()).unwrap_or_default();
        let named = [
            // The workspace of a clone of the repository, with what build scripts have written.
            (sources.parent().map(Path::to_owned), "/workspace"),
            (std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from), "/target"),
            (std::env::home_dir(), "/home"),
            (cargo_home(), "/cargo"),
            (Some(self.toolchain.sysroot.clone()), "/rust"),
            (Some(sources.clone()), "/firmware"),
        ];
        let named =
            named.into_iter().filter_map(|(place, name)| Some((std::path::absolute(place?).ok()?, name)));
        let with_resolved = named.flat_map(|(place, name)| {
            // As it is behind symbolic links, too.
            let resolved = place.canonicalize().ok().filter(|resolved| *resolved != place);
            [Some(place), resolved].into_iter().flatten().map(move |place| (place, name))
        });
        let mut places: Vec<_> = with_resolved.filter(|(place, _)| place.parent().is_some()).collect();
        places.sort_by_key(|(place, _)| place.components().count());
        places
    }

    /// The path of the ELF file.
    async fn cargo(&self, progress: &Progress) -> Result<PathBuf> {
        let (board, toolchain) = (self.board, self.toolchain);
        if !self.recipe.show_progress {
            let what = format!("the firmware for {board} by {}", toolchain.describe());
            progress.event(&Event::Started { step: Step::Build, what });
        }
        let mut cargo = self.command().spawn().map_err(|error| {
            let message = format!("{} cannot be started: {error}", crate::text::shown_path(&toolchain.cargo));
            Error::new(ErrorCode::FirmwareToolchain, message).source(error)
        })?;
        // Cargo and every compiler that it started: they end together.
        let group = Guard::group(&cargo);
        let messages = cargo.stdout.take();
        let talk = cargo.stderr.take();
        let (elf, said) = tokio::join!(executable(messages), text(talk));
        let status = cargo.wait().await.map_err(|error| lost(&error.to_string()).source(error))?;
        group.into_iter().for_each(Guard::forget);
        if !status.success() {
            if !said.is_empty() {
                progress.event(&Event::CompilerOutput { text: said });
            }
            let message = format!("the firmware for {board} does not build: cargo ended with {status}");
            return Err(Error::new(ErrorCode::FirmwareBuild, message));
        }
        elf.ok_or_else(|| lost("cargo names no program"))
    }

    fn command(&self) -> Command {
        let (board, toolchain) = (self.board, self.toolchain);
        let mut command = Command::new(&toolchain.cargo);
        command
            .current_dir(self.recipe.sources.directory())
            .args(self.arguments())
            .env("RUSTC", &toolchain.rustc);
        without_our_variables(command.as_std_mut());
        if toolchain.library == Library::FromSources {
            // What makes a stable compiler build the library.
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        if let Some(linker) = &toolchain.linker {
            command.env(linker_variable(board.target()), linker);
        }
        if let Some(path) = toolchain.tools.as_ref().and_then(|tools| path_with(tools)) {
            command.env("PATH", path);
        }
        let talk = if self.recipe.show_progress { Stdio::inherit() } else { Stdio::piped() };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(talk).kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        command
    }

    fn arguments(&self) -> Vec<String> {
        let target = self.board.target();
        let mut features = vec![self.board.name().to_owned()];
        features.extend(self.features.iter().cloned());
        let features = features.join(",");
        let given = [
            "build",
            "--package",
            PACKAGE,
            "--profile",
            PROFILE,
            "--features",
            &features,
            "--target",
            target,
            "--message-format",
            "json-render-diagnostics",
        ];
        let mut arguments: Vec<String> = given.map(str::to_owned).into();
        if self.toolchain.library == Library::FromSources {
            arguments.extend(["-Z".to_owned(), LIBRARY.to_owned()]);
        }
        arguments.extend(["--config".to_owned(), without_paths(target, &self.places())]);
        arguments
    }
}

fn lost(why: &str) -> Error {
    Error::new(ErrorCode::FirmwareBuild, format!("the firmware was built and not found: {why}"))
}

/// Where cargo keeps the sources of dependencies.
fn cargo_home() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    home.or_else(|| Some(std::env::home_dir()?.join(".cargo")))
}

/// The setting by which the places of panics do not begin with one of `places`: the image is the same on every machine,
/// and says nothing of who built it.
fn without_paths(target: &str, places: &[(PathBuf, &str)]) -> String {
    let flag = |(place, name): &(PathBuf, &str)| format!("--remap-path-prefix={}={name}", place.display());
    let flags: Vec<_> = places.iter().map(flag).collect();
    format!("target.{target}.rustflags={}", serde_json::json!(flags))
}

/// The PATH with `tools` before all others.
fn path_with(tools: &Path) -> Option<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(tools.to_owned()).chain(std::env::split_paths(&path))).ok()
}

/// The program that cargo's messages name last.
async fn executable(messages: Option<impl AsyncRead + Unpin>) -> Option<PathBuf> {
    let mut lines = BufReader::new(messages?).lines();
    let mut found = None;
    while let Ok(Some(line)) = lines.next_line().await {
        found = executable_of(&line).or(found);
    }
    found
}

fn executable_of(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_ours = message["reason"] == "compiler-artifact" && message["target"]["name"] == PACKAGE;
    is_ours.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
}

async fn text(talk: Option<impl AsyncRead + Unpin>) -> String {
    let mut said = Vec::new();
    if let Some(mut talk) = talk {
        let _ = talk.read_to_end(&mut said).await;
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_the_messages() {
        let ours =
            r#"{"reason":"compiler-artifact","target":{"name":"tbprov-firmware"},"executable":"/t/fw"}"#;
        assert_eq!(executable_of(ours), Some("/t/fw".into()));
        for other in [
            r#"{"reason":"compiler-artifact","target":{"name":"tbprov-firmware"},"executable":null}"#,
            r#"{"reason":"compiler-artifact","target":{"name":"build-script-build"},"executable":"/t/b"}"#,
            r#"{"reason":"build-finished","success":true}"#,
            "no JSON",
        ] {
            assert_eq!(executable_of(other), None, "{other}");
        }
    }
}
