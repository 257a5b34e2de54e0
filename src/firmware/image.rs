//! What goes into the flash of a board: bootloader, partition table, application and, where a device is named,
//! its identity.

use std::fmt;

use espflash::flasher::{FlashData, FlashSettings, FlashSize};
use espflash::image_format::Metadata;
use espflash::image_format::idf::IdfBootloaderFormat;
use espflash::target::{Chip, XtalFrequency};
use zeroize::Zeroizing;

use super::board::Board;
use super::elf::{self, Elf};
use super::partitions::{Partitions, TABLE_OFFSET};
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::identity::sha256_hex;

/// What erased flash reads as, between the parts.
pub(super) const ERASED: u8 = 0xFF;
/// Where ESP-IDF expects the application's own description.
const DESCRIPTION: &str = ".flash.appdesc";
/// The size of that description in bytes (ESP-IDF, `esp_app_desc_t`).
const DESCRIPTION_SIZE: u64 = 256;

/// Something that lies at one place of the flash.
#[derive(Clone)]
pub struct Part {
    /// `bootloader`, `partition-table`, `application` or `identity`.
    pub name: &'static str,
    /// Its first byte's place in the flash.
    pub offset: u32,
    /// What is there. An identity holds a private key, so all are wiped when they are dropped.
    pub bytes: Zeroizing<Vec<u8>>,
}

/// Everything that a board needs in its flash.
#[derive(Debug, Clone)]
pub struct Image {
    /// The chip that it is for.
    pub board: Board,
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
    pub fn from_elf(elf: &[u8], board: Board, partitions: &str) -> Result<Self> {
        Self::for_crystal(elf, board, partitions, None)
    }

