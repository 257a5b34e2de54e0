//! What goes into the flash of a board: bootloader, partition table, application and, where a device is named,
//! its identity.

use std::fmt;

use espflash::flasher::{FlashData, FlashSettings, FlashSize};
use espflash::image_format::Metadata;
use espflash::image_format::idf::IdfBootloaderFormat;
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use super::board::{Chip, Crystal};
use super::elf::{self, Elf};
use super::partitions::{Partitions, TABLE_OFFSET};
use crate::error::{Error, ErrorCode, Result};
use crate::identity::sha256_hex;

/// What erased flash reads as, between the parts.
pub(super) const ERASED: u8 = 0xFF;
/// Where ESP-IDF expects the application's own description.
const DESCRIPTION: &str = ".flash.appdesc";
/// The size of that description in bytes (ESP-IDF, `esp_app_desc_t`).
const DESCRIPTION_SIZE: u64 = 256;

/// The parts of a flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartName {
    /// What the chip starts first.
    Bootloader,
    /// What lies where.
    PartitionTable,
    /// The firmware.
    Application,
    /// What makes the board a device.
    Identity,
}

impl PartName {
    /// The name in results and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bootloader => "bootloader",
            Self::PartitionTable => "partition-table",
            Self::Application => "application",
            Self::Identity => "identity",
        }
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Serialize for PartName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Where a part lies in the flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The part.
    pub name: PartName,
    /// Its first byte's place.
    pub offset: u32,
    /// Its length in bytes.
    pub bytes: usize,
}

/// Something that lies at one place of the flash.
#[derive(Clone)]
pub struct Part {
    /// What it is.
    pub name: PartName,
    /// Its first byte's place in the flash.
    pub offset: u32,
    /// What is there. An identity holds a private key, so all are wiped when they are dropped.
    pub bytes: Zeroizing<Vec<u8>>,
}

/// Everything that a board needs in its flash.
#[derive(Debug, Clone)]
pub struct Image {
    /// The chip that it is for.
    pub chip: Chip,
    /// What lies where.
    pub partitions: Partitions,
    /// The parts, in the order of their places in the flash.
    pub parts: Vec<Part>,
}

impl Image {
    /// The image of an application for a chip with its usual crystal; `partitions` is the text of a
    /// `partitions.csv`.
    ///
    /// # Errors
    /// `firmware/image`: the file is no application for this chip, the table cannot be used, or the application
    /// does not fit in its partition.
    pub fn from_elf(elf: &[u8], chip: Chip, partitions: &str) -> Result<Self> {
        Self::for_crystal(elf, chip, partitions, None)
    }

    /// As [`Image::from_elf`] for a board with this `crystal`; without, the usual one.
    ///
    /// # Errors
    /// As there, and when there is no bootloader for such a crystal.
    pub fn for_crystal(elf: &[u8], chip: Chip, partitions: &str, crystal: Option<Crystal>) -> Result<Self> {
        check(&Elf::parse(elf)?, elf, chip)?;
        let partitions = Partitions::parse(partitions)?;
        let crystal = crystal.unwrap_or_else(|| Crystal::usual(chip));
        let settings = FlashSettings::new(None, Some(flash_size(&partitions)), None);
        let data = FlashData::new(settings, 0, None, chip.target(), crystal.0);
        let format = IdfBootloaderFormat::new(elf, &data, None, None, Some(TABLE_OFFSET), None)
            .map_err(|error| refused(chip, &error.to_string()).source(error))?;
        // Between the two is espflash's own partition table, whose application partition is the whole flash.
        let segments: Vec<_> = format.flash_segments().collect();
        let Ok([bootloader, _, application]) = <[_; 3]>::try_from(segments) else {
            return Err(Error::new(ErrorCode::Bug, "espflash made other parts than three"));
        };
        let (table, place) = (partitions.to_bytes(), partitions.application().start);
        let image = Self {
            chip,
            parts: vec![
                Part::new(PartName::Bootloader, bootloader.addr, bootloader.data.into_owned()),
                Part::new(PartName::PartitionTable, TABLE_OFFSET, table),
                Part::new(PartName::Application, place, application.data.into_owned()),
            ],
            partitions,
        };
        image.fits()?;
        Ok(image)
    }

    /// The same image with an identity partition, as [`partition`](super::partition) makes it.
    ///
    /// # Errors
    /// `internal/bug` when it has not the size of the partition.
    pub fn with_identity(mut self, identity: Zeroizing<Vec<u8>>) -> Result<Self> {
        let place = self.partitions.identity();
        if identity.len() != place.len() {
            let message =
                format!("an identity of {} bytes for a partition of {}", identity.len(), place.len());
            return Err(Error::new(ErrorCode::Bug, message));
        }
        self.parts.retain(|part| part.name != PartName::Identity);
        self.parts.push(Part { name: PartName::Identity, offset: place.start, bytes: identity });
        self.parts.sort_by_key(|part| part.offset);
        Ok(self)
    }

    /// Whether it holds an identity, and so a private key.
    pub fn has_identity(&self) -> bool {
        self.part(PartName::Identity).is_some()
    }

    /// The part called `name`, if the image has it.
    pub fn part(&self, name: PartName) -> Option<&Part> {
        self.parts.iter().find(|part| part.name == name)
    }

    /// The bytes of the application alone.
    pub fn application_size(&self) -> usize {
        self.part(PartName::Application).map_or(0, |part| part.bytes.len())
    }

