//! One device's folder.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::names;
use crate::device::State;
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::files::{self, Access, Failure};
use crate::identity::{BasicCredentials, Certificate, Credentials, X509Identity};
use crate::keys::Signer as _;
use crate::ledger::io_error;
use crate::ledger::record::{Flashed, Reached, Record, SCHEMA};
use crate::secret::Secret;
use crate::server::Server;
use crate::tls::{Trust, TrustSource};

const KEY: &str = "key.pem";
const CERTIFICATE: &str = "cert.pem";
const CREDENTIALS: &str = "credentials.json";
const SERVER: &str = "server.pem";
const RECORD: &str = "device.json";

/// Bytes of a record or of saved secrets, at the most.
const LARGEST_RECORD: u64 = 1 << 16;

/// Bytes of `credentials.json` as it is written, at the most.
const LARGEST_SECRETS: usize = 4096;

/// Digits of the fingerprint in the folder's name of a device that the server names.
const UNNAMED_DIGITS: usize = 12;

/// A device that the store shall take in.
#[derive(Debug)]
pub struct NewDevice<'a> {
    /// Its name, unless the server makes one up.
    pub name: Option<&'a str>,
    /// The server, and what authenticates it; the certificates of a file are kept.
    pub server: &'a Server,
    /// What it proves itself with.
    pub credentials: &'a Credentials,
    /// How far it has come already: `staged`, or `proved` for one that was tried before it was added.
    pub state: State,
}

impl NewDevice<'_> {
    pub(super) fn folder_name(&self) -> String {
        self.name.map_or_else(
            || format!("{}-{}", names::UNNAMED, fingerprint(self.credentials)),
            names::folder_name,
        )
    }

    /// Writes every file of the device into the new folder `directory`, durably.
    pub(super) fn write(&self, directory: &Path) -> Result<()> {
        files::create_directory(directory).map_err(Failure::in_store)?;
        let write = |name: &str, content: &[u8], access| {
            files::write_new(&directory.join(name), content, access).map_err(Failure::in_store)
        };
        match self.credentials {
            Credentials::X509(identity) => {
                write(KEY, identity.key.to_pem().expose().as_bytes(), Access::Owner)?;
                let chain: String = std::iter::once(&identity.leaf)
                    .chain(&identity.intermediates)
                    .map(Certificate::to_pem)
                    .collect();
                write(CERTIFICATE, chain.as_bytes(), Access::Everybody)?;
            }
            other => write(CREDENTIALS, &secrets_to_json(other)?, Access::Owner)?,
        }
        if let Some(server) = server_pem(&self.server.trust) {
            write(SERVER, server.as_bytes(), Access::Everybody)?;
        }
        write(RECORD, &record_to_json(&self.record())?, Access::Everybody)?;
        files::sync_directory(directory).map_err(Failure::in_store)
    }

    fn record(&self) -> Record {
        let identity = self.credentials.x509();
        Record {
            schema: SCHEMA.to_owned(),
            device: self.name.map(str::to_owned),
            host: self.server.host.clone(),
            port: self.server.port,
            skip_name_check: self.server.trust.skip_name_check,
            server_pem: self.server.trust.source != TrustSource::System,
            credentials_type: self.credentials.credentials_type(),
            credentials_id: identity.map(|identity| identity.leaf.credentials_id()),
            key_type: identity.map(|identity| identity.key.key_type()),
            not_before: identity.map(|identity| identity.leaf.validity.not_before),
            not_after: identity.map(|identity| identity.leaf.validity.not_after),
            state: State::Staged,
            reached: Reached::default(),
            flashed: None,
        }
        .in_state(self.state, OffsetDateTime::now_utc())
    }
}

/// A device in the store.
#[derive(Debug)]
pub struct Device {
    /// Its folder.
    pub directory: PathBuf,
    /// What is known about it.
    pub record: Record,
}

