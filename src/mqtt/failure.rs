//! How a connection ends, as errors of ours.

use std::io;

use rumqttc::mqttbytes::Error as PacketError;

use crate::error::{Error, ErrorCode};
use crate::tls::{self, ClientCertificate};

/// A packet that cannot be read or written; `peer` is `host:port`.
pub(super) fn malformed(error: PacketError, peer: &str) -> Error {
    let what = match error {
        PacketError::PayloadSizeLimitExceeded(size) => {
            format!("a packet of {size} bytes, more than ThingsBoard's 65,536")
        }
        PacketError::OutgoingPacketTooLarge { pkt_size, .. } => {
            let message =
                format!("a message of {pkt_size} bytes is larger than the 64 KiB that ThingsBoard accepts");
            return Error::new(ErrorCode::UsageInvalid, message);
        }
        other => other.to_string(),
    };
    Error::new(ErrorCode::NetworkProtocol, format!("{peer} sent something that is not MQTT 3.1.1: {what}"))
}

/// The connection is closed. `client` says whether the client certificate was asked for and presented on it.
pub(super) fn closed(error: io::Error, peer: &str, client: ClientCertificate) -> Error {
    tls::translate(&error, peer, client).unwrap_or_else(|| broken(error, peer))
}

/// A connection that was open has broken.
pub(super) fn broken(error: io::Error, peer: &str) -> Error {
    // rustls explains a missing close_notify in a long text. For people it only means that the connection ended.
    let why =
        if error.kind() == io::ErrorKind::UnexpectedEof { String::new() } else { format!(" ({error})") };
    Error::new(ErrorCode::NetworkClosed, format!("{peer} closed the connection{why}")).source(error)
}

/// A CONNACK that is not 0. The meaning of each code in ThingsBoard: `ReturnCodeResolver` and `MqttTransportHandler`,
/// v4.3.1.3.
pub(super) fn refused(code: u8, peer: &str) -> Error {
    let (error_code, what) = match code {
        1 => (ErrorCode::ServerRefused, "1: unacceptable protocol version"),
        2 => (ErrorCode::ServerIdentifierRejected, "2: identifier rejected"),
        3 => (ErrorCode::ServerUnavailable, "3: server unavailable"),
        4 => (ErrorCode::ServerNotAuthorized, "4: bad user name or password"),
        5 => (ErrorCode::ServerNotAuthorized, "5: not authorized"),
        _ => {
            let message = format!(
                "{peer} refused the connection with return code {code}, which MQTT 3.1.1 does not know"
            );
            return Error::new(ErrorCode::ServerRefused, message);
        }
    };
    Error::new(error_code, format!("{peer} refused the connection (CONNACK {what})"))
}
