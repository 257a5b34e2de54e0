//! Who a device is, whom it believes and how it reaches the network.

use alloc::string::String;
use core::fmt;
use core::net::SocketAddrV4;
use core::time::Duration;

use zeroize::Zeroizing;

/// The longest device name, in UTF-16 units, as Java counts characters (ThingsBoard, `Device.name`: `@Length`, 255).
/// In UTF-8 these are up to 765 bytes.
pub const LONGEST_NAME: usize = 255;
/// The longest host name, in bytes (RFC 1035).
pub const LONGEST_HOST: usize = 253;
/// The longest topic of readings, in bytes: what a message has room for beside the largest reading. ThingsBoard's own
/// topics have up to 50.
pub const LONGEST_TOPIC: usize = 256;
/// The longest SSID, in bytes (IEEE 802.11).
pub const LONGEST_SSID: usize = 32;
/// The shortest and longest WPA passphrase, in characters of printable ASCII (IEEE 802.11-2020, annex J.4).
pub const PASSPHRASE: core::ops::RangeInclusive<usize> = 8..=63;
/// The length of a raw WPA key (PSK) in hexadecimal digits.
pub const RAW_KEY: usize = 64;
/// The shortest pause between two readings.
pub const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
/// The longest pause between two readings: a day.
pub const LONGEST_INTERVAL: Duration = Duration::from_secs(86_400);
/// The shortest first pause before connecting again.
pub const SHORTEST_RETRY: Duration = Duration::from_millis(1);
/// The longest first pause before connecting again.
pub const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// All that distinguishes one device from another that runs the same image.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The device's name in ThingsBoard; a part of the MQTT client identifier too.
    pub name: String,
    /// The server's name or IPv4 address: what its certificate is checked for.
    pub host: String,
    /// The server's port of MQTT over TLS.
    pub port: u16,
    /// Where to connect instead of resolving `host`; the certificate is checked for `host` all the same.
    pub address: Option<SocketAddrV4>,
    /// The certificates to believe: the server's own or authorities', PEM.
    pub server_certificates: String,
    /// Whether the server's certificate may be for another name.
    pub skip_name_check: bool,
    /// The device's certificate, with its chain if it has one, PEM.
    pub certificate: String,
    /// The certificate's private key, PKCS#8 PEM.
    pub key: Zeroizing<String>,
    /// The wireless network; a board with a cable needs none.
    pub wifi: Option<Wifi>,
    /// The pause between two readings.
    pub interval: Duration,
    /// The MQTT topic of readings.
    pub topic: String,
    /// An SNTP server, `HOST` or `HOST:PORT`; without one the time stays unknown.
    pub time_server: Option<String>,
    /// The first pause before connecting again; it doubles with each failure.
    pub retry: Duration,
}

/// A wireless network.
#[derive(Clone, PartialEq, Eq)]
pub struct Wifi {
    /// Its name.
    pub ssid: String,
    /// Its WPA passphrase, or the raw key in hexadecimal digits; empty for an open network.
    pub password: Zeroizing<String>,
}

/// A value that no device can work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid {
    /// The field's key in the partition.
    pub field: &'static str,
    /// What is wrong, in words.
    pub why: &'static str,
}

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.field, self.why)
    }
}

impl core::error::Error for Invalid {}

