//! The sending loop: what is not acknowledged is kept, and sent again over the next connection.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::source::Source;
use super::{ATTRIBUTES_TOPIC, Report, TelemetryPlan, backoff};
use crate::dial::Dialer;
use crate::error::{Error, ErrorCode, ErrorKind, Hint, Result, Step};
use crate::event::{Event, Progress};
use crate::identity::Credentials;
use crate::mqtt::{IN_FLIGHT, Incoming, Login, Session};

/// How long the messages in flight may still be acknowledged after the user ended the run.
const LAST_ACKNOWLEDGEMENTS: Duration = Duration::from_secs(2);

/// Sends telemetry until the source ends, `plan.count` is reached, or `interrupt` is cancelled, and waits for
/// every PUBACK. A lost connection is made again, with growing pauses.
///
/// # Errors
/// The first connection's; what the source says of a bad reading; a refusal by the server; or the last
/// connection's error after some attempts without a single PUBACK. What was acknowledged until then was told
/// to the observer and is in the message. `interrupted` when that came before the first connection.
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
    let begin = async {
        let sender = Sender::new(plan, progress).await?;
        Ok::<_, Error>((sender, Session::open(dialer, &login, progress).await?))
    };
    let (mut sender, mut session) = tokio::select! {
        biased;
        () = interrupt.cancelled() => return Err(Error::interrupted()),
        begun = begin => begun?,
    };
    progress.begin(Step::Telemetry);
    let mut attempt = 0;
    loop {
        let before = sender.report.acknowledged;
        sender.report.tls_version = session.tls_version();
        let error = match sender.send_over(&mut session, dialer.timeout, interrupt).await {
            Ok(()) => break,
            Err(error) => error,
        };
        if sender.report.acknowledged > before {
            attempt = 0;
        }
        match sender.reconnect(error, &mut attempt, dialer, &login, interrupt).await? {
            Some(again) => session = again,
            None => return Ok(sender.report),
        }
    }
    session.close().await;
    Ok(sender.report)
}

/// A message that is not acknowledged yet.
struct Message {
    topic: String,
    payload: Bytes,
}

struct Sender<'a> {
    plan: &'a TelemetryPlan,
    progress: &'a Progress,
    source: Source,
    source_ended: bool,
    /// What was wrong with a reading: told after those before it are acknowledged.
    bad_reading: Option<Error>,
    /// Everything taken and not acknowledged, in the order of the source.
    unacknowledged: BTreeMap<u64, Message>,
    next: u64,
    report: Report,
}

/// What is in flight on one connection.
#[derive(Default)]
struct Flight {
    by_packet_id: HashMap<u16, u64>,
}

impl<'a> Sender<'a> {
    async fn new(plan: &'a TelemetryPlan, progress: &'a Progress) -> Result<Self> {
        let mut unacknowledged = BTreeMap::new();
        if let Some(attributes) = &plan.attributes {
            let payload = Bytes::from(attributes.clone());
            unacknowledged.insert(0, Message { topic: ATTRIBUTES_TOPIC.to_owned(), payload });
        }
        let source = Source::open(plan).await?;
        Ok(Self {
            plan,
            progress,
            source,
            source_ended: false,
            bad_reading: None,
            unacknowledged,
            next: 1,
            report: Report::default(),
        })
    }

    /// Sends over one connection, first what an earlier one left unacknowledged.
    async fn send_over(
        &mut self,
        session: &mut Session,
        patience: Duration,
        interrupt: &CancellationToken,
    ) -> Result<()> {
        let mut flight = Flight::default();
        for (number, message) in &self.unacknowledged {
            let id = session.publish(&message.topic, message.payload.clone())?;
            flight.by_packet_id.insert(id, *number);
        }
        let mut deadline = Instant::now() + patience;
        loop {
            if self.source_ended && self.unacknowledged.is_empty() {
                return self.bad_reading.take().map_or(Ok(()), Err);
            }
            let may_take = !self.source_ended && self.unacknowledged.len() < usize::from(IN_FLIGHT);
            tokio::select! {
                biased;
                () = interrupt.cancelled(), if !self.report.interrupted => {
                    self.report.interrupted = true;
                    self.source_ended = true;
                    deadline = Instant::now() + LAST_ACKNOWLEDGEMENTS;
                }
                incoming = session.next() => {
                    let incoming = incoming?;
                    if self.take_in(incoming, &mut flight) && !self.report.interrupted {
                        deadline = Instant::now() + patience;
                    }
                }
                reading = self.source.next(), if may_take => match reading {
                    Ok(Some(payload)) => {
                        if self.unacknowledged.is_empty() {
                            deadline = Instant::now() + patience;
                        }
                        self.send(payload, session, &mut flight).await?;
                    }
                    Ok(None) => self.source_ended = true,
                    Err(error) => {
                        self.source_ended = true;
                        self.bad_reading = Some(error);
                    }
                },
                () = tokio::time::sleep_until(deadline), if !self.unacknowledged.is_empty() => {
                    if self.report.interrupted {
                        return Ok(());
                    }
                    let message = format!("no PUBACK within {patience:?}");
                    return Err(Error::new(ErrorCode::NetworkTimeout, message));
                }
            }
        }
    }

