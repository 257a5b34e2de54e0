//! The identity partition: an ESP-IDF NVS partition of its own, so that one image serves every device.
//!
//! The format is Espressif's (ESP-IDF Programming Guide, "Non-Volatile Storage Library"), so any ESP-IDF program
//! can read it: namespace [`NAMESPACE`], the keys below, PEM as blobs that end with a NUL as `esp-tls` wants them.
//! Every key is always there, empty where it does not apply: one that is missing was damaged.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddrV4;
use core::time::Duration;

use esp_nvs::mem_flash::MemFlash;
use esp_nvs::{FLASH_SECTOR_SIZE, Get, Key, Nvs};
use zeroize::{Zeroize as _, Zeroizing};

use crate::identity::{Identity, Invalid, Wifi};

/// The partition's label in the partition table.
pub const LABEL: &str = "identity";
/// The partition's size in bytes: six flash sectors, of which NVS keeps one free.
pub const SIZE: usize = 6 * FLASH_SECTOR_SIZE;
/// The NVS namespace of all keys.
pub const NAMESPACE: &str = "tbprov";
/// The version of this layout, in the key `schema`.
pub const SCHEMA: u8 = 1;

/// Why a partition holds no usable identity.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub enum PartitionError {
    /// Nothing was ever written there, or it was erased.
    Empty,
    /// It is not [`SIZE`] bytes long.
    Size(usize),
    /// It was written, and a part is damaged or was never finished.
    Damaged(&'static str),
    /// It was written by a newer version of the tool.
    Schema(u8),
    /// A value is out of its bounds.
    Invalid(Invalid),
    /// The identity is larger than the partition. The tool's error; a chip never sees it.
    Full,
}

impl fmt::Display for PartitionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => formatter.write_str("the identity partition is empty"),
            Self::Size(size) => write!(formatter, "the identity partition has {size} bytes, not {SIZE}"),
            Self::Damaged(key) => {
                write!(formatter, "the identity partition is damaged or was not written to its end ('{key}')")
            }
            Self::Schema(schema) => {
                write!(formatter, "the identity partition has layout {schema}, this firmware knows {SCHEMA}")
            }
            Self::Invalid(invalid) => {
                write!(formatter, "the identity partition holds an unusable value, {invalid}")
            }
            Self::Full => write!(formatter, "the identity does not fit in the {SIZE} bytes of its partition"),
        }
    }
}

impl core::error::Error for PartitionError {}

impl From<Invalid> for PartitionError {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

/// The partition's bytes for `identity`: [`SIZE`] of them, secrets included.
///
/// # Errors
/// A field out of its bounds, or more than the partition holds.
pub fn encode(identity: &Identity) -> Result<Zeroizing<Vec<u8>>, PartitionError> {
    identity.validate()?;
    let mut writer = Writer::new()?;
    writer.text("name", &identity.name)?;
    writer.text("host", &identity.host)?;
    writer.set("port", identity.port)?;
    writer.text("address", &identity.address.map(|address| address.to_string()).unwrap_or_default())?;
    writer.pem("server_certs", &identity.server_certificates)?;
    writer.set("skip_name", u8::from(identity.skip_name_check))?;
    writer.pem("cert", &identity.certificate)?;
    writer.pem("key", &identity.key)?;
    let wifi = identity.wifi.as_ref();
    writer.text("wifi_ssid", wifi.map_or("", |wifi| &wifi.ssid))?;
    writer.text("wifi_password", wifi.map_or("", |wifi| &wifi.password))?;
    writer.set("interval_ms", milliseconds(identity.interval))?;
    writer.text("topic", &identity.topic)?;
    writer.text("time_server", identity.time_server.as_deref().unwrap_or_default())?;
    writer.set("retry_ms", milliseconds(identity.retry))?;
    // The last key: its presence says that all others were written.
    writer.set("schema", SCHEMA)?;
    Ok(Zeroizing::new(writer.nvs.into_inner().into_inner()))
}

/// The identity in a partition's bytes. They may be anything: no content of a flash makes it panic.
///
/// # Errors
/// What is missing, damaged or out of bounds.
pub fn decode(partition: &[u8]) -> Result<Identity, PartitionError> {
    if partition.len() != SIZE {
        return Err(PartitionError::Size(partition.len()));
    }
    if partition.iter().all(|byte| *byte == 0xFF) {
        return Err(PartitionError::Empty);
    }
    // The copy holds the private key.
    let mut flash = MemFlash::from_bytes(partition.to_vec());
    let identity = Reader::new(&mut flash).and_then(|mut reader| reader.identity());
    flash.into_inner().zeroize();
    let identity = identity?;
    identity.validate()?;
    Ok(identity)
}

struct Writer {
    nvs: Nvs<MemFlash>,
}

impl Writer {
    fn new() -> Result<Self, PartitionError> {
        let flash = MemFlash::new(SIZE / FLASH_SECTOR_SIZE);
        Ok(Self { nvs: Nvs::new(0, SIZE, flash).map_err(|_| PartitionError::Full)? })
    }

