//! ThingsBoard's REST API, as far as devices, device profiles and telemetry are concerned: what an administrator does on
//! its web pages. An [`Account`] is one user of one server.
//!
//! Real servers check little: they save what can never work, and answer 200. So what is sent is checked before, and what
//! is read back is compared.
//!
//! Facts are those of six releases (3.2.2, 3.4.4, 3.6.4, 3.8.1, 4.0.2, 4.3.1.3), seen on the wire.

mod account;
mod device;
mod failure;
mod http;
mod profile;
mod telemetry;
mod url;
mod user;

pub use account::{Account, Login};
pub use device::{Device, DeviceCredentials};
pub use profile::{DeviceProfile, NewProfile, Provisioning, Strategy};
pub use telemetry::{Attribute, Range, TelemetryValue};
pub use url::ApiUrl;
pub use user::{Authority, Release, User};
