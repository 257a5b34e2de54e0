//! The sending loop. Messages that are not acknowledged are kept, and sent again over the next connection.

mod outcome;

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::confirm::{Confirmer, Desk, Ended as Confirmed};
use super::governor::Governor;
use super::intake::{Intake, Ready};
use super::kept::{ATTRIBUTES, Kept};
use super::message::{Key, Message};
use super::outage::Outage;
use super::{ATTRIBUTES_TOPIC, Report, TelemetryPlan, limits, topic};
use crate::dial::Dialer;
use crate::error::{Error, ErrorCode, Hint, Result, Step};
use crate::event::{Event, Progress};
use crate::identity::Credentials;
use crate::mqtt::{IN_FLIGHT, Incoming, Login, Session};

/// How long the messages in flight may still be acknowledged after the user ended the run.
const LAST_ACKNOWLEDGEMENTS: Duration = Duration::from_secs(2);

/// A message whose PUBACK does not come while others do is given up after so many times the time-out: it was lost.
const OVERDUE: u32 = 4;

/// A run that sends more asks for the server's limits.
const FEW: u64 = 10;

/// Sends telemetry until the source ends, `plan.count` is reached, or `interrupt` is cancelled, and waits for
/// every PUBACK. After a lost connection it connects again: without end if the source is a stream or has no end, else a
/// few times.
///
/// # Errors
/// The first connection's error; the error of a reading; a refusal by the server; the last connection's error if the
/// run gives up. The observer was told what was acknowledged until then, and the message says it too. `interrupted` if
/// the interrupt came before the first connection. Where readings are read back, `verify/not-stored` for one that is not
/// there, and the error of the REST API that cannot be asked.
pub async fn run(
    dialer: &Dialer,
    credentials: &Credentials,
    plan: &TelemetryPlan,
    interrupt: &CancellationToken,
    progress: &Progress,
) -> Result<Report> {
    let login = Login::Device(credentials);
    // Opening a source can take for ever too: a named pipe waits for its writer.
    progress.begin(Step::Telemetry);
    let desk = plan.confirm.as_ref().map(|confirm| (confirm, Desk::default()));
    let begin = async {
        let sender =
            Sender::new(plan, progress, dialer, interrupt, desk.as_ref().map(|(_, desk)| desk)).await?;
        let confirmer = match &desk {
            Some((confirm, desk)) => Some(Confirmer::open(confirm, desk, plan.as_is, progress).await?),
            None => None,
        };
        Ok::<_, Error>((sender, confirmer, Session::open(dialer, &login, progress).await?))
    };
    let (mut sender, confirmer, session) = tokio::select! {
        biased;
        () = interrupt.cancelled() => return Err(Error::interrupted()),
        begun = begin => begun?,
    };
    progress.begin(Step::Telemetry);
    let sending = sender.send_all(session, &login);
    let (sent, confirmed) = match confirmer {
        Some(confirmer) => confirmer.beside(sending, interrupt).await,
        None => (sending.await, Confirmed::Done),
    };
    let ended = sender.ended(sent, confirmed);
    // Another run must not give the times that were given here.
    tokio::time::sleep(sender.intake.times.until_passed()).await;
    ended.map(|()| sender.report())
}

struct Sender<'a> {
    plan: &'a TelemetryPlan,
    /// Where what is acknowledged is left to be read back.
    desk: Option<&'a Desk>,
    progress: &'a Progress,
    dialer: &'a Dialer,
    interrupt: &'a CancellationToken,
    intake: Intake<'a>,
    source_ended: bool,
    /// What was wrong with a reading: told after those before it are acknowledged.
    failed: Option<Error>,
    kept: Kept,
    governor: Governor<'a>,
    outage: Outage,
    /// Whether a PUBACK came on this connection.
    had_progress: bool,
    report: Report,
}

/// Why nothing more is sent.
enum Ended {
    Done,
    /// No PUBACK came for as long as the user wanted to wait.
    GaveUp,
}

