//! Ethernet by virtio-net, polled: there are no interrupts here.

use core::cell::RefCell;
use core::task::{Context, Waker};

use critical_section::Mutex;
use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use static_cell::StaticCell;
use virtio_drivers::device::net::VirtIONetRaw;
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::mmio::MmioTransport;

use super::virtio::{self, Memory};

/// The largest Ethernet frame without its checksum.
const LARGEST_FRAME: usize = 1514;
/// With VIRTIO's header before it.
const BUFFER: usize = 1536;
const QUEUE: usize = 16;

type Buffers = [[u8; BUFFER]; QUEUE];

/// The network device.
pub(super) struct Network {
    device: VirtIONetRaw<Memory, MmioTransport<'static>, QUEUE>,
    buffers: &'static mut Buffers,
    /// Which buffer the device has under which token.
    buffer_of: [usize; QUEUE],
    sending: &'static mut [u8; LARGEST_FRAME],
}

impl Network {
    /// `None` if QEMU has no such device, or it cannot be used.
    pub(super) fn new() -> Option<Self> {
        static BUFFERS: StaticCell<Buffers> = StaticCell::new();
        static SENDING: StaticCell<[u8; LARGEST_FRAME]> = StaticCell::new();
        let device = VirtIONetRaw::new(virtio::find(DeviceType::Network)?).ok()?;
        let buffers = BUFFERS.try_init([[0; BUFFER]; QUEUE])?;
        let sending = SENDING.try_init([0; LARGEST_FRAME])?;
        let mut network = Self { device, buffers, buffer_of: [0; QUEUE], sending };
        (0..QUEUE).for_each(|buffer| network.offer(buffer));
        Some(network)
    }

    /// Gives a buffer to the device, to receive into.
    fn offer(&mut self, buffer: usize) {
        let Some(memory) = self.buffers.get_mut(buffer) else { return };
        // SAFETY: the buffer lives for ever, and nobody looks into it before the device has given it back.
        let Ok(token) = (unsafe { self.device.receive_begin(memory) }) else { return };
        if let Some(entry) = self.buffer_of.get_mut(usize::from(token)) {
            *entry = buffer;
        }
    }

    /// A copy of the next frame that was received.
    fn take(&mut self) -> Option<Frame> {
        let token = self.device.poll_receive()?;
        let buffer = *self.buffer_of.get(usize::from(token))?;
        let memory = self.buffers.get_mut(buffer)?;
        // SAFETY: this is the buffer that was offered under this token.
        let received = unsafe { self.device.receive_complete(token, memory) };
        let frame = received.ok().and_then(|(header, size)| Frame::of(memory.get(header..header + size)?));
        self.offer(buffer);
        frame
    }
}

/// A frame that was received.
pub(super) struct Frame {
    bytes: [u8; LARGEST_FRAME],
    size: usize,
}

impl Frame {
    fn of(received: &[u8]) -> Option<Self> {
        let mut bytes = [0; LARGEST_FRAME];
        bytes.get_mut(..received.len())?.copy_from_slice(received);
        Some(Self { bytes, size: received.len() })
    }
}

impl RxToken for Frame {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, read: F) -> R {
        read(self.bytes.get_mut(..self.size).unwrap_or_default())
    }
}

/// Room for a frame to send.
pub(super) struct Room<'a>(&'a mut Network);

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, size: usize, write: F) -> R {
        let Network { device, sending, .. } = self.0;
        let frame = sending.get_mut(..size).unwrap_or_default();
        let result = write(frame);
        // A frame that is lost here is lost as in any network.
        let _ = device.send(frame);
        result
    }
}

impl Driver for Network {
    type RxToken<'a> = Frame;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, context: &mut Context<'_>) -> Option<(Frame, Room<'_>)> {
        let frame = self.take();
        if frame.is_none() {
            wake_later(context);
        }
        Some((frame?, Room(self)))
    }

    fn transmit(&mut self, context: &mut Context<'_>) -> Option<Room<'_>> {
        if !self.device.can_send() {
            wake_later(context);
            return None;
        }
        Some(Room(self))
    }

    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = LARGEST_FRAME;
        capabilities.max_burst_size = Some(1);
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.device.mac_address())
    }
}

static WAITING: Mutex<RefCell<Option<Waker>>> = Mutex::new(RefCell::new(None));

fn wake_later(context: &Context<'_>) {
    critical_section::with(|token| WAITING.replace(token, Some(context.waker().clone())));
}

/// Wakes whoever waits for the device to have a look at it.
pub(super) fn poll() {
    if let Some(waker) = critical_section::with(|token| WAITING.take(token)) {
        waker.wake();
    }
}
