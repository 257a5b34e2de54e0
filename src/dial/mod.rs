//! From a host's name to an authenticated TLS connection, step by step: for whatever is spoken over it. Where
//! a proxy is named, every connection goes through it.

mod http_connect;
mod proxy;
mod socks;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ProtocolVersion};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use proxy::Proxy;

use crate::error::{Error, ErrorCode, Hint, Result, Step};
use crate::event::{Event, Progress};
use crate::identity::{Certificate, X509Identity};
use crate::server::{Host, Server};
use crate::tls::{self, ClientCertificate, Prepared, Recorder, Trust};

/// Where ThingsBoard listens for MQTT without TLS (`transport.mqtt.bind_port` of its `thingsboard.yml`).
const PLAIN_PORT: u16 = 1883;

/// How long addresses are used again: for many connections at once, and not when one is made anew after an outage.
const NAME_KEPT: Duration = Duration::from_millis(500);

/// A connection of whatever kind: what is spoken over it is compiled once.
pub type AnyStream = Box<dyn Wire>;

/// What bytes come from and go to.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

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

/// What a server presents, believed or not.
#[derive(Debug)]
pub struct Presented {
    /// The certificates, leaf first; perhaps some that cannot be read.
    pub chain: Vec<CertificateDer<'static>>,
    /// `TLSv1.2` or `TLSv1.3`; none where the handshake did not end.
    pub tls_version: Option<&'static str>,
    /// Whether the server proved that it has the first one's key.
    pub is_proved: bool,
}

impl Presented {
    /// The server's own certificate, where it can be read.
    pub fn leaf(&self) -> Option<Certificate> {
        Certificate::from_der(self.chain.first()?.clone(), "the server").ok()
    }
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
    /// What every connection goes through.
    pub proxy: Option<Proxy>,
    prepared: Prepared,
    resolved: Mutex<Option<Resolved>>,
}

/// What the name server said, and when.
#[derive(Debug)]
struct Resolved {
    addresses: Vec<SocketAddr>,
    at: Instant,
}

impl Dialer {
    /// Dials `server`; each step may take `timeout`.
    pub fn new(server: Server, timeout: Duration) -> Self {
        Self { server, timeout, proxy: None, prepared: Prepared::default(), resolved: Mutex::default() }
    }

    /// The same through `proxy`, where there is one.
    #[must_use]
    pub fn through(self, proxy: Option<Proxy>) -> Self {
        Self { proxy, ..self }
    }

    /// The same, with a server that is authenticated by `trust`.
    #[must_use]
    pub fn believing(&self, trust: Trust) -> Self {
        let Server { host, port, .. } = &self.server;
        let server = Server { host: host.clone(), port: *port, trust: trust.into() };
        Self::new(server, self.timeout).through(self.proxy.clone())
    }

    /// Resolves, connects and authenticates; presents `identity` where the server asks for it.
    ///
    /// # Errors
    /// Those of the steps.
    pub async fn dial(&self, identity: Option<&X509Identity>, progress: &Progress) -> Result<Link> {
        let stream = self.dial_without_tls(progress).await?;
        progress.begin(Step::Tls);
        let link = self.start_tls(stream, identity).await?;
        progress.event(&Event::TlsEstablished { version: link.tls_version });
        Ok(link)
    }

    /// Resolves and connects, for what is spoken without TLS: the server is not authenticated, and everybody on the way
    /// hears what is sent.
    ///
    /// # Errors
    /// Those of the steps.
    pub async fn dial_without_tls(&self, progress: &Progress) -> Result<TcpStream> {
        let stream = self.connect(progress).await?;
        if let Ok(address) = stream.peer_addr() {
            let proxy = self.proxy.as_ref().map(Proxy::to_string);
            progress.event(&Event::TcpConnected { address: address.to_string(), proxy });
        }
        Ok(stream)
    }

    /// Resolves and connects.
    async fn connect(&self, progress: &Progress) -> Result<TcpStream> {
        progress.begin(Step::Resolve);
        let addresses = match self.resolved_just_now() {
            Some(addresses) => addresses,
            None => {
                let addresses = self.resolve().await?;
                *self.resolved() = Some(Resolved { addresses: addresses.clone(), at: Instant::now() });
                addresses
            }
        };
        progress.begin(Step::Tcp);
        let opened = self.open_tcp(&addresses).await;
        if opened.is_err() {
            *self.resolved() = None;
        }
        opened
    }

    fn resolved_just_now(&self) -> Option<Vec<SocketAddr>> {
        let resolved = self.resolved();
        let resolved = resolved.as_ref().filter(|resolved| resolved.at.elapsed() < NAME_KEPT)?;
        Some(resolved.addresses.clone())
    }

    fn resolved(&self) -> MutexGuard<'_, Option<Resolved>> {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses, at least one, of the server, or of the proxy where there is one: that resolves the server's name
    /// itself.
    ///
    /// # Errors
    /// `network/resolve` or `network/timeout`.
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>> {
        let (host, port) = self.first();
        let whose = if self.proxy.is_some() { " of the proxy" } else { "" };
        let failed = |why: String| {
            let message = format!("the host name '{host}'{whose} cannot be resolved: {why}");
            self.unreached(Error::new(ErrorCode::NetworkResolve, message))
        };
        let looked_up = tokio::time::timeout(self.timeout, tokio::net::lookup_host((host.to_string(), port)))
            .await
            .map_err(|_| self.unreached(self.late(&self.shown_first(), "the name server")))?;
        let addresses: Vec<_> = looked_up.map_err(|error| failed(error.to_string()).source(error))?.collect();
        if addresses.is_empty() { Err(failed("it has no address".to_owned())) } else { Ok(addresses) }
    }