/// What happened on a connection.
enum Happened {
    Interrupted,
    Arrived(Result<Incoming>),
    Taken(Result<Option<Ready>>),
    /// A message may leave.
    MayLeave,
    /// No PUBACK came in time.
    NoAcknowledgement,
    /// No PUBACK came for as long as the user wants to wait.
    GivesUp,
    /// Something was read back, or will not be.
    Confirmed,
}

impl<'a> Sender<'a> {
    async fn new(
        plan: &'a TelemetryPlan,
        progress: &'a Progress,
        dialer: &'a Dialer,
        interrupt: &'a CancellationToken,
        desk: Option<&'a Desk>,
    ) -> Result<Self> {
        let mut kept = Kept::default();
        if let Some(attributes) = &plan.attributes {
            kept.add_attributes(Message {
                payload: Bytes::from(attributes.clone()),
                points: 0,
                carried: Vec::new(),
            });
        }
        let is_stream = plan.readings.is_stream();
        let is_much = is_stream || plan.count.is_none_or(|count| count > FEW);
        Ok(Self {
            plan,
            desk,
            progress,
            dialer,
            interrupt,
            intake: Intake::open(plan, progress).await?,
            source_ended: false,
            failed: None,
            kept,
            governor: Governor::new(is_much, progress),
            outage: Outage::new(is_stream || plan.count.is_none(), plan.give_up_after),
            had_progress: false,
            report: Report::default(),
        })
    }

    /// Sends over one connection after the other until nothing is left to do.
    async fn send_all(&mut self, first: Session, login: &Login<'_>) -> Result<()> {
        let mut session = first;
        loop {
            self.report.tls_version = session.tls_version();
            let error = match self.send_over(&mut session).await {
                Ok(ended) => {
                    session.close().await;
                    return match (ended, self.failed.take()) {
                        (_, Some(failed)) => Err(self.counted(failed)),
                        (Ended::GaveUp, None) => Err(self.counted(self.no_more_patience())),
                        (Ended::Done, None) => Ok(()),
                    };
                }
                Err(error) => error,
            };
            self.broke(&error)?;
            match self.reconnect(error, login).await? {
                Some(again) => session = again,
                None => return Ok(()),
            }
        }
    }

    /// Sends over one connection, first what an earlier one left unacknowledged.
    async fn send_over(&mut self, session: &mut Session) -> Result<Ended> {
        self.begin(session)?;
        let mut patience = Instant::now() + self.dialer.timeout;
        loop {
            let nothing_left =
                if self.is_unconfirmed() { self.kept.in_flight() == 0 } else { self.kept.is_empty() };
            if nothing_left && (self.source_ended || self.is_unconfirmed()) {
                return Ok(Ended::Done);
            }
            let now = Instant::now();
            self.outage.waits(!self.kept.is_empty(), now);
            let leaves_at = self.leaves_at(now);
            if leaves_at.is_some_and(|at| at <= now) {
                if self.is_too_much() {
                    continue;
                }
                if self.kept.in_flight() == 0 && !self.report.interrupted {
                    patience = now + self.dialer.timeout;
                }
                self.send_next(session, now)?;
                continue;
            }
            match self.happens(session, leaves_at, patience).await {
                Happened::Interrupted => {
                    self.report.interrupted = true;
                    self.intake.end();
                    self.source_ended = false;
                    patience = Instant::now() + LAST_ACKNOWLEDGEMENTS;
                }
                Happened::Arrived(incoming) => {
                    if self.take_in(incoming?) && !self.report.interrupted {
                        patience = Instant::now() + self.dialer.timeout;
                    }
                }
                Happened::Taken(Ok(Some(ready))) => self.kept.add(ready),
                Happened::Taken(Ok(None)) => self.source_ended = true,
                Happened::Taken(Err(error)) => {
                    self.source_ended = true;
                    self.failed = Some(error);
                }
                Happened::MayLeave | Happened::Confirmed => {}
                Happened::NoAcknowledgement if self.report.interrupted => return Ok(Ended::Done),
                Happened::NoAcknowledgement => {
                    let message = format!("no PUBACK within {:?}", self.dialer.timeout);
                    return Err(Error::new(ErrorCode::NetworkTimeout, message));
                }
                Happened::GivesUp => return Ok(Ended::GaveUp),
            }
        }
    }

