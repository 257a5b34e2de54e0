//! The log, on the USB serial port of the chip if a computer is there, otherwise on its UART.

use core::fmt;

use embassy_time::Instant;
use log::{LevelFilter, Log, Metadata, Record};
use tbprov_contract::report::TAG;

/// Makes the log go to the serial port.
pub(super) fn init() {
    // SAFETY: there is one thread yet. The safe functions are missing on chips without atomic instructions.
    unsafe {
        // The only logger, so it cannot be set already.
        let _ = log::set_logger_racy(&Serial);
        log::set_max_level_racy(LevelFilter::Info);
    }
}

/// Writes one line as ESP-IDF does: `I (1234) tbprov: the text`.
pub(super) fn line(level: char, text: fmt::Arguments<'_>) {
    esp_println::println!("{level} ({}) {TAG}: {text}", Instant::now().as_millis());
}

struct Serial;

impl Log for Serial {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let level = record.level().as_str().chars().next().unwrap_or('I');
        line(level, *record.args());
    }

    fn flush(&self) {}
}
