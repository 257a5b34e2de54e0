//! `tbprov doctor`

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::advice;
use super::context::Context;
use super::firmware;
use super::ledger_args::LedgerArgs;
use super::server_args::{
    TrustArgs, clap_host, clap_port, host_if_named, parse_host, parse_port, port_or_default,
};
use super::shell::{Desk, for_this_user_alone};
use super::values::{self, Given};
use crate::output::{Format, Mark};
use tbprov::dial::Dialer;
use tbprov::doctor::{self, Check, Finding};
use tbprov::flow;
use tbprov::identity::Credentials;
use tbprov::ledger::Lease;
use tbprov::server::Host;
use tbprov::{ErrorCode, Result, State};

/// Find out why it does not connect: every step from name resolution to CONNACK, and the store.
///
/// Sends no secret. Shows as well what is there to build and emulate the firmware, which only it needs.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// A device of the store, to try its server with its identity.
    #[arg(conflicts_with = "host")]
    device: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) ledger: LedgerArgs,
    /// The server to look at [default: the device's, else TBPROV_HOST, else the configuration's].
    #[arg(long, value_name = "HOST", value_parser = clap_host)]
    host: Option<Host>,
    /// Its port of MQTT over TLS [default: the device's, else TBPROV_PORT, else the configuration's, else 8883].
    #[arg(long, value_name = "PORT", value_parser = clap_port)]
    port: Option<u16>,
    #[command(flatten)]
    trust: TrustArgs,
}

/// The server that is looked at.
struct Looked {
    dialer: Dialer,
    identity: Option<Credentials>,
    /// The device is not rotated meanwhile.
    held: Option<Lease>,
}

impl DoctorArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode> {
        let mut report = Report { context, checks: Vec::new(), exit_code: 0 };
        match self.subject(context).await {
            Ok(Some(Looked { dialer, identity, held: _held })) => {
                doctor::check_server(&dialer, identity.as_ref(), |check| report.add(&check)).await;
            }
            Ok(None) => {
                context.output.note("no server to look at: give --host HOST, or a device of the store");
            }
            Err(error) if error.code == ErrorCode::Interrupted => return Err(error),
            Err(error) => {
                report.add(&Check { name: "plan", finding: Finding::Failed(values::explained(error)) });
            }
        }
        doctor::check_store(&*context.ledger, |check| report.add(&check)).await;
        let place = context.ledger_file.as_ref().map_or(Keys::Store(&context.store), |_| Keys::Ledger);
        rights(Desk::HERE, &place).iter().for_each(|check| report.add(check));
        firmware::checks().await.iter().for_each(|check| report.add(check));
        let exit_code = report.exit_code;
        if context.output.format() != Format::Human {
            context.output.result(
                "doctor",
                &DoctorResult { healthy: exit_code == 0, checks: report.checks, exit_code },
            );
        }
        Ok(ExitCode::from(exit_code))
    }

    async fn subject(&self, context: &Context) -> Result<Option<Looked>> {
        if let Some(name) = &self.device {
            let device = context.device(Some(name)).await?;
            let held = flow::hold(&*context.ledger, &device, &context.progress);
            let held = context.interruptible(held).await?;
            let dialer = self.trust.dialer_for(context, &device, None, self.port).await?;
            let credentials = context.credentials(&device).await?;
            // To look is not to register.
            let is_staged = device.record.state() == State::Staged;
            let credentials = if is_staged { credentials.leaf_alone() } else { credentials };
            return Ok(Some(Looked { dialer, identity: Some(credentials), held }));
        }
        let host = self
            .host
            .clone()
            .map_or_else(|| from_environment("TBPROV_HOST", parse_host), |host| Ok(Some(host)))?;
        let Some(host) = host_if_named(host.as_ref(), context)? else { return Ok(None) };
        let port =
            self.port.map_or_else(|| from_environment("TBPROV_PORT", parse_port), |port| Ok(Some(port)))?;
        let dialer = self.trust.dialer(context, host, port_or_default(port, context))?;
        Ok(Some(Looked { dialer, identity: None, held: None }))
    }
}

/// Where the keys are whose readers are asked for.
enum Keys<'a> {
    Store(&'a Path),
    Ledger,
}

/// What is not known of who may read the keys: on Windows all of it.
fn rights(desk: Desk, place: &Keys) -> Option<Check> {
    const ALL_BELOW: &str = "(OI)(CI)F";
    let (what, keys, command) = match place {
        _ if desk != Desk::Windows => return None,
        Keys::Store(store) if !store.is_dir() => return None,
        Keys::Store(store) => {
            let folder = desk.quoted_path(store);
            (
                "the store has those of the folder that it is in",
                folder.clone(),
                for_this_user_alone(&folder, ALL_BELOW),
            )
        }
        Keys::Ledger => (
            "a ledger has those of its folder, which has to be one of its own",
            "FOLDER".to_owned(),
            for_this_user_alone("FOLDER", ALL_BELOW),
        ),
    };
    let said = format!(
        "not looked at: tbprov neither reads nor sets Windows's access rights, and {what}; 'icacls {keys}' shows who may read the keys, and this leaves them to you alone: {command}"
    );
    Some(Check { name: "rights", finding: Finding::Unchecked(said) })
}

