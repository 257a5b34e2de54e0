//! Where devices are kept: their records, their identities, and who works on them. A [`Ledger`] is one way to keep
//! them; [`folder::Folders`] keeps each in a folder of its own.

mod change;
pub mod folder;
mod record;
#[cfg(feature = "fleet")]
pub mod roster;
mod secrets;
#[cfg(feature = "fleet")]
pub mod sqlite;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

pub use record::{
    Flashed, IdentityRecord, NamedIdentity, Record, Refusal, SCHEMA, SCHEMA_ROTATED, Times, Wishes,
    identity_name,
};

use crate::device::{DeviceId, State};
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::event::Progress;
use crate::identity::{
    BasicCredentials, Certificate, Credentials, CredentialsType, SoftwareIdentity, X509Identity, sha256_hex,
};
use crate::keys::{self, Signer, SoftwareKey, Stored};
use crate::secret::Secret;
use crate::server::{Host, Server};
use crate::text::shown_path;
use crate::tls::Trust;

/// Which device is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// The device of this name, or the one without a name that has this id.
    Named(&'a str),
    /// The unfinished device that the server shall name.
    Unnamed(&'a Slot),
}

/// The place of the one unfinished device that a server shall name for a device profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The server.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// The fingerprint of the profile's provision key.
    pub provision_key_sha256: String,
}

impl Slot {
    /// One word for the three.
    pub fn fingerprint(&self) -> String {
        let text = format!("{}\n{}\n{}", self.host, self.port, self.provision_key_sha256);
        sha256_hex(text.as_bytes())
    }
}

/// A device of a ledger.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The ledger's mark of it.
    pub id: DeviceId,
    /// Its folder, in a ledger of folders.
    pub directory: Option<PathBuf>,
    /// What is known about it.
    pub record: Record,
}

impl Entry {
    /// The name to show: the device's own, else the ledger's mark.
    pub fn shown_name(&self) -> &str {
        self.record.device.as_deref().unwrap_or(self.id.as_str())
    }

    /// Where it is, for messages.
    pub fn place(&self) -> String {
        self.directory.as_ref().map_or_else(|| self.id.to_string(), shown_path)
    }
}

/// One identity with its secrets, as it is kept.
#[derive(Debug, Clone)]
pub enum Kept {
    /// A certificate with those above it, leaf first, and where its key is.
    X509 {
        /// The certificates, at least one.
        chain: Vec<Certificate>,
        /// The leaf's key.
        key: Stored,
    },
    /// An access token.
    AccessToken(Secret),
    /// MQTT basic credentials.
    MqttBasic(BasicCredentials),
}

impl Kept {
    /// The kind.
    pub const fn credentials_type(&self) -> CredentialsType {
        match self {
            Self::X509 { .. } => CredentialsType::X509,
            Self::AccessToken(_) => CredentialsType::AccessToken,
            Self::MqttBasic(_) => CredentialsType::MqttBasic,
        }
    }

    /// The certificate with a key that can leave as bytes. `origin` names the device in errors.
    ///
    /// # Errors
    /// `file/unsupported-key` when there is no certificate, or its key is elsewhere; `store/corrupt` when the two do not
    /// fit.
    pub fn exportable(self, origin: &str) -> Result<SoftwareIdentity> {
        let Self::X509 { chain, key: Stored::Bytes(key) } = self else {
            let message = format!("{origin} has no certificate with a key that can be copied");
            return Err(Error::new(ErrorCode::FileKeyType, message).hint(Hint::KeyElsewhere));
        };
        let key = Arc::new(SoftwareKey::from_pem(key.expose(), origin)?);
        let (leaf, intermediates) = leaf_of(chain, &*key, origin)?;
        Ok(SoftwareIdentity { leaf, intermediates, key })
    }

