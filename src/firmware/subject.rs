//! A device of the ledger while its identity goes on a board.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::error::{ErrorCode, Hint, Result};
use crate::event::Progress;
use crate::ledger::{self, Entry, Flashed, Lease, Ledger, Note, Subject as Named};

/// A device that no other tbprov works on meanwhile, as it is from then on.
pub struct HeldDevice {
    /// The device.
    pub entry: Entry,
    ledger: Arc<dyn Ledger>,
    lease: Lease,
}

impl fmt::Debug for HeldDevice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "HeldDevice({})", self.entry.id)
    }
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
    /// The device called `name`, or the ledger's only one; waits up to a minute for another tbprov that works on it.
    ///
    /// # Errors
    /// `store/not-found`, `store/locked`, `store/corrupt`, `store/io`; `usage/missing-value` when there are several.
    pub async fn take(ledger: Arc<dyn Ledger>, name: Option<&str>, progress: &Progress) -> Result<Self> {
        let found = match name {
            Some(name) => ledger.open(name).await?,
            None => ledger.only().await?,
        };
        let lease = ledger::wait_for(&*ledger, Named::Named(found.shown_name()), progress).await?;
        // Another run may have made it anew until the lock was free.
        let entry = ledger.open(found.shown_name()).await?;
        Ok(Self { entry, ledger, lease })
    }

    /// Records, durably, which chip has the identity that was read when the device was taken.
    ///
    /// # Errors
    /// `store/changed` when the device has another identity now: its folder was changed by other means than tbprov.
    /// `store/io`.
    pub async fn note(&mut self, chip: Flashed) -> Result<()> {
        let credentials_id = self.entry.record.identity.credentials_id.clone();
        let note = Note::Flashed { chip, credentials_id };
        self.entry =
            self.ledger.note(&self.lease, &self.entry, note).await.map_err(|error| match error.code {
                ErrorCode::StoreChanged | ErrorCode::StoreCorrupt => error.hint(Hint::DeviceChanged),
                _ => error.hint(Hint::BoardIsAhead),
            })?;
        Ok(())
    }
}
