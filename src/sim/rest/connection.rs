//! A connection to the REST API: TLS or plain HTTP, told apart by the first byte.

use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::serve::serve;
use crate::dial::AnyStream;
use crate::sim::event::Event;
use crate::sim::server::Peer;

/// How long the first byte, and then a TLS handshake, may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the head of a request may take, the wait for it included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of a head, at the most.
const LARGEST_HEAD: usize = 64 * 1024;

/// How a TLS connection begins: the type of the record of its ClientHello.
const TLS_HANDSHAKE: u8 = 22;

/// Serves the REST API until the client goes, or breaks a rule of HTTP.
pub(in crate::sim) async fn serve_rest(peer: Peer, stream: TcpStream, acceptor: TlsAcceptor) {
    let mut first = [0];
    let reason = match timeout(HANDSHAKE_TIMEOUT, stream.peek(&mut first)).await {
        Ok(Ok(1)) if first == [TLS_HANDSHAKE] => {
            match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => speak(&peer, Box::new(stream)).await,
                Ok(Err(error)) => tls_failed(&peer, error.to_string()),
                Err(_) => tls_failed(&peer, "the handshake took too long".to_owned()),
            }
        }
        Ok(Ok(1)) => speak(&peer, Box::new(stream)).await,
        Ok(_) => "closed by the client".to_owned(),
        Err(_) => "no request came".to_owned(),
    };
    let connection = peer.connection;
    peer.emit(&Event::Closed { connection, device: None, reason, is_news: false });
}

fn tls_failed(peer: &Peer, reason: String) -> String {
    peer.emit(&Event::TlsFailed { connection: peer.connection, reason });
    "TLS failed".to_owned()
}

/// Why it ended.
async fn speak(peer: &Peer, stream: AnyStream) -> String {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service_fn(|request| serve(peer, request)))
        .await;
    match served {
        Ok(()) => "closed by the client".to_owned(),
        Err(error) => error.to_string(),
    }
}
