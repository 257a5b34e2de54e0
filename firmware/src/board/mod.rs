//! The boards. Each brings up its hardware and leaves the rest to `tbprov-firmware-app`.

#[cfg(feature = "virt")]
mod virt;
