//! `tbprov fleet status`

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::super::context::Context;
use super::FleetArgs;
use super::pace::Pace;
use tbprov::fleet::report::Counts;
use tbprov::ledger::roster::{Roster, RowState};
use tbprov::text::shown_path;
use tbprov::{Result, clock};

/// Show how many devices there are, by state and by day.
#[derive(Debug, Args)]
pub(in crate::cli) struct StatusArgs {
    /// Show it again whenever it changes, with the rate and the time to the end, until Ctrl-C.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    ledger: FleetArgs,
}

/// How often the ledger is looked at.
const TICK: Duration = Duration::from_secs(1);

/// Days that are shown while they change, at the most: a terminal has so many lines.
const DAYS_WATCHED: usize = 7;

impl StatusArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        self.ledger.alone(context)?;
        let roster = context.roster(self.ledger.path()).await?;
        let ledger = self.ledger.path().to_owned();
        if self.watch {
            return Watch { context, roster: &*roster, ledger }.run().await;
        }
        let counts = Counts::from(&context.interruptible(roster.totals()).await?);
        context.output.result("fleet status", &StatusResult { ledger, counts });
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Serialize)]
struct StatusResult {
    ledger: PathBuf,
    #[serde(flatten)]
    counts: Counts,
}

/// What is told of a change.
#[derive(Serialize)]
struct Change {
    #[serde(flatten)]
    counts: Counts,
    /// Devices a second that came to their end lately; null where there is nothing to tell it from.
    rate: Option<f64>,
    /// Seconds until all have, at this rate.
    seconds_left: Option<u64>,
}

struct Watch<'a> {
    context: &'a Context,
    roster: &'a dyn Roster,
    ledger: PathBuf,
}

impl Watch<'_> {
    /// Ctrl-C is its end, and no failure.
    async fn run(self) -> Result<ExitCode> {
        let stop = self.context.interrupt_or_unread();
        let (mut pace, mut last, mut lines) = (Pace::default(), None, 0);
        loop {
            let counts = match self.counts(&stop).await {
                Some(counts) => counts?,
                None => break,
            };
            pace.note(Instant::now(), counts.done());
            let has_changed = last.as_ref() != Some(&counts);
            if has_changed || self.context.output.is_on_terminal() {
                lines = self.show(&pace, counts.clone(), lines);
                last = Some(counts);
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep(TICK) => {}
            }
        }
        if let (Some(counts), false) = (last, self.is_for_people()) {
            self.context.output.result("fleet status", &StatusResult { ledger: self.ledger, counts });
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Nothing once it shall stop.
    async fn counts(&self, stop: &tokio_util::sync::CancellationToken) -> Option<Result<Counts>> {
        tokio::select! {
            biased;
            () = stop.cancelled() => None,
            totals = self.roster.totals() => Some(totals.map(|totals| Counts::from(&totals))),
        }
    }

    fn is_for_people(&self) -> bool {
        self.context.output.format() == crate::output::Format::Human
    }

    fn show(&self, pace: &Pace, counts: Counts, lines: usize) -> usize {
        let left = counts.left();
        let change = Change { rate: pace.rate(), seconds_left: pace.seconds_left(left), counts };
        self.context.output.event("status", &change);
        if !self.is_for_people() {
            return 0;
        }
        let text = if self.context.output.is_on_terminal() {
            Screen(&self.ledger, &change).to_string()
        } else {
            let now = clock::now();
            let (date, hour, minute, second) = (now.date(), now.hour(), now.minute(), now.second());
            format!("{date} {hour:02}:{minute:02}:{second:02} UTC: {}", Brief(&change))
        };
        self.context.output.redraw(lines, &text)
    }
}

impl fmt::Display for StatusResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ledger, counts } = self;
        states(formatter, &shown_path(ledger), counts)?;
        days(formatter, counts, usize::MAX)
    }
}

fn states(formatter: &mut fmt::Formatter<'_>, ledger: &str, counts: &Counts) -> fmt::Result {
    if counts.total == 0 {
        return writeln!(formatter, "{ledger} has no device yet: take some in with 'tbprov fleet import'");
    }
    let plural = if counts.total == 1 { "device" } else { "devices" };
    writeln!(formatter, "{ledger}: {} {plural}", counts.total)?;
    for state in RowState::ALL {
        let count = counts.states.of(state);
        if count > 0 {
            writeln!(formatter, "  {:<10} {count:>9}", state.as_str())?;
        }
    }
    for (what, count) in [("waiting", counts.waiting), ("worked on", counts.claimed)] {
        if count > 0 {
            writeln!(formatter, "  {what:<10} {count:>9}")?;
        }
    }
    Ok(())
}

/// The last days, as many as are wanted.
fn days(formatter: &mut fmt::Formatter<'_>, counts: &Counts, wanted: usize) -> fmt::Result {
    if counts.days.is_empty() {
        return Ok(());
    }
    writeln!(formatter, "\n  {:<10} {:>9} {:>9}", "DAY (UTC)", "PROVED", "FAILED")?;
    let left_out = counts.days.len().saturating_sub(wanted);
    for day in counts.days.iter().skip(left_out) {
        writeln!(formatter, "  {:<10} {:>9} {:>9}", day.date, day.proved, day.failed)?;
    }
    Ok(())
}

/// What a terminal shows, once a second.
struct Screen<'a>(&'a PathBuf, &'a Change);

impl fmt::Display for Screen<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(ledger, change) = self;
        states(formatter, &shown_path(ledger), &change.counts)?;
        days(formatter, &change.counts, DAYS_WATCHED)?;
        writeln!(formatter, "\n  {}", End(change))
    }
}

/// One line.
struct Brief<'a>(&'a Change);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { states, .. } = &self.0.counts;
        write!(formatter, "{} proved, {} failed, {}", states.proved, states.failed, End(self.0))
    }
}

/// How it will end, as far as it can be told.
struct End<'a>(&'a Change);

impl fmt::Display for End<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { counts, rate, seconds_left } = self.0;
        let left = counts.left();
        if left == 0 {
            return write!(formatter, "none left");
        }
        write!(formatter, "{left} left")?;
        if let Some(rate) = rate {
            write!(formatter, ", {rate:.1} a second")?;
        }
        match seconds_left {
            Some(seconds) => {
                write!(
                    formatter,
                    ", {} to the end",
                    humantime::format_duration(Duration::from_secs(*seconds))
                )
            }
            None => Ok(()),
        }
    }
}
