//! The state file: the devices of the simulator, kept between runs.
//!
//! It is a journal. Its first line says what it is; each line after that is a device as it is from then on. Of a name
//! that comes twice the last line counts. A device more costs one line, however many there are. The start of a run
//! writes the file anew, with one line for each device.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorCode, Hint, Result};
use crate::files::{self, Access, Failure};

/// What the file's `schema` says.
const SCHEMA: &str = "tbprov-sim/2";

/// What it said when the file was one JSON object, up to version 0.2.
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

/// One device in the file.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct StoredDevice {
    pub(super) name: String,
    pub(super) credentials: StoredCredentials,
    #[serde(default)]
    pub(super) gateway: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) other_profile: bool,
    #[serde(default)]
    pub(super) provisioned: bool,
}

/// A device's credentials in the file, in clear text.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(super) enum StoredCredentials {
    X509 { value: String },
    AccessToken { token: String },
    MqttBasic { client_id: String, user_name: String, password: String },
}

/// Reads the devices of `path`, oldest first, each as it was at the end; none when there is no such file yet.
///
/// A last line that is not whole, which a killed run leaves, counts for nothing.
///
/// # Errors
/// `store/corrupt` when the file is not what the simulator wrote, `store/io` when it cannot be read.
pub(super) fn load(path: &Path) -> Result<Vec<StoredDevice>> {
    let text = match fs::read(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(cannot("read", path, error)),
    };
    let (first, rest) = split_line(&text);
    match serde_json::from_slice::<Head>(first) {
        Ok(head) if head.schema == SCHEMA => journal(path, rest),
        _ => old(path, &text),
    }
}

fn journal(path: &Path, mut rest: &[u8]) -> Result<Vec<StoredDevice>> {
    let mut devices: Vec<StoredDevice> = Vec::new();
    let mut places = HashMap::new();
    let mut number = 1;
    while !rest.is_empty() {
        let (line, behind) = split_line(rest);
        number += 1;
        match serde_json::from_slice::<StoredDevice>(line) {
            Ok(device) => match places.get(&device.name) {
                Some(place) => devices[*place] = device,
                None => {
                    places.insert(device.name.clone(), devices.len());
                    devices.push(device);
                }
            },
            Err(_) if behind.is_empty() && !rest.ends_with(b"\n") => break,
            // serde_json's message may quote the file, which holds secrets: only the place is told.
            Err(error) => return Err(corrupt(path, &format!("line {number}, column {}", error.column()))),
        }
        rest = behind;
    }
    Ok(devices)
}

/// The first line without its end, and what is behind it.
fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, &[]),
    }
}

fn old(path: &Path, text: &[u8]) -> Result<Vec<StoredDevice>> {
    let file: OldFile = serde_json::from_slice(text)
        .map_err(|error| corrupt(path, &format!("line {}, column {}", error.line(), error.column())))?;
    if file.schema != OLD_SCHEMA {
        return Err(corrupt(path, &format!("its schema is neither {SCHEMA} nor {OLD_SCHEMA}")));
    }
    Ok(file.devices)
}

/// Writes `path` anew with these devices, for its owner alone.
///
/// # Errors
/// `store/io`, and `path` is as it was.
pub(super) fn save(path: &Path, devices: impl Iterator<Item = StoredDevice>) -> Result<()> {
    let mut text = Zeroizing::new(Vec::new());
    write_line(&mut text, &Head { schema: SCHEMA.to_owned() })?;
    devices.into_iter().try_for_each(|device| write_line(&mut text, &device))?;
    files::replace(path, &text, Access::Owner).map_err(Failure::in_store)
}

/// Adds a device as it is now to the end of `path`, which [`save`] has written.
///
/// # Errors
/// `store/io`, and `path` is as it was.
pub(super) fn add(path: &Path, device: &StoredDevice) -> Result<()> {
    let mut line = Zeroizing::new(Vec::new());
    write_line(&mut line, device)?;
    files::append(path, &line).map_err(Failure::in_store)
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
        }
    }

    fn names(path: &Path) -> Vec<String> {
        load(path).unwrap().into_iter().map(|device| device.name).collect()
    }

    fn save_these(path: &Path, names: &[&str]) {
        save(path, names.iter().map(|name| device(name))).unwrap();
    }

    #[test]
    fn what_was_saved_and_added_is_loaded_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert!(load(&path).unwrap().is_empty());
        save_these(&path, &["a"]);
        save_these(&path, &["a", "b"]);
        add(&path, &device("c")).unwrap();
        add(&path, &StoredDevice { gateway: true, ..device("a") }).unwrap();
        assert_eq!(names(&path), ["a", "b", "c"]);
        assert!(load(&path).unwrap()[0].gateway);
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
        let torn_inside = [&whole[..begin], b"{\"name\":\"hunter2\n", &whole[begin..]].concat();
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
