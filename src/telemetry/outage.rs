//! What a broken connection means: an outage that passes, or a message that breaks each connection.

use std::time::Duration;

use tokio::time::Instant;

use super::backoff;
use super::message::Key;
use crate::error::{Error, ErrorCode, ErrorKind};

/// Attempts to connect after which a run with a known end gives up: about a minute.
const ATTEMPTS: u32 = 8;

/// A message alone on its way is to blame after so many connections that broke, over so long a time.
const BLAMED_AFTER: (u32, Duration) = (8, Duration::from_secs(120));

/// How the connection has done.
#[derive(Debug)]
pub(super) struct Outage {
    /// Whether connecting is tried for ever.
    is_patient: bool,
    /// Connections and attempts since the last PUBACK.
    attempt: u32,
    /// Attempts to connect that failed, one after the other.
    failed: u32,
    /// The message that is suspected, how many connections broke with it alone on its way, and since when.
    suspect: Option<(Key, u32, Instant)>,
    /// Since when a PUBACK is waited for.
    waits_since: Option<Instant>,
    give_up_after: Option<Duration>,
    /// Messages that may be in flight: one after a connection that broke without a PUBACK, then more by each.
    window: usize,
}

impl Outage {
    pub(super) const fn new(is_patient: bool, give_up_after: Option<Duration>) -> Self {
        Self {
            is_patient,
            attempt: 0,
            failed: 0,
            suspect: None,
            waits_since: None,
            give_up_after,
            window: usize::MAX,
        }
    }

    pub(super) const fn window(&self) -> usize {
        self.window
    }

    pub(super) const fn attempt(&self) -> u32 {
        self.attempt
    }

    pub(super) fn acknowledged(&mut self, now: Instant) {
        self.attempt = 0;
        self.suspect = None;
        self.window = self.window.saturating_add(1);
        self.waits_since = self.waits_since.map(|_| now);
    }

    /// Whether a PUBACK, or a connection, is waited for.
    pub(super) fn waits(&mut self, waits: bool, now: Instant) {
        self.waits_since = waits.then(|| self.waits_since.unwrap_or(now));
    }

    /// When the run gives up, unless a PUBACK comes.
    pub(super) fn gives_up_at(&self) -> Option<Instant> {
        self.waits_since?.checked_add(self.give_up_after?)
    }

    /// A connection broke, with or without PUBACKs. `alone` is the message that was in flight alone.
    pub(super) fn broke(&mut self, had_progress: bool, alone: Option<Key>, now: Instant) {
        self.failed = 0;
        if had_progress {
            return;
        }
        self.window = 1;
        let Some(key) = alone else { return };
        self.suspect = match self.suspect {
            Some((suspect, count, since)) if suspect == key => Some((key, count + 1, since)),
            _ => Some((key, 1, now)),
        };
    }

    /// The message that breaks each connection.
    pub(super) fn blamed(&self, now: Instant) -> Option<Key> {
        let (count, time) = BLAMED_AFTER;
        self.suspect.filter(|(_, broke, since)| *broke >= count && now - *since >= time).map(|(key, ..)| key)
    }

    /// The message to blame is left out.
    pub(super) fn forgive(&mut self) {
        (self.suspect, self.attempt) = (None, 0);
    }

    /// An attempt to connect failed.
    pub(super) const fn failed(&mut self) {
        self.failed += 1;
    }

    /// Whether another connection is worth a try after `error`.
    pub(super) fn goes_on(&self, error: &Error) -> bool {
        passes(error) && (self.is_patient || self.failed < ATTEMPTS)
    }

    /// The pause before the next attempt.
    pub(super) fn pause(&mut self) -> Duration {
        self.attempt = self.attempt.saturating_add(1);
        backoff::delay(self.attempt)
    }
}

/// Whether the error may pass: a network may come back, and a server may start. A refusal or an untrusted server stays.
fn passes(error: &Error) -> bool {
    match error.code {
        ErrorCode::ServerUnavailable => true,
        ErrorCode::TlsUntrusted
        | ErrorCode::TlsExpired
        | ErrorCode::TlsName
        | ErrorCode::TlsClientCertificate
        | ErrorCode::NetworkProxy => false,
        code => code.kind() == ErrorKind::Network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed() -> Error {
        Error::new(ErrorCode::NetworkClosed, "closed")
    }

    #[test]
    fn a_stream_outlives_an_outage_and_a_count_does_not() {
        for (is_patient, goes_on) in [(true, true), (false, false)] {
            let mut outage = Outage::new(is_patient, None);
            (0..ATTEMPTS).for_each(|_| outage.failed());
            assert_eq!(outage.goes_on(&closed()), goes_on);
            outage.broke(true, None, Instant::now());
            assert!(outage.goes_on(&closed()), "it had connected");
        }
        for code in [ErrorCode::TlsUntrusted, ErrorCode::ServerNotAuthorized, ErrorCode::VerifyNotAsked] {
            assert!(!Outage::new(true, None).goes_on(&Error::new(code, "no")), "{}", code.as_str());
        }
        for code in [ErrorCode::TlsHandshake, ErrorCode::ServerUnavailable, ErrorCode::NetworkResolve] {
            assert!(Outage::new(true, None).goes_on(&Error::new(code, "no")), "{}", code.as_str());
        }
    }

    #[test]
    fn a_message_is_blamed_after_eight_connections_and_two_minutes() {
        let start = Instant::now();
        let mut outage = Outage::new(true, None);
        outage.broke(false, None, start);
        assert_eq!(outage.window(), 1);
        for count in 0..20u64 {
            let now = start + Duration::from_secs(count * 10);
            outage.broke(false, Some((7, 0)), now);
            assert_eq!(outage.blamed(now).is_some(), count >= 12, "{count}");
        }
        outage.acknowledged(start);
        assert_eq!((outage.blamed(start + Duration::from_secs(999)), outage.window()), (None, 2));
    }

    #[test]
    fn giving_up_counts_from_the_last_acknowledgement() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut outage = Outage::new(true, Some(second * 10));
        assert_eq!(outage.gives_up_at(), None);
        outage.waits(true, start);
        outage.waits(true, start + second);
        assert_eq!(outage.gives_up_at(), Some(start + second * 10));
        outage.acknowledged(start + second * 5);
        assert_eq!(outage.gives_up_at(), Some(start + second * 15));
        outage.waits(false, start + second * 6);
        assert_eq!(outage.gives_up_at(), None);
    }
}
