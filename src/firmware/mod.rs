//! The firmware that carries a device's identity: its sources, building it, images, the identity partition,
//! flashing, watching and emulating it.
//!
//! What the firmware itself does is in the folder `firmware/` of the project; what both sides agree on is the
//! crate `tbprov-contract`.

mod board;
mod bootloader;
pub mod build;
mod elf;
pub mod emulator;
pub mod flash;
mod identity;
pub mod image;
mod image_file;
pub mod leftovers;
pub mod monitor;
mod partitions;
pub mod program;
pub mod serial;
mod size;
pub mod sources;
mod table;
pub mod toolchain;

pub use board::Board;
pub use bootloader::Bootloader;
pub use build::{BuildPlan, build};
pub use identity::{IdentityOptions, partition};
pub use image::Image;
pub use partitions::Partitions;
pub use size::{ImageSize, SectionSize, Size};
pub use sources::Sources;
pub use tbprov_contract::Wifi;
pub use toolchain::Toolchain;
