//! Writing a board's flash: part by part, each read back and compared.

use md5::{Digest as _, Md5};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::bootloader::{Bootloader, reason};
use super::image::{Part, PartName, Place};
use super::partitions::{TABLE_OFFSET, place_of_identity};
use super::table::{self, TABLE_SIZE};
use crate::error::{Error, ErrorCode, Hint, Result, Step};
use crate::event::{Event, Progress};

/// Writes every part, then reads every part back: the chip computes the MD5 of exactly the bytes that were written.
///
/// # Errors
/// `firmware/flash` naming the part that could not be written, `firmware/read-back` naming the one that is not
/// what was written, `interrupted`. A rerun begins anew.
pub(super) fn write(
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
        compare(board, &part.place(), expected.into())?;
        progress.event(&Event::PartWritten {
            part: part.name.as_str(),
            offset: part.offset,
            bytes: part.bytes.len(),
        });
    }
    Ok(())
}

/// A flash that was interrupted.
pub(super) fn interrupted() -> Error {
    Error::interrupted().hint(Hint::BoardHalfWritten)
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
        progress.event(&Event::Flashing { part: part.name.as_str(), written, bytes: part.bytes.len() });
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
fn compare(board: &mut Bootloader, place: &Place, expected: [u8; 16]) -> Result<()> {
    let Place { name, offset, bytes } = place;
    match board.md5(*offset, *bytes) {
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
pub(super) fn identity_place(board: &mut Bootloader) -> Result<Place> {
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
    let place = place_of_identity(&entries)
        .map_err(|why| none(&format!("a partition table with no place for an identity: {why}")))?;
    Ok(Place { name: PartName::Identity, offset: place.start, bytes: place.len() })
}

/// Erases the identity, and checks that every byte of its partition reads 0xFF.
///
/// # Errors
/// Those of [`identity_place`]; `firmware/flash`, `firmware/read-back`.
pub(super) fn erase_identity(board: &mut Bootloader, progress: &Progress) -> Result<Place> {
    let place = identity_place(board)?;
    progress.event(&Event::Started { step: Step::Flash, what: "erasing the identity".to_owned() });
    board.erase(place.offset, place.bytes).map_err(|error| {
        let message = format!("{} while the identity was erased", reason(board.port(), &error));
        Error::new(ErrorCode::FirmwareFlash, message).source(error)
    })?;
    compare(board, &place, Md5::digest(vec![0xff; place.bytes]).into())?;
    Ok(place)
}
