//! One request, and its answer.

use std::time::Duration;

use bytes::Bytes;

use super::message::{Answer, ProvisionRequest};
use super::sessions::{Conversation, Sessions};
use crate::dial::Dialer;
use crate::error::{Error, ErrorCode, Hint, Result, Step};
use crate::event::{Event, Progress};
use crate::mqtt::Incoming;
use crate::text::one_line;

/// Where requests go. With a leading slash, unlike every other topic (ThingsBoard's `MqttTopics`).
const REQUEST_TOPIC: &str = "/provision/request";
/// Where the answer comes.
const RESPONSE_TOPIC: &str = "/provision/response";

/// How many characters of a status are shown. ThingsBoard's own have up to nine.
const LONGEST_STATUS: usize = 40;

/// What is known after the request may have left.
#[derive(Debug)]
pub enum Reply {
    /// The server answered, and the answer could be read. The secrets of the request are hidden in its texts.
    Answered(Answer),
    /// No readable answer came, and why: the server may or may not have made the device.
    Lost(Error),
}

/// Sends `request` and waits for its answer.
///
/// `before_send` runs before anything of the request is written: it records on disk that the request may have left.
/// The answer may take `patience`.
/// The answer's PUBLISH is the only answer there is: ThingsBoard acknowledges requests that it then drops,
/// and up to 3.8 never acknowledges the subscription. A message that came before the request was written is no answer.
///
/// # Errors
/// Any failure before the request was sent. A failure after that is no error: see [`Reply::Lost`].
pub async fn run(
    sessions: &Sessions,
    request: &ProvisionRequest<'_>,
    patience: Duration,
    progress: &Progress,
    before_send: impl Future<Output = Result<()>>,
) -> Result<Reply> {
    let dialer = &*sessions.dialer;
    let payload = Bytes::from_owner(request.to_json()?);
    let mut conversation = sessions.take(progress).await?;
    progress.begin(Step::Exchange);
    before_send.await?;
    let mut sent = send(&mut conversation, payload.clone(), dialer).await?;
    if let Sent::Nothing = sent {
        conversation = sessions.open(progress).await?;
        progress.begin(Step::Exchange);
        sent = send(&mut conversation, payload, dialer).await?;
    }
    if let Sent::Perhaps(error) = sent {
        return Ok(Reply::Lost(error));
    }
    progress.event(&Event::RequestSent);
    progress.event(&Event::Started { step: Step::Exchange, what: "the server's answer".to_owned() });
    let received = tokio::time::timeout(patience, answer(&mut conversation)).await;
    match &received {
        Ok(Ok(answer)) => conversation.answered(answer),
        _ => conversation.lost(),
    }
    sessions.put_back(conversation).await;
    let mut answer = match received {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Ok(Reply::Lost(error)),
        Err(_) => return Ok(Reply::Lost(no_answer(dialer, patience))),
    };
    answer.hide(&request.secrets());
    progress.event(&Event::AnswerReceived { status: one_line(answer.status.as_str(), LONGEST_STATUS) });
    Ok(Reply::Answered(answer))
}

/// What became of a request that was to be written.
enum Sent {
    Whole,
    /// A session that was kept is closed, and nothing of the request was written.
    Nothing,
    /// Some of it may have left.
    Perhaps(Error),
}

/// Writes the request. What had come before is no answer.
async fn send(conversation: &mut Conversation, payload: Bytes, dialer: &Dialer) -> Result<Sent> {
    let Conversation { session, is_new, .. } = conversation;
    match *is_new {
        true => session.subscribe(RESPONSE_TOPIC)?,
        // It may have been closed while the record was written.
        false if !session.is_quiet() => return Ok(Sent::Nothing),
        false => {}
    }
    session.publish(REQUEST_TOPIC, payload)?;
    let queued = session.queued();
    let sent = tokio::time::timeout(dialer.timeout, session.flush()).await;
    Ok(match sent.unwrap_or_else(|_| Err(dialer.timed_out("MQTT"))) {
        Ok(()) => Sent::Whole,
        Err(_) if !*is_new && session.queued() == queued => Sent::Nothing,
        Err(error) => Sent::Perhaps(error),
    })
}

/// The next answer that is not a repetition of an earlier one.
async fn answer(conversation: &mut Conversation) -> Result<Answer> {
    loop {
        if let Incoming::Message { topic, payload } = conversation.session.next().await?
            && topic == RESPONSE_TOPIC
        {
            let answer = Answer::parse(&payload)?;
            if !conversation.is_repeated(&answer) {
                return Ok(answer);
            }
        }
    }
}

fn no_answer(dialer: &Dialer, patience: Duration) -> Error {
    let message = format!("{} did not answer the provision request within {patience:?}", dialer.server);
    Error::new(ErrorCode::NetworkTimeout, message).hint(Hint::AnswerLost)
}
