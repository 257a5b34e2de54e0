//! What is answered: JSON, or one of the forms of errors that a release has.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::{Response, StatusCode, header};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use crate::clock;
use crate::sim::release::Release;

const JSON: &str = "application/json";

/// The type that ThingsBoard gives to what it writes outside of its controllers: errors and tokens.
const ERROR_JSON: &str = "application/json;charset=ISO-8859-1";

/// How a time is written up to 3.4, where it is text.
const TIME: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]+00:00");

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    content_type: Option<&'static str>,
    pub(super) body: Vec<u8>,
    header: Option<(header::HeaderName, &'static str)>,
}

impl Answer {
    pub(super) fn json(value: &Value) -> Self {
        Self::of(200, Some(JSON), value.to_string())
    }

    /// Tokens, which have the type of errors.
    pub(super) fn tokens(value: &Value) -> Self {
        Self::of(200, Some(ERROR_JSON), value.to_string())
    }

    pub(super) fn empty() -> Self {
        Self::of(200, None, String::new())
    }

    pub(super) fn of(status: u16, content_type: Option<&'static str>, body: String) -> Self {
        Self { status, content_type, body: body.into_bytes(), header: None }
    }

    pub(super) fn with_header(self, name: header::HeaderName, value: &'static str) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    /// As hyper sends it; with `is_cut`, the second half never leaves.
    pub(super) fn into_response(self, is_cut: bool) -> Response<Outgoing> {
        let mut response = Response::new(Outgoing::new(self.body.into(), is_cut));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let content_type = self.content_type.map(|kind| (header::CONTENT_TYPE, kind));
        for (name, value) in content_type.into_iter().chain(self.header) {
            response.headers_mut().insert(name, header::HeaderValue::from_static(value));
        }
        response
    }
}

/// Why a call is not answered as it was meant.
#[derive(Debug)]
pub(super) enum Refusal {
    /// ThingsBoard's own form (`ThingsboardErrorResponseHandler`).
    Coded { status: u16, code: u8, message: String },
    /// Text alone: the controller of telemetry.
    Text { status: u16, message: String },
    /// Spring's form, which depends on the release.
    Spring { status: u16 },
    /// The body cannot be read.
    Unreadable(String),
    /// The body is not said to be JSON.
    MediaType(String),
    /// There is no such path.
    NoPath(String),
    /// The path has other methods.
    NoMethod(String),
}

/// What a handler answers.
pub(super) type Outcome = Result<Answer, Refusal>;

impl Refusal {
    pub(super) fn coded(status: u16, code: u8, message: impl Into<String>) -> Self {
        Self::Coded { status, code, message: message.into() }
    }

    /// 400/31 (`BAD_REQUEST_PARAMS`).
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::coded(400, 31, message)
    }

    /// 401/10 (`AUTHENTICATION`).
    pub(super) fn unauthorized(message: &str) -> Self {
        Self::coded(401, 10, message)
    }

    /// 403/20 (`PERMISSION_DENIED`).
    pub(super) fn forbidden() -> Self {
        Self::coded(403, 20, FORBIDDEN)
    }

    /// 404/32 (`ITEM_NOT_FOUND`), where the text tells nothing.
    pub(super) fn not_found() -> Self {
        Self::coded(404, 32, "Requested item wasn't found!")
    }

    /// 404/32 of an entity by its id.
    pub(super) fn no_entity(release: Release, what: &str, id: &str) -> Self {
        match release.names_what_is_not_found() {
            true => Self::coded(404, 32, format!("{what} with id [{id}] is not found")),
            false => Self::not_found(),
        }
    }

    /// 409/35 (`VERSION_CONFLICT`).
    pub(super) fn conflict(what: &str) -> Self {
        Self::coded(409, 35, format!("{what} was already changed by someone else"))
    }

    /// 500/2 (`GENERAL`).
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::coded(500, 2, message)
    }

    /// As this release answers it.
    pub(super) fn into_answer(self, release: Release, path: &str) -> Answer {
        let spring = |status| spring(release, status, path);
        let coded = |status, code, message: &str, kind| coded(release, status, code, message, kind);
        let (old, spaced) = (release.shows_errors_of_spring(), release.speaks_spring_6());
        match self {
            Self::Coded { status, code, message } => coded(status, code, &message, ERROR_JSON),
            Self::Text { status, message } => Answer::of(status, Some("text/plain;charset=UTF-8"), message),
            Self::Spring { status } => spring(status),
            Self::Unreadable(_) if old => spring(400),
            Self::Unreadable(why) => coded(500, 2, &why, ERROR_JSON),
            Self::MediaType(_) if old => spring(415),
            Self::MediaType(kind) if spaced => {
                coded(500, 2, &format!("Content-Type '{kind}' is not supported"), ERROR_JSON)
            }
            Self::MediaType(kind) => {
                coded(500, 2, &format!("Content type '{kind}' not supported"), ERROR_JSON)
            }
            Self::NoPath(resource) if spaced => {
                coded(404, 32, &format!("No static resource {resource}."), JSON)
            }
            Self::NoPath(_) if release.codes_unknown_paths() => coded(404, 32, "Not Found", JSON),
            Self::NoPath(_) => spring(404),
            Self::NoMethod(_) if old => spring(405),
            Self::NoMethod(method) => {
                let is = if spaced { "is " } else { "" };
                coded(405, 31, &format!("Request method '{method}' {is}not supported"), JSON)
            }
        }
    }
}

pub(super) const FORBIDDEN: &str = "You don't have permission to perform this operation!";

fn coded(release: Release, status: u16, code: u8, message: &str, kind: &'static str) -> Answer {
    let timestamp =
        if release.writes_times_as_text() { Value::from(time_text()) } else { Value::from(now()) };
    let body = json!({ "status": status, "message": message, "errorCode": code, "timestamp": timestamp });
    Answer::of(status, Some(kind), body.to_string())
}

fn spring(release: Release, status: u16, path: &str) -> Answer {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let mut body = json!({ "timestamp": time_text(), "status": status, "error": reason, "path": path });
    if release.shows_errors_of_spring() {
        body["message"] = "".into();
    }
    Answer::of(status, Some(JSON), body.to_string())
}

/// Milliseconds since 1970.
pub(super) fn now() -> i64 {
    i64::try_from(clock::now().unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

fn time_text() -> String {
    let now: OffsetDateTime = clock::now();
    now.format(TIME).unwrap_or_default()
}

/// A body on its way, which may break off in the middle.
#[derive(Debug)]
pub(super) struct Outgoing {
    length: u64,
    left: Option<Bytes>,
    is_cut: bool,
    /// What came before the cut has had time to leave.
    was_flushed: bool,
}

impl Outgoing {
    fn new(bytes: Bytes, is_cut: bool) -> Self {
        let length = bytes.len() as u64;
        let kept = if is_cut { bytes.slice(..bytes.len() / 2) } else { bytes };
        Self { length, left: Some(kept).filter(|kept| !kept.is_empty()), is_cut, was_flushed: false }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let frame = match self.left.take() {
            Some(bytes) => Some(Ok(Frame::data(bytes))),
            None if self.is_cut && !self.was_flushed => {
                self.was_flushed = true;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            None if self.is_cut => Some(Err(std::io::Error::other("cut off by a fault"))),
            None => None,
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_none() && !self.is_cut
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
