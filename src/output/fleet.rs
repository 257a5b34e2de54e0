//! A run over many devices, as people follow it: a bar on a terminal, a line now and then elsewhere, and what failed.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::human::ignored;
use super::{Mark, Output};
use tbprov::DeviceId;
use tbprov::event::{Event, Observer};

/// How many failures, postponements and warnings are shown each. The ledger has all of them.
const SHOWN: u64 = 20;

/// Between two lines about the progress, where there is no bar.
const INTERVAL: Duration = Duration::from_secs(10);

/// Often enough to look alive.
const TICK: Duration = Duration::from_millis(250);

pub(super) struct Fleet {
    output: Output,
    counts: Mutex<Counts>,
    bar: Option<ProgressBar>,
}

#[derive(Debug)]
struct Counts {
    due: u64,
    done: u64,
    failed: u64,
    postponed: u64,
    warned: u64,
    begun: Instant,
    told: Instant,
}

impl Fleet {
    pub(super) fn new(output: Output, progress: bool) -> Self {
        let now = Instant::now();
        let counts = Counts { due: 0, done: 0, failed: 0, postponed: 0, warned: 0, begun: now, told: now };
        Self { output, counts: Mutex::new(counts), bar: progress.then(bar) }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something beside the bar.
    fn say(&self, say: impl FnOnce(&Output)) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(&self.output)),
            None => say(&self.output),
        }
    }

    fn begin(&self, due: u64) {
        let mut counts = self.counts();
        let now = Instant::now();
        (counts.due, counts.begun, counts.told) = (due, now, now);
        if let Some(bar) = &self.bar {
            bar.set_length(due);
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.enable_steady_tick(TICK);
        }
    }

    /// A device came to its end: the bar moves, or a line is due.
    fn moved(&self, mut counts: MutexGuard<'_, Counts>) {
        if let Some(bar) = &self.bar {
            bar.set_position(counts.done + counts.failed);
            if counts.failed > 0 {
                bar.set_message(format!(", {} failed", counts.failed));
            }
            return;
        }
        let now = Instant::now();
        if now.duration_since(counts.told) >= INTERVAL {
            counts.told = now;
            let line = counts.to_string();
            drop(counts);
            self.output.note(&line);
        }
    }

    /// Says one of many, and after so many that there are more.
    fn one_of_many(&self, number: u64, what: &str, say: impl FnOnce(&Output)) {
        match number {
            ..=SHOWN => self.say(say),
            number if number == SHOWN + 1 => {
                self.say(|output| output.note(&format!("more {what} are not shown here")));
            }
            _ => {}
        }
    }

    fn device(&self, name: &str, event: &Event) {
        let mut counts = self.counts();
        match event {
            Event::DeviceDone { outcome } => {
                counts.done += 1;
                self.moved(counts);
                if self.output.verbose > 0 {
                    self.say(|output| output.told(Mark::Passed, &format!("{name}: {outcome}")));
                }
            }
            Event::DeviceFailed { code, message, .. } => {
                counts.failed += 1;
                let number = counts.failed;
                self.moved(counts);
                let text = format!("{name}: {code}: {message}");
                self.one_of_many(number, "failures", |output| output.told(Mark::Failed, &text));
            }
            Event::DevicePostponed { code, message, delay, .. } => {
                counts.postponed += 1;
                let number = counts.postponed;
                drop(counts);
                let when = if delay.is_zero() { "it stays due" } else { "it is tried again later" };
                let text = format!("{name}: {code}: {message}; {when}");
                self.one_of_many(number, "of these", |output| output.told(Mark::Warning, &text));
            }
            Event::Warning { message } => {
                counts.warned += 1;
                let number = counts.warned;
                drop(counts);
                let text = format!("{name}: {message}");
                self.one_of_many(number, "warnings", |output| output.warn(&text));
            }
            Event::Ignored { wish } => {
                counts.warned += 1;
                let number = counts.warned;
                drop(counts);
                let text = format!("{name}: {}", ignored(*wish));
                self.one_of_many(number, "warnings", |output| output.warn(&text));
            }
            _ => {}
        }
    }
}

impl Observer for Fleet {
    fn event(&self, device: Option<&DeviceId>, event: &Event) {
        if let Some(device) = device {
            return self.device(device.as_str(), event);
        }
        match event {
            Event::FleetBegun { due } => self.begin(*due),
            Event::FleetPaused { delay, reason } => {
                let text = format!("{reason}; nothing is begun for {:.0} s", delay.as_secs_f64());
                self.say(|output| output.told(Mark::Warning, &text));
            }
            Event::FleetWaiting { later, claimed, delay } => {
                let text = waiting(*later, *claimed, *delay);
                self.say(|output| output.note(&text));
            }
            Event::FleetEnding { in_flight } => {
                let text =
                    format!("finishing what is begun ({in_flight} devices); Ctrl-C again ends at once");
                self.say(|output| output.note(&text));
            }
            Event::Warning { message } => self.say(|output| output.warn(message)),
            _ => {}
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { due, done, failed, .. } = self;
        let seconds = self.begun.elapsed().as_secs_f64();
        write!(formatter, "{done} of {due} done, {failed} failed, ")?;
        write!(formatter, "{:.1} a second", f64::from(u32::try_from(*done).unwrap_or(u32::MAX)) / seconds)
    }
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {pos} of {len}{msg}, {rate} a second, {eta} left");
    let rate = |state: &ProgressState, text: &mut dyn fmt::Write| {
        let _ = write!(text, "{:.0}", state.per_sec());
    };
    ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).with_key("rate", rate))
}

fn waiting(later: u64, claimed: u64, delay: Duration) -> String {
    let seconds = delay.as_secs_f64();
    match (later, claimed) {
        (0, _) => format!("waiting for {claimed} devices that other runs work on"),
        (_, 0) => format!("waiting for {later} devices that are tried again, the first in {seconds:.0} s"),
        _ => format!(
            "waiting for {later} devices that are tried again, the first in {seconds:.0} s, and for {claimed} that other runs work on"
        ),
    }
}
