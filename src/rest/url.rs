//! Where a REST API is.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::error::{Error, ErrorCode, Hint, Result};
use crate::server::Host;

/// Where ThingsBoard's REST API is: `https://host[:port][/path]`. The path is what stands before `/api`, for a server
/// behind one that serves more than ThingsBoard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiUrl {
    is_tls: bool,
    host: Host,
    port: u16,
    /// Without a slash at its end.
    base: String,
}

impl ApiUrl {
    /// The host.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is spoken over TLS.
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Whether it is this machine itself, where nobody else hears what is sent without TLS.
    pub fn is_loopback(&self) -> bool {
        match self.host.address() {
            Some(IpAddr::V4(address)) => address.is_loopback(),
            Some(IpAddr::V6(address)) => address == Ipv6Addr::LOCALHOST,
            None => self.host == Host::localhost(),
        }
    }

    /// The path of a call, such as `/api/device`.
    pub(super) fn path(&self, call: &str) -> String {
        format!("{}{call}", self.base)
    }

    /// The value of the header `Host`.
    pub(super) fn authority(&self) -> String {
        let shown = self.host.with_port(self.port).to_string();
        let default = format!(":{}", default_port(self.is_tls));
        shown.strip_suffix(&default).map_or(shown.clone(), str::to_owned)
    }
}

const fn default_port(is_tls: bool) -> u16 {
    if is_tls { 443 } else { 80 }
}

impl fmt::Display for ApiUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(formatter, "{scheme}://{}{}", self.authority(), self.base)
    }
}

impl FromStr for ApiUrl {
    type Err = Error;

    /// Reads the URL. No part of it is ever quoted: somebody may have put a password into it.
    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.chars().any(|character| character.is_control() || character.is_whitespace()) {
            return Err(invalid("holds a blank or a control character"));
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| invalid("has no scheme"))?;
        let is_tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(invalid("has another scheme than https and http")),
        };
        if rest.contains(['?', '#']) {
            return Err(invalid("has more than a host, a port and a path"));
        }
        let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if place.contains('@') {
            return Err(invalid("has a user or a password in it, which are given apart"));
        }
        let (host, port) = split(place, is_tls)?;
        let host = host.parse().map_err(|_| invalid("has neither a host name nor an IP address"))?;
        Ok(Self { is_tls, host, port, base: base(path)? })
    }
}

/// Host and port. A colon within brackets is an IPv6 address's.
fn split(place: &str, is_tls: bool) -> Result<(&str, u16)> {
    match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            if host.contains(':') && !host.starts_with('[') {
                return Err(invalid("has an IPv6 address without brackets"));
            }
            match port.parse() {
                Ok(port) if port > 0 => Ok((host, port)),
                _ => Err(invalid("has no port from 1 to 65535 after its colon")),
            }
        }
        _ => Ok((place, default_port(is_tls))),
    }
}

/// What stands before `/api`. Whoever copies the address of an API's own page copies more.
fn base(path: &str) -> Result<String> {
    let base = path.trim_end_matches('/');
    let base = base.strip_suffix("/api").unwrap_or(base);
    if !base.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(invalid("has a path that is not percent-encoded"));
    }
    Ok(base.to_owned())
}

fn invalid(why: &str) -> Error {
    Error::new(ErrorCode::UsageInvalid, format!("the URL of the REST API {why}")).hint(Hint::ApiUrlForm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_shown() {
        for (given, shown, authority, path) in [
            ("https://tb.example.com", "https://tb.example.com", "tb.example.com", "/api/user"),
            (" HTTPS://tb.example.com:443/ ", "https://tb.example.com", "tb.example.com", "/api/user"),
            ("http://localhost:8080", "http://localhost:8080", "localhost:8080", "/api/user"),
            ("https://[::1]:9443/tb/", "https://[::1]:9443/tb", "[::1]:9443", "/tb/api/user"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]", "[2001:db8::1]", "/api/user"),
            ("https://tb.example.com/api", "https://tb.example.com", "tb.example.com", "/api/user"),
        ] {
            let url: ApiUrl = given.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(url.authority(), authority);
            assert_eq!(url.path("/api/user"), path);
        }
    }

    #[test]
    fn what_is_no_url_is_refused_without_a_word_of_it() {
        for given in [
            "",
            "hunter2",
            "ftp://hunter2",
            "https://",
            "https://a:hunter2@b",
            "https://a:0",
            "https://a:hunter2",
            "https://::1",
            "https://a?token=hunter2",
            "https://a b",
            "https://a/ü",
        ] {
            let error = given.parse::<ApiUrl>().unwrap_err();
            assert_eq!(error.code, ErrorCode::UsageInvalid, "{given}");
            assert!(!error.message.contains("hunter2"), "{}", error.message);
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        let is_loopback = |text: &str| text.parse::<ApiUrl>().unwrap().is_loopback();
        assert!(["http://localhost", "http://127.0.0.2:1", "http://[::1]"].into_iter().all(is_loopback));
        assert!(
            !["http://localhost.example.com", "http://10.0.0.1", "http://[::]"].into_iter().any(is_loopback)
        );
    }
}
