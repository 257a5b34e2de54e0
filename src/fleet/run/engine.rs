//! The loop of a run. It begins devices as tasks, and decides what follows when one of them ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};

use super::super::control::{Control, Signal};
use super::super::rate::Pace;
use super::breaker::{Breaker, Verdict};
use super::failure::{copy, gave_up, like_others, of_the_ledger, trouble};
use super::plan::FleetPlan;
use super::report::{End, Report};
use super::work::{Ended, Fleet, Proved, Shared};
use crate::error::{Error, ErrorCode, Result};
use crate::event::{Event, Progress};
use crate::flow::Outcome;
use crate::ledger::roster::{Claim, Due, Ending, RowState, Selection, Trouble};

/// Rows that are claimed at once, at the most: another run may want some.
const CHUNK: usize = 256;

/// How long until the ledger is asked again for rows that other runs work on.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// A shorter pause is not told.
const TOLD_PAUSE: Duration = Duration::from_millis(500);

/// Provisions what is due, until nothing is. Safe to repeat, and to kill at any point.
///
/// # Errors
/// `ledger/…` where nothing was begun. Later failures are in the [`Report`].
pub async fn run(plan: FleetPlan, fleet: Fleet) -> Result<Report> {
    let begun = Instant::now();
    let due = fleet.roster.due().await?;
    let proved = Selection { state: Some(RowState::Proved), ..Selection::default() };
    let has_proved = !fleet.roster.rows(&proved, None, 1).await?.is_empty();
    fleet.progress.event(&Event::FleetBegun { due: due.free + due.claimed });
    let mut engine = Engine::new(plan, fleet, has_proved);
    let end = engine.go().await;
    engine.shared.fleet.prover.close().await;
    let mut report = engine.report;
    report.left = engine.shared.fleet.roster.due().await.ok().map(|due| due.free + due.claimed);
    report.jobs = engine.control.limit();
    report.elapsed = begun.elapsed();
    report.end = end;
    Ok(report)
}

struct Engine {
    shared: Arc<Shared>,
    control: Control,
    pace: Option<Pace>,
    breaker: Breaker,
    /// Claimed, and not begun.
    ready: VecDeque<Claim>,
    tasks: JoinSet<Happened>,
    /// Devices that are worked on.
    in_flight: usize,
    /// Rows that came to their end in this run, or may.
    taken: u64,
    is_claiming: bool,
    /// Whether nothing could be claimed the last time.
    is_dry: bool,
    /// When the ledger may be asked for rows.
    look_at: Instant,
    /// Since when another program holds the ledger.
    busy_since: Option<Instant>,
    /// Since when rows are only lost.
    lost_since: Option<Instant>,
    told_waiting: bool,
    /// The last pause that was told.
    told_pause: Option<Instant>,
    report: Report,
    end: Option<End>,
}

/// What a task has to tell.
enum Happened {
    Claimed(Result<Vec<Claim>>),
    /// Nothing could be claimed: what is left.
    Looked(Result<Due>),
    Ended(Box<Ended>),
    Recorded(Box<Recorded>, Result<()>),
}

/// A row whose end is in the ledger.
struct Recorded {
    progress: Progress,
    fate: Fate,
}

enum Fate {
    Done(Outcome),
    Failed(Error),
    Postponed(Error, Duration),
    GivenBack,
}

impl Engine {
    fn new(plan: FleetPlan, fleet: Fleet, has_proved: bool) -> Self {
        Self {
            control: Control::new(plan.jobs),
            pace: plan.rate.map(Pace::new),
            breaker: Breaker::new(plan.give_up_after, has_proved),
            shared: Arc::new(Shared::new(plan, fleet)),
            ready: VecDeque::new(),
            tasks: JoinSet::new(),
            in_flight: 0,
            taken: 0,
            is_claiming: false,
            is_dry: false,
            look_at: Instant::now(),
            busy_since: None,
            lost_since: None,
            told_waiting: false,
            told_pause: None,
            report: Report::new(),
            end: None,
        }
    }

    async fn go(&mut self) -> End {
        let interrupt = self.shared.fleet.interrupt.clone();
        loop {
            let wakes_at = self.begin_what_may(Instant::now());
            if self.tasks.is_empty()
                && let Some(end) = self.end.take()
            {
                return end;
            }
            tokio::select! {
                biased;
                () = interrupt.cancelled(), if self.end.is_none() => self.ends(End::Interrupted),
                Some(happened) = self.tasks.join_next() => self.take_all(happened),
                () = until(wakes_at) => {}
            }
        }
    }

    fn take_all(&mut self, first: Result<Happened, JoinError>) {
        let mut next = Some(first);
        while let Some(happened) = next {
            match happened {
                Ok(happened) => self.take(happened),
                Err(error) => {
                    let message = format!("the work on a device ended by itself: {error}");
                    self.ends(End::Stopped(Error::new(ErrorCode::Bug, message)));
                }
            }
            next = self.tasks.try_join_next();
        }
    }

