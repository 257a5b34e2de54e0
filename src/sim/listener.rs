//! The listening sockets, and the tasks of their connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::connection::{serve_far, serve_plain, serve_tls};
use super::event::Event;
use super::rest::serve_rest;
use super::server::{Peer, Server};
use crate::error::{Error, ErrorCode, Hint, Result};

/// How long accepting pauses when it fails, which it does when files run out.
const PAUSE: Duration = Duration::from_millis(50);

/// One listening socket and what is spoken on it.
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) speaks: Speaks,
}

/// What is spoken on a socket.
#[derive(Clone)]
pub(super) enum Speaks {
    PlainMqtt,
    Mqtt(TlsAcceptor),
    /// The REST API, over TLS and plain.
    Rest(TlsAcceptor),
}

/// Listens on `address`.
///
/// # Errors
/// `usage/invalid-value` naming the address, such as when another program listens there.
pub(super) async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorCode::UsageInvalid, format!("cannot listen on {address}: {error}"))
            .hint(Hint::OtherAddress)
            .source(error)
    };
    let socket = TcpListener::bind(address).await.map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    Ok((socket, address))
}

impl Listener {
    /// Serves until `stop` changes or its sender is gone, then ends every connection.
    pub(super) async fn serve(self, server: Arc<Server>, mut stop: watch::Receiver<()>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, peer)) => self.spawn(&mut connections, &server, stream, peer),
                    Err(_) => tokio::time::sleep(PAUSE).await,
                },
                Some(_) = connections.join_next() => {}
                _ = stop.changed() => break,
            }
        }
        connections.shutdown().await;
    }

    fn spawn(
        &self,
        connections: &mut JoinSet<()>,
        server: &Arc<Server>,
        stream: TcpStream,
        address: SocketAddr,
    ) {
        let peer = Peer::new(server, address.ip());
        peer.emit(&Event::ConnectionOpened { connection: peer.connection, peer: address });
        if connections.len() >= server.most_connections {
            let (connection, reason) = (peer.connection, "there are too many connections".to_owned());
            return peer.emit(&Event::Closed { connection, device: None, reason, is_news: true });
        }
        let _ = stream.set_nodelay(true);
        match &self.speaks {
            Speaks::PlainMqtt => connections.spawn(serve_plain(peer, stream)),
            Speaks::Mqtt(acceptor) => {
                let acceptor = acceptor.clone();
                match server.injector.latency() {
                    None => connections.spawn(serve_tls(peer, stream, acceptor)),
                    Some(latency) => connections.spawn(serve_far(peer, stream, acceptor, latency)),
                }
            }
            Speaks::Rest(acceptor) => connections.spawn(serve_rest(peer, stream, acceptor.clone())),
        };
    }
}