/// Not by clap: the variables are about a server, and a device of the store has its own.
fn from_environment<T>(variable: &str, parse: fn(&str) -> Result<T>) -> Result<Option<T>> {
    let Some(Given { source, value }) = values::variable(variable)? else { return Ok(None) };
    if value.trim().is_empty() {
        return Err(source.is_empty());
    }
    parse(&value).map(Some).map_err(|mut error| {
        error.message = format!("{source}: {}", error.message);
        error
    })
}

/// Shows each check as it comes, and keeps it for the result.
struct Report<'a> {
    context: &'a Context,
    checks: Vec<CheckResult>,
    /// The first failure's.
    exit_code: u8,
}

impl Report<'_> {
    fn add(&mut self, check: &Check) {
        if let (Finding::Failed(error), 0) = (&check.finding, self.exit_code) {
            self.exit_code = error.exit_code();
        }
        let result = CheckResult::new(check);
        if self.context.output.format() == Format::Human {
            let mark = match check.finding {
                Finding::Passed(_) => Mark::Passed,
                Finding::Warning(_) | Finding::Unfinished(_) | Finding::Rotating(_) => Mark::Warning,
                Finding::Failed(_) => Mark::Failed,
                Finding::Absent(_) | Finding::Skipped | Finding::Unchecked(_) => Mark::Skipped,
            };
            self.context.output.finding(mark, &result.to_string());
        }
        self.checks.push(result);
    }
}

#[derive(Serialize)]
struct DoctorResult {
    healthy: bool,
    checks: Vec<CheckResult>,
    exit_code: u8,
}

impl fmt::Display for DoctorResult {
    fn fmt(&self, _formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

#[derive(Serialize)]
struct CheckResult {
    check: &'static str,
    outcome: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

impl CheckResult {
    fn new(check: &Check) -> Self {
        let (outcome, detail) = match &check.finding {
            Finding::Passed(detail) => ("passed", detail.clone()),
            Finding::Warning(detail) => ("warning", detail.clone()),
            Finding::Unfinished(device) => {
                ("warning", format!("{device}; run 'tbprov provision' again to finish it"))
            }
            Finding::Rotating(device) => ("warning", format!("{device}: its rotation is not finished")),
            Finding::Failed(error) => ("failed", error.message.clone()),
            Finding::Absent(detail) | Finding::Unchecked(detail) => ("skipped", detail.clone()),
            Finding::Skipped => ("skipped", "not tried".to_owned()),
        };
        let (error, help) = match &check.finding {
            Finding::Failed(error) => (Some(error), Some(advice::help(error))),
            Finding::Rotating(device) => (None, Some(advice::to_finish_rotation(device))),
            _ => (None, None),
        };
        Self {
            check: check.name,
            outcome,
            detail,
            code: error.map(|error| error.code.as_str()),
            help: help.map(Cow::into_owned),
        }
    }
}

impl fmt::Display for CheckResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:<9} {}", self.check, self.detail)?;
        if let Some(help) = &self.help {
            formatter.write_char('\n')?;
            write!(formatter, "  help: {help}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_is_told_that_rights_are_not_looked_at_and_how_to_set_them() {
        let store = tempfile::tempdir().unwrap();
        let none = store.path().join("none");
        let said = |desk, place| match rights(desk, &place)?.finding {
            Finding::Unchecked(said) => Some(said),
            other => panic!("{other:?}"),
        };
        let text = said(Desk::Windows, Keys::Store(store.path())).unwrap();
        let command = format!(
            r#"icacls {} /inheritance:r /grant:r "${{env:USERDOMAIN}}\${{env:USERNAME}}:(OI)(CI)F""#,
            Desk::Windows.quoted_path(store.path())
        );
        assert!(text.starts_with("not looked at") && text.ends_with(&command), "{text}");
        assert!(
            said(Desk::Windows, Keys::Ledger).unwrap().contains("folder, which has to be one of its own")
        );
        assert_eq!(said(Desk::Windows, Keys::Store(&none)), None);
        for desk in [Desk::Linux, Desk::MacOs] {
            assert_eq!(said(desk, Keys::Store(store.path())), None);
            assert_eq!(said(desk, Keys::Ledger), None);
        }
    }
}
