//! A core that takes its time: workers, queues and stalls, as [`Fault::Core`] and [`Fault::CoreStalls`] ask for.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::fault::Fault;
use super::injector::Injector;

/// Answers travel through queues that are looked at this often, one for the request and one for the answer
/// (`queue.in_memory`, `queue.transport_api.*_poll_interval`): seen as steps of 25 ms, from 50 ms on, at 4.3.1.3.
const POLL: Duration = Duration::from_millis(25);
const POLLS: u32 = 2;

/// How long a login waits for the core (`queue.transport_api.max_requests_timeout`).
const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Core {
    workers: Option<Workers>,
    stalls: Option<Stalls>,
}

struct Workers {
    fault: Fault,
    free: Semaphore,
    takes: Duration,
}

struct Stalls {
    fault: Fault,
    since: Instant,
    works: Duration,
    stalls: Duration,
}

/// What the core made of a request.
pub(super) enum Worked<T> {
    /// Done, in time.
    Answered(T),
    /// Too late: done or not, it is never answered.
    Late,
}

impl Core {
    pub(super) fn new(injector: &Injector) -> Self {
        let workers = injector.core().map(|(fault, workers, takes)| {
            let workers = usize::try_from(workers).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
            Workers { fault, free: Semaphore::new(workers), takes }
        });
        let since = Instant::now();
        let stalls =
            injector.core_stalls().map(|(fault, works, stalls)| Stalls { fault, since, works, stalls });
        Self { workers, stalls }
    }

    /// The faults that make it slow now.
    pub(super) fn applied(&self) -> impl Iterator<Item = Fault> {
        let stalled = self.stalls.as_ref().filter(|stalls| stalls.over_at(Instant::now()).is_some());
        let workers = self.workers.as_ref().map(|workers| workers.fault);
        workers.into_iter().chain(stalled.map(|stalls| stalls.fault))
    }

    /// Does `work` when it is its turn. What is not begun within `patience` is never done
    /// (`DefaultTbQueueResponseTemplate`), and what is not done by then is never answered.
    pub(super) async fn work<T>(&self, patience: Duration, work: impl Future<Output = T>) -> Worked<T> {
        let begun = Instant::now();
        let end = begun + patience;
        let Ok(turn) = timeout_at(end, self.turn()).await else { return Worked::Late };
        if let Some(workers) = &self.workers {
            sleep(workers.takes).await;
            self.stall().await;
        }
        let done = work.await;
        drop(turn);
        if self.workers.is_some() {
            sleep_until(begun + polls(begun.elapsed())).await;
        }
        if Instant::now() < end { Worked::Answered(done) } else { Worked::Late }
    }

    /// Looks up a login: whether it did so in time.
    pub(super) async fn look_up(&self) -> bool {
        tokio::time::timeout(LOGIN_TIMEOUT, self.stall()).await.is_ok()
    }

    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let turn = match &self.workers {
            Some(workers) => workers.free.acquire().await.ok(),
            None => None,
        };
        self.stall().await;
        turn
    }

    /// Returns once it works.
    async fn stall(&self) {
        if let Some(over) = self.stalls.as_ref().and_then(|stalls| stalls.over_at(Instant::now())) {
            sleep_until(over).await;
        }
    }
}

impl Stalls {
    /// When the stall of this moment is over, if there is one.
    fn over_at(&self, now: Instant) -> Option<Instant> {
        let passed = now.saturating_duration_since(self.since).as_nanos();
        let (period, works) = ((self.works + self.stalls).as_nanos(), self.works.as_nanos());
        let within = passed.checked_rem(period)?;
        let left = u64::try_from(period - within).unwrap_or(u64::MAX);
        (within >= works).then(|| now + Duration::from_nanos(left))
    }
}

/// The time that the queues make of it.
fn polls(passed: Duration) -> Duration {
    let polls = passed.as_nanos().div_ceil(POLL.as_nanos());
    POLL * u32::try_from(polls).unwrap_or(u32::MAX).max(POLLS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_leave_in_steps() {
        let after = |milliseconds| polls(Duration::from_millis(milliseconds)).as_millis();
        assert_eq!([0, 1, 50, 51, 75, 76].map(after), [50, 50, 50, 75, 75, 100]);
    }

    #[test]
    fn stalls_come_back() {
        let (works, stalls) = (Duration::from_secs(8), Duration::from_secs(2));
        let since = Instant::now();
        let it = Stalls { fault: Fault::NoAnswer, since, works, stalls };
        let over = |second: u64| it.over_at(since + Duration::from_secs(second)).map(|at| at - since);
        assert_eq!(
            [0, 7, 8, 9, 10, 18].map(over).map(|over| over.map(|over| over.as_secs())),
            [None, None, Some(10), Some(10), None, Some(20)]
        );
    }
}
