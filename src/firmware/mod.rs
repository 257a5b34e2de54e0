//! The firmware that carries a device's identity: its sources, building it, images, the identity partition,
//! flashing, watching and emulating it.
//!
//! What the firmware itself does is in the folder `firmware/` of the project; what both sides agree on is the
//! crate `tbprov-contract`.

mod board;
mod bootloader;
pub mod flash;
mod identity;
pub mod monitor;
pub mod serial;

pub use board::Board;
pub use bootloader::Bootloader;
pub use identity::{IdentityOptions, partition};
pub use tbprov_contract::Wifi;
