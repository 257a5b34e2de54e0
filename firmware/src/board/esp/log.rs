//! The log, on the USB serial port of the chip if a computer is there, otherwise on its UART.

use esp_println::Printer;
use log::{LevelFilter, Log, Metadata, Record};
use tbprov_firmware_app::write_record;

/// Sends the log to the serial port.
pub(super) fn init() {
    // SAFETY: there is one thread yet. The safe functions are missing on chips without atomic instructions.
    unsafe {
        // The only logger, so it cannot be set already.
        let _ = log::set_logger_racy(&Serial);
        log::set_max_level_racy(LevelFilter::Info);
    }
}

struct Serial;

impl Log for Serial {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // The printer never fails: what nobody reads is dropped.
        let _ = write_record(&mut Printer, record);
    }

    fn flush(&self) {}
}
