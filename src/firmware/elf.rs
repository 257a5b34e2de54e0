//! The compiler's result: its sections.

use std::path::Path;

use object::elf::{EM_RISCV, EM_XTENSA, PT_LOAD, SHF_ALLOC, SHF_WRITE};
use object::read::elf::{ElfFile32, FileHeader as _, ProgramHeader as _};
use object::{Endianness, Object as _, ObjectSection as _, SectionFlags};

use crate::error::{Error, ErrorCode, Hint, Result};
use crate::files;

/// Bytes of an ELF file, at the most; debug information is most of them.
const LARGEST: u64 = 256 << 20;

/// The bytes of an application's ELF file.
///
/// # Errors
/// `file/not-found`, `file/io`.
pub fn read_elf(path: &Path) -> Result<Vec<u8>> {
    read_file(path, LARGEST)
}

/// The bytes of a file that becomes an image.
pub(super) fn read_file(path: &Path, largest: u64) -> Result<Vec<u8>> {
    files::read(path, largest).map_err(|error| {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorCode::FileNotFound,
            _ => ErrorCode::FileIo,
        };
        Error::new(code, format!("cannot read {}: {error}", crate::text::shown_path(path))).source(error)
    })
}

/// A 32-bit ELF file for a processor that the firmware runs on.
pub(super) struct Elf<'a> {
    file: ElfFile32<'a, Endianness>,
    is_xtensa: bool,
}

/// A section that takes memory or flash.
pub(super) struct Section {
    pub(super) name: String,
    pub(super) address: u64,
    pub(super) size: u64,
    pub(super) is_writable: bool,
}

impl<'a> Elf<'a> {
    /// # Errors
    /// `firmware/image` when it is none.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let file = ElfFile32::<Endianness>::parse(bytes)
            .map_err(|error| refused(&format!("the application is no 32-bit ELF file: {error}")))?;
        let machine = file.elf_header().e_machine(file.endian());
        if machine != EM_RISCV && machine != EM_XTENSA {
            return Err(refused("the application is for neither RISC-V nor Xtensa"));
        }
        Ok(Self { file, is_xtensa: machine == EM_XTENSA })
    }

    /// Whether what runs at `address` is also stored for it.
    pub(super) fn is_loaded_in_place(&self, address: u64) -> bool {
        let endian = self.file.endian();
        self.file.elf_program_headers().iter().filter(|header| header.p_type(endian) == PT_LOAD).any(
            |header| {
                let (start, size) = (header.p_vaddr(endian), header.p_memsz(endian));
                let range = u64::from(start)..u64::from(start) + u64::from(size);
                start == header.p_paddr(endian) && range.contains(&address)
            },
        )
    }

    /// The address of the first instruction.
    pub(super) fn entry(&self) -> u64 {
        self.file.entry()
    }

    pub(super) const fn is_xtensa(&self) -> bool {
        self.is_xtensa
    }

    /// Every section that is there at run time, in the order of the file.
    ///
    /// # Errors
    /// `firmware/image` when the file is damaged.
    pub(super) fn sections(&self) -> Result<Vec<Section>> {
        let mut sections = Vec::new();
        for section in self.file.sections() {
            let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
            if sh_flags.contains(SHF_ALLOC) && section.size() > 0 {
                let name = section
                    .name()
                    .map_err(|error| refused(&format!("the application is damaged: {error}")))?;
                sections.push(Section {
                    name: name.to_owned(),
                    address: section.address(),
                    size: section.size(),
                    is_writable: sh_flags.contains(SHF_WRITE),
                });
            }
        }
        Ok(sections)
    }
}

pub(super) fn refused(message: &str) -> Error {
    Error::new(ErrorCode::FirmwareImage, message).hint(Hint::ApplicationOfChip)
}
