//! A host, in one form; and what was meant where a text is none.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use rustls_pki_types::{DnsName, ServerName};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorCode, Hint};
use crate::text::one_line;

/// Characters of a wrong host that are shown; no right one is longer.
const LONGEST_SHOWN: usize = 253;

/// A host: a DNS name in lower case, or an IP address in its canonical form. An IPv6 address may have a zone.
///
/// It has one form, so that two ways to write a host are the same host. An IPv4 address that is mapped into IPv6
/// (RFC 4291 2.5.5.2) is that IPv4 address.
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

    /// The IP address, where it is one that is the same on every machine.
    pub const fn address(&self) -> Option<IpAddr> {
        match &self.0 {
            Kind::Address(address) => Some(*address),
            Kind::Name(_) | Kind::Zoned(..) => None,
        }
    }

    /// Whether it is an address of one link of this machine.
    pub const fn has_zone(&self) -> bool {
        matches!(self.0, Kind::Zoned(..))
    }

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
        read(text).ok_or_else(|| why_not(text))
    }
}

/// The host that `text` is.
fn read(text: &str) -> Option<Host> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(Host(Kind::Address(address.to_canonical())));
    }
    if let Some((address, zone)) = bare.split_once('%')
        && let Ok(address) = address.parse()
    {
        return zone_of(zone).map(|zone| Host(Kind::Zoned(address, zone.to_owned())));
    }
    let name = bare.strip_suffix('.').unwrap_or(bare);
    if let Ok(address) = name.parse::<Ipv4Addr>() {
        return Some(Host(Kind::Address(address.into())));
    }
    let name = name.to_ascii_lowercase();
    let is_name =
        !name.ends_with('.') && !ends_in_a_number(&name) && DnsName::try_from(name.as_str()).is_ok();
    is_name.then_some(Host(Kind::Name(name)))
}

/// A zone is the name or the number of a network interface. In a URL its sign is written `%25` (RFC 6874).
fn zone_of(text: &str) -> Option<&str> {
    let of_url =
        text.strip_prefix("25").filter(|rest| rest.starts_with(|first: char| first.is_ascii_alphabetic()));
    let zone = of_url.unwrap_or(text);
    let is_zone =
        !zone.is_empty() && zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    is_zone.then_some(zone)
}

/// Whether some programs would take the name for an IPv4 address: `127.1`, `0x7f000001`, `017700000001`. No name of a
/// host ends so (RFC 3696 2).
fn ends_in_a_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let hex =
        last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    hex || !last.is_empty() && last.bytes().all(|digit| digit.is_ascii_digit())
}

/// What `text` is in place of a host. A URL may hold a password, and is never shown whole.
fn why_not(text: &str) -> Error {
    let text = text.trim();
    let place = place_in_url(text);
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if read(place).is_none() && port.parse::<u16>().is_ok() => (host, Some(port)),
        _ => (place, None),
    };
    if let Some(host) = read(host) {
        return more_than_a_host(&host, port);
    }
    let shown = one_line(host, LONGEST_SHOWN);
    let (message, hint) = if !host.is_ascii() {
        (format!("'{shown}' has characters outside ASCII"), Hint::AsciiHost)
    } else if ends_in_a_number(&host.to_ascii_lowercase()) {
        (format!("'{shown}' is no IPv4 address of four decimal numbers"), Hint::Ipv4Form)
    } else {
        return not_a_host(host);
    };
    Error::new(ErrorCode::UsageInvalid, message).hint(hint)
}

/// The part of a URL that names host and port: without scheme, user, password and path.
fn place_in_url(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority.rsplit_once('@').map_or(authority, |(_, place)| place)
}

fn more_than_a_host(host: &Host, port: Option<&str>) -> Error {
    let port = port.map(|port| format!(", and {port} is the port")).unwrap_or_default();
    let message = format!("a host alone is wanted: of what was given, '{host}' is the host{port}");
    Error::new(ErrorCode::UsageInvalid, message).hint(Hint::BareHost)
}

fn not_a_host(text: &str) -> Error {
    let text = one_line(text, LONGEST_SHOWN);
    let message = format!("'{text}' is neither a host name nor an IP address");
    Error::new(ErrorCode::UsageInvalid, message).hint(Hint::BareHost)
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self(Kind::Address(address.to_canonical()))
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
            ("0000:0000:0000:0000:0000:0000:0000:0001", "::1"),
            ("2001:DB8::A", "2001:db8::a"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
            ("[::FFFF:7f00:1]", "127.0.0.1"),
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1.", "127.0.0.1"),
            ("fe80::1%eth0", "fe80::1%eth0"),
            ("fe80::1%2", "fe80::1%2"),
            ("[FE80:0::1%25eth0]", "fe80::1%eth0"),
            ("MQTT.Example.com.", "mqtt.example.com"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("sensor_1.local", "sensor_1.local"),
        ] {
            assert_eq!(written.parse::<Host>().unwrap().to_string(), canonical);
        }
    }

    #[test]
    fn a_name_outside_ascii_is_told_from_nonsense() {
        for written in ["bücher.example", "мктт.example", "mqtts://bücher.example:8883/x", "例え。テスト"]
        {
            let error = written.parse::<Host>().unwrap_err();
            assert_eq!(
                (error.code, &error.hint),
                (ErrorCode::UsageInvalid, &Some(Hint::AsciiHost)),
                "{written}"
            );
        }
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
            ["", "a b", "fe80::1%", "fe80::1%/x", "[::1", "-x-/", "x\ny", ".", "x..", "://", "@", ":1"]
        {
            let error = written.parse::<Host>().unwrap_err();
            assert_eq!(
                (error.code, &error.hint),
                (ErrorCode::UsageInvalid, &Some(Hint::BareHost)),
                "{written}"
            );
            assert!(error.message.contains("neither"), "{}", error.message);
        }
    }

    #[test]
    fn the_host_of_a_url_is_named_and_its_password_is_not() {
        for (written, named) in [
            ("https://x", "'x' is the host"),
            ("mqtts://mqtt.example.com:8883/path", "'mqtt.example.com' is the host, and 8883 is the port"),
            (
                "MQTTS://u:hunter2@Mqtt.Example.com.:8883",
                "'mqtt.example.com' is the host, and 8883 is the port",
            ),
            ("ssl://[::1]:8883", "'::1' is the host, and 8883 is the port"),
            ("x:8883", "'x' is the host, and 8883 is the port"),
            ("127.0.0.1:8883", "'127.0.0.1' is the host, and 8883 is the port"),
            ("thingsboard.example/login?x=hunter2", "'thingsboard.example' is the host"),
            ("u:hunter2@mqtt.example.com", "'mqtt.example.com' is the host"),
        ] {
            let error = written.parse::<Host>().unwrap_err();
            assert_eq!((error.code, &error.hint), (ErrorCode::UsageInvalid, &Some(Hint::BareHost)));
            assert!(error.message.ends_with(named), "{error}");
            assert!(!error.message.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn odd_forms_of_ipv4_are_refused() {
        for written in
            ["127.1", "0x7f.1", "0X7F000001", "017700000001", "2130706433", "127.0.0.01", "1.2.3.4.5"]
        {
            let error = written.parse::<Host>().unwrap_err();
            assert_eq!(
                (error.code, &error.hint),
                (ErrorCode::UsageInvalid, &Some(Hint::Ipv4Form)),
                "{written}"
            );
        }
    }
}
