//! What VIRTIO devices share: where they are, and the memory in which they talk.

use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

const FIRST: usize = 0x1000_1000;
const DISTANCE: usize = 0x1000;
const COUNT: usize = 8;

/// Where the header holds the kind of the device; 0 says that there is none.
const KIND: usize = 8;

/// The first device of a kind.
pub(super) fn find(kind: DeviceType) -> Option<MmioTransport<'static>> {
    (0..COUNT)
        .map(|index| FIRST + index * DISTANCE)
        .find(|address| kind_at(*address) == kind as u32)
        .and_then(|address| NonNull::new(address as *mut VirtIOHeader))
        // SAFETY: a device of this machine is there, and nothing else refers to it: each kind is looked for once.
        .and_then(|header| unsafe { MmioTransport::new(header, DISTANCE) }.ok())
}

/// A transport would say it too, and reset the device when it is dropped.
fn kind_at(address: usize) -> u32 {
    // SAFETY: these are the places of this machine's devices, whose headers may be read at any time.
    unsafe { ((address + KIND) as *const u32).read_volatile() }
}

/// Pages for the queues. There are a few, they are never given back, and they come out of no heap.
const PAGES: usize = 16;

#[repr(C, align(4096))]
struct Pool(UnsafeCell<[u8; PAGES * PAGE_SIZE]>);

// SAFETY: each page is given out once.
unsafe impl Sync for Pool {}

static POOL: Pool = Pool(UnsafeCell::new([0; PAGES * PAGE_SIZE]));
static TAKEN: AtomicUsize = AtomicUsize::new(0);

pub(super) struct Memory;

// SAFETY: pages are aligned, zeroed and given out once; addresses are the same for devices and for the program.
unsafe impl Hal for Memory {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let first = TAKEN.fetch_add(pages, Ordering::Relaxed);
        if first + pages > PAGES {
            // Address 0 says that there is none.
            return (0, NonNull::dangling());
        }
        // SAFETY: the page is within the pool.
        let page = unsafe { POOL.0.get().cast::<u8>().add(first * PAGE_SIZE) };
        NonNull::new(page).map_or((0, NonNull::dangling()), |page| (page.as_ptr() as PhysAddr, page))
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::new(address as *mut u8).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}
