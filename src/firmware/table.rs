//! A partition table as it lies in the flash: of a board, whose flash may hold anything, or of a file.
//!
//! esp-idf-part reads tables too, and panics on types of partitions that it does not know; nothing here does.

use esp_idf_part::{AppType, DataType, Flags};
use md5::{Digest as _, Md5};

/// Bytes of a table, at the most (ESP-IDF, `ESP_PARTITION_TABLE_MAX_LEN`).
pub(super) const TABLE_SIZE: usize = 0xc00;

/// Bytes of an entry (ESP-IDF, `esp_partition_info_t`).
const ENTRY_SIZE: usize = 32;
const ENTRY: [u8; 2] = [0xaa, 0x50];
/// The entry with the MD5 of those before it.
const CHECKSUM: [u8; 2] = [0xeb, 0xeb];
const END: [u8; ENTRY_SIZE] = [0xff; ENTRY_SIZE];

/// A partition.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    kind: u8,
    subtype: u8,
    pub(super) offset: u32,
    pub(super) size: u32,
    pub(super) label: String,
    flags: u32,
}

impl Entry {
    /// Whether esp-idf-part knows this type.
    pub(super) fn is_known(&self) -> bool {
        let subtype = usize::from(self.subtype);
        let known = match self.kind {
            0 => AppType::from_repr(subtype).is_some(),
            1 => DataType::from_repr(subtype).is_some(),
            _ => true,
        };
        known && Flags::from_bits(self.flags).is_some()
    }
}

/// The partitions of a table; nothing where it is none, or damaged.
pub(super) fn entries(table: &[u8]) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut digest = Md5::new();
    for line in table.chunks_exact(ENTRY_SIZE) {
        if line == END {
            return (!entries.is_empty()).then_some(entries);
        }
        if line.starts_with(&CHECKSUM) {
            if digest.clone().finalize().as_slice() != &line[16..] {
                return None;
            }
        } else {
            digest.update(line);
            entries.push(entry(line)?);
        }
    }
    None
}

fn entry(line: &[u8]) -> Option<Entry> {
    let number = |place: usize| line[place..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    let label = line[12..28].split(|byte| *byte == 0).next().unwrap_or_default();
    let entry = Entry {
        kind: line[2],
        subtype: line[3],
        offset: number(4)?,
        size: number(8)?,
        label: String::from_utf8_lossy(label).into_owned(),
        flags: number(28)?,
    };
    (line.starts_with(&ENTRY) && entry.offset.checked_add(entry.size).is_some()).then_some(entry)
}

#[cfg(test)]
mod tests {
    use esp_idf_part::PartitionTable;
    use proptest::prelude::*;

    use super::*;

    fn ours() -> Vec<u8> {
        let csv = include_str!("../../firmware/partitions.csv");
        PartitionTable::try_from_str(csv).unwrap().to_bin().unwrap()
    }

    #[test]
    fn our_own_table_is_read() {
        let entries = entries(&ours()).unwrap();
        let read: Vec<_> =
            entries.iter().map(|entry| (entry.label.as_str(), entry.offset, entry.size)).collect();
        assert_eq!(
            read,
            [("identity", 0x9000, 0x6000), ("phy_init", 0xf000, 0x1000), ("factory", 0x10000, 0x1e_0000)]
        );
        assert!(entries.iter().all(Entry::is_known));
    }

    #[test]
    fn what_is_none_is_none() {
        let mut damaged = ours();
        damaged[6] ^= 1;
        for table in [vec![], vec![0; TABLE_SIZE], vec![0xff; TABLE_SIZE], damaged, ours()[..64].to_vec()] {
            assert_eq!(entries(&table), None);
        }
    }

    proptest! {
        #[test]
        fn what_is_called_known_is_no_panic_in_esp_idf_part(
            places in prop::collection::vec((0usize..96, any::<u8>()), 0..4),
        ) {
            let mut table = ours();
            for (place, byte) in places {
                table[place] = byte;
            }
            // Without the checksum's entry.
            table[96..128].fill(0xff);
            if entries(&table).is_some_and(|entries| entries.iter().all(Entry::is_known)) {
                let _ = PartitionTable::try_from_bytes(table);
            }
        }
    }
}
