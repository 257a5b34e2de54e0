//! Random numbers of the host's, by virtio-rng.

use core::convert::Infallible;
use core::sync::atomic::{AtomicU32, Ordering};

use rand_core::{Rng as _, TryCryptoRng, TryRng};
use virtio_drivers::device::rng::VirtIORng;
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::mmio::MmioTransport;

use super::virtio::{self, Memory};

/// The host's random numbers.
pub(super) struct Random {
    device: VirtIORng<Memory, MmioTransport<'static>>,
}

impl Random {
    /// `None` if QEMU has no such device.
    pub(super) fn new() -> Option<Self> {
        let device = VirtIORng::new(virtio::find(DeviceType::EntropySource)?).ok()?;
        let mut random = Self { device };
        STATE.store(random.next_u32() | 1, Ordering::Relaxed);
        Some(random)
    }
}

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Waits for as many as are wanted: the device gives what the host has. Nothing else will do in their place.
    fn try_fill_bytes(&mut self, mut bytes: &mut [u8]) -> Result<(), Infallible> {
        while !bytes.is_empty() {
            let filled = self.device.request_entropy(bytes).unwrap_or_default();
            bytes = bytes.get_mut(filled..).unwrap_or_default();
        }
        Ok(())
    }
}

impl TryCryptoRng for Random {}

static STATE: AtomicU32 = AtomicU32::new(1);

/// A number that is no secret (Marsaglia's xorshift).
pub(super) fn jitter() -> u32 {
    let mut state = STATE.load(Ordering::Relaxed);
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    STATE.store(state, Ordering::Relaxed);
    state
}
