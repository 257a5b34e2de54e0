//! A provision key and secret where `tbprov provision` finds them: lines of a configuration file, and a file that only
//! its owner can read.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::super::config::Config;
use tbprov::error::Hint;
use tbprov::files::{self, Access};
use tbprov::text::shown_path;
use tbprov::{Error, ErrorCode, Result, Secret};

const KEY: &str = "provision-key";
const SECRET: &str = "provision-secret";
const SECRET_FILE: &str = "provision-secret-file";

/// Bytes of the file, at the most.
const LARGEST: u64 = 1 << 20;

/// Names that are tried for the file of a secret.
const MOST_NAMES: u32 = 1000;

/// What was written.
#[derive(Debug, Serialize)]
pub(super) struct Written {
    pub(super) file: PathBuf,
    pub(super) secret_file: PathBuf,
}

/// A configuration file that can take the lines.
pub(super) struct ConfigFile {
    path: PathBuf,
    key: String,
    text: String,
    /// The file of the secret that it names for this key.
    named: Option<PathBuf>,
}

impl ConfigFile {
    /// Reads the file, where there is one. It may have the key of this profile already, and not that of another, whose
    /// secret would be lost.
    pub(super) fn prepare(path: &Path, key: &str) -> Result<Self> {
        let text = match files::read(path, LARGEST) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|_| refused(path, "it is not UTF-8 text"))?,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(refused(path, &error.to_string()).source(error)),
        };
        let config = Config::parse(path, &text)?;
        let is_another = config.provision_key.as_deref().is_some_and(|held| held != key);
        let has_secret = config.provision_secret.is_some() || config.provision_secret_file.is_some();
        if is_another || (config.provision_key.is_none() && has_secret) {
            return Err(refused(path, "it has the provision key or secret of another device profile")
                .hint(Hint::OtherConfigFile));
        }
        let file =
            Self { path: path.to_owned(), key: key.to_owned(), text, named: config.provision_secret_file };
        // Whatever the file looks like, its new text has to be read as what it shall say.
        let read = Config::parse(path, &file.with_lines(Path::new("secret")))?;
        if read.provision_key.as_deref() != Some(key) {
            return Err(refused(path, "it cannot be changed line by line"));
        }
        can_be_written(path)?;
        Ok(file)
    }

    /// Writes the secret, unless the file that is named has it, then the lines.
    pub(super) fn write(self, secret: &Secret) -> Result<Written> {
        let held = self.named.as_ref().filter(|path| has(path, secret)).cloned();
        let secret_file = match held {
            Some(path) => path,
            None => self.write_secret(secret)?,
        };
        files::replace(&self.real_path(), self.with_lines(&secret_file).as_bytes(), Access::Owner)?;
        Ok(Written { file: self.path, secret_file })
    }

    /// A new file beside the configuration: none is overwritten.
    fn write_secret(&self, secret: &Secret) -> Result<PathBuf> {
        let line = zeroize::Zeroizing::new(format!("{}\n", secret.expose()));
        for number in 1..=MOST_NAMES {
            let name = if number == 1 { format!("{SECRET}.txt") } else { format!("{SECRET}-{number}.txt") };
            let path = self.path.with_file_name(name);
            match files::write_new(&path, line.as_bytes(), Access::Owner) {
                Err(failure) if failure.is_existing() => {}
                written => return written.map(|()| path).map_err(Error::from),
            }
        }
        Err(refused(&self.path, "the folder has too many files of provision secrets"))
    }

    /// The text with the two lines, in place of those that it has.
    fn with_lines(&self, secret_file: &Path) -> String {
        let is_ours = |line: &&str| {
            let name = line.split('=').next().unwrap_or_default().trim();
            line.contains('=') && [KEY, SECRET, SECRET_FILE].contains(&name)
        };
        let mut lines: Vec<String> =
            self.text.lines().filter(|line| !is_ours(line)).map(str::to_owned).collect();
        // A path counts from the folder in which tbprov runs, and that may be another one next time.
        let is_here = secret_file.parent().is_none_or(|folder| folder.as_os_str().is_empty());
        let secret_file = if is_here {
            secret_file.to_owned()
        } else {
            std::path::absolute(secret_file).unwrap_or_else(|_| secret_file.to_owned())
        };
        let secret_file = secret_file.to_string_lossy();
        lines.push(format!("{KEY} = {}", toml::Value::from(self.key.as_str())));
        lines.push(format!("{SECRET_FILE} = {}", toml::Value::from(&*secret_file)));
        lines.join("\n") + "\n"
    }

    /// What a link leads to: the link stays.
    fn real_path(&self) -> PathBuf {
        self.path.canonicalize().unwrap_or_else(|_| self.path.clone())
    }
}

/// Finds out whether files can be made beside `path`, before anything is changed.
fn can_be_written(path: &Path) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let tried = path.with_file_name(format!(".{name}.{}.tried", std::process::id()));
    files::write_new(&tried, b"", Access::Owner)?;
    Ok(files::remove(&tried)?)
}

fn has(path: &Path, secret: &Secret) -> bool {
    let Ok(bytes) = files::read(path, LARGEST) else { return false };
    let bytes = zeroize::Zeroizing::new(bytes);
    bytes.trim_ascii_end() == secret.expose().as_bytes()
}

fn refused(path: &Path, why: &str) -> Error {
    let message = format!("{} cannot take the provision key: {why}", shown_path(path));
    Error::new(ErrorCode::ConfigInvalid, message)
}
