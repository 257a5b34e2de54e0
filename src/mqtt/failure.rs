//! The client crate's errors, turned into ours: the one place that knows its types.

use std::io;

use rumqttc::mqttbytes::Error as PacketError;
use rumqttc::{ConnectReturnCode, ConnectionError, StateError};

use crate::error::{Error, ErrorCode};
use crate::tls::{self, ClientCertificate};

/// What `error` means; `peer` is `host:port`, `client` what became of the client certificate on this connection.
pub(super) fn translate(error: ConnectionError, peer: &str, client: ClientCertificate) -> Error {
    match error {
        ConnectionError::ConnectionRefused(code) => refused(code, peer),
        ConnectionError::Io(error) | ConnectionError::MqttState(StateError::Io(error)) => {
            closed(error, peer, client)
        }
        ConnectionError::MqttState(StateError::Deserialization(error)) => packet(error, peer, client),
        ConnectionError::MqttState(StateError::ConnectionAborted) | ConnectionError::RequestsDone => {
            Error::new(ErrorCode::NetworkClosed, format!("{peer} closed the connection"))
        }
        ConnectionError::MqttState(StateError::AwaitPingResp)
        | ConnectionError::NetworkTimeout
        | ConnectionError::FlushTimeout
        | ConnectionError::DisconnectTimeout => {
            Error::new(ErrorCode::NetworkTimeout, format!("{peer} stopped answering"))
        }
        other => protocol(other.to_string(), peer),
    }
}

fn packet(error: PacketError, peer: &str, client: ClientCertificate) -> Error {
    match error {
        PacketError::Io(error) => closed(error, peer, client),
        PacketError::InvalidConnectReturnCode(code) => {
            let message = format!(
                "{peer} refused the connection with return code {code}, which MQTT 3.1.1 does not know"
            );
            Error::new(ErrorCode::ServerRefused, message)
        }
        PacketError::PayloadSizeLimitExceeded(size) => {
            protocol(format!("a packet of {size} bytes, more than ThingsBoard's 65,536"), peer)
        }
        PacketError::OutgoingPacketTooLarge { pkt_size, .. } => {
            let message =
                format!("a message of {pkt_size} bytes is larger than the 64 KiB that ThingsBoard accepts");
            Error::new(ErrorCode::UsageInvalid, message)
        }
        other => protocol(other.to_string(), peer),
    }
}

fn protocol(what: String, peer: &str) -> Error {
    Error::new(ErrorCode::NetworkProtocol, format!("{peer} sent something that is not MQTT 3.1.1: {what}"))
}

fn closed(error: io::Error, peer: &str, client: ClientCertificate) -> Error {
    if let Some(error) = tls::translate(&error, peer, client) {
        return error;
    }
    // rustls explains a missing close_notify at length; to people it is just the end.
    let why =
        if error.kind() == io::ErrorKind::UnexpectedEof { String::new() } else { format!(" ({error})") };
    Error::new(ErrorCode::NetworkClosed, format!("{peer} closed the connection{why}")).source(error)
}

/// The meaning of each code in ThingsBoard: `ReturnCodeResolver` and `MqttTransportHandler`, v4.3.1.3.
fn refused(code: ConnectReturnCode, peer: &str) -> Error {
    use ConnectReturnCode as Code;
    let (error_code, what) = match code {
        Code::BadClientId => (ErrorCode::ServerIdentifierRejected, "2: identifier rejected"),
        Code::ServiceUnavailable => (ErrorCode::ServerUnavailable, "3: server unavailable"),
        Code::BadUserNamePassword => (ErrorCode::ServerNotAuthorized, "4: bad user name or password"),
        Code::NotAuthorized => (ErrorCode::ServerNotAuthorized, "5: not authorized"),
        _ => (ErrorCode::ServerRefused, "1: unacceptable protocol version"),
    };
    Error::new(error_code, format!("{peer} refused the connection (CONNACK {what})"))
}
