//! The record of a device after a change, for every kind of ledger. All functions are pure.

use super::{
    Advance, Entry, NamedIdentity, NewIdentity, Note, Record, SCHEMA_ROTATED, Which, changed, identity_name,
};
use crate::clock;
use crate::device::State;
use crate::error::{Error, ErrorCode, Hint, Result};
use crate::ledger::IdentityRecord;

impl Entry {
    /// The record after [`Ledger::advance`](super::Ledger::advance).
    ///
    /// # Errors
    /// `store/not-found` when there is no such identity.
    pub fn advanced(&self, advance: &Advance<'_>) -> Result<Record> {
        let mut record = self.record.clone();
        let identity = match advance.which {
            Which::Current => {
                if let Some(server) = advance.server {
                    record.believe(server);
                }
                &mut record.identity
            }
            Which::Candidate => {
                let candidate = record.candidate.as_mut();
                &mut candidate.ok_or_else(|| self.has_no("candidate"))?.identity
            }
            Which::Previous => return Err(self.has_no("such")),
        };
        let now = clock::now();
        for state in advance.reached {
            identity.reach(*state, now);
        }
        if let Some(wishes) = advance.wishes {
            record.wishes = wishes.clone();
        }
        Ok(record)
    }

    /// The record after [`Ledger::stage_next`](super::Ledger::stage_next); `current` is the name of the identity that
    /// the device has.
    ///
    /// # Errors
    /// `store/exists` when there is a candidate already, or when the identity is the device's own.
    pub fn with_candidate(&self, current: String, next: NewIdentity<'_>, state: State) -> Result<Record> {
        let name = identity_name(next.credentials);
        let why = match &self.record.candidate {
            Some(_) => "has a candidate already",
            None if name == current => "has this identity already",
            None => {
                let mut record = self.record.clone();
                let mut identity = IdentityRecord::new(next.credentials, state);
                // It may be the previous one, which shall be the device's again.
                let before = record.previous.as_ref().filter(|previous| previous.name == name);
                identity.flashed = before.and_then(|previous| previous.identity.flashed.clone());
                record.schema = SCHEMA_ROTATED.to_owned();
                record.identity_name = Some(current);
                record.candidate = Some(NamedIdentity { name, identity });
                return Ok(record);
            }
        };
        Err(Error::new(ErrorCode::StoreExists, format!("'{}' {why}", self.shown_name())))
    }

    /// The record after [`Ledger::promote`](super::Ledger::promote).
    ///
    /// # Errors
    /// `store/not-found` without a candidate, `store/not-proved` for one that is not proved.
    pub fn promoted(&self) -> Result<Record> {
        let mut record = self.record.clone();
        let candidate = record.candidate.take().ok_or_else(|| self.has_no("candidate"))?;
        self.check_proved("candidate", &candidate.identity)?;
        self.exchange(&mut record, candidate)?;
        Ok(record)
    }

    /// The record after [`Ledger::roll_back`](super::Ledger::roll_back).
    ///
    /// # Errors
    /// `store/not-found` when there is neither a candidate nor a previous identity, `store/not-proved` when the previous
    /// one never was the device's.
    pub fn rolled_back(&self) -> Result<Record> {
        let mut record = self.record.clone();
        if let Some(candidate) = record.candidate.take() {
            // The server does not know a staged candidate: it is dropped.
            if candidate.identity.state != State::Staged {
                record.previous = Some(candidate);
            }
            return Ok(record);
        }
        let previous = record.previous.take().ok_or_else(|| self.has_no("previous"))?;
        self.check_proved("previous identity", &previous.identity)?;
        self.exchange(&mut record, previous)?;
        Ok(record)
    }

    /// The record after [`Ledger::discard`](super::Ledger::discard).
    pub fn discarded(&self) -> Record {
        Record { previous: None, ..self.record.clone() }
    }

    /// The device's name, where the server may know the candidate of a rotation that has not come to its end.
    pub fn rotation(&self) -> Option<String> {
        self.record.rotates().then(|| self.shown_name().to_owned())
    }

    /// Fails where the current certificate must not be presented: the server's certificate chain strategy would return
    /// to it, after it may have been told of its successor.
    ///
    /// # Errors
    /// `rotate/unfinished`.
    pub fn check_presentable(&self) -> Result<()> {
        match self.rotation() {
            Some(name) if self.record.wishes.registers_at_connect => {
                let message = format!(
                    "the rotation of '{name}' is not finished: the server may use the new certificate already, and would return to the old one if that connected"
                );
                Err(Error::new(ErrorCode::RotateUnfinished, message).hint(Hint::FinishRotation(name)))
            }
            _ => Ok(()),
        }
    }

    /// Only what a connect proved becomes the device's identity.
    fn check_proved(&self, what: &str, identity: &IdentityRecord) -> Result<()> {
        if identity.state == State::Proved {
            return Ok(());
        }
        let (name, state) = (self.shown_name(), identity.state.as_str());
        let message = format!("the {what} of '{name}' is {state}, not proved");
        Err(Error::new(ErrorCode::StoreNotProved, message))
    }

    /// Makes `next` the current identity, and the current one the previous.
    fn exchange(&self, record: &mut Record, next: NamedIdentity) -> Result<()> {
        let name = record.identity_name.replace(next.name).ok_or_else(|| self.has_no("named"))?;
        let identity = std::mem::replace(&mut record.identity, next.identity);
        record.previous = Some(NamedIdentity { name, identity });
        Ok(())
    }

    /// The record after [`Ledger::note`](super::Ledger::note).
    ///
    /// # Errors
    /// `store/changed` when the note is of another identity than the device has.
    pub fn noted(&self, note: Note) -> Result<Record> {
        let mut record = self.record.clone();
        match note {
            Note::Flashed { chip, credentials_id } if credentials_id == record.identity.credentials_id => {
                record.identity.flashed = Some(chip);
            }
            Note::Flashed { .. } => return Err(changed(self)),
            Note::Refused(refusal) => record.refused = Some(refusal),
        }
        Ok(record)
    }

    /// One of the device's identities, and its name, which the only one of a device that was never rotated has not.
    ///
    /// # Errors
    /// `store/not-found` when the device has no such identity.
    pub fn identity(&self, which: Which) -> Result<(Option<&str>, &IdentityRecord)> {
        let record = &self.record;
        let (beside, what) = match which {
            Which::Current => return Ok((record.identity_name.as_deref(), &record.identity)),
            Which::Candidate => (&record.candidate, "candidate"),
            Which::Previous => (&record.previous, "previous"),
        };
        let named = beside.as_ref().ok_or_else(|| self.has_no(what))?;
        Ok((Some(&named.name), &named.identity))
    }

    fn has_no(&self, what: &str) -> Error {
        let message = format!("'{}' has no {what} identity", self.shown_name());
        Error::new(ErrorCode::StoreNotFound, message)
    }
}
