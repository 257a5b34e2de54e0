//! What a simulator is started with.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::credentials::HeldCredentials;
use super::fault::Fault;
use super::release::Release;
use crate::identity::{Certificate, SoftwareIdentity};
use crate::keys::Signer;
use crate::secret::Secret;

/// What a provision request does: the strategy of the device profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// `ALLOW_CREATE_NEW_DEVICES`: it creates the device.
    #[default]
    AllowCreate,
    /// `CHECK_PRE_PROVISIONED_DEVICES`: the device must exist, and the answer holds the credentials that
    /// the server has for it, whatever was sent.
    PreProvisioned,
}

/// A device that exists from the start.
#[derive(Debug, Clone)]
pub struct PreProvisioned {
    /// Its name.
    pub name: String,
    /// What the server holds for it; a random token when nothing is given.
    pub credentials: Option<HeldCredentials>,
}

impl PreProvisioned {
    /// A device of this name with a random token, as ThingsBoard's web form creates it.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), credentials: None }
    }

    /// The same device with these credentials.
    #[must_use]
    pub fn with(mut self, credentials: HeldCredentials) -> Self {
        self.credentials = Some(credentials);
        self
    }
}

/// The server's own certificate chain, leaf first, and the leaf's key.
#[derive(Debug)]
pub struct ServerIdentity {
    /// The chain, leaf first; at least one certificate.
    pub chain: Vec<Certificate>,
    /// The leaf's key.
    pub key: Arc<dyn Signer>,
}

impl From<SoftwareIdentity> for ServerIdentity {
    fn from(identity: SoftwareIdentity) -> Self {
        let chain = std::iter::once(identity.leaf).chain(identity.intermediates).collect();
        Self { chain, key: identity.key }
    }
}

/// What a [`Simulator`](super::Simulator) is started with.
#[derive(Debug)]
pub struct Config {
    /// Where MQTT over TLS listens; port 0 takes any free one.
    pub bind: SocketAddr,
    /// Where plain MQTT listens, if at all.
    pub plain: Option<SocketAddr>,
    /// The release to behave as.
    pub release: Release,
    /// What to do wrong.
    pub faults: Vec<Fault>,
    /// What a provision request does.
    pub strategy: Strategy,
    /// The devices that exist from the start.
    pub pre_provisioned: Vec<PreProvisioned>,
    /// The device profile's provision key.
    pub provision_key: String,
    /// The device profile's provision secret.
    pub provision_secret: Secret,
    /// The server's certificate and key; when absent, a P-256 one is made for [`Config::hosts`].
    pub server: Option<ServerIdentity>,
    /// Names and addresses of the certificate that is made; when empty: localhost, 127.0.0.1, ::1.
    pub hosts: Vec<String>,
    /// Where the devices are kept between runs; in memory only when absent. The file holds the tokens
    /// and passwords of devices in clear text; on Unix only its owner may read it.
    pub state: Option<PathBuf>,
    /// How long after its first answer a provisioning connection is closed. ThingsBoard: 60 s, in every
    /// release (`MqttTransportHandler.DeviceProvisionCallback`).
    pub provisioning_lifetime: Duration,
}

impl Config {
    /// On loopback, any port, as the newest release, without faults and without a state file.
    pub fn new(provision_key: impl Into<String>, provision_secret: Secret) -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            plain: None,
            release: Release::default(),
            faults: Vec::new(),
            strategy: Strategy::default(),
            pre_provisioned: Vec::new(),
            provision_key: provision_key.into(),
            provision_secret,
            server: None,
            hosts: Vec::new(),
            state: None,
            provisioning_lifetime: Duration::from_secs(60),
        }
    }
}
