//! A server: its host and port, and what authenticates it. What is spoken with it is the matter of others.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use rustls_pki_types::{DnsName, ServerName};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorCode, Hint};
use crate::text::one_line;
use crate::tls::Trust;

/// Characters of a wrong host that are shown; no right one is longer.
const LONGEST_SHOWN: usize = 253;

/// A host: a DNS name in lower case, or an IP address in its canonical form. An IPv6 address may have a zone.
///
/// It has one form, so that two ways to write a host are the same host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Host(Kind);

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Name(String),
    Address(IpAddr),
    /// An address of one link, such as `fe80::1%eth0`.
    Zoned(Ipv6Addr, String),
}

impl Host {
    /// This machine, by its name on every machine.
    pub fn localhost() -> Self {
        Self(Kind::Name("localhost".to_owned()))
    }

    /// The host as TLS names it; a zone is no part of that.
    ///
    /// # Errors
    /// `usage/invalid-value`; a parsed host has none.
    pub fn tls_name(&self) -> Result<ServerName<'static>, Error> {
        match &self.0 {
            Kind::Name(name) => ServerName::try_from(name.clone()).map_err(|_| not_a_host(name)),
            Kind::Address(address) => Ok(ServerName::IpAddress((*address).into())),
            Kind::Zoned(address, _) => Ok(ServerName::IpAddress(IpAddr::V6(*address).into())),
        }
    }
}

impl Host {
    /// `host:port` as everybody writes it, an IPv6 address in brackets.
    pub const fn with_port(&self, port: u16) -> HostAndPort<'_> {
        HostAndPort { host: self, port }
    }
}

/// A host and a port, to be shown. See [`Host::with_port`].
#[derive(Debug, Clone, Copy)]
pub struct HostAndPort<'a> {
    host: &'a Host,
    port: u16,
}

impl fmt::Display for HostAndPort<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host.0 {
            Kind::Address(IpAddr::V6(_)) | Kind::Zoned(..) => write!(formatter, "[{host}]:{port}"),
            _ => write!(formatter, "{host}:{port}"),
        }
    }
}

impl fmt::Display for Host {
    /// Without brackets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Name(name) => formatter.write_str(name),
            Kind::Address(address) => address.fmt(formatter),
            Kind::Zoned(address, zone) => write!(formatter, "{address}%{zone}"),
        }
    }
}

impl FromStr for Host {
    type Err = Error;

    /// Reads a name or an address, with or without brackets and blanks around it; a dot at a name's end is dropped.
    fn from_str(text: &str) -> Result<Self, Error> {
        let bare = text.trim();
        let bare = bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(bare);
        if let Ok(address) = bare.parse() {
            return Ok(Self(Kind::Address(address)));
        }
        if let Some((address, zone)) = bare.split_once('%')
            && let Ok(address) = address.parse()
            && is_zone(zone)
        {
            return Ok(Self(Kind::Zoned(address, zone.to_owned())));
        }
        if !bare.is_ascii() {
            let message = format!("'{}' has characters outside ASCII", one_line(text, LONGEST_SHOWN));
            return Err(Error::new(ErrorCode::UsageInvalid, message).hint(Hint::AsciiHost));
        }
        let name = bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase();
        if name.ends_with('.') || DnsName::try_from(name.as_str()).is_err() {
            return Err(not_a_host(text));
        }
        Ok(Self(Kind::Name(name)))
    }
}

/// A zone is the name or the number of a network interface.
fn is_zone(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self(Kind::Address(address))
    }
}

impl TryFrom<String> for Host {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.to_string()
    }
}

fn not_a_host(text: &str) -> Error {
    let text = one_line(text, LONGEST_SHOWN);
    let message = format!("'{text}' is neither a host name nor an IP address");
    Error::new(ErrorCode::UsageInvalid, message).hint(Hint::BareHost)
}

/// A server, and how to believe it.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its name or address.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// What authenticates it.
    pub trust: Arc<Trust>,
}

impl Server {
    /// Whether both are the same host and port.
    pub fn is_at(&self, host: &Host, port: u16) -> bool {
        self.host == *host && self.port == port
    }
}

impl fmt::Display for Server {
    /// `host:port`, an IPv6 address in brackets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.with_port(self.port).fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_form() {
        for (written, canonical) in [
            ("LocalHost", "localhost"),
            (" mqtt.Example.com. ", "mqtt.example.com"),
            ("[::1]", "::1"),
            ("0:0:0:0:0:0:0:1", "::1"),
            ("127.0.0.1", "127.0.0.1"),
            ("fe80::1%eth0", "fe80::1%eth0"),
            ("[FE80:0::1%eth0]", "fe80::1%eth0"),
            ("MQTT.Example.com.", "mqtt.example.com"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(written.parse::<Host>().unwrap().to_string(), canonical);
        }
    }

    #[test]
    fn a_name_outside_ascii_is_told_from_nonsense() {
        let error = "bücher.example".parse::<Host>().unwrap_err();
        assert_eq!((error.code, error.hint), (ErrorCode::UsageInvalid, Some(Hint::AsciiHost)));
    }

    #[test]
    fn a_port_follows_an_ipv6_address_in_brackets() {
        for (host, shown) in [
            ("LOCALHOST.", "localhost:1"),
            ("127.0.0.1", "127.0.0.1:1"),
            ("::1", "[::1]:1"),
            ("fe80::1%eth0", "[fe80::1%eth0]:1"),
        ] {
            assert_eq!(host.parse::<Host>().unwrap().with_port(1).to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for written in
            ["", "https://x", "x:8883", "a b", "fe80::1%", "fe80::1%/x", "[::1", "-x-/", "x\ny", ".", "x.."]
        {
            assert_eq!(written.parse::<Host>().unwrap_err().code, ErrorCode::UsageInvalid, "{written}");
        }
    }
}
