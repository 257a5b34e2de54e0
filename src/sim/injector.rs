//! The faults of one run, and how often those that count were applied.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::answer::Shape;
use super::fault::Fault;
use super::provisioning::Substitute;
use super::pubacks::Pubacks;

/// The faults of one run. One that is given twice counts as the first.
#[derive(Debug)]
pub(super) struct Injector {
    faults: Vec<Fault>,
    /// How often each of them was asked for, of those that [`Injector::counted`] counts.
    asked: Vec<AtomicU64>,
    refused: AtomicU64,
    unavailable: AtomicU64,
    telemetry: AtomicU64,
    was_reset: AtomicBool,
}

impl Injector {
    pub(super) fn new(faults: Vec<Fault>) -> Self {
        Self {
            asked: faults.iter().map(|_| AtomicU64::new(0)).collect(),
            faults,
            refused: AtomicU64::new(0),
            unavailable: AtomicU64::new(0),
            telemetry: AtomicU64::new(0),
            was_reset: AtomicBool::new(false),
        }
    }

    pub(super) fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    pub(super) fn delay(&self) -> Option<Duration> {
        self.find(|fault| if let Fault::Delay(delay) = fault { Some(delay) } else { None })
    }

    /// How many provision requests the core works on at once, and how long each takes.
    pub(super) fn core(&self) -> Option<(Fault, u64, Duration)> {
        self.find(|fault| match fault {
            Fault::Core { workers, takes } => Some((fault, workers, takes)),
            _ => None,
        })
    }

    /// How long the core works, and then does nothing.
    pub(super) fn core_stalls(&self) -> Option<(Fault, Duration, Duration)> {
        self.find(|fault| match fault {
            Fault::CoreStalls { works, stalls } => Some((fault, works, stalls)),
            _ => None,
        })
    }

    /// How far the network is.
    pub(super) fn latency(&self) -> Option<Duration> {
        self.find(|fault| if let Fault::Latency(latency) = fault { Some(latency) } else { None })
    }

    /// How many wrong logins block an address.
    pub(super) fn address_filter(&self) -> Option<u64> {
        self.find(|fault| if let Fault::AddressFilter(most) = fault { Some(most) } else { None })
    }

    /// How many messages within a second a device may send.
    pub(super) fn rate_limit(&self) -> Option<u64> {
        self.find(|fault| if let Fault::RateLimit(count) = fault { Some(count) } else { None })
    }

    /// What the device is given instead.
    pub(super) fn substitute(&self) -> Option<(Fault, Substitute)> {
        self.find(|fault| match fault {
            Fault::WrongType => Some((fault, Substitute::Token)),
            Fault::WrongValue => Some((fault, Substitute::Other)),
            _ => None,
        })
    }

    /// How the answer is written.
    pub(super) fn shape(&self) -> Option<(Fault, Shape)> {
        self.find(|fault| match fault {
            Fault::DocShape => Some((fault, Shape::Documentation)),
            Fault::Garbage => Some((fault, Shape::Garbage)),
            Fault::Oversize => Some((fault, Shape::Oversize)),
            _ => None,
        })
    }

    /// Called for each device that connects: the CONNACK code it gets whoever it is, if any.
    pub(super) fn refusal(&self) -> Option<(Fault, u8)> {
        let first = |counter: &AtomicU64, count| counter.fetch_add(1, Ordering::Relaxed) < count;
        self.find(|fault| match fault {
            Fault::Refuse(count) if first(&self.refused, count) => Some((fault, 5)),
            Fault::Unavailable(count) if first(&self.unavailable, count) => Some((fault, 3)),
            _ => None,
        })
    }

    /// Called for each telemetry message accepted, the `nth` of its connection: whether it resets TCP.
    pub(super) fn reset(&self, nth: u64) -> Option<Fault> {
        self.find(|fault| match fault {
            Fault::ResetAlways(count) if nth == count => Some(fault),
            Fault::Reset(count) if self.telemetry.fetch_add(1, Ordering::Relaxed) + 1 >= count => {
                (!self.was_reset.swap(true, Ordering::Relaxed)).then_some(fault)
            }
            _ => None,
        })
    }

    /// Called for each telemetry message accepted: whether it is not stored, or later.
    pub(super) fn storing(&self) -> Option<Fault> {
        let is_never = |(fault, asked): (&Fault, &AtomicU64)| match fault {
            Fault::NotStored(nth) => (asked.fetch_add(1, Ordering::Relaxed) + 1 == *nth).then_some(*fault),
            _ => None,
        };
        let never = self.faults.iter().zip(&self.asked).find_map(is_never);
        never.or_else(|| self.find(|fault| matches!(fault, Fault::StoredLate(_)).then_some(fault)))
    }

