//! Which devices are rotated.

use std::time::Duration;

use super::super::context::Context;
use super::RotateArgs;
use super::result::Row;
use tbprov::identity::CredentialsType;
use tbprov::ledger::Entry;
use tbprov::{Result, clock};

/// A device, or why nothing is done with it.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "most are devices")]
pub(super) enum Chosen {
    Device(Entry),
    Not(Row),
}

impl Chosen {
    pub(super) const fn device(&self) -> Option<&Entry> {
        match self {
            Self::Device(device) => Some(device),
            Self::Not(_) => None,
        }
    }
}

/// What was asked for.
#[derive(Debug)]
pub(super) struct Selected {
    /// Whether the user named each device.
    pub(super) is_named: bool,
    pub(super) rows: Vec<Chosen>,
    /// Devices of the store whose certificate does not end soon.
    pub(super) not_needed: usize,
}

pub(super) async fn select(args: &RotateArgs, context: &Context) -> Result<Selected> {
    if args.devices.is_empty() && (args.all || args.expiring.is_some()) {
        return of_store(args, context).await;
    }
    let mut rows = Vec::new();
    for name in &args.devices {
        let row = match context.device(Some(name)).await {
            Ok(device) => of_named(args, device),
            Err(error) if args.devices.len() == 1 => return Err(error),
            Err(error) => Chosen::Not(Row::failed(name.clone(), None, &error)),
        };
        rows.push(row);
    }
    if rows.is_empty() {
        rows.push(of_named(args, context.device(None).await?));
    }
    Ok(Selected { is_named: true, rows, not_needed: 0 })
}

fn of_named(args: &RotateArgs, device: Entry) -> Chosen {
    if is_due(args.expiring, &device) {
        Chosen::Device(device)
    } else {
        Chosen::Not(Row::not_needed(&device))
    }
}

async fn of_store(args: &RotateArgs, context: &Context) -> Result<Selected> {
    let (mut rows, mut not_needed) = (Vec::new(), 0);
    for (id, device) in context.ledger.list().await? {
        let device = match device {
            Ok(device) => device,
            Err(error) => {
                rows.push(Chosen::Not(Row::failed(id.to_string(), None, &error)));
                continue;
            }
        };
        if device.record.identity.credentials_type != CredentialsType::X509 {
            if args.all {
                rows.push(Chosen::Not(Row::skipped(&device, "it has no certificate")));
            }
        } else if !is_due(args.expiring, &device) {
            not_needed += 1;
        } else if device.record.identity.flashed.is_some() && !args.flashed && device.rotation().is_none() {
            rows.push(Chosen::Not(Row::skipped(&device, "a board carries its identity: see --flashed")));
        } else {
            rows.push(Chosen::Device(device));
        }
    }
    Ok(Selected { is_named: false, rows, not_needed })
}

/// Whether the certificate ends in time, or a rotation has to be finished.
fn is_due(expiring: Option<Duration>, device: &Entry) -> bool {
    let Some(expiring) = expiring else { return true };
    let soon = clock::now().saturating_add(time::Duration::try_from(expiring).unwrap_or(time::Duration::MAX));
    device.rotation().is_some() || device.record.identity.not_after.is_some_and(|end| end <= soon)
}
