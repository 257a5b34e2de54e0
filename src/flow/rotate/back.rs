//! The way back: a candidate is given up, the previous identity becomes the device's again, or it is deleted.

use super::super::next::Switch;
use super::super::run::Run;
use super::tell::return_to_current;
use super::turn::{Turn, make_forget};
use super::{Awaited, RotateOutcome, RotatePlan, Rotated, check, take, x509};
use crate::device::State;
use crate::error::{Error, ErrorCode, Hint, Result, Step};
use crate::event::Event;
use crate::identity::{Credentials, X509Identity};
use crate::ledger::{Entry, Lease, NewIdentity, Which};

/// Gives the candidate up or, where there is none, makes the previous identity the device's again. The server is told
/// first, and the identity is proved.
///
/// # Errors
/// As [`rotate`](super::rotate()); `store/not-found` when there is neither.
pub async fn roll_back(plan: &RotatePlan, entry: &Entry, run: Run<'_>) -> Result<Rotated> {
    let progress = run.progress.about(entry.id.clone());
    let run = Run { progress: &progress, ..run };
    run.stamped(begin(plan, entry, run)).await
}

async fn begin(plan: &RotatePlan, entry: &Entry, run: Run<'_>) -> Result<Rotated> {
    let (lease, entry) = take(entry, run).await?;
    check(plan, &entry)?;
    let record = &entry.record;
    let entry = match (&record.candidate, &record.previous) {
        // An earlier run was on this way.
        (Some(candidate), Some(previous)) if candidate.name == previous.name => entry,
        (Some(candidate), _) if candidate.identity.state == State::Staged => {
            let entry = run.ledger.roll_back(&lease, &entry).await?;
            return Ok(Rotated::without_proof(RotateOutcome::RolledBack, entry));
        }
        (Some(_), _) => return give_up(plan, run, &lease, entry).await,
        (None, _) => stage_previous(run, &lease, entry).await?,
    };
    let mut rotated = Turn::new(plan, run, lease, entry).await?.finish().await?;
    match &mut rotated.awaited {
        Some(awaited) => awaited.is_way_back = true,
        None => rotated.outcome = RotateOutcome::RolledBack,
    }
    Ok(rotated)
}

/// Makes the previous identity the candidate.
async fn stage_previous(run: Run<'_>, lease: &Lease, entry: Entry) -> Result<Entry> {
    let (_, previous) = entry.identity(Which::Previous).map_err(|error| error.hint(Hint::NoWayBack))?;
    if previous.state != State::Proved {
        let (name, state) = (entry.shown_name(), previous.state.as_str());
        let message = format!("the previous identity of '{name}' is {state}, not proved");
        return Err(Error::new(ErrorCode::StoreNotProved, message).hint(Hint::OnlyProvedBefore));
    }
    let kept = run.ledger.key(&entry, Which::Previous).await?;
    let credentials = kept.clone().open(&entry.place())?;
    if let Some(identity) = credentials.x509() {
        identity.leaf.check_dates(&entry.place())?;
    }
    run.progress.begin(Step::Stage);
    let previous = NewIdentity { kept: &kept, credentials: &credentials };
    let entry = run.ledger.stage_next(lease, &entry, previous, State::Staged).await?;
    run.tell_state(&entry, State::Staged);
    Ok(entry)
}

/// Gives a candidate up of which the server may have been told: the server returns to the current identity, which is
/// proved before the record says so.
async fn give_up(plan: &RotatePlan, run: Run<'_>, lease: &Lease, entry: Entry) -> Result<Rotated> {
    let switch = plan.switch(&entry.record);
    if switch == Switch::Account {
        return_to_current(plan, &entry, run).await?;
    }
    let current = x509(run, &entry, Which::Current).await?;
    let credentials = Credentials::X509(current.clone());
    let proved = run.prover.connect(&credentials, switch == Switch::Account, run.progress).await;
    let proof = match proved {
        Ok(proof) => proof,
        Err(unproved) if switch == Switch::ByHand && unproved.error.code.refuses_identity() => {
            // As far as is known, the server has the candidate.
            make_forget(run, &x509(run, &entry, Which::Candidate).await?).await;
            return Ok(not_given_back(run, entry, &current));
        }
        Err(unproved) => return Err(unproved.error),
    };
    run.progress.begin(Step::Promote);
    let entry = run.ledger.roll_back(lease, &entry).await?;
    Ok(Rotated { outcome: RotateOutcome::RolledBack, entry, proof: Some(proof), awaited: None })
}

/// Somebody gave the server the candidate, and has to give it the current certificate again.
fn not_given_back(run: Run<'_>, entry: Entry, current: &X509Identity) -> Rotated {
    let certificate = current.leaf.to_pem();
    run.progress.event(&Event::NewCertificate {
        credentials_id: current.leaf.credentials_id(),
        certificate: certificate.clone(),
    });
    let awaited = Awaited { which: Which::Current, certificate, is_way_back: true };
    Rotated { outcome: RotateOutcome::Waiting, entry, proof: None, awaited: Some(awaited) }
}

/// Deletes the previous identity of the device, and those before it.
///
/// # Errors
/// `rotate/unfinished` while it may become the device's again; `rotate/on-a-board` where a board has it alone, unless the
/// plan says otherwise; those of the ledger.
pub async fn discard(plan: &RotatePlan, entry: &Entry, run: Run<'_>) -> Result<Rotated> {
    let progress = run.progress.about(entry.id.clone());
    let run = Run { progress: &progress, ..run };
    let work = async {
        let (lease, entry) = take(entry, run).await?;
        let name = entry.shown_name().to_owned();
        if entry.rotation().is_some() {
            let message =
                format!("the rotation of '{name}' is not finished: its previous identity may be needed");
            return Err(Error::new(ErrorCode::RotateUnfinished, message).hint(Hint::FinishRotation(name)));
        }
        if !plan.flashed {
            is_on_no_board(&entry)?;
        }
        run.progress.begin(Step::Stage);
        let had_one = entry.record.previous.is_some();
        let entry = run.ledger.discard(&lease, &entry).await?;
        let outcome = if had_one { RotateOutcome::Discarded } else { RotateOutcome::NotNeeded };
        Ok(Rotated::without_proof(outcome, entry))
    };
    run.stamped(work).await
}

/// Fails where a board has the previous identity and not the current one: to go back to it would be the quick way to reach the board.
fn is_on_no_board(entry: &Entry) -> Result<()> {
    let record = &entry.record;
    let previous = record.previous.as_ref().and_then(|previous| previous.identity.flashed.as_ref());
    match (previous, &record.identity.flashed) {
        (Some(board), None) => {
            let name = entry.shown_name();
            let message =
                format!("a board carries the previous identity of '{name}': {} {}", board.chip, board.mac);
            Err(Error::new(ErrorCode::RotateOnABoard, message))
        }
        _ => Ok(()),
    }
}
