//! What happens after a defect: the places that led there, a line that says where, and a restart.

#[cfg(target_arch = "riscv32")]
use core::arch::asm;
use core::fmt::{self, Write as _};
#[cfg(target_arch = "riscv32")]
use core::ops::Range;
use core::panic::PanicInfo;

use esp_hal::delay::Delay;
use log::error;
use tbprov_contract::report::PANIC;
#[cfg(target_arch = "riscv32")]
use tbprov_firmware_app::trace::{WORDS, return_addresses};

use super::BEFORE_RESTART;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // First: to put the message into words leaves addresses of its own on the stack.
    trace();
    match info.location() {
        Some(place) => error!("{PANIC}{} ({}:{})", OneLine(info.message()), place.file(), place.line()),
        None => error!("{PANIC}{}", OneLine(info.message())),
    }
    Delay::new().delay_millis(BEFORE_RESTART.as_millis() as u32);
    esp_hal::system::software_reset()
}

/// A message without its line breaks, as a line of the log is one line.
struct OneLine<T>(T);

impl<T: fmt::Display> fmt::Display for OneLine<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Joined<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl fmt::Write for Joined<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                text.split_inclusive('\n').try_for_each(|part| match part.strip_suffix('\n') {
                    Some(part) => self.0.write_str(part).and_then(|()| self.0.write_char(' ')),
                    None => self.0.write_str(part),
                })
            }
        }
        write!(Joined(formatter), "{}", self.0)
    }
}

/// Prints what may be return addresses on the stack, for `addr2line`. Of the stack nothing else is printed: it may hold a
/// part of the private key. The message of an exception of the CPU, which is esp-hal's, has all registers in it.
#[cfg(target_arch = "riscv32")]
fn trace() {
    for address in return_addresses(stack(), &code()) {
        error!("called from {address:#010x}");
    }
}

/// The words of the stack that is in use, from its top on, and no further than that stack goes if it is the main one.
#[cfg(target_arch = "riscv32")]
fn stack() -> impl Iterator<Item = usize> {
    let top: usize;
    // SAFETY: it reads a register.
    unsafe { asm!("mv {}, sp", out(reg) top, options(nomem, nostack, preserves_flags)) };
    let main = address(&raw const _stack_end)..address(&raw const _stack_start);
    let longest = if main.contains(&top) { (main.end - top) / size_of::<usize>() } else { WORDS };
    let first: *const usize = core::ptr::with_exposed_provenance(top);
    // SAFETY: all of these words are in the chip's RAM, also beyond the stack of a task of the radio, which is a part of
    // the heap.
    (0..longest).map(move |index| unsafe { first.add(index).read_volatile() })
}

/// Where code is: in the flash, behind the constants where both are in one range of addresses, and in RAM.
#[cfg(target_arch = "riscv32")]
fn code() -> [Range<usize>; 2] {
    const FLASH: Range<usize> = 0x4200_0000..0x4280_0000;
    let behind_constants = FLASH.start.max(address(&raw const _rodata_end));
    [behind_constants..FLASH.end, address(&raw const _trap_section_origin)..address(&raw const _rwtext_end)]
}

// The linker's, by esp-hal's scripts: the main stack, the constants and the code in RAM.
#[cfg(target_arch = "riscv32")]
unsafe extern "C" {
    static _stack_end: u8;
    static _stack_start: u8;
    static _rodata_end: u8;
    static _trap_section_origin: u8;
    static _rwtext_end: u8;
}

#[cfg(target_arch = "riscv32")]
fn address(symbol: *const u8) -> usize {
    symbol.addr()
}

/// Prints the return addresses on the stack, for `addr2line`.
#[cfg(target_arch = "xtensa")]
fn trace() {
    for frame in esp_backtrace::Backtrace::capture().frames() {
        error!("called from {:#010x}", frame.program_counter());
    }
}
