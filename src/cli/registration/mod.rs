//! How devices are registered: the server, the device profile or the authority. The same for one device and for many.

mod issuer;
mod place;
mod profile;
mod questions;

pub(super) use issuer::IssuerArgs;
pub(super) use place::PlaceArgs;
pub(super) use profile::{KEY_VARIABLE as PROVISION_KEY, ProfileArgs};
pub(super) use questions::{HOST, NAME};
