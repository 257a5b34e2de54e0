//! From a host's name to an authenticated TLS connection, step by step: for whatever is spoken over it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ProtocolVersion};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::{Error, ErrorCode, Hint, Result, Step};
use crate::event::{Event, Progress};
use crate::identity::{Certificate, X509Identity};
use crate::server::Server;
use crate::tls::{self, ClientCertificate, Prepared, Recorder};

/// An authenticated connection.
#[derive(Debug)]
pub struct Link {
    /// The encrypted stream.
    pub stream: TlsStream<TcpStream>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub tls_version: &'static str,
    /// What became of the client certificate.
    pub client_certificate: ClientCertificate,
}

impl Link {
    /// Whether the server asked for the client certificate on this very connection.
    pub fn certificate_asked(&self) -> bool {
        self.client_certificate.was_asked()
    }

    /// Whether the server was given the client certificate.
    pub fn certificate_presented(&self) -> bool {
        self.client_certificate.was_presented()
    }
}

/// Makes connections to one server. What they have in common is prepared once.
#[derive(Debug)]
pub struct Dialer {
    /// The server.
    pub server: Server,
    /// How long each step may take.
    pub timeout: Duration,
    prepared: Prepared,
}

impl Dialer {
    /// Dials `server`; each step may take `timeout`.
    pub fn new(server: Server, timeout: Duration) -> Self {
        Self { server, timeout, prepared: Prepared::default() }
    }

    /// Resolves, connects and authenticates; presents `identity` where the server asks for it.
    ///
    /// # Errors
    /// Those of the steps.
    pub async fn dial(&self, identity: Option<&X509Identity>, progress: &Progress) -> Result<Link> {
        let stream = self.connect(progress).await?;
        if let Ok(address) = stream.peer_addr() {
            progress.event(&Event::TcpConnected { address: address.to_string() });
        }
        let link = self.start_tls(stream, identity).await?;
        progress.event(&Event::TlsEstablished { version: link.tls_version });
        Ok(link)
    }

    /// Resolves and connects; the next step is TLS.
    async fn connect(&self, progress: &Progress) -> Result<TcpStream> {
        progress.begin(Step::Resolve);
        let addresses = self.resolve().await?;
        progress.begin(Step::Tcp);
        let stream = self.open_tcp(&addresses).await?;
        progress.begin(Step::Tls);
        Ok(stream)
    }

    /// The host's addresses, at least one.
    ///
    /// # Errors
    /// `network/resolve` or `network/timeout`.
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>> {
        let host = &self.server.host;
        let failed = |why: String| {
            Error::new(ErrorCode::NetworkResolve, format!("the host name '{host}' cannot be resolved: {why}"))
        };
        let looked_up =
            tokio::time::timeout(self.timeout, tokio::net::lookup_host((host.to_string(), self.server.port)))
                .await
                .map_err(|_| self.timed_out("the name server"))?;
        let addresses: Vec<_> = looked_up.map_err(|error| failed(error.to_string()).source(error))?.collect();
        if addresses.is_empty() { Err(failed("it has no address".to_owned())) } else { Ok(addresses) }
    }

