//! The state file: the devices of the simulator, kept between runs.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorCode, Hint, Result};
use crate::files::{self, Access, Failure};

/// What the file's `schema` says.
const SCHEMA: &str = "tbprov-sim/1";

/// The whole file.
#[derive(Serialize, Deserialize)]
struct StateFile {
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

/// Reads the devices of `path`; none when there is no such file yet.
///
/// # Errors
/// `store/corrupt` when the file is not what the simulator wrote, `store/io` when it cannot be read.
pub(super) fn load(path: &Path) -> Result<Vec<StoredDevice>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(corrupt(path, "it is not text"));
        }
        Err(error) => return Err(cannot("read", path, error)),
    };
    let file: StateFile = serde_json::from_str(&text).map_err(|error| {
        // serde_json's message may quote the file, which holds secrets: only the place is told.
        corrupt(path, &format!("line {}, column {}", error.line(), error.column()))
    })?;
    if file.schema != SCHEMA {
        return Err(corrupt(path, &format!("its schema is not {SCHEMA}")));
    }
    Ok(file.devices)
}

/// Writes `devices` to `path`, for its owner alone.
///
/// # Errors
/// `store/io`, and `path` is as it was.
pub(super) fn save(path: &Path, devices: Vec<StoredDevice>) -> Result<()> {
    let file = StateFile { schema: SCHEMA.to_owned(), devices };
    let text = serde_json::to_vec_pretty(&file).map(Zeroizing::new).map_err(|error| {
        Error::new(ErrorCode::Bug, "the simulator's state could not be encoded").source(error)
    })?;
    files::replace(path, &text, Access::Owner).map_err(Failure::in_store)
}

fn corrupt(path: &Path, why: &str) -> Error {
    let message = format!("{} is not a state file of the simulator: {why}", path.display());
    Error::new(ErrorCode::StoreCorrupt, message).hint(Hint::OtherStateFile)
}

fn cannot(what: &str, path: &Path, error: io::Error) -> Error {
    let message = format!("cannot {what} the simulator's state file {}: {error}", path.display());
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

    #[test]
    fn what_was_saved_is_loaded_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert!(load(&path).unwrap().is_empty());
        save(&path, vec![device("a")]).unwrap();
        save(&path, vec![device("a"), device("b")]).unwrap();
        let names: Vec<_> = load(&path).unwrap().into_iter().map(|device| device.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        save(&path, vec![device("a")]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_named_and_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        for content in
            ["", "{", r#"{"schema":"x","devices":[]}"#, r#"{"schema":"tbprov-sim/1","devices":"hunter2"}"#]
        {
            let _ = files::remove(&path);
            files::replace(&path, content.as_bytes(), Access::Owner).unwrap();
            let error = load(&path).err().unwrap();
            assert_eq!(error.code, ErrorCode::StoreCorrupt);
            assert!(error.message.contains("state.json") && !error.message.contains("hunter2"));
        }
    }
}
