//! `tbprov rotate`

mod batch;
mod result;
mod selection;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::account_args::AccountArgs;
use super::authority_file::read_authority;
use super::context::Context;
use super::key_file::KeyFileArgs;
use super::ledger_args::LedgerArgs;
use super::server_args::{TrustArgs, parse_duration};
use batch::Batch;
use result::{RotateResult, Row};
use selection::{Chosen, Selected};
use tbprov::error::Hint;
use tbprov::flow::RotatePlan;
use tbprov::identity::Validity;
use tbprov::keys::KeyType;
use tbprov::ledger::Entry;
use tbprov::text::shown;
use tbprov::{Error, ErrorCode, Result};

/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;

/// Replace the certificate of a device by a new one: the new one is proved before the old one is given up.
///
/// The server learns of the new certificate by an account (--api-url), by the connect itself (--ca-cert, for a device that
/// registers at connect), or by hand: then the certificate is shown, for ThingsBoard's web form. You can repeat the
/// command: it finishes what an earlier run began.
#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    /// The devices; not needed if the store has only one.
    #[arg(value_name = "DEVICE", conflicts_with = "all")]
    devices: Vec<String>,
    #[command(flatten)]
    pub(in crate::cli) ledger: LedgerArgs,
    /// Every device of the store that has a certificate. One whose identity is on a board is skipped.
    #[arg(long)]
    all: bool,
    /// Only those whose certificate ends within this time, such as 30d, or has ended; and those whose rotation is not
    /// finished.
    #[arg(long, value_name = "DURATION", value_parser = parse_days)]
    expiring: Option<Duration>,
    /// The new key's type [default: that of the old one].
    #[arg(long, value_name = "TYPE", help_heading = "Identity")]
    key_type: Option<KeyType>,
    /// Days that the new certificate is valid [default: 3650].
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Identity")]
    days: Option<u32>,
    /// The authority that issues the new certificate; needs --ca-key. A device that registers at connect needs it.
    #[arg(long, value_name = "FILE", requires = "ca_key", help_heading = "Identity")]
    ca_cert: Option<PathBuf>,
    /// The authority's key.
    #[arg(long, value_name = "FILE", requires = "ca_cert", help_heading = "Identity")]
    ca_key: Option<PathBuf>,
    #[command(flatten)]
    key_file: KeyFileArgs,
    /// Replace, or delete, the identity that a board carries too; the board needs the new one at once.
    #[arg(long)]
    flashed: bool,
    /// How long to try until the server accepts the new certificate [default: 15s; by hand, not at all]. By hand, it is
    /// tried once a minute.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    wait: Option<Duration>,
    /// Show what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Give the new certificate of this device up, or return to its previous one.
    #[arg(
        long,
        value_name = "DEVICE",
        conflicts_with_all = ["devices", "all", "expiring", "key_type", "days", "ca_cert", "dry_run"]
    )]
    roll_back: Option<String>,
    /// Delete the previous certificate and key of this device.
    #[arg(
        long,
        value_name = "DEVICE",
        conflicts_with_all = ["devices", "all", "expiring", "key_type", "days", "ca_cert", "dry_run", "roll_back", "wait"]
    )]
    discard: Option<String>,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    account: AccountArgs,
}

/// What is done with each device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Rotate,
    RollBack,
    Discard,
}

impl RotateArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        let (work, name) = match (&self.roll_back, &self.discard) {
            (Some(name), _) => (Work::RollBack, name),
            (None, Some(name)) => (Work::Discard, name),
            (None, None) => return self.rotate(context).await,
        };
        let device = context.interruptible(context.device(Some(name))).await?;
        self.one(context, work, device).await
    }

    async fn rotate(&self, context: &Context) -> Result<ExitCode> {
        let selected = context.interruptible(selection::select(self, context)).await?;
        if let Selected { is_named: true, rows, .. } = &selected
            && rows.len() == 1
            && let Some(Chosen::Device(device)) = rows.first()
        {
            return self.one(context, Work::Rotate, device.clone()).await;
        }
        let devices: Vec<_> = selected.rows.iter().filter_map(Chosen::device).collect();
        let plan = context.interruptible(self.plan(context, &devices)).await?;
        let mut batch = Batch::new(self, context, &plan);
        if self.dry_run {
            return Ok(batch.show(selected, self.account.is_named(context)?));
        }
        Ok(batch.run(selected).await)
    }

    /// One device that was named: its failure is the command's.
    async fn one(&self, context: &Context, work: Work, device: Entry) -> Result<ExitCode> {
        let needs_account = work != Work::Discard;
        let devices: &[&Entry] = if needs_account { &[&device] } else { &[] };
        let plan = context.interruptible(self.plan(context, devices)).await?;
        let mut batch = Batch::new(self, context, &plan);
        let row = if self.dry_run {
            Row::planned(&plan, self.account.is_named(context)?, &device)?
        } else {
            let done = batch.work(work, &device).await?;
            Row::done(&plan, &device, &done)
        };
        context.output.result("rotate", &RotateResult::new(vec![row], 0, self.dry_run));
        Ok(ExitCode::SUCCESS)
    }

    async fn plan(&self, context: &Context, devices: &[&Entry]) -> Result<RotatePlan> {
        if self.key_file.password.reads_stdin() && self.account.reads_stdin() {
            let message = "stdin cannot give both the password of the key and the secret of the account";
            return Err(Error::new(ErrorCode::UsageConflict, message).hint(Hint::TwoReadersOfStdin));
        }
        let days = self.days.or(context.config.days.map(NonZeroU32::get));
        days.map_or(Ok(()), Validity::check_days)?;
        let issuer = match (&self.ca_cert, &self.ca_key) {
            (Some(certificate), Some(key)) => {
                Some(read_authority(context, &self.key_file, certificate, key).await?)
            }
            _ => None,
        };
        let needs_account = devices.iter().any(|device| !device.record.wishes.registers_at_connect);
        let account = if needs_account {
            let (timeout, proxy) = (self.trust.timeout(context)?, self.trust.proxy.proxy(context)?);
            self.account.account(context, timeout, proxy, !self.dry_run).await?
        } else {
            None
        };
        Ok(RotatePlan {
            key_type: self.key_type,
            days,
            issuer,
            account,
            patience: self.wait,
            flashed: self.flashed,
        })
    }
}

/// A duration in which a bare number is days.
fn parse_days(text: &str) -> Result<Duration, String> {
    match text.trim().parse::<u32>() {
        Ok(days) => Ok(Duration::from_secs(u64::from(days).saturating_mul(DAY))),
        Err(_) => {
            parse_duration(text).map_err(|_| format!("'{}', not a duration such as 30d or 12h", shown(text)))
        }
    }
}
