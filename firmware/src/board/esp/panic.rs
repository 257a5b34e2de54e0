//! What happens after a defect: a line that says where, the places that led there, and a restart.

use core::fmt::{self, Write as _};
use core::panic::PanicInfo;

use esp_hal::delay::Delay;
use log::error;
use tbprov_contract::report::PANIC;

use super::BEFORE_RESTART;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    match info.location() {
        Some(place) => error!("{PANIC}{} ({}:{})", OneLine(info.message()), place.file(), place.line()),
        None => error!("{PANIC}{}", OneLine(info.message())),
    }
    trace();
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

/// Prints the return addresses on the stack, for `addr2line`. Without frame pointers, which would need compiler
/// flags from outside, each word that is an address of code counts as one; some are left over from earlier calls.
/// Other words are not printed: the stack may hold a part of the private key.
#[cfg(target_arch = "riscv32")]
fn trace() {
    const CODE: core::ops::Range<usize> = 0x4200_0000..0x4280_0000;
    const WORDS: usize = 1024;
    const MOST: usize = 24;
    let here = 0_usize;
    let stack = &raw const here;
    // SAFETY: the words up to the stack's beginning and a little beyond it are all in the chip's RAM: the main
    // stack has the bootloader's former memory above it, the stacks of the radio's tasks the rest of the heap.
    let words = (0..WORDS).map(|index| unsafe { stack.add(index).read_volatile() });
    for address in words.filter(|word| CODE.contains(word)).take(MOST) {
        error!("called from {address:#010x}");
    }
}

/// Prints the return addresses on the stack, for `addr2line`.
#[cfg(target_arch = "xtensa")]
fn trace() {
    for frame in esp_backtrace::Backtrace::capture().frames() {
        error!("called from {:#010x}", frame.program_counter());
    }
}