    /// Queues what was not acknowledged again, and asks the server for its limits.
    fn begin(&mut self, session: &mut Session) -> Result<()> {
        self.kept.start_over();
        self.had_progress = false;
        self.governor.connected();
        if topic::is_own(&self.plan.topic) && self.governor.asks() {
            session.publish(limits::QUESTION_TOPIC, limits::QUESTION.into())?;
        }
        Ok(())
    }

    /// Waits for what happens next. Deadlines come first, also if the server sends without a pause. The source is read
    /// before the connection, so that all available messages are sent in one write.
    async fn happens(
        &mut self,
        session: &mut Session,
        leaves_at: Option<Instant>,
        patience: Instant,
    ) -> Happened {
        let has_room = self.kept.next().is_none() && self.kept.len() < usize::from(IN_FLIGHT);
        let may_take =
            !self.source_ended && has_room && self.desk.is_none_or(Desk::has_room) && !self.is_unconfirmed();
        let waits = self.kept.in_flight() > 0 || self.report.interrupted;
        let overdue = self.kept.oldest_departure().map(|left| left + self.dialer.timeout * OVERDUE);
        let patience = overdue.map_or(patience, |overdue| overdue.min(patience));
        let (gives_up_at, now) = (self.outage.gives_up_at(), Instant::now());
        tokio::select! {
            biased;
            () = self.interrupt.cancelled(), if !self.report.interrupted => Happened::Interrupted,
            () = tokio::time::sleep_until(leaves_at.unwrap_or(now)), if leaves_at.is_some() => Happened::MayLeave,
            () = tokio::time::sleep_until(patience), if waits => Happened::NoAcknowledgement,
            () = tokio::time::sleep_until(gives_up_at.unwrap_or(now)), if gives_up_at.is_some() => Happened::GivesUp,
            () = changed(self.desk) => Happened::Confirmed,
            ready = self.intake.next(), if may_take => Happened::Taken(ready),
            incoming = session.next() => Happened::Arrived(incoming),
        }
    }

    /// When the next message may leave; `None` when it waits for a PUBACK, or when there is none.
    fn leaves_at(&mut self, now: Instant) -> Option<Instant> {
        let (key, message) = self.kept.next()?;
        if self.kept.in_flight() >= self.governor.window().min(self.outage.window()) || self.has_to_wait() {
            return None;
        }
        if key == ATTRIBUTES {
            return Some(now);
        }
        let at = self.governor.ready_at(message.carried.len(), message.points, now);
        let in_time = message.last_time().map(|last| now + self.intake.times.until_sendable(last));
        Some(in_time.map_or(at, |in_time| at.max(in_time)))
    }

    fn send_next(&mut self, session: &mut Session, now: Instant) -> Result<()> {
        let Some((key, message)) = self.kept.next() else { return Ok(()) };
        let topic = if key == ATTRIBUTES { ATTRIBUTES_TOPIC } else { &self.plan.topic };
        let packet_id = session.publish(topic, message.payload.clone())?;
        if key != ATTRIBUTES {
            self.governor.sent(message.carried.len(), message.points, now);
        }
        if let Some(last) = message.last_time() {
            self.intake.times.sent(last);
        }
        self.kept.sent(packet_id, now);
        Ok(())
    }

    /// Whether the message that was to leave is more than the server ever takes. Then readings that go together go alone,
    /// and one reading is refused, in all of its parts.
    fn is_too_much(&mut self) -> bool {
        let limits = &self.governor.limits;
        let Some((key, _)) = self.kept.next() else { return false };
        let refused = |part: &Message| Some((part.carried.first()?.line, limits.refuses(part)?));
        let Some((line, why)) = self.kept.parts(key).find_map(refused) else { return false };
        if !self.kept.split(key) {
            self.leave_out(key, line, &why);
        }
        true
    }

