//! Gives IoT devices an X.509 identity in ThingsBoard (and its forks): makes a key and a certificate,
//! registers them over MQTT/TLS, checks the answer, saves them so that nothing is ever lost, proves them with
//! a mutual-TLS connect, and sends telemetry.
//!
//! This is the library under the `tbprov` command. It has no command line and never prints: what happens is
//! told to an [`event::Observer`], what goes wrong is an [`Error`] with a stable code, the step that the run had
//! reached and, where the general advice does not do, a [`Hint`]. The command turns these into words.
//!
//! What a run does next is decided in [`flow::next`]. Where devices are kept is a [`ledger::Ledger`], what signs is a
//! [`keys::Signer`]: each has one more implementation by one more file.
//!
//! # A worked example
//!
//! Provisions a device against the [simulator](sim) and sends a reading. Against a real ThingsBoard, only the
//! server, the key and the secret differ.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use tbprov::dial::Dialer;
//! use tbprov::event::Progress;
//! use tbprov::flow::{self, IdentityPlan, Outcome, ProvisionPlan, Prover, RegistrationPlan, Run};
//! use tbprov::ledger::folder::Folders;
//! use tbprov::server::Server;
//! use tbprov::telemetry::{Readings, TelemetryPlan};
//! use tbprov::tls::{Trust, TrustSource};
//! use tbprov::{DeviceName, Secret, sim};
//! use tokio_util::sync::CancellationToken;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
//! // A server to talk to, and the certificate by which it is recognised.
//! let simulator = sim::Simulator::start(sim::Config::new("key", Secret::new("secret")), Arc::new(())).await?;
//! let pin = vec![simulator.certificate().clone()];
//! let trust = Trust::from_certificates(pin, TrustSource::File("server.pem".into()), false);
//! let server =
//!     Server { host: "localhost".parse()?, port: simulator.address().port(), trust: Arc::new(trust) };
//!
//! let prover = Prover::new(Arc::new(Dialer::new(server, Duration::from_secs(15))));
//! let ledger = Folders::new(folder.path().join("devices"));
//! let (interrupt, progress) = (CancellationToken::new(), Progress::silent());
//! let run = Run {
//!     ledger: &ledger,
//!     prover: &prover,
//!     interrupt: &interrupt,
//!     stop_telemetry: &interrupt,
//!     progress: &progress,
//! };
//!
//! let plan = ProvisionPlan {
//!     device_name: DeviceName::parse("sensor-01")?,
//!     registration: RegistrationPlan::ByRequest {
//!         provision_key: "key".to_owned(),
//!         provision_secret: Secret::new("secret"),
//!         gateway: false,
//!     },
//!     identity: IdentityPlan::Generate { key_type: None, days: None },
//!     verify_connect: true,
//!     answer_timeout: flow::DEFAULT_ANSWER_TIMEOUT,
//!     telemetry: Some(TelemetryPlan::new(
//!         Readings::Json(r#"{"temperature":25}"#.to_owned()),
//!         Some(1),
//!         Duration::ZERO,
//!     )),
//! };
//! let done = flow::provision(&plan, run).await?;
//!
//! assert_eq!(done.outcome, Outcome::Provisioned);
//! assert!(folder.path().join("devices/sensor-01/key.pem").exists());
//! assert_eq!(simulator.devices()[0].telemetry, 1);
//!
//! // A rerun never asks for a second device.
//! let again = flow::provision(&plan, run).await?;
//! assert_eq!(again.outcome, Outcome::Verified);
//! # Ok::<(), tbprov::Error>(())
//! # })?;
//! # Ok(())
//! # }
//! ```
//!
//! # The map
//!
//! Each module may use those above it, none below and none in its own row; `docs/architecture.md` says what each is for:
//! `text` · [`error`] · [`secret`], [`clock`], `blocking` · [`device`] · [`files`] · [`keys`] · [`identity`] · [`event`] ·
//! [`tls`] · [`server`] · [`dial`] · [`mqtt`], [`rest`], [`ledger`] · [`exchange`], [`telemetry`] · [`flow`] · [`firmware`],
//! [`doctor`], [`sim`], `fleet`.

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
#[cfg(feature = "fleet")]
pub mod fleet;
pub mod flow;
pub mod identity;
pub mod keys;
pub mod ledger;
pub mod mqtt;
pub mod rest;
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