    /// The credentials, ready to connect with. `origin` names the device in errors.
    ///
    /// # Errors
    /// Those of [`keys::open`]; `store/corrupt` when the certificate is not for the key.
    pub fn open(self, origin: &str) -> Result<Credentials> {
        let (chain, key) = match self {
            Self::AccessToken(token) => return Ok(Credentials::AccessToken(token)),
            Self::MqttBasic(basic) => return Ok(Credentials::MqttBasic(basic)),
            Self::X509 { chain, key } => (chain, keys::open(&key, origin)?),
        };
        let (leaf, intermediates) = leaf_of(chain, &*key, origin)?;
        Ok(Credentials::X509(X509Identity { leaf, intermediates, key }))
    }
}

/// The leaf, which has to be for the key, and those above it.
fn leaf_of(
    chain: Vec<Certificate>,
    key: &dyn Signer,
    origin: &str,
) -> Result<(Certificate, Vec<Certificate>)> {
    let mut chain = chain.into_iter();
    match chain.next() {
        Some(leaf) if leaf.is_for(key) => Ok((leaf, chain.collect())),
        _ => Err(Error::new(
            ErrorCode::StoreCorrupt,
            format!("the certificate of {origin} is not for its key"),
        )),
    }
}

/// An identity that a ledger shall keep.
#[derive(Debug, Clone, Copy)]
pub struct NewIdentity<'a> {
    /// As it is kept.
    pub kept: &'a Kept,
    /// The same, opened.
    pub credentials: &'a Credentials,
}

/// A device that a ledger shall take in.
#[derive(Debug, Clone)]
pub struct NewDevice<'a> {
    /// Its name, or the place of one that the server names.
    pub subject: Subject<'a>,
    /// The server, and what authenticates it; the certificates of a file are kept.
    pub server: &'a Server,
    /// What it proves itself with.
    pub identity: NewIdentity<'a>,
    /// How far it has come already: `staged`, or more for one that was registered elsewhere.
    pub state: State,
    /// What it is registered with.
    pub wishes: Wishes,
}

impl NewDevice<'_> {
    /// Its record.
    pub fn record(&self) -> Record {
        let mut record = Record {
            schema: SCHEMA.to_owned(),
            device: match self.subject {
                Subject::Named(name) => Some(name.to_owned()),
                Subject::Unnamed(_) => None,
            },
            host: self.server.host.clone(),
            port: self.server.port,
            skip_name_check: false,
            server_pem: false,
            identity: IdentityRecord::new(self.identity.credentials, self.state),
            identity_name: None,
            candidate: None,
            previous: None,
            wishes: self.wishes.clone(),
            refused: None,
        };
        record.believe(self.server);
        record
    }
}

/// A change of a device's state.
#[derive(Debug, Clone, Copy)]
pub struct Advance<'a> {
    /// Whose state it is: the current identity's, or the candidate's.
    pub which: Which,
    /// The states reached since, the last of them the new one.
    pub reached: &'a [State],
    /// The server of this change and its trust, if they differ from the record: an earlier run may have had a mistyped
    /// host.
    pub server: Option<&'a Server>,
    /// What the device is registered with from now on, if that changes.
    pub wishes: Option<&'a Wishes>,
    /// The slot by which the device need not be found any more.
    pub leaves: Option<&'a Slot>,
}

/// Something worth keeping that is no state.
#[derive(Debug, Clone)]
pub enum Note {
    /// A chip has the identity with this credentialsId.
    Flashed {
        /// The chip.
        chip: Flashed,
        /// The credentialsId that is on it; the note is refused when the device has another one meanwhile.
        credentials_id: Option<String>,
    },
    /// The server refused the device.
    Refused(Refusal),
}

/// Which identity of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one that it has.
    Current,
    /// The one that shall succeed it.
    Candidate,
    /// The one that it succeeded.
    Previous,
}

/// The right to change a device: one holder at a time, until it is dropped or lost.
pub struct Lease {
    fence: u64,
    hold: Arc<dyn Hold>,
}

