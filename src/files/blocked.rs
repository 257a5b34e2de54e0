//! What another program blocks for a moment. On Windows a virus scanner or an indexer opens a new file, and until it has
//! closed it, the file gets no other name.

use std::io;
use std::time::Duration;

/// How long to wait before each new attempt: not quite a second in all.
const PAUSES: &[Duration] = &[
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
];

/// `ERROR_ACCESS_DENIED` and `ERROR_SHARING_VIOLATION`.
const BLOCKED: [i32; 2] = [5, 32];

/// Does it, on Windows again and again for a moment while another program blocks it.
pub(super) fn patiently<T>(operation: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let pauses = if cfg!(windows) { PAUSES } else { &[] };
    attempts(pauses, std::thread::sleep, operation)
}

fn attempts<T>(
    pauses: &[Duration],
    wait: impl Fn(Duration),
    mut operation: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    for pause in pauses {
        match operation() {
            Err(error) if is_blocked(&error) => wait(*pause),
            ended => return ended,
        }
    }
    operation()
}

fn is_blocked(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| BLOCKED.contains(&code))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// What comes of an operation that fails with `code` the first `failures` times; how often it was tried, and how long
    /// that took.
    fn tried(pauses: &[Duration], failures: usize, code: i32) -> (io::Result<()>, usize, Duration) {
        let (count, waited) = (Cell::new(0), Cell::new(Duration::ZERO));
        let ended = attempts(
            pauses,
            |pause| waited.set(waited.get() + pause),
            || {
                count.set(count.get() + 1);
                if count.get() > failures { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
            },
        );
        (ended, count.get(), waited.get())
    }

    #[test]
    fn what_is_blocked_is_tried_again_for_about_a_second() {
        for code in BLOCKED {
            let (ended, count, waited) = tried(PAUSES, 3, code);
            assert!(ended.is_ok() && count == 4 && waited == PAUSES[..3].iter().sum::<Duration>());
            let (ended, count, waited) = tried(PAUSES, usize::MAX, code);
            assert_eq!((ended.unwrap_err().raw_os_error(), count), (Some(code), PAUSES.len() + 1));
            assert!(waited > Duration::from_millis(800) && waited < Duration::from_millis(1200));
        }
    }

    #[test]
    fn any_other_failure_is_one_at_once() {
        let (ended, count, waited) = tried(PAUSES, 1, 2);
        assert_eq!((ended.unwrap_err().raw_os_error(), count, waited), (Some(2), 1, Duration::ZERO));
        let (ended, count, _) = tried(&[], 1, BLOCKED[0]);
        assert_eq!((ended.is_err(), count), (true, 1));
    }
}
