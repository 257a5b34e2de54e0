//! Leases and claims: what a process holds, and how it is given back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use rusqlite::params;

use super::Core;
use super::device::{Held, Wanted};
use super::failure::Done;
use super::session::Run;
use super::worker::Desk;
use crate::error::{Error, ErrorCode};
use crate::ledger::roster::{Row, RowId, RowState};
use crate::ledger::{Hold, Lease};

/// A device that is held for one command: all rows of this fence.
struct Leased {
    core: Arc<Core>,
    run: Arc<Run>,
    fence: i64,
}

impl Leased {
    /// Whether another has its rows. Where that cannot be read, the fence decides when something is written.
    fn was_overtaken(&self) -> bool {
        let held = self.core.read(|db| {
            let mut select = db.prepare_cached("SELECT 1 FROM device WHERE run = ?1 AND fence = ?2")?;
            Ok(select.exists(params![self.run.word, self.fence])?)
        });
        matches!(held, Ok(false))
    }
}

impl Hold for Leased {
    fn is_lost(&self) -> bool {
        self.run.is_lost() || self.was_overtaken()
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        let (word, fence) = (self.run.word.clone(), self.fence);
        self.core.writer.change_now(move |desk| {
            desk.db
                .prepare_cached(
                    "DELETE FROM device WHERE run = ?1 AND fence = ?2 \
                     AND record IS NULL AND batch IS NULL AND removed IS NULL",
                )?
                .execute(params![word, fence])?;
            let mut update =
                desk.db.prepare_cached("UPDATE device SET run = NULL WHERE run = ?1 AND fence = ?2")?;
            update.execute(params![word, fence])?;
            Ok(())
        });
    }
}

/// A row that a run has claimed. Dropped without an end, it was not tried.
pub(super) struct Claimed {
    core: Arc<Core>,
    run: Arc<Run>,
    id: i64,
    name: String,
    fence: i64,
    is_lent: AtomicBool,
    /// Whether the row has no device yet. Nobody but the claim gives it one; where the claim is lost, its fence refuses
    /// what follows.
    pub(super) is_bare: AtomicBool,
    is_done_when_proved: bool,
    /// Whether the row was given free already.
    pub(super) is_over: AtomicBool,
}

impl Claimed {
    /// Whether the row of this device is done when a change under `lease` proves it.
    pub(super) fn ends_proved(&self, lease: &Lease) -> bool {
        self.is_done_when_proved && u64::try_from(self.fence) == Ok(lease.fence())
    }
}

impl Hold for Claimed {
    /// As far as is known without a look: whatever is written looks at the fence.
    fn is_lost(&self) -> bool {
        self.run.is_lost() || self.is_over.load(Ordering::SeqCst)
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        let mut claims = self.core.claims.lock().unwrap_or_else(PoisonError::into_inner);
        // A later claim of the same row may have its place.
        if claims.get(&self.name).is_some_and(|claim| claim.strong_count() == 0) {
            claims.remove(&self.name);
        }
        drop(claims);
        if self.is_over.load(Ordering::SeqCst) {
            return;
        }
        let (id, word, fence) = (self.id, self.run.word.clone(), self.fence);
        self.core.writer.change_later(move |desk| {
            let mut update = desk.db.prepare_cached(
                "UPDATE device SET run = NULL, attempts = max(attempts - 1, 0) \
                 WHERE id = ?1 AND run = ?2 AND fence = ?3",
            )?;
            update.execute(params![id, word, fence])?;
            Ok(())
        });
    }
}

/// The lease of a claimed row, lent to whoever works on the device.
struct Lent(Arc<Claimed>);

impl Hold for Lent {
    fn is_lost(&self) -> bool {
        self.0.is_lost()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.0.is_lent.store(false, Ordering::SeqCst);
    }
}

fn lease(fence: i64, hold: Arc<dyn Hold>) -> Lease {
    Lease::new(u64::try_from(fence).unwrap_or_default(), hold)
}

impl Core {
    /// The hold of a row that was just claimed.
    pub(super) fn claimed(
        self: &Arc<Self>,
        run: &Arc<Run>,
        id: RowId,
        row: &Row,
        state: RowState,
        fence: i64,
    ) -> Lease {
        let claimed = Arc::new(Claimed {
            core: Arc::clone(self),
            run: Arc::clone(run),
            id: id.0,
            name: row.name.as_str().to_owned(),
            fence,
            is_lent: AtomicBool::new(false),
            is_bare: AtomicBool::new(state == RowState::Queued),
            is_done_when_proved: row.is_done_when_proved(),
            is_over: AtomicBool::new(false),
        });
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.insert(claimed.name.clone(), Arc::downgrade(&claimed));
        lease(fence, claimed)
    }

    /// The claim of this process on a device.
    pub(super) fn claim_of(&self, wanted: &Wanted) -> Option<Arc<Claimed>> {
        match wanted {
            Wanted::Named(name) => self.claim_on(name),
            Wanted::Slot(_) => None,
        }
    }

    /// The claim of this process on the row called `name`.
    pub(super) fn claim_on(&self, name: &str) -> Option<Arc<Claimed>> {
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.get(name).and_then(std::sync::Weak::upgrade)
    }

    /// The lease of a row that this process has claimed, if it is lent to nobody.
    pub(super) fn lend(&self, name: &str) -> Option<crate::error::Result<Lease>> {
        let claim = self.claim_on(name).filter(|claim| !claim.is_over.load(Ordering::SeqCst))?;
        if claim.is_lent.swap(true, Ordering::SeqCst) {
            let process = std::process::id();
            let message =
                format!("this tbprov (process {process}) is working on the device '{name}' already");
            return Some(Err(Error::new(ErrorCode::StoreLocked, message)));
        }
        let fence = claim.fence;
        Some(Ok(lease(fence, Arc::new(Lent(claim)))))
    }
}

impl Desk<'_> {
    /// Takes a device for one command.
    pub(super) fn lease(&mut self, core: &Arc<Core>, wanted: &Wanted) -> Done<Lease> {
        let mut row = Held::find(self.db, wanted)?;
        if let Some(run) = row.as_ref().and_then(|row| row.run.as_deref()) {
            self.take_over(run, wanted.shown())?;
            row = Held::find(self.db, wanted)?;
        }
        let (run, fence) = (self.run()?, self.next_fence()?);
        match row {
            Some(row) => {
                self.db
                    .prepare_cached("UPDATE device SET run = ?2, fence = ?3 WHERE id = ?1")?
                    .execute(params![row.id, run.word, fence])?;
            }
            None => {
                self.hold(wanted, &run.word, fence)?;
            }
        }
        Ok(lease(fence, Arc::new(Leased { core: Arc::clone(core), run, fence })))
    }
}