/// What a ledger holds while a [`Lease`] exists, or while a change under it continues. Dropping it frees the device.
pub trait Hold: Send + Sync {
    /// Whether somebody else may hold the device by now.
    fn is_lost(&self) -> bool;

    /// Fails when it is lost.
    ///
    /// # Errors
    /// `store/lease-lost`.
    fn check(&self) -> Result<()> {
        if self.is_lost() { Err(lease_lost()) } else { Ok(()) }
    }
}

impl Lease {
    /// A lease that is the `fence`th of its ledger: a later one has a higher number.
    pub fn new(fence: u64, hold: Arc<dyn Hold>) -> Self {
        Self { fence, hold }
    }

    /// Its number, by which a ledger that can be overtaken (one in a database) refuses a late change. Folders need none:
    /// their lock is the operating system's.
    pub const fn fence(&self) -> u64 {
        self.fence
    }

    /// The hold, for a change that continues after its future was dropped.
    pub fn hold(&self) -> Arc<dyn Hold> {
        Arc::clone(&self.hold)
    }

    /// Fails when the lease is lost.
    ///
    /// # Errors
    /// `store/lease-lost`.
    pub fn check(&self) -> Result<()> {
        self.hold.check()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Lease({})", self.fence)
    }
}

/// The lease was lost.
pub fn lease_lost() -> Error {
    Error::new(ErrorCode::StoreLeaseLost, "another tbprov may work on the device: its lock is gone")
}

/// The device is not as it was read.
pub fn changed(entry: &Entry) -> Error {
    let message = format!("'{}' was changed by another program meanwhile", entry.shown_name());
    Error::new(ErrorCode::StoreChanged, message)
}

/// How long to wait for another tbprov that works on the same device.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// Takes a lease, and waits up to a minute until no other tbprov works on the device.
///
/// # Errors
/// Those of [`Ledger::lease`].
pub async fn wait_for(ledger: &dyn Ledger, subject: Subject<'_>, progress: &Progress) -> Result<Lease> {
    let deadline = Instant::now() + PATIENCE;
    let mut told = false;
    loop {
        match ledger.lease(subject).await {
            Err(error) if error.code == ErrorCode::StoreLocked && Instant::now() < deadline => {
                if !told {
                    progress.warn(format!(
                        "{}: waiting for its end, for {} s at most",
                        error.message,
                        PATIENCE.as_secs()
                    ));
                    told = true;
                }
                tokio::time::sleep(POLL).await;
            }
            taken => return taken,
        }
    }
}

