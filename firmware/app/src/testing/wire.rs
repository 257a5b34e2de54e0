//! Two machines on a cable in memory, each with the firmware's TCP/IP stack.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::net::Ipv4Addr;
use core::pin::pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use std::sync::Mutex;

use embassy_futures::select::{Either3, select3};
use embassy_net::{Config, Ipv4Cidr, Stack, StackResources, StaticConfigV4};
use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};

/// The address of the device.
pub(crate) const DEVICE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The address of the other machine.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// Runs `play` with the stacks of the device and of a server on one cable.
pub(crate) async fn on_a_cable<T>(play: impl AsyncFnOnce(Stack<'_>, Stack<'_>, Cable) -> T) -> T {
    let cable = Cable::default();
    let (mut ours, mut theirs) = (StackResources::<5>::new(), StackResources::<5>::new());
    let [device, server] = cable.ends();
    let (device, mut device_runner) = embassy_net::new(device, config(DEVICE), &mut ours, 1);
    let (server, mut server_runner) = embassy_net::new(server, config(SERVER), &mut theirs, 2);
    match select3(apart(play(device, server, cable)), apart(device_runner.run()), apart(server_runner.run()))
        .await
    {
        Either3::First(result) => result,
        Either3::Second(never) | Either3::Third(never) => match never {},
    }
}

fn config(address: Ipv4Addr) -> Config {
    let address = Ipv4Cidr::new(address, 24);
    Config::ipv4_static(StaticConfigV4 { address, gateway: None, dns_servers: Default::default() })
}

/// Polls `future` only when it was woken itself, as a task of its own would be: each look at a socket wakes the stack's
/// runner, which would otherwise have the socket looked at again, for ever.
async fn apart<T>(future: impl Future<Output = T>) -> T {
    let task = Arc::new(Task { is_woken: AtomicBool::new(true), outer: Mutex::new(None) });
    let waker = Waker::from(task.clone());
    let mut future = pin!(future);
    poll_fn(|context| {
        *task.outer.lock().unwrap() = Some(context.waker().clone());
        if !task.is_woken.swap(false, Ordering::SeqCst) {
            return Poll::Pending;
        }
        future.as_mut().poll(&mut Context::from_waker(&waker))
    })
    .await
}

struct Task {
    is_woken: AtomicBool,
    outer: Mutex<Option<Waker>>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        self.outer.lock().unwrap().take().into_iter().for_each(Waker::wake);
    }
}

/// The cable.
#[derive(Clone, Default)]
pub(crate) struct Cable {
    directions: [Direction; 2],
    is_cut: Rc<RefCell<bool>>,
}

type Direction = Rc<RefCell<Frames>>;

#[derive(Default)]
struct Frames {
    waiting: VecDeque<Vec<u8>>,
    receiver: Option<Waker>,
}

impl Cable {
    /// From here on nothing arrives at either end, and neither is told.
    pub(crate) fn cut(&self) {
        *self.is_cut.borrow_mut() = true;
    }

    fn ends(&self) -> [End; 2] {
        let end = |incoming: usize, address| End {
            incoming: self.directions[incoming].clone(),
            room: Room { outgoing: self.directions[1 - incoming].clone(), is_cut: self.is_cut.clone() },
            address: HardwareAddress::Ethernet([2, 0, 0, 0, 0, address]),
        };
        [end(0, 1), end(1, 2)]
    }
}

struct End {
    incoming: Direction,
    room: Room,
    address: HardwareAddress,
}

/// Where frames are sent to.
#[derive(Clone)]
struct Room {
    outgoing: Direction,
    is_cut: Rc<RefCell<bool>>,
}

struct Frame(Vec<u8>);

impl RxToken for Frame {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, read: F) -> R {
        read(&mut self.0)
    }
}

impl TxToken for Room {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, size: usize, write: F) -> R {
        let mut frame = alloc::vec![0; size];
        let result = write(&mut frame);
        if !*self.is_cut.borrow() {
            let mut outgoing = self.outgoing.borrow_mut();
            outgoing.waiting.push_back(frame);
            outgoing.receiver.take().into_iter().for_each(Waker::wake);
        }
        result
    }
}

impl Driver for End {
    type RxToken<'a> = Frame;
    type TxToken<'a> = Room;

    fn receive(&mut self, context: &mut Context<'_>) -> Option<(Frame, Room)> {
        let mut incoming = self.incoming.borrow_mut();
        let frame = incoming.waiting.pop_front();
        if frame.is_none() {
            incoming.receiver = Some(context.waker().clone());
        }
        Some((Frame(frame?), self.room.clone()))
    }

    fn transmit(&mut self, _: &mut Context<'_>) -> Option<Room> {
        Some(self.room.clone())
    }

    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = 1514;
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        self.address
    }
}
