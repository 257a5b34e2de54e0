//! The boards. Each brings up its hardware and leaves the rest to `tbprov-firmware-app`.

#[cfg(feature = "chip")]
mod esp;
#[cfg(feature = "virt")]
mod virt;
