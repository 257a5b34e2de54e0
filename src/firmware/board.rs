//! What the firmware runs on.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::error::{Error, ErrorCode, Hint};

/// A chip, or the emulated board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Board {
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
    /// The `virt` machine of `qemu-system-riscv32`.
    Virt,
}

impl Board {
    /// Every board.
    pub const ALL: &[Self] =
        &[Self::Esp32, Self::Esp32C2, Self::Esp32C3, Self::Esp32C6, Self::Esp32H2, Self::Esp32S3, Self::Virt];

    /// The name on the command line, which is the firmware's cargo feature too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Esp32 => "esp32",
            Self::Esp32C2 => "esp32c2",
            Self::Esp32C3 => "esp32c3",
            Self::Esp32C6 => "esp32c6",
            Self::Esp32H2 => "esp32h2",
            Self::Esp32S3 => "esp32s3",
            Self::Virt => "virt",
        }
    }

    /// The compiler's target.
    pub const fn target(self) -> &'static str {
        match self {
            Self::Esp32 => "xtensa-esp32-none-elf",
            Self::Esp32S3 => "xtensa-esp32s3-none-elf",
            Self::Esp32C2 | Self::Esp32C3 => "riscv32imc-unknown-none-elf",
            Self::Esp32C6 | Self::Esp32H2 | Self::Virt => "riscv32imac-unknown-none-elf",
        }
    }

    /// Whether it reaches the network by WiFi, unless it is built for a cable.
    pub const fn has_wifi(self) -> bool {
        !matches!(self, Self::Esp32H2 | Self::Virt)
    }

    /// Whether it needs Espressif's own compiler.
    pub const fn is_xtensa(self) -> bool {
        matches!(self, Self::Esp32 | Self::Esp32S3)
    }
}

impl fmt::Display for Board {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Accepts `esp32c3` and `ESP32-C3` alike.
impl FromStr for Board {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let name = text.to_ascii_lowercase().replace('-', "");
        Self::ALL.iter().copied().find(|board| board.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|board| board.name().to_owned()).collect();
            Error::new(ErrorCode::UsageInvalid, format!("no board '{text}'")).hint(Hint::OneOf(names))
        })
    }
}
