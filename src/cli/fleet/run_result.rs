//! The result of `fleet run`. Documented in `docs/protocol.md`.

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;

use super::super::advice;
use super::super::context::Context;
use super::super::results::ServerResult;
use crate::output::Format;
use tbprov::error::EXIT_PARTLY;
use tbprov::fleet::run::{End, Report};
use tbprov::server::Server;
use tbprov::{ErrorCode, Step};

#[derive(Debug, Serialize)]
pub(super) struct RunResult {
    /// `done`, `partly`, `stopped`, `interrupted` or `nothing-due`.
    outcome: &'static str,
    provisioned: u64,
    recovered: u64,
    verified: u64,
    #[serde(skip_serializing_if = "is_none")]
    pre_provisioned: u64,
    failed: u64,
    /// Rows that are due still.
    left: Option<u64>,
    postponed: u64,
    lost: u64,
    seconds: f64,
    /// Devices a second.
    rate: f64,
    jobs: usize,
    server: Option<ServerResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<StopResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<u8>,
}

/// What stopped the run.
#[derive(Debug, Serialize)]
struct StopResult {
    code: &'static str,
    step: Step,
    message: String,
    help: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

impl RunResult {
    /// `failed` rows are not due until somebody says so.
    pub(super) const fn nothing_due(failed: u64) -> Self {
        Self {
            outcome: "nothing-due",
            provisioned: 0,
            recovered: 0,
            verified: 0,
            pre_provisioned: 0,
            failed,
            left: Some(0),
            postponed: 0,
            lost: 0,
            seconds: 0.0,
            rate: 0.0,
            jobs: 0,
            server: None,
            error: None,
            exit_code: None,
        }
    }

    pub(super) fn new(report: &Report, server: &Server) -> Self {
        let (outcome, error, exit_code) = match &report.end {
            End::Done if report.failed > 0 => ("partly", None, None),
            End::Done => ("done", None, None),
            End::Interrupted => ("interrupted", None, None),
            End::Stopped(error) => {
                let stop = StopResult {
                    code: error.code.as_str(),
                    step: error.step(),
                    message: error.message.clone(),
                    help: advice::help(error).into_owned(),
                };
                ("stopped", Some(stop), Some(error.exit_code()))
            }
        };
        let seconds = report.elapsed.as_secs_f64();
        Self {
            outcome,
            provisioned: report.provisioned,
            recovered: report.recovered,
            verified: report.verified,
            pre_provisioned: report.pre_provisioned,
            failed: report.failed,
            left: report.left,
            postponed: report.postponed,
            lost: report.lost,
            seconds: rounded(seconds, 1e3),
            rate: rounded(a_second(report.done(), seconds), 1e1),
            jobs: report.jobs,
            server: Some(ServerResult::new(server, report.tls_version)),
            error,
            exit_code,
        }
    }

    /// Prints the result, and for people what stopped the run. Gives the exit code.
    pub(super) fn show(&self, context: &Context, report: &Report) -> ExitCode {
        context.output.result("fleet run", self);
        match &report.end {
            End::Done if report.failed > 0 => EXIT_PARTLY.into(),
            End::Done => ExitCode::SUCCESS,
            End::Interrupted => ErrorCode::Interrupted.kind().exit_code().into(),
            End::Stopped(error) => {
                if context.output.format() == Format::Human {
                    context.output.error("fleet run", error, &advice::help(error));
                }
                error.exit_code().into()
            }
        }
    }

    const fn done(&self) -> u64 {
        self.provisioned + self.recovered + self.verified + self.pre_provisioned
    }
}

fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn a_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

impl fmt::Display for RunResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.outcome == "nothing-due" {
            writeln!(formatter, "nothing is due")?;
            if self.failed > 0 {
                writeln!(
                    formatter,
                    "failed       {} ('tbprov fleet retry' makes them due again)",
                    self.failed
                )?;
            }
            return Ok(());
        }
        writeln!(formatter, "done         {}", self.done())?;
        for (what, count) in [("recovered", self.recovered), ("verified", self.verified)] {
            if count > 0 {
                writeln!(formatter, "  {what:<10} {count}")?;
            }
        }
        writeln!(formatter, "failed       {}", self.failed)?;
        let left = self.left.map_or_else(|| "not known".to_owned(), |left| left.to_string());
        writeln!(formatter, "left         {left}")?;
        if self.lost > 0 {
            writeln!(formatter, "taken over   {}, by another run", self.lost)?;
        }
        writeln!(formatter, "time         {:.1} s, {:.1} devices a second", self.seconds, self.rate)?;
        if let Some(ServerResult { host, port, tls }) = &self.server {
            writeln!(formatter, "server       {} {}", host.with_port(*port), tls.unwrap_or_default())?;
        }
        match self.outcome {
            "interrupted" => writeln!(formatter, "interrupted: run the same command to go on"),
            "stopped" => {
                writeln!(formatter, "stopped: run the same command to go on, once the cause is gone")
            }
            _ if self.left != Some(0) => writeln!(formatter, "run the same command to go on"),
            _ => Ok(()),
        }
    }
}
