//! The state file: the devices of the simulator, its device profiles and its account, kept between runs.
//!
//! It is a journal. Its first line says what it is; each line after that is a device, a profile or the account as it is
//! from then on, or tells that one was deleted. Of what comes twice the last line counts. A device more costs one line,
//! however many there are. The start of a run writes the file anew, with one line for each thing.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::profile::Document;
use super::uuid::Uuid;
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::files::{self, Access, Failure};

/// What the file's `schema` says.
const SCHEMA: &str = "tbprov-sim/3";

/// What it said when each line was a device, up to version 0.2.
const DEVICES_SCHEMA: &str = "tbprov-sim/2";

/// What it said when the file was one JSON object.
const OLD_SCHEMA: &str = "tbprov-sim/1";

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    schema: String,
}

/// The whole of an old file.
#[derive(Deserialize)]
struct OldFile {
    schema: String,
    devices: Vec<StoredDevice>,
}

/// One line after the first.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Line {
    /// A device as it is from then on.
    Device(StoredDevice),
    /// The device of this name was deleted.
    Removed(String),
    /// A device profile as it is from then on.
    Profile(StoredProfile),
    /// The device profile of this id was deleted.
    RemovedProfile(Uuid),
    /// What opens the REST API from then on.
    Account(StoredAccount),
}

/// What a state file holds.
#[derive(Default)]
pub(super) struct Stored {
    /// Oldest first.
    pub(super) devices: Vec<StoredDevice>,
    pub(super) profiles: Vec<StoredProfile>,
    pub(super) account: Option<StoredAccount>,
}

/// One device in the file.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct StoredDevice {
    pub(super) name: String,
    pub(super) credentials: StoredCredentials,
    #[serde(default)]
    pub(super) gateway: bool,
    /// Of files of the older schemas: whether it belongs to ThingsBoard's own profile.
    #[serde(default, skip_serializing)]
    pub(super) other_profile: bool,
    #[serde(default)]
    pub(super) provisioned: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<Uuid>,
    /// Nothing for the profile that the simulator is started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) profile: Option<Uuid>,
    /// Of the device and of its credentials.
    #[serde(default = "first_versions", skip_serializing_if = "are_first")]
    pub(super) versions: [u32; 2],
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) label: Option<Box<str>>,
}

/// The versions of what was never changed.
pub(super) const fn first_versions() -> [u32; 2] {
    [1, 1]
}

fn are_first(versions: &[u32; 2]) -> bool {
    *versions == first_versions()
}

/// Where a device profile comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ProfileKind {
    /// ThingsBoard's own.
    Default,
    /// The one that the simulator is started with.
    Own,
    /// One that was made over REST.
    Made,
}

/// One device profile in the file; its secret is in clear text.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct StoredProfile {
    pub(super) id: Uuid,
    pub(super) kind: ProfileKind,
    #[serde(default)]
    pub(super) version: u32,
    #[serde(default)]
    pub(super) document: Document,
}

/// What opens the REST API, in clear text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredAccount {
    pub(super) password: String,
    pub(super) api_key: String,
}

impl fmt::Debug for StoredAccount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[account]")
    }
}

/// A device's credentials in the file, in clear text.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(super) enum StoredCredentials {
    X509 { value: String },
    AccessToken { token: String },
    MqttBasic { client_id: String, user_name: String, password: String },
}

/// Reads `path`: each thing as it was at the end; nothing when there is no such file yet.
///
/// A last line that is not whole, which a killed run leaves, counts for nothing.
///
/// # Errors
/// `store/corrupt` when the file is not what the simulator wrote, `store/io` when it cannot be read.
pub(super) fn load(path: &Path) -> Result<Stored> {
    let text = match fs::read(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Stored::default()),
        Err(error) => return Err(cannot("read", path, error)),
    };
    let (first, rest) = split_line(&text);
    match serde_json::from_slice::<Head>(first) {
        Ok(head) if head.schema == SCHEMA => journal(path, rest, |line| serde_json::from_slice(line)),
        Ok(head) if head.schema == DEVICES_SCHEMA => {
            journal(path, rest, |line| serde_json::from_slice(line).map(Line::Device))
        }
        _ => old(path, &text),
    }
}

