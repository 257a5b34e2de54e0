//! The partition table of a board: what lies where in its flash, and what it has to be like to be used.

use std::ops::Range;

use tbprov_contract::partition as identity;

use super::csv;
use super::table::{self, Entry, MOST_PARTITIONS};
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::text::one_line;

/// Bytes that the flash of any of these chips can hold, and so of an image of one.
pub const LARGEST_FLASH: u32 = 16 << 20;
/// Where the table itself lies, on every chip (ESP-IDF, `CONFIG_PARTITION_TABLE_OFFSET`).
pub(super) const TABLE_OFFSET: u32 = 0x8000;
/// Bytes of flash that are erased at once: partitions begin with one.
pub(super) const SECTOR: u32 = 0x1000;
/// Where partitions may begin: behind the table's own sector.
pub(super) const FIRST_OFFSET: u32 = TABLE_OFFSET + SECTOR;
/// What an application begins with (ESP-IDF: the pages of the flash's cache).
pub(super) const APPLICATION_PAGE: u32 = 0x10000;

/// The type of partitions with an application (ESP-IDF, `PART_TYPE_APP`).
pub(super) const APP: u8 = 0;
/// The type of partitions with data (ESP-IDF, `PART_TYPE_DATA`).
pub(super) const DATA: u8 = 1;
/// The subtype of the application that a bootloader starts (ESP-IDF, `PART_SUBTYPE_FACTORY`).
const FACTORY: u8 = 0;
/// The subtype of data in the format NVS (ESP-IDF, `PART_SUBTYPE_DATA_NVS`).
const NVS: u8 = 2;

/// A partition table that has room for an application and for an identity.
#[derive(Debug, Clone)]
pub struct Partitions {
    entries: Vec<Entry>,
    application: Range<u32>,
    identity: Range<u32>,
}

impl Partitions {
    /// The table in a CSV as ESP-IDF knows it.
    ///
    /// # Errors
    /// `firmware/image`: it cannot be read, or lacks the partition of the identity or of the application.
    pub fn parse(csv: &str) -> Result<Self> {
        csv::entries(csv).and_then(Self::checked).map_err(unusable)
    }

    /// The table with these partitions.
    ///
    /// # Errors
    /// `firmware/image`, as [`Partitions::parse`].
    pub(super) fn from_entries(entries: Vec<Entry>) -> Result<Self> {
        Self::checked(entries).map_err(unusable)
    }

    fn checked(entries: Vec<Entry>) -> Result<Self, String> {
        if entries.len() > MOST_PARTITIONS {
            return Err(format!("it has more than {MOST_PARTITIONS} partitions"));
        }
        entries.iter().try_for_each(is_in_its_place)?;
        is_free_of_conflicts(&entries)?;
        let mut apps = entries.iter().filter(|entry| entry.kind == APP);
        let first = apps.clone().find(|entry| entry.subtype == FACTORY).or_else(|| apps.next());
        let application = first.ok_or("it has no partition of type 'app'")?;
        Ok(Self {
            application: application.offset..application.end(),
            identity: place_of_identity(&entries)?,
            entries,
        })
    }

    /// Where the application lies in the flash.
    pub fn application(&self) -> Range<u32> {
        self.application.clone()
    }

    /// Where the identity lies in the flash.
    pub fn identity(&self) -> Range<u32> {
        self.identity.clone()
    }

    /// The first byte of the flash behind every partition.
    pub fn end(&self) -> u32 {
        self.entries.iter().map(Entry::end).max().unwrap_or_default()
    }

    /// The table as it lies in the flash behind the bootloader.
    pub fn to_bytes(&self) -> Vec<u8> {
        table::to_bytes(&self.entries)
    }
}

/// Where a table, of ours or of any board, has the identity; else why it is no place for one.
pub(super) fn place_of_identity(entries: &[Entry]) -> Result<Range<u32>, String> {
    let label = identity::LABEL;
    let found = entries.iter().find(|entry| entry.label == label);
    let found = found.ok_or_else(|| format!("it has no partition '{label}'"))?;
    if (found.kind, found.subtype) != (DATA, NVS) || found.size as usize != identity::SIZE {
        let size = identity::SIZE;
        return Err(format!("its partition '{label}' is not of type data, subtype nvs, size {size:#x}"));
    }
    is_in_its_place(found)?;
    Ok(found.offset..found.end())
}

