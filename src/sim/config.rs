//! What a simulator is started with.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::credentials::HeldCredentials;
use super::fault::Fault;
use super::limit::Limit;
use super::name_pattern::NamePattern;
use super::release::Release;
use super::server_identity::ServerIdentity;
use crate::error::{Error, ErrorCode, Result};
use crate::identity::Certificate;
use crate::secret::Secret;

/// The administrator of the tenant that a ThingsBoard with demonstration data has.
const DEFAULT_API_USER: &str = "tenant@thingsboard.org";

/// How devices are registered: the strategy of the device profile.
#[derive(Debug, Clone, Default)]
#[expect(clippy::large_enum_variant, reason = "a simulator has one of them")]
pub enum Strategy {
    /// `ALLOW_CREATE_NEW_DEVICES`: a provision request creates the device.
    #[default]
    AllowCreate,
    /// `CHECK_PRE_PROVISIONED_DEVICES`: the device must exist, and the answer holds the credentials that
    /// the server has for it, whatever was sent.
    PreProvisioned,
    /// `X509_CERTIFICATE_CHAIN`, from 3.5 on: a connect registers the device, or gives it another certificate. A
    /// provision request is never answered.
    Chain {
        /// The certificate that must be among those that a client sends. The profile's provision key is its
        /// credentialsId; [`Config::provision_key`] and [`Config::provision_secret`] count for nothing.
        authority: Certificate,
        /// What takes the device's name out of the leaf's common name.
        name_pattern: NamePattern,
        /// Whether devices are created. Those that exist get other certificates all the same.
        allow_create: bool,
    },
}

/// A device that exists from the start.
#[derive(Debug, Clone)]
pub struct PreProvisioned {
    /// Its name.
    pub name: String,
    /// What the server holds for it; a random token when nothing is given.
    pub credentials: Option<HeldCredentials>,
    /// Whether it belongs to another device profile than the one that provisions.
    pub is_of_other_profile: bool,
}

impl PreProvisioned {
    /// A device of this name with a random token, as ThingsBoard's web form creates it.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), credentials: None, is_of_other_profile: false }
    }

    /// The same device with these credentials.
    #[must_use]
    pub fn with(mut self, credentials: HeldCredentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// The same device in another device profile, where no provisioning finds it and its name is taken.
    #[must_use]
    pub fn of_other_profile(mut self) -> Self {
        self.is_of_other_profile = true;
        self
    }
}

/// What a [`Simulator`](super::Simulator) is started with.
#[derive(Debug)]
pub struct Config {
    /// Where MQTT over TLS listens; port 0 takes any free one.
    pub bind: SocketAddr,
    /// Where plain MQTT listens, if at all.
    pub plain: Option<SocketAddr>,
    /// Where the REST API listens, if at all: over TLS and plain.
    pub rest: Option<SocketAddr>,
    /// The name of the tenant's administrator at the REST API.
    pub api_user: String,
    /// The password of the users of the REST API; when absent, that of the state file, else one is made.
    pub api_password: Option<Secret>,
    /// How long a token of the REST API lives. ThingsBoard: 9,000 s (`security.jwt.tokenExpirationTime`).
    pub token_lifetime: Duration,
    /// The release to behave as.
    pub release: Release,
    /// What to do wrong.
    pub faults: Vec<Fault>,
    /// How devices are registered.
    pub strategy: Strategy,
    /// The devices that exist from the start.
    pub pre_provisioned: Vec<PreProvisioned>,
    /// The device profile's provision key.
    pub provision_key: String,
    /// The device profile's provision secret.
    pub provision_secret: Secret,
    /// The server's certificate and key; when absent, that of [`Config::directory`].
    pub server: Option<ServerIdentity>,
    /// The folder where the server's certificate and key are kept ([`ServerIdentity::load_or_make`]); when absent
    /// too, they are made for this run alone.
    pub directory: Option<PathBuf>,
    /// Names and addresses of the certificate that is made; when empty: localhost, 127.0.0.1, ::1.
    pub hosts: Vec<String>,
    /// Where the devices are kept between runs; in memory only when absent. The file holds the tokens
    /// and passwords of devices in clear text; on Unix only its owner may read it.
    pub state: Option<PathBuf>,
    /// How long after its first answer a provisioning connection is closed. ThingsBoard: 60 s, in every
    /// release (`MqttTransportHandler.DeviceProvisionCallback`).
    pub provisioning_lifetime: Duration,
    /// How long a provision request stays unanswered that the server's core fails over, until its connection is
    /// closed. ThingsBoard: 11 to 17 s (it looks every few seconds for what is older than 10 s).
    pub unanswered_lifetime: Duration,
    /// How long a connection may last without a CONNECT. ThingsBoard has no such bound.
    pub unconnected_lifetime: Duration,
    /// How many connections there may be at once; one more is closed as soon as it is there. ThingsBoard has no such
    /// bound.
    pub most_connections: usize,
    /// How many telemetry messages one device may send.
    pub device_limit: Option<Limit>,
    /// How many telemetry messages all devices together may send.
    pub tenant_limit: Option<Limit>,
    /// How many data points (values) one device may send.
    pub device_point_limit: Option<Limit>,
    /// How many data points (values) all devices together may send.
    pub tenant_point_limit: Option<Limit>,
    /// How often one device may connect; ThingsBoard calls it `messages`.
    pub device_connect_limit: Option<Limit>,
    /// How often all devices together may connect.
    pub tenant_connect_limit: Option<Limit>,
    /// How long [`Fault::AddressFilter`] blocks an address. ThingsBoard: 60 s
    /// (`transport.rate_limits.ip_block_timeout`).
    pub block_lifetime: Duration,
    /// Whether the stored values are kept, to be seen by [`Simulator::values`](super::Simulator::values). Memory
    /// then grows with each of them; else they are counted alone.
    pub keep_values: bool,
}

impl Config {
    /// On loopback, any port, as the newest release, without the REST API, faults, limits and state file.
    pub fn new(provision_key: impl Into<String>, provision_secret: Secret) -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            plain: None,
            rest: None,
            api_user: DEFAULT_API_USER.to_owned(),
            api_password: None,
            token_lifetime: Duration::from_secs(9_000),
            release: Release::default(),
            faults: Vec::new(),
            strategy: Strategy::default(),
            pre_provisioned: Vec::new(),
            provision_key: provision_key.into(),
            provision_secret,
            server: None,
            directory: None,
            hosts: Vec::new(),
            state: None,
            provisioning_lifetime: Duration::from_secs(60),
            unanswered_lifetime: Duration::from_secs(11),
            unconnected_lifetime: Duration::from_secs(60),
            most_connections: 20_000,
            device_limit: None,
            tenant_limit: None,
            device_point_limit: None,
            tenant_point_limit: None,
            device_connect_limit: None,
            tenant_connect_limit: None,
            block_lifetime: Duration::from_secs(60),
            keep_values: false,
        }
    }

    /// Fails where two values exclude each other; nothing is done for it.
    ///
    /// # Errors
    /// `usage/conflict`.
    pub fn check(&self) -> Result<()> {
        if matches!(self.strategy, Strategy::Chain { .. }) && !self.release.has_chain_strategy() {
            let message = format!(
                "ThingsBoard {} has no X.509 certificate chain strategy, which came with 3.5",
                self.release
            );
            return Err(Error::new(ErrorCode::UsageConflict, message));
        }
        match (&self.server, &self.directory) {
            (None, Some(directory)) => ServerIdentity::check_names(directory, &self.hosts),
            _ => Ok(()),
        }
    }
}
