//! From a host's name to an authenticated TLS connection, step by step.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rustls::ProtocolVersion;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Target;
use crate::error::{Error, ErrorCode, Result, Step};
use crate::event::{Event, Observer};
use crate::identity::{Certificate, X509Identity};
use crate::tls::{self, Recorder};

/// An authenticated connection, before MQTT.
#[derive(Debug)]
pub struct Link {
    /// The encrypted stream.
    pub stream: TlsStream<TcpStream>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub tls_version: &'static str,
}

/// Resolves, connects and authenticates.
///
/// # Errors
/// Those of the steps, at the step that failed.
pub async fn dial(target: &Target, identity: Option<&X509Identity>, observer: &dyn Observer) -> Result<Link> {
    let addresses = resolve(target).await?;
    let stream = open_tcp(target, &addresses).await?;
    if let Ok(address) = stream.peer_addr() {
        observer.event(&Event::TcpConnected { address: address.to_string() });
    }
    let link = start_tls(target, stream, tls::client_config(&target.trust, identity)?).await?;
    observer.event(&Event::TlsEstablished { version: link.tls_version });
    Ok(link)
}

/// The host's addresses, at least one.
///
/// # Errors
/// `network/resolve` or `network/timeout`.
pub async fn resolve(target: &Target) -> Result<Vec<SocketAddr>> {
    let host = target.host.trim_matches(['[', ']']);
    let failed = |why: String| {
        Error::new(
            ErrorCode::NetworkResolve,
            Step::Resolve,
            format!("the host name '{host}' cannot be resolved: {why}"),
        )
    };
    let looked_up = tokio::time::timeout(target.timeout, tokio::net::lookup_host((host, target.port)))
        .await
        .map_err(|_| timed_out(target, Step::Resolve, "the name server"))?;
    let addresses: Vec<_> = looked_up.map_err(|error| failed(error.to_string()).source(error))?.collect();
    if addresses.is_empty() { Err(failed("it has no address".to_owned())) } else { Ok(addresses) }
}

/// Connects to the first address that answers. One that never does, such as an IPv6 address without a route,
/// takes its share of the time and no more.
///
/// # Errors
/// The last address's: `network/connect` or `network/timeout`.
pub async fn open_tcp(target: &Target, addresses: &[SocketAddr]) -> Result<TcpStream> {
    let begin = Instant::now();
    let mut failure = timed_out(target, Step::Tcp, "TCP");
    for (address, rest) in addresses.iter().zip((1..=addresses.len()).rev()) {
        let left = target.timeout.saturating_sub(begin.elapsed());
        let share = left / u32::try_from(rest).unwrap_or(u32::MAX);
        failure = match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // A request is one small packet: do not wait to fill a larger one.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => {
                let message = format!("no connection to {target}: {error}");
                Error::new(ErrorCode::NetworkConnect, Step::Tcp, message).source(error)
            }
            Err(_) => timed_out(target, Step::Tcp, "TCP"),
        };
    }
    Err(failure)
}

/// Performs the TLS handshake.
///
/// # Errors
/// The `tls/...` codes, `network/closed` or `network/timeout`.
pub async fn start_tls(target: &Target, stream: TcpStream, config: rustls::ClientConfig) -> Result<Link> {
    let peer = target.to_string();
    let name = tls::server_name(&target.host)?;
    let stream =
        tokio::time::timeout(target.timeout, TlsConnector::from(Arc::new(config)).connect(name, stream))
            .await
            .map_err(|_| timed_out(target, Step::Tls, "TLS"))?
            .map_err(|error| {
                tls::translate(&error, Step::Tls, &peer).unwrap_or_else(|| closed_in_tls(&peer, error))
            })?;
    let tls_version = match stream.get_ref().1.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    };
    Ok(Link { stream, tls_version })
}

/// The certificates that the server presents, leaf first, believed or not. Nothing is sent over the
/// connection.
///
/// # Errors
/// Those of the steps, and `tls/handshake`.
pub async fn peer_certificates(target: &Target) -> Result<(Vec<Certificate>, &'static str)> {
    let addresses = resolve(target).await?;
    let stream = open_tcp(target, &addresses).await?;
    let seen = Recorder::new();
    let link = start_tls(target, stream, tls::inspecting_config(Arc::clone(&seen))?).await?;
    let origin = target.to_string();
    let chain =
        seen.presented().into_iter().map(|der| Certificate::from_der(der, &origin)).collect::<Result<_>>()?;
    Ok((chain, link.tls_version))
}

fn closed_in_tls(peer: &str, error: std::io::Error) -> Error {
    let message = format!("{peer} closed the connection during the TLS handshake");
    Error::new(ErrorCode::NetworkClosed, Step::Tls, message).source(error).help(
        "ThingsBoard closes at once when it has blocked this address after wrong credentials (60 s by default); otherwise the port is not MQTT over TLS, or a firewall cuts it",
    )
}

pub(super) fn timed_out(target: &Target, step: Step, what: &str) -> Error {
    let message = format!("{target}: {what} did not answer within {:?}", target.timeout);
    Error::new(ErrorCode::NetworkTimeout, step, message)
}
