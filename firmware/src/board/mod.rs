//! The boards. Exactly one of them is in an image, chosen by its feature.

#[cfg(feature = "chip")]
mod esp;

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
