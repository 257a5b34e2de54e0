//! TLS errors, turned into what happened and what to do: the one place that knows rustls' types.

use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage, OtherError};
use time::OffsetDateTime;

use super::trust::TrustSource;
use super::witness::ClientCertificate;
use crate::error::{Error, ErrorCode, Hint};

/// Why the server was not believed.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrustFailure {
    #[error("{whose} expired on {}", .on.date())]
    Expired { whose: String, on: OffsetDateTime },
    #[error("{}", other_name(.wanted, .held))]
    Name { wanted: String, held: Vec<String> },
    #[error("{whose} is valid only from {}", .from.date())]
    NotYetValid { whose: String, from: OffsetDateTime },
    #[error("the server's certificate cannot be read")]
    Unreadable,
    #[error("{}; it presented '{subject}' (SHA-256 {sha256})", untrusted(.believed, .limit))]
    Untrusted { believed: TrustSource, limit: Option<&'static str>, subject: String, sha256: String },
}

impl TrustFailure {
    const fn code(&self) -> ErrorCode {
        match self {
            Self::Expired { .. } | Self::NotYetValid { .. } => ErrorCode::TlsExpired,
            Self::Name { .. } => ErrorCode::TlsName,
            Self::Unreadable | Self::Untrusted { .. } => ErrorCode::TlsUntrusted,
        }
    }
}

fn other_name(wanted: &str, held: &[String]) -> String {
    if held.iter().any(|name| name.eq_ignore_ascii_case(wanted)) {
        return format!(
            "the server's certificate has {wanted} not where it counts: an authority's certificates name hosts in \
             subjectAltName, by DNS name or by IP address"
        );
    }
    let held = if held.is_empty() { "no name at all".to_owned() } else { held.join(", ") };
    format!("the server's certificate is for {held}, not for {wanted}")
}

fn untrusted(source: &TrustSource, limit: &Option<&str>) -> String {
    if let Some(limit) = limit {
        return format!("the server's certificate cannot be believed: {limit}");
    }
    match source {
        TrustSource::File(path) => {
            format!("the server's certificate is not in {}, nor signed by an authority in it", path.display())
        }
        TrustSource::System => {
            "the server's certificate is not signed by an authority that this system trusts".to_owned()
        }
    }
}

/// Turns an I/O error of a TLS stream into one of ours, if it is about TLS. `peer` is `host:port`; `client` is what
/// became of the client certificate on this connection.
pub(crate) fn translate(error: &io::Error, peer: &str, client: ClientCertificate) -> Option<Error> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(explain(error, peer, client).source(error.clone()))
}

fn explain(error: &rustls::Error, peer: &str, client: ClientCertificate) -> Error {
    use rustls::Error as Tls;
    match error {
        Tls::InvalidCertificate(CertificateError::Other(OtherError(other))) => {
            match other.downcast_ref::<TrustFailure>() {
                Some(failure) => Error::new(failure.code(), failure.to_string()),
                None => handshake(format!("the TLS handshake with {peer} failed: {other}")),
            }
        }
        Tls::InvalidCertificate(CertificateError::BadSignature) => {
            let message =
                format!("{peer} could not prove that it holds its certificate's key, or the key is too weak");
            Error::new(ErrorCode::TlsUntrusted, message)
        }
        Tls::Other(OtherError(other)) => match other.downcast_ref::<Error>() {
            Some(failure) => of_the_key(failure, peer),
            None => handshake(format!("the TLS handshake with {peer} failed: {other}")),
        },
        Tls::AlertReceived(alert) => alert_received(*alert, peer, client),
        Tls::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            handshake(format!("{peer} does not speak TLS")).hint(Hint::PlainPort)
        }
        other => handshake(format!("the TLS handshake with {peer} failed: {other}")),
    }
}

/// ThingsBoard up to 3.4 answers an unknown client certificate with certificate_unknown (46), on TLS 1.3
/// only after the client's handshake is done; other servers use the neighbouring alerts.
///
/// An alert says something about the client certificate only where an authenticated server got it: before, an alert
/// may be anybody's, and without, it is about something else.
fn alert_received(alert: AlertDescription, peer: &str, client: ClientCertificate) -> Error {
    use AlertDescription as Alert;
    match alert {
        _ if !client.was_presented() => {
            handshake(format!("{peer} ended the TLS connection (alert {}, {alert:?})", u8::from(alert)))
        }
        Alert::AccessDenied
        | Alert::BadCertificate
        | Alert::CertificateExpired
        | Alert::CertificateRequired
        | Alert::CertificateRevoked
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::UnsupportedCertificate => {
            let message = format!("{peer} refused the client certificate (TLS alert {alert:?})");
            Error::new(ErrorCode::TlsClientCertificate, message)
        }
        _ => handshake(format!("{peer} ended the TLS connection (alert {}, {alert:?})", u8::from(alert))),
    }
}

/// The device's key could not sign: the failure of the key, not of the server.
fn of_the_key(failure: &Error, peer: &str) -> Error {
    let message = format!("the TLS handshake with {peer} was not signed: {}", failure.message);
    let mut error = Error::new(failure.code, message);
    error.hint.clone_from(&failure.hint);
    error
}

fn handshake(message: String) -> Error {
    Error::new(ErrorCode::TlsHandshake, message)
}