    /// As [`Image::from_elf`] for a board whose crystal has `megahertz`, which matters to the bootloaders of ESP32
    /// and ESP32-C2 (26 or 40).
    ///
    /// # Errors
    /// As there, and when there is no bootloader for such a crystal.
    pub fn for_crystal(elf: &[u8], board: Board, partitions: &str, megahertz: Option<u32>) -> Result<Self> {
        let chip = chip(board)?;
        check(&Elf::parse(elf)?, elf, board)?;
        let partitions = Partitions::parse(partitions)?;
        let crystal = match megahertz {
            Some(megahertz) => crystal(megahertz, board)?,
            None => chip.default_xtal_frequency(),
        };
        let settings = FlashSettings::new(None, Some(flash_size(&partitions)?), None);
        let data = FlashData::new(settings, 0, None, chip, crystal);
        // With espflash's own partition table, whose application partition is the whole flash: ours decides.
        let format = IdfBootloaderFormat::new(elf, &data, None, None, Some(TABLE_OFFSET), None)
            .map_err(|error| refused(board, &error.to_string()).source(error))?;
        let mut segments = format.flash_segments();
        let (Some(bootloader), Some(application)) = (segments.next(), segments.nth(1)) else {
            return Err(Error::new(ErrorCode::Bug, "espflash made no application"));
        };
        let image = Self {
            board,
            parts: vec![
                Part::new("bootloader", bootloader.addr, bootloader.data.into_owned()),
                Part::new("partition-table", TABLE_OFFSET, partitions.to_bytes()?),
                Part::new("application", partitions.application().start, application.data.into_owned()),
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
        self.parts.retain(|part| part.name != IDENTITY);
        self.parts.push(Part { name: IDENTITY, offset: place.start, bytes: identity });
        self.parts.sort_by_key(|part| part.offset);
        Ok(self)
    }

    /// Whether it holds an identity, and so a private key.
    pub fn has_identity(&self) -> bool {
        self.part(IDENTITY).is_some()
    }

    /// The part called `name`.
    pub fn part(&self, name: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.name == name)
    }

    /// The bytes of the application alone.
    pub fn application_size(&self) -> usize {
        self.part(APPLICATION).map_or(0, |part| part.bytes.len())
    }

    /// One file with everything, to be written from the first byte of the flash on.
    pub fn to_file_bytes(&self) -> Zeroizing<Vec<u8>> {
        file(self.parts.iter())
    }

    /// The SHA-256 of that file without an identity, in lower-case hex: the same for every device.
    pub fn sha256(&self) -> String {
        sha256_hex(&file(self.parts.iter().filter(|part| part.name != IDENTITY)))
    }

    fn fits(&self) -> Result<()> {
        let room = self.partitions.application().len();
        let size = self.application_size();
        if size > room {
            let message = format!("the application has {size} bytes, its partition {room}");
            return Err(Error::new(ErrorCode::FirmwareImage, message));
        }
        let bootloader = self.parts.first().map_or(0, |part| part.offset as usize + part.bytes.len());
        if bootloader > TABLE_OFFSET as usize {
            return Err(Error::new(ErrorCode::Bug, "the bootloader is too large"));
        }
        Ok(())
    }
}

pub(super) const APPLICATION: &str = "application";
pub(super) const IDENTITY: &str = "identity";

impl Part {
    /// A part; its bytes are wiped when it is dropped.
    pub fn new(name: &'static str, offset: u32, bytes: Vec<u8>) -> Self {
        Self { name, offset, bytes: Zeroizing::new(bytes) }
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

/// espflash's name for a chip.
///
/// # Errors
/// `firmware/image` for the emulated board, which has no flash.
pub fn chip(board: Board) -> Result<Chip> {
    match board {
        Board::Esp32 => Ok(Chip::Esp32),
        Board::Esp32C2 => Ok(Chip::Esp32c2),
        Board::Esp32C3 => Ok(Chip::Esp32c3),
        Board::Esp32C6 => Ok(Chip::Esp32c6),
        Board::Esp32H2 => Ok(Chip::Esp32h2),
        Board::Esp32S3 => Ok(Chip::Esp32s3),
        Board::Virt => {
            let message = "the board 'virt' has no flash, and so no image";
            Err(Error::new(ErrorCode::FirmwareImage, message).hint(Hint::EmulateVirt))
        }
    }
}

fn crystal(megahertz: u32, board: Board) -> Result<XtalFrequency> {
    match megahertz {
        26 => Ok(XtalFrequency::_26Mhz),
        32 => Ok(XtalFrequency::_32Mhz),
        40 => Ok(XtalFrequency::_40Mhz),
        _ => Err(refused(board, &format!("no bootloader is known for a crystal of {megahertz} MHz"))),
    }
}

/// The smallest flash that has room for every partition.
fn flash_size(partitions: &Partitions) -> Result<FlashSize> {
    const MIB: u32 = 1 << 20;
    match partitions.end().div_ceil(MIB) {
        0..=2 => Ok(FlashSize::_2Mb),
        3..=4 => Ok(FlashSize::_4Mb),
        5..=8 => Ok(FlashSize::_8Mb),
        9..=16 => Ok(FlashSize::_16Mb),
        _ => Err(Error::new(ErrorCode::FirmwareImage, "the partitions need more than 16 MiB of flash")),
    }
}

/// Whether the file is an application for this chip.
fn check(elf: &Elf<'_>, bytes: &[u8], board: Board) -> Result<()> {
    if elf.is_xtensa() != board.is_xtensa() {
        return Err(refused(board, "it is for a processor of another kind"));
    }
    match Metadata::from_bytes(Some(bytes)).chip_name() {
        Some(name) if name != board.name() => return Err(refused(board, &format!("it is for {name}"))),
        Some(_) => {}
        None => return Err(refused(board, "it does not say for which chip it is")),
    }
    let sections = elf.sections()?;
    let description = sections.iter().find(|section| section.name == DESCRIPTION);
    match description.filter(|section| section.size >= DESCRIPTION_SIZE) {
        None => Err(refused(board, "it lacks the description that the bootloader reads")),
        // espflash takes this for granted, and panics.
        Some(section)
            if !is_in_flash(section.address, board)? || !elf.is_loaded_in_place(section.address) =>
        {
            Err(refused(board, "the description that the bootloader reads is not in its flash"))
        }
        Some(_) => Ok(()),
    }
}

fn is_in_flash(address: u64, board: Board) -> Result<bool> {
    let chip = chip(board)?;
    Ok(u32::try_from(address).is_ok_and(|address| chip.addr_is_flash(address)))
}

fn refused(board: Board, why: &str) -> Error {
    elf::refused(&format!("the application makes no image for {board}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = include_str!("../../firmware/partitions.csv");

    fn image() -> Image {
        Image {
            board: Board::Esp32C3,
            partitions: Partitions::parse(CSV).unwrap(),
            parts: vec![
                Part::new("bootloader", 0, vec![1; 16]),
                Part::new(APPLICATION, 0x10000, vec![2; 16]),
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
            let error = Image::from_elf(bytes, Board::Esp32C3, CSV).unwrap_err();
            assert_eq!(error.code, ErrorCode::FirmwareImage);
        }
        assert_eq!(Image::from_elf(b"", Board::Virt, CSV).unwrap_err().code, ErrorCode::FirmwareImage);
    }
}
