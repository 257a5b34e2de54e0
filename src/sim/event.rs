//! What happens inside the simulator, as it happens.

use std::net::SocketAddr;

use serde::Serialize;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// A device with credentials of its own.
    Device,
    /// User name or client id `provision`.
    Provision,
}

/// One thing that happened, with the connection (counted from 1) and the device where it is known.
/// Serialized as one NDJSON line with the tag `event`. No event holds the provision secret, a token or
/// a password; `credentials_id` is set for X.509 only, because a token's credentialsId is the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are named after what they hold")]
pub enum Event {
    /// The simulator accepts connections.
    Listening {
        address: SocketAddr,
        plain: Option<SocketAddr>,
        #[serde(skip_serializing_if = "Option::is_none")]
        rest: Option<SocketAddr>,
        release: &'static str,
    },
    /// A TCP connection was accepted.
    ConnectionOpened { connection: u64, peer: SocketAddr },
    /// TLS is established; `credentials_id` is that of the client certificate, if one was sent.
    TlsEstablished { connection: u64, version: &'static str, credentials_id: Option<String> },
    /// TLS failed.
    TlsFailed { connection: u64, reason: String },
    /// The client's certificates registered a device (`X509_CERTIFICATE_CHAIN`), or `replaced` the one it had.
    Registered { connection: u64, device: String, credentials_id: String, replaced: bool },
    /// CONNACK 0 was sent.
    Connected { connection: u64, mode: Mode, device: Option<String> },
    /// Another CONNACK was sent.
    Refused { connection: u64, code: u8, reason: String },
    /// A provision request was read; `device` is the name it asks for.
    ProvisionRequest { connection: u64, device: Option<String>, credentials_type: &'static str },
    /// A provision request was decided: `SUCCESS`, `FAILURE` or `NOT_FOUND`, and why.
    ProvisionAnswer { connection: u64, device: Option<String>, status: &'static str, reason: Option<String> },
    /// A telemetry message was accepted; `stored` is how many values the store has more for it.
    Telemetry {
        connection: u64,
        device: String,
        credentials_id: Option<String>,
        payload: String,
        stored: u64,
    },
    /// An attributes message was accepted.
    Attributes { connection: u64, device: String, credentials_id: Option<String>, payload: String },
    /// A call to the REST API was answered; `path` is without its query, `status` is absent where the connection was
    /// closed without an answer.
    RestCall { connection: u64, method: String, path: String, status: Option<u16> },
    /// A fault was applied.
    Fault { connection: u64, name: &'static str },
    /// A client tried what ThingsBoard has and the simulator has not; `what` names it.
    NotSimulated { connection: u64, device: Option<String>, what: &'static str },
    /// The connection ended. `is_news`: the server closed it, and no event before tells why.
    Closed {
        connection: u64,
        device: Option<String>,
        reason: String,
        #[serde(skip)]
        is_news: bool,
    },
}

/// Hears what happens in the simulator.
pub trait Observer: Send + Sync {
    /// Called for each event, in order within a connection, on the thread that serves it: return soon.
    fn event(&self, event: &Event) {
        let _ = event;
    }
}

/// The observer that does nothing.
impl Observer for () {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_json_object_with_its_name() {
        let event = Event::Connected { connection: 1, mode: Mode::Provision, device: None };
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(json, r#"{"event":"connected","connection":1,"mode":"provision","device":null}"#);
    }
}
