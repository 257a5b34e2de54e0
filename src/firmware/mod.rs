//! The firmware that carries a device's identity: its sources, building it, images, the identity partition,
//! flashing, watching and emulating it.
//!
//! What the firmware itself does is in the folder `firmware/` of the project; what both sides agree on is the
//! crate `tbprov-contract`.

mod board;
#[cfg(feature = "firmware")]
mod elf;
mod identity;
#[cfg(feature = "firmware")]
pub mod image;
#[cfg(feature = "firmware")]
mod partitions;

pub use board::Board;
pub use identity::{IdentityOptions, partition};
#[cfg(feature = "firmware")]
pub use image::Image;
#[cfg(feature = "firmware")]
pub use partitions::Partitions;
pub use tbprov_contract::Wifi;
