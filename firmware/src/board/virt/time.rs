//! Time, by the machine timer of the CLINT, which counts at 10 MHz.

use core::cell::RefCell;
use core::task::Waker;

use critical_section::Mutex;
use embassy_time_driver::{Driver, TICK_HZ};
use embassy_time_queue_utils::Queue;

const COUNTS_PER_TICK: u64 = 10_000_000 / TICK_HZ;
const COUNT: *const u32 = 0x0200_bff8 as *const u32;
const COMPARE: *mut u32 = 0x0200_4000 as *mut u32;

struct Timer {
    queue: Mutex<RefCell<Queue>>,
}

embassy_time_driver::time_driver_impl!(static TIMER: Timer = Timer { queue: Mutex::new(RefCell::new(Queue::new())) });

impl Driver for Timer {
    fn now(&self) -> u64 {
        count() / COUNTS_PER_TICK
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        // Before each sleep the queue is asked when it ends.
        critical_section::with(|token| self.queue.borrow_ref_mut(token).schedule_wake(at, waker));
    }
}

/// Wakes what is due and sleeps until more is, `longest` ticks at the longest.
pub(super) fn sleep(longest: u64) {
    let now = TIMER.now();
    let due = critical_section::with(|token| TIMER.queue.borrow_ref_mut(token).next_expiration(now));
    set_compare(due.min(now + longest).saturating_mul(COUNTS_PER_TICK));
    // SAFETY: interrupts stay disabled as a whole; one that is pending ends the wait.
    unsafe { riscv::register::mie::set_mtimer() };
    riscv::asm::wfi();
}

/// The 64 bits of the counter, read in halves that belong together.
fn count() -> u64 {
    // SAFETY: the registers are there on this machine.
    let read =
        || unsafe { (COUNT.add(1).read_volatile(), COUNT.read_volatile(), COUNT.add(1).read_volatile()) };
    loop {
        let (before, low, after) = read();
        if before == after {
            return u64::from(before) << 32 | u64::from(low);
        }
    }
}

fn set_compare(at: u64) {
    let [low, high] = [at as u32, (at >> 32) as u32];
    // SAFETY: the registers are there on this machine; the first write keeps a half-written time from being due.
    unsafe {
        COMPARE.add(1).write_volatile(u32::MAX);
        COMPARE.write_volatile(low);
        COMPARE.add(1).write_volatile(high);
    }
}
