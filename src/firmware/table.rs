//! A partition table as it lies in the flash: of a board, whose flash may hold anything, of a file, or of ours.

use md5::{Digest as _, Md5};

/// Bytes of a table (ESP-IDF, `ESP_PARTITION_TABLE_MAX_LEN`).
pub(super) const TABLE_SIZE: usize = 0xc00;
/// What it has room for, beside the entry with the checksum and the one that ends it.
pub(super) const MOST_PARTITIONS: usize = TABLE_SIZE / ENTRY_SIZE - 2;
/// Bytes of a partition's name.
pub(super) const LONGEST_LABEL: usize = 16;

/// Bytes of an entry (ESP-IDF, `esp_partition_info_t`).
const ENTRY_SIZE: usize = 32;
const ENTRY: [u8; 2] = [0xaa, 0x50];
/// The entry with the MD5 of those before it; the MD5 is its second half.
const CHECKSUM: [u8; 16] =
    [0xeb, 0xeb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
const END: [u8; ENTRY_SIZE] = [0xff; ENTRY_SIZE];

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// [`APP`](super::partitions::APP), [`DATA`](super::partitions::DATA) or anything else.
    pub(super) kind: u8,
    pub(super) subtype: u8,
    pub(super) offset: u32,
    /// In bytes; the end is within 32 bits.
    pub(super) size: u32,
    pub(super) label: String,
    pub(super) flags: u32,
}

impl Entry {
    /// The first byte behind it.
    pub(super) const fn end(&self) -> u32 {
        self.offset.saturating_add(self.size)
    }

    fn to_bytes(&self) -> [u8; ENTRY_SIZE] {
        let mut line = [0; ENTRY_SIZE];
        line[..2].copy_from_slice(&ENTRY);
        (line[2], line[3]) = (self.kind, self.subtype);
        line[4..8].copy_from_slice(&self.offset.to_le_bytes());
        line[8..12].copy_from_slice(&self.size.to_le_bytes());
        for (place, byte) in line[12..12 + LONGEST_LABEL].iter_mut().zip(self.label.bytes()) {
            *place = byte;
        }
        line[28..].copy_from_slice(&self.flags.to_le_bytes());
        line
    }
}

/// The table of these partitions, at most [`MOST_PARTITIONS`].
pub(super) fn to_bytes(entries: &[Entry]) -> Vec<u8> {
    let mut table: Vec<u8> = entries.iter().flat_map(Entry::to_bytes).collect();
    let digest = Md5::digest(&table);
    table.extend(CHECKSUM);
    table.extend_from_slice(&digest);
    table.resize(TABLE_SIZE, 0xff);
    table
}

/// The partitions of a table; nothing where it is none, or damaged.
pub(super) fn entries(table: &[u8]) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut digest = Md5::new();
    for line in table.chunks_exact(ENTRY_SIZE) {
        if line == END {
            return (!entries.is_empty()).then_some(entries);
        }
        if line.starts_with(&CHECKSUM[..2]) {
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

    /// By another program's hand.
    fn ours() -> Vec<u8> {
        let csv = include_str!("../../firmware/partitions.csv");
        PartitionTable::try_from_str(csv).unwrap().to_bin().unwrap()
    }

    #[test]
    fn our_own_table_is_read_and_written() {
        let entries = entries(&ours()).unwrap();
        let read: Vec<_> =
            entries.iter().map(|entry| (entry.label.as_str(), entry.offset, entry.size)).collect();
        assert_eq!(
            read,
            [("identity", 0x9000, 0x6000), ("phy_init", 0xf000, 0x1000), ("factory", 0x10000, 0x1e_0000)]
        );
        assert_eq!(to_bytes(&entries), ours());
    }

    #[test]
    fn as_many_as_fit_are_read_again() {
        let entry = Entry { kind: 1, subtype: 2, offset: 1, size: 2, label: "x".repeat(16), flags: 1 };
        let most = vec![entry; MOST_PARTITIONS];
        assert_eq!(to_bytes(&most).len(), TABLE_SIZE);
        assert_eq!(entries(&to_bytes(&most)), Some(most));
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
        fn anything_is_read_without_a_panic(
            places in prop::collection::vec((0usize..96, any::<u8>()), 0..4),
        ) {
            let mut table = ours();
            for (place, byte) in places {
                table[place] = byte;
            }
            // Without the checksum's entry.
            table[96..128].fill(0xff);
            let _ = entries(&table);
        }
    }
}