fn journal(path: &Path, mut rest: &[u8], read: impl Fn(&[u8]) -> serde_json::Result<Line>) -> Result<Stored> {
    let mut journal = Journal::default();
    let mut number = 1;
    while !rest.is_empty() {
        let (line, behind) = split_line(rest);
        number += 1;
        match read(line) {
            Ok(line) => journal.add(line),
            Err(_) if behind.is_empty() && !rest.ends_with(b"\n") => break,
            // serde_json's message may quote the file, which holds secrets: only the place is told.
            Err(error) => return Err(corrupt(path, &format!("line {number}, column {}", error.column()))),
        }
        rest = behind;
    }
    Ok(journal.end())
}

/// The lines so far: what came last of each thing, in the order in which the things came.
#[derive(Default)]
struct Journal {
    devices: Vec<Option<StoredDevice>>,
    places: HashMap<String, usize>,
    profiles: Vec<StoredProfile>,
    account: Option<StoredAccount>,
}

impl Journal {
    fn add(&mut self, line: Line) {
        match line {
            Line::Device(device) => {
                let place = *self.places.entry(device.name.clone()).or_insert(self.devices.len());
                match self.devices.get_mut(place) {
                    Some(known) => *known = Some(device),
                    None => self.devices.push(Some(device)),
                }
            }
            Line::Removed(name) => {
                let place = self.places.remove(&name);
                if let Some(known) = place.and_then(|place| self.devices.get_mut(place)) {
                    *known = None;
                }
            }
            Line::Profile(profile) => {
                self.profiles.retain(|known| known.id != profile.id);
                self.profiles.push(profile);
            }
            Line::RemovedProfile(id) => self.profiles.retain(|known| known.id != id),
            Line::Account(account) => self.account = Some(account),
        }
    }

    fn end(self) -> Stored {
        let devices = self.devices.into_iter().flatten().collect();
        Stored { devices, profiles: self.profiles, account: self.account }
    }
}

/// The first line without its end, and what is behind it.
fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, &[]),
    }
}

fn old(path: &Path, text: &[u8]) -> Result<Stored> {
    let file: OldFile = serde_json::from_slice(text)
        .map_err(|error| corrupt(path, &format!("line {}, column {}", error.line(), error.column())))?;
    if file.schema != OLD_SCHEMA {
        return Err(corrupt(
            path,
            &format!("its schema is none of {SCHEMA}, {DEVICES_SCHEMA}, {OLD_SCHEMA}"),
        ));
    }
    Ok(Stored { devices: file.devices, ..Stored::default() })
}

/// Writes `path` anew with these lines, for its owner alone.
///
/// # Errors
/// `store/io`, and `path` is as it was.
pub(super) fn save(path: &Path, lines: impl Iterator<Item = Line>) -> Result<()> {
    let mut text = Zeroizing::new(Vec::new());
    write_line(&mut text, &Head { schema: SCHEMA.to_owned() })?;
    lines.into_iter().try_for_each(|line| write_line(&mut text, &line))?;
    files::replace(path, &text, Access::Owner).map_err(Failure::in_store)
}

/// Adds a line to the end of `path`, which [`save`] has written.
///
/// # Errors
/// `store/io`, and `path` is as it was.
pub(super) fn add(path: &Path, line: &Line) -> Result<()> {
    let mut text = Zeroizing::new(Vec::new());
    write_line(&mut text, line)?;
    files::append(path, &text).map_err(Failure::in_store)
}

fn write_line(text: &mut Vec<u8>, line: &impl Serialize) -> Result<()> {
    serde_json::to_writer(&mut *text, line).map_err(|error| {
        Error::new(ErrorCode::Bug, "the simulator's state could not be encoded").source(error)
    })?;
    text.push(b'\n');
    Ok(())
}

