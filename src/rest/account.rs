//! One user of one server: logs in, stays logged in, waits where the server asks for that.

use std::fmt;
use std::time::{Duration, Instant};

use hyper::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::failure;
use super::http::{Answer, Http, Question};
use super::url::ApiUrl;
use crate::dial::Dialer;
use crate::error::{Error, ErrorCode, Hint, Result, Step};
use crate::event::{Event, Progress};
use crate::secret::Secret;

/// How long to wait, in all, for a server that takes no more requests for now (429), or is not ready (503).
const PATIENCE: Duration = Duration::from_secs(60);

/// The first wait, where the server names none; each next one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The first wait at the least, whatever the server names; each next one is twice as long.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// What proves that the user is who they are.
#[derive(Clone)]
pub enum Login {
    /// A key of ThingsBoard 4.3 and later.
    ApiKey(Secret),
    /// What the login page asks for.
    User {
        /// The user's e-mail address.
        name: String,
        /// The user's password.
        password: Secret,
    },
}

impl fmt::Debug for Login {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApiKey(_) => formatter.write_str("ApiKey([secret])"),
            Self::User { name, .. } => write!(formatter, "User({name:?})"),
        }
    }
}

/// What a login gives: the header's value, and what renews it.
#[derive(Debug, Clone)]
struct Tokens {
    header: Secret,
    refresh: Option<Secret>,
}

#[derive(Serialize)]
struct LoginRequest<'a> {
    username: &'a str,
    password: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RefreshRequest<'a> {
    refresh_token: &'a str,
}

/// The answer to a login (`LoginResponse`, `JwtPair`).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LoginAnswer {
    token: Option<Zeroizing<String>>,
    refresh_token: Option<Zeroizing<String>>,
    scope: Option<String>,
}

/// One user of one server.
#[derive(Debug)]
pub struct Account {
    http: Http,
    login: Login,
    tokens: Mutex<Option<Tokens>>,
}

impl Account {
    /// The user of `login` at `url`, whose server `dialer` reaches.
    pub fn new(dialer: Dialer, url: ApiUrl, login: Login) -> Self {
        Self { http: Http::new(dialer, url), login, tokens: Mutex::default() }
    }

    /// Where the server's REST API is.
    pub const fn url(&self) -> &ApiUrl {
        self.http.url()
    }

    /// The user's name, where a user logs in.
    pub fn user_name(&self) -> Option<&str> {
        match &self.login {
            Login::User { name, .. } => Some(name),
            Login::ApiKey(_) => None,
        }
    }