fn is_in_its_place(entry: &Entry) -> Result<(), String> {
    let label = one_line(&entry.label, 40);
    let page = if entry.kind == APP { APPLICATION_PAGE } else { SECTOR };
    if entry.offset < FIRST_OFFSET {
        return Err(format!("'{label}' begins before {FIRST_OFFSET:#x}, in the table itself"));
    }
    if entry.end() > LARGEST_FLASH {
        return Err(format!("'{label}' ends beyond any flash"));
    }
    if !entry.offset.is_multiple_of(page) {
        return Err(format!("'{label}' is not aligned: it has to begin at a multiple of {page:#x}"));
    }
    Ok(())
}

fn is_free_of_conflicts(entries: &[Entry]) -> Result<(), String> {
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_by_key(|entry| entry.offset);
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0].end() > pair[1].offset) {
        let (one, other) = (one_line(&pair[0].label, 40), one_line(&pair[1].label, 40));
        return Err(format!("'{one}' and '{other}' overlap"));
    }
    sorted.sort_by_key(|entry| &entry.label);
    match sorted.windows(2).find(|pair| pair[0].label == pair[1].label) {
        Some(pair) => Err(format!("two partitions are called '{}'", one_line(&pair[0].label, 40))),
        None => Ok(()),
    }
}

fn unusable(why: String) -> Error {
    Error::new(ErrorCode::FirmwareImage, format!("the partition table cannot be used: {why}"))
        .hint(Hint::PartitionTable)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = include_str!("../../firmware/partitions.csv");

    #[test]
    fn our_own_table_is_usable() {
        let partitions = Partitions::parse(OURS).unwrap();
        assert_eq!(partitions.identity(), 0x9000..0xF000);
        assert_eq!(partitions.application(), 0x10000..0x1F_0000);
        assert_eq!(partitions.end(), 0x1F_0000);
        let again = table::entries(&partitions.to_bytes()).unwrap();
        assert_eq!(Partitions::from_entries(again).unwrap().to_bytes(), partitions.to_bytes());
    }

    #[test]
    fn tables_that_cannot_be_used_say_why() {
        let app = "factory,app,factory,0x10000,0x100000\n";
        let identity = "identity,data,nvs,0x9000,0x6000\n";
        for (csv, why) in [
            (String::new(), "app"),
            (identity.to_owned(), "app"),
            (app.to_owned(), "no partition 'identity'"),
            (format!("identity,data,nvs,0x9000,0x5000\n{app}"), "size 0x6000"),
            (format!("identity,data,phy,0x9000,0x6000\n{app}"), "subtype nvs"),
            (format!("identity,data,nvs,0x8000,0x6000\n{app}"), "in the table itself"),
            (format!("{identity}factory,app,factory,0x11000,0x100000\n"), "aligned"),
            (format!("{identity}{app}x,data,nvs,0x110800,4K\n"), "aligned"),
            (format!("{identity}factory,app,factory,0x10000,0x1000000\n"), "beyond any flash"),
            (format!("{identity}factory,app,factory,0xfff0000,0x1000\n"), "beyond any flash"),
            (format!("{identity}{app}x,data,nvs,0xe000,4K\n"), "'identity' and 'x' overlap"),
            (format!("{identity}{app}factory,data,nvs,,4K\n"), "called 'factory'"),
            (format!("{app}{}", "x,data,nvs,,4K\n".repeat(94)), "more than 94"),
            (format!("{identity}factory,app,factory,nonsense,0x100000\n"), "'nonsense' is no number"),
        ] {
            let error = Partitions::parse(&csv).unwrap_err();
            assert_eq!(error.code, ErrorCode::FirmwareImage);
            assert!(error.message.contains(why), "{csv}: {}", error.message);
        }
    }
}
