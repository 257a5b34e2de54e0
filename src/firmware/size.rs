//! How large a build is: section by section, in the flash and in the RAM.

use serde::Serialize;

use super::board::Board;
use super::elf::{Elf, Section};
use super::image::Image;
use crate::error::Result;

/// Sections that only keep addresses free, or that are whatever the others leave.
const NO_CONTENT: &[&str] = &["_dummy", ".stack", ".heap"];

/// How large a build is.
#[derive(Debug, Clone, Serialize)]
pub struct Size {
    /// Every section with something in it, in the order of the file.
    pub sections: Vec<SectionSize>,
    /// The application's image and the partition that it goes to; the emulated board has none.
    pub image: Option<ImageSize>,
    /// The bytes of RAM that are taken before the first instruction: data, and code that runs from RAM.
    pub static_ram: u64,
}

/// One section.
#[derive(Debug, Clone, Serialize)]
pub struct SectionSize {
    /// Its name, such as `.text`.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// The application in its partition.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ImageSize {
    /// The bytes of the application.
    pub bytes: usize,
    /// The bytes of its partition.
    pub partition: usize,
}

impl Size {
    /// The size of the application `elf`, and of the image that was made of it, if one was.
    ///
    /// # Errors
    /// `firmware/image` when it is no such file.
    pub fn of(elf: &[u8], board: Board, image: Option<&Image>) -> Result<Self> {
        let mut sections = Elf::parse(elf)?.sections()?;
        sections.retain(|section| !NO_CONTENT.iter().any(|ending| section.name.ends_with(ending)));
        let in_ram = sections.iter().filter(|section| is_in_ram(section, board));
        Ok(Self {
            static_ram: in_ram.map(|section| section.size).sum(),
            sections: sections
                .into_iter()
                .map(|section| SectionSize { name: section.name, bytes: section.size })
                .collect(),
            image: image.map(|image| ImageSize {
                bytes: image.application_size(),
                partition: image.partitions.application().len(),
            }),
        })
    }
}

/// On a chip, what is not read from the flash. The emulated board has nothing but RAM: what is written there.
fn is_in_ram(section: &Section, board: Board) -> bool {
    match (board, u32::try_from(section.address)) {
        (Board::Chip(chip), Ok(address)) => !chip.target().addr_is_flash(address),
        _ => section.is_writable,
    }
}
