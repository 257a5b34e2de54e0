//! Reads back what was acknowledged, by an account at the server's REST API: ThingsBoard's PUBACK says that its queue has
//! a message, and not that the rule chain has stored it.
//!
//! A reading with a time is looked for at that millisecond. A reading without one gets its time from the server, so it is
//! looked for among the latest values: such messages go one at a time, and the latest value has to be another one than
//! before the message left, by its time, or else by its value.

mod desk;
mod value;
mod wanted;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use desk::Seen;
pub(super) use desk::{Acknowledged, Desk};
use value::is_stored_as;
use wanted::{Pending, Wanted};

use crate::error::{Error, ErrorCode, ErrorKind, Result};
use crate::event::{Event, GivenTimes, Progress};
use crate::rest::{Account, Device, Range, TelemetryValue};
use crate::text::{one_line, shown};

/// How long what was acknowledged may still be confirmed after the user ended the run.
const LAST_CONFIRMATIONS: Duration = Duration::from_secs(2);

/// The pause after a question that was not answered.
const OUTAGE_PAUSE: Duration = Duration::from_millis(500);

/// How much of a key or of a value an error shows, in characters.
const SHOWN: usize = 60;

/// Who reads readings back, and for how long.
#[derive(Debug, Clone)]
pub struct Confirm {
    /// The account.
    pub account: Arc<Account>,
    /// The device's name at the server.
    pub device: String,
    /// How long a reading may take from its PUBACK until the server shows it.
    pub patience: Duration,
}

impl Confirm {
    /// Logs in: what is wrong with the account is better known before anything else is done.
    ///
    /// # Errors
    /// Those of the network and of TLS, and the `rest/…` codes; `rest/forbidden` for a user who administers no devices.
    pub async fn check(&self, progress: &Progress) -> Result<()> {
        let user = self.account.user(progress).await?;
        if user.authority.administers_devices() {
            return Ok(());
        }
        let (url, name) = (self.account.url(), shown(&user.email));
        let message =
            format!("'{name}' at {url} administers no devices, and cannot look a device up by its name");
        Err(Error::new(ErrorCode::RestForbidden, message))
    }
}

/// Why a reading is not confirmed.
#[derive(Debug)]
pub(super) enum Unconfirmed {
    /// The server does not show it; of the reading on this line it says why.
    NotStored(u64, String),
    /// The server cannot be asked.
    Failed(Error),
}

/// How the confirming ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// All is confirmed.
    Done,
    /// The user ended the run before that.
    Interrupted,
    Failed(Unconfirmed),
}

/// The latest values, by key.
type Latest = BTreeMap<String, (i64, Box<RawValue>)>;

/// Confirms what is left on the desk.
pub(super) struct Confirmer<'a> {
    confirm: &'a Confirm,
    desk: &'a Desk,
    device: Device,
    /// Its steps are not those of the sending, beside which it works.
    progress: Progress,
    /// In the order of their PUBACKs. What is done stays while something before it is not: of two readings at one time
    /// the server has the later one.
    pending: Vec<Pending>,
    /// The latest values before the message that is on its way, and whether messages without a time are the rule.
    latest: Latest,
    one_by_one: bool,
    /// Since when the server cannot be asked, and when it is tried again.
    down_since: Option<Instant>,
    not_before: Instant,
}

impl<'a> Confirmer<'a> {
    /// Looks the device and its latest values up: whatever is wrong with that is told before a reading leaves.
    pub(super) async fn open(
        confirm: &'a Confirm,
        desk: &'a Desk,
        one_by_one: bool,
        progress: &Progress,
    ) -> Result<Self> {
        let progress = progress.another();
        let found = async {
            let device = confirm.account.device(&confirm.device, &progress).await?.ok_or_else(|| {
                let (url, name) = (confirm.account.url(), shown(&confirm.device));
                Error::new(ErrorCode::RestNotFound, format!("{url} has no device '{name}' for this account"))
            })?;
            let latest = latest(confirm, &device, &progress).await?;
            Ok((device, latest))
        };
        let (device, latest) = found.await.map_err(|error: Error| error.stamped(progress.step()))?;
        Ok(Self {
            confirm,
            desk,
            device,
            pending: Vec::new(),
            latest,
            one_by_one,
            down_since: None,
            not_before: Instant::now(),
            progress,
        })
    }

