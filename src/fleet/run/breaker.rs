//! What a failure of one device says about the others: whether the row fails, is tried again, or the run stops. Pure: the
//! caller passes the time.

use std::time::{Duration, Instant};

use super::super::control::Signal;
use crate::error::{Error, ErrorCode, ErrorKind, Hint, Step};
use crate::flow::Outcome;
use crate::ledger::roster::RowState;

/// So many rows in a row that fail in the same way stop the run: the next ones would too.
const SAME: u32 = 3;

/// A row that was tried so often, while others were done, fails.
const ATTEMPTS: u32 = 8;

/// The first pause of a row that is tried again, and the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long a blocked address is waited for, at the least: three times the pause that a block makes.
const BLOCKED: Duration = Duration::from_secs(3 * 65);

/// What becomes of a row that failed, and of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The row failed.
    Failed,
    /// The row failed, and so would the next ones: the run stops.
    FailedLikeOthers,
    /// The row is due again after this time.
    Later(Signal, Duration),
    /// The row stays due, and the run stops.
    Stop,
    /// The row stays due, and the run stops: the server has taken nothing for so long.
    GiveUp(Duration),
    /// The row is another run's by now.
    Lost,
    /// Nothing is to be recorded.
    GivenBack,
}

/// What is known of the devices before.
#[derive(Debug)]
pub(super) struct Breaker {
    give_up_after: Duration,
    /// Whether the server has answered something in this run.
    was_reached: bool,
    /// Whether it accepted a device in this run, or in an earlier one.
    has_proved: bool,
    /// Whether it accepted a device in this run.
    has_good: bool,
    /// Whether it registered a new device in this run: then the profile's key, or the authority, is right.
    has_registered: bool,
    /// The last failure of a row, and how many in a row were the same.
    same: Option<(ErrorCode, u32)>,
    last_good: Option<Instant>,
    /// Since when the server takes nothing.
    outage: Option<Instant>,
    /// When a connection was first closed before TLS, since the last good device.
    closed: Option<Instant>,
}

impl Breaker {
    /// `has_proved` says whether the server accepted a device in an earlier run.
    pub(super) const fn new(give_up_after: Duration, has_proved: bool) -> Self {
        Self {
            give_up_after,
            was_reached: false,
            has_proved,
            has_good: false,
            has_registered: false,
            same: None,
            last_good: None,
            outage: None,
            closed: None,
        }
    }

    /// Whether another device may begin while `in_flight` are worked on. The first one is alone, and so is every new one
    /// until the server has registered one: a wrong key shows once.
    pub(super) fn may_begin(&self, state: RowState, in_flight: usize) -> bool {
        let is_new = matches!(state, RowState::Queued | RowState::Staged | RowState::Failed);
        in_flight == 0 || if is_new { self.has_registered } else { self.has_good }
    }

    /// A device is done.
    pub(super) fn good(&mut self, outcome: Outcome, now: Instant) {
        self.was_reached = true;
        self.has_good = true;
        self.has_proved = true;
        self.has_registered |= outcome == Outcome::Provisioned;
        self.same = None;
        self.last_good = Some(now);
        self.outage = None;
        self.closed = None;
    }

    /// A device that began at `started` failed now, at the `attempts`th time.
    pub(super) fn judge(&mut self, error: &Error, attempts: u32, started: Instant, now: Instant) -> Verdict {
        match meaning(error) {
            Meaning::Lost => Verdict::Lost,
            Meaning::Interrupted => Verdict::GivenBack,
            Meaning::Busy => Verdict::Later(Signal::Refused, pause(attempts)),
            Meaning::All => Verdict::Stop,
            Meaning::Row if is_refused_registration(error) && !self.has_registered => Verdict::Stop,
            Meaning::Row => self.row(error.code),
            Meaning::Limited if !self.has_proved => Verdict::Stop,
            Meaning::Network if !self.was_reached && is_unreached(error) => Verdict::Stop,
            Meaning::Limited => self.later(Signal::Limited, attempts, started, now),
            Meaning::Network => {
                self.was_reached |= error.step() == Step::Exchange;
                let signal = self.signal(error, started, now);
                self.later(signal, attempts, started, now)
            }
        }
    }

    /// A failure of one row.
    fn row(&mut self, code: ErrorCode) -> Verdict {
        self.was_reached |= matches!(code.kind(), ErrorKind::Refused | ErrorKind::Verification);
        self.outage = None;
        let before = self.same.filter(|(same, _)| *same == code).map_or(0, |(_, count)| count);
        self.same = Some((code, before + 1));
        if before + 1 >= SAME { Verdict::FailedLikeOthers } else { Verdict::Failed }
    }

    /// Closed before TLS is a block only where it happens again to a device that began later: a server that ends does
    /// so to all that are connecting.
    fn signal(&mut self, error: &Error, started: Instant, now: Instant) -> Signal {
        if error.hint != Some(Hint::PlainPortOrBlocked) {
            return Signal::Overloaded;
        }
        let first = *self.closed.get_or_insert(now);
        if self.has_good && started > first { Signal::Blocked } else { Signal::Overloaded }
    }

