//! What the firmware runs on.

use std::fmt;
use std::str::FromStr;

use espflash::target::{Chip as Target, XtalFrequency};
use serde::{Serialize, Serializer};

use super::elf;
use crate::error::{Error, ErrorCode, Hint, Result};

/// A chip of Espressif's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chip {
    /// ESP32, Xtensa, WiFi.
    Esp32,
    /// ESP32-C2 (ESP8684), RISC-V, WiFi.
    Esp32C2,
    /// ESP32-C3, RISC-V, WiFi.
    Esp32C3,
    /// ESP32-C6, RISC-V, WiFi.
    Esp32C6,
    /// ESP32-H2, RISC-V, no WiFi: W5500 Ethernet.
    Esp32H2,
    /// ESP32-S3, Xtensa, WiFi.
    Esp32S3,
}

impl Chip {
    /// Every chip that has a firmware.
    pub const ALL: &[Self] =
        &[Self::Esp32, Self::Esp32C2, Self::Esp32C3, Self::Esp32C6, Self::Esp32H2, Self::Esp32S3];

    /// The name on the command line, which is the firmware's cargo feature too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Esp32 => "esp32",
            Self::Esp32C2 => "esp32c2",
            Self::Esp32C3 => "esp32c3",
            Self::Esp32C6 => "esp32c6",
            Self::Esp32H2 => "esp32h2",
            Self::Esp32S3 => "esp32s3",
        }
    }

    /// Whether it reaches the network by WiFi, unless it is built for a cable.
    pub const fn has_wifi(self) -> bool {
        !matches!(self, Self::Esp32H2)
    }

    /// Whether it needs Espressif's own compiler.
    pub const fn is_xtensa(self) -> bool {
        matches!(self, Self::Esp32 | Self::Esp32S3)
    }

    /// Whether boards have it with different crystals, and so with different bootloaders.
    pub(super) const fn has_crystals(self) -> bool {
        matches!(self, Self::Esp32 | Self::Esp32C2)
    }

    /// The same chip, as espflash calls it.
    pub(super) const fn target(self) -> Target {
        match self {
            Self::Esp32 => Target::Esp32,
            Self::Esp32C2 => Target::Esp32c2,
            Self::Esp32C3 => Target::Esp32c3,
            Self::Esp32C6 => Target::Esp32c6,
            Self::Esp32H2 => Target::Esp32h2,
            Self::Esp32S3 => Target::Esp32s3,
        }
    }

    /// The chip that espflash calls so, if it has a firmware.
    pub(super) fn of(target: Target) -> Option<Self> {
        Self::ALL.iter().copied().find(|chip| chip.target() == target)
    }
}

impl fmt::Display for Chip {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Serialize for Chip {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Accepts `esp32c3` and `ESP32-C3` alike.
impl FromStr for Chip {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let name = text.to_ascii_lowercase().replace('-', "");
        Self::ALL.iter().copied().find(|chip| chip.name() == name).ok_or_else(|| {
            let (message, hint) = if name == Board::Virt.name() {
                (format!("'{text}' is no chip"), Hint::BuildVirt)
            } else {
                let names = Self::ALL.iter().map(ToString::to_string).collect();
                (format!("there is no firmware for a chip '{text}'"), Hint::OneOf(names))
            };
            Error::new(ErrorCode::UsageInvalid, message).hint(hint)
        })
    }
}

/// A board with a chip, or the emulated one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Board {
    /// A board with this chip.
    Chip(Chip),
    /// The `virt` machine of `qemu-system-riscv32`: no chip, no flash.
    Virt,
}

impl Board {
    /// The chip's name or `virt`, which is the firmware's cargo feature too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chip(chip) => chip.name(),
            Self::Virt => "virt",
        }
    }

    /// The compiler's target.
    pub const fn target(self) -> &'static str {
        match self {
            Self::Chip(Chip::Esp32) => "xtensa-esp32-none-elf",
            Self::Chip(Chip::Esp32S3) => "xtensa-esp32s3-none-elf",
            Self::Chip(Chip::Esp32C2 | Chip::Esp32C3) => "riscv32imc-unknown-none-elf",
            Self::Chip(Chip::Esp32C6 | Chip::Esp32H2) | Self::Virt => "riscv32imac-unknown-none-elf",
        }
    }

    /// Whether it needs Espressif's own compiler.
    pub const fn is_xtensa(self) -> bool {
        matches!(self, Self::Chip(chip) if chip.is_xtensa())
    }

    /// Every board.
    pub fn all() -> impl Iterator<Item = Self> {
        Chip::ALL.iter().copied().map(Self::Chip).chain([Self::Virt])
    }
}

impl From<Chip> for Board {
    fn from(chip: Chip) -> Self {
        Self::Chip(chip)
    }
}

impl fmt::Display for Board {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Serialize for Board {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The crystal of a board. The bootloaders of ESP32 and ESP32-C2 depend on it (26 or 40 MHz).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crystal(pub(super) XtalFrequency);

impl Crystal {
    /// A crystal of so many MHz.
    ///
    /// # Errors
    /// `firmware/image` when no bootloader is known for it.
    pub fn of_megahertz(megahertz: u32) -> Result<Self> {
        match megahertz {
            26 => Ok(Self(XtalFrequency::_26Mhz)),
            32 => Ok(Self(XtalFrequency::_32Mhz)),
            40 => Ok(Self(XtalFrequency::_40Mhz)),
            _ => {
                let why = format!("no bootloader is known for a crystal of {megahertz} MHz");
                Err(elf::refused(&why))
            }
        }
    }

    /// The usual one of a chip's boards.
    pub(super) fn usual(chip: Chip) -> Self {
        Self(chip.target().default_xtal_frequency())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chips_and_espflashs_are_the_same_both_ways() {
        for chip in Chip::ALL {
            assert_eq!(Chip::of(chip.target()), Some(*chip));
            assert_eq!(chip.target().to_string(), chip.name());
            assert_eq!(chip.name().to_ascii_uppercase().parse::<Chip>().unwrap(), *chip);
        }
        assert_eq!(Chip::of(Target::Esp32s2), None);
        assert_eq!("ESP32-C3".parse::<Chip>().unwrap(), Chip::Esp32C3);
        assert_eq!("virt".parse::<Chip>().unwrap_err().hint, Some(Hint::BuildVirt));
    }
}
