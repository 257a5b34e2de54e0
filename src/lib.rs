//! Gives IoT devices an X.509 identity in ThingsBoard (and its forks): makes a key and a certificate,
//! registers them over MQTT/TLS, checks the answer, saves them so that nothing is ever lost, proves them with
//! a mutual-TLS connect, and sends telemetry.
//!
//! This is the library under the `tbprov` command. It has no command line and never prints: what happens is
//! told to an [`event::Observer`], what goes wrong is an [`Error`] with a stable code, the step reached and a
//! help text.
//!
//! # A worked example
//!
//! Provisions a device against the [simulator](sim) and sends a reading. Against a real ThingsBoard, only the
//! dialer, the key and the secret differ.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use tbprov::dial::Dialer;
//! use tbprov::event::Progress;
//! use tbprov::flow::{self, IdentityPlan, Outcome, ProvisionPlan};
//! use tbprov::ledger::folder::Store;
//! use tbprov::server::Server;
//! use tbprov::telemetry::{Readings, TELEMETRY_TOPIC, TelemetryPlan};
//! use tbprov::tls::{Trust, TrustSource};
//! use tbprov::{DeviceName, Secret, sim};
//! use tokio_util::sync::CancellationToken;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
//! // A server to talk to, and the certificate by which it is recognised.
//! let server = sim::Simulator::start(sim::Config::new("key", Secret::new("secret")), Arc::new(())).await?;
//! let pin = vec![server.certificate().clone()];
//! let trust = Trust::from_certificates(pin, TrustSource::File("server.pem".into()), false);
//!
//! let at = Server { host: "localhost".parse()?, port: server.address().port(), trust: Arc::new(trust) };
//!
//! let plan = ProvisionPlan {
//!     dialer: Arc::new(Dialer::new(at, Duration::from_secs(15))),
//!     provision_key: "key".to_owned(),
//!     provision_secret: Secret::new("secret"),
//!     device_name: DeviceName::parse("sensor-01")?,
//!     identity: IdentityPlan::Generate { key_type: None, days: 3650 },
//!     gateway: false,
//!     verify_connect: true,
//!     telemetry: Some(TelemetryPlan {
//!         topic: TELEMETRY_TOPIC.to_owned(),
//!         readings: Readings::Json(r#"{"temperature":25}"#.to_owned()),
//!         count: Some(1),
//!         interval: Duration::ZERO,
//!         attributes: None,
//!     }),
//!     store: Store::new(folder.path().join("devices")),
//! };
//! let done = flow::provision(&plan, &CancellationToken::new(), &Progress::silent()).await?;
//!
//! assert_eq!(done.outcome, Outcome::Provisioned);
//! assert!(done.device.directory.join("key.pem").exists());
//! assert_eq!(server.devices()[0].telemetry, 1);
//!
//! // A rerun never asks for a second device.
//! let again = flow::provision(&plan, &CancellationToken::new(), &Progress::silent()).await?;
//! assert_eq!(again.outcome, Outcome::Verified);
//! # Ok::<(), tbprov::Error>(())
//! # })?;
//! # Ok(())
//! # }
//! ```
//!
//! # The map
//!
//! Each module may use those above it, none below:
//! [`error`], [`secret`], `text` · [`identity`], [`device`], [`event`] · [`tls`] · [`mqtt`] · [`exchange`] · [`verify`]
//! · [`store`] · [`telemetry`] · [`plan`] · [`pipeline`]; beside them, on the same core and never on each
//! other, [`sim`], [`firmware`] and [`doctor`].

pub mod blocking;
pub mod clock;
pub mod device;
pub mod dial;
pub mod doctor;
pub mod error;
pub mod event;
pub mod exchange;
pub mod files;
#[cfg(feature = "firmware")]
pub mod firmware;
pub mod flow;
pub mod identity;
pub mod keys;
pub mod ledger;
pub mod mqtt;
pub mod secret;
pub mod server;
pub mod sim;
pub mod telemetry;
pub mod text;
pub mod tls;

pub use blocking::blocking;
pub use device::{DeviceId, DeviceName, State};
pub use error::{Error, ErrorCode, ErrorKind, Hint, Result, Step};
pub use secret::Secret;
