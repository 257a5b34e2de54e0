//! `tbprov fleet list`

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::super::advice;
use super::super::context::Context;
use super::FleetArgs;
use crate::output::{Format, Listing};
use tbprov::fleet::pages::Pages;
use tbprov::fleet::report::Device;
use tbprov::ledger::roster::{Listed, RowState, Selection};
use tbprov::text::{shown, shown_path};
use tbprov::{Result, Step};

/// List the devices, with what became of each.
#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// Only those in this state: queued, staged, sent, accepted, proved or failed.
    #[arg(long, value_name = "STATE", value_parser = parse_state)]
    state: Option<RowState>,
    /// Only those that failed, or wait, with this error code, such as server/failure.
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// No more than so many.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    #[command(flatten)]
    ledger: FleetArgs,
}

impl ListArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        self.ledger.alone(context)?;
        let roster = context.roster(self.ledger.path()).await?;
        let (limit, ledger) = (self.limit.unwrap_or(u64::MAX), self.ledger.path().to_owned());
        let selection = Selection { state: self.state, code: self.code, names: Vec::new() };
        let mut pages = Pages::of(&*roster, selection);
        // One that cannot be read fails before anything is written.
        let first = pages.page().await?;
        let mut listing = Listing::begin(&context.output, "fleet list", "devices", "row");
        let mut written = Written { ledger, count: 0, error: None };
        match written.devices(context, &mut listing, (first, &mut pages), limit).await {
            Err(error) if context.output.format() == Format::Json => {
                let error = error.stamped(Step::Ledger);
                written.error = Some(Failure::new(&error));
                listing.end(&written);
                return Ok(ExitCode::from(error.exit_code()));
            }
            Err(error) => return Err(error),
            Ok(()) if context.output.reader_gone().is_cancelled() => {}
            Ok(()) => listing.end(&written),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What follows the devices.
#[derive(Serialize)]
struct Written {
    ledger: PathBuf,
    count: u64,
    /// Why there are not all of them.
    #[serde(flatten)]
    error: Option<Failure>,
}

/// A failure after the first devices were written: their object has its members.
#[derive(Serialize)]
struct Failure {
    error: FailureMembers,
    exit_code: u8,
}

#[derive(Serialize)]
struct FailureMembers {
    code: &'static str,
    step: Step,
    message: String,
    help: String,
}

impl Failure {
    fn new(error: &tbprov::Error) -> Self {
        let members = FailureMembers {
            code: error.code.as_str(),
            step: error.step(),
            message: error.message.clone(),
            help: advice::help(error).into_owned(),
        };
        Self { error: members, exit_code: error.exit_code() }
    }
}

impl Written {
    /// Writes the devices of the first page and of those after it, until there are enough or nobody reads them.
    async fn devices(
        &mut self,
        context: &Context,
        listing: &mut Listing,
        (first, pages): (Option<Vec<Listed>>, &mut Pages<'_>),
        limit: u64,
    ) -> Result<()> {
        let width = first.iter().flatten().map(|row| row.row.name.as_str().chars().count()).max();
        let width = width.unwrap_or(0).clamp(6, 40);
        if first.is_some() && context.output.format() == Format::Human {
            context.output.data(&Line::head(width));
        }
        let mut page = first;
        while let Some(rows) = page {
            for row in rows {
                if self.count == limit {
                    return Ok(());
                }
                self.count += 1;
                if !listing.item(&Line { device: Device::new(row, advice::of_code), width }) {
                    return Ok(());
                }
            }
            page = pages.page().await?;
        }
        Ok(())
    }
}

impl fmt::Display for Written {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            0 => write!(formatter, "{} has no such device", shown_path(&self.ledger)),
            1 => write!(formatter, "1 device"),
            count => write!(formatter, "{count} devices"),
        }
    }
}

/// A device, on one line for people.
#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    device: Device,
    /// That of the column with the names.
    #[serde(skip)]
    width: usize,
}

impl Line {
    fn head(width: usize) -> String {
        format!(
            "{:<width$}  {:<8}  {:>5}  {:<20}  CREDENTIALSID, OR WHY NOT",
            "DEVICE", "STATE", "TRIES", "WHEN (UTC)"
        )
    }
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, width } = self;
        let when = match (device.ended, device.retry_at) {
            (Some(ended), _) => minute(ended),
            (None, Some(again)) => format!("again {}", minute(again).get(5..).unwrap_or_default()),
            (None, None) => "-".to_owned(),
        };
        let id = device.credentials_id.as_deref().unwrap_or("-");
        let what = device.error.as_ref().map(|why| format!("{}: {}", why.code, shown(&why.message)));
        write!(
            formatter,
            "{:<width$}  {:<8}  {:>5}  {when:<20}  {}",
            device.device,
            device.state.as_str(),
            device.attempts,
            what.as_deref().unwrap_or(id)
        )
    }
}

/// To the minute.
pub(super) fn minute(time: time::OffsetDateTime) -> String {
    format!("{} {:02}:{:02}", time.date(), time.hour(), time.minute())
}

/// For clap.
fn parse_state(text: &str) -> Result<RowState, String> {
    let known = RowState::ALL.into_iter().find(|state| state.as_str() == text.trim());
    known.ok_or_else(|| {
        let states: Vec<_> = RowState::ALL.iter().map(|state| state.as_str()).collect();
        format!("'{}', not one of {}", shown(text), states.join(", "))
    })
}
