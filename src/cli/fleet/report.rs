//! `tbprov fleet report`

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::super::advice;
use super::super::context::Context;
use super::super::new_file::refuse_existing;
use super::FleetArgs;
use crate::output::JsonArray;
use tbprov::error::EXIT_PARTLY;
use tbprov::files::{Access, NewFile};
use tbprov::fleet::pages::Pages;
use tbprov::fleet::report::chart::Chart;
use tbprov::fleet::report::{Device, Head, csv, html};
use tbprov::ledger::roster::{Roster, Selection};
use tbprov::text::shown_path;
use tbprov::{Error, ErrorCode, Result};

/// Write a report: all devices as a table for a spreadsheet or as JSON, or a page for a browser with the totals, the rate
/// and what failed.
///
/// A report holds no key and no other secret. The exit code is 6 if a device has failed.
#[derive(Debug, Args)]
pub(in crate::cli) struct ReportArgs {
    /// Its format [default: by the ending of FILE, else csv].
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// The file to write; it must not exist [default: standard output].
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    ledger: FleetArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// A table, one row a device.
    Csv,
    /// One JSON object.
    Json,
    /// A page for a browser, in one file.
    Html,
}

impl Format {
    fn of_file(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match &*ending {
            "csv" => Some(Self::Csv),
            "json" => Some(Self::Json),
            "html" | "htm" => Some(Self::Html),
            _ => None,
        }
    }
}

impl ReportArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        self.ledger.alone(context)?;
        let format = self.format()?;
        if let Some(out) = &self.out {
            refuse_existing(out)?;
        }
        let roster = context.roster(self.ledger.path()).await?;
        let report = Report::read(&*roster, self.ledger.path()).await?;
        let exit_code = report.exit_code();
        match self.out {
            None => report.to_stdout(context, format).await?,
            Some(out) => {
                let mut file = NewFile::begin(&out, Access::Everybody)?;
                report.write(&mut file, format).await?;
                file.finish()?;
                let counts = &report.head.counts;
                let result = ReportResult {
                    file: out,
                    format,
                    devices: counts.total,
                    failed: counts.states.failed,
                    finished: counts.finished,
                };
                context.output.result("fleet report", &result);
            }
        }
        Ok(exit_code)
    }

    fn format(&self) -> Result<Format> {
        match (self.format, &self.out) {
            (Some(format), _) => Ok(format),
            (None, None) => Ok(Format::Csv),
            (None, Some(out)) => Format::of_file(out).ok_or_else(|| {
                let message = format!("the ending of {} names no format", shown_path(out));
                Error::new(ErrorCode::UsageMissing, message).hint(tbprov::Hint::ReportFormat)
            }),
        }
    }
}

struct Report<'a> {
    roster: &'a dyn Roster,
    head: Head,
    chart: Chart,
}

/// The numbers, and the rate.
#[derive(Serialize)]
struct JsonHead<'a> {
    #[serde(flatten)]
    head: &'a Head,
    timeline: &'a Chart,
}

impl<'a> Report<'a> {
    async fn read(roster: &'a dyn Roster, ledger: &Path) -> Result<Self> {
        let totals = roster.totals().await?;
        let chart = Chart::of(roster, &totals).await?;
        Ok(Self { roster, head: Head::now(ledger.to_string_lossy().into_owned(), &totals), chart })
    }

    fn exit_code(&self) -> ExitCode {
        if self.head.counts.states.failed > 0 { ExitCode::from(EXIT_PARTLY) } else { ExitCode::SUCCESS }
    }

    /// It is no failure when nobody reads it to its end.
    async fn to_stdout(&self, context: &Context, format: Format) -> Result<()> {
        let mut out = BufWriter::new(context.output.stream());
        let written = match self.write(&mut out, format).await {
            Ok(()) => out.flush().map_err(unwritten),
            failed => failed,
        };
        match written {
            Err(_) if context.output.reader_gone().is_cancelled() => Ok(()),
            Err(error) => context.output.check_written().and(Err(error)),
            Ok(()) => Ok(()),
        }
    }

    async fn write(&self, out: &mut (dyn Write + Send), format: Format) -> Result<()> {
        match format {
            Format::Csv => csv::write(out, self.roster, advice::of_code).await,
            Format::Html => html::write(out, &self.head, &self.chart, self.roster, advice::of_code).await,
            Format::Json => self.json(out).await,
        }
    }

    async fn json(&self, out: &mut (dyn Write + Send)) -> Result<()> {
        let head = JsonHead { head: &self.head, timeline: &self.chart };
        let mut devices = JsonArray::begin(out, "fleet report", &head, "devices").map_err(unwritten)?;
        let mut pages = Pages::of(self.roster, Selection::default());
        while let Some(rows) = pages.page().await? {
            for row in rows {
                devices.item(&Device::new(row, advice::of_code)).map_err(unwritten)?;
            }
        }
        devices.end(&serde_json::Map::new()).map(drop).map_err(unwritten)
    }
}

fn unwritten(error: io::Error) -> Error {
    Error::new(ErrorCode::FileIo, format!("the report could not be written: {error}")).source(error)
}

#[derive(Serialize)]
struct ReportResult {
    file: PathBuf,
    format: Format,
    devices: u64,
    failed: u64,
    /// Whether every device has come to its end.
    finished: bool,
}

impl fmt::Display for ReportResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, devices, failed, finished, .. } = self;
        writeln!(formatter, "{}: {devices} devices, {failed} failed", shown_path(file))?;
        if !finished {
            writeln!(formatter, "the fleet is not finished: 'tbprov fleet run' goes on")?;
        }
        Ok(())
    }
}
