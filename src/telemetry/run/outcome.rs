//! What was acknowledged is counted, told, and left to be read back; and how a run ends.

use bytes::Bytes;
use tokio::time::Instant;

use super::super::Report;
use super::super::confirm::{Acknowledged, Desk, Ended as Confirmed, Unconfirmed};
use super::super::message::{Key, Message};
use super::Sender;
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::event::{Event, GivenTimes};

impl Sender<'_> {
    /// Counts the readings of an acknowledged message, one in parts with its last part.
    pub(super) fn count(&mut self, key: Key, message: Message, left: Option<Instant>) {
        let is_whole = self.kept.parts(key).next().is_none();
        let whole = if is_whole { message.carried.len() as u64 } else { 0 };
        self.report.messages += 1;
        self.report.acknowledged += whole;
        if let Some(desk) = self.desk {
            let readings = message.clone().split().into_iter();
            let of_one = |one: Message| one.carried.first().map(|first| (first.line, one.payload.clone()));
            let (readings, left) = (readings.filter_map(of_one).collect(), left.unwrap_or_else(Instant::now));
            desk.add(Acknowledged { number: key.0, whole, left, readings });
        }
        let times: Vec<_> = message.carried.iter().flat_map(|carried| &carried.times).copied().collect();
        let shown: Vec<_> = message.carried.into_iter().filter_map(|carried| carried.shown).collect();
        self.progress.event(&Event::Acknowledged {
            acknowledged: self.report.acknowledged,
            payload: shown_together(&shown),
            ts: GivenTimes::of(times),
        });
    }

    /// Whether nothing may leave until something was read back. A reading without a time is told from others only while
    /// nothing else is on its way.
    pub(super) fn has_to_wait(&self) -> bool {
        let Some(desk) = self.desk else { return false };
        let one_by_one = self.plan.as_is || self.intake.lacks_clock();
        desk.has_failed() || (one_by_one && !(desk.is_clear() && self.kept.in_flight() == 0))
    }

    /// Whether a reading will not be confirmed. Then nothing more is sent.
    pub(super) fn is_unconfirmed(&self) -> bool {
        self.desk.is_some_and(Desk::has_failed)
    }

    /// How the run ended, by its sending and by its confirming. The failure of the sending comes first.
    pub(super) fn ended(&mut self, sent: Result<()>, confirmed: Confirmed) -> Result<()> {
        let ended = sent.and_then(|()| match confirmed {
            Confirmed::Done => Ok(()),
            Confirmed::Interrupted => {
                self.report.interrupted = true;
                Ok(())
            }
            Confirmed::Failed(Unconfirmed::Failed(error)) => Err(self.counted(error)),
            Confirmed::Failed(Unconfirmed::NotStored(line, why)) => {
                let message = format!("{} {why}", self.intake.place(line));
                Err(self
                    .counted(Error::new(ErrorCode::VerifyNotStored, message).hint(Hint::ReadingNotStored)))
            }
        });
        ended.map_err(|mut error| {
            if let Some(desk) = self.desk {
                error.message = format!("{}; {} were seen on the server", error.message, desk.confirmed());
            }
            error
        })
    }

    pub(super) fn no_more_patience(&self) -> Error {
        let after = self.plan.give_up_after.unwrap_or_default();
        let message = format!("no PUBACK within {after:?}, and the run was to give up then");
        Error::new(ErrorCode::NetworkTimeout, message).hint(Hint::StartAgainLater)
    }

    /// The error, and how far the run came.
    pub(super) fn counted(&self, mut error: Error) -> Error {
        let Report { sent, acknowledged, .. } = self.report();
        error.message = format!("{} ({acknowledged} of {sent} readings were acknowledged)", error.message);
        error
    }

    pub(super) fn report(&self) -> Report {
        Report {
            sent: self.intake.taken,
            refused: self.intake.refused,
            held_back: self.governor.held_back,
            held_back_for: self.governor.held_back_for(),
            confirmed: self.desk.map(Desk::confirmed),
            seen: self.desk.and_then(Desk::seen),
            ..self.report
        }
    }
}

/// What the source gave of a message, where that is worth showing.
fn shown_together(shown: &[Bytes]) -> Option<String> {
    let texts: Vec<_> = shown.iter().map(|text| String::from_utf8_lossy(text)).collect();
    match &texts[..] {
        [] => None,
        [one] => Some(one.clone().into_owned()),
        several => Some(format!("[{}]", several.join(","))),
    }
}
