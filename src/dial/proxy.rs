//! A proxy between this machine and the server: how it is named, and what may go wrong with it.

use std::fmt;
use std::io;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use super::{http_connect, socks};
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::secret::Secret;
use crate::server::{Host, Server};

/// Variables by which other programs are told of a proxy; tbprov does not use them.
const OF_OTHERS: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// Bytes of a user's name or of a password that SOCKS5 can carry (RFC 1929).
const LONGEST_OF_SOCKS: usize = 255;

/// What a connection goes through. The proxy is told the server's name and resolves it itself: this machine never asks
/// a name server for it.
///
/// It is read from `http://[user:password@]host:port` (HTTP CONNECT, RFC 9110 9.3.6) or
/// `socks5h://[user:password@]host:port` (SOCKS5, RFC 1928; `socks5://` is the same). What is reserved in a URL is
/// percent-encoded in user and password. Shown without both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    kind: Kind,
    host: Host,
    port: u16,
    login: Option<Login>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Socks5,
}

/// Who may use the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: Secret,
    pub(super) password: Secret,
}

impl Proxy {
    /// The proxy's own host.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The proxy's own port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    pub(super) const fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// Has the proxy connect `stream`, which leads to it, to `server`. Not one byte is read that is the server's.
    pub(super) async fn open<S>(&self, stream: &mut S, server: &Server) -> Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if server.host.has_zone() {
            let message = format!("{server} is an address of one link of this machine: no proxy reaches it");
            return Err(Error::new(ErrorCode::UsageInvalid, message));
        }
        match self.kind {
            Kind::Http => http_connect::open(self, stream, server).await,
            Kind::Socks5 => socks::open(self, stream, server).await,
        }
    }

    /// The proxy, or what stands at its address, does not do what it should.
    pub(super) fn misbehaved(&self, what: impl fmt::Display) -> Error {
        Error::new(ErrorCode::NetworkProxy, format!("the proxy {self} {what}"))
    }

    /// The proxy says no to this user, or to nobody.
    pub(super) fn login_refused(&self, what: impl fmt::Display) -> Error {
        self.misbehaved(what).hint(Hint::ProxyLogin)
    }

    /// The proxy says no to this server.
    pub(super) fn server_refused(&self, server: &Server, why: impl fmt::Display) -> Error {
        self.misbehaved(format_args!("refuses to connect to {server}: {why}")).hint(Hint::ProxyRefuses)
    }

    /// The proxy cannot reach the server.
    pub(super) fn server_unreached(&self, server: &Server, why: impl fmt::Display) -> Error {
        let message = format!("the proxy {self} has no connection to {server}: {why}");
        Error::new(ErrorCode::NetworkConnect, message).hint(Hint::BeyondProxy)
    }

    /// The connection to the proxy ended before the server's began; `when` says how far it was.
    pub(super) fn broken(&self, error: io::Error, when: &str) -> Error {
        let why = match error.kind() {
            io::ErrorKind::UnexpectedEof => String::new(),
            _ => format!(" ({error})"),
        };
        let message = format!("the proxy {self} closed the connection {when}{why}");
        Error::new(ErrorCode::NetworkClosed, message).hint(Hint::ProxyKind).source(error)
    }
}

impl fmt::Display for Proxy {
    /// Without user and password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            Kind::Http => "http",
            Kind::Socks5 => "socks5h",
        };
        write!(formatter, "{scheme}://{}", self.host.with_port(self.port))
    }
}

impl FromStr for Proxy {
    type Err = Error;

    /// Reads the URL of a proxy. No part of it is ever quoted: it may hold a password.
    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.chars().any(char::is_control) {
            return Err(invalid("holds a control character"));
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| invalid("has no scheme"))?;
        let kind = kind(scheme)?;
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if !matches!(path, "" | "/") {
            return Err(invalid("has more than a host and a port"));
        }
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (Some(Login::parse(login, kind)?), place),
            None => (None, authority),
        };
        let (host, port) = place.rsplit_once(':').ok_or_else(|| invalid("has no port"))?;
        let port = match port.parse() {
            Ok(port) if port > 0 => port,
            _ => return Err(invalid("has no port from 1 to 65535 at its end")),
        };
        if host.contains(':') && !host.starts_with('[') {
            return Err(invalid("has an IPv6 address without brackets"));
        }
        let host = host.parse().map_err(|_| invalid("has neither a host name nor an IP address"))?;
        Ok(Self { kind, host, port, login })
    }
}