    /// Confirms while `sending` sends, and until all is confirmed. After `interrupt` it ends soon.
    pub(super) async fn beside<T>(
        mut self,
        sending: impl Future<Output = T>,
        interrupt: &CancellationToken,
    ) -> (T, Ended) {
        let desk = self.desk;
        let (mut sending, mut confirming) = (pin!(sending), pin!(self.confirm_all()));
        let mut confirmed = None;
        let sent = loop {
            tokio::select! {
                biased;
                sent = &mut sending => break sent,
                ended = &mut confirming, if confirmed.is_none() => confirmed = Some(ended),
            }
        };
        desk.close();
        let no_time_left = async {
            interrupt.cancelled().await;
            tokio::time::sleep(LAST_CONFIRMATIONS).await;
        };
        let ended = match confirmed {
            Some(ended) => ended,
            None => tokio::select! {
                biased;
                ended = confirming => ended,
                () = no_time_left => return (sent, Ended::Interrupted),
            },
        };
        (sent, ended.map_or_else(Ended::Failed, |()| Ended::Done))
    }

    async fn confirm_all(&mut self) -> Result<(), Unconfirmed> {
        let ended = self.go_on().await;
        if ended.is_err() {
            self.desk.fail();
        }
        ended
    }

    async fn go_on(&mut self) -> Result<(), Unconfirmed> {
        loop {
            let now = Instant::now();
            let new = self.desk.take().into_iter();
            self.pending.extend(new.map(|message| Pending::of(message, now, self.confirm.patience)));
            let open = self.pending.iter().position(|message| !message.is_done);
            self.pending.drain(..open.unwrap_or(self.pending.len()));
            let waiting = self.pending.iter().enumerate().filter(|(_, message)| !message.is_done);
            let Some((place, due)) =
                waiting.map(|(place, message)| (place, message.due)).min_by_key(|(_, due)| *due)
            else {
                if self.desk.is_over() {
                    return Ok(());
                }
                self.desk.arrived().await;
                continue;
            };
            let due = due.max(self.not_before);
            if due > now {
                tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    () = self.desk.arrived() => {}
                }
                continue;
            }
            let message = self.pending.remove(place);
            let message = self.look(message, place).await?;
            self.pending.insert(place, message);
        }
    }

    /// Looks for a message on the server, once.
    async fn look(&mut self, mut message: Pending, place: usize) -> Result<Pending, Unconfirmed> {
        let begun = Instant::now();
        if let Err(error) = self.ask(&mut message, place).await {
            return self.unanswered(error, begun).map(|()| message).map_err(Unconfirmed::Failed);
        }
        self.down_since = None;
        let Some(missing) = message.missing().next() else {
            self.confirmed(&mut message);
            return Ok(message);
        };
        if begun >= message.last {
            let others = message.missing().count() - 1;
            let why = not_stored(missing, others, self.confirm.patience);
            return Err(Unconfirmed::NotStored(missing.line, why));
        }
        message.look_again(Instant::now());
        Ok(message)
    }

    /// A question was not answered. The error, if it will not be, or was not for too long.
    fn unanswered(&mut self, error: Error, begun: Instant) -> Result<()> {
        // A page of a proxy and an answer that was cut off are `rest/not-thingsboard`.
        let may_pass = error.code.kind() == ErrorKind::Network
            || matches!(
                error.code,
                ErrorCode::RestServerError | ErrorCode::RestLimited | ErrorCode::RestNotThingsBoard
            );
        let since = *self.down_since.get_or_insert(begun);
        let now = Instant::now();
        if !may_pass || now.duration_since(since) >= self.confirm.patience {
            return Err(error.stamped(self.progress.step()));
        }
        self.not_before = now + OUTAGE_PAUSE.min(self.confirm.patience / 4);
        Ok(())
    }

    /// Asks for `message`, which was taken from its `place` among those that wait.
    async fn ask(&mut self, message: &mut Pending, place: usize) -> Result<()> {
        for question in message.questions() {
            self.ask_at_times(message, &question, place).await?;
        }
        if message.missing().any(|wanted| wanted.ts.is_none()) {
            self.ask_latest(message).await
        } else if self.one_by_one && message.missing().next().is_none() {
            // The next message may have no time.
            self.latest = latest(self.confirm, &self.device, &self.progress).await?;
            Ok(())
        } else {
            Ok(())
        }
    }

    /// Asks for values at their own times, which are close to each other.
    async fn ask_at_times(&mut self, message: &mut Pending, question: &[usize], place: usize) -> Result<()> {
        let of_question = |place: &usize| message.wanted.get(*place);
        let times = || question.iter().filter_map(of_question).filter_map(|wanted| wanted.ts);
        let (Some(first), Some(last)) = (times().min(), times().max()) else { return Ok(()) };
        let mut keys: Vec<_> = question.iter().filter_map(of_question).map(|wanted| &*wanted.key).collect();
        keys.sort_unstable();
        keys.dedup();
        let to = last.saturating_add(1);
        let limit = u32::try_from(to.saturating_sub(first)).unwrap_or(u32::MAX);
        let range = Range { from: first, to, limit };
        let account = &self.confirm.account;
        let mut shown = account.telemetry(&self.device, &keys, Some(range), &self.progress).await?;
        for number in question {
            let Some(wanted) = message.wanted.get_mut(*number) else { continue };
            let values = shown.get_mut(&wanted.key).map(Vec::as_mut_slice).unwrap_or_default();
            let here = values.iter().find(|value| Some(value.ts) == wanted.ts && !is_null(value));
            let Some(TelemetryValue { ts, value }) = here else { continue };
            wanted.is_seen =
                is_stored_as(&wanted.value, value.get()) || self.is_replaced(wanted, value.get(), place);
            wanted.found = Some((*ts, value.get().to_owned()));
        }
        Ok(())
    }

    /// Whether the server has what a later message of this run brought for the same key and time.
    fn is_replaced(&self, wanted: &Wanted, shown: &str, place: usize) -> bool {
        let others = self.pending.iter().skip(place).flat_map(|message| &message.wanted);
        let mut same = others.filter(|other| other.ts == wanted.ts && other.key == wanted.key);
        same.any(|other| is_stored_as(&other.value, shown))
    }

    /// Asks for the latest values, where the server gives the time. All are asked for, as they were before.
    async fn ask_latest(&mut self, message: &mut Pending) -> Result<()> {
        let now = latest(self.confirm, &self.device, &self.progress).await?;
        for wanted in message.wanted.iter_mut().filter(|wanted| wanted.ts.is_none()) {
            let Some((ts, value)) = now.get(&wanted.key) else { continue };
            let is_new = self
                .latest
                .get(&wanted.key)
                .is_none_or(|(before, held)| ts > before || (ts == before && held.get() != value.get()));
            wanted.is_seen |= is_new && is_stored_as(&wanted.value, value.get());
            wanted.found = Some((*ts, value.get().to_owned()));
        }
        if message.missing().next().is_none() {
            self.latest = now;
        }
        Ok(())
    }

    /// All values of a message were seen. Of a reading in several messages, the last one confirms it.
    fn confirmed(&mut self, message: &mut Pending) {
        message.is_done = true;
        let mut others = self.pending.iter_mut();
        let of_same = others.find(|other| other.number == message.number && !other.is_done);
        if let Some(other) = of_same {
            other.whole += std::mem::take(&mut message.whole);
        }
        let took = Instant::now().duration_since(message.left);
        let confirmed = self.desk.confirm(message.readings, message.whole, took);
        let mut times: Vec<_> = message.wanted.iter().filter_map(|wanted| wanted.ts).collect();
        times.dedup();
        self.progress.event(&Event::Confirmed { confirmed, seen: took, ts: GivenTimes::of(times) });
    }
}

