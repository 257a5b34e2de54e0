//! Where the ledgers of these tests lie, and what may happen to them from outside.

use std::path::PathBuf;

use rusqlite::{Connection, params};
use tbprov::event::Progress;
use tbprov::ledger::folder::{Folders, folder_name};
use tbprov::ledger::sqlite::{DEFAULT_LEASE, Sqlite};
use tbprov::ledger::{Entry, Kept, Ledger};
use tempfile::TempDir;

use crate::memory::Memory;

/// Where a ledger lies.
pub trait Place {
    /// The ledger, as another process would open it.
    fn open(&self) -> Box<dyn Ledger>;

    /// Takes the lease of the device called `name` away from whoever has it. Tells whether that can be done here.
    fn lose(&self, name: &str) -> bool;

    /// Makes the device's record unreadable.
    fn damage(&self, entry: &Entry);

    /// Puts other credentials in the place of the device's own, or just the key of them.
    fn swap(&self, entry: &Entry, other: &Kept, key_alone: bool);

    /// Fails where something unfinished lies about.
    fn assert_tidy(&self);
}

/// Folders.
pub struct InFolder(TempDir);

impl InFolder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.0.path().join("devices").join(below)
    }

    /// The names in a folder below the store.
    pub fn names(&self, below: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(below)).into_iter().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    pub fn read(&self, below: &str) -> String {
        std::fs::read_to_string(self.path(below)).unwrap_or_else(|error| panic!("{below}: {error}"))
    }

    /// Writes a file as somebody else would, with the mode that it had.
    pub fn write(&self, below: &str, content: &str) {
        std::fs::write(self.path(below), content).unwrap();
    }
}

impl Place for InFolder {
    fn open(&self) -> Box<dyn Ledger> {
        Box::new(Folders::new(self.path("")))
    }

    fn lose(&self, name: &str) -> bool {
        let lock = self.path(&format!(".locks/{}.lock", folder_name(name)));
        // Windows lets nobody remove a file that is open.
        cfg!(unix) && std::fs::remove_file(lock).is_ok()
    }

    fn damage(&self, entry: &Entry) {
        self.write(&format!("{}/device.json", entry.id), "{}");
    }

    fn swap(&self, entry: &Entry, other: &Kept, key_alone: bool) {
        let Kept::X509 { chain, key: tbprov::keys::Stored::Bytes(key) } = other else {
            panic!("no certificate")
        };
        self.write(&format!("{}/key.pem", entry.id), key.expose());
        if !key_alone {
            self.write(&format!("{}/cert.pem", entry.id), &chain[0].to_pem());
        }
    }

    fn assert_tidy(&self) {
        let names = self.names("");
        let left: Vec<_> = names.iter().filter(|name| name.starts_with(".new")).collect();
        assert!(left.is_empty(), "{left:?}");
        assert!(self.names(".unfinished").is_empty(), "a finished device is still said to be unfinished");
        for device in names.iter().filter(|name| !name.starts_with('.')) {
            assert_eq!(self.names(device), ["cert.pem", "device.json", "key.pem", "server.pem"], "{device}");
        }
    }
}

/// One SQLite file.
pub struct InFile(TempDir);

impl InFile {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("fleet.db")
    }

    pub fn ledger(&self) -> Sqlite {
        Sqlite::create(self.path(), DEFAULT_LEASE, Progress::silent()).unwrap()
    }

    /// The file as any other program opens it.
    pub fn raw(&self) -> Connection {
        let raw = Connection::open(self.path()).unwrap();
        raw.busy_timeout(DEFAULT_LEASE).unwrap();
        raw
    }

    fn execute(&self, sql: &str, values: impl rusqlite::Params) -> bool {
        self.raw().execute(sql, values).unwrap() == 1
    }
}

impl Place for InFile {
    fn open(&self) -> Box<dyn Ledger> {
        Box::new(self.ledger())
    }

    fn lose(&self, name: &str) -> bool {
        self.execute("UPDATE device SET run = NULL WHERE name = ?1", [name])
    }

    fn damage(&self, entry: &Entry) {
        self.execute("UPDATE device SET record = '{}' WHERE name = ?1", [entry.shown_name()]);
    }

    fn swap(&self, entry: &Entry, other: &Kept, key_alone: bool) {
        let Kept::X509 { chain, key: tbprov::keys::Stored::Bytes(key) } = other else {
            panic!("no certificate")
        };
        // Nothing of tbprov changes an identity that is there.
        self.raw().execute_batch("DROP TRIGGER IF EXISTS identity_is_written_once").unwrap();
        let device = "device = (SELECT id FROM device WHERE name = ?1)";
        let name = entry.shown_name();
        self.execute(&format!("UPDATE identity SET secret = ?2 WHERE {device}"), params![name, key.expose()]);
        if !key_alone {
            let leaf = chain[0].to_pem();
            self.execute(&format!("UPDATE identity SET leaf = ?2 WHERE {device}"), params![name, leaf]);
        }
    }

    fn assert_tidy(&self) {
        let raw = self.raw();
        let count = |condition: &str| -> i64 {
            let sql = format!("SELECT count(*) FROM device WHERE {condition}");
            raw.query_row(&sql, [], |row| row.get(0)).unwrap()
        };
        assert_eq!(count("slot IS NOT NULL"), 0, "a finished device is still said to be unfinished");
        assert_eq!(count("record IS NULL"), 0, "a row is held for a device that does not exist");
    }
}

/// Memory.
#[derive(Default)]
pub struct InMemory(Memory);

impl Place for InMemory {
    fn open(&self) -> Box<dyn Ledger> {
        Box::new(self.0.clone())
    }

    fn lose(&self, name: &str) -> bool {
        self.0.lose(name);
        true
    }

    fn damage(&self, entry: &Entry) {
        self.0.damage(entry);
    }

    fn swap(&self, entry: &Entry, other: &Kept, key_alone: bool) {
        self.0.swap(entry, other, key_alone);
    }

    fn assert_tidy(&self) {
        assert!(self.0.is_tidy(), "a finished device is still said to be unfinished");
    }
}