    /// Called for each telemetry message accepted, the `nth` of its connection: whether it closes the connection.
    pub(super) fn close(&self, nth: u64) -> Option<Fault> {
        self.find(|fault| (fault == Fault::CloseEvery(nth)).then_some(fault))
    }

    /// Called for each occasion of a fault that happens the first N times: the fault, if it happens now.
    pub(super) fn counted(&self, wanted: fn(u64) -> Fault) -> Option<Fault> {
        let kind = std::mem::discriminant(&wanted(0));
        let mut known = self.faults.iter().zip(&self.asked);
        let (fault, asked) = known.find(|(fault, _)| std::mem::discriminant(*fault) == kind)?;
        let is_due = asked.fetch_add(1, Ordering::Relaxed) < fault.count()?;
        is_due.then_some(*fault)
    }

    /// Called for each call over REST: whether it is over a limit, and whether it is told how long to wait.
    pub(super) fn rest_limit(&self) -> Option<(Fault, bool)> {
        let told = self.counted(Fault::RestLimited).map(|fault| (fault, true));
        told.or_else(|| self.counted(Fault::RestLimitedBare).map(|fault| (fault, false)))
    }

    pub(super) fn rest_delay(&self) -> Option<Duration> {
        self.find(|fault| if let Fault::RestSlow(delay) = fault { Some(delay) } else { None })
    }

    /// What a login wants beside the password, as ThingsBoard calls it.
    pub(super) fn second_factor(&self) -> Option<(Fault, &'static str)> {
        self.find(|fault| match fault {
            Fault::RestSecondFactor => Some((fault, "PRE_VERIFICATION_TOKEN")),
            Fault::RestFactorSetup => Some((fault, "MFA_CONFIGURATION_TOKEN")),
            _ => None,
        })
    }

    /// How the PUBACKs of a device leave, and the faults that make them do so.
    pub(super) fn pubacks(&self) -> (Pubacks, Vec<Fault>) {
        let late = self.find(|fault| if let Fault::PubackLate(late) = fault { Some(late) } else { None });
        let (shuffled, twice) = (self.has(Fault::PubackShuffled), self.has(Fault::PubackTwice));
        let faults = [
            late.map(Fault::PubackLate),
            shuffled.then_some(Fault::PubackShuffled),
            twice.then_some(Fault::PubackTwice),
        ];
        (Pubacks::new(late, shuffled, twice), faults.into_iter().flatten().collect())
    }

    fn find<T>(&self, wanted: impl FnMut(Fault) -> Option<T>) -> Option<T> {
        self.faults.iter().copied().find_map(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_connections_are_refused_and_no_more() {
        let injector = Injector::new(vec![Fault::Refuse(2), Fault::Unavailable(1)]);
        let codes: Vec<_> = (0..4).map(|_| injector.refusal().map(|(_, code)| code)).collect();
        assert_eq!(codes, [Some(5), Some(5), Some(3), None]);
    }

    #[test]
    fn a_reset_happens_once_a_run_over_all_connections() {
        let injector = Injector::new(vec![Fault::Reset(3)]);
        let resets: Vec<_> = [1, 2, 1, 2, 3].map(|nth| injector.reset(nth).is_some()).into();
        assert_eq!(resets, [false, false, true, false, false]);
    }

    #[test]
    fn reset_always_counts_each_connection() {
        let injector = Injector::new(vec![Fault::ResetAlways(2)]);
        let resets: Vec<_> = [1, 2, 1, 2].map(|nth| injector.reset(nth).is_some()).into();
        assert_eq!(resets, [false, true, false, true]);
    }

    #[test]
    fn faults_of_rest_happen_the_first_times_each_by_itself() {
        let injector = Injector::new(vec![Fault::RestCut(2), Fault::RestLost(1)]);
        let cuts: Vec<_> = (0..3).map(|_| injector.counted(Fault::RestCut).is_some()).collect();
        assert_eq!(cuts, [true, true, false]);
        assert_eq!(injector.counted(Fault::RestLost), Some(Fault::RestLost(1)));
        assert_eq!(injector.counted(Fault::RestLost), None);
        assert_eq!(injector.counted(Fault::RestConflict), None);
    }

    #[test]
    fn close_every_counts_each_connection() {
        let injector = Injector::new(vec![Fault::CloseEvery(2)]);
        assert_eq!([1, 2, 1, 2].map(|nth| injector.close(nth).is_some()), [false, true, false, true]);
    }
}
