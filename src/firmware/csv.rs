//! A partition table as people write it: `partitions.csv`, by the rules of ESP-IDF's `gen_esp32part.py`.

use esp_idf_part::{AppType, DataType};

use super::partitions::{APP, APPLICATION_PAGE, DATA, FIRST_OFFSET, LARGEST_FLASH, SECTOR};
use super::table::{Entry, LONGEST_LABEL};
use crate::text::one_line;

/// What a partition's flags are called, and their bits (ESP-IDF, `PART_FLAG_ENCRYPTED`, `PART_FLAG_READONLY`).
const FLAGS: [(&str, u32); 2] = [("encrypted", 1), ("readonly", 2)];

/// The partitions of a table, each behind the one before where it does not say where it begins.
///
/// # Errors
/// Why a line cannot be read, in words.
pub(super) fn entries(csv: &str) -> Result<Vec<Entry>, String> {
    let lines = csv.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut next = FIRST_OFFSET;
    lines
        .map(|line| {
            let entry = entry(line, next)?;
            next = entry.end();
            Ok(entry)
        })
        .collect()
}

fn entry(line: &str, next: u32) -> Result<Entry, String> {
    let mut fields = line.split(',').map(str::trim);
    let mut field = || fields.next().unwrap_or_default();
    let [label, kind, subtype, offset, size, flags] = std::array::from_fn(|_| field());
    if label.is_empty() || label.len() > LONGEST_LABEL {
        return Err(format!("the name '{}' has not 1 to {LONGEST_LABEL} bytes", one_line(label, 40)));
    }
    let kind = match kind {
        "app" => APP,
        "data" => DATA,
        other => byte(other)?,
    };
    let page = if kind == APP { APPLICATION_PAGE } else { SECTOR };
    Ok(Entry {
        kind,
        subtype: subtype_of(kind, subtype)?,
        offset: if offset.is_empty() { next.next_multiple_of(page) } else { number(offset)? },
        size: number(size)?,
        label: label.to_owned(),
        flags: flags_of(flags)?,
    })
}

fn subtype_of(kind: u8, text: &str) -> Result<u8, String> {
    let named = match kind {
        APP => text.parse::<AppType>().ok().map(|named| named as u8),
        DATA => text.parse::<DataType>().ok().map(|named| named as u8),
        _ => None,
    };
    named.map_or_else(|| byte(text), Ok)
}

fn flags_of(text: &str) -> Result<u32, String> {
    text.split(':').filter(|flag| !flag.is_empty()).try_fold(0, |flags, flag| {
        let known = FLAGS.iter().find(|(name, _)| *name == flag);
        known.map(|(_, bit)| flags | bit).ok_or_else(|| format!("'{}' is no flag", one_line(flag, 40)))
    })
}

fn byte(text: &str) -> Result<u8, String> {
    let value = number(text)?;
    u8::try_from(value).map_err(|_| format!("'{}' is no type of partitions", one_line(text, 40)))
}

/// A number in the radix that its prefix says, with K or M for its multiples.
fn number(text: &str) -> Result<u32, String> {
    let shown = || one_line(text, 40);
    let lower = text.to_ascii_lowercase();
    let (digits, factor) = match (lower.strip_suffix('k'), lower.strip_suffix('m')) {
        (Some(digits), _) => (digits, 1 << 10),
        (_, Some(digits)) => (digits, 1 << 20),
        _ => (lower.as_str(), 1),
    };
    let (digits, radix) = match digits.split_at_checked(2) {
        Some(("0x", digits)) => (digits, 16),
        Some(("0o", digits)) => (digits, 8),
        Some(("0b", digits)) => (digits, 2),
        _ => (digits, 10),
    };
    if digits.starts_with('+') {
        return Err(format!("'{}' is no number", shown()));
    }
    let number = u64::from_str_radix(digits, radix).map_err(|_| format!("'{}' is no number", shown()))?;
    let bytes = number.checked_mul(factor).filter(|bytes| *bytes <= LARGEST_FLASH.into());
    let bytes = bytes.and_then(|bytes| u32::try_from(bytes).ok());
    bytes.ok_or_else(|| format!("'{}' is beyond any flash", shown()))
}

#[cfg(test)]
mod tests {
    use esp_idf_part::PartitionTable;
    use proptest::prelude::*;

    use super::*;
    use crate::firmware::table;

    #[test]
    fn tables_are_read_as_another_program_reads_them() {
        for csv in [
            include_str!("../../firmware/partitions.csv"),
            "# a comment\n\nnvs,data,nvs,,24K\nfactory,app,factory,,1M,\n",
            "a, app, ota_0, 0x10000, 1M, encrypted\nb,data,ota,,0x2000\n c ,0x40,0x7,,4k, readonly:encrypted",
            "otadata,data,ota,0x9000,0x2000\nphy,data,phy,,0o10000\napp0,app,ota_15,,65536\ns,data,spiffs,,1m",
        ] {
            let theirs = PartitionTable::try_from_str(csv).unwrap().to_bin().unwrap();
            assert_eq!(table::to_bytes(&entries(csv).unwrap()), theirs, "{csv}");
        }
    }

    #[test]
    fn numbers_that_no_flash_has_are_refused() {
        for (text, why) in [
            ("-1", "no number"),
            ("", "no number"),
            ("0x", "no number"),
            ("+1", "no number"),
            ("nonsense", "no number"),
            ("0xffffffff", "beyond any flash"),
            ("4097M", "beyond any flash"),
            ("17M", "beyond any flash"),
            ("18446744073709551615k", "beyond any flash"),
            ("99999999999999999999k", "no number"),
        ] {
            let error = number(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert_eq!((number("16M"), number("0x10K"), number("7")), (Ok(16 << 20), Ok(16384), Ok(7)));
    }

    proptest! {
        #[test]
        fn anything_is_read_without_a_panic(
            csv in "([a-z0-9_]{0,17},(app|data|[0-9]{1,3}),([a-z_]{0,8}|[0-9]{0,3}),([0-9]{0,9}[kMx]?)?,[0-9x]{0,9}[kM]?,[a-z:]{0,9}\n){0,4}",
            any in any::<String>(),
        ) {
            let _ = entries(&csv);
            let _ = entries(&any);
        }
    }
}
