//! A client of the REST API, made of bytes.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tbprov::sim::Config;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::{Fixture, start};

pub(crate) const TENANT: &str = "tenant@thingsboard.org";
pub(crate) const CUSTOMER: &str = "customer@thingsboard.org";
pub(crate) const SYSTEM: &str = "sysadmin@thingsboard.org";

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    /// 0 where the connection was closed without an answer.
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The id of the entity.
    pub(crate) fn id(&self) -> String {
        self.json()["id"]["id"].as_str().unwrap_or_else(|| panic!("no id: {self:?}")).to_owned()
    }
}

/// A simulator whose REST API listens.
pub(crate) async fn start_rest(change: impl FnOnce(&mut Config)) -> Fixture {
    start(|config| {
        config.rest = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.plain = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        change(config);
    })
    .await
}

impl Fixture {
    /// Sends bytes, and reads until the server closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.simulator.rest_address().unwrap()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    }

    /// One call on a connection of its own, with these headers.
    pub(crate) async fn call_with(&self, call: &str, headers: &str, body: &str) -> Reply {
        let length = body.len();
        let request = format!(
            "{call} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        let answer = String::from_utf8(self.raw(request.as_bytes()).await).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap());
        Reply { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// One call with a token, or without.
    pub(crate) async fn call(&self, call: &str, token: Option<&str>, body: &str) -> Reply {
        let token = token.map(|token| format!("X-Authorization: Bearer {token}\r\n")).unwrap_or_default();
        self.call_with(call, &format!("Content-Type: application/json\r\n{token}"), body).await
    }

    /// The pair of tokens of a user.
    pub(crate) async fn log_in(&self, user: &str) -> Value {
        let password = self.simulator.api_password().unwrap().expose();
        let body = json!({ "username": user, "password": password }).to_string();
        self.call("POST /api/auth/login", None, &body).await.json()
    }

    /// The token of a user.
    pub(crate) async fn token(&self, user: &str) -> String {
        self.log_in(user).await["token"].as_str().unwrap().to_owned()
    }
}
