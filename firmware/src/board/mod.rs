//! The boards. Each brings up its hardware and leaves the rest to `tbprov-firmware-app`.

#[cfg(feature = "chip")]
mod esp;
#[cfg(feature = "virt")]
mod virt;

const BOARDS: usize = cfg!(feature = "esp32") as usize
    + cfg!(feature = "esp32c2") as usize
    + cfg!(feature = "esp32c3") as usize
    + cfg!(feature = "esp32c6") as usize
    + cfg!(feature = "esp32h2") as usize
    + cfg!(feature = "esp32s3") as usize
    + cfg!(feature = "virt") as usize;

const _: () = assert!(
    BOARDS == 1,
    "choose one board: --features esp32, esp32c2, esp32c3, esp32c6, esp32h2, esp32s3 or virt"
);
