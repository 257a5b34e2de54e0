//! From readings to messages: each is checked, given its time, and put with others where that was asked for.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::limits::{Limits, too_large};
use super::message::{Array, Message, Outgoing, Part};
use super::reading::stored::moments;
use super::reading::{Element, Reading};
use super::remark::Remarks;
use super::source::{Source, Taken};
use super::times::{Ask, Times};
use super::{LARGEST_PAYLOAD, TOO_LARGE, TelemetryPlan, topic};
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::event::{Event, Progress};
use crate::text::one_line;

/// How long a reading waits for others that go with it.
const BATCH_WAIT: Duration = Duration::from_secs(1);

/// How much of a key an error shows, in characters.
const SHOWN_KEY: usize = 40;

/// How many refused readings are named. The others are only counted.
const NAMED: u64 = 100;

/// How readings become messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Byte for byte, unchecked: the topic is not one of telemetry.
    Bytes,
    /// Byte for byte, checked.
    AsIs,
    /// Checked, and each with its time.
    Timed,
}

/// The messages of one run. `next` may be dropped and called again without losing a reading.
pub(super) struct Intake<'a> {
    progress: &'a Progress,
    source: Source,
    form: Form,
    pub(super) times: Times,
    /// Readings that may still be taken; `None` for no end.
    remaining: Option<u64>,
    /// Readings taken, and readings refused.
    pub(super) taken: u64,
    pub(super) refused: u64,
    skips_refused: bool,
    /// Whether readings are read back.
    confirms: bool,
    /// The largest payload, in bytes, and the most data points of a message.
    largest: usize,
    most_points: Option<u32>,
    batch_size: usize,
    batch: Option<(Array, Instant)>,
    /// Waits for its time.
    held: Option<(u64, Reading)>,
    ready: VecDeque<Ready>,
    ended: bool,
    /// What was wrong with a reading: told after those before it are acknowledged.
    failed: Option<Error>,
    told: Told,
}

/// The messages of a reading, or of several.
pub(super) type Ready = Vec<Message>;

/// Warnings that were given. Each is given once.
#[derive(Debug, Default)]
struct Told {
    remarks: Remarks,
    no_clock: bool,
    too_fast: bool,
}

impl<'a> Intake<'a> {
    pub(super) async fn open(plan: &TelemetryPlan, progress: &'a Progress) -> Result<Self> {
        let form = match (topic::is_telemetry(&plan.topic), plan.as_is) {
            (false, _) => Form::Bytes,
            (true, true) => Form::AsIs,
            (true, false) => Form::Timed,
        };
        Ok(Self {
            progress,
            source: Source::open(plan, form != Form::Bytes).await?,
            form,
            times: Times::new(),
            remaining: plan.count,
            taken: 0,
            refused: 0,
            skips_refused: plan.skip_refused,
            confirms: plan.confirm.is_some(),
            largest: LARGEST_PAYLOAD,
            most_points: None,
            batch_size: plan.batch.map_or(1, |size| usize::try_from(size.get()).unwrap_or(usize::MAX)),
            batch: None,
            held: None,
            ready: VecDeque::new(),
            ended: false,
            failed: None,
            told: Told::default(),
        })
    }