    fn set<T>(&mut self, name: &'static str, value: T) -> Result<(), PartitionError>
    where
        Nvs<MemFlash>: esp_nvs::Set<T>,
    {
        self.nvs.set(&key(NAMESPACE), &key(name), value).map_err(|_| PartitionError::Full)
    }

    fn text(&mut self, name: &'static str, value: &str) -> Result<(), PartitionError> {
        self.set(name, value)
    }

    fn pem(&mut self, name: &'static str, value: &str) -> Result<(), PartitionError> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(value.len() + 1));
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.set(name, bytes.as_slice())
    }
}

struct Reader<'a> {
    nvs: Nvs<&'a mut MemFlash>,
}

impl<'a> Reader<'a> {
    fn new(flash: &'a mut MemFlash) -> Result<Self, PartitionError> {
        Ok(Self { nvs: Nvs::new(0, SIZE, flash).map_err(|_| PartitionError::Damaged("pages"))? })
    }

    fn identity(&mut self) -> Result<Identity, PartitionError> {
        let schema: u8 = self.need("schema")?;
        if schema != SCHEMA {
            return Err(PartitionError::Schema(schema));
        }
        Ok(Identity {
            name: self.need("name")?,
            host: self.need("host")?,
            port: self.need("port")?,
            address: self.address()?,
            server_certificates: self.pem("server_certs")?,
            skip_name_check: self.need::<u8>("skip_name")? != 0,
            certificate: self.pem("cert")?,
            key: Zeroizing::new(self.pem("key")?),
            wifi: self.wifi()?,
            interval: Duration::from_millis(self.need::<u32>("interval_ms")?.into()),
            topic: self.need("topic")?,
            time_server: self.unless_empty("time_server")?,
            retry: Duration::from_millis(self.need::<u32>("retry_ms")?.into()),
        })
    }

    fn address(&mut self) -> Result<Option<SocketAddrV4>, PartitionError> {
        let text = self.unless_empty("address")?;
        text.map(|text| text.parse().map_err(|_| Invalid { field: "address", why: "not IPv4:PORT" }.into()))
            .transpose()
    }

    fn wifi(&mut self) -> Result<Option<Wifi>, PartitionError> {
        let password = Zeroizing::new(self.need("wifi_password")?);
        Ok(self.unless_empty("wifi_ssid")?.map(|ssid| Wifi { ssid, password }))
    }

    fn pem(&mut self, name: &'static str) -> Result<String, PartitionError> {
        let mut bytes: Vec<u8> = self.need(name)?;
        if bytes.pop() != Some(0) {
            bytes.zeroize();
            return Err(PartitionError::Damaged(name));
        }
        String::from_utf8(bytes).map_err(|error| {
            error.into_bytes().zeroize();
            PartitionError::Damaged(name)
        })
    }

    fn unless_empty(&mut self, name: &'static str) -> Result<Option<String>, PartitionError> {
        let text: String = self.need(name)?;
        Ok((!text.is_empty()).then_some(text))
    }

    fn need<T>(&mut self, name: &'static str) -> Result<T, PartitionError>
    where
        Nvs<&'a mut MemFlash>: Get<T>,
    {
        self.nvs.get(&key(NAMESPACE), &key(name)).map_err(|_| PartitionError::Damaged(name))
    }
}

/// Every name given here is at most 15 ASCII bytes; a longer one would panic in the first test.
fn key(name: &'static str) -> Key {
    Key::from_str(name)
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