    async fn send(&mut self, payload: Bytes, session: &mut Session, flight: &mut Flight) -> Result<()> {
        let number = self.next;
        self.next += 1;
        self.report.sent += 1;
        let message = Message { topic: self.plan.topic.clone(), payload };
        let sent = session.publish(&message.topic, message.payload.clone()).map(|id| {
            flight.by_packet_id.insert(id, number);
        });
        self.unacknowledged.insert(number, message);
        sent
    }

    /// Whether it was the PUBACK of a message.
    fn take_in(&mut self, incoming: Incoming, flight: &mut Flight) -> bool {
        let number = match incoming {
            Incoming::Message { .. } => return false,
            Incoming::Acknowledged(packet_id) => flight.by_packet_id.remove(&packet_id),
        };
        let Some((number, message)) = number.and_then(|number| self.unacknowledged.remove_entry(&number))
        else {
            return false;
        };
        // Number 0 are the attributes: acknowledged, and no telemetry.
        if number != 0 {
            self.report.acknowledged += 1;
            let payload =
                self.source.is_shown().then(|| String::from_utf8_lossy(&message.payload).into_owned());
            self.progress.event(&Event::Acknowledged { acknowledged: self.report.acknowledged, payload });
        }
        true
    }

    /// Connects again after `error`; `None` when the user ended the run meanwhile.
    async fn reconnect(
        &mut self,
        error: Error,
        attempt: &mut u32,
        dialer: &Dialer,
        login: &Login<'_>,
        interrupt: &CancellationToken,
    ) -> Result<Option<Session>> {
        let mut error = error;
        loop {
            if self.report.interrupted {
                return Ok(None);
            }
            if !is_worth_another_try(&error) || *attempt >= backoff::ATTEMPTS {
                return Err(self.gave_up(error, *attempt));
            }
            *attempt += 1;
            let delay = backoff::delay(*attempt);
            self.progress.event(&Event::Reconnecting {
                attempt: *attempt,
                delay,
                reason: error.message.clone(),
            });
            let opened = async {
                tokio::time::sleep(delay).await;
                Session::open(dialer, login, &self.progress.within(Step::Telemetry)).await
            };
            tokio::select! {
                biased;
                () = interrupt.cancelled() => self.report.interrupted = true,
                opened = opened => match opened {
                    Ok(session) => {
                        self.report.reconnects += 1;
                        return Ok(Some(session));
                    }
                    Err(failed) => error = failed,
                },
            }
        }
    }

    fn gave_up(&self, error: Error, attempts: u32) -> Error {
        let Report { sent, acknowledged, .. } = self.report;
        let mut error = error;
        error.message = format!("{} ({acknowledged} of {sent} messages were acknowledged)", error.message);
        if attempts >= backoff::ATTEMPTS {
            error = error.hint(Hint::BreaksAtSameMessage);
        }
        error
    }
}

/// A network may come back, and a rate limit passes; a refusal or an untrusted server stays.
fn is_worth_another_try(error: &Error) -> bool {
    match error.code {
        ErrorCode::ServerUnavailable => true,
        ErrorCode::TlsUntrusted
        | ErrorCode::TlsExpired
        | ErrorCode::TlsName
        | ErrorCode::TlsClientCertificate => false,
        code => code.kind() == ErrorKind::Network,
    }
}
