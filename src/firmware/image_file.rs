//! An image as `tbprov firmware image` wrote it, taken apart again.
//!
//! Written as one piece it would erase the identity of the board with the gap between its parts.

use std::path::Path;

use espflash::target::Chip as Target;
use zeroize::Zeroizing;

use super::board::Chip;
use super::elf;
use super::image::{ERASED, Image, Part, PartName};
use super::partitions::{LARGEST_FLASH, Partitions, TABLE_OFFSET};
use super::table::{self, TABLE_SIZE};
use crate::error::{Error, ErrorCode, Hint, Result};

/// The first byte of a bootloader and of an application (ESP-IDF, `ESP_IMAGE_HEADER_MAGIC`).
const MAGIC: u8 = 0xe9;
/// Where their header has the chip (ESP-IDF, `esp_image_header_t`).
const CHIP: usize = 12;
/// Where the bootloader of the ESP32 begins; that of the others begins at 0.
const ESP32_BOOTLOADER: usize = 0x1000;

impl Image {
    /// The image in a file.
    ///
    /// # Errors
    /// `file/not-found`, `file/io`, and those of [`Image::from_file`].
    pub fn read(path: &Path) -> Result<Self> {
        Self::from_file(&Zeroizing::new(elf::read_file(path, LARGEST_FLASH.into())?))
    }

    /// The image in the bytes of a file that begins with the first byte of the flash.
    ///
    /// # Errors
    /// `firmware/image` when it is none, or for a chip that has no firmware.
    pub fn from_file(file: &[u8]) -> Result<Self> {
        let begin = if file.first() == Some(&MAGIC) { 0 } else { ESP32_BOOTLOADER };
        let header = file.get(begin..begin + CHIP + 2).filter(|header| header[0] == MAGIC);
        let header = header.ok_or_else(|| refused("it does not begin with a bootloader"))?;
        let chip = chip(u16::from_le_bytes([header[CHIP], header[CHIP + 1]]))?;
        let table = TABLE_OFFSET as usize;
        let content = file
            .get(table..table + TABLE_SIZE)
            .ok_or_else(|| refused("it ends before its partition table"))?;
        let entries = table::entries(content).ok_or_else(|| refused("its partition table is damaged"))?;
        let partitions = Partitions::from_entries(entries)?;
        let mut parts = vec![
            Part::new(PartName::Bootloader, offset(begin), used(&file[begin..table])),
            Part::new(PartName::PartitionTable, TABLE_OFFSET, content.to_vec()),
        ];
        // The whole partition: what is erased in it has to be.
        if let Some(identity) =
            slice(file, partitions.identity()).filter(|bytes| bytes.iter().any(|byte| *byte != ERASED))
        {
            parts.push(Part::new(PartName::Identity, partitions.identity().start, identity.to_vec()));
        }
        let place = partitions.application();
        let application =
            file.get(place.start as usize..).ok_or_else(|| refused("it ends before its application"))?;
        let application = &application[..application.len().min(place.len())];
        if application.first() != Some(&MAGIC) {
            return Err(refused("it has no application"));
        }
        parts.push(Part::new(PartName::Application, place.start, application.to_vec()));
        parts.sort_by_key(|part| part.offset);
        Ok(Self { chip, partitions, parts })
    }
}

fn slice(file: &[u8], place: std::ops::Range<u32>) -> Option<&[u8]> {
    file.get(place.start as usize..place.end as usize)
}

/// Without the gap behind it.
fn used(bytes: &[u8]) -> Vec<u8> {
    let length = bytes.iter().rposition(|byte| *byte != ERASED).map_or(0, |last| last + 1);
    bytes[..length].to_vec()
}

fn offset(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

fn chip(number: u16) -> Result<Chip> {
    let known = Target::try_from(number).ok().and_then(Chip::of);
    known.ok_or_else(|| refused("it is for a chip that tbprov has no firmware for"))
}

fn refused(why: &str) -> Error {
    Error::new(ErrorCode::FirmwareImage, format!("the file is no image of a flash: {why}"))
        .hint(Hint::ImageFile)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file() -> Vec<u8> {
        let table = Partitions::parse(include_str!("../../firmware/partitions.csv")).unwrap();
        let mut header = vec![0; 24];
        (header[0], header[CHIP]) = (MAGIC, 5);
        let mut file = header.clone();
        file.resize(TABLE_OFFSET as usize, ERASED);
        file.extend(table.to_bytes());
        file.resize(0x10000, ERASED);
        file.extend(header);
        file
    }

    #[test]
    fn a_file_is_the_same_again() {
        let image = Image::from_file(&file()).unwrap();
        assert_eq!(image.chip, Chip::Esp32C3);
        assert!(!image.has_identity());
        assert_eq!(*image.to_file_bytes(), file());
    }

    proptest! {
        #[test]
        fn damage_is_no_panic(places in prop::collection::vec((0usize..0xc20, any::<u8>()), 0..20), length in 0usize..0x10020) {
            let mut damaged = file();
            for (place, byte) in places {
                let in_table = TABLE_OFFSET as usize + place;
                damaged[if place < 0xc00 { in_table } else { place - 0xc00 }] = byte;
            }
            let _ = Image::from_file(&damaged);
            damaged.truncate(length);
            let _ = Image::from_file(&damaged);
        }
    }
}
