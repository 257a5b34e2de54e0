//! The heap: two regions, as the chips' memory has a gap where the bootloader's memory begins.

use esp_alloc::HEAP;

/// The bootloader's memory, free once it is done: all of it that every chip has.
const RECLAIMED: usize = 64 * 1024;
/// The heap beside the program's own data. The stack gets what is left: at least 24 KiB, of which a TLS handshake
/// takes about half.
const OWN: usize = cfg_select! {
    feature = "esp32c2" => 32 * 1024,
    feature = "esp32" => 64 * 1024,
    _ => 100 * 1024,
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