/// Where devices are kept. Every change is whole or not at all, and durable when it returns; each is made under a
/// [`Lease`], against the entry as it was read, and fails with `store/changed` when the device is not so any more.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Takes the device for the caller alone, if it is free. The device need not exist.
    ///
    /// # Errors
    /// `store/locked` naming the holder, `store/io`.
    async fn lease(&self, subject: Subject<'_>) -> Result<Lease>;

    /// The device, if it is there.
    ///
    /// # Errors
    /// `store/corrupt`, `store/exists` when its place belongs to another name, `store/io`.
    async fn find(&self, subject: Subject<'_>) -> Result<Option<Entry>>;

    /// The device called `name`, or the one without a name that has this id.
    ///
    /// # Errors
    /// `store/not-found`, and those of [`Ledger::find`].
    async fn open(&self, name: &str) -> Result<Entry> {
        self.find(Subject::Named(name)).await?.ok_or_else(|| {
            Error::new(ErrorCode::StoreNotFound, format!("{} has no device called '{name}'", self.shown()))
        })
    }

    /// The only device.
    ///
    /// # Errors
    /// `store/not-found` when there is none, `usage/missing-value` when there are several.
    async fn only(&self) -> Result<Entry> {
        let mut entries = self.list().await?;
        match entries.len() {
            1 => entries.remove(0).1,
            0 => {
                let message = format!("{} has no device", self.shown());
                Err(Error::new(ErrorCode::StoreNotFound, message).hint(Hint::EmptyStore))
            }
            count => {
                let message = format!("{} has {count} devices: name one", self.shown());
                Err(Error::new(ErrorCode::UsageMissing, message).hint(Hint::NameDevice))
            }
        }
    }

    /// The ledger, for messages: `the store ./devices`.
    fn shown(&self) -> String;

    /// Takes a new device in.
    ///
    /// # Errors
    /// `store/exists`, `store/lease-lost`, `store/io`.
    async fn stage(&self, lease: &Lease, new: NewDevice<'_>) -> Result<Entry>;

    /// Records that an identity has come further, or back.
    ///
    /// # Errors
    /// `store/changed`, `store/lease-lost`, `store/io`; `store/not-found` when there is no such identity.
    async fn advance(&self, lease: &Lease, entry: &Entry, advance: Advance<'_>) -> Result<Entry>;

    /// Keeps an identity beside the current one that shall succeed it, in `state`: `staged`, or more where the server has
    /// it already.
    ///
    /// # Errors
    /// As [`Ledger::advance`], and `store/exists` when there is a candidate already, or when it is the current one.
    async fn stage_next(
        &self,
        lease: &Lease,
        entry: &Entry,
        identity: NewIdentity<'_>,
        state: State,
    ) -> Result<Entry>;

    /// Makes the candidate, once it is proved, the device's identity, and keeps the old one as the previous.
    ///
    /// # Errors
    /// As [`Ledger::advance`], `store/not-found` without a candidate, and `store/not-proved` for a candidate that is not proved.
    async fn promote(&self, lease: &Lease, entry: &Entry) -> Result<Entry>;

    /// Gives the candidate up or, where there is none, makes the previous identity the device's again. Nothing that
    /// the server may know is deleted: it becomes the previous one.
    ///
    /// # Errors
    /// As [`Ledger::advance`], and `store/not-found` when there is neither.
    async fn roll_back(&self, lease: &Lease, entry: &Entry) -> Result<Entry>;

    /// Forgets the previous identity, and deletes its key; so too the identities before it, and those that no record
    /// names. Fine when there is none: an earlier call may have ended before its end.
    ///
    /// # Errors
    /// As [`Ledger::advance`].
    async fn discard(&self, lease: &Lease, entry: &Entry) -> Result<Entry>;

    /// Keeps a note.
    ///
    /// # Errors
    /// As [`Ledger::advance`].
    async fn note(&self, lease: &Lease, entry: &Entry, note: Note) -> Result<Entry>;

    /// Every device, ordered by id, each readable or not.
    ///
    /// # Errors
    /// `store/io` when the ledger itself cannot be read.
    async fn list(&self) -> Result<Vec<(DeviceId, Result<Entry>)>>;

    /// One identity with its key, checked against the record.
    ///
    /// # Errors
    /// `store/corrupt` when something is missing, damaged or does not fit; `store/readable-key`; `file/io`,
    /// `file/encrypted-key`; `store/not-found` when the device has no such identity.
    async fn key(&self, entry: &Entry, which: Which) -> Result<Kept>;

    /// A token or basic credentials that lie with the device and that its record does not name: what a run was about to
    /// keep when it ended.
    ///
    /// # Errors
    /// `store/readable-key`, `store/io`.
    async fn left_behind(&self, entry: &Entry) -> Result<Option<Kept>> {
        let _ = entry;
        Ok(None)
    }

    /// What authenticates the device's server: the kept certificates, else the system's roots.
    ///
    /// # Errors
    /// `store/corrupt` when they are damaged; `file/io`.
    async fn trust(&self, entry: &Entry) -> Result<Trust>;

    /// Takes the device out of the ledger, and keeps it aside. Tells where.
    ///
    /// # Errors
    /// As [`Ledger::advance`].
    async fn remove(&self, lease: &Lease, entry: &Entry) -> Result<String>;
}
