//! `tbprov.toml`: the same names as the long flags.

use std::io::{ErrorKind, Read as _};
use std::num::{NonZeroU16, NonZeroU32};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use tbprov::error::Hint;
use tbprov::event::{Event, Progress};
use tbprov::files;
use tbprov::identity::CredentialsType;
use tbprov::keys::KeyType;
use tbprov::{Error, ErrorCode, Result, Secret};

/// Read where it exists, unless `--config` names another file.
const DEFAULT: &str = "tbprov.toml";

/// The same, as it is announced.
const SHOWN: &str = "./tbprov.toml";

/// Bytes that are read, at the most.
const LARGEST: u64 = 1 << 20;

/// Every line that the file may have.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Config {
    pub(super) host: Option<String>,
    pub(super) port: Option<NonZeroU16>,
    pub(super) provision_key: Option<String>,
    #[serde(default, deserialize_with = "secret")]
    pub(super) provision_secret: Option<Secret>,
    pub(super) provision_secret_file: Option<PathBuf>,
    pub(super) device_name: Option<String>,
    pub(super) server_cert: Option<PathBuf>,
    #[serde(default)]
    pub(super) skip_name_check: bool,
    pub(super) key_type: Option<KeyType>,
    pub(super) days: Option<NonZeroU32>,
    pub(super) credentials_type: Option<CredentialsType>,
    #[serde(default)]
    pub(super) gateway: bool,
    pub(super) timeout: Option<String>,
    pub(super) store: Option<PathBuf>,
    pub(super) chip: Option<String>,
    pub(super) firmware_dir: Option<PathBuf>,
}

impl Config {
    /// Reads the file that `--config` or its variable names.
    pub(super) fn read(file: &Path) -> Result<Self> {
        Self::parse(file, &read(file).map_err(|error| invalid(file, &error.to_string()))?)
    }

    /// Reads the file of the current folder, where there is one, and says so. Nobody named it: whoever can write to
    /// the folder may have put it there. So it is of this user, and names no file outside its folder.
    pub(super) fn find(progress: &Progress) -> Result<Self> {
        let file = Path::new(DEFAULT);
        // Before it is opened: a pipe that somebody put there would never end.
        if let Ok(known) = file.metadata()
            && !known.is_file()
        {
            return Err(invalid(file, "it is no regular file").hint(Hint::NameConfig));
        }
        let text = match read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(invalid(file, &error.to_string())),
        };
        if let Some(owner) = files::other_owner(file).map_err(|error| invalid(file, &error.to_string()))? {
            let why = format!("it belongs to another user ({owner})");
            return Err(invalid(file, &why).hint(Hint::NameConfig));
        }
        let config = Self::parse(file, &text)?;
        for (name, named) in
            [("provision-secret-file", &config.provision_secret_file), ("server-cert", &config.server_cert)]
        {
            if named.as_deref().is_some_and(lies_elsewhere) {
                let why = format!("its {name} lies outside the folder");
                return Err(invalid(file, &why).hint(Hint::NameConfig));
            }
        }
        progress.event(&Event::FileFound { purpose: "config", file: SHOWN.into() });
        Ok(config)
    }

    fn parse(file: &Path, text: &str) -> Result<Self> {
        // toml's own text quotes the line, which may be the one with the secret.
        let config: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            let why = error.message().lines().next().unwrap_or_default().to_owned();
            invalid(file, &format!("line {line}: {}", without_values(&why)))
        })?;
        if config.provision_secret.is_some() && config.provision_secret_file.is_some() {
            return Err(invalid(file, "it has both provision-secret and provision-secret-file"));
        }
        Ok(config)
    }
}

fn invalid(file: &Path, why: &str) -> Error {
    let message = format!("the configuration file {} cannot be used: {why}", file.display());
    Error::new(ErrorCode::ConfigInvalid, message)
}

/// All of a file, which may be a pipe.
fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    Ok(text)
}

/// Whether the file `named`, links followed, is not beneath the current folder. One that is not there is nowhere;
/// `-` is standard input.
fn lies_elsewhere(named: &Path) -> bool {
    let (Ok(file), Ok(folder)) = (named.canonicalize(), Path::new(".").canonicalize()) else {
        return false;
    };
    named != Path::new("-") && !file.starts_with(folder)
}

/// serde's messages on a wrong type quote the value: `invalid type: string "…", expected u16`.
fn without_values(message: &str) -> String {
    match (message.starts_with("invalid "), message.split_once(", expected ")) {
        (true, Some((_, expected))) => format!("expected {expected}"),
        _ => message.to_owned(),
    }
}

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Option::<String>::deserialize(deserializer).map(|text| text.map(Secret::new))
}
