//! An embedded server that behaves as ThingsBoard's MQTT transport does, release by release, with faults
//! on request: for tests, for demonstrations, and for anybody's own CI.
//!
//! It speaks MQTT 3.1.1 over TLS 1.2 and 1.3 (and over plain TCP), wants a client certificate and takes
//! any, provisions devices by all three strategies, acknowledges telemetry and attributes, and stores (or
//! drops) telemetry by ThingsBoard's rules. It is one process's toy, not a platform: values are counted and
//! not kept, no rule engine, no RPC but `getSessionLimits`, no OTA, no devices behind gateways, no MQTT 3.1 or 5,
//! JSON payloads only. Of the REST API it has what belongs to accounts, device profiles, devices, credentials and
//! what devices have sent. `docs/simulator.md` lists what it leaves out.
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

mod address_filter;
mod admission;
mod answer;
mod attributes;
mod chain;
mod config;
mod connection;
mod core;
mod credentials;
mod device;
mod device_session;
mod ending;
mod event;
mod far;
mod fault;
mod injector;
mod lenient_json;
mod limit;
mod listener;
mod login;
mod name_pattern;
mod packets;
mod profile;
mod profiles;
mod provision_session;
mod provisioning;
mod pubacks;
mod registry;
mod release;
mod request;
mod rest;
mod server;
mod server_identity;
mod session_limits;
mod state;
mod storage;
mod telemetry;
mod tls;
mod topic;
mod uuid;
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

use self::listener::{Listener, Speaks, bind};
use self::registry::Registry;
use self::rest::Accounts;
use self::server::Server;
use crate::error::Result;
use crate::identity::Certificate;
use crate::secret::Secret;

fn server_identity(config: &mut Config) -> Result<ServerIdentity> {
    match (config.server.take(), &config.directory) {
        (Some(given), _) => Ok(given),
        (None, Some(directory)) => ServerIdentity::load_or_make(directory, &config.hosts),
        (None, None) => ServerIdentity::make(&config.hosts),
    }
}

/// Those who may use the REST API, where it is on; they are kept for the next run.
fn accounts(config: &Config, registry: &mut Registry) -> Result<Option<Accounts>> {
    if config.rest.is_none() {
        return Ok(None);
    }
    let accounts = Accounts::new(config, registry.account(), registry.profiles.default().id)?;
    registry.set_account(accounts.stored())?;
    Ok(Some(accounts))
}

/// Where a simulator listens.
#[derive(Debug, Clone, Copy)]
struct Addresses {
    tls: SocketAddr,
    plain: Option<SocketAddr>,
    rest: Option<SocketAddr>,
}

async fn listen(
    config: &Config,
    identity: &ServerIdentity,
    registry: &Arc<Mutex<Registry>>,
) -> Result<(Vec<Listener>, Addresses)> {
    let acceptor = |config: rustls::ServerConfig| TlsAcceptor::from(Arc::new(config));
    let speaks = Speaks::Mqtt(acceptor(tls::server_config(identity, config.release, registry)?));
    let (socket, tls) = bind(config.bind).await?;
    let mut listeners = vec![Listener { socket, speaks }];
    let mut addresses = Addresses { tls, plain: None, rest: None };
    if let Some(plain) = config.plain {
        let (socket, address) = bind(plain).await?;
        listeners.push(Listener { socket, speaks: Speaks::PlainMqtt });
        addresses.plain = Some(address);
    }
    if let Some(rest) = config.rest {
        let speaks = Speaks::Rest(acceptor(tls::rest_config(identity)?));
        let (socket, address) = bind(rest).await?;
        listeners.push(Listener { socket, speaks });
        addresses.rest = Some(address);
    }
    Ok((listeners, addresses))
}

/// A running simulator. It serves until it is stopped or dropped.
pub struct Simulator {
    addresses: Addresses,
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
        let mut registry = Registry::open(&config)?;
        let accounts = accounts(&config, &mut registry)?;
        let registry = Arc::new(Mutex::new(registry));
        let identity = server_identity(&mut config)?;
        let (listeners, addresses) = listen(&config, &identity, &registry).await?;
        let certificate = identity.chain.into_iter().next().ok_or_else(tls::no_certificate)?;
        let Addresses { tls: address, plain, rest } = addresses;
        observer.event(&Event::Listening { address, plain, rest, release: config.release.as_str() });
        let server = Arc::new(Server::new(config, registry, accounts, &certificate, observer));
        let (stop, stopped) = watch::channel(());
        let serve = |listener: Listener| tokio::spawn(listener.serve(Arc::clone(&server), stopped.clone()));
        let listeners = listeners.into_iter().map(serve).collect();
        Ok(Self { addresses, certificate, server, stop, listeners })
    }

    /// Where MQTT over TLS listens.
    pub fn address(&self) -> SocketAddr {
        self.addresses.tls
    }

    /// Where plain MQTT listens, if it does.
    pub fn plain_address(&self) -> Option<SocketAddr> {
        self.addresses.plain
    }

    /// Where the REST API listens, over TLS and plain HTTP, if it does.
    pub fn rest_address(&self) -> Option<SocketAddr> {
        self.addresses.rest
    }

    /// The name of the tenant's administrator at the REST API, if that listens.
    pub fn api_user(&self) -> Option<&str> {
        self.server.accounts.as_ref().map(Accounts::administrator)
    }

    /// The password of the users of the REST API, if there is one.
    pub fn api_password(&self) -> Option<&Secret> {
        self.server.accounts.as_ref().map(Accounts::password)
    }

    /// An API key of the tenant's administrator, where the REST API listens and the release has API keys.
    pub fn api_key(&self) -> Option<&Secret> {
        let accounts = self.server.accounts.as_ref().filter(|_| self.server.release.has_api_keys());
        accounts.map(Accounts::first_key)
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
