//! Provisioning sessions that may be asked again: ThingsBoard answers many requests on one connection.
//!
//! An answer does not say to which request it belongs. So a session has one request in flight. It is kept only after a
//! SUCCESS with nothing behind it, and dropped after anything else.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::message::{Answer, Status, Value};
use crate::dial::Dialer;
use crate::error::Result;
use crate::event::Progress;
use crate::mqtt::{Login, Session};

/// How long a session waits for its next request.
const LONGEST_IDLE: Duration = Duration::from_secs(2);

/// How long after its first answer a session may be asked again. ThingsBoard closes it 60 s after that answer, whatever
/// happens meanwhile (`DeviceProvisionCallback`), and an answer may take half of that.
const LONGEST_USE: Duration = Duration::from_secs(30);

/// Where requests to one server go, and the sessions that are kept for the next ones.
#[derive(Debug)]
pub struct Sessions {
    pub(super) dialer: Arc<Dialer>,
    /// None where each request has a connection of its own.
    kept: Option<Arc<Mutex<Kept>>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The one that was used last is the last.
    idle: Vec<Conversation>,
    /// Whether a task closes those that nobody asks any more.
    is_watched: bool,
}

impl Sessions {
    /// One connection for each request, closed after its answer.
    pub const fn single(dialer: Arc<Dialer>) -> Self {
        Self { dialer, kept: None }
    }

    /// A session that answered SUCCESS takes the next request. They belong to the runtime on which they are used.
    pub fn kept(dialer: Arc<Dialer>) -> Self {
        Self { dialer, kept: Some(Arc::default()) }
    }

    /// Closes those that are kept, in order.
    pub async fn close(&self) {
        let idle = self.kept.as_ref().map(|kept| std::mem::take(&mut lock(kept).idle));
        close_all(idle.unwrap_or_default()).await;
    }

    /// A session that is open as far as is known here, or a new one.
    pub(super) async fn take(&self, progress: &Progress) -> Result<Conversation> {
        while let Some(mut conversation) = self.kept.as_ref().and_then(|kept| lock(kept).idle.pop()) {
            if conversation.may_be_asked(Instant::now()) {
                return Ok(conversation);
            }
            // The server closed it, or it is too old, or something came that nobody asked for.
            tokio::spawn(conversation.session.close());
        }
        self.open(progress).await
    }

    /// A new session.
    pub(super) async fn open(&self, progress: &Progress) -> Result<Conversation> {
        Session::open(&self.dialer, &Login::Provision, progress).await.map(Conversation::new)
    }

    /// What becomes of a session after its answer: it is kept where it may be asked again, else closed.
    pub(super) async fn put_back(&self, mut conversation: Conversation) {
        match &self.kept {
            Some(kept) if conversation.may_be_asked(Instant::now()) => keep(kept, conversation),
            _ => conversation.session.close().await,
        }
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep(kept: &Arc<Mutex<Kept>>, conversation: Conversation) {
    let mut inner = lock(kept);
    inner.idle.push(conversation);
    if !std::mem::replace(&mut inner.is_watched, true) {
        tokio::spawn(watch(Arc::downgrade(kept)));
    }
}

/// Closes the sessions that wait too long, as long as there are any.
async fn watch(kept: Weak<Mutex<Kept>>) {
    loop {
        tokio::time::sleep(LONGEST_IDLE / 4).await;
        let Some(kept) = kept.upgrade() else { return };
        let (stale, is_empty) = {
            let mut kept = lock(&kept);
            let now = Instant::now();
            let stale: Vec<_> = kept.idle.extract_if(.., |waiting| waiting.is_stale(now)).collect();
            kept.is_watched = !kept.idle.is_empty();
            (stale, kept.idle.is_empty())
        };
        close_all(stale).await;
        if is_empty {
            return;
        }
    }
}

async fn close_all(conversations: Vec<Conversation>) {
    let mut closing = JoinSet::new();
    for conversation in conversations {
        closing.spawn(conversation.session.close());
    }
    while closing.join_next().await.is_some() {}
}

/// A session, and what was answered on it.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) session: Session,
    /// Whether nothing was asked yet.
    pub(super) is_new: bool,
    first_answer: Option<Instant>,
    idle_since: Instant,
    /// Whether only answers came that belong to what was asked.
    is_sound: bool,
    /// Of the credentials that were answered, each a hash.
    answered: HashSet<u64>,
    hasher: RandomState,
}

impl Conversation {
    fn new(session: Session) -> Self {
        Self {
            session,
            is_new: true,
            first_answer: None,
            idle_since: Instant::now(),
            is_sound: true,
            answered: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    /// Whether `answer` repeats the credentials of an earlier one. No two devices have the same, so that it answers
    /// nothing that was asked since.
    pub(super) fn is_repeated(&mut self, answer: &Answer) -> bool {
        let Some(value) = &answer.credentials_value else { return false };
        let is_repeated = self.answered.contains(&self.hash(value));
        self.is_sound &= !is_repeated;
        is_repeated
    }

    /// The answer to what was asked. Any but a whole SUCCESS is the session's last.
    pub(super) fn answered(&mut self, answer: &Answer) {
        (self.is_new, self.idle_since) = (false, Instant::now());
        self.first_answer.get_or_insert(self.idle_since);
        let is_success = answer.status == Status::Success && answer.known_credentials_type().is_some();
        match &answer.credentials_value {
            Some(value) if is_success => {
                let hash = self.hash(value);
                self.answered.insert(hash);
            }
            _ => self.is_sound = false,
        }
    }

    /// No answer came that can be read: one may still come.
    pub(super) const fn lost(&mut self) {
        self.is_sound = false;
    }

    fn hash(&self, value: &Value) -> u64 {
        match value {
            Value::Text(text) => self.hasher.hash_one(text.expose()),
            Value::Basic { client_id, user_name, password } => {
                self.hasher.hash_one((client_id, user_name, password.expose()))
            }
        }
    }

    fn may_be_asked(&mut self, now: Instant) -> bool {
        self.is_sound && !self.is_stale(now) && self.session.is_quiet()
    }

    fn is_stale(&self, now: Instant) -> bool {
        let is_over = |since: Instant, longest| now.saturating_duration_since(since) >= longest;
        is_over(self.idle_since, LONGEST_IDLE)
            || self.first_answer.is_some_and(|first| is_over(first, LONGEST_USE))
    }
}