fn kind(scheme: &str) -> Result<Kind> {
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Ok(Kind::Http),
        "socks5h" | "socks5" => Ok(Kind::Socks5),
        "https" => Err(invalid("is that of a proxy over TLS (https://), which is not supported")),
        "socks4" | "socks4a" => Err(invalid("is that of a SOCKS 4 proxy, which is not supported")),
        _ => Err(invalid("has another scheme than http, socks5h and socks5")),
    }
}

impl Login {
    fn parse(text: &str, kind: Kind) -> Result<Self> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        let (user, password) = (decoded(user)?, decoded(password)?);
        match kind {
            // RFC 7617 2: the first colon ends the user's name.
            Kind::Http if user.contains(':') => {
                Err(invalid("has a user with a colon, which HTTP cannot carry"))
            }
            Kind::Socks5 if user.is_empty() || user.len().max(password.len()) > LONGEST_OF_SOCKS => {
                Err(invalid("has a user or a password of a length that SOCKS5 cannot carry (1 to 255 bytes)"))
            }
            _ => Ok(Self { user: user.into(), password: password.into() }),
        }
    }
}

fn decoded(text: &str) -> Result<Zeroizing<String>> {
    // Made in its full length at once: one that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    bytes.extend(percent_decode_str(text));
    let text =
        std::str::from_utf8(&bytes).map_err(|_| invalid("has a user or a password that is not UTF-8"))?;
    if text.chars().any(char::is_control) {
        return Err(invalid("has a control character in its user or its password"));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

fn invalid(why: &str) -> Error {
    Error::new(ErrorCode::UsageInvalid, format!("the proxy's URL {why}")).hint(Hint::ProxyForm)
}

/// The variable that names a proxy to other programs, where one does.
pub(super) fn variable_of_others() -> Option<&'static str> {
    OF_OTHERS.into_iter().find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_shown_without_user_and_password() {
        for (url, shown) in [
            ("http://proxy.example:3128", "http://proxy.example:3128"),
            (" HTTP://Proxy.Example:3128/\r\n", "http://proxy.example:3128"),
            ("http://u:hunter2@127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://u:p@ss@127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("socks5h://[::1]:1080", "socks5h://[::1]:1080"),
            ("socks5://u:p@localhost.:1080", "socks5h://localhost:1080"),
        ] {
            let proxy: Proxy = url.parse().unwrap();
            assert_eq!(proxy.to_string(), shown);
            assert!(!format!("{proxy:?}").contains("hunter2"));
        }
    }

    #[test]
    fn user_and_password_are_decoded() {
        for (url, user, password) in [
            ("http://u%40corp:p%3Aa%2fs%25@h:1", "u@corp", "p:a/s%"),
            ("http://u:a:b@h:1", "u", "a:b"),
            ("http://token@h:1", "token", ""),
            ("socks5h://k%C3%BC:p@h:1", "kü", "p"),
        ] {
            let proxy: Proxy = url.parse().unwrap();
            let login = proxy.login().unwrap();
            assert_eq!((login.user.expose(), login.password.expose()), (user, password));
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_a_quote() {
        let long = format!("socks5h://{}:hunter2@h:1", "u".repeat(256));
        for url in [
            "hunter2:3128",
            "https://u:hunter2@h:1",
            "socks4://u:hunter2@h:1",
            "ftp://u:hunter2@h:1",
            "http://u:hunter2@h",
            "http://u:hunter2@h:0",
            "http://u:hunter2@h:65536",
            "http://u:hunter2/x@h:1",
            "http://u:hunter2@::1:1",
            "http://u:hunter2@h:1/path",
            "http://u:hunter2@h\u{7}:1",
            "http://u:hunter2%0a@h:1",
            "http://u:hunter2%ff@h:1",
            "http://u%3Ax:hunter2@h:1",
            "http://u:hunter2@a_b c:1",
            "http://:1",
            "socks5h://:hunter2@h:1",
            &long,
        ] {
            let error = url.parse::<Proxy>().unwrap_err();
            assert_eq!((error.code, &error.hint), (ErrorCode::UsageInvalid, &Some(Hint::ProxyForm)), "{url}");
            assert!(!error.message.contains("hunter2"), "{error}");
        }
    }
}
