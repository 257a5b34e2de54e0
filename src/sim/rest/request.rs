//! A call as it came, and how its parts are read.

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::accounts::{Accounts, Authority, User};
use super::answer::Refusal;
use crate::sim::registry::Registry;
use crate::sim::release::Release;
use crate::sim::server::{Peer, Server};
use crate::sim::uuid::Uuid;

/// A call as it came.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: hyper::Method,
    /// Without the query.
    pub(super) path: String,
    pub(super) query: Query,
    pub(super) content_type: Option<String>,
    pub(super) body: Bytes,
}

impl Request {
    /// The parts of the path. Up to 3.6 a slash at the end counts for nothing (`useTrailingSlashMatch`).
    pub(super) fn segments(&self, release: Release) -> Vec<&str> {
        let path = self.path.strip_prefix('/').unwrap_or(&self.path);
        let ignored = if release.speaks_spring_6() { None } else { path.strip_suffix('/') };
        ignored.unwrap_or(path).split('/').collect()
    }
}

/// A call that is to be answered.
pub(super) struct Call<'a> {
    pub(super) peer: &'a Peer,
    pub(super) registry: &'a mut Registry,
    /// Nobody where the path is open to all.
    pub(super) user: Option<&'a User>,
    pub(super) request: &'a Request,
}

impl Call<'_> {
    pub(super) fn server(&self) -> &Server {
        &self.peer.server
    }

    pub(super) fn release(&self) -> Release {
        self.peer.server.release
    }

    pub(super) fn user(&self) -> Result<&User, Refusal> {
        self.user.ok_or_else(|| Refusal::unauthorized("Authentication failed"))
    }

    pub(super) fn accounts(&self) -> Result<&Accounts, Refusal> {
        self.server().accounts.as_ref().ok_or_else(|| Refusal::failed("there are no accounts"))
    }

    /// Fails for everybody but the tenant's administrators (`@PreAuthorize`).
    pub(super) fn check_tenant(&self) -> Result<(), Refusal> {
        match self.user()?.authority {
            Authority::TenantAdmin => Ok(()),
            _ => Err(Refusal::forbidden()),
        }
    }

    /// The body, which must be a JSON object.
    pub(super) fn json(&self) -> Result<Map<String, Value>, Refusal> {
        let kind = self.request.content_type.as_deref().unwrap_or("application/x-www-form-urlencoded");
        let (essence, _) = kind.split_once(';').unwrap_or((kind, ""));
        if !essence.trim().eq_ignore_ascii_case("application/json") {
            return Err(Refusal::MediaType(format!("{};charset=UTF-8", essence.trim())));
        }
        read_object(&self.request.body)
    }
}

fn read_object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    if body.is_empty() {
        return Err(Refusal::Unreadable("Required request body is missing".to_owned()));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(unreadable("Cannot deserialize value: it is not an object")),
        // serde_json's message may quote the body, which may hold secrets: only the place is told.
        Err(error) => {
            let place = format!("line: {}, column: {}", error.line(), error.column());
            Err(unreadable(&format!("Unexpected character or end-of-input at {place}")))
        }
    }
}

/// What Jackson does not read.
pub(super) fn unreadable(why: &str) -> Refusal {
    Refusal::Unreadable(format!("JSON parse error: {why}"))
}

/// A member that is text; nothing where it is null or absent.
pub(super) fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    members.get(name)?.as_str()
}

/// The `id` of a member that is a reference to an entity; nothing where it is null or absent.
pub(super) fn reference(members: &Map<String, Value>, name: &str) -> Result<Option<Uuid>, Refusal> {
    match members.get(name).and_then(|member| member.get("id")) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) => id.parse().map(Some).map_err(|why: String| unreadable(&why)),
        Some(_) => Err(unreadable("Cannot deserialize value of type `java.util.UUID`")),
    }
}

/// An id in a path.
pub(super) fn uuid(text: &str) -> Result<Uuid, Refusal> {
    text.parse().map_err(|why: String| Refusal::bad(why))
}

/// Fails where an enum of ThingsBoard has no such value; null is none.
pub(super) fn check_enum(
    members: &Map<String, Value>,
    name: &str,
    kind: &str,
    known: &[&str],
) -> Result<(), Refusal> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(given)) if known.contains(&given.as_str()) => Ok(()),
        Some(_) => {
            let known = known.join(", ");
            Err(unreadable(&format!(
                "Cannot deserialize value of type `{kind}`: not one of the values accepted for Enum class: [{known}]"
            )))
        }
    }
}

/// The parameters of a query, decoded.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(query: &str) -> Self {
        let decoded = |text: &str| {
            let text = text.replace('+', " ");
            percent_decode_str(&text).decode_utf8_lossy().into_owned()
        };
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        };
        Self(query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A number; nothing where it is absent.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let bad = |_| Refusal::bad(format!("Failed to convert value of the parameter '{name}' to a number"));
        self.get(name).map(str::parse).transpose().map_err(bad)
    }

    /// Names with commas between.
    pub(super) fn names(&self, name: &str) -> Option<Vec<&str>> {
        self.get(name).filter(|names| !names.is_empty()).map(|names| names.split(',').collect())
    }
}

/// Which part of a list is asked for (`PageLink`).
#[derive(Debug)]
pub(super) struct Page {
    size: usize,
    number: usize,
    search: String,
}

impl Page {
    /// Nothing where neither of the two parameters is there that must be.
    pub(super) fn read(query: &Query) -> Result<Option<Self>, Refusal> {
        let (Some(size), Some(number)) = (query.number("pageSize")?, query.number("page")?) else {
            return Ok(None);
        };
        let positive = |number: i64| usize::try_from(number).ok();
        let Some(size) = positive(size).filter(|size| *size > 0) else {
            let why = format!("Incorrect page link page size '{size}'. Page size must be greater than zero.");
            return Err(Refusal::bad(why));
        };
        let Some(number) = positive(number) else {
            let why = format!("Incorrect page link page '{number}'. Page must be positive integer.");
            return Err(Refusal::bad(why));
        };
        Ok(Some(Self { size, number, search: query.get("textSearch").unwrap_or_default().to_lowercase() }))
    }

    /// What a call without the two parameters is answered.
    pub(super) fn missing(release: Release) -> Refusal {
        let parameters = "Required request parameter 'pageSize' for method parameter type int is not present";
        match release {
            Release::V3_2 => Refusal::Spring { status: 400 },
            _ if release.maps_by_path_alone() => Refusal::failed(parameters),
            _ => Refusal::Coded {
                status: 400,
                code: 31,
                message: "Parameter conditions \"pageSize, page\" not met for actual request parameters: "
                    .to_owned(),
            },
        }
    }

    /// Whether `name` holds the text that is searched for.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.search.is_empty() || name.to_lowercase().contains(&self.search)
    }

    /// The part of a list, as `PageData`.
    pub(super) fn of<T>(&self, all: impl Iterator<Item = T>, shown: impl Fn(T) -> Value) -> Value {
        let begin = self.number.saturating_mul(self.size);
        let (mut total, mut data) = (0, Vec::new());
        for item in all {
            if total >= begin && data.len() < self.size {
                data.push(shown(item));
            }
            total += 1;
        }
        let pages = total.div_ceil(self.size);
        serde_json::json!({
            "data": data,
            "totalPages": pages,
            "totalElements": total,
            "hasNext": self.number.saturating_add(1) < pages,
        })
    }
}
