//! `tbprov fleet verify`

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::super::advice;
use super::super::context::Context;
use super::super::server_args::{ProxyArgs, parse_timeout, timeout_or_default};
use super::FleetArgs;
use tbprov::error::EXIT_PARTLY;
use tbprov::fleet::report::Why;
use tbprov::fleet::verify::{Checked, MOST_JOBS, Verified, VerifyPlan, Wanted, verify};
use tbprov::ledger::roster::{Trouble, Walked};
use tbprov::text::shown;
use tbprov::{Error, ErrorCode, Result, Step};

/// Prove devices again by a connect each, and check that no history was changed.
///
/// The hashes come first: a ledger that somebody changed is not used. Then each device connects to its own server with its
/// identity, and leaves again.
#[derive(Debug, Args)]
pub(in crate::cli) struct VerifyArgs {
    /// The devices [default: all that are proved].
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Only a random part of those that are proved, such as 5%.
    #[arg(long, value_name = "SHARE", value_parser = parse_share, conflicts_with = "names")]
    sample: Option<f64>,
    /// Devices that connect at the same time, 1 to 8: more could be refused at once than ThingsBoard's address filter lets
    /// pass.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=MOST_JOBS as i64))]
    jobs: u8,
    /// How long each step may take, such as 15s or 1m [default: 15s].
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout, help_heading = "Server")]
    timeout: Option<Duration>,
    #[command(flatten)]
    proxy: ProxyArgs,
    #[command(flatten)]
    ledger: FleetArgs,
}

impl VerifyArgs {
    /// Ctrl-C lets what is in flight come to its end.
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        self.ledger.alone(context)?;
        let roster = context.roster(self.ledger.path()).await?;
        let plan = self.plan(context)?;
        let walked = context.interruptible(roster.walk()).await?;
        check_hashes(context, &walked)?;
        let mut seen = Seen { context, proved: 0, failures: Vec::new(), noted: Instant::now() };
        let mut told = |checked: Checked| seen.add(checked);
        context.progress.begin(Step::Verify);
        let verified = verify(&roster, &plan, &context.interrupt, &context.progress, &mut told).await?;
        let result = VerifyResult::new(&walked, &verified, seen.failures);
        context.output.result("fleet verify", &result);
        Ok(exit_code(&verified))
    }

    fn plan(&self, context: &Context) -> Result<VerifyPlan> {
        let wanted = match self.sample {
            Some(share) => Wanted::Share(share),
            None if self.names.is_empty() => Wanted::All,
            None => Wanted::Named(self.names.iter().map(|name| name.trim().to_owned()).collect()),
        };
        Ok(VerifyPlan {
            wanted,
            jobs: usize::from(self.jobs),
            timeout: timeout_or_default(self.timeout, context)?,
            proxy: self.proxy.proxy(context)?,
        })
    }
}

/// Histories that are named in a message, at the most; the warnings before it name more.
const MOST_NAMED: usize = 20;

fn check_hashes(context: &Context, walked: &Walked) -> Result<()> {
    let broken = &walked.broken;
    let Some((first, why)) = broken.first() else { return Ok(()) };
    let whose = |name: &Option<String>| match name {
        Some(name) => format!("'{}'", shown(name)),
        None => "the ledger".to_owned(),
    };
    for (name, why) in broken.iter().take(MOST_NAMED) {
        context.progress.warn(format!("the history of {}: {why}", whose(name)));
    }
    let more = match broken.len() - 1 {
        0 => String::new(),
        more => format!(", and of {more} more"),
    };
    let message = format!("the history of {}{more} is not as it was written: {why}", whose(first));
    Err(Error::new(ErrorCode::LedgerTampered, message))
}

#[derive(Serialize)]
struct CheckedEvent<'a> {
    device: &'a str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Why>,
}

/// What became of the devices so far.
struct Seen<'a> {
    context: &'a Context,
    proved: u64,
    failures: Vec<Failed>,
    /// When people were told of it last.
    noted: Instant,
}

/// How often people are told how far it is.
const NOTED_EVERY: Duration = Duration::from_secs(10);

impl Seen<'_> {
    fn add(&mut self, Checked { device, failure }: Checked) {
        let output = &self.context.output;
        if let Some(error) = failure {
            let failed = Failed { device, error: why(&error) };
            let (device, error) = (&*failed.device, Some(&failed.error));
            output.event("verified", &CheckedEvent { device, outcome: "failed", error });
            self.failures.push(failed);
        } else {
            self.proved += 1;
            output.event("verified", &CheckedEvent { device: &device, outcome: "proved", error: None });
        }
        if self.noted.elapsed() >= NOTED_EVERY {
            self.noted = Instant::now();
            output.note(&format!("{} proved again so far, {} not", self.proved, self.failures.len()));
        }
    }
}

fn why(error: &Error) -> Why {
    let trouble = Trouble {
        code: error.code.as_str().to_owned(),
        step: error.step().as_str().to_owned(),
        message: error.message.clone(),
    };
    Why { help: advice::help(error).into_owned(), ..Why::of(trouble, advice::of_code) }
}

fn exit_code(verified: &Verified) -> ExitCode {
    match &verified.stopped {
        Some(error) => ExitCode::from(error.exit_code()),
        None if verified.failed > 0 => ExitCode::from(EXIT_PARTLY),
        None => ExitCode::SUCCESS,
    }
}

#[derive(Serialize)]
struct VerifyResult {
    outcome: &'static str,
    proved: u64,
    failed: u64,
    devices: Vec<Failed>,
    /// Why not all were tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<Why>,
    /// Lines of the histories, all of which hold.
    history_lines: u64,
}

/// A device that was not proved again.
#[derive(Serialize)]
struct Failed {
    device: String,
    error: Why,
}

impl VerifyResult {
    fn new(walked: &Walked, verified: &Verified, devices: Vec<Failed>) -> Self {
        let outcome = match &verified.stopped {
            Some(error) if error.code == ErrorCode::Interrupted => "interrupted",
            Some(_) => "stopped",
            None if verified.failed > 0 => "failed",
            None => "verified",
        };
        Self {
            outcome,
            proved: verified.proved,
            failed: verified.failed,
            devices,
            stopped: verified.stopped.as_ref().map(why),
            history_lines: walked.lines,
        }
    }
}

impl fmt::Display for VerifyResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Failed { device, error: Why { code, message, help, .. } } in &self.devices {
            writeln!(formatter, "{device}: not proved ({code}): {message}\n  help: {help}")?;
        }
        if let Some(Why { code, message, .. }) = &self.stopped {
            writeln!(formatter, "stopped ({code}): {message}")?;
        }
        writeln!(formatter, "{} proved again, {} not", self.proved, self.failed)?;
        writeln!(formatter, "the hashes of {} lines of history hold", self.history_lines)
    }
}

/// A share such as `5%`; for clap.
fn parse_share(text: &str) -> Result<f64, String> {
    let number = text.trim().strip_suffix('%').map(str::trim);
    match number.and_then(|number| number.parse::<f64>().ok()) {
        Some(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent / 100.0),
        _ => Err(format!("'{}', not a share between 0% and 100%, such as 5%", shown(text))),
    }
}