    /// Connects to the first of the [addresses](Self::resolve) that answers, and has the proxy connect to the server
    /// where there is one: all of it within the time of one step.
    ///
    /// # Errors
    /// The last address's: `network/connect` or `network/timeout`. Those of the proxy: `network/proxy`,
    /// `network/connect`, `network/closed` or `network/timeout`.
    pub async fn open_tcp(&self, addresses: &[SocketAddr]) -> Result<TcpStream> {
        let begin = Instant::now();
        let mut stream = self.open_first(addresses, begin).await?;
        // A request is one small packet: do not wait to fill a larger one.
        let _ = stream.set_nodelay(true);
        if let Some(proxy) = &self.proxy {
            let left = self.timeout.saturating_sub(begin.elapsed());
            let opened = tokio::time::timeout(left, proxy.open(&mut stream, &self.server)).await;
            opened.map_err(|_| self.proxy_timed_out(proxy))??;
        }
        Ok(stream)
    }

    /// TCP alone. An address that never answers, such as an IPv6 address without a route, takes its share of the time
    /// and no more.
    async fn open_first(&self, addresses: &[SocketAddr], begin: Instant) -> Result<TcpStream> {
        let late = || self.unreached(self.late(&self.shown_first(), "TCP"));
        let mut failure = late();
        for (address, rest) in addresses.iter().zip((1..=addresses.len()).rev()) {
            let left = self.timeout.saturating_sub(begin.elapsed());
            let share = left / u32::try_from(rest).unwrap_or(u32::MAX);
            failure = match tokio::time::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => {
                    let message = format!("no connection to {}: {error}", self.shown_first());
                    self.unreached(Error::new(ErrorCode::NetworkConnect, message).source(error))
                }
                Err(_) => late(),
            };
        }
        Err(failure)
    }

    /// What this machine itself connects to.
    fn first(&self) -> (&Host, u16) {
        match &self.proxy {
            Some(proxy) => (proxy.host(), proxy.port()),
            None => (&self.server.host, self.server.port),
        }
    }

    fn shown_first(&self) -> String {
        match &self.proxy {
            Some(proxy) => format!("the proxy {proxy}"),
            None => self.server.to_string(),
        }
    }

    /// What this machine itself connects to was not reached. Where a variable names a proxy to other programs, that may
    /// be the only way out.
    fn unreached(&self, error: Error) -> Error {
        match (&self.proxy, proxy::variable_of_others()) {
            (Some(_), _) => error.hint(Hint::ProxyUnreached),
            (None, Some(variable)) => error.hint(Hint::UnusedProxy(variable)),
            (None, None) => error,
        }
    }

    fn proxy_timed_out(&self, proxy: &Proxy) -> Error {
        let message =
            format!("the proxy {proxy} did not connect to {} within {:?}", self.server, self.timeout);
        Error::new(ErrorCode::NetworkTimeout, message).hint(Hint::BeyondProxy)
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
        let mut failed = tls::translate(&error, &peer, client).unwrap_or_else(|| self.closed_in_tls(error));
        if let Some(proxy) = &self.proxy {
            failed.message.push_str(&format!(" (through the proxy {proxy})"));
        }
        failed
    }

    /// ThingsBoard's plain port closes when it hears TLS, as does a port that is blocked.
    fn closed_in_tls(&self, error: io::Error) -> Error {
        let message = format!("{} closed the connection during the TLS handshake", self.server);
        if self.server.port == PLAIN_PORT {
            let message = format!("{message}: {PLAIN_PORT} is the plain port, which does not speak TLS");
            return Error::new(ErrorCode::TlsHandshake, message).source(error).hint(Hint::PlainPort);
        }
        Error::new(ErrorCode::NetworkClosed, message).source(error).hint(Hint::PlainPortOrBlocked)
    }

    /// What the server presents, believed or not, and whatever it is. Nothing is sent over the connection.
    ///
    /// # Errors
    /// Those of the steps, and `tls/handshake`.
    pub async fn peer_certificates(&self, progress: &Progress) -> Result<Presented> {
        let stream = self.connect(progress).await?;
        progress.begin(Step::Tls);
        let seen = Recorder::new();
        let stream = self.handshake(stream, tls::inspecting(Arc::clone(&seen))?, false).await?;
        let chain = seen.presented();
        match stream {
            Ok(stream) => {
                Ok(Presented { chain, tls_version: Some(version(&stream)), is_proved: seen.is_proved() })
            }
            // It failed after the certificates had come: they are what was asked for.
            Err(_) if !chain.is_empty() => Ok(Presented { chain, tls_version: None, is_proved: false }),
            Err(error) => Err(self.tls_failed(error, ClientCertificate::NotAsked)),
        }
    }

    pub(crate) fn timed_out(&self, what: &str) -> Error {
        self.late(&self.server.to_string(), what)
    }

    fn late(&self, who: &str, what: &str) -> Error {
        let message = format!("{who}: {what} did not answer within {:?}", self.timeout);
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