    /// One file with everything, to be written from the first byte of the flash on.
    pub fn to_file_bytes(&self) -> Zeroizing<Vec<u8>> {
        file(self.parts.iter())
    }

    /// The SHA-256 of that file without an identity, in lower-case hex: the same for every device.
    pub fn sha256(&self) -> String {
        sha256_hex(&file(self.parts.iter().filter(|part| part.name != PartName::Identity)))
    }

    fn fits(&self) -> Result<()> {
        let room = self.partitions.application().len();
        let size = self.application_size();
        if size > room {
            let message = format!("the application has {size} bytes, its partition {room}");
            return Err(Error::new(ErrorCode::FirmwareImage, message));
        }
        let bootloader = self.part(PartName::Bootloader).map_or(0, Part::end);
        if bootloader > TABLE_OFFSET as usize {
            return Err(Error::new(ErrorCode::Bug, "the bootloader is too large"));
        }
        Ok(())
    }
}

impl Part {
    /// A part; its bytes are wiped when it is dropped.
    pub fn new(name: PartName, offset: u32, bytes: Vec<u8>) -> Self {
        Self { name, offset, bytes: Zeroizing::new(bytes) }
    }

    /// Where it lies.
    pub fn place(&self) -> Place {
        Place { name: self.name, offset: self.offset, bytes: self.bytes.len() }
    }

    /// The place behind its last byte.
    pub fn end(&self) -> usize {
        self.offset as usize + self.bytes.len()
    }
}

/// Shows no content.
impl fmt::Debug for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Part")
            .field("name", &self.name)
            .field("offset", &self.offset)
            .field("size", &self.bytes.len())
            .finish()
    }
}

fn file<'a>(parts: impl Iterator<Item = &'a Part> + Clone) -> Zeroizing<Vec<u8>> {
    let size = parts.clone().map(Part::end).max().unwrap_or_default();
    let mut bytes = Zeroizing::new(vec![ERASED; size]);
    for part in parts {
        bytes[part.offset as usize..part.end()].copy_from_slice(&part.bytes);
    }
    bytes
}

/// The smallest flash that has room for every partition.
fn flash_size(partitions: &Partitions) -> FlashSize {
    const MIB: u32 = 1 << 20;
    match partitions.end().div_ceil(MIB) {
        0..=2 => FlashSize::_2Mb,
        3..=4 => FlashSize::_4Mb,
        5..=8 => FlashSize::_8Mb,
        _ => FlashSize::_16Mb,
    }
}

/// Whether the file is an application for this chip.
fn check(elf: &Elf<'_>, bytes: &[u8], chip: Chip) -> Result<()> {
    if elf.is_xtensa() != chip.is_xtensa() {
        return Err(refused(chip, "it is for a processor of another kind"));
    }
    match Metadata::from_bytes(Some(bytes)).chip_name() {
        Some(name) if name != chip.name() => return Err(refused(chip, &format!("it is for {name}"))),
        Some(_) => {}
        None => return Err(refused(chip, "it does not say for which chip it is")),
    }
    let sections = elf.sections()?;
    let description = sections.iter().find(|section| section.name == DESCRIPTION);
    match description.filter(|section| section.size >= DESCRIPTION_SIZE) {
        None => Err(refused(chip, "it lacks the description that the bootloader reads")),
        // espflash takes this for granted, and panics.
        Some(section) if !is_in_flash(section.address, chip) || !elf.is_loaded_in_place(section.address) => {
            Err(refused(chip, "the description that the bootloader reads is not in its flash"))
        }
        Some(_) => Ok(()),
    }
}

fn is_in_flash(address: u64, chip: Chip) -> bool {
    u32::try_from(address).is_ok_and(|address| chip.target().addr_is_flash(address))
}

fn refused(chip: Chip, why: &str) -> Error {
    elf::refused(&format!("the application makes no image for {chip}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = include_str!("../../firmware/partitions.csv");

    fn image() -> Image {
        Image {
            chip: Chip::Esp32C3,
            partitions: Partitions::parse(CSV).unwrap(),
            parts: vec![
                Part::new(PartName::Bootloader, 0, vec![1; 16]),
                Part::new(PartName::Application, 0x10000, vec![2; 16]),
            ],
        }
    }

    #[test]
    fn gaps_are_as_erased_flash_and_an_identity_changes_no_hash() {
        let without = image();
        let bytes = without.to_file_bytes();
        assert_eq!(bytes.len(), 0x10010);
        assert!(bytes[16..0x10000].iter().all(|byte| *byte == ERASED));
        let with = image().with_identity(Zeroizing::new(vec![3; 0x6000])).unwrap();
        assert!(with.has_identity() && !without.has_identity());
        assert_eq!(with.sha256(), without.sha256());
        assert_eq!(with.to_file_bytes()[0x9000..0xF000], [3; 0x6000]);
        assert!(!format!("{with:?}").contains("3, 3"));
    }

    #[test]
    fn another_size_of_identity_is_refused() {
        assert_eq!(image().with_identity(Zeroizing::new(vec![3; 5])).unwrap_err().code, ErrorCode::Bug);
    }

    #[test]
    fn what_is_no_application_is_refused() {
        for bytes in [&b""[..], b"\x7fELF", &[0; 200], CSV.as_bytes()] {
            let error = Image::from_elf(bytes, Chip::Esp32C3, CSV).unwrap_err();
            assert_eq!(error.code, ErrorCode::FirmwareImage);
        }
    }
}