    /// The next messages: one, or all of a reading that does not fit into one. `None` at the end.
    ///
    /// # Errors
    /// The error of a reading, after all readings before it; the error of the source.
    pub(super) async fn next(&mut self) -> Result<Option<Ready>> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Ok(Some(ready));
            }
            if self.ended || self.remaining == Some(0) {
                if self.batch.is_some() {
                    self.close_batch();
                    continue;
                }
                return self.failed.take().map_or(Ok(None), Err);
            }
            let full_at = self.batch.as_ref().map(|(_, full_at)| *full_at);
            tokio::select! {
                biased;
                done = self.step() => done,
                () = tokio::time::sleep_until(full_at.unwrap_or_else(Instant::now)), if full_at.is_some() => {
                    self.close_batch();
                }
            }
        }
    }

    /// Nothing is taken any more.
    pub(super) fn end(&mut self) {
        self.ended = true;
        self.held = None;
    }

    /// What the server announced about messages.
    pub(super) fn limit(&mut self, limits: &Limits) {
        self.largest = limits.largest.unwrap_or(LARGEST_PAYLOAD);
        self.most_points = limits.most_points();
    }

    /// Whether a reading had to go without a time, because this machine's clock cannot be right.
    pub(super) const fn lacks_clock(&self) -> bool {
        self.told.no_clock
    }

    /// Where a reading stands, for people.
    pub(super) fn place(&self, line: u64) -> String {
        self.source.place(line)
    }

    /// Takes a reading, or waits until the one that was taken may have its time.
    async fn step(&mut self) {
        if self.held.is_some() {
            return self.give_time().await;
        }
        match self.source.next().await {
            Ok(Taken::Reading { line, text }) => self.check(line, text),
            Ok(Taken::Refused { line, why }) => self.refuse(line, &why, Hint::SplitMessage),
            Ok(Taken::End) => self.ended = true,
            Err(error) => {
                self.ended = true;
                self.failed = Some(error);
            }
        }
    }

    fn check(&mut self, line: u64, text: Bytes) {
        if self.form == Form::Bytes {
            let shown = (!self.source.is_stream()).then(|| text.clone());
            let outgoing = Outgoing {
                line,
                parts: Vec::new(),
                is_array: false,
                is_timed: false,
                unchanged: Some(text),
                shown,
            };
            return self.accept(outgoing);
        }
        match Reading::parse(text) {
            Ok((reading, remarks)) => {
                self.remark(line, if self.form == Form::AsIs { remarks.as_is() } else { remarks });
                if let Some(key) = self.unaskable(&reading) {
                    let why = format!(
                        "has the key '{key}', which cannot be read back: the server divides keys at commas"
                    );
                    return self.refuse(line, &why, Hint::WithoutConfirming);
                }
                let lacks_time = reading.elements().iter().any(|element| !element.has_time());
                if self.form == Form::Timed && lacks_time {
                    self.held = Some((line, reading));
                } else {
                    self.send(line, &reading, None);
                }
            }
            Err(why) => self.refuse(line, &format!("is not telemetry: {why}"), Hint::TelemetryForm),
        }
    }

    /// A key that the server cannot be asked for at a time, where readings are read back.
    fn unaskable(&self, reading: &Reading) -> Option<String> {
        if !self.confirms {
            return None;
        }
        let moments = moments(reading.text()).into_iter();
        let timed = moments.filter(|moment| self.form == Form::Timed || moment.ts.is_some());
        let mut keys = timed.flat_map(|moment| moment.values).map(|(key, _)| key);
        keys.find(|key| key.contains(',')).map(|key| one_line(&key, SHOWN_KEY))
    }

    async fn give_time(&mut self) {
        let first = match self.times.ask() {
            Ask::After(wait) => {
                if !std::mem::replace(&mut self.told.too_fast, true) {
                    self.progress.warn(
                        "readings come faster than 1,000 a second, and each needs a millisecond of its own: the \
                         rest waits; readings that bring their own \"ts\" do not",
                    );
                }
                return tokio::time::sleep(wait).await;
            }
            Ask::Now(first) => Some(first),
            Ask::NoClock => {
                if !std::mem::replace(&mut self.told.no_clock, true) {
                    self.progress.warn(
                        "this machine's clock cannot be right, so readings go without a time: of those that arrive \
                         within a millisecond the server keeps one",
                    );
                }
                None
            }
        };
        if let Some(by) = self.times.set_back() {
            self.progress.warn(format!(
                "this machine's clock was set back by {by:?}: the times of readings go on from where they were"
            ));
        }
        if let Some((line, reading)) = self.held.take() {
            self.send(line, &reading, first);
        }
    }

    /// Sends a reading; its elements without a time of their own get `first`, the next millisecond, and so on.
    fn send(&mut self, line: u64, reading: &Reading, first: Option<i64>) {
        let mut next = first;
        let mut part = |index, element: &Element| {
            let time = next.filter(|_| !element.has_time());
            next = next.map(|next| next + i64::from(time.is_some()));
            Part { text: reading.element(index, time), points: element.points, time }
        };
        let elements = reading.elements().iter().enumerate();
        let parts = elements.map(|(index, element)| part(index, element)).collect();
        if let (Some(first), Some(next)) = (first, next) {
            self.times.take(first, next);
        }
        let has_times = reading.elements().iter().all(Element::has_time);
        let is_unchanged = self.form == Form::AsIs || has_times;
        self.accept(Outgoing {
            line,
            parts,
            is_array: reading.is_array() && self.form == Form::Timed,
            is_timed: first.is_some() || has_times,
            unchanged: is_unchanged.then(|| reading.text().clone()),
            shown: (!self.source.is_stream()).then(|| reading.text().clone()),
        });
    }

    /// Puts a reading among those that leave, or refuses it by its size.
    fn accept(&mut self, outgoing: Outgoing) {
        let (line, points) = (outgoing.line, outgoing.points());
        if self.batch_size > 1 && outgoing.is_timed {
            let fits = |array: &Array, largest, most: Option<u32>| {
                array.size_with(&outgoing.parts) <= largest
                    && most.is_none_or(|most| array.points() + points <= most)
            };
            let (largest, most) = (self.largest, self.most_points);
            if self.batch.as_ref().is_some_and(|(array, _)| !fits(array, largest, most)) {
                self.close_batch();
            }
            if fits(&Array::new(), largest, most) {
                self.count();
                return self.add(&outgoing);
            }
        }
        self.close_batch();
        match outgoing.messages(self.largest) {
            Some(messages) => {
                self.count();
                self.ready.push_back(messages);
            }
            None if self.largest < LARGEST_PAYLOAD => {
                self.refuse(line, &too_large(self.largest), Hint::SplitMessage);
            }
            None => self.refuse(line, TOO_LARGE, Hint::SplitMessage),
        }
    }

    /// Adds a reading to those that wait for others.
    fn add(&mut self, outgoing: &Outgoing) {
        let (array, _) = self.batch.get_or_insert_with(|| (Array::new(), Instant::now() + BATCH_WAIT));
        array.push(outgoing, 0..outgoing.parts.len());
        if array.len() >= self.batch_size {
            self.close_batch();
        }
    }

    fn close_batch(&mut self) {
        if let Some((array, _)) = self.batch.take() {
            self.ready.push_back(vec![array.into_message()]);
        }
    }

    fn count(&mut self) {
        self.taken += 1;
        self.remaining = self.remaining.map(|remaining| remaining - 1);
    }

    /// Whether the run continues without a refused reading. Only a stream gives another reading next.
    pub(super) const fn may_skip(&self) -> bool {
        self.skips_refused && self.source.is_stream()
    }

    /// Refuses a reading that was already taken. It is no longer counted as taken.
    pub(super) fn give_back(&mut self, line: u64, why: &str) {
        self.taken -= 1;
        self.remaining = self.remaining.map(|remaining| remaining + 1);
        self.refuse(line, why, Hint::SplitMessage);
    }

    /// A reading that is not sent: the end of the run, unless the user wants to go on.
    fn refuse(&mut self, line: u64, why: &str, hint: Hint) {
        if !self.may_skip() {
            self.end();
            let message = format!("{} {why}", self.place(line));
            self.failed = Some(Error::new(ErrorCode::UsageInvalid, message).hint(hint));
            return;
        }
        self.refused += 1;
        if self.refused <= NAMED {
            let reason = format!("{} {why}", self.place(line));
            self.progress.event(&Event::ReadingRefused { line, reason });
        }
    }

    /// Warns of values that ThingsBoard stores in another form, once per kind.
    fn remark(&mut self, line: u64, remarks: Remarks) {
        for remark in remarks.iter().filter(|remark| !self.told.remarks.has(*remark)) {
            self.progress.warn(format!("{}: {}", self.source.place(line), remark.text()));
        }
        self.told.remarks.add_all(remarks);
    }
}
