//! The firmware that carries a device's identity: its sources, building it, images, the identity partition,
//! flashing, watching and emulating it.
//!
//! What the firmware itself does is in the folder `firmware/` of the project; what both sides agree on is the
//! crate `tbprov-contract`.

mod board;
mod bootloader;
pub mod build;
mod csv;
mod elf;
pub mod emulator;
mod flash;
pub mod health;
mod identity;
mod image;
mod image_file;
pub mod job;
pub mod leftovers;
pub mod monitor;
mod partitions;
mod program;
pub mod serial;
mod size;
pub mod sources;
mod subject;
mod table;
pub mod toolchain;
mod waiting;

pub use board::{Board, Chip, Crystal};
pub use build::{Built, Recipe};
pub use elf::read_elf;
pub use identity::{IdentityOptions, partition, unreachable, unreachable_time_server, without_network};
pub use image::{Image, Part, PartName, Place};
pub use partitions::{LARGEST_FLASH, Partitions};
pub use size::{ImageSize, SectionSize, Size};
pub use sources::Sources;
pub use tbprov_contract::Wifi;
pub use toolchain::Toolchain;
