//! Who may send how much: the limits of each device, and those of all together, their tenant.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::config::Config;
use super::device::RegisteredDevice;
use super::limit::{Allowance, Meter};

/// The limits of a simulator, and what all devices together may send yet. What a device may send yet is kept with it.
pub(super) struct Admission {
    pub(super) device: Allowance,
    tenant: Allowance,
    together: Mutex<Meter>,
}

impl Admission {
    pub(super) fn new(config: &Config) -> Self {
        let device = Allowance {
            messages: config.device_limit.clone(),
            points: config.device_point_limit.clone(),
            connects: config.device_connect_limit.clone(),
        };
        let tenant = Allowance {
            messages: config.tenant_limit.clone(),
            points: config.tenant_point_limit.clone(),
            connects: config.tenant_connect_limit.clone(),
        };
        let together = Mutex::new(Meter::new(&tenant, Instant::now()));
        Self { device, tenant, together }
    }

    /// Takes a telemetry message of so many data points, or says which limit it is over. The tenant's come first
    /// (`DefaultTransportRateLimitService.checkLimits`).
    pub(super) fn telemetry(&self, device: &RegisteredDevice, points: usize) -> Result<(), String> {
        let (now, points) = (Instant::now(), u64::try_from(points).unwrap_or(u64::MAX));
        let over = |whose: &str, what: &str| format!("over the {whose}'s limit of {what}");
        if !self.tenant.is_unlimited() {
            let mut together = self.together.lock().unwrap_or_else(PoisonError::into_inner);
            together.telemetry(points, now).map_err(|what| over("tenant", what))?;
        }
        if self.device.is_unlimited() {
            return Ok(());
        }
        let taken = device.metered(|| Meter::new(&self.device, now), |meter| meter.telemetry(points, now));
        taken.map_err(|what| over("device", what))
    }

    /// Lets the device connect, or says whose limit that is over.
    pub(super) fn connect(&self, device: &RegisteredDevice) -> Result<(), &'static str> {
        let now = Instant::now();
        if !self.tenant.is_unlimited() {
            let mut together = self.together.lock().unwrap_or_else(PoisonError::into_inner);
            if !together.connect(now) {
                return Err("over the tenant's limit of connects");
            }
        }
        let is_admitted = self.device.is_unlimited()
            || device.metered(|| Meter::new(&self.device, now), |meter| meter.connect(now));
        if is_admitted { Ok(()) } else { Err("over the device's limit of connects") }
    }
}