    /// Connects to the first address that answers. One that never does, such as an IPv6 address without a route,
    /// takes its share of the time and no more.
    ///
    /// # Errors
    /// The last address's: `network/connect` or `network/timeout`.
    pub async fn open_tcp(&self, addresses: &[SocketAddr]) -> Result<TcpStream> {
        let begin = Instant::now();
        let mut failure = self.timed_out("TCP");
        for (address, rest) in addresses.iter().zip((1..=addresses.len()).rev()) {
            let left = self.timeout.saturating_sub(begin.elapsed());
            let share = left / u32::try_from(rest).unwrap_or(u32::MAX);
            failure = match tokio::time::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // A request is one small packet: do not wait to fill a larger one.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => {
                    let message = format!("no connection to {}: {error}", self.server);
                    Error::new(ErrorCode::NetworkConnect, message).source(error)
                }
                Err(_) => self.timed_out("TCP"),
            };
        }
        Err(failure)
    }

    /// Authenticates the server, and presents `identity` where the server asks for it.
    ///
    /// # Errors
    /// The `tls/...` codes, `network/closed` or `network/timeout`.
    pub async fn start_tls(&self, stream: TcpStream, identity: Option<&X509Identity>) -> Result<Link> {
        let (config, witness) = self.prepared.connection(&self.server.trust, identity)?;
        let slow = identity.is_some_and(|identity| identity.key.is_slow());
        let stream = self
            .handshake(stream, config, slow)
            .await?
            .map_err(|error| self.tls_failed(error, witness.client_certificate()))?;
        let client_certificate = witness.client_certificate();
        Ok(Link { tls_version: version(&stream), stream, client_certificate })
    }

    /// The handshake: outside the deadline, inside what TLS says. Where the key is `slow`, it runs on a thread of its
    /// own: a handshake signs in the middle of reading.
    async fn handshake(
        &self,
        stream: TcpStream,
        config: Arc<ClientConfig>,
        slow: bool,
    ) -> Result<io::Result<TlsStream<TcpStream>>> {
        let name = self.server.host.tls_name()?;
        let connecting = TlsConnector::from(config).connect(name, stream);
        let done = async { if slow { on_a_thread(connecting).await } else { connecting.await } };
        tokio::time::timeout(self.timeout, done).await.map_err(|_| self.timed_out("TLS"))
    }

    fn tls_failed(&self, error: io::Error, client: ClientCertificate) -> Error {
        let peer = self.server.to_string();
        tls::translate(&error, &peer, client).unwrap_or_else(|| closed_in_tls(&peer, error))
    }

    /// The certificates that the server presents, leaf first, believed or not. Nothing is sent over the
    /// connection.
    ///
    /// # Errors
    /// Those of the steps, and `tls/handshake`.
    pub async fn peer_certificates(&self, progress: &Progress) -> Result<(Vec<Certificate>, &'static str)> {
        let stream = self.connect(progress).await?;
        let seen = Recorder::new();
        let stream = self
            .handshake(stream, tls::inspecting(Arc::clone(&seen))?, false)
            .await?
            .map_err(|error| self.tls_failed(error, ClientCertificate::NotAsked))?;
        let origin = self.server.to_string();
        let chain = seen
            .presented()
            .into_iter()
            .map(|der| Certificate::from_der(der, &origin))
            .collect::<Result<_>>()?;
        Ok((chain, version(&stream)))
    }

    pub(crate) fn timed_out(&self, what: &str) -> Error {
        let message = format!("{}: {what} did not answer within {:?}", self.server, self.timeout);
        Error::new(ErrorCode::NetworkTimeout, message)
    }
}

/// Runs `work` on a thread that it may block. Whoever stops waiting for it ends it, at the next wait of its own.
async fn on_a_thread<T: Send + 'static>(
    work: impl Future<Output = io::Result<T>> + Send + 'static,
) -> io::Result<T> {
    let runtime = Handle::current();
    let (_wanted, unwanted) = oneshot::channel::<()>();
    let blocking = move || {
        runtime.block_on(async {
            tokio::select! {
                done = work => done,
                _ = unwanted => Err(io::ErrorKind::Interrupted.into()),
            }
        })
    };
    tokio::task::spawn_blocking(blocking).await.map_err(io::Error::other)?
}

fn version(stream: &TlsStream<TcpStream>) -> &'static str {
    match stream.get_ref().1.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    }
}

fn closed_in_tls(peer: &str, error: io::Error) -> Error {
    let message = format!("{peer} closed the connection during the TLS handshake");
    Error::new(ErrorCode::NetworkClosed, message).source(error).hint(Hint::BlockedOrNotTls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{Trust, TrustSource};

    fn dialer(host: &str, port: u16) -> Result<Dialer> {
        let trust = Trust::from_certificates(Vec::new(), TrustSource::System, false);
        let server = Server { host: host.parse()?, port, trust: Arc::new(trust) };
        Ok(Dialer::new(server, Duration::from_secs(5)))
    }

    /// With this machine's own addresses of one link, where it has any.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_address_with_a_zone_can_be_dialled() {
        use std::net::{Ipv6Addr, SocketAddrV6};
        let interfaces = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
        for line in interfaces.lines().filter(|line| line.starts_with("fe80")) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let address = Ipv6Addr::from(u128::from_str_radix(fields[0], 16).unwrap());
            let number = u32::from_str_radix(fields[1], 16).unwrap();
            let listener =
                tokio::net::TcpListener::bind(SocketAddrV6::new(address, 0, 0, number)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            for zone in [fields[5], &number.to_string()] {
                let dialer = dialer(&format!("[{address}%{zone}]"), port).unwrap();
                let addresses = dialer.resolve().await.unwrap();
                dialer.open_tcp(&addresses).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn what_connections_have_in_common_is_made_once() {
        let dialer = dialer("localhost", 1).unwrap();
        let of = |dialer: &Dialer| dialer.prepared.connection(&dialer.server.trust, None).unwrap().0;
        let (one, other) = (of(&dialer), of(&dialer));
        assert!(Arc::ptr_eq(one.crypto_provider(), other.crypto_provider()));
        assert!(!Arc::ptr_eq(&one, &other), "each connection has a witness of its own");
    }
}
