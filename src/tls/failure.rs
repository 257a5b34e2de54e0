//! TLS errors, turned into what happened and what to do: the one place that knows rustls' types.

use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage, OtherError, PeerIncompatible};
use time::OffsetDateTime;

use super::witness::ClientCertificate;
use crate::error::{Error, ErrorCode, Hint};

/// Why the server was not believed.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrustFailure {
    #[error("{whose} expired on {}", .on.date())]
    Expired { whose: String, on: OffsetDateTime },
    /// The host is named in a form that does not count.
    #[error("{0}")]
    Form(String),
    #[error("{0}")]
    Name(String),
    #[error("{whose} is valid only from {}", .from.date())]
    NotYetValid { whose: String, from: OffsetDateTime },
    #[error("the server's certificate cannot be read")]
    Unreadable,
    #[error("{reason}; it presented '{subject}' (SHA-256 {sha256})")]
    Untrusted { reason: String, subject: String, sha256: String },
    #[error(
        "the server's certificate is of X.509 version 1, which no authority vouches for: it is believed where the file \
         holds a copy of it"
    )]
    Version1,
}

impl TrustFailure {
    const fn code(&self) -> ErrorCode {
        match self {
            Self::Expired { .. } | Self::NotYetValid { .. } => ErrorCode::TlsExpired,
            Self::Form(_) | Self::Name(_) => ErrorCode::TlsName,
            Self::Unreadable | Self::Untrusted { .. } | Self::Version1 => ErrorCode::TlsUntrusted,
        }
    }

    fn error(&self) -> Error {
        let error = Error::new(self.code(), self.to_string());
        match self {
            Self::Form(_) => error.hint(Hint::NamesOfHosts),
            _ => error,
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
                Some(failure) => failure.error(),
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
        Tls::PeerIncompatible(why) => incompatible(why, peer),
        other => handshake(format!("the TLS handshake with {peer} failed: {other}")),
    }
}

/// The server speaks TLS, and not as it has to.
fn incompatible(why: &PeerIncompatible, peer: &str) -> Error {
    use PeerIncompatible as Why;
    match why {
        Why::ServerDoesNotSupportTls12Or13
        | Why::ServerTlsVersionIsDisabledByOurConfig
        | Why::Tls12NotOffered
        | Why::Tls12NotOfferedOrEnabled => {
            handshake(format!("{peer} speaks an old version of TLS, and neither 1.2 nor 1.3"))
                .hint(Hint::TlsVersions)
        }
        other => {
            handshake(format!("the TLS handshake with {peer} failed: {other:?}")).hint(Hint::NothingInCommon)
        }
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
        _ if !client.was_presented() => ended(alert, peer),
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
        _ => ended(alert, peer),
    }
}

/// Whoever sends an alert speaks TLS (RFC 8446 6, where the numbers are).
fn ended(alert: AlertDescription, peer: &str) -> Error {
    use AlertDescription as Alert;
    let error = handshake(format!("{peer} ended the TLS connection (alert {}, {alert:?})", u8::from(alert)));
    match alert {
        Alert::HandshakeFailure | Alert::InsufficientSecurity => error.hint(Hint::NothingInCommon),
        Alert::ProtocolVersion => error.hint(Hint::TlsVersions),
        Alert::UnrecognisedName => error.hint(Hint::NameUnknownToServer),
        Alert::InternalError | Alert::NoApplicationProtocol => error.hint(Hint::BalancerFailed),
        Alert::CertificateRequired => error.hint(Hint::CertificateDemanded),
        _ => error,
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
