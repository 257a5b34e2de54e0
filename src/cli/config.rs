//! `tbprov.toml`: the same names as the long flags.

use std::io::{ErrorKind, Read as _};
use std::num::{NonZeroU16, NonZeroU32};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use tbprov::identity::CredentialsType;
use tbprov::keys::KeyType;
use tbprov::{Error, ErrorCode, Result, Secret};

/// Read where it exists, unless `--config` names another file.
const DEFAULT: &str = "tbprov.toml";

/// Bytes that are read, at the most.
const LARGEST: u64 = 1 << 20;

/// Every line that the file may have.
#[derive(Debug, Default, Deserialize)]
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
    /// Reads the file at `path`, or the default one where it exists.
    pub(super) fn read(path: Option<&Path>) -> Result<Self> {
        let file = path.unwrap_or(Path::new(DEFAULT));
        let invalid = |why: String| {
            let message = format!("the configuration file {} cannot be used: {why}", file.display());
            Error::new(ErrorCode::ConfigInvalid, message)
        };
        let text = match read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && path.is_none() => return Ok(Self::default()),
            Err(error) => return Err(invalid(error.to_string())),
        };
        // toml's own text quotes the line, which may be the one with the secret.
        let config: Self = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            let why = error.message().lines().next().unwrap_or_default().to_owned();
            invalid(format!("line {line}: {}", without_values(&why)))
        })?;
        if config.provision_secret.is_some() && config.provision_secret_file.is_some() {
            return Err(invalid("it has both provision-secret and provision-secret-file".to_owned()));
        }
        Ok(config)
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(LARGEST).read_to_string(&mut text)?;
    Ok(text)
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
