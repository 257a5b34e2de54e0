//! An embedded server that behaves as ThingsBoard's MQTT transport does, release by release, with faults
//! on request: for tests, for demonstrations, and for anybody's own CI.
//!
//! It speaks MQTT 3.1.1 over TLS 1.2 and 1.3 (and over plain TCP), wants a client certificate and takes
//! any, provisions devices by all three strategies, acknowledges telemetry and attributes, and stores (or
//! drops) telemetry by ThingsBoard's rules. It is one process's toy, not a platform: values are counted and
//! not kept, no rule engine, no RPC but `getSessionLimits`, no OTA, no devices behind gateways, no MQTT 3.1 or 5,
//! JSON payloads only. `docs/simulator.md` lists what it leaves out.
//!
//! Facts about the protocol are ThingsBoard's, read in its source at v3.2, v3.4, v3.6.4, v3.7 and
//! v4.3.1.3 (which is meant where no release is named; the classes are named where a fact is used), and seen
//! on the wire at 3.2.2, 3.4.4, 3.6.4, 3.8.1, 4.0.2 and 4.3.1.3.
//!
//! ```
//! use std::sync::Arc;
//! use tbprov::Secret;
//! use tbprov::sim::{Config, Simulator};
//!
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
//! let config = Config::new("provision-key", Secret::new("provision-secret"));
//! let simulator = Simulator::start(config, Arc::new(())).await?;
//! assert_ne!(simulator.address().port(), 0);
//! assert!(simulator.devices().is_empty());
//! simulator.stop().await;
//! # Ok::<(), tbprov::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod admission;
mod answer;
mod attributes;
mod chain;
mod config;
mod connection;
mod credentials;
mod device;
mod device_session;
mod ending;
mod event;
mod fault;
mod injector;
mod lenient_json;
mod limit;
mod listener;
mod login;
mod name_pattern;
mod packets;
mod provision_session;
mod provisioning;
mod pubacks;
mod registry;
mod release;
mod request;
mod server;
mod server_identity;
mod session_limits;
mod state;
mod storage;
mod telemetry;
mod tls;
mod topic;
mod value;
mod wire;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub use config::{Config, PreProvisioned, Strategy};
pub use credentials::HeldCredentials;
pub use device::DeviceSummary;
pub use event::{Event, Mode, Observer};
pub use fault::{Fault, FaultHelp};
pub use limit::Limit;
pub use name_pattern::NamePattern;
pub use release::Release;
pub use server_identity::ServerIdentity;
pub use storage::StoredValue;

use self::listener::{Listener, bind};
use self::registry::Registry;
use self::server::Server;
use crate::error::Result;
use crate::identity::Certificate;

fn server_identity(config: &mut Config) -> Result<ServerIdentity> {
    match (config.server.take(), &config.directory) {
        (Some(given), _) => Ok(given),
        (None, Some(directory)) => ServerIdentity::load_or_make(directory, &config.hosts),
        (None, None) => ServerIdentity::make(&config.hosts),
    }
}

/// A running simulator. It serves until it is stopped or dropped.
pub struct Simulator {
    address: SocketAddr,
    plain_address: Option<SocketAddr>,
    certificate: Certificate,
    server: Arc<Server>,
    stop: watch::Sender<()>,
    listeners: Vec<JoinHandle<()>>,
}

impl Simulator {
    /// Listens, and returns once clients can connect. The connections are tasks of the current tokio
    /// runtime; for more than a few, let it be a multi-thread one, because TLS handshakes need CPU.
    ///
    /// # Errors
    /// `usage/invalid-value` naming an address that cannot be listened on, a host that is no name, or
    /// pre-provisioned devices that exclude each other; `store/corrupt`, `store/io` and
    /// `store/locked` (another simulator has it) naming the state file; `file/bad-certificate`,
    /// `file/unsupported-key` and `file/key-mismatch` for the server's identity; `usage/conflict` for a strategy that the release does not have.
    pub async fn start(mut config: Config, observer: Arc<dyn Observer>) -> Result<Self> {
        config.check()?;
        let pre_provisioned = std::mem::take(&mut config.pre_provisioned);
        let registry = Arc::new(Mutex::new(Registry::open(config.state.clone(), pre_provisioned)?));
        let identity = server_identity(&mut config)?;
        let tls = tls::server_config(&identity, config.release, &registry)?;
        let certificate = identity.chain.into_iter().next().ok_or_else(tls::no_certificate)?;
        let (socket, address) = bind(config.bind).await?;
        let mut listeners = vec![Listener { socket, tls: Some(TlsAcceptor::from(Arc::new(tls))) }];
        let mut plain_address = None;
        if let Some(plain) = config.plain {
            let (socket, address) = bind(plain).await?;
            listeners.push(Listener { socket, tls: None });
            plain_address = Some(address);
        }
        let release = config.release.as_str();
        observer.event(&Event::Listening { address, plain: plain_address, release });
        let server = Arc::new(Server::new(config, registry, observer));
        let (stop, stopped) = watch::channel(());
        let serve = |listener: Listener| tokio::spawn(listener.serve(Arc::clone(&server), stopped.clone()));
        let listeners = listeners.into_iter().map(serve).collect();
        Ok(Self { address, plain_address, certificate, server, stop, listeners })
    }

    /// Where MQTT over TLS listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where plain MQTT listens, if it does.
    pub fn plain_address(&self) -> Option<SocketAddr> {
        self.plain_address
    }

    /// The server's own certificate (the leaf): what clients pin.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The devices that the server knows, by name.
    pub fn devices(&self) -> Vec<DeviceSummary> {
        self.server.registry().summaries()
    }

    /// The values that the store holds of a device, in order of time, then key; none unless
    /// [`Config::keep_values`] was set.
    pub fn values(&self, device: &str) -> Vec<StoredValue> {
        let found = self.server.registry().named(device);
        found.map(|device| device.values()).unwrap_or_default()
    }

    /// Closes every connection, without an event for each, and returns once they and the listening sockets
    /// are closed.
    pub async fn stop(self) {
        drop(self.stop);
        for listener in self.listeners {
            let _ = listener.await;
        }
    }
}
