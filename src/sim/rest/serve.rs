//! One call from its first byte to its answer, faults included.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::{Response, header};
use tokio::time::timeout;

use super::accounts::Denied;
use super::answer::{Answer, Outcome, Outgoing, Refusal};
use super::request::{Call, Query, Request};
use super::routes;
use crate::sim::event::Event;
use crate::sim::fault::Fault;
use crate::sim::server::Peer;

/// Bytes of a body, at the most.
const LARGEST_BODY: usize = 1 << 20;

/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What a proxy shows when nobody is behind it.
const PROXY_PAGE: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
    <center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";

/// Why a call gets no answer: its connection is closed.
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer")]
pub(super) struct Unanswered;

/// What was decided about a call.
struct Reply {
    answer: Answer,
    is_cut: bool,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self { answer, is_cut: false }
    }
}

/// Answers one call, and tells of it.
pub(super) async fn serve(
    peer: &Peer,
    request: hyper::Request<Incoming>,
) -> Result<Response<Outgoing>, Unanswered> {
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    let reply = reply(peer, request).await;
    let status = reply.as_ref().map(|reply| reply.answer.status).ok();
    peer.emit(&Event::RestCall { connection: peer.connection, method, path, status });
    reply.map(|reply| reply.answer.into_response(reply.is_cut))
}

async fn reply(peer: &Peer, request: hyper::Request<Incoming>) -> Result<Reply, Unanswered> {
    if let Some(delay) = peer.server.injector.rest_delay() {
        peer.tell(Fault::RestSlow(delay));
        tokio::time::sleep(delay).await;
    }
    if let Some(answer) = in_between(peer) {
        return Ok(answer.into());
    }
    let (head, body) = request.into_parts();
    let text = |name: &str| head.headers.get(name)?.to_str().ok().map(str::to_owned);
    let mut authorization = text("x-authorization");
    if peer.server.release.takes_authorization_header() {
        authorization = authorization.or_else(|| text("authorization"));
    }
    let content_type = text(header::CONTENT_TYPE.as_str());
    let path = head.uri.path().to_owned();
    let body = match read(body).await {
        Ok(body) => body,
        Err(refusal) => return Ok(refusal.into_answer(peer.server.release, &path).into()),
    };
    let query = Query::parse(head.uri.query().unwrap_or_default());
    let request = Request { method: head.method, path, query, content_type, body };
    decided(peer, request, authorization).await
}

/// What stands before the server, by a fault.
fn in_between(peer: &Peer) -> Option<Answer> {
    if peer.applies(Fault::RestHtml) {
        return Some(Answer::of(502, Some("text/html"), PROXY_PAGE.to_owned()));
    }
    if peer.applies(Fault::RestRedirect) {
        return Some(Answer::of(302, None, String::new()).with_header(header::LOCATION, "/login"));
    }
    let fault = peer.server.injector.counted(Fault::RestUnavailable)?;
    peer.tell(fault);
    Some(Answer::of(503, Some("text/plain"), "Service Unavailable".to_owned()))
}

async fn read(body: Incoming) -> Result<Bytes, Refusal> {
    match timeout(BODY_TIMEOUT, Limited::new(body, LARGEST_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Refusal::Text { status: 413, message: "the body is too long".to_owned() })
        }
        Ok(Err(_)) => Err(Refusal::bad("the body cannot be read")),
        Err(_) => Err(Refusal::Text { status: 408, message: "the body took too long".to_owned() }),
    }
}

/// Who calls, what faults there are, and the answer.
async fn decided(peer: &Peer, request: Request, authorization: Option<String>) -> Result<Reply, Unanswered> {
    let server = &peer.server;
    let release = server.release;
    let segments = request.segments(release);
    let is_open = routes::is_open(&segments, release);
    let changes = routes::changes(&request.method, &segments);
    let path = request.path.clone();
    let user = match authorize(peer, is_open, authorization.as_deref()) {
        Ok(user) => user,
        Err(refusal) => return Ok(refusal.into_answer(release, &path).into()),
    };
    if !is_open && let Some(answer) = limited(peer) {
        return Ok(answer.into());
    }
    if changes && let Some(fault) = server.injector.counted(Fault::RestConflict) {
        peer.tell(fault);
        return Ok(Refusal::conflict("Entity").into_answer(release, &path).into());
    }
    let outcome = run(peer, request, user).await;
    let answer = outcome.unwrap_or_else(|refusal| refusal.into_answer(release, &path));
    finish(peer, answer, is_open, changes)
}

/// What happens to an answer on its way, by a fault.
fn finish(peer: &Peer, answer: Answer, is_open: bool, changes: bool) -> Result<Reply, Unanswered> {
    let is_success = answer.status == 200;
    if changes
        && is_success
        && let Some(fault) = peer.server.injector.counted(Fault::RestLost)
    {
        peer.tell(fault);
        return Err(Unanswered);
    }
    let mut is_cut = false;
    if !is_open
        && is_success
        && !answer.body.is_empty()
        && let Some(fault) = peer.server.injector.counted(Fault::RestCut)
    {
        peer.tell(fault);
        is_cut = true;
    }
    Ok(Reply { answer, is_cut })
}

/// The id of the user; nobody where the path is open to all.
fn authorize(
    peer: &Peer,
    is_open: bool,
    header: Option<&str>,
) -> Result<Option<crate::sim::uuid::Uuid>, Refusal> {
    if is_open {
        return Ok(None);
    }
    let release = peer.server.release;
    let Some(accounts) = &peer.server.accounts else {
        return Err(Refusal::unauthorized("Authentication failed"));
    };
    accounts.authorize(header, release).map(|user| Some(user.id)).map_err(|denied| match denied {
        Denied::Absent => Refusal::unauthorized("Authentication failed"),
        Denied::Unknown => Refusal::unauthorized("Invalid username or password"),
        Denied::Expired => Refusal::coded(401, 11, "Token has expired"),
        Denied::Foreign => Refusal::NoPath("index.html".to_owned()),
        Denied::Refresh if !release.codes_unknown_paths() => Refusal::Spring { status: 500 },
        Denied::Refresh => {
            let returned =
                "the return value of \"io.jsonwebtoken.Claims.get(String, java.lang.Class)\" is null";
            Refusal::failed(format!("Cannot invoke \"java.lang.Boolean.booleanValue()\" because {returned}"))
        }
    })
}

fn limited(peer: &Peer) -> Option<Answer> {
    let (fault, tells) = peer.server.injector.rest_limit()?;
    peer.tell(fault);
    let refusal = Refusal::coded(429, 33, "Too many requests for current tenant!");
    let answer = refusal.into_answer(peer.server.release, "");
    Some(if tells { answer.with_header(header::RETRY_AFTER, "1") } else { answer })
}

async fn run(peer: &Peer, request: Request, user: Option<crate::sim::uuid::Uuid>) -> Outcome {
    let caller = peer.clone();
    let answered = peer.server.run(move |registry| {
        let accounts = caller.server.accounts.as_ref();
        let user = user.and_then(|id| accounts?.user(id));
        routes::answer(&mut Call { peer: &caller, registry, user, request: &request })
    });
    answered.await.unwrap_or_else(|why| Err(Refusal::failed(why)))
}
