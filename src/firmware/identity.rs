//! The identity partition of a device of the store.

use std::net::{IpAddr, SocketAddrV4};
use std::time::Duration;

use tbprov_contract::identity::time_server;
use tbprov_contract::partition::{self as layout, PartitionError};
use tbprov_contract::{Identity, Wifi};
use zeroize::Zeroizing;

use super::board::Chip;
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::identity::{Certificate, CredentialsType};
use crate::keys::{Exportable as _, KeyType, Signer as _};
use crate::ledger::{Entry, Ledger, Which};
use crate::server::Server;
use crate::tls::TrustSource;

/// What an identity on a chip holds beside the device's own files.
#[derive(Debug, Clone)]
pub struct IdentityOptions {
    /// The wireless network, for boards with WiFi.
    pub wifi: Option<Wifi>,
    /// The pause between two readings.
    pub interval: Duration,
    /// The MQTT topic of readings.
    pub topic: String,
    /// The SNTP server, `HOST` or `HOST:PORT`.
    pub time_server: Option<String>,
    /// Where to connect instead of resolving the host.
    pub address: Option<SocketAddrV4>,
    /// The first pause before connecting again.
    pub retry: Duration,
}

impl Default for IdentityOptions {
    fn default() -> Self {
        Self {
            wifi: None,
            interval: Duration::from_secs(5),
            topic: crate::telemetry::TELEMETRY_TOPIC.to_owned(),
            time_server: None,
            address: None,
            retry: Duration::from_secs(1),
        }
    }
}

/// The bytes of the identity partition for `device`, which connects to `target`.
///
/// # Errors
/// `firmware/identity` where the firmware cannot use the device's credentials or the server's certificates, or
/// where they do not fit; `usage/invalid-value` for an option out of its bounds; what reading the device's files
/// can fail with.
pub async fn partition(
    ledger: &dyn Ledger,
    entry: &Entry,
    server: &Server,
    options: &IdentityOptions,
) -> Result<Zeroizing<Vec<u8>>> {
    let name = entry.shown_name().to_owned();
    if entry.record.identity.credentials_type != CredentialsType::X509 {
        return Err(unusable(format!("'{name}' has no certificate: the firmware connects by X.509 only")));
    }
    entry.check_presentable()?;
    let x509 = ledger.key(entry, Which::Current).await?.exportable(&entry.place())?;
    if x509.key.key_type() == KeyType::Ed25519 {
        return Err(unusable(format!(
            "the key of '{name}' is Ed25519, which the firmware's TLS does not know"
        ))
        .hint(Hint::FirmwareKeyTypes));
    }
    let identity = Identity {
        name,
        host: server.host.to_string(),
        port: server.port,
        address: options.address,
        server_certificates: server_certificates(server)?,
        skip_name_check: server.trust.skip_name_check,
        certificate: x509.chain_pem(),
        key: Zeroizing::new(x509.key.to_pem().expose().to_owned()),
        wifi: options.wifi.clone(),
        interval: options.interval,
        topic: options.topic.clone(),
        time_server: options.time_server.clone(),
        retry: options.retry,
    };
    layout::encode(&identity).map_err(|error| match error {
        PartitionError::Invalid(invalid) => {
            Error::new(ErrorCode::UsageInvalid, format!("the firmware cannot use {invalid}"))
        }
        other => unusable(other.to_string()).hint(Hint::SmallerIdentity),
    })
}

/// The warning for a `chip` whose identity names no wireless network although its board may need one; `is_connected`
/// says that it has one, or a cable.
pub fn without_network(chip: Chip, is_connected: bool) -> Option<String> {
    (chip.has_wifi() && !is_connected).then(|| {
        format!("the identity names no wireless network: the {chip} finds none, unless it is on a cable")
    })
}

/// Why a board cannot reach the server that its identity names: by the address to connect to, where there is one, else
/// by its host.
pub fn unreachable(server: &Server, options: &IdentityOptions) -> Option<String> {
    let host = options.address.map_or_else(|| server.host.to_string(), |address| address.ip().to_string());
    why_not(&host).map(|why| format!("a board cannot reach the server at {host}: {why}"))
}

/// Why a board cannot reach the time server that its identity names.
pub fn unreachable_time_server(options: &IdentityOptions) -> Option<String> {
    let (host, _) = time_server(options.time_server.as_deref()?)?;
    why_not(host).map(|why| format!("a board cannot reach the time server at {host}: {why}"))
}

/// Why nothing else than the machine that it is used on can be reached as `host`.
fn why_not(host: &str) -> Option<&'static str> {
    const ITSELF: &str = "for the board this is the board itself";
    match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(address) if address.is_loopback() => Some(ITSELF),
        Ok(address) if address.is_unspecified() => Some("this is no machine's address"),
        Ok(IpAddr::V6(_)) => Some("the firmware speaks IPv4 only"),
        Ok(IpAddr::V4(_)) => None,
        Err(_) if host.contains('%') => Some("the firmware speaks IPv4 only"),
        Err(_) => {
            let name = host.to_ascii_lowercase();
            // `localhost` and all names below it (RFC 6761), and what distributions call their loopback.
            let is_itself = matches!(name.as_str(), "localhost" | "localhost.localdomain" | "ip6-localhost");
            (is_itself || name.ends_with(".localhost")).then_some(ITSELF).or_else(|| {
                name.ends_with(".local")
                    .then_some("the firmware asks a name server, which knows no such names")
            })
        }
    }
}

/// The certificates that the firmware's TLS can believe. It knows no pin that another authority issued: it wants
/// that authority, or a certificate that signed itself.
fn server_certificates(server: &Server) -> Result<String> {
    let trust = &server.trust;
    let server = server.to_string();
    if trust.source == TrustSource::System {
        return Err(unusable(format!("this device believes {server} by the system's roots"))
            .hint(Hint::SaveServer(server)));
    }
    let usable = trust
        .certificates
        .iter()
        .filter(|certificate| certificate.is_ca || certificate.subject == certificate.issuer);
    let usable: String = usable.map(Certificate::to_pem).collect();
    if usable.is_empty() {
        let message = format!(
            "the certificate saved for {server} was issued by an authority that is not saved with it"
        );
        return Err(unusable(message).hint(Hint::AuthorityForFirmware));
    }
    Ok(usable)
}

fn unusable(message: String) -> Error {
    Error::new(ErrorCode::FirmwareIdentity, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_board_can_reach_is_known() {
        for host in [
            "localhost",
            "LOCALHOST",
            "sensor.localhost",
            "127.0.0.1",
            "127.3.2.1",
            "::1",
            "::ffff:127.0.0.1",
            "ip6-localhost",
            "localhost.localdomain",
        ] {
            assert!(why_not(host).is_some_and(|why| why.contains("the board itself")), "{host}");
        }
        for (host, why) in [
            ("0.0.0.0", "no machine's"),
            ("::", "no machine's"),
            ("2001:db8::1", "IPv4 only"),
            ("fe80::1%eth0", "IPv4 only"),
            ("things.local", "a name server"),
        ] {
            assert!(why_not(host).is_some_and(|said| said.contains(why)), "{host}");
        }
        for host in
            ["10.0.0.7", "192.168.1.2", "things.example.com", "localhost.example.com", "mylocalhost", "local"]
        {
            assert_eq!(why_not(host), None, "{host}");
        }
    }
}
