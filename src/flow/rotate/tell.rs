//! What an account at the server's REST API does for a rotation: it looks what the server has, tells it of the candidate,
//! and puts the current identity back.

use super::super::next::Answered;
use super::super::run::Run;
use super::turn::Turn;
use super::{RotatePlan, x509};
use crate::error::{Error, ErrorCode, ErrorKind, Hint, Result, Step};
use crate::event::Event;
use crate::identity::{Certificate, Credentials, CredentialsType};
use crate::ledger::{Entry, Which};
use crate::rest::{Account, Device, DeviceCredentials};

/// A device as the server has it.
pub(super) struct Held {
    device: Device,
    /// What it proved itself with before this run told the server of something else.
    before: Option<DeviceCredentials>,
    now: DeviceCredentials,
}

impl Turn<'_> {
    /// Looks what the server has, and tells it of the candidate where that is the current identity.
    pub(super) async fn ask(&mut self) -> Result<Answered> {
        let account = account(self.plan)?;
        let mut held = match self.look(account).await {
            Ok(held) => held,
            Err(error) => {
                self.refusal = Some(error);
                return Ok(Answered::NotSent);
            }
        };
        if held.now.are(&self.candidate.leaf) {
            self.held = Some(held);
            // It may have been told by hand.
            self.record_sent().await?;
            return Ok(Answered::Success);
        }
        if !held.now.are(&self.current.leaf) {
            self.refusal = Some(self.has_another(&held.now, account));
            return Ok(Answered::OtherCredentials);
        }
        self.record_sent().await?;
        let (run, leaf) = (self.run, &self.candidate.leaf);
        let told = account.set_certificate(&held.now, leaf, run.progress).await;
        let answered = match told {
            Ok(now) => {
                held.before = Some(std::mem::replace(&mut held.now, now));
                run.progress.event(&Event::ServerTold { credentials_id: leaf.credentials_id() });
                Answered::Success
            }
            Err(error) => {
                let (answered, now) = self.after(error, account, &held).await;
                if let Some(now) = now {
                    held.before = Some(std::mem::replace(&mut held.now, now));
                }
                answered
            }
        };
        self.held = Some(held);
        Ok(answered)
    }

    /// What the server has, once it is sure that a connect there proves something.
    async fn look(&self, account: &Account) -> Result<Held> {
        let verify = self.run.progress.within(Step::Verify);
        let strangers = self.run.prover.refuses_strangers(CredentialsType::X509, &verify).await;
        strangers.map_err(|unproved| unproved.error)?;
        look(account, &self.entry, self.run).await
    }

    /// What became of a request that failed: the server is looked at once more.
    async fn after(
        &mut self,
        error: Error,
        account: &Account,
        held: &Held,
    ) -> (Answered, Option<DeviceCredentials>) {
        // A request on its way may still be done, also where a proxy in front of the server answers.
        let may_come = error.code.kind() == ErrorKind::Network
            || matches!(error.code, ErrorCode::RestServerError | ErrorCode::RestNotThingsBoard);
        let answered = match account.credentials(&held.device, &self.run.progress.unheard()).await {
            Ok(now) if now.are(&self.candidate.leaf) => return (Answered::Success, Some(now)),
            Ok(now) if now.are_those_of(&held.now) && !may_come => Answered::Failure,
            _ => Answered::Lost,
        };
        self.refusal = Some(error);
        (answered, None)
    }

    /// Makes the current identity the server's again, and proves it.
    pub(super) async fn try_to_put_back(&mut self) -> Result<()> {
        let account = account(self.plan)?;
        let Some(held) = &self.held else {
            return Err(Error::new(ErrorCode::Bug, "nothing is known of what the server has"));
        };
        let progress = self.run.progress;
        match &held.before {
            Some(before) => account.put_back(&held.now, before, progress).await?,
            None => account.set_certificate(&held.now, &self.current.leaf, progress).await?,
        };
        progress.event(&Event::ServerTold { credentials_id: self.current.leaf.credentials_id() });
        let current = Credentials::X509(self.current.clone());
        self.prove(&current, true).await.map(drop).map_err(|unproved| unproved.error)
    }

    fn has_another(&self, held: &DeviceCredentials, account: &Account) -> Error {
        has_another(&self.entry, held, account, &self.current.leaf)
    }
}

pub(super) fn account(plan: &RotatePlan) -> Result<&Account> {
    plan.account.as_ref().ok_or_else(|| Error::new(ErrorCode::Bug, "there is no account to tell the server"))
}

async fn look(account: &Account, entry: &Entry, run: Run<'_>) -> Result<Held> {
    let Some(name) = &entry.record.device else {
        let message = format!(
            "the server made up the name of '{}', and tbprov does not know it: give the server the new certificate by hand, without an account",
            entry.shown_name()
        );
        return Err(Error::new(ErrorCode::UsageConflict, message));
    };
    let Some(device) = account.device(name, run.progress).await? else {
        let message = format!("{} has no device called '{name}'", account.url());
        return Err(Error::new(ErrorCode::RestNotFound, message).hint(Hint::RegisterAgain(name.clone())));
    };
    let now = account.credentials(&device, run.progress).await?;
    Ok(Held { device, before: None, now })
}

fn has_another(entry: &Entry, held: &DeviceCredentials, account: &Account, wanted: &Certificate) -> Error {
    let name = entry.shown_name();
    let message = format!(
        "{} has {} for '{name}', not the store's ({})",
        account.url(),
        held.in_words(),
        wanted.credentials_id()
    );
    Error::new(ErrorCode::VerifyNotStored, message).hint(Hint::RegisterAgain(name.to_owned()))
}

/// Makes the current identity the server's again where it has the candidate, or has it already.
pub(super) async fn return_to_current(plan: &RotatePlan, entry: &Entry, run: Run<'_>) -> Result<()> {
    let account = account(plan)?;
    let current = x509(run, entry, Which::Current).await?;
    let candidate = x509(run, entry, Which::Candidate).await?;
    let Held { now, .. } = look(account, entry, run).await?;
    if now.are(&current.leaf) {
        return Ok(());
    }
    if !now.are(&candidate.leaf) {
        return Err(has_another(entry, &now, account, &current.leaf));
    }
    account.set_certificate(&now, &current.leaf, run.progress).await?;
    run.progress.event(&Event::ServerTold { credentials_id: current.leaf.credentials_id() });
    Ok(())
}