async fn latest(confirm: &Confirm, device: &Device, progress: &Progress) -> Result<Latest> {
    let values = confirm.account.telemetry(device, &[], None, progress).await?;
    let first = |(key, values): (String, Vec<TelemetryValue>)| {
        let value = values.into_iter().next().filter(|value| !is_null(value))?;
        Some((key, (value.ts, value.value)))
    };
    Ok(values.into_iter().filter_map(first).collect())
}

/// A key without a value is shown with `null`, and the time of the question.
fn is_null(value: &TelemetryValue) -> bool {
    value.value.get() == "null"
}

/// What follows the place of a reading that the server does not show.
fn not_stored(missing: &Wanted, others: usize, patience: Duration) -> String {
    let short = |text: &str| one_line(text, SHOWN);
    let (key, sent) = (short(&missing.key), short(&missing.value));
    let what = match (missing.ts, &missing.found) {
        (Some(ts), None) => format!("'{key}' has no value at {ts}, where {sent} was sent"),
        (Some(ts), Some((_, held))) => format!("'{key}' is {} at {ts}, and {sent} was sent", short(held)),
        (None, None) => format!("'{key}' has no value, and {sent} was sent"),
        (None, Some((ts, held))) => {
            format!("the latest value of '{key}' is {} of {ts}, and {sent} was sent", short(held))
        }
    };
    let others = if others > 0 { format!(" ({others} more values are missing)") } else { String::new() };
    format!("was acknowledged, and is not on the server after {patience:?}: {what}{others}")
}