impl Identity {
    /// Checks every field against its bounds: the tool before it writes, the firmware after it has read.
    ///
    /// # Errors
    /// The first field that is out of bounds.
    pub fn validate(&self) -> Result<(), Invalid> {
        let text = |field, text: &str, longest| {
            check(field, in_bounds(text, longest), "empty, too long or unprintable")
        };
        check("name", is_name(&self.name), "empty, too long or unprintable")?;
        text("host", &self.host, LONGEST_HOST)?;
        text("topic", &self.topic, LONGEST_TOPIC)?;
        check("topic", !self.topic.contains(['#', '+']), "a wildcard in the topic")?;
        check("port", self.port != 0, "zero")?;
        check("address", self.address.is_none_or(|address| address.port() != 0), "its port is zero")?;
        pem("server_certs", &self.server_certificates, "CERTIFICATE")?;
        pem("cert", &self.certificate, "CERTIFICATE")?;
        pem("key", &self.key, "PRIVATE KEY")?;
        check(
            "interval_ms",
            (SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&self.interval),
            "not 10 ms to a day",
        )?;
        check("retry_ms", (SHORTEST_RETRY..=LONGEST_RETRY).contains(&self.retry), "not 1 ms to 60 s")?;
        if let Some(server) = &self.time_server {
            text("time_server", server, LONGEST_HOST + ":65535".len())?;
            check("time_server", time_server(server).is_some(), "not HOST or HOST:PORT")?;
        }
        self.wifi.as_ref().map_or(Ok(()), Wifi::validate)
    }
}

impl Wifi {
    fn validate(&self) -> Result<(), Invalid> {
        check_ssid(&self.ssid).map_err(|why| Invalid { field: "wifi_ssid", why })?;
        check_wifi_password(&self.password).map_err(|why| Invalid { field: "wifi_password", why })
    }
}

/// Whether a wireless network can have that name.
///
/// # Errors
/// Why it cannot, in words.
pub fn check_ssid(ssid: &str) -> Result<(), &'static str> {
    if !(1..=LONGEST_SSID).contains(&ssid.len()) {
        return Err("not 1 to 32 bytes long");
    }
    if ssid.contains(char::is_control) { Err("a control character in it") } else { Ok(()) }
}

/// Whether a wireless network can have that password: none if it is open, a passphrase or a raw key.
///
/// # Errors
/// Why it cannot, in words that do not show it.
pub fn check_wifi_password(password: &str) -> Result<(), &'static str> {
    if password.is_empty() {
        return Ok(());
    }
    if !password.chars().all(|character| matches!(character, ' '..='~')) {
        return Err("a character in it that is not printable ASCII");
    }
    match password.len() {
        RAW_KEY if password.bytes().all(|byte| byte.is_ascii_hexdigit()) => Ok(()),
        RAW_KEY => Err("64 characters are a raw key, and it has others than hexadecimal digits"),
        length if PASSPHRASE.contains(&length) => Ok(()),
        _ => Err("neither 8 to 63 characters, nor a raw key of 64 hexadecimal digits"),
    }
}

/// The host and port of an SNTP server given as `HOST` or `HOST:PORT`; 123 is the default port (RFC 4330).
pub fn time_server(text: &str) -> Option<(&str, u16)> {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)?),
        None => (text, 123),
    };
    (!host.is_empty() && host.len() <= LONGEST_HOST).then_some((host, port))
}

/// Whether ThingsBoard can store `name` as a device's: not empty, without control characters, at most
/// [`LONGEST_NAME`] long.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(char::is_control) && name_length(name) <= LONGEST_NAME
}

/// How long Java says that `name` is: in UTF-16 units.
pub fn name_length(name: &str) -> usize {
    name.encode_utf16().count()
}

fn check(field: &'static str, holds: bool, why: &'static str) -> Result<(), Invalid> {
    if holds { Ok(()) } else { Err(Invalid { field, why }) }
}

fn in_bounds(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && !text.contains(char::is_control)
}

/// Whether there is a PEM block of that kind; what is inside is the TLS library's to judge.
fn pem(field: &'static str, text: &str, label: &'static str) -> Result<(), Invalid> {
    let begins = text.contains("-----BEGIN ") && text.contains(label) && text.contains("-----END ");
    check(field, begins && !text.contains('\0'), "not PEM")
}

/// Shows no secret.
impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Identity")
            .field("name", &self.name)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("address", &self.address)
            .field("skip_name_check", &self.skip_name_check)
            .field("wifi", &self.wifi)
            .field("interval", &self.interval)
            .field("topic", &self.topic)
            .field("time_server", &self.time_server)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// Shows no secret.
impl fmt::Debug for Wifi {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Wifi").field("ssid", &self.ssid).finish_non_exhaustive()
    }
}
