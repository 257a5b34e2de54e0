//! Writing a board's flash: part by part, each read back and compared.

use md5::{Digest as _, Md5};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::bootloader::{Bootloader, SECTOR, reason};
use super::image::Part;
use super::partitions::{FIRST_OFFSET, LARGEST_FLASH, TABLE_OFFSET};
use super::table::{self, TABLE_SIZE};
use crate::error::{Error, ErrorCode, Hint, Result, Step};
use crate::event::{Event, Progress};
use tbprov_contract::partition::{LABEL, SIZE};

/// A partition of a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Region {
    /// Its first byte's address in the flash.
    pub offset: u32,
    /// Its length in bytes.
    pub bytes: usize,
}

/// Writes every part, then reads every part back: the chip computes the MD5 of exactly the bytes that were written.
///
/// # Errors
/// `firmware/flash` naming the part that could not be written, `firmware/read-back` naming the one that is not
/// what was written, `interrupted`. A rerun begins anew.
pub fn write(
    board: &mut Bootloader,
    parts: &[Part],
    cancelled: &CancellationToken,
    progress: &Progress,
) -> Result<()> {
    for part in parts {
        write_part(board, part, cancelled, progress)?;
    }
    for part in parts {
        let expected = Md5::digest(&*part.bytes);
        compare(board, part.offset, part.bytes.len(), expected.into(), part.name)?;
        progress.event(&Event::PartWritten { part: part.name, offset: part.offset, bytes: part.bytes.len() });
    }
    Ok(())
}

/// A flash that was interrupted.
pub fn interrupted() -> Error {
    Error::interrupted().stamped(Step::Flash).hint(Hint::BoardHalfWritten)
}

fn write_part(
    board: &mut Bootloader,
    part: &Part,
    cancelled: &CancellationToken,
    progress: &Progress,
) -> Result<()> {
    progress.event(&Event::Started { step: Step::Flash, what: format!("writing the {}", part.name) });
    // The chip writes words.
    let mut content = Zeroizing::new(part.bytes.to_vec());
    let whole_words = content.len().next_multiple_of(4);
    content.resize(whole_words, 0xff);
    let mut written = 0;
    let done = board.write(part.offset, &content, |bytes| {
        written = bytes;
        progress.event(&Event::Flashing { part: part.name, written, bytes: part.bytes.len() });
        !cancelled.is_cancelled()
    });
    match done {
        Ok(true) => Ok(()),
        Ok(false) => Err(interrupted()),
        Err(error) => {
            let message = format!(
                "{} while the {} was written ({written} of {} bytes)",
                reason(board.port(), &error),
                part.name,
                part.bytes.len()
            );
            Err(Error::new(ErrorCode::FirmwareFlash, message).source(error))
        }
    }
}

/// Asks the chip for the MD5 of what is in its flash.
fn compare(board: &mut Bootloader, offset: u32, bytes: usize, expected: [u8; 16], name: &str) -> Result<()> {
    match board.md5(offset, bytes) {
        Ok(found) if found == expected => Ok(()),
        Ok(_) => {
            let message = format!("the {name} at {offset:#x} reads back other than it was written");
            Err(Error::new(ErrorCode::FirmwareReadBack, message))
        }
        Err(error) => {
            let message = format!("{} while the {name} was read back", reason(board.port(), &error));
            Err(Error::new(ErrorCode::FirmwareFlash, message).source(error))
        }
    }
}

/// Where the board's own partition table, as it is in its flash, has the identity.
///
/// # Errors
/// `firmware/identity` when it has no partition table, or none with a partition for the identity;
/// `firmware/flash` when it cannot be read.
pub fn identity_region(board: &mut Bootloader) -> Result<Region> {
    let table = board.read(TABLE_OFFSET, TABLE_SIZE).map_err(|error| {
        let message = format!("{} while the partition table was read", reason(board.port(), &error));
        Error::new(ErrorCode::FirmwareFlash, message).source(error)
    })?;
    let none = |why: &str| {
        let message = format!("the board at {} has {why}", board.port().path);
        Error::new(ErrorCode::FirmwareIdentity, message).hint(Hint::FlashFirmwareFirst)
    };
    if table.starts_with(&[0xff; 32]) {
        return Err(none("no partition table: its flash was never written"));
    }
    let entries = table::entries(&table).ok_or_else(|| none("no usable partition table"))?;
    let partition = entries
        .into_iter()
        .find(|entry| entry.label == LABEL)
        .ok_or_else(|| none(&format!("no partition '{LABEL}': it runs another firmware")))?;
    let bytes = usize::try_from(partition.size).unwrap_or_default();
    if bytes != SIZE {
        return Err(none(&format!(
            "a partition '{LABEL}' of {bytes} bytes, where the firmware takes {SIZE} only"
        )));
    }
    if !(partition.offset as usize).is_multiple_of(SECTOR) {
        return Err(none(&format!("a partition '{LABEL}' that begins within a sector of the flash")));
    }
    let place = u64::from(partition.offset)..u64::from(partition.offset) + u64::from(partition.size);
    if place.start < u64::from(FIRST_OFFSET) || place.end > LARGEST_FLASH {
        let why = format!("a partition '{LABEL}' at {:#x}, where none can be", partition.offset);
        return Err(none(&why));
    }
    Ok(Region { offset: partition.offset, bytes })
}

/// Erases the identity, and checks that every byte of its partition reads 0xFF.
///
/// # Errors
/// Those of [`identity_region`]; `firmware/flash`, `firmware/read-back`.
pub fn erase_identity(board: &mut Bootloader, progress: &Progress) -> Result<Region> {
    let region = identity_region(board)?;
    progress.event(&Event::Started { step: Step::Flash, what: "erasing the identity".to_owned() });
    board.erase(region.offset, region.bytes).map_err(|error| {
        let message = format!("{} while the identity was erased", reason(board.port(), &error));
        Error::new(ErrorCode::FirmwareFlash, message).source(error)
    })?;
    let erased = Md5::digest(vec![0xff; region.bytes]);
    compare(board, region.offset, region.bytes, erased.into(), "erased identity")?;
    Ok(region)
}