    fn later(&mut self, signal: Signal, attempts: u32, started: Instant, now: Instant) -> Verdict {
        let since = *self.outage.get_or_insert(now);
        let patience =
            if signal == Signal::Blocked { self.give_up_after.max(BLOCKED) } else { self.give_up_after };
        let away = now.saturating_duration_since(since);
        if away >= patience {
            return Verdict::GiveUp(away);
        }
        let others_were_done = self.last_good.is_some_and(|good| good > started);
        if attempts >= ATTEMPTS && others_were_done {
            return Verdict::Failed;
        }
        Verdict::Later(signal, pause(attempts))
    }
}

/// How long a row waits after its `attempts`th attempt.
fn pause(attempts: u32) -> Duration {
    let doubled = PAUSE.saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1)));
    doubled.min(LONGEST_PAUSE)
}

/// Whom a failure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// This row alone, as far as is known.
    Row,
    /// Every row.
    All,
    /// The network, or the server's load.
    Network,
    /// CONNACK 3.
    Limited,
    /// Another command works on the device.
    Busy,
    /// Another run.
    Lost,
    Interrupted,
}

fn meaning(error: &Error) -> Meaning {
    match error.code {
        ErrorCode::StoreLeaseLost | ErrorCode::StoreChanged => Meaning::Lost,
        ErrorCode::StoreLocked => Meaning::Busy,
        ErrorCode::ServerUnavailable => Meaning::Limited,
        ErrorCode::TlsClientCertificate => Meaning::Row,
        ErrorCode::ServerNotFound
        | ErrorCode::TlsUntrusted
        | ErrorCode::TlsExpired
        | ErrorCode::TlsName
        | ErrorCode::VerifyNotAsked
        | ErrorCode::VerifyAnonymous
        | ErrorCode::IdentityClock
        | ErrorCode::SystemLimit
        | ErrorCode::StoreIo
        | ErrorCode::Bug => Meaning::All,
        code if code.as_str().starts_with("ledger/") => Meaning::All,
        code => match code.kind() {
            ErrorKind::Network => Meaning::Network,
            ErrorKind::Interrupted => Meaning::Interrupted,
            _ => Meaning::Row,
        },
    }
}

/// Whether the server refused a connect that was to register the device.
fn is_refused_registration(error: &Error) -> bool {
    error.hint == Some(Hint::NotRegistered)
}