    /// Whether it was the PUBACK of a message.
    fn take_in(&mut self, incoming: Incoming) -> bool {
        let packet_id = match incoming {
            Incoming::Acknowledged(packet_id) => packet_id,
            Incoming::Message { topic, payload } => {
                if self.governor.take_in(&topic, &payload) {
                    self.intake.limit(&self.governor.limits);
                }
                return false;
            }
        };
        let left = self.kept.left_at(packet_id);
        let Some((key, message)) = self.kept.acknowledged(packet_id) else { return false };
        self.had_progress = true;
        self.outage.acknowledged(Instant::now());
        if key != ATTRIBUTES {
            self.governor.acknowledged();
            self.count(key, message, left);
        }
        true
    }

    /// The connection ended by `error`. Updates the pace, and what is known of a message that was in flight alone.
    fn broke(&mut self, error: &Error) -> Result<()> {
        let (now, in_flight) = (Instant::now(), self.kept.in_flight());
        let is_one_reading =
            |key: &Key| self.kept.get(*key).is_some_and(|message| message.carried.len() <= 1);
        let alone = self.kept.alone();
        let suspect = alone.filter(is_one_reading).filter(|_| !self.had_progress);
        self.governor.closed(error, in_flight, suspect.is_some());
        self.outage.broke(self.had_progress || in_flight == 0, suspect, now);
        if let Some(together) = alone.filter(|_| !self.had_progress) {
            // One of several that go together is to blame, if any.
            self.kept.split(together);
        }
        match self.outage.blamed(now) {
            Some(key) => self.blame(key, error),
            None => Ok(()),
        }
    }

    /// A message breaks each connection.
    fn blame(&mut self, key: Key, error: &Error) -> Result<()> {
        let line =
            self.kept.get(key).and_then(|message| message.carried.first()).map_or(0, |first| first.line);
        let why = format!("breaks each connection before it is acknowledged: {}", error.message);
        if !self.intake.may_skip() || key == ATTRIBUTES {
            let what = if key == ATTRIBUTES { "the attributes".to_owned() } else { self.intake.place(line) };
            let error = Error::new(error.code, format!("{what}: this message {why}"));
            return Err(self.counted(error.hint(Hint::BreaksAtSameMessage)));
        }
        self.outage.forgive();
        self.governor.forget_pace();
        self.leave_out(key, line, &why);
        Ok(())
    }

    fn leave_out(&mut self, key: Key, line: u64, why: &str) {
        self.kept.leave_out(key);
        if !self.intake.may_skip() {
            self.intake.taken -= self.kept.leave_out_after(key);
        }
        self.intake.give_back(line, why);
        // If that is the end of the source, the intake says so next.
        self.source_ended = false;
    }

    /// Connects again after `error`; `None` when the user ended the run meanwhile.
    async fn reconnect(&mut self, error: Error, login: &Login<'_>) -> Result<Option<Session>> {
        let mut error = error;
        loop {
            if self.report.interrupted || self.is_unconfirmed() {
                return Ok(None);
            }
            if !self.outage.goes_on(&error) {
                return Err(self.counted(error));
            }
            let now = Instant::now();
            self.outage.waits(true, now);
            let delay = self.outage.pause().max(self.governor.limits.connect_at(now) - now);
            let (attempt, reason) = (self.outage.attempt(), error.message.clone());
            self.progress.event(&Event::Reconnecting { attempt, delay, reason });
            let progress = self.progress.within(Step::Telemetry);
            let opened = async {
                tokio::time::sleep(delay).await;
                Session::open(self.dialer, login, &progress).await
            };
            let gives_up_at = self.outage.gives_up_at();
            tokio::select! {
                biased;
                () = self.interrupt.cancelled() => self.report.interrupted = true,
                opened = opened => match opened {
                    Ok(session) => {
                        self.report.reconnects += 1;
                        return Ok(Some(session));
                    }
                    Err(failed) => {
                        self.outage.failed();
                        error = failed;
                    }
                },
                () = tokio::time::sleep_until(gives_up_at.unwrap_or(now)), if gives_up_at.is_some() => {
                    return Err(self.counted(self.no_more_patience().source(error)));
                }
            }
        }
    }
}

/// Waits until the confirming has gone on, for ever where nothing is confirmed.
async fn changed(desk: Option<&Desk>) {
    match desk {
        Some(desk) => desk.changed().await,
        None => std::future::pending().await,
    }
}
