//! What the connections of one simulator share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::address_filter::AddressFilter;
use super::admission::Admission;
use super::chain::{self, Registration};
use super::config::Config;
use super::core::Core;
use super::device::{Doing, RegisteredDevice};
use super::device_session::arrival;
use super::event::{Event, Observer};
use super::fault::Fault;
use super::injector::Injector;
use super::provisioning::{self, Decision, Substitute};
use super::registry::Registry;
use super::release::Release;
use super::request::ProvisionRequest;
use super::rest::Accounts;
use super::storage::Keep;
use crate::identity::Certificate;

/// One simulator.
pub(super) struct Server {
    pub(super) release: Release,
    pub(super) injector: Injector,
    pub(super) core: Core,
    pub(super) address_filter: Option<AddressFilter>,
    pub(super) admission: Admission,
    /// Which stored values are kept.
    pub(super) keep: Keep,
    /// Those who may use the REST API, where it is on.
    pub(super) accounts: Option<Accounts>,
    pub(super) provisioning_lifetime: Duration,
    pub(super) unanswered_lifetime: Duration,
    pub(super) unconnected_lifetime: Duration,
    /// Of one listening socket.
    pub(super) most_connections: usize,
    /// Its own certificate, as PEM.
    pub(super) certificate: String,
    registry: Arc<Mutex<Registry>>,
    /// Whether creating a device writes a file.
    persistent: bool,
    observer: Arc<dyn Observer>,
    pub(super) sessions: Sessions,
    connections: AtomicU64,
}

impl Server {
    /// What the rest of `config` asks for, with the devices of `registry`.
    pub(super) fn new(
        config: Config,
        registry: Arc<Mutex<Registry>>,
        accounts: Option<Accounts>,
        certificate: &Certificate,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let keep = match (config.keep_values, &accounts) {
            (true, _) => Keep::All,
            (false, Some(_)) => Keep::Newest,
            (false, None) => Keep::Nothing,
        };
        let admission = Admission::new(&config);
        let injector = Injector::new(config.faults);
        let filter = injector.address_filter();
        Self {
            release: config.release,
            admission,
            keep,
            accounts,
            core: Core::new(&injector),
            address_filter: filter.map(|most| AddressFilter::new(most, config.block_lifetime)),
            injector,
            provisioning_lifetime: config.provisioning_lifetime,
            unanswered_lifetime: config.unanswered_lifetime,
            unconnected_lifetime: config.unconnected_lifetime,
            most_connections: config.most_connections,
            certificate: certificate.to_pem(),
            registry,
            persistent: config.state.is_some(),
            observer,
            sessions: Sessions::default(),
            connections: AtomicU64::new(0),
        }
    }

    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides about a request; nothing when the core never answers.
    pub(super) async fn decide(
        self: &Arc<Self>,
        request: ProvisionRequest,
        substitute: Option<Substitute>,
    ) -> Option<Decision> {
        let decide = move |registry: &mut Registry| provisioning::decide(registry, &request, substitute);
        self.run(decide).await.unwrap_or_else(|why| Some(Decision::Failure(why)))
    }

    /// Registers the device with these certificates, leaf first, where the strategy says so.
    pub(super) async fn register(self: &Arc<Self>, sent: Vec<CertificateDer<'static>>) -> Registration {
        if !self.registry().profiles.have_chain() {
            return Registration::Unchanged;
        }
        let register = move |registry: &mut Registry| chain::register(registry, &sent);
        let registration = self.run(register).await.unwrap_or_else(Registration::Refused);
        if let Registration::Replaced(device) = &registration
            && self.release.ends_sessions_of_replaced_certificates()
        {
            self.sessions.end(&device.name, "the device has another certificate");
        }
        registration
    }

    /// Does what may change the devices, away from the tasks that serve when that writes a file.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Registry) -> T + Send + 'static,
    ) -> Result<T, String> {
        if !self.persistent {
            return Ok(work(&mut self.registry()));
        }
        let server = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&mut server.registry()));
        done.await.map_err(|error| error.to_string())
    }
}

/// One connection's view of the simulator.
#[derive(Clone)]
pub(super) struct Peer {
    pub(super) server: Arc<Server>,
    /// Counted from 1.
    pub(super) connection: u64,
    pub(super) address: IpAddr,
}

impl Peer {
    pub(super) fn new(server: &Arc<Server>, address: IpAddr) -> Self {
        let connection = server.connections.fetch_add(1, Ordering::Relaxed) + 1;
        Self { server: Arc::clone(server), connection, address }
    }

    /// Whether the address is blocked after wrong logins; if so, it is told.
    pub(super) fn is_blocked(&self) -> bool {
        let filter = self.server.address_filter.as_ref();
        let is_blocked = filter.is_some_and(|filter| !filter.admits(self.address, Instant::now()));
        if is_blocked {
            self.tell(Fault::AddressFilter(0));
        }
        is_blocked
    }

    pub(super) fn emit(&self, event: &Event) {
        self.server.observer.event(event);
    }

    /// Whether `fault` is to be applied now; if so, it is told.
    pub(super) fn applies(&self, fault: Fault) -> bool {
        let applies = self.server.injector.has(fault);
        if applies {
            self.tell(fault);
        }
        applies
    }

    /// Tells that a device tried what the simulator has not.
    pub(super) fn tell_not_simulated(&self, device: &RegisteredDevice, what: &'static str) {
        let (connection, device) = (self.connection, Some(device.name.to_string()));
        self.emit(&Event::NotSimulated { connection, device, what });
    }

    /// Notes what a device does, where the REST API shows it.
    pub(super) fn note(&self, device: &RegisteredDevice, what: Doing) {
        if self.server.accounts.is_some() {
            device.note(what, arrival());
        }
    }

    pub(super) fn tell(&self, fault: Fault) {
        self.emit(&Event::Fault { connection: self.connection, name: fault.name() });
    }
}

/// Who is connected as which device: one session a device, whatever the client id
/// (`DeviceActorMessageProcessor`, `ACTORS_MAX_CONCURRENT_SESSION_PER_DEVICE=1`).
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<String, (u64, oneshot::Sender<&'static str>)>>);

impl Sessions {
    /// Enters a session and ends the older one of the device.
    pub(super) fn enter(&self, peer: &Peer, device: &str) -> Place {
        let (alive, ended) = oneshot::channel();
        // Dropping the older session's sender is what tells it.
        self.lock().insert(device.to_owned(), (peer.connection, alive));
        Place { peer: peer.clone(), device: device.to_owned(), ended }
    }

    /// Ends the session of a device that lost its right to it.
    pub(super) fn end(&self, device: &str, why: &'static str) {
        if let Some((_, alive)) = self.lock().remove(device) {
            let _ = alive.send(why);
        }
    }

    fn leave(&self, device: &str, connection: u64) {
        let mut sessions = self.lock();
        if sessions.get(device).is_some_and(|(current, _)| *current == connection) {
            sessions.remove(device);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (u64, oneshot::Sender<&'static str>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A device's place among the sessions, given up on drop.
pub(super) struct Place {
    peer: Peer,
    device: String,
    ended: oneshot::Receiver<&'static str>,
}

impl Place {
    /// Returns once the device has lost this session, with the reason.
    pub(super) async fn lost(&mut self) -> &'static str {
        (&mut self.ended).await.unwrap_or("a newer connection of the same device")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.peer.server.sessions.leave(&self.device, self.peer.connection);
    }
}
