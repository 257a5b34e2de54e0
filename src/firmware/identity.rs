//! The identity partition of a device of the store.

use std::net::SocketAddrV4;
use std::time::Duration;

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