    /// Reads what is at `path`.
    ///
    /// # Errors
    /// Those of the network and of TLS, and the `rest/…` codes.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str, progress: &Progress) -> Result<T> {
        let answer = self.call(Method::GET, path, None, progress).await?;
        self.read(path, &answer)
    }

    /// As [`Self::get`]; nothing where the server has nothing there.
    pub(super) async fn find<T: DeserializeOwned>(
        &self,
        path: &str,
        progress: &Progress,
    ) -> Result<Option<T>> {
        match self.get(path, progress).await {
            Err(error) if error.code == ErrorCode::RestNotFound => Ok(None),
            found => found.map(Some),
        }
    }

    /// Sends `body` to `path`.
    ///
    /// # Errors
    /// As [`Self::get`]. After a failure of the network the server may have done it all the same.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        progress: &Progress,
    ) -> Result<T> {
        let sent = Body { json: Secret::new(body.to_string()), secrets: secrets_in(body) };
        let answer = self.call(Method::POST, path, Some(&sent), progress).await?;
        self.read(path, &answer)
    }

    /// Deletes what is at `path`.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub(super) async fn delete(&self, path: &str, progress: &Progress) -> Result<()> {
        self.call(Method::DELETE, path, None, progress).await.map(drop)
    }

    /// One call as this user. A token that the server does not take any more is renewed once.
    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Body>,
        progress: &Progress,
    ) -> Result<Answer> {
        let (mut tokens, mut ended) = (self.tokens(progress).await?, None);
        // A key is what it is. A token may have ended at once, by a clock that is off.
        let mut may_renew = self.user_name().is_some();
        loop {
            let authorization = Some(&tokens.header);
            let json = body.map(|body| &body.json);
            let question = Question { method: method.clone(), path, authorization, body: json };
            let answer = self.ask(&question, progress).await?;
            match answer.status {
                200..=299 => return Ok(answer),
                401 if may_renew => {
                    let renewed = self.renewed(&tokens, progress).await?;
                    ended = Some(std::mem::replace(&mut tokens, renewed));
                    may_renew = false;
                }
                _ => {
                    let tokens = [Some(&tokens), ended.as_ref()];
                    let secrets = body.map_or(&[][..], |body| &body.secrets);
                    return Err(self.failure(&what(&method, path), &answer, &tokens, secrets));
                }
            }
        }
    }

    /// Asks, and again where the server says that it can not answer now.
    async fn ask(&self, question: &Question<'_>, progress: &Progress) -> Result<Answer> {
        let (begin, mut next, mut least) = (Instant::now(), FIRST_WAIT, SHORTEST_WAIT);
        loop {
            let answer = self.http.ask(question, progress).await?;
            let wait = answer.retry_after.unwrap_or(next).max(least);
            if !matches!(answer.status, 429 | 503) || begin.elapsed().saturating_add(wait) > PATIENCE {
                return Ok(answer);
            }
            let what = format!("waiting {wait:?}: {} answers {}", self.url(), answer.status);
            progress.event(&Event::Started { step: Step::Rest, what });
            tokio::time::sleep(wait).await;
            (next, least) = (next.saturating_mul(2), least.saturating_mul(2));
        }
    }

    /// The tokens: those of the last login, else those of one now.
    async fn tokens(&self, progress: &Progress) -> Result<Tokens> {
        let mut held = self.tokens.lock().await;
        if let Some(tokens) = &*held {
            return Ok(tokens.clone());
        }
        let tokens = self.log_in(progress).await?;
        *held = Some(tokens.clone());
        Ok(tokens)
    }

    /// New tokens in place of `old` ones, unless somebody else got them meanwhile.
    async fn renewed(&self, old: &Tokens, progress: &Progress) -> Result<Tokens> {
        let mut held = self.tokens.lock().await;
        if let Some(tokens) = held.as_ref().filter(|tokens| tokens.header != old.header) {
            return Ok(tokens.clone());
        }
        let refreshed = match &old.refresh {
            Some(refresh) => self.refresh(refresh, progress).await?,
            None => None,
        };
        let tokens = match refreshed {
            Some(tokens) => tokens,
            None => self.log_in(progress).await?,
        };
        *held = Some(tokens.clone());
        Ok(tokens)
    }

    async fn log_in(&self, progress: &Progress) -> Result<Tokens> {
        let (name, password) = match &self.login {
            Login::ApiKey(key) => {
                let header = Secret::from(Zeroizing::new(format!("ApiKey {}", key.expose())));
                return Ok(Tokens { header, refresh: None });
            }
            Login::User { name, password } => (name, password),
        };
        let body = secret_json(&LoginRequest { username: name, password: password.expose() })?;
        let question = Question {
            method: Method::POST,
            path: "/api/auth/login",
            authorization: None,
            body: Some(&body),
        };
        let mut answer = self.ask(&question, progress).await?;
        // Two logins of one user at the same moment: one of them gets 500 (seen at 3.8.1).
        if answer.status == 500 {
            answer = self.ask(&question, progress).await?;
        }
        match answer.status {
            200..=299 => self.logged_in(&answer),
            404 | 405 => {
                Err(failure::not_thingsboard(self.url(), "there is no login").hint(Hint::ApiUrlForm))
            }
            _ => Err(self.failure("the login", &answer, &[], &[])),
        }
    }

    /// Tokens by the refresh token; nothing where it does not hold any more.
    async fn refresh(&self, refresh: &Secret, progress: &Progress) -> Result<Option<Tokens>> {
        let body = secret_json(&RefreshRequest { refresh_token: refresh.expose() })?;
        let question = Question {
            method: Method::POST,
            path: "/api/auth/token",
            authorization: None,
            body: Some(&body),
        };
        let answer = self.ask(&question, progress).await?;
        if answer.status == 200 { self.logged_in(&answer).map(Some) } else { Ok(None) }
    }

    fn logged_in(&self, answer: &Answer) -> Result<Tokens> {
        let LoginAnswer { token, refresh_token, scope } = self.read("the login", answer)?;
        // `PRE_VERIFICATION_TOKEN` asks for the second factor, `MFA_CONFIGURATION_TOKEN` for its configuration.
        if scope.is_some_and(|scope| scope != "REFRESH_TOKEN" && !scope.is_empty()) {
            let message = format!("the login of this user at {} needs a second factor", self.url());
            return Err(Error::new(ErrorCode::RestSecondFactor, message));
        }
        let Some(token) = token else {
            return Err(failure::not_thingsboard(self.url(), "the answer to the login has no token"));
        };
        if token.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(failure::not_thingsboard(self.url(), "the token of the login is none"));
        }
        let header = Secret::from(Zeroizing::new(format!("Bearer {}", token.as_str())));
        Ok(Tokens { header, refresh: refresh_token.map(Secret::from) })
    }

    fn read<T: DeserializeOwned>(&self, what: &str, answer: &Answer) -> Result<T> {
        let body: &[u8] = if answer.body.is_empty() { b"null" } else { &answer.body };
        serde_json::from_slice(body).map_err(|error| {
            let is_page = body.trim_ascii_start().starts_with(b"<");
            let why = if is_page { "a page in HTML" } else { "something else than ThingsBoard does" };
            // serde's own message may quote what came.
            let place = format!("line {}, column {}", error.line(), error.column());
            failure::not_thingsboard(self.url(), &format!("it answers {what} with {why} ({place})"))
        })
    }

    /// The failure that `answer` is, without the secrets that the server was sent.
    fn failure(&self, what: &str, answer: &Answer, sent: &[Option<&Tokens>], of_body: &[Secret]) -> Error {
        let mut secrets = vec![match &self.login {
            Login::ApiKey(key) => key,
            Login::User { password, .. } => password,
        }];
        let sent = || sent.iter().copied().flatten();
        let bare = sent().map(|Tokens { header, .. }| {
            let token = header.expose().split_once(' ').map_or("", |(_, token)| token);
            Secret::new(token)
        });
        let bare: Vec<_> = bare.collect();
        secrets.extend(&bare);
        secrets.extend(of_body);
        secrets.extend(sent().filter_map(|tokens| tokens.refresh.as_ref()));
        let failed = failure::of(self.url(), what, answer, &secrets);
        match (&self.login, failed.code) {
            (Login::ApiKey(_), ErrorCode::RestUnauthorized) => failed.hint(Hint::RestApiKey),
            _ => failed,
        }
    }
}

