//! A device of the store while its identity goes on a board.

use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::error::{Error, ErrorCode, Hint, Result, Step};
use crate::event::{Event, Progress};
use crate::ledger::folder::{Device, DeviceLock, Flashed, Store};

/// How long to wait for another tbprov that works on the same device.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// A device that no other tbprov works on meanwhile, as it is from then on.
#[derive(Debug)]
pub struct HeldDevice {
    /// The device.
    pub device: Device,
    _lock: DeviceLock,
}

/// The device and the identity that is written.
#[derive(Debug)]
pub struct Subject {
    /// The device.
    pub held: HeldDevice,
    /// The bytes of its identity partition.
    pub partition: Zeroizing<Vec<u8>>,
    /// Whether they name a wireless network.
    pub names_wifi: bool,
}

impl HeldDevice {
    /// The device called `name`, or the store's only one; waits up to a minute for another tbprov that works on it.
    ///
    /// # Errors
    /// `store/not-found`, `store/locked`, `store/corrupt`, `store/io`; `usage/missing-value` when there are several.
    pub async fn take(store: &Store, name: Option<&str>, progress: &Progress) -> Result<Self> {
        let found = name.map_or_else(|| store.only(), |name| store.open(name))?;
        let lock = lock(store, found.record.device.as_deref(), progress).await?;
        // Another run may have made it anew until the lock was free.
        let device = store.open(&found.shown_name())?;
        Ok(Self { device, _lock: lock })
    }

    /// Records, durably, which chip has the identity that was read when the device was taken.
    ///
    /// # Errors
    /// `store/corrupt` when the device has another identity now, or none: its folder was changed by other means than
    /// tbprov. `store/io`.
    pub fn note(&mut self, flashed: Flashed) -> Result<()> {
        let current =
            Device::open(&self.device.directory).map_err(|error| error.hint(Hint::DeviceChanged))?;
        if current.record.credentials_id != self.device.record.credentials_id {
            let message =
                format!("the identity of '{}' changed while the board was written", current.shown_name());
            return Err(Error::new(ErrorCode::StoreCorrupt, message).hint(Hint::DeviceChanged));
        }
        self.device = current;
        self.device.flashed(flashed).map_err(|error| error.hint(Hint::BoardIsAhead))
    }
}

async fn lock(store: &Store, name: Option<&str>, progress: &Progress) -> Result<DeviceLock> {
    let deadline = Instant::now() + PATIENCE;
    let mut is_told = false;
    loop {
        match store.lock(name) {
            Err(error) if error.code == ErrorCode::StoreLocked && Instant::now() < deadline => {
                if !is_told {
                    let what = format!("waiting: {}", error.message);
                    progress.event(&Event::Started { step: Step::Stage, what });
                    is_told = true;
                }
                tokio::time::sleep(POLL).await;
            }
            taken_or_failed => return taken_or_failed,
        }
    }
}
