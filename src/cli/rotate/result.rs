//! The result of `rotate`. Documented in `docs/protocol.md`.

use std::fmt;

use serde::Serialize;
use time::OffsetDateTime;

use super::super::advice;
use super::super::shell::{self, device_flag};
use tbprov::flow::next::Switch;
use tbprov::flow::{RotateOutcome, RotatePlan, Rotated};
use tbprov::ledger::{Entry, Which};
use tbprov::{Error, Result};

#[derive(Debug, Serialize)]
pub(super) struct RotateResult {
    outcome: &'static str,
    dry_run: bool,
    devices: Vec<Row>,
    /// Devices of the store whose certificate does not end soon. They are not among `devices`.
    not_needed: usize,
}

/// What became of one device.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    device: String,
    outcome: &'static str,
    /// How the server learns of the new certificate.
    switch: Option<&'static str>,
    old_credentials_id: Option<String>,
    new_credentials_id: Option<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    not_after: Option<OffsetDateTime>,
    /// Whether a board carries the old identity, which does not work any more.
    on_a_board: bool,
    /// What somebody has to give the server, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    /// Whether `--roll-back` goes on once the server has it.
    #[serde(skip)]
    is_way_back: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<RowError>,
}

#[derive(Debug, Serialize)]
struct RowError {
    code: &'static str,
    step: tbprov::Step,
    message: String,
    help: String,
}

const FAILED: &str = "failed";
const SKIPPED: &str = "skipped";
const TO_ROTATE: &str = "to-rotate";
const TO_FINISH: &str = "to-finish";

impl Row {
    fn of(device: &Entry, outcome: &'static str) -> Self {
        let identity = &device.record.identity;
        Self {
            device: device.shown_name().to_owned(),
            outcome,
            switch: None,
            old_credentials_id: identity.credentials_id.clone(),
            new_credentials_id: None,
            not_after: identity.not_after,
            on_a_board: false,
            certificate: None,
            is_way_back: false,
            reason: None,
            error: None,
        }
    }

    pub(super) fn not_needed(device: &Entry) -> Self {
        Self::of(device, RotateOutcome::NotNeeded.as_str())
    }

    pub(super) fn skipped(device: &Entry, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..Self::of(device, SKIPPED) }
    }

    /// # Errors
    /// What `rotate` would refuse.
    pub(super) fn planned(plan: &RotatePlan, names_account: bool, device: &Entry) -> Result<Self> {
        plan.check(device)?;
        let outcome = if device.rotation().is_some() { TO_FINISH } else { TO_ROTATE };
        let switch = RotatePlan::switch_of(&device.record, names_account);
        Ok(Self { switch: Some(word(switch)), ..Self::of(device, outcome) })
    }

    /// `before` is the device as it was.
    pub(super) fn done(plan: &RotatePlan, before: &Entry, done: &Rotated) -> Self {
        let record = &done.entry.record;
        let which = done.awaited.as_ref().map_or(Which::Current, |awaited| awaited.which);
        let new = done.entry.identity(which).map_or(&record.identity, |(_, identity)| identity);
        let is_new = new.credentials_id != before.record.identity.credentials_id;
        let on_board = |identity: &tbprov::ledger::IdentityRecord| identity.flashed.is_some();
        Self {
            switch: (!is_local(done.outcome)).then(|| word(plan.switch(&before.record))),
            new_credentials_id: new.credentials_id.clone().filter(|_| is_new),
            not_after: new.not_after,
            on_a_board: !on_board(&record.identity)
                && record.previous.as_ref().is_some_and(|previous| on_board(&previous.identity)),
            certificate: done.awaited.as_ref().map(|awaited| awaited.certificate.clone()),
            is_way_back: done.awaited.as_ref().is_some_and(|awaited| awaited.is_way_back),
            ..Self::of(before, done.outcome.as_str())
        }
    }

    pub(super) fn failed(name: String, device: Option<&Entry>, error: &Error) -> Self {
        let identity = device.map(|device| &device.record.identity);
        Self {
            device: name,
            outcome: FAILED,
            switch: None,
            old_credentials_id: identity.and_then(|identity| identity.credentials_id.clone()),
            new_credentials_id: None,
            not_after: identity.and_then(|identity| identity.not_after),
            on_a_board: false,
            certificate: None,
            is_way_back: false,
            reason: None,
            error: Some(RowError {
                code: error.code.as_str(),
                step: error.step(),
                message: error.message.clone(),
                help: advice::help(error).into_owned(),
            }),
        }
    }

    pub(super) const fn is_fine(&self) -> bool {
        self.error.is_none()
    }
}

/// Whether the server had no part in it.
const fn is_local(outcome: RotateOutcome) -> bool {
    matches!(outcome, RotateOutcome::Discarded | RotateOutcome::NotNeeded)
}

const fn word(switch: Switch) -> &'static str {
    match switch {
        Switch::Account => "account",
        Switch::AtConnect => "at-connect",
        Switch::ByHand | Switch::Given => "by-hand",
    }
}

impl RotateResult {
    pub(super) fn new(devices: Vec<Row>, not_needed: usize, dry_run: bool) -> Self {
        let has = |outcome: &str| devices.iter().any(|row| row.outcome == outcome);
        let outcome = match &devices[..] {
            [row] => row.outcome,
            _ => [FAILED, "waiting", "rotated", "recovered", TO_ROTATE, TO_FINISH, SKIPPED]
                .into_iter()
                .find(|outcome| has(outcome))
                .unwrap_or(RotateOutcome::NotNeeded.as_str()),
        };
        Self { outcome, dry_run, devices, not_needed }
    }
}

impl fmt::Display for RotateResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.devices {
            write!(formatter, "{row}")?;
        }
        match (self.devices.is_empty(), self.not_needed) {
            (_, 0) if !self.devices.is_empty() => Ok(()),
            (_, 1) => writeln!(formatter, "one certificate ends later: nothing to do"),
            (_, count) => writeln!(formatter, "{count} certificates end later: nothing to do"),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, outcome, .. } = self;
        if let Some(RowError { code, message, help, .. }) = &self.error {
            return writeln!(formatter, "{device}: {outcome} ({code}): {message}\n  help: {help}");
        }
        write!(formatter, "{device}: {outcome}")?;
        if let Some(reason) = self.reason {
            write!(formatter, " ({reason})")?;
        }
        if let (Some(switch), true) = (self.switch, outcome.starts_with("to-")) {
            write!(formatter, " ({switch})")?;
        }
        if let Some(end) = self.not_after {
            write!(formatter, ", valid until {}", end.date())?;
        }
        writeln!(formatter)?;
        if let Some(id) = &self.new_credentials_id {
            writeln!(formatter, "  credentialsId {id}")?;
        }
        if self.certificate.is_some() {
            writeln!(
                formatter,
                "  give ThingsBoard the certificate above (Devices > the device > Manage credentials > X.509), then run: tbprov rotate {}",
                if self.is_way_back { device_flag("--roll-back", device) } else { shell::device(device) }
            )?;
        }
        if self.on_a_board {
            writeln!(
                formatter,
                "  its board has the old identity: tbprov firmware flash --identity-only {}",
                device_flag("--device", device)
            )?;
        }
        Ok(())
    }
}
