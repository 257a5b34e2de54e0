//! `tbprov.toml`: the same names as the long flags.

use std::io::{ErrorKind, Read as _};
use std::num::{NonZeroU16, NonZeroU32};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::config_words::explained;
use super::values::{Source, may_be_secret};
use tbprov::error::Hint;
use tbprov::event::{Event, Progress};
use tbprov::files;
use tbprov::identity::CredentialsType;
use tbprov::keys::KeyType;
use tbprov::text::shown_path;
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
    #[serde(default, deserialize_with = "secret")]
    pub(super) proxy: Option<Secret>,
    pub(super) store: Option<PathBuf>,
    pub(super) chip: Option<String>,
    pub(super) firmware_dir: Option<PathBuf>,
    pub(super) api_url: Option<String>,
    pub(super) api_user: Option<String>,
    pub(super) api_key_file: Option<PathBuf>,
    pub(super) api_password_file: Option<PathBuf>,
    pub(super) api_cert: Option<PathBuf>,
    /// Whether the user named the file.
    #[serde(skip)]
    pub(super) is_named: bool,
}

impl Config {
    /// Reads the file that `--config` or its variable names.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let text = read(file).map_err(|error| match error.kind() {
            // What names no file may be a secret that was given in its place.
            ErrorKind::NotFound | ErrorKind::InvalidFilename if may_be_secret(&file.to_string_lossy()) => {
                let message = "there is no configuration file of the name that was given (it is not shown: it may be a secret)";
                Error::new(ErrorCode::ConfigInvalid, message).source(error)
            }
            _ => unreadable(file, error),
        })?;
        Ok(Self { is_named: true, ..Self::parse(file, &text)? })
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
            Err(error) => return Err(unreadable(file, error)),
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

    /// Each text of the file is read as a flag's or a variable's is.
    fn check(&self) -> Result<()> {
        let texts = [
            ("host", &self.host),
            ("provision-key", &self.provision_key),
            ("device-name", &self.device_name),
            ("timeout", &self.timeout),
            ("chip", &self.chip),
            ("api-url", &self.api_url),
            ("api-user", &self.api_user),
        ];
        for (name, text) in texts {
            text.as_deref().map_or(Ok(()), |text| Source::Line(name).check(text))?;
        }
        if let Some(secret) = &self.provision_secret {
            Source::Line("provision-secret").check(secret.expose())?;
        }
        if let Some(proxy) = &self.proxy {
            Source::Line("proxy").check(proxy.expose())?;
        }
        let paths = [
            ("provision-secret-file", &self.provision_secret_file),
            ("server-cert", &self.server_cert),
            ("store", &self.store),
            ("firmware-dir", &self.firmware_dir),
            ("api-key-file", &self.api_key_file),
            ("api-password-file", &self.api_password_file),
            ("api-cert", &self.api_cert),
        ];
        for (name, path) in paths {
            let Some(text) = path.as_deref().map(Path::to_string_lossy) else { continue };
            Source::Line(name).check(&text)?;
            if text.is_empty() {
                return Err(Source::Line(name).is_empty());
            }
        }
        Ok(())
    }

    pub(super) fn parse(file: &Path, text: &str) -> Result<Self> {
        // toml's own text quotes the line, which may be the one with the secret.
        let config: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let number = before.matches('\n').count();
            let line = text.lines().nth(number).unwrap_or_default();
            let said = error.message().lines().next().unwrap_or_default();
            invalid(file, &format!("line {}: {}", number + 1, explained(line, said)))
        })?;
        config.check().map_err(|error| match error.hint {
            Some(hint) => invalid(file, &error.message).hint(hint),
            None => invalid(file, &error.message),
        })?;
        if config.provision_secret.is_some() && config.provision_secret_file.is_some() {
            return Err(invalid(file, "it has both provision-secret and provision-secret-file"));
        }
        Ok(config)
    }
}

fn unreadable(file: &Path, error: std::io::Error) -> Error {
    if error.kind() == ErrorKind::InvalidData {
        return invalid(file, &error.to_string()).hint(Hint::PlainText);
    }
    invalid(file, &error.to_string()).source(error)
}

fn invalid(file: &Path, why: &str) -> Error {
    let message = format!("the configuration file {} cannot be used: {why}", shown_path(file));
    Error::new(ErrorCode::ConfigInvalid, message)
}

/// All of a file, which may be a pipe.
fn read(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    let not_text = |why: &str| std::io::Error::new(ErrorKind::InvalidData, why);
    if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") || bytes.contains(&0) {
        return Err(not_text("it is in UTF-16, as Windows' editors and PowerShell's > write"));
    }
    String::from_utf8(bytes).map_err(|_| not_text("it is not UTF-8 text"))
}

/// Whether the file `named`, links followed, is not beneath the current folder. One that is not there is nowhere;
/// `-` is standard input.
fn lies_elsewhere(named: &Path) -> bool {
    let (Ok(file), Ok(folder)) = (named.canonicalize(), Path::new(".").canonicalize()) else {
        return false;
    };
    named != Path::new("-") && !file.starts_with(folder)
}

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Option::<String>::deserialize(deserializer).map(|text| text.map(Secret::new))
}
