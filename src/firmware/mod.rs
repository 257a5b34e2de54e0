//! The firmware that carries a device's identity: its sources, building it, images, the identity partition,
//! flashing, watching and emulating it.
//!
//! What the firmware itself does is in the folder `firmware/` of the project; what both sides agree on is the
//! crate `tbprov-contract`.

mod board;
#[cfg(feature = "firmware")]
mod bootloader;
#[cfg(feature = "firmware")]
pub mod build;
#[cfg(feature = "firmware")]
mod elf;
#[cfg(feature = "firmware")]
pub mod flash;
mod identity;
#[cfg(feature = "firmware")]
pub mod image;
#[cfg(feature = "firmware")]
mod image_file;
#[cfg(feature = "firmware")]
pub mod monitor;
#[cfg(feature = "firmware")]
mod partitions;
#[cfg(feature = "firmware")]
pub mod serial;
#[cfg(feature = "firmware")]
mod size;
#[cfg(feature = "firmware")]
pub mod sources;
#[cfg(feature = "firmware")]
mod table;
#[cfg(feature = "firmware")]
pub mod toolchain;

pub use board::Board;
#[cfg(feature = "firmware")]
pub use bootloader::Bootloader;
#[cfg(feature = "firmware")]
pub use build::{BuildPlan, build};
pub use identity::{IdentityOptions, partition};
#[cfg(feature = "firmware")]
pub use image::Image;
#[cfg(feature = "firmware")]
pub use partitions::Partitions;
#[cfg(feature = "firmware")]
pub use size::{ImageSize, SectionSize, Size};
#[cfg(feature = "firmware")]
pub use sources::Sources;
pub use tbprov_contract::Wifi;
#[cfg(feature = "firmware")]
pub use toolchain::Toolchain;
