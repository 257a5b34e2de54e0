//! What tests of futures need: a clock that runs as fast as nothing happens, a duplex stream in memory and an ear for
//! the log.

pub(crate) mod wire;

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use std::sync::{Mutex, MutexGuard, PoisonError};

use embassy_time::{Duration, MockDriver};
use embedded_io_async::{ErrorType, Read, Write};
use tbprov_contract::Identity;
use tbprov_contract::report::{Report, Trouble};

use crate::fault::Fault;
use crate::write_record;

/// Time and log belong to the whole process: one test at a time has them.
pub(crate) fn alone() -> Alone {
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    MockDriver::get().reset();
    if log::set_logger(&Ear).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
    }
    LINES.lock().unwrap().clear();
    crate::life::forget();
    Alone { _guard: guard }
}

pub(crate) struct Alone {
    _guard: MutexGuard<'static, ()>,
}

impl Alone {
    /// Runs a future; whenever it waits for nothing but time, time goes on.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.run_for(Duration::from_secs(7 * 86_400), future).expect("the future does not end")
    }

    /// Runs a future until it ends or `longest` is over.
    pub(crate) fn run_for<T>(&self, longest: Duration, future: impl Future<Output = T>) -> Option<T> {
        const STEP: Duration = Duration::from_millis(5);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(woken.clone());
        let mut future = pin!(future);
        let mut left = longest;
        while left > STEP {
            if woken.0.swap(false, Ordering::SeqCst) {
                if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Some(value);
                }
            } else {
                MockDriver::get().advance(STEP);
                left -= STEP;
            }
        }
        None
    }

    /// The lines of the log, as a board writes them.
    pub(crate) fn lines(&self) -> Vec<String> {
        LINES.lock().unwrap().clone()
    }

    /// How many readings the log says were acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        self.lines().iter().filter(|line| Report::of(line) == Some(Report::Acknowledged)).count()
    }

    /// The troubles that the log tells, as the tool understands them.
    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        self.lines()
            .iter()
            .filter_map(|line| match Report::of(line) {
                Some(Report::Trouble(trouble, _)) => Some(trouble),
                _ => None,
            })
            .collect()
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Ear;

impl log::Log for Ear {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut line = String::new();
        write_record(&mut line, record).unwrap();
        LINES.lock().unwrap().push(line.trim_end().to_string());
    }

    fn flush(&self) {}
}

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// How it ended: by an end, or by a fault.
    end: Option<Result<(), Fault>>,
    reader: Option<Waker>,
}

/// An end of a connection in memory.
pub(crate) struct Peer {
    incoming: Rc<RefCell<Pipe>>,
    outgoing: Rc<RefCell<Pipe>>,
}

/// Both ends of a connection.
pub(crate) fn duplex() -> (Peer, Peer) {
    let (left, right) = (Rc::new(RefCell::default()), Rc::new(RefCell::default()));
    let peer = |incoming: &Rc<_>, outgoing: &Rc<_>| Peer {
        incoming: Rc::clone(incoming),
        outgoing: Rc::clone(outgoing),
    };
    (peer(&left, &right), peer(&right, &left))
}

impl Peer {
    /// Lets the other end read an end, or a fault, after what it has been sent.
    pub(crate) fn end(&self, end: Result<(), Fault>) {
        let mut pipe = self.outgoing.borrow_mut();
        pipe.end = Some(end);
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
    }

    /// Sends bytes at once.
    pub(crate) fn put(&self, bytes: &[u8]) {
        let mut pipe = self.outgoing.borrow_mut();
        pipe.bytes.extend(bytes);
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
    }

    /// The next whole packet of the device's, whose length takes one or two bytes.
    pub(crate) async fn packet(&mut self) -> Vec<u8> {
        let mut packet = Vec::new();
        loop {
            let mut byte = [0];
            if self.read(&mut byte).await.unwrap() == 0 {
                return packet;
            }
            packet.extend(byte);
            let size = match packet[..] {
                [_, short, ..] if short < 0x80 => 2 + usize::from(short),
                [_, low, high, ..] => 3 + usize::from(low & 0x7F) + usize::from(high) * 128,
                _ => continue,
            };
            if packet.len() == size {
                return packet;
            }
        }
    }
}

impl ErrorType for Peer {
    type Error = Fault;
}

impl Read for Peer {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        poll_fn(|context| {
            let mut pipe = self.incoming.borrow_mut();
            if pipe.bytes.is_empty() {
                pipe.reader = Some(context.waker().clone());
                return pipe.end.clone().map_or(Poll::Pending, |end| Poll::Ready(end.map(|()| 0)));
            }
            let count = buffer.len().min(pipe.bytes.len());
            buffer.iter_mut().zip(pipe.bytes.drain(..count)).for_each(|(to, from)| *to = from);
            Poll::Ready(Ok(count))
        })
        .await
    }
}

impl Write for Peer {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        self.put(bytes);
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        Ok(())
    }
}

/// A device's identity, whose certificates are none: TLS is not tested here.
pub(crate) fn identity() -> Identity {
    Identity {
        name: "sensor-01".to_string(),
        host: "localhost".to_string(),
        port: 8883,
        address: None,
        server_certificates: String::new(),
        skip_name_check: false,
        certificate: String::new(),
        key: String::new().into(),
        wifi: None,
        interval: core::time::Duration::from_secs(5),
        topic: "v1/devices/me/telemetry".to_string(),
        time_server: None,
        retry: core::time::Duration::from_secs(1),
    }
}
