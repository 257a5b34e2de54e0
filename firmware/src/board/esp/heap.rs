//! The heap: two regions, as the chips' memory has a gap where the bootloader's memory begins.

use esp_alloc::HEAP;

/// Of the memory that the bootloader has left: all of it.
const RECLAIMED: usize = cfg_select! {
    feature = "esp32" => 96 * 1024,
    _ => 64 * 1024,
};
/// Of the memory that holds the program's own data. The stack gets what is left there, which is more than 32 KiB on
/// each chip that is built here; the linker refuses a program that leaves it less than 8 KiB. On an emulated ESP32-C3
/// sessions took 13 KiB of it.
const OWN: usize = cfg_select! {
    feature = "esp32" => 72 * 1024,
    feature = "esp32c2" => 80 * 1024,
    feature = "esp32c3" => 208 * 1024,
    feature = "esp32c6" => 256 * 1024,
    feature = "esp32h2" => 160 * 1024,
    _ => 176 * 1024,
};

/// Gives the allocator its memory. To be called once, before anything is allocated.
pub(super) fn init() {
    esp_alloc::heap_allocator!(size: OWN);
    esp_alloc::heap_allocator!(#[esp_hal::ram(reclaimed)] size: RECLAIMED);
}

/// Free bytes of the heap.
pub(super) fn free() -> usize {
    HEAP.free()
}
