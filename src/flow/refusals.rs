//! How many wrong logins the server may have seen. ThingsBoard blocks an address for a minute after ten wrong logins
//! without a good one between them (`transport.mqtt.ip_filter`, off by default; `DefaultTransportRateLimitService`), and
//! then closes its connections before TLS. So a run of many devices makes a good login before there are that many.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::next::Connected;
use crate::identity::Credentials;

/// Logins that were refused since the last good one, with those that may be. Half of what ThingsBoard allows by default:
/// another program at the same address may need some too.
const MOST: u64 = 5;

/// What is known of the logins at one server.
#[derive(Debug)]
pub(super) struct Refusals {
    /// Whether there may be only so many.
    is_limited: bool,
    known: Mutex<Known>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Known {
    /// Refused logins, all of them.
    refused: u64,
    /// As many of them came before the last good login.
    forgiven: u64,
    /// Logins that may be refused, under way.
    trying: u64,
    /// Whether a good login is under way that is made for no other reason.
    is_resetting: bool,
    /// What was accepted last.
    accepted: Option<Credentials>,
}

impl Known {
    const fn open(&self) -> u64 {
        self.refused - self.forgiven
    }
}

/// What comes first.
enum Turn {
    Try,
    /// A good login with these.
    Reset(Box<Credentials>),
    Wait,
}

/// What may be done now.
pub(super) enum Admitted<'a> {
    /// The login itself.
    Login(Attempt<'a>),
    /// A login with credentials that were accepted before; then ask again.
    Known(Attempt<'a>, Box<Credentials>),
}

/// A login under way. Dropped without an end, it was neither accepted nor refused.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    refusals: &'a Refusals,
    kind: Kind,
    /// Refusals before it began: the server counted them before it sees this login.
    before: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It is expected to be accepted.
    Expected,
    Doubtful,
    Reset,
}

impl Refusals {
    pub(super) fn new(is_limited: bool) -> Self {
        Self { is_limited, known: Mutex::default(), changed: Notify::new() }
    }

    /// Begins a login that is expected to be accepted.
    pub(super) fn expected(&self) -> Attempt<'_> {
        let before = self.lock().refused;
        Attempt { refusals: self, kind: Kind::Expected, before }
    }

    /// Begins a login that may be refused, once there may be another refusal. One that `registers` is expected to be
    /// accepted as long as no other is refused.
    pub(super) async fn doubtful(&self, registers: bool) -> Admitted<'_> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(admitted) = self.admit(registers) {
                return admitted;
            }
            changed.await;
        }
    }

    /// What may be done now, if anything.
    fn admit(&self, registers: bool) -> Option<Admitted<'_>> {
        let mut known = self.lock();
        let before = known.refused;
        let attempt = |kind| Attempt { refusals: self, kind, before };
        if !self.is_limited || (registers && known.open() == 0) {
            return Some(Admitted::Login(attempt(Kind::Expected)));
        }
        match known.turn() {
            Turn::Try => Some(Admitted::Login(attempt(Kind::Doubtful))),
            Turn::Reset(credentials) => Some(Admitted::Known(attempt(Kind::Reset), credentials)),
            Turn::Wait => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Whose turn it is, which begins with that.
    fn turn(&mut self) -> Turn {
        if self.open() + self.trying < MOST {
            self.trying += 1;
            return Turn::Try;
        }
        if self.is_resetting {
            return Turn::Wait;
        }
        if let Some(credentials) = self.accepted.clone().filter(|_| self.open() > 0) {
            self.is_resetting = true;
            return Turn::Reset(Box::new(credentials));
        }
        // Nothing was accepted yet, and waiting for nobody would change nothing.
        if self.trying == 0 {
            self.trying += 1;
            return Turn::Try;
        }
        Turn::Wait
    }
}