/// Whether nothing says that the server is there. At `verify` an answer may have come before.
fn is_unreached(error: &Error) -> bool {
    match error.step() {
        Step::Exchange | Step::Telemetry => false,
        Step::Verify => {
            matches!(
                error.code,
                ErrorCode::NetworkResolve
                    | ErrorCode::NetworkConnect
                    | ErrorCode::NetworkProxy
                    | ErrorCode::TlsHandshake
            ) || error.hint == Some(Hint::PlainPortOrBlocked)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(300);

    fn error(code: ErrorCode, step: Step) -> Error {
        Error::new(code, "failed").stamped(step)
    }

    fn closed_before_tls() -> Error {
        error(ErrorCode::NetworkClosed, Step::Tls).hint(Hint::PlainPortOrBlocked)
    }

    /// A breaker after a device that was provisioned.
    fn after_one(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(PATIENCE, false);
        breaker.good(Outcome::Provisioned, now);
        breaker
    }

    fn second(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn what_every_device_would_meet_stops_the_run() {
        use ErrorCode as C;
        let now = Instant::now();
        for code in [
            C::ServerNotFound,
            C::TlsUntrusted,
            C::TlsExpired,
            C::TlsName,
            C::VerifyAnonymous,
            C::VerifyNotAsked,
            C::LedgerReadOnly,
            C::LedgerIo,
            C::IdentityClock,
            C::Bug,
        ] {
            let verdict = after_one(now).judge(&error(code, Step::Exchange), 1, now, now);
            assert_eq!(verdict, Verdict::Stop, "{code:?}");
        }
    }

    #[test]
    fn three_rows_that_fail_alike_without_a_good_one_between_stop_the_run() {
        let now = Instant::now();
        let mut breaker = after_one(now);
        let mut fail = |code, is_good: bool| {
            if is_good {
                breaker.good(Outcome::Provisioned, now);
            }
            breaker.judge(&error(code, Step::Exchange), 1, now, now)
        };
        let (failure, other) = (ErrorCode::ServerFailure, ErrorCode::VerifyRefused);
        assert_eq!(fail(failure, false), Verdict::Failed);
        assert_eq!(fail(failure, false), Verdict::Failed);
        assert_eq!(fail(failure, true), Verdict::Failed);
        assert_eq!(fail(failure, false), Verdict::Failed);
        assert_eq!(fail(other, false), Verdict::Failed);
        assert_eq!(fail(failure, false), Verdict::Failed);
        assert_eq!(fail(failure, false), Verdict::Failed);
        assert_eq!(fail(failure, false), Verdict::FailedLikeOthers);
    }

    #[test]
    fn a_server_that_was_never_there_stops_the_run_and_one_that_went_away_does_not() {
        use ErrorCode as C;
        let now = Instant::now();
        for (code, step) in [
            (C::NetworkResolve, Step::Resolve),
            (C::NetworkConnect, Step::Tcp),
            (C::NetworkConnect, Step::Verify),
            (C::NetworkTimeout, Step::Tls),
            (C::NetworkProtocol, Step::Connect),
            (C::TlsHandshake, Step::Tls),
        ] {
            let failed = error(code, step);
            assert_eq!(Breaker::new(PATIENCE, true).judge(&failed, 1, now, now), Verdict::Stop, "{code:?}");
            let later = Verdict::Later(Signal::Overloaded, PAUSE);
            assert_eq!(after_one(now).judge(&failed, 1, now, now), later, "{code:?}");
        }
        let lost = error(C::NetworkClosed, Step::Exchange);
        let verdict = Breaker::new(PATIENCE, false).judge(&lost, 3, now, now);
        assert_eq!(verdict, Verdict::Later(Signal::Overloaded, second(4)));
    }

    #[test]
    fn a_long_outage_ends_the_run() {
        let now = Instant::now();
        let mut breaker = after_one(now);
        let failed = error(ErrorCode::NetworkConnect, Step::Tcp);
        let later = |pause| Verdict::Later(Signal::Overloaded, second(pause));
        assert_eq!(breaker.judge(&failed, 1, now, now), later(1));
        assert_eq!(breaker.judge(&failed, 20, now, now + second(299)), later(60));
        assert_eq!(breaker.judge(&failed, 9, now, now + second(301)), Verdict::GiveUp(second(301)));
        breaker.good(Outcome::Recovered, now + second(301));
        assert_eq!(breaker.judge(&failed, 1, now + second(302), now + second(302)), later(1));
    }

    #[test]
    fn a_row_fails_that_was_tried_often_while_others_were_done() {
        let now = Instant::now();
        let mut breaker = after_one(now + second(2));
        let failed = error(ErrorCode::NetworkTimeout, Step::Telemetry);
        let later = breaker.judge(&failed, ATTEMPTS - 1, now, now + second(3));
        assert!(matches!(later, Verdict::Later(..)));
        assert_eq!(breaker.judge(&failed, ATTEMPTS, now, now + second(3)), Verdict::Failed);
        let after = now + second(4);
        assert!(matches!(breaker.judge(&failed, ATTEMPTS, after, after), Verdict::Later(..)));
    }

    #[test]
    fn closed_before_tls_is_a_block_where_it_happens_again() {
        let now = Instant::now();
        let mut breaker = after_one(now);
        let (one, other) = (now + second(1), now + second(2));
        let later = |signal| Verdict::Later(signal, PAUSE);
        assert_eq!(breaker.judge(&closed_before_tls(), 1, now, one), later(Signal::Overloaded));
        assert_eq!(breaker.judge(&closed_before_tls(), 1, now, one), later(Signal::Overloaded));
        assert_eq!(breaker.judge(&closed_before_tls(), 1, other, other), later(Signal::Blocked));
        assert_eq!(Breaker::new(PATIENCE, true).judge(&closed_before_tls(), 1, now, now), Verdict::Stop);
    }

    #[test]
    fn connack_3_before_anything_was_proved_stops_the_run() {
        let now = Instant::now();
        let refused = error(ErrorCode::ServerUnavailable, Step::Verify);
        assert_eq!(Breaker::new(PATIENCE, false).judge(&refused, 1, now, now), Verdict::Stop);
        let later = Verdict::Later(Signal::Limited, PAUSE);
        assert_eq!(Breaker::new(PATIENCE, true).judge(&refused, 1, now, now), later);
        assert_eq!(after_one(now).judge(&refused, 1, now, now), later);
    }

    #[test]
    fn an_authority_that_the_server_does_not_know_stops_the_run_at_once() {
        let now = Instant::now();
        let refused = || error(ErrorCode::ServerNotAuthorized, Step::Verify).hint(Hint::NotRegistered);
        assert_eq!(Breaker::new(PATIENCE, true).judge(&refused(), 1, now, now), Verdict::Stop);
        assert_eq!(after_one(now).judge(&refused(), 1, now, now), Verdict::Failed);
    }

    #[test]
    fn new_devices_begin_one_after_the_other_until_one_is_registered() {
        let now = Instant::now();
        let mut breaker = Breaker::new(PATIENCE, true);
        assert!(breaker.may_begin(RowState::Queued, 0) && !breaker.may_begin(RowState::Sent, 1));
        breaker.good(Outcome::Recovered, now);
        assert!(breaker.may_begin(RowState::Sent, 1) && !breaker.may_begin(RowState::Queued, 1));
        breaker.good(Outcome::Provisioned, now);
        assert!(breaker.may_begin(RowState::Queued, 1));
    }
}