    fn take(&mut self, happened: Happened) {
        match happened {
            Happened::Claimed(claimed) => self.claimed(claimed),
            Happened::Looked(due) => self.looked(due),
            Happened::Ended(ended) => self.ended(*ended),
            Happened::Recorded(recorded, result) => self.recorded(*recorded, result),
        }
    }

    /// Begins devices and claims as far as that may be. Gives the time at which more may be begun.
    fn begin_what_may(&mut self, now: Instant) -> Option<Instant> {
        if self.end.is_some() {
            return None;
        }
        while let Some(claim) = self.ready.front() {
            if self.in_flight >= self.control.limit() || !self.breaker.may_begin(claim.state, self.in_flight)
            {
                break;
            }
            let paused = self.control.paused_until();
            let ready_at = self.pace.as_ref().and_then(Pace::ready_at);
            if let Some(at) = paused.max(ready_at).filter(|at| *at > now) {
                return Some(at);
            }
            if let Some(claim) = self.ready.pop_front() {
                self.begin(claim, now);
            }
        }
        self.claim(now)
    }

    fn begin(&mut self, claim: Claim, now: Instant) {
        if let Some(pace) = &mut self.pace {
            pace.begun(now);
        }
        self.in_flight += 1;
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move { Happened::Ended(Box::new(shared.work(claim, now).await)) });
    }

    /// Asks the ledger for rows where some are needed. Gives the time at which that may be, where it may not be yet.
    fn claim(&mut self, now: Instant) -> Option<Instant> {
        let jobs = self.control.limit();
        let most = self.shared.plan.limit.map(|limit| limit.saturating_sub(self.taken));
        let is_idle = self.tasks.is_empty() && self.ready.is_empty();
        if most == Some(0) {
            self.end = is_idle.then_some(End::Done);
            return None;
        }
        if self.is_dry && is_idle {
            self.look();
            return None;
        }
        if self.is_claiming || self.ready.len() >= jobs {
            return None;
        }
        if self.look_at > now {
            return Some(self.look_at);
        }
        let wanted = (jobs * 2).min(CHUNK).saturating_sub(self.ready.len()).max(1);
        let wanted = most.map_or(wanted, |most| wanted.min(usize::try_from(most).unwrap_or(usize::MAX)));
        self.is_claiming = true;
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move { Happened::Claimed(shared.fleet.roster.claim(wanted).await) });
        None
    }

    fn claimed(&mut self, claimed: Result<Vec<Claim>>) {
        self.is_claiming = false;
        match claimed {
            Err(error) if self.waits_for_the_ledger(&error) => {}
            Err(error) => self.ends(of_the_ledger(error)),
            Ok(claims) if claims.is_empty() => {
                self.busy_since = None;
                self.is_dry = true;
                self.look_at = Instant::now() + LOOK_AGAIN;
            }
            Ok(claims) => {
                self.busy_since = None;
                self.is_dry = false;
                self.told_waiting = false;
                self.taken += u64::try_from(claims.len()).unwrap_or(u64::MAX);
                self.ready.extend(claims);
                if self.end.is_some() {
                    self.give_back();
                }
            }
        }
    }

    /// Whether rows are claimed again soon: another program holds the ledger, and is waited for as long as a server.
    fn waits_for_the_ledger(&mut self, error: &Error) -> bool {
        let now = Instant::now();
        let since = *self.busy_since.get_or_insert(now);
        let is_too_long = now.duration_since(since) >= self.shared.plan.give_up_after;
        if error.code != ErrorCode::LedgerBusy || is_too_long {
            return false;
        }
        self.shared.fleet.progress.warn(error.message.clone());
        self.look_at = now + LOOK_AGAIN;
        true
    }

    /// Nothing can be claimed, and nothing is worked on here.
    fn look(&mut self) {
        self.is_dry = false;
        self.is_claiming = true;
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move { Happened::Looked(shared.fleet.roster.due().await) });
    }

    fn looked(&mut self, due: Result<Due>) {
        self.is_claiming = false;
        let due = match due {
            Err(error) => return self.ends(of_the_ledger(error)),
            Ok(Due { free: 0, claimed: 0, .. }) => return self.ends(End::Done),
            Ok(due) => due,
        };
        let delay = match due {
            Due { free: 0, .. } => LOOK_AGAIN,
            Due { claimed: 0, wait, .. } => wait,
            Due { wait, .. } => wait.min(LOOK_AGAIN),
        };
        self.look_at = Instant::now() + delay;
        if !delay.is_zero() && !std::mem::replace(&mut self.told_waiting, true) {
            let Due { free: later, claimed, wait: delay } = due;
            self.tell(&Event::FleetWaiting { later, claimed, delay });
        }
    }

    fn ended(&mut self, ended: Ended) {
        self.in_flight -= 1;
        let Ended { claim, started, now, result } = ended;
        match result {
            Ok(Proved { outcome, tls_version }) => {
                self.control.finished(started, now, Signal::Good);
                self.breaker.good(outcome, now);
                self.report.tls_version = tls_version.or(self.report.tls_version);
                self.record(claim, Ending::Done, Fate::Done(outcome));
            }
            Err(error) => {
                let verdict = self.breaker.judge(&error, claim.attempts, started, now);
                self.failed(claim, error, verdict, (started, now));
            }
        }
    }

    fn failed(&mut self, claim: Claim, error: Error, verdict: Verdict, (started, now): (Instant, Instant)) {
        let trouble = trouble(&error);
        match verdict {
            // It was begun before it was known that all fail alike.
            Verdict::Failed | Verdict::FailedLikeOthers if self.has_stopped_for(error.code) => {
                self.postpone(claim, trouble, error, Duration::ZERO);
            }
            Verdict::Failed => {
                self.control.finished(started, now, Signal::Refused);
                self.record(claim, Ending::Failed(trouble), Fate::Failed(error));
            }
            Verdict::FailedLikeOthers => {
                self.ends(End::Stopped(like_others(&error)));
                self.record(claim, Ending::Failed(trouble), Fate::Failed(error));
            }
            Verdict::Later(signal, delay) => {
                self.control.finished(started, now, signal);
                self.tell_pause(signal, &error, now);
                self.postpone(claim, trouble, error, delay);
            }
            Verdict::Stop => {
                self.ends(End::Stopped(copy(&error)));
                self.postpone(claim, trouble, error, Duration::ZERO);
            }
            Verdict::GiveUp(away) => {
                self.ends(End::Stopped(gave_up(&error, away)));
                self.postpone(claim, trouble, error, Duration::ZERO);
            }
            Verdict::Lost => self.lost(),
            Verdict::GivenBack => self.record(claim, Ending::GivenBack, Fate::GivenBack),
        }
    }

    fn has_stopped_for(&self, code: ErrorCode) -> bool {
        matches!(&self.end, Some(End::Stopped(stop)) if stop.code == code)
    }

    fn postpone(&mut self, claim: Claim, trouble: Trouble, error: Error, delay: Duration) {
        self.record(claim, Ending::Later(trouble, delay), Fate::Postponed(error, delay));
    }

    /// Writes the end of a row to the ledger, beside the work on other devices.
    fn record(&mut self, claim: Claim, ending: Ending, fate: Fate) {
        let recorded = Box::new(Recorded { progress: self.shared.about(&claim), fate });
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            let result = shared.fleet.roster.finish(claim, ending).await;
            Happened::Recorded(recorded, result)
        });
    }

    fn recorded(&mut self, recorded: Recorded, result: Result<()>) {
        let Recorded { progress, fate } = recorded;
        match result {
            Ok(()) => self.lost_since = None,
            Err(error) if error.code == ErrorCode::StoreLeaseLost => return self.lost(),
            Err(error) => return self.ends(of_the_ledger(error)),
        }
        match fate {
            Fate::Done(outcome) => {
                self.report.count(outcome);
                progress.event(&Event::DeviceDone { outcome: outcome.as_str() });
            }
            Fate::Failed(error) => {
                self.report.failed += 1;
                let (code, step) = (error.code.as_str(), error.step());
                progress.event(&Event::DeviceFailed { code, step, message: error.message });
            }
            Fate::Postponed(error, delay) => {
                self.report.postponed += 1;
                self.taken -= 1;
                self.look_at = self.look_at.min(Instant::now() + delay);
                let (code, step) = (error.code.as_str(), error.step());
                progress.event(&Event::DevicePostponed { code, step, message: error.message, delay });
            }
            Fate::GivenBack => self.taken -= 1,
        }
    }

    /// Another run has the row.
    fn lost(&mut self) {
        self.report.lost += 1;
        self.taken -= 1;
        let now = Instant::now();
        self.look_at = self.look_at.max(now + LOOK_AGAIN);
        let since = *self.lost_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= self.shared.plan.give_up_after {
            let message = "every row that this run claims is another run's at once: is the ledger damaged?";
            self.ends(End::Stopped(Error::new(ErrorCode::StoreLeaseLost, message)));
        }
    }

    /// Begins nothing more. The first reason counts.
    fn ends(&mut self, end: End) {
        if self.end.is_some() {
            return;
        }
        if self.in_flight > 0 {
            self.tell(&Event::FleetEnding { in_flight: self.in_flight });
        }
        self.end = Some(end);
        self.give_back();
    }

    fn give_back(&mut self) {
        for claim in std::mem::take(&mut self.ready) {
            self.record(claim, Ending::GivenBack, Fate::GivenBack);
        }
    }

    fn tell_pause(&mut self, signal: Signal, error: &Error, now: Instant) {
        let Some(until) = self.control.paused_until().filter(|until| *until > now + TOLD_PAUSE) else {
            return;
        };
        if self.told_pause.is_some_and(|told| told >= until) {
            return;
        }
        self.told_pause = Some(until);
        let reason = match signal {
            Signal::Blocked => {
                format!("the server may block this address after wrong logins: {}", error.message)
            }
            _ => error.message.clone(),
        };
        self.tell(&Event::FleetPaused { delay: until - now, reason });
    }

    fn tell(&self, event: &Event) {
        self.shared.fleet.progress.event(event);
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