impl Attempt<'_> {
    /// How it ended.
    pub(super) fn ended(self, connected: Connected, credentials: &Credentials) {
        let mut known = self.refusals.lock();
        match connected {
            Connected::Accepted => {
                known.forgiven = known.forgiven.max(self.before);
                known.accepted = self.refusals.is_limited.then(|| credentials.clone());
            }
            Connected::Refused => {
                known.refused += 1;
                if self.kind == Kind::Reset {
                    known.accepted = None;
                }
            }
            Connected::NotAsked | Connected::Anonymous | Connected::Unclear => {}
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut known = self.refusals.lock();
        match self.kind {
            Kind::Expected => {}
            Kind::Doubtful => known.trying = known.trying.saturating_sub(1),
            Kind::Reset => known.is_resetting = false,
        }
        drop(known);
        self.refusals.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::secret::Secret;

    fn credentials(name: &str) -> Credentials {
        Credentials::AccessToken(Secret::new(name))
    }

    /// The login that is admitted at once.
    async fn login(refusals: &Refusals) -> Attempt<'_> {
        match refusals.doubtful(false).await {
            Admitted::Login(attempt) => attempt,
            Admitted::Known(..) => panic!("a good login comes first"),
        }
    }

    async fn waits(refusals: &Refusals) -> bool {
        tokio::time::timeout(Duration::from_millis(20), refusals.doubtful(false)).await.is_err()
    }

    #[tokio::test]
    async fn a_good_login_comes_after_five_that_were_refused() {
        let (refusals, stranger, device) = (Refusals::new(true), credentials("x"), credentials("known"));
        refusals.expected().ended(Connected::Accepted, &device);
        for _ in 0..MOST {
            login(&refusals).await.ended(Connected::Refused, &stranger);
        }
        let Admitted::Known(attempt, known) = refusals.doubtful(false).await else {
            panic!("no good login comes first")
        };
        assert!(matches!(&*known, Credentials::AccessToken(token) if token.expose() == "known"));
        assert!(waits(&refusals).await, "another one waits for it");
        attempt.ended(Connected::Accepted, &device);
        login(&refusals).await.ended(Connected::Refused, &stranger);
    }

    #[tokio::test]
    async fn one_that_is_not_limited_never_waits() {
        let (refusals, device) = (Refusals::new(false), credentials("known"));
        refusals.expected().ended(Connected::Accepted, &device);
        let mut under_way = Vec::new();
        for _ in 0..3 * MOST {
            login(&refusals).await.ended(Connected::Refused, &device);
            under_way.push(login(&refusals).await);
        }
    }

    #[tokio::test]
    async fn those_under_way_count_as_refused() {
        let refusals = Refusals::new(true);
        refusals.expected().ended(Connected::Accepted, &credentials("known"));
        let mut under_way = Vec::new();
        for _ in 0..MOST {
            under_way.push(login(&refusals).await);
        }
        assert!(waits(&refusals).await);
        under_way.pop().unwrap().ended(Connected::Accepted, &credentials("x"));
        login(&refusals).await.ended(Connected::Unclear, &credentials("x"));
        drop(under_way.pop());
        drop(login(&refusals).await);
    }

    /// The server may have counted a good login before the refusals that came back first.
    #[tokio::test]
    async fn a_good_login_forgives_what_was_refused_before_it_began() {
        let (refusals, device) = (Refusals::new(true), credentials("known"));
        refusals.expected().ended(Connected::Accepted, &device);
        let good = refusals.expected();
        for _ in 0..MOST {
            login(&refusals).await.ended(Connected::Refused, &device);
        }
        good.ended(Connected::Accepted, &device);
        assert!(matches!(refusals.doubtful(false).await, Admitted::Known(..)));
    }

    #[tokio::test]
    async fn where_nothing_was_accepted_yet_one_goes_after_the_other() {
        let (refusals, stranger) = (Refusals::new(true), credentials("x"));
        for _ in 0..3 * MOST {
            login(&refusals).await.ended(Connected::Refused, &stranger);
        }
        let under_way = login(&refusals).await;
        assert!(waits(&refusals).await);
        drop(under_way);
        login(&refusals).await.ended(Connected::Refused, &stranger);
    }

    #[tokio::test]
    async fn what_is_refused_is_not_known_any_more() {
        let (refusals, stranger) = (Refusals::new(true), credentials("x"));
        refusals.expected().ended(Connected::Accepted, &credentials("deleted"));
        for _ in 0..MOST {
            login(&refusals).await.ended(Connected::Refused, &stranger);
        }
        let Admitted::Known(attempt, deleted) = refusals.doubtful(false).await else { panic!("not known") };
        attempt.ended(Connected::Refused, &deleted);
        login(&refusals).await.ended(Connected::Refused, &stranger);
    }

    #[tokio::test]
    async fn registering_waits_for_others_only_after_a_refusal() {
        let refusals = Refusals::new(true);
        let mut under_way = Vec::new();
        for _ in 0..3 * MOST {
            let Admitted::Login(attempt) = refusals.doubtful(true).await else { panic!("a good login") };
            under_way.push(attempt);
        }
        under_way.pop().unwrap().ended(Connected::Refused, &credentials("x"));
        for _ in 1..MOST {
            let Admitted::Login(attempt) = refusals.doubtful(true).await else { panic!("a good login") };
            under_way.push(attempt);
        }
        let sixth = tokio::time::timeout(Duration::from_millis(20), refusals.doubtful(true)).await;
        assert!(sixth.is_err());
    }
}
