//! The identity partition, as it lies in the flash.

use alloc::vec;
use alloc::vec::Vec;

use esp_bootloader_esp_idf::partitions::{
    FlashStorage, PARTITION_TABLE_MAX_LEN, PartitionEntry, read_partition_table,
};
use esp_hal::peripherals::FLASH;
use tbprov_contract::partition::{LABEL, SIZE};

/// Type `data` in a partition table (ESP-IDF Programming Guide, "Partition Tables").
const DATA: u8 = 1;
/// Subtype `nvs` of type `data`.
const NVS: u8 = 2;

/// A copy of the identity partition, found by its label in the partition table.
pub(super) fn identity_partition(flash: FLASH<'static>) -> Result<Vec<u8>, &'static str> {
    let mut flash = FlashStorage::new(flash);
    let entry = find(&mut flash)?;
    if usize::try_from(entry.len()) != Ok(SIZE) {
        return Err("the partition 'identity' does not have its 24576 bytes");
    }
    let mut bytes = vec![0; SIZE];
    match entry.as_flash_region(&mut flash).read(0, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err("the partition 'identity' cannot be read from the flash"),
    }
}

fn find(flash: &mut FlashStorage<'_>) -> Result<PartitionEntry, &'static str> {
    let mut buffer = vec![0; PARTITION_TABLE_MAX_LEN];
    let table =
        read_partition_table(flash, &mut buffer).map_err(|_| "the flash holds no valid partition table")?;
    table.iter().find(is_identity).ok_or("the partition table has no partition 'identity'")
}

/// Compares raw bytes: the typed accessors of an entry panic on a type that they do not know.
fn is_identity(entry: &PartitionEntry) -> bool {
    let label = entry.label().split(|byte| *byte == 0).next().unwrap_or_default();
    entry.raw_type() == DATA && entry.raw_subtype() == NVS && label == LABEL.as_bytes()
}

const _: () = assert!(SIZE == 24_576, "the number in the message");