impl Device {
    /// Reads the record in `directory`.
    ///
    /// # Errors
    /// `store/corrupt` when it is missing, damaged or of another version; `store/io`.
    pub fn open(directory: &Path) -> Result<Self> {
        let path = directory.join(RECORD);
        let corrupt = |why: String| {
            let message = format!("{} is not the record of a device: {why}", path.display());
            Error::new(ErrorCode::StoreCorrupt, message)
        };
        let content = files::read(&path, LARGEST_RECORD).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => corrupt("the file is missing".to_owned()),
            _ => io_error("read", &path, error),
        })?;
        let record: Record = serde_json::from_slice(&content).map_err(|error| corrupt(error.to_string()))?;
        let flashed = record.flashed.as_ref();
        let names = [
            record.device.as_deref().unwrap_or_default(),
            flashed.map_or("", |flashed| &flashed.chip),
            flashed.map_or("", |flashed| &flashed.mac),
        ];
        if names.iter().any(|name| name.chars().any(char::is_control)) {
            return Err(corrupt("a name in it holds a control character".to_owned()));
        }
        if record.schema != SCHEMA {
            return Err(corrupt(format!("its schema is {:?}, not {SCHEMA:?}", record.schema))
                .hint(Hint::OtherVersion));
        }
        Ok(Self { directory: directory.to_owned(), record })
    }

    /// The name to show: the device's own, else its folder's.
    pub fn shown_name(&self) -> String {
        let folder = || self.directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.record.device.clone().unwrap_or_else(folder)
    }

    /// Records, durably, that the device is in `state`, with the server and the trust that led there: an
    /// earlier run may have failed because of a mistyped host or the wrong certificate.
    ///
    /// A record that says `server_pem` has the file beside it at every moment: the file comes before the record,
    /// and goes after it. One that is left over is not read.
    ///
    /// # Errors
    /// `store/io`; the record is unchanged then.
    pub fn reach(&mut self, state: State, server: &Server) -> Result<()> {
        let mut record = self.record.clone().in_state(state, OffsetDateTime::now_utc());
        record.host.clone_from(&server.host);
        record.port = server.port;
        record.skip_name_check = server.trust.skip_name_check;
        record.server_pem = server.trust.source != TrustSource::System;
        let kept = self.directory.join(SERVER);
        let wanted = server_pem(&server.trust);
        if let Some(wanted) = &wanted
            && fs::read_to_string(&kept).ok().as_ref() != Some(wanted)
        {
            files::replace(&kept, wanted.as_bytes(), Access::Everybody).map_err(Failure::in_store)?;
        }
        files::replace(&self.directory.join(RECORD), &record_to_json(&record)?, Access::Everybody)
            .map_err(Failure::in_store)?;
        self.record = record;
        if wanted.is_none() {
            let _ = files::remove(&kept);
        }
        Ok(())
    }

    /// Records, durably, which chip has the identity. The device's lock is held meanwhile.
    ///
    /// # Errors
    /// `store/io`, and those of [`Device::open`]; the record is unchanged then.
    pub fn flashed(&mut self, flashed: Flashed) -> Result<()> {
        // Read again: another run may have proved the device while the flash was written.
        let mut record = Self::open(&self.directory)?.record;
        record.flashed = Some(flashed);
        files::replace(&self.directory.join(RECORD), &record_to_json(&record)?, Access::Everybody)
            .map_err(Failure::in_store)?;
        self.record = record;
        Ok(())
    }

    /// The saved credentials, read and checked against the record.
    ///
    /// # Errors
    /// `store/corrupt` when a file is missing, damaged or does not fit; `file/io`, `file/encrypted-key`.
    pub fn credentials(&self) -> Result<Credentials> {
        let path = self.directory.join(CREDENTIALS);
        let credentials = if self.directory.join(KEY).exists() || !path.exists() {
            X509Identity::read(&self.directory.join(CERTIFICATE), &self.directory.join(KEY))
                .map(Credentials::X509)
                .map_err(damaged)
        } else {
            let text = files::read(&path, LARGEST_RECORD).map_err(|error| io_error("read", &path, error))?;
            secrets_from_json(&Zeroizing::new(text), &path)
        }?;
        let id = credentials.x509().map(|identity| identity.leaf.credentials_id());
        if credentials.credentials_type() != self.record.credentials_type || id != self.record.credentials_id
        {
            let message =
                format!("the credentials in {} are not those of its {RECORD}", self.directory.display());
            return Err(Error::new(ErrorCode::StoreCorrupt, message));
        }
        Ok(credentials)
    }

    /// What authenticates the device's server: the kept certificates, else the system's roots.
    ///
    /// # Errors
    /// `store/corrupt` when they are damaged; `file/io`.
    pub fn trust(&self) -> Result<Trust> {
        let path = self.directory.join(SERVER);
        if self.record.server_pem {
            Trust::from_file(&path, self.record.skip_name_check).map_err(damaged)
        } else {
            Trust::system(self.record.skip_name_check)
        }
    }
}

