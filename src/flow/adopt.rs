//! Takes a device in that was registered by other means.

use super::fresh::Fresh;
use super::plan::AdoptPlan;
use super::run::Run;
use super::{check_presentable, find_same};
use crate::device::State;
use crate::error::{Error, ErrorCode, Result, Step};
use crate::ledger::{Entry, NewDevice, NewIdentity, Subject, Wishes};

/// Proves the device by a connect, unless the plan says otherwise, and takes it into the ledger.
///
/// # Errors
/// `store/locked` when another tbprov works on the device; `store/exists`, those of a connect that proves nothing, and those of the ledger.
pub async fn adopt(plan: &AdoptPlan, run: Run<'_>) -> Result<Entry> {
    run.progress.begin(Step::Stage);
    run.stamped(take_in(plan, run)).await
}

async fn take_in(plan: &AdoptPlan, run: Run<'_>) -> Result<Entry> {
    let subject = Subject::Named(plan.device_name.as_str());
    let lease = run.ledger.lease(subject).await?;
    if let Some(entry) = run.ledger.find(subject).await? {
        let message = format!("the store already has '{}' in {}", entry.shown_name(), entry.place());
        return Err(Error::new(ErrorCode::StoreExists, message));
    }
    check_presentable(run, &plan.identity.leaf).await?;
    match find_same(run, &plan.identity.leaf).await {
        Err(same) if same.code == ErrorCode::StoreExists => {
            let message = format!("{}: two devices with one identity are one at the server", same.message);
            run.progress.warn(message);
        }
        looked => looked?,
    }
    let Fresh { kept, credentials } = Fresh::from(plan.identity.clone());
    let state = if plan.verify_connect {
        run.prover.connect(&credentials, false, run.progress).await.map_err(|unproved| unproved.error)?;
        State::Proved
    } else {
        State::Accepted
    };
    run.progress.begin(Step::Stage);
    let new = NewDevice {
        subject,
        server: &run.prover.dialer.server,
        identity: NewIdentity { kept: &kept, credentials: &credentials },
        state,
        wishes: Wishes { given: true, ..Wishes::default() },
    };
    run.ledger.stage(&lease, new).await
}
