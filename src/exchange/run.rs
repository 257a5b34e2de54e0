//! One request, one answer, one connection.

use std::time::Duration;

use bytes::Bytes;

use super::message::{Answer, ProvisionRequest};
use crate::dial::Dialer;
use crate::error::{Error, ErrorCode, Hint, Result, Step};
use crate::event::{Event, Progress};
use crate::mqtt::{Incoming, Login, Session};
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
/// `before_send` runs between CONNACK and the request: it records on disk that the request may have left.
/// The answer may take `patience`.
/// The answer's PUBLISH is the only answer there is: ThingsBoard acknowledges requests that it then drops,
/// and up to 3.8 never acknowledges the subscription. A message that came before the request was written is no answer.
///
/// # Errors
/// Any failure before the request was sent. A failure after that is no error: see [`Reply::Lost`].
pub async fn run(
    dialer: &Dialer,
    request: &ProvisionRequest<'_>,
    patience: Duration,
    progress: &Progress,
    before_send: impl Future<Output = Result<()>>,
) -> Result<Reply> {
    let payload = Bytes::from_owner(request.to_json()?);
    let mut session = Session::open(dialer, &Login::Provision, progress).await?;
    progress.begin(Step::Exchange);
    session.subscribe(RESPONSE_TOPIC)?;
    before_send.await?;
    session.publish(REQUEST_TOPIC, payload)?;
    // What had come before it was written is no answer.
    let sent = tokio::time::timeout(dialer.timeout, session.flush()).await;
    if let Err(error) = sent.unwrap_or_else(|_| Err(dialer.timed_out("MQTT"))) {
        return Ok(Reply::Lost(error));
    }
    progress.event(&Event::RequestSent);
    progress.event(&Event::Started { step: Step::Exchange, what: "the server's answer".to_owned() });
    let received = tokio::time::timeout(patience, answer(&mut session)).await;
    session.close().await;
    let mut answer = match received {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Ok(Reply::Lost(error)),
        Err(_) => return Ok(Reply::Lost(no_answer(dialer, patience))),
    };
    answer.hide(&request.secrets());
    progress.event(&Event::AnswerReceived { status: one_line(answer.status.as_str(), LONGEST_STATUS) });
    Ok(Reply::Answered(answer))
}

async fn answer(session: &mut Session) -> Result<Answer> {
    loop {
        if let Incoming::Message { topic, payload } = session.next().await?
            && topic == RESPONSE_TOPIC
        {
            return Answer::parse(&payload);
        }
    }
}

fn no_answer(dialer: &Dialer, patience: Duration) -> Error {
    let message = format!("{} did not answer the provision request within {patience:?}", dialer.server);
    Error::new(ErrorCode::NetworkTimeout, message).hint(Hint::AnswerLost)
}
