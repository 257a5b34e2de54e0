//! The chip that the image is for.

/// Its name, as esptool and `tbprov firmware --chip` know it.
pub(super) const NAME: &str = cfg_select! {
    feature = "esp32" => "esp32",
    feature = "esp32c2" => "esp32c2",
    feature = "esp32c3" => "esp32c3",
    feature = "esp32c6" => "esp32c6",
    feature = "esp32h2" => "esp32h2",
    _ => "esp32s3",
};
