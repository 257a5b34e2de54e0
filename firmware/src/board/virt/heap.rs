//! The heap, for Rust and for Mbed TLS: smaller than what an ESP32-C3 has beside its radio, so that what does not fit
//! there does not fit here.

use alloc::alloc::{alloc_zeroed, dealloc};
use core::alloc::Layout;
use core::ffi::c_void;
use core::mem::MaybeUninit;

use embedded_alloc::LlffHeap;

const SIZE: usize = 164 * 1024;

#[global_allocator]
static HEAP: LlffHeap = LlffHeap::empty();

/// Makes the heap usable; called once, before anything is allocated.
pub(super) fn init() {
    static mut MEMORY: [MaybeUninit<u8>; SIZE] = [MaybeUninit::uninit(); SIZE];
    // SAFETY: nothing else refers to MEMORY, and this is called once.
    unsafe { HEAP.init(&raw mut MEMORY as usize, SIZE) }
}

/// Free bytes.
pub(super) fn free() -> usize {
    HEAP.free()
}

/// What C's allocations begin with: their size, which `free` is not told, in as much as keeps them aligned.
const HEADER: usize = 16;

fn layout(size: usize) -> Option<Layout> {
    Layout::from_size_align(size, HEADER).ok()
}

#[unsafe(no_mangle)]
extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    let total = count.checked_mul(size).and_then(|size| size.checked_add(HEADER));
    let Some((total, layout)) = total.and_then(|total| Some((total, layout(total)?))) else {
        return core::ptr::null_mut();
    };
    // SAFETY: the layout holds at least the header.
    unsafe {
        let block = alloc_zeroed(layout);
        if block.is_null() {
            return core::ptr::null_mut();
        }
        block.cast::<usize>().write(total);
        block.add(HEADER).cast()
    }
}

/// # Safety
/// `memory` is null or came from `calloc` and was not freed.
#[unsafe(export_name = "free")]
unsafe extern "C" fn c_free(memory: *mut c_void) {
    if memory.is_null() {
        return;
    }
    // SAFETY: `calloc` put the size, with which it had made the layout, before the memory.
    unsafe {
        let block = memory.cast::<u8>().sub(HEADER);
        if let Some(layout) = layout(block.cast::<usize>().read()) {
            dealloc(block, layout);
        }
    }
}
