//! The partition table of a board: what lies where in its flash.

use std::ops::Range;

use esp_idf_part::{Partition, PartitionTable, SubType, Type};
use tbprov_contract::partition as identity;

use crate::error::{Error, ErrorCode, Hint, Result};
use crate::text::one_line;

/// Where the table itself lies, on every chip (ESP-IDF, `CONFIG_PARTITION_TABLE_OFFSET`).
pub(super) const TABLE_OFFSET: u32 = 0x8000;
/// What the table has room for (ESP-IDF, `ESP_PARTITION_TABLE_MAX_LEN`), without its checksum.
const MOST_PARTITIONS: usize = 95;
/// What the flash of any of these chips can hold.
pub(super) const LARGEST_FLASH: u64 = 16 << 20;
/// Where partitions may begin: behind the table's own sector.
pub(super) const FIRST_OFFSET: u32 = TABLE_OFFSET + 0x1000;

/// A partition table that has room for an application and for an identity.
#[derive(Debug, Clone)]
pub struct Partitions {
    table: PartitionTable,
    application: Range<u32>,
    identity: Range<u32>,
}

impl Partitions {
    /// The table in a CSV as ESP-IDF knows it.
    ///
    /// # Errors
    /// `firmware/image`: it cannot be read, or lacks the partition of the identity or of the application.
    pub fn parse(csv: &str) -> Result<Self> {
        refuse_what_overflows(csv)?;
        let table = PartitionTable::try_from_str(csv).map_err(|error| unusable(error.to_string()))?;
        if table.partitions().len() > MOST_PARTITIONS {
            return Err(unusable(format!("it has more than {MOST_PARTITIONS} partitions")));
        }
        if let Some(early) = table.partitions().iter().find(|partition| partition.offset() < FIRST_OFFSET) {
            let why = format!("'{}' begins before {FIRST_OFFSET:#x}, in the table itself", early.name());
            return Err(unusable(why));
        }
        let application = table.find("factory").or_else(|| table.find_by_type(Type::App));
        let application =
            application.ok_or_else(|| unusable("it has no partition of type 'app'".to_owned()))?;
        let application = range(application)?;
        let identity = identity_range(&table)?;
        Ok(Self { table, application, identity })
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
        let ends =
            self.table.partitions().iter().map(|partition| range(partition).map_or(0, |range| range.end));
        ends.max().unwrap_or_default()
    }

    /// The table as it lies in the flash behind the bootloader.
    ///
    /// # Errors
    /// `firmware/image`.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.table.to_bin().map_err(|error| unusable(error.to_string()))
    }
}

/// esp-idf-part adds and multiplies in 32 bits: what does not fit would panic, or become another number.
fn refuse_what_overflows(csv: &str) -> Result<()> {
    let lines = csv.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    // With so few, the sum of them all fits.
    for (index, line) in lines.enumerate() {
        if index > MOST_PARTITIONS {
            return Err(unusable(format!("it has more than {MOST_PARTITIONS} partitions")));
        }
        let fields = line.split(',').map(|field| field.trim_matches([' ', '\t', '"']));
        if let Some(field) = fields.into_iter().find(|field| is_beyond_any_flash(field)) {
            let why = format!("'{}' is beyond any flash", one_line(field, 40));
            return Err(unusable(why));
        }
    }
    Ok(())
}

/// Whether `field` is a number, as a partition table has them, that is negative or too large.
fn is_beyond_any_flash(field: &str) -> bool {
    let field = field.replace('_', "").to_ascii_lowercase();
    if let Some(number) = field.strip_prefix('-') {
        return number.starts_with(|first: char| first.is_ascii_digit());
    }
    let (digits, radix, factor) = if let Some(digits) = field.strip_prefix("0x") {
        (digits, 16, 1)
    } else if let Some(digits) = field.strip_prefix("0o") {
        (digits, 8, 1)
    } else if let Some(digits) = field.strip_prefix("0b") {
        (digits, 2, 1)
    } else if let Some(digits) = field.strip_suffix('k') {
        (digits, 10, 1 << 10)
    } else if let Some(digits) = field.strip_suffix('m') {
        (digits, 10, 1 << 20)
    } else {
        (field.as_str(), 10, 1)
    };
    // What is no number in 64 bits either is one that is too long, or none at all.
    let is_number = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    let number = u64::from_str_radix(digits, radix).ok().and_then(|number| number.checked_mul(factor));
    is_number && number.is_none_or(|number| number > LARGEST_FLASH)
}

fn identity_range(table: &PartitionTable) -> Result<Range<u32>> {
    let label = identity::LABEL;
    let found = table.find(label).ok_or_else(|| unusable(format!("it has no partition '{label}'")))?;
    let is_nvs = found.ty() == Type::Data && found.subtype() == SubType::from(esp_idf_part::DataType::Nvs);
    if !is_nvs || found.size() as usize != identity::SIZE {
        let why =
            format!("its partition '{label}' is not of type data, subtype nvs, size {:#x}", identity::SIZE);
        return Err(unusable(why));
    }
    range(found)
}

fn range(partition: &Partition) -> Result<Range<u32>> {
    let end = partition.offset().checked_add(partition.size());
    let end = end.ok_or_else(|| unusable(format!("'{}' ends behind the last address", partition.name())))?;
    Ok(partition.offset()..end)
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
        assert_eq!(partitions.to_bytes().unwrap().len(), 0xC00);
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
            (format!("{identity}factory,app,factory,0x10000,0xffffffff\n"), "beyond any flash"),
            (format!("{identity}factory,app,factory,0xfffff000,0x1000\n"), "beyond any flash"),
            (format!("{identity}factory,app,factory,0x10000,4097M\n"), "beyond any flash"),
            (
                format!("{identity}factory,app,factory,0x10000,\"99999999999999999999k\"\n"),
                "beyond any flash",
            ),
            (format!("{identity}factory,app,factory,-1,1M\n"), "beyond any flash"),
            (format!("{identity}factory,app,factory,0x10000,0xffff_ffff\n"), "beyond any flash"),
            (format!("{app}{}", "x,data,nvs,,16M\n".repeat(1000)), "more than 95"),
            (format!("{identity}factory,app,factory,nonsense,0x100000\n"), "partition"),
        ] {
            let error = Partitions::parse(&csv).unwrap_err();
            assert_eq!(error.code, ErrorCode::FirmwareImage);
            assert!(error.message.contains(why), "{csv}: {}", error.message);
        }
    }
}
