//! The serial port, which is QEMU's standard output, and the ways out.

use core::fmt::{self, Write as _};
use core::panic::PanicInfo;

use embassy_time::Instant;
use log::{Level, LevelFilter, Log, Metadata, Record};
use tbprov_contract::report::{PANIC, TAG};
use tbprov_firmware_app::write_record;

/// The 16550's transmit register.
const TRANSMIT: *mut u8 = 0x1000_0000 as *mut u8;
/// The test device, which ends QEMU with the exit code in the upper half.
const TEST: *mut u32 = 0x0010_0000 as *mut u32;
const FAIL: u32 = 0x3333;

struct Serial;

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // SAFETY: the register is there on this machine, and QEMU's is always ready.
            unsafe { TRANSMIT.write_volatile(byte) };
        }
        Ok(())
    }
}

struct Logger;

impl Log for Logger {
    /// The story is the firmware's own; libraries speak up when something is wrong.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(TAG) || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            // Serial never fails.
            let _ = write_record(&mut Serial, record);
        }
    }

    fn flush(&self) {}
}

/// Sends the log to the serial port.
pub(super) fn init() {
    if log::set_logger(&Logger).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Ends QEMU with an exit code that says failure.
pub(super) fn fail() -> ! {
    // SAFETY: the register is there on this machine.
    unsafe { TEST.write_volatile(1 << 16 | FAIL) };
    loop {
        riscv::asm::wfi();
    }
}

fn panic_line(message: fmt::Arguments<'_>) -> ! {
    let _ = writeln!(Serial, "E ({}) {TAG}: {PANIC}{message}", Instant::now().as_millis());
    fail()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    match info.location() {
        Some(place) => panic_line(format_args!("{} ({}:{})", info.message(), place.file(), place.line())),
        None => panic_line(format_args!("{}", info.message())),
    }
}

/// What the processor could not execute: a defect, or less memory than the machine should have.
#[unsafe(export_name = "ExceptionHandler")]
fn exception(_: &riscv_rt::TrapFrame) -> ! {
    let (cause, at) = (riscv::register::mcause::read().code(), riscv::register::mepc::read());
    panic_line(format_args!("exception {cause} at {at:#x}"))
}