/// What is sent, and what of it must not be shown.
struct Body {
    json: Secret,
    secrets: Vec<Secret>,
}

/// Members that hold a secret: that of a device profile; a token, or the user name and password of MQTT.
const SECRET_MEMBERS: [&str; 3] = ["provisionDeviceSecret", "credentialsId", "credentialsValue"];

/// The texts of those members, wherever they are.
fn secrets_in(value: &Value) -> Vec<Secret> {
    match value {
        Value::Object(members) => {
            let of_member = |(name, member): (&String, &Value)| match member {
                Value::String(text) if SECRET_MEMBERS.contains(&name.as_str()) => vec![Secret::new(text)],
                _ => secrets_in(member),
            };
            members.iter().flat_map(of_member).collect()
        }
        Value::Array(elements) => elements.iter().flat_map(secrets_in).collect(),
        _ => Vec::new(),
    }
}

/// JSON with a secret in it.
fn secret_json(value: &impl Serialize) -> Result<Secret> {
    let text = serde_json::to_string(value);
    text.map(|text| Secret::from(Zeroizing::new(text)))
        .map_err(|error| Error::new(ErrorCode::Bug, "a login could not be written as JSON").source(error))
}

/// A call in messages, without its query.
fn what(method: &Method, path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    format!("{method} {path}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_secrets_of_a_body_are_known() {
        let profile =
            json!({"name": "p", "profileData": {"provisionConfiguration": {"provisionDeviceSecret": "s"}}});
        assert_eq!(secrets_in(&profile), [Secret::new("s")]);
        let token =
            json!([{"credentialsType": "ACCESS_TOKEN", "credentialsId": "t", "credentialsValue": null}]);
        assert_eq!(secrets_in(&token), [Secret::new("t")]);
    }

    /// Whatever a server quotes of a request.
    #[test]
    fn a_failure_shows_no_secret_of_the_body() {
        let trust = crate::tls::Trust::from_certificates(Vec::new(), crate::tls::TrustSource::System, false);
        let server =
            crate::server::Server { host: crate::server::Host::localhost(), port: 1, trust: trust.into() };
        let (url, login) = ("http://localhost:1".parse().unwrap(), Login::ApiKey(Secret::new("the-key")));
        let account = Account::new(Dialer::new(server, Duration::from_secs(1)), url, login);
        let said = br#"{"message":"bad: the-secret of the-key","status":400}"#;
        let answer =
            Answer { status: 400, retry_after: None, location: None, body: Zeroizing::new(said.to_vec()) };
        let failed = account.failure("POST /x", &answer, &[], &[Secret::new("the-secret")]);
        assert!(failed.message.ends_with("bad: [hidden] of [hidden]"), "{}", failed.message);
    }
}
