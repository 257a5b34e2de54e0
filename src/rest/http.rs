//! One connection to the API that is kept, and one request after the other on it.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::failure;
use super::url::ApiUrl;
use crate::dial::{AnyStream, Dialer};
use crate::error::{Error, ErrorCode, Hint, Result, Step};
use crate::event::Progress;
use crate::secret::Secret;

/// Bytes of an answer, at the most: a page of a hundred device profiles with their rules has less.
const LARGEST_ANSWER: usize = 8 << 20;

/// The header that every release of ThingsBoard reads.
const AUTHORIZATION: &str = "X-Authorization";

/// What comes back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) location: Option<String>,
    /// It may hold a token.
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// What is asked.
pub(super) struct Question<'a> {
    pub(super) method: Method,
    /// With its query.
    pub(super) path: &'a str,
    /// The value of the header that says who asks.
    pub(super) authorization: Option<&'a Secret>,
    /// JSON, which may hold a password.
    pub(super) body: Option<&'a Secret>,
}

impl Question<'_> {
    /// Whether the server is as it was before, answered or not: so it is with a login, which nobody has proved yet.
    fn changes_nothing(&self) -> bool {
        self.method == Method::GET || self.authorization.is_none()
    }
}

type Sender = SendRequest<Full<Bytes>>;

/// Why no answer came.
struct Unanswered {
    error: Error,
    /// Whether the server cannot have done anything for it.
    may_be_repeated: bool,
}

/// The connection to one API.
#[derive(Debug)]
pub(super) struct Http {
    dialer: Dialer,
    url: ApiUrl,
    connection: Mutex<Option<Sender>>,
}

impl Http {
    pub(super) fn new(dialer: Dialer, url: ApiUrl) -> Self {
        Self { dialer, url, connection: Mutex::default() }
    }

    pub(super) const fn url(&self) -> &ApiUrl {
        &self.url
    }

    /// Asks, and reads the whole answer. What a server that had closed the kept connection never got is asked again.
    ///
    /// # Errors
    /// Those of dialling; `network/closed` and `network/timeout`, after which a change may have been made all the same;
    /// `rest/not-thingsboard` for what is not HTTP, too large or cut off.
    pub(super) async fn ask(&self, question: &Question<'_>, progress: &Progress) -> Result<Answer> {
        let mut kept = self.connection.lock().await;
        if let Some(mut sender) = kept.take()
            && sender.ready().await.is_ok()
        {
            progress.begin(Step::Rest);
            match self.send(&mut sender, question).await {
                Err(failed) if failed.may_be_repeated => {}
                Err(failed) => return Err(failed.error),
                Ok(answer) => {
                    *kept = Some(sender);
                    return Ok(answer);
                }
            }
        }
        let mut sender = self.connect(progress).await?;
        progress.begin(Step::Rest);
        let answer = self.send(&mut sender, question).await.map_err(|failed| failed.error)?;
        *kept = Some(sender);
        Ok(answer)
    }

    /// One request, within the time of one step, and its answer, within as much.
    async fn send(&self, sender: &mut Sender, question: &Question<'_>) -> Result<Answer, Unanswered> {
        let late = || Unanswered { error: self.timed_out(question), may_be_repeated: false };
        let fatal = |error| Unanswered { error, may_be_repeated: false };
        let request = self.request(question).map_err(fatal)?;
        let response = tokio::time::timeout(self.dialer.timeout, sender.try_send_request(request)).await;
        let response = response.map_err(|_| late())?.map_err(|mut failed| {
            let never_left = failed.take_message().is_some();
            let error = self.failed(&failed.into_error(), never_left || question.changes_nothing());
            Unanswered { error, may_be_repeated: never_left || question.method == Method::GET }
        })?;
        let read = tokio::time::timeout(self.dialer.timeout, self.read(response)).await;
        read.map_err(|_| late())?.map_err(fatal)
    }

    async fn connect(&self, progress: &Progress) -> Result<Sender> {
        if self.url.is_tls() {
            let link = self.dialer.dial(None, progress).await.map_err(failure::of_dialling)?;
            return self.speak(Box::new(link.stream)).await;
        }
        let stream = self.dialer.dial_without_tls(progress).await.map_err(failure::of_dialling)?;
        self.speak(Box::new(stream)).await
    }

    async fn speak(&self, stream: AnyStream) -> Result<Sender> {
        let shaken = http1::Builder::new().handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|error| self.failed(&error, true))?;
        // It ends with the sender. What ends it early is seen by whoever waits for an answer.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn request(&self, question: &Question<'_>) -> Result<Request<Full<Bytes>>> {
        let body =
            question.body.map_or_else(Bytes::new, |body| Bytes::copy_from_slice(body.expose().as_bytes()));
        let mut request = Request::builder()
            .method(question.method.clone())
            .uri(self.url.path(question.path))
            .header(HOST, self.url.authority())
            .header(USER_AGENT, concat!("tbprov/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "application/json");
        if question.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(secret) = question.authorization {
            let mut value = HeaderValue::from_str(secret.expose()).map_err(|_| {
                let message =
                    "the API key, or the token of the login, holds what an HTTP header cannot carry";
                Error::new(ErrorCode::UsageInvalid, message)
            })?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request.body(Full::new(body)).map_err(|error| {
            Error::new(ErrorCode::Bug, "a request of the REST API could not be made").source(error)
        })
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Answer> {
        let status = response.status().as_u16();
        let text = |headers: &HeaderMap, name| {
            headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned)
        };
        let retry_after = text(response.headers(), RETRY_AFTER).and_then(|text| text.trim().parse().ok());
        let location = text(response.headers(), LOCATION);
        let collected = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
        let body = collected.map_err(|error| {
            if error.is::<LengthLimitError>() {
                return failure::not_thingsboard(&self.url, "an answer of more than 8 MiB came");
            }
            let message = format!("an answer of {} was cut off", self.url);
            Error::new(ErrorCode::RestNotThingsBoard, message).hint(Hint::RestCutOff).source(error)
        })?;
        let body = Zeroizing::new(body.to_bytes().to_vec());
        Ok(Answer { status, retry_after: retry_after.map(Duration::from_secs), location, body })
    }

    /// No answer came. Where `is_harmless`, the server cannot have changed anything.
    fn failed(&self, error: &hyper::Error, is_harmless: bool) -> Error {
        let url = &self.url;
        if error.is_parse() || error.is_parse_status() {
            return failure::not_thingsboard(url, "what answers does not speak HTTP");
        }
        let message = format!("{url} closed the connection before it answered");
        let failed = Error::new(ErrorCode::NetworkClosed, message).source(error.to_string());
        failed.hint(if is_harmless { Hint::OfRest } else { Hint::RestAnswerLost })
    }

    fn timed_out(&self, question: &Question<'_>) -> Error {
        let message = format!("{} did not answer within {:?}", self.url, self.dialer.timeout);
        let hint = if question.changes_nothing() { Hint::OfRest } else { Hint::RestAnswerLost };
        Error::new(ErrorCode::NetworkTimeout, message).hint(hint)
    }
}