/// A file of the store that is not as it was written. One that cannot be read, or whose key somebody has
/// encrypted since, has a help of its own.
fn damaged(error: Error) -> Error {
    match error.code {
        ErrorCode::FileIo | ErrorCode::FileEncrypted => error,
        _ => Error::new(ErrorCode::StoreCorrupt, error.message),
    }
}

/// The content of `server.pem`; none where the system's roots are trusted.
fn server_pem(trust: &Trust) -> Option<String> {
    match trust.source {
        TrustSource::System => None,
        TrustSource::File(_) => Some(trust.certificates.iter().map(Certificate::to_pem).collect()),
    }
}

fn record_to_json(record: &Record) -> Result<Vec<u8>> {
    let mut json = serde_json::to_vec_pretty(record).map_err(not_written)?;
    json.push(b'\n');
    Ok(json)
}

/// The content of `credentials.json`, with ThingsBoard's own member names.
#[derive(Serialize, Deserialize)]
#[serde(tag = "credentialsType")]
enum SavedSecrets<'a> {
    #[serde(rename = "ACCESS_TOKEN")]
    AccessToken { token: Cow<'a, str> },
    #[serde(rename = "MQTT_BASIC", rename_all = "camelCase")]
    MqttBasic { client_id: Cow<'a, str>, user_name: Cow<'a, str>, password: Cow<'a, str> },
}

fn secrets_to_json(credentials: &Credentials) -> Result<Zeroizing<Vec<u8>>> {
    let saved = match credentials {
        Credentials::AccessToken(token) => SavedSecrets::AccessToken { token: token.expose().into() },
        Credentials::MqttBasic(basic) => SavedSecrets::MqttBasic {
            client_id: basic.client_id.as_str().into(),
            user_name: basic.user_name.as_str().into(),
            password: basic.password.expose().into(),
        },
        Credentials::X509(_) => {
            return Err(Error::new(ErrorCode::Bug, "a certificate is not saved as JSON"));
        }
    };
    // One allocation, so that no copy of the secret is left behind by growing.
    let mut json = Zeroizing::new(Vec::with_capacity(LARGEST_SECRETS));
    serde_json::to_writer_pretty(&mut *json, &saved).map_err(not_written)?;
    Ok(json)
}

fn secrets_from_json(text: &[u8], path: &Path) -> Result<Credentials> {
    let saved = serde_json::from_slice(text).map_err(|error| {
        let message = format!("{} holds no credentials (line {})", path.display(), error.line());
        Error::new(ErrorCode::StoreCorrupt, message)
    })?;
    Ok(match saved {
        SavedSecrets::AccessToken { token } => Credentials::AccessToken(Secret::new(token.into_owned())),
        SavedSecrets::MqttBasic { client_id, user_name, password } => {
            Credentials::MqttBasic(BasicCredentials {
                client_id: client_id.into_owned(),
                user_name: user_name.into_owned(),
                password: Secret::new(password.into_owned()),
            })
        }
    })
}

fn not_written(error: serde_json::Error) -> Error {
    Error::new(ErrorCode::Bug, "the device's record could not be written as JSON").source(error)
}

fn fingerprint(credentials: &Credentials) -> String {
    let mut text = match credentials {
        Credentials::X509(identity) => identity.leaf.credentials_id(),
        Credentials::AccessToken(token) => crate::identity::sha256_hex(token.expose().as_bytes()),
        Credentials::MqttBasic(basic) => crate::identity::sha256_hex(basic.client_id.as_bytes()),
    };
    text.truncate(UNNAMED_DIGITS);
    text
}