fn corrupt(path: &Path, why: &str) -> Error {
    let message = format!("{} is not a state file of the simulator: {why}", crate::text::shown_path(path));
    Error::new(ErrorCode::StoreCorrupt, message).hint(Hint::OtherStateFile)
}

fn cannot(what: &str, path: &Path, error: io::Error) -> Error {
    let message =
        format!("cannot {what} the simulator's state file {}: {error}", crate::text::shown_path(path));
    Error::new(ErrorCode::StoreIo, message).source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> StoredDevice {
        let credentials = StoredCredentials::AccessToken { token: "hunter2".to_owned() };
        StoredDevice {
            name: name.to_owned(),
            credentials,
            gateway: false,
            other_profile: false,
            provisioned: true,
            id: None,
            profile: None,
            versions: first_versions(),
            label: None,
        }
    }

    fn names(path: &Path) -> Vec<String> {
        load(path).unwrap().devices.into_iter().map(|device| device.name).collect()
    }

    fn save_these(path: &Path, names: &[&str]) {
        save(path, names.iter().map(|name| Line::Device(device(name)))).unwrap();
    }

    #[test]
    fn what_was_saved_and_added_is_loaded_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert!(names(&path).is_empty());
        save_these(&path, &["a"]);
        save_these(&path, &["a", "b"]);
        add(&path, &Line::Device(device("c"))).unwrap();
        add(&path, &Line::Device(StoredDevice { gateway: true, ..device("a") })).unwrap();
        assert_eq!(names(&path), ["a", "b", "c"]);
        assert!(load(&path).unwrap().devices[0].gateway);
        add(&path, &Line::Removed("a".to_owned())).unwrap();
        assert_eq!(names(&path), ["b", "c"]);
        add(&path, &Line::Device(device("a"))).unwrap();
        assert_eq!(names(&path), ["b", "c", "a"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_line_that_a_killed_run_left_counts_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        save_these(&path, &["a", "b"]);
        let whole = fs::read(&path).unwrap();
        let line = whole.iter().rposition(|byte| *byte == b'{').unwrap();
        let begin = whole[..line].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        for length in begin..whole.len() - 2 {
            files::replace(&path, &whole[..length], Access::Owner).unwrap();
            assert_eq!(names(&path), ["a"], "{length}");
        }
        let torn_inside = [&whole[..begin], b"{\"device\":{\"name\":\"hunter2\n", &whole[begin..]].concat();
        files::replace(&path, &torn_inside, Access::Owner).unwrap();
        let error = load(&path).err().unwrap();
        assert_eq!(error.code, ErrorCode::StoreCorrupt);
        assert!(error.message.contains("line 3") && !error.message.contains("hunter2"), "{}", error.message);
    }

    #[test]
    fn old_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let devices = [device("a"), device("b")];
        let old = serde_json::json!({ "schema": OLD_SCHEMA, "devices": devices });
        for text in [serde_json::to_vec_pretty(&old).unwrap(), serde_json::to_vec(&old).unwrap()] {
            files::replace(&path, &text, Access::Owner).unwrap();
            assert_eq!(names(&path), ["a", "b"]);
        }
        let lines = format!(
            "{{\"schema\":\"{DEVICES_SCHEMA}\"}}\n{}\n{}\n",
            serde_json::to_string(&device("a")).unwrap(),
            serde_json::to_string(&device("b")).unwrap()
        );
        files::replace(&path, lines.as_bytes(), Access::Owner).unwrap();
        assert_eq!(names(&path), ["a", "b"]);
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        save_these(&path, &["a"]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_named_and_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        for content in [
            "",
            "{",
            "\u{ff}",
            r#"{"schema":"x","devices":[]}"#,
            r#"{"schema":"tbprov-sim/1","devices":"hunter2"}"#,
        ] {
            let _ = files::remove(&path);
            files::replace(&path, content.as_bytes(), Access::Owner).unwrap();
            let error = load(&path).err().unwrap();
            assert_eq!(error.code, ErrorCode::StoreCorrupt);
            assert!(error.message.contains("state.json") && !error.message.contains("hunter2"));
        }
    }
}
